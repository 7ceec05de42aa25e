"""Why a character said what they said, found again from the journal.

Facts are stored and the rest derived: the scene is folded up to the turn, and the prompt built anew
by the builder that the turn used. So any turn can be explained, also after a restart. Knows no
files and no engines.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import BaseModel

from npcserver import knowledge
from npcserver.engines.base import Role
from npcserver.journal import Entry
from npcserver.library import LoadedScene
from npcserver.memory import Recalled
from npcserver.prompt import Deed, PromptBuilder
from npcserver.protocol import (
    PlayerActed,
    PlayerSaid,
    TurnAction,
    TurnDone,
    TurnEmotion,
    TurnStarted,
)
from npcserver.state import SceneState, deed_words
from npcserver.unfolding import BY_ANSWERING

SHOWN_MOVES = 8
"""The last moves of a relation that are told."""


class Block(BaseModel):
    """A block of the prompt."""

    role: Role
    text: str


class Withheld(BaseModel):
    """Something a character did not say because they may not, and why not."""

    fact: str
    why: str


class Standing(BaseModel):
    """How the character stood to the player, and what moved that last, the newest last; that
    every answer makes them know each other better goes without saying."""

    trust: int = 0
    familiarity: int = 0
    debt: int = 0
    moves: list[str] = []


class Said(BaseModel):
    """A piece of what was said, and how likely the model found it after all before it."""

    text: str
    probability: float


class Explanation(BaseModel):
    """All that a turn hung on.

    Args:
        prompt: what the model read, up to the character's name; `opening` is how it went on.
        example: the example recalled for the line: what was asked in it, and answered.
        facts: what was recalled for the line.
        memories: what the character remembered with it, of what the prompt no longer held.
        known: all that the character knew then, and
        withheld: what they did not know then, or hide; none of it is in the prompt.
        because: why it was this character, and
        odds: where the model chose, how likely each who might have spoken was.
        relation: to whoever was answered.
        beats: those that were open.
        beside: what stood beside the line besides: lore, and what they wanted in a beat.
        authored: the id of the writer's line that was said, where it was one.
        emotions, actions: the probabilities decided on; an action not done is `none`.
        surprise: the pieces of `text` and how likely the model of now finds each; None where it is
            a writer's, or the engine cannot tell.
    """

    turn_id: str
    npc: str
    status: str = "under way"
    reason: str | None = None
    text: str = ""
    line: str = ""
    because: str | None = None
    odds: dict[str, float] = {}
    prompt: list[Block] = []
    opening: str = ""
    example: tuple[str, str] | None = None
    facts: list[str] = []
    memories: list[Recalled] = []
    known: list[str] = []
    withheld: list[Withheld] = []
    relation: Standing = Standing()
    beats: list[str] = []
    beside: list[str] = []
    authored: str | None = None
    emotion: str = ""
    emotions: dict[str, float] = {}
    action: str = "none"
    actions: dict[str, float] = {}
    first_word_ms: int | None = None
    surprise: list[Said] | None = None


@dataclass
class _Fold:
    """A scene folded up to now. Args: lines: the number of what each message said or did."""

    state: SceneState
    lines: dict[tuple[str, str], int] = field(default_factory=dict)

    def apply(self, entry: Entry) -> None:
        self.state.apply(entry)
        match entry.fact:
            case PlayerSaid(player=player, line_id=line):
                self.lines[player, line] = self.state.number
            case PlayerActed(player=player) if entry.message_id:
                self.lines[player, entry.message_id] = self.state.number
            case TurnDone(npc=npc, turn_id=turn) as done if done.text:
                self.lines[npc, turn] = self.state.number


def explain(
    loaded: LoadedScene,
    entries: Iterable[Entry],
    turn_id: str,
    budget: int,
    history: int,
    recall: int = 0,
) -> Explanation | None:
    """Explain a turn; None where there is none. Of turns with one id, it is the newest.

    Args:
        budget: the longest prompt, in estimated tokens.
        history: past happenings a prompt may hold, and
        recall: tokens of older ones a line may recall, as set now.
    """
    fold, found = _Fold(SceneState(loaded)), None
    for entry in entries:
        match entry.fact:
            case TurnStarted() as started if started.turn_id == turn_id:
                builder = PromptBuilder(loaded, started.npc, budget, history, recall)
                found = _begun(fold, started, builder)
            case TurnEmotion() as felt if found and felt.turn_id == turn_id:
                found.emotion, found.emotions = felt.emotion, felt.probabilities or {}
                found.opening = _opening(loaded, found, None)
            case TurnAction() as done if found and done.turn_id == turn_id:
                words = deed_words(fold.state, done.name, done.target, done.args)
                found.action, found.actions = done.name, done.probabilities or {}
                deed = Deed(done.name, done.target, done.args, words)
                found.opening = _opening(loaded, found, deed)
            case TurnDone() as over if found and over.turn_id == turn_id:
                found.status, found.reason, found.text = over.status, over.reason, over.text
                found.first_word_ms = over.timing.ttft_ms
                found.authored = over.authored
        fold.apply(entry)
    return found


def _begun(fold: _Fold, started: TurnStarted, builder: PromptBuilder) -> Explanation:
    state, npc = fold.state, started.npc
    number = started.line
    if number is None:  # an older journal
        asked = [fold.lines.get((who, started.in_reply_to or ""), 0) for who in started.to]
        number = max(asked, default=0) or state.number
    told = Explanation(turn_id=started.turn_id, npc=npc, because=started.because)
    told.odds = started.probabilities or {}
    line = next((past for past in state.happenings if past.number == number), None)
    if line is None:
        return told
    loaded, heard = builder.loaded, line.heard_as(npc)
    asker = line.speaker or next(iter(started.to), "")
    known = knowledge.known(loaded, state, npc, number, line.speaker)
    example, facts = builder.recalled(heard, known)
    reading = builder.read(state, line)
    told.line = heard
    told.prompt = [Block(role=each.role, text=each.text) for each in reading.prompt.messages]
    told.opening = reading.prompt.opening
    told.example = (example.line, example.reply) if example else None
    told.facts, told.known = facts, list(known)
    told.memories = list(reading.memories)
    told.withheld = [
        Withheld(fact=fact, why=why)
        for fact, why in knowledge.withheld(loaded, state, npc, number, line.speaker)
    ]
    told.relation = _standing(state, npc, asker, number)
    told.beats = [beat for beat in loaded.scene.beats if state.story.is_open(beat, number)]
    told.beside = [*reading.beside.before, *reading.beside.after]
    return told


def _standing(state: SceneState, npc: str, player: str, number: int) -> Standing:
    """A relation as it was at a happening."""
    relation = state.story.relation(npc, player)
    moves = [m for m in relation.moves if m.since < number and m.why != BY_ANSWERING][-SHOWN_MOVES:]
    return Standing(
        trust=relation.at(number, "trust"),
        familiarity=relation.at(number, "familiarity"),
        debt=relation.at(number, "debt"),
        moves=[f"{move.measure} {move.by:+d}: {move.why}" for move in moves],
    )


def _opening(loaded: LoadedScene, told: Explanation, deed: Deed | None) -> str:
    builder = PromptBuilder(loaded, told.npc, 0)
    return builder.character.name + builder.opening(told.emotion, deed)
