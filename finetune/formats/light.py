"""Facebook LIGHT: people and creatures of a fantasy world, and rooms to put them in.

A folder with `characters.json` and `rooms.json`. There are no dialogues in it. What each character
says is sentences of their own first-person persona, asked for by questions written here; how they
feel and what they do is not known. Groups and things do not talk.
"""

import hashlib
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from finetune.formats.base import Faults, Read, character_id, json_list, validated
from finetune.formats.names import fitting, invented
from finetune.records import PLAYER, Conversation, Dropped, Persona, Turn, plain_stage, sentences

FEWEST_WORDS, MOST_WORDS = 3, 40
MOST_NAME_WORDS = 4
AFTER_NAME = re.compile(
    r"\s*(?:[.(]|\b(?:who|that|which|whose|in|at|on|from|for|with|by|and)\b"
    r"|\w+ing (?:the|an?|his|her|its|in|on|at|for|from)\b)"
)
ARTICLE = re.compile(
    r"^(?:an?|the|his|her|their|my|there is(?: also)?(?: an?| the)?) ", re.IGNORECASE
)
NO_NAME = re.compile(r".*,.*|.*['’]s?")
GROUP = re.compile(
    r"(?:\d+|two|three|some|those|several|many|various|other|group|hundreds)\b.*"
    r"|[^,]*?(?:(?<![su'’i])s|men|people|folk|children|mice|family|army|party|crowd)(?: of\b.*)?",
    re.IGNORECASE,
)
UNCLEAR = re.compile(r"\b(?:he|him|she|her|they|them|it)\b|[^.!?][\"'”’)]*$", re.IGNORECASE)
"""A sentence that leans on another one, or does not end."""
TOPICS = {
    "who": (
        r"(?:I am|I[’']m) (?:just |only |but |simply )?"
        r"(?:an?|the|one of|part of|my|your|known as|called|named|[A-Z]\w+) \w",
        """Who are you? / And you are? / Who goes there? / Who have I found here? / Who might you
        be? / I don't believe we have met. Who are you? / Tell me who you are. / You there, who are
        you? / Forgive me, I am new here. Who are you? / May I ask who you are? / Are you somebody
        I should know? / Hello. Who am I talking to? / Introduce yourself. / I have seen you before,
        have I not? Who are you? / What are you, exactly? / Good day to you! Who do I have the
        honour of meeting? / Say, who are you then? / Nobody told me about you. Who are you? /
        Before we go on: who are you? / Friend or foe? Who are you? / So tell me about yourself.""",
    ),
    "doing": (
        r"(?:I (?:often |always |usually |mostly |sometimes )?(?:spend my (?:days|time) )?"
        r"(?:work|serve|live|hunt|guard|sell|make|help|travel|rule|keep|protect|carry|pray|steal"
        r"|collect|clean|provide|run|build|cook|farm|fly|roam|play|watch|tend|teach|fight|wander"
        r"|swim|rob|entertain|grow|gather|fish|oversee|command|brew|train|repair|bake|catch|search"
        r"|sing|sweep|wash|heal|care for|take care)(?:ing)?|I am in charge|My (?:job|work) is)\b",
        """What do you do here? / What brings you here? / How do you spend your days? / What is your
        work? / What is it you do? / And what do you do all day? / What keeps you busy? / Have you a
        trade? / How do you live? / What are your days like? / You look busy. With what? / What
        would I find you doing on most days? / What is your part in all this? / Tell me how you pass
        the time. / Do you do anything useful? / What is your business here? / I wonder what you do
        here. / What do you do from morning till night? / How do you get by? / What do they keep you
        around for? / If I asked you what you do, what would you say?""",
    ),
    "wanting": (
        r"I (?:just |only |really )?(?:want|wish|hope|seek|dream|long|need|plan) ",
        """What do you want? / What do you wish for? / If you could have one thing, what would it
        be? / What do you hope for? / What are you after? / What would you ask a king for? / Is
        there anything you long for? / What is your dearest wish? / What is missing in your life? /
        What are you waiting for? / What do you dream of? / What do you want most of all? / What is
        it that drives you? / What would make you happy? / Tell me what you want. / What do you want
        from life? / And what do you hope will happen? / What would you change if you could? / You
        look as if you want something. What is it? / Do you still have hopes? / What comes next?""",
    ),
    "liking": (
        r"I (?:really |truly )?(?:love|like|enjoy|adore|prefer) ",
        """What do you love? / What do you like? / What gives you joy? / What do you enjoy most? /
        Is there anything you are fond of? / What makes you smile? / What do you like about your
        life? / Tell me something that you love. / What is dear to you? / What is the best part of
        your day? / What would you rather be doing? / What warms your heart? / Do you have any
        pleasures? / What do you do gladly? / What could you never give up? / And what do you like?
        / What is a good day to you? / What pleases one like you? / What would you miss if you left?
        / There must be something you like. What? / What are you fondest of?""",
    ),
    "fearing": (
        r"I (?:fear|hate|dislike|despise|loathe|worry|dread) |I (?:can[’']t|cannot) stand "
        r"|I (?:don[’']t|do not) (?:like|trust|care for|enjoy) "
        r"|(?:I am|I[’']m) (?:\w+ )?(?:afraid|scared|frightened|terrified|worried|wary) ",
        """What do you fear or hate? / What troubles you? / What can you not stand? / Is there
        anything that you would rather avoid? / What keeps you awake at night? / What is the worst
        thing here? / What worries you? / What do you dislike? / Something seems to be wrong. What
        is it? / What would you run from? / What makes you angry or afraid? / Is there something you
        do not like? / Tell me what bothers you. / What do you keep away from? / What is it you
        dread? / And what do you not like? / What would you be rid of, if you could? / Does anything
        frighten you? / What spoils your day? / What makes you uneasy? / What are you wary of?""",
    ),
}
"""What can be asked about: how a sentence that answers begins, and questions, parted by strokes."""


