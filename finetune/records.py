"""The types of training data: conversations as readers give them, records as training takes them.

A conversation happens on a stage: a scene and the characters in it, as their sheets are served. A
record is one reply in it with everything its prompt is built from. Knows no files and no tokens.
"""

import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from npcserver.fields import Id
from npcserver.library import LoadedScene
from npcserver.sheets import CastMember, Character, Emotion, Example, Place, Scene

CHINESE = re.compile(r"[\u3400-\u9fff]")
MAX_TEXT = 4000
Words = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Name = Annotated[str, Field(min_length=1, max_length=60)]
NONE: Literal["none"] = "none"
PLAYER = "player"
"""The id of whoever speaks to a character and is none."""
Rating = Literal["good", "bad"]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Act(_Value):
    """Something a character did: an action its scene declares, with what was chosen."""

    name: Id
    target: str | None = None
    args: dict[str, Any] = {}


class Turn(_Value):
    """One thing said or done in a conversation.

    Args:
        speaker: a character's id, a player's, or empty for the world.
        name: how the prompt calls them.
        spoken: whether `text` is speech; else it is what happened, as a sentence.
        emotion, action: what a character showed and did; None where the data does not tell, and
            `none` where it tells that nothing was done. What is not told is not trained.
        rating: what whoever heard it thought of it.
        source: the file and line it was read from.
    """

    speaker: str = ""
    name: str = ""
    text: Words
    spoken: bool = True
    emotion: Id | None = None
    action: Act | Literal["none"] | None = None
    rating: Rating | None = None
    source: str = ""


class Persona(Character):
    """A character's sheet as outside data has it: longer, perhaps without voice and examples."""

    about: Words
    voice: str = ""
    examples: list[Example] = Field(default=[])


class Stage(_Value):
    """A scene and the characters that are trained in it."""

    scene: Scene
    characters: dict[Id, Persona]
    beginnings: dict[Id, list[Example]] = {}
    """How each one's dialogues begin: examples beside those on the sheet."""

    @cached_property
    def id(self) -> str:
        """A digest of everything the stage holds.

        Computed once, and model_copy would keep it: a changed stage is made anew.
        """
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def loaded(self) -> LoadedScene:
        """The stage as the prompt builder takes it."""
        return LoadedScene(
            self.id, self.scene, dict(self.characters), Path(), beginnings=self.beginnings
        )


class Conversation(_Value):
    """Turns that follow each other, on one stage.

    Args:
        dataset: the format it was read from.
        source: the file and line where it begins.
        hidden: lines of the sheet's examples that its prompts must not show.
    """

    stage: Stage
    turns: list[Turn]
    dataset: str
    source: str
    hidden: list[str] = []


class Record(_Value):
    """One reply of a character, and everything its prompt is built from.

    Args:
        stage: the id of its stage.
        conversation: the same for all replies of one conversation.
        history: what the character perceived before the line, oldest first.
        asker: the name of whoever says the line.
        hidden: lines of the sheet's examples that this prompt must not show.
        dataset: the format it was read from.
        source: the file and line of the reply.
    """

    stage: str
    character: Id
    conversation: str
    history: list[Turn] = []
    asker: Name
    line: Words
    emotion: Id | None = None
    action: Act | Literal["none"] | None = None
    reply: Words
    hidden: list[str] = []
    rating: Rating | None = None
    dataset: str
    source: str


class Preference(_Value):
    """A reply that was liked, and another that was not.

    Args:
        record: the liked one.
        rejected: the other's words; they stand after the same emotion and action.
    """

    record: Record
    rejected: Words


class Dropped(_Value):
    """Something that was read and is not used, and why."""

    source: str
    reason: str


PLAIN_EMOTIONS: dict[str, Emotion] = {
    "calm": Emotion(word="calm", face="neutral"),
    "happy": Emotion(word="happy", face="happy"),
    "angry": Emotion(word="angry", face="angry"),
    "sad": Emotion(word="sad", face="sad"),
    "surprised": Emotion(word="surprised", face="surprised"),
}
"""For stages made of data that declares none."""
CHINESE_WORDS = {
    "calm": "平静",
    "happy": "高兴",
    "angry": "生气",
    "sad": "难过",
    "surprised": "吃惊",
}
MEETING = {
    "en": ("Two people talk.", "Wherever they are."),
    "zh": ("两个人在说话。", "他们所在的地方。"),
}
"""What a stage is, and its place, where the data tells of neither."""


def plain_stage(
    about: str,
    place: str,
    personas: dict[str, Persona],
    *,
    name: str = "A meeting",
    language: Literal["en", "zh"] = "en",
    **declared: Any,
) -> Stage:
    """A stage of one place, for data that knows nothing of scenes.

    Args:
        about: what the scene is, and
        place: what the place is; 600 characters at most, more is cut at a sentence.
        declared: emotions, actions, props where the data has them.
    """
    here = Place(name="Here", about=sentences(place), position=(0, 0, 0), size=(10, 10))
    scene = Scene(
        name=name,
        language=language,
        about=sentences(about),
        entrance="here",
        places={"here": here},
        cast=[CastMember(character=npc, place="here") for npc in personas],
        **({"emotions": plain_emotions(language)} | declared),
    )
    return Stage(scene=scene, characters=personas)


def plain_emotions(language: Literal["en", "zh"]) -> dict[str, Emotion]:
    """The emotions of a plain stage, in the words of its language."""
    if language == "en":
        return PLAIN_EMOTIONS
    return {
        name: emotion.model_copy(update={"word": CHINESE_WORDS[name]})
        for name, emotion in PLAIN_EMOTIONS.items()
    }


def language_of(text: str) -> Literal["en", "zh"]:
    """The language prompts are written in for a text: Chinese where a third of it is."""
    return "zh" if 3 * len(CHINESE.findall(text)) > len(text) else "en"


def sentences(text: str, most: int = 600) -> str:
    """As many whole sentences of a text as fit, or its first characters if not even one does."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    cut = max(text.rfind(end, 0, most) for end in (". ", "! ", "? ", "。", "！", "？"))
    return text[: cut + 1] if cut > 0 else text[:most]
