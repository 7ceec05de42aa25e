"""Scenario files: what players do in a scene, and what must come of it.

A scenario is a YAML file in a scene's `scenarios/`:

    about: Ferdi sells food to whoever asks for it.
    steps:
      - say: Is there anything hot to eat?
        to: [ferdi]
        expect:
          - says: [soup | dumplings]
            action: [serve]
            first_word_ms: 2000

Validated like a scene, with `file:line: field: what to do`. Knows nothing of how it is played.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from npcserver import documents
from npcserver.documents import Document
from npcserver.errors import SceneError
from npcserver.fields import Flag, Id, Text
from npcserver.library import LoadedScene

Status = Literal["completed", "interrupted", "silent", "timeout", "blocked", "failed"]
Watch = Literal[
    "secrets", "actions", "loops", "marks", "speakers", "character", "language", "numbers"
]
WATCHES: tuple[Watch, ...] = (
    "secrets",
    "actions",
    "loops",
    "marks",
    "speakers",
    "character",
    "language",
)
"""What every scenario watches for in every turn, unless it says otherwise. `numbers` is watched for
only where it is asked for: a character may well count."""
PlayerId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)]
ACTS = ("say", "event", "set", "move", "act", "result", "cancel", "lock", "join", "wait_s")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Chance(_Strict):
    """Bounds of a probability."""

    above: float = Field(0, ge=0, le=1)
    below: float = Field(1, ge=0, le=1)


class Expected(_Strict):
    """A turn that must come; whatever is left out may be anything.

    Args:
        says: each must be in the words, whatever the case; `a | b` is one or the other.
        says_not: none of these may be.
        emotion, action: one of these; doing nothing is the action `none`.
        chances: bounds for the probabilities of emotions and actions.
        authored: the id of the writer's line that it must be; `none` where it may be no such line.
        judged: statements that must be true of the turn, as a judge reads it.
        heard_by, unheard_by: players who must, or must not, be told of the turn.
    """

    npc: Id | None = None
    status: Status = "completed"
    reason: Text | None = None
    says: list[Text] = []
    says_not: list[Text] = []
    emotion: list[Id] = []
    action: list[Id] = []
    target: str | None = None
    args: dict[str, Any] = {}
    chances: dict[Id, Chance] = {}
    authored: Id | None = None
    first_word_ms: int | None = Field(None, ge=0)
    total_ms: int | None = Field(None, ge=0)
    judged: list[Text] = []
    heard_by: list[PlayerId] = []
    unheard_by: list[PlayerId] = []


class Step(_Strict):
    """One thing that happens, and what must come of it.

    Args:
        say, event, set, move, act, result, cancel, lock, join, wait_s: exactly one of these.
        lock: the game begins to play a scripted scene, or ends it.
        join: this player comes in now; all others are there from the beginning.
        wait_s: nobody does anything for so many seconds.
        looking_at: whom the player looks at while saying it.
        by: the player who does it; without it, the first one.
        expect: the turns that must follow, in order, and no others; without it, anything may.
        messages: fields of messages that `by` must be told, in this order, others between them.
        no_messages: fields of messages that nobody may be told.
    """

    say: Text | None = None
    to: list[str] = []
    looking_at: str | None = None
    volume: Literal["whisper", "talk", "shout"] = "talk"
    deadline_ms: int | None = None
    event: Id | None = None
    seen_by: list[str] | None = None
    set: dict[Id, Flag] | None = None
    move: Id | None = None
    act: Id | None = None
    target: str | None = None
    args: dict[str, Any] = {}
    result: Literal["done", "failed", "refused"] | None = None
    detail: Text | None = None
    cancel: Literal[True] | None = None
    lock: bool | None = None
    join: PlayerId | None = None
    wait_s: float | None = Field(None, gt=0, le=600)
    by: PlayerId | None = None
    expect: list[Expected] | None = None
    messages: list[dict[str, Any]] = []
    no_messages: list[dict[str, Any]] = []

    @model_validator(mode="after")
    def _one_act(self) -> "Step":
        given = [name for name in ACTS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"has exactly one of {', '.join(ACTS)}; here are {len(given)}")
        return self


class Scenario(_Strict):
    """A dialogue with expectations.

    Args:
        players: names by id, in the order they come in.
        watch: what no turn may show.
    """

    about: Text
    players: Annotated[dict[PlayerId, Text], Field(min_length=1, max_length=8)] = {"kit": "Kit"}
    watch: list[Watch] = list(WATCHES)
    steps: Annotated[list[Step], Field(min_length=1, max_length=500)]

    @property
    def first(self) -> dict[PlayerId, Text]:
        """The players who are there from the beginning."""
        later = {step.join for step in self.steps}
        return {player: name for player, name in self.players.items() if player not in later}


@dataclass(frozen=True)
class LoadedScenario:
    """A scenario, its scene, and where each of its steps stands."""

    scene: LoadedScene
    scenario: Scenario
    file: Path
    lines: tuple[int, ...]

    @property
    def id(self) -> str:
        """Unique among all scenes: `hollin_pass/soup`."""
        return f"{self.scene.id}/{self.file.stem}"


def load(scene: LoadedScene) -> list[LoadedScenario]:
    """The scenarios beside a scene, by name.

    Raises:
        SceneError: with every fault found, one a line.
    """
    found, faults = [], []
    for file in sorted((scene.folder / "scenarios").glob("*.yaml")):
        document = documents.read(file)
        scenario = documents.validate(document, Scenario)
        if scenario is not None:
            _check(document, scenario, scene)
            lines = tuple(document.line(("steps", at)) for at in range(len(scenario.steps)))
            found.append(LoadedScenario(scene, scenario, file, lines))
        faults += document.faults
    if faults:
        raise SceneError("\n".join(map(str, faults)))
    return found


def _check(document: Document, scenario: Scenario, loaded: LoadedScene) -> None:
    """Note every id that the scene does not have."""
    scene, players = loaded.scene, list(scenario.players)
    everyone = [*loaded.characters, *players]
    for player in players:
        if player in loaded.characters:
            document.fault(("players", player), "is a character's id; choose another")
    for at, step in enumerate(scenario.steps):
        where = ("steps", at)
        _among(document, (*where, "by"), [step.by] if step.by else [], players)
        _among(document, (*where, "to"), step.to, everyone)
        _among(document, (*where, "looking_at"), [step.looking_at or everyone[0]], everyone)
        _among(document, (*where, "join"), [step.join] if step.join else [], players)
        _among(document, (*where, "event"), [step.event] if step.event else [], [*scene.events])
        _among(document, (*where, "set"), step.set or {}, [*scene.flags])
        _among(document, (*where, "move"), [step.move] if step.move else [], [*scene.places])
        for number, expected in enumerate(step.expect or []):
            inner = (*where, "expect", number)
            npc = [expected.npc] if expected.npc else []
            _among(document, (*inner, "npc"), npc, [*loaded.characters])
            _among(document, (*inner, "emotion"), expected.emotion, [*scene.emotions])
            _among(document, (*inner, "action"), expected.action, ["none", *scene.actions])
            known = [*scene.emotions, "none", *scene.actions]
            _among(document, (*inner, "chances"), expected.chances, known)
            authored = [expected.authored] if expected.authored else []
            written = [line.id for each in loaded.characters.values() for line in each.lines]
            _among(document, (*inner, "authored"), authored, ["none", *written])
            _among(document, (*inner, "heard_by"), expected.heard_by, players)
            _among(document, (*inner, "unheard_by"), expected.unheard_by, players)


def _among(document: Document, where: tuple[str | int, ...], given: Any, known: list[str]) -> None:
    for name in given:
        if name not in known:
            choices = ", ".join(known) or "none"
            document.fault(where, f"there is no {name!r}; declared are {choices}")


def says(text: str, wanted: str) -> bool:
    """Whether one of the alternatives `a | b` stands in a text, as whole words."""
    return any(_within(text, each.strip()) for each in wanted.split("|") if each.strip())


def _within(text: str, words: str) -> bool:
    first, last = (
        r"\b" if re.match(r"\w", c) and c.isascii() else "" for c in (words[0], words[-1])
    )
    return re.search(first + re.escape(words) + last, text, re.IGNORECASE) is not None