class _Room(BaseModel):
    # Stripping has halves of letters found, which JSON can hold and text cannot.
    model_config = ConfigDict(str_strip_whitespace=True)

    name: str
    description: str


class _Character(_Room):
    id: int
    char_type: str
    persona: list[str]


def read(path: Path, faults: Faults) -> Read:
    """Read LIGHT's folder."""
    found = json_list(path / "rooms.json", faults)
    rooms = [room for at, value in found if (room := validated(_Room, value, at, faults))]
    for source, value in json_list(path / "characters.json", faults):
        character = validated(_Character, value, source, faults)
        if character is None or not rooms:
            continue
        name = _name(character.name)
        if reason := _silent(character, name):
            yield Dropped(source=source, reason=reason)
            continue
        for number, persona in enumerate(character.persona):
            seed = f"{character.id}.{number}"
            room = rooms[_drawn(seed, len(rooms))]
            about = f"{character.description} {name}, in their own words: {persona}"
            yield from _conversations(name, sentences(about), persona, room, seed, source)


def _name(name: str) -> str:
    """A character's name as others would call them: `a cook who sings` is Cook; or empty."""
    name = ARTICLE.sub("", name)
    name = AFTER_NAME.split(name, maxsplit=1)[0]
    name = "" if NO_NAME.fullmatch(name) else fitting(name)
    return name[:1].upper() + name[1:]


def _silent(character: _Character, name: str) -> str | None:
    """Why somebody cannot talk as one person, if they cannot."""
    if character.char_type not in ("person", "creature"):
        return "a thing"
    if GROUP.fullmatch(name):
        return "a group"
    return "not a name" if not name or name.count(" ") >= MOST_NAME_WORDS else None


def _conversations(
    name: str, about: str, persona: str, room: _Room, seed: str, source: str
) -> Read:
    """A question and its answer for each topic that the persona has a sentence on."""
    npc = character_id(name)
    sheet = Persona(name=name, about=about, resting="calm")
    place = f"{room.name}. {room.description}"
    stage = plain_stage("A world of kings, beasts and magic.", place, {npc: sheet})
    spoken = _sentences(persona, about)
    answers = {
        topic: answer
        for topic, (begins, _) in TOPICS.items()
        if (answer := next((said for said in spoken if re.match(begins, said)), None))
    }
    if not answers:
        yield Dropped(source=source, reason="answers no question")
    for topic, answer in answers.items():
        questions = TOPICS[topic][1].split("/")
        question = questions[_drawn(f"{seed} {topic}", len(questions))]
        asker = invented(f"{seed} {topic}", taken=[name])
        turns = [
            Turn(speaker=PLAYER, name=asker, text=" ".join(question.split()), source=source),
            Turn(speaker=npc, name=name, text=answer, source=source),
        ]
        yield Conversation(
            stage=stage, turns=turns, dataset="light", source=f"{source} {seed} {topic}"
        )


def _sentences(persona: str, about: str) -> list[str]:
    """The sentences of a persona that stand in its sheet and can be said by themselves."""
    said = re.split(r"(?<=[.!?])\s+", " ".join(persona.split()))
    return [
        each
        for each in said
        if FEWEST_WORDS <= len(each.split()) <= MOST_WORDS
        and each in about
        and not UNCLEAR.search(each)
    ]


def _drawn(seed: str, count: int) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) % count
