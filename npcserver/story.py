"""The story of a live scene as far as it has come, and which conditions hold in it.

Beats, flags, relations, what was said and told. Everything is kept with the happening since which
it holds, so that what was true for an older line can still be told, and a prompt built anew says
what it said. Frozen, so that a save is the value itself; unfolding.py takes it further. Knows no
prompts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from npcserver.errors import Rejected
from npcserver.fields import Flag
from npcserver.plot import Bounds, When
from npcserver.protocol import SceneChanged, SceneSet
from npcserver.relations import Measure, Relation
from npcserver.sheets import Scene

FROM_THE_BEGINNING = -1
SOMEBODY = ""
"""Stands among the players to whom a line was said, so that it stays said when they are erased."""

EVERYBODY = ""
"""Stands for the players to whom a character may show that they heard something said aloud."""

Since = Mapping[str, int]
"""Since which happening, by name; what is since 4 holds for happening 5."""
Witnessed = Mapping[tuple[str, str], int]
Told = Mapping[tuple[str, str], int]
"""Since when a fact counts as told, by the character who heard it and who may be shown that: what
was whispered, only whoever heard the whisper too. The scene itself stands among the characters as
an empty one. So it grows with those who hear, not with how often it is told."""


@dataclass(frozen=True)
class Situation:
    """Who is to know, want or say something, to whom, and in answer to which happening.

    Args:
        npc: empty where the scene itself is asked.
        place: where the player is.
    """

    npc: str
    player: str
    place: str
    number: int


@dataclass(frozen=True)
class Story:
    """How far the story has come.

    Args:
        relations: by character and player; none is there before something moved it.
        flags: the values of each, oldest first, with their since.
        said: to which players each authored line was said; and, whoever they were, to SOMEBODY.
    """

    relations: Mapping[tuple[str, str], Relation] = field(default_factory=dict)
    flags: Mapping[str, tuple[tuple[int, Flag], ...]] = field(default_factory=dict)
    events: Since = field(default_factory=dict)
    opened: Since = field(default_factory=dict)
    closed: Since = field(default_factory=dict)
    told: Mapping[str, Told] = field(default_factory=dict)
    said: Mapping[str, Since] = field(default_factory=dict)

    def relation(self, npc: str, player: str) -> Relation:
        """How a character stands to a player."""
        return self.relations.get((npc, player), Relation())

    def flag(self, name: str, number: int) -> Flag:
        """The value of a declared flag when happening `number` occurs."""
        values = self.flags[name]
        return next((value for since, value in reversed(values) if since < number), values[0][1])

    def is_open(self, beat: str, number: int) -> bool:
        """Whether a beat is open when happening `number` occurs."""
        return _by(self.opened, beat, number) and not _by(self.closed, beat, number)

    def has_heard(self, player: str, line: str) -> bool:
        """Whether an authored line was said to a player."""
        return player in self.said.get(line, {})

    # ---- conditions ------------------------------------------------------------------------

    def unmet(self, when: When | None, at: Situation, witnessed: Witnessed) -> str | None:
        """What keeps a condition from holding, in words; None where it holds."""
        return None if when is None else next(self._unmet(when, at, witnessed), None)

    def _unmet(self, when: When, at: Situation, witnessed: Witnessed) -> Iterator[str]:
        number = at.number
        if when.beat and not self.is_open(when.beat, number):
            yield f"beat {when.beat} is not open"
        if when.before and _by(self.opened, when.before, number):
            yield f"beat {when.before} was open already"
        if when.past and not _by(self.closed, when.past, number):
            yield f"beat {when.past} is not past"
        if when.after and not self._happened(when.after, at, witnessed):
            yield f"event {when.after} has not happened"
        if when.said and not any(since < number for since in self.said.get(when.said, {}).values()):
            yield f"line {when.said} has not been said"
        if when.told and not _was_told(self.told.get(when.told, {}), at):
            yield f"fact {when.told} has not been told"
        for flag, value in when.flags.items():
            if (now := self.flag(flag, number)) != value:
                yield f"flag {flag} is {now!r}, not {value!r}"
        if when.place and at.place != when.place:
            yield f"the player is not in {when.place}"
        relation = self.relation(when.who or at.npc, at.player)
        for measure, bounds in _bounded(when):
            if fault := bounds.fault(relation.at(number, measure)):
                yield f"{measure} {fault}"

    def _happened(self, event: str, at: Situation, witnessed: Witnessed) -> bool:
        if not at.npc:
            return _by(self.events, event, at.number)
        since = witnessed.get((at.npc, event))
        return since is not None and since < at.number


def begin(scene: Scene) -> Story:
    """The story before anything happened."""
    return Story(
        flags={name: ((FROM_THE_BEGINNING, value),) for name, value in scene.flags.items()},
        opened={name: FROM_THE_BEGINNING for name, beat in scene.beats.items() if not beat.when},
    )


def flag_changed(scene: Scene, given: SceneSet, *, host: bool) -> SceneChanged:
    """What a host's `scene.set` changes. Raises Rejected where it cannot be."""
    if not host:
        raise Rejected("only a token of role host may set flags", "not_allowed")
    if given.name not in scene.flags:
        there = ", ".join(scene.flags) or "none"
        raise Rejected(
            f"the scene declares no flag {given.name!r}; there are {there}", "unknown_id"
        )
    if type(given.value) is not (kind := type(scene.flags[given.name])):
        raise Rejected(f"value: {given.name} is declared as a {kind.__name__}", "bad_args")
    return SceneChanged(what="flag", name=given.name, args={"value": given.value})


def _by(since: Since, name: str, number: int) -> bool:
    return name in since and since[name] < number


def _was_told(told: Told, at: Situation) -> bool:
    """Whether a character knows of a fact, and may show that to whoever is answered."""
    pairs = ((at.npc, EVERYBODY), (at.npc, at.player))
    return any(pair in told and told[pair] < at.number for pair in pairs)


def _bounded(when: When) -> Iterator[tuple[Measure, Bounds]]:
    if when.trust:
        yield "trust", when.trust
    if when.familiarity:
        yield "familiarity", when.familiarity
    if when.debt:
        yield "debt", when.debt
