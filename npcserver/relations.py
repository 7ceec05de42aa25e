"""A character's relation to a player: trust, familiarity and debt, and what moved them last.

Values only; story.py says what moves them. Knows nothing of scenes or prompts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from npcserver.plot import Move

Measure = Literal["trust", "familiarity", "debt"]
LOWEST: Mapping[Measure, int] = {"trust": -100, "familiarity": 0, "debt": -100}
HIGHEST = 100
REMEMBERED_MOVES = 32
"""Moves of each measure that are remembered; what it was before the oldest is forgotten."""


@dataclass(frozen=True)
class Moved:
    """One move of one measure.

    Args:
        since: the last happening that did not know of it yet.
        by: what was really gained or lost, the bounds considered.
        why: what moved it, as `talk: Thank you.` or `event: fog`.
    """

    since: int
    measure: Measure
    by: int
    why: str


@dataclass(frozen=True)
class Relation:
    """How a character stands to a player. Trust and debt are -100 to 100, familiarity 0 to 100."""

    levels: Mapping[Measure, int] = field(default_factory=lambda: dict.fromkeys(LOWEST, 0))
    moves: tuple[Moved, ...] = ()
    talked: Mapping[str, int] = field(default_factory=dict)
    """How often talk of each kind has moved it."""

    def talk(self, since: int, by: Mapping[Measure, int], kind: str, why: str) -> "Relation":
        """The relation after talk: of one kind each time moves half as much, until none does."""
        times = self.talked.get(kind, 0)
        left = {measure: int(change / 2**times) for measure, change in by.items()}
        if not any(left.values()):
            return self
        talked = {**self.talked, kind: times + 1}
        return replace(self.moved(since, left, why), talked=talked)

    def moved(self, since: int, by: Mapping[Measure, int], why: str) -> "Relation":
        """The relation after a move, within its bounds."""
        levels, moves = dict(self.levels), list(self.moves)
        for measure, change in by.items():
            level = min(HIGHEST, max(LOWEST[measure], levels[measure] + change))
            if level != levels[measure]:
                same = [move for move in moves if move.measure == measure]
                if len(same) == REMEMBERED_MOVES:
                    moves.remove(same[0])
                moves.append(Moved(since, measure, level - levels[measure], why))
                levels[measure] = level
        return replace(self, levels=levels, moves=tuple(moves))

    def at(self, number: int, measure: Measure) -> int:
        """What a measure was when happening `number` occurred."""
        later = (m.by for m in self.moves if m.measure == measure and m.since >= number)
        return self.levels[measure] - sum(later)


def changes(move: Move) -> dict[Measure, int]:
    """By how much a move written in a scene's file moves what."""
    return {"trust": move.trust, "familiarity": move.familiarity, "debt": move.debt}
