"""What happened, and who was there: the values that a scene's state is made of.

Frozen, but for turns under way. Knows nothing of how they come about.
"""

from collections.abc import Set
from dataclasses import dataclass, field, replace

from npcserver.protocol import Position, TurnAction, TurnStarted, TurnStatus, Volume


@dataclass(frozen=True)
class Body:
    """Somebody in the scene, and where they stand."""

    id: str
    name: str
    place: str
    position: Position
    npc: bool
    about: str | None = None
    emotion: str = ""


@dataclass(frozen=True)
class Happening:
    """Something that was said or done, and who perceived it.

    Args:
        number: its place in the instance's history; what a restore forgot frees its numbers.
        text: all the words spoken, or what was done as a sentence; `heard_as` is what somebody in
            particular remembers.
        spoken: whether `text` is speech.
        deed: what a character did while speaking, as the prompt says it.
        authored: the writer's line that it is, by id, where it was not cut short.
        reached: how many characters of `text` reached whom, where somebody did not hear all of it.
    """

    number: int
    speaker: str
    name: str
    text: str
    spoken: bool
    to: tuple[str, ...]
    volume: Volume
    heard_by: frozenset[str]
    at_ms: int
    turn_id: str | None = None
    status: TurnStatus | None = None
    emotion: str | None = None
    deed: str | None = None
    authored: str | None = None
    reached: tuple[tuple[str, int], ...] = ()

    def heard_as(self, listener: str) -> str:
        """The words as far as `listener` heard them."""
        return self.text[: dict(self.reached).get(listener)]

    def reaching(self, player: str, chars: int, npcs: Set[str]) -> "Happening":
        """The same, once it is known how far it reached a player; the farthest counts.

        A character remembers of their own words what reached those they were said to, and of
        another's what reached any player: a voice that was cut for all was cut for everybody.
        """
        whole = len(self.text)
        if player not in self.heard_by or player in npcs:
            return self
        reached = {who: at for who, at in self.reached if who not in npcs}
        reached[player] = max(min(chars, whole), reached.get(player, 0))
        players = self.heard_by - npcs
        cut = dict(reached)
        for npc in self.heard_by & npcs:
            meant = players & set(self.to) if npc == self.speaker else players
            cut[npc] = max(reached.get(each, whole) for each in meant or players)
        return replace(self, reached=tuple(sorted(cut.items())))


@dataclass
class OpenTurn:
    """A turn that has started and not ended."""

    started: TurnStarted
    audience: frozenset[str]
    at_ms: int
    emotion: str | None = None
    action: TurnAction | None = None
    attended: dict[str, str | None] = field(default_factory=dict)
    """Whom its listeners talked with before; where it stays silent, they still do."""
    heard: dict[str, int] = field(default_factory=dict)
    """How many characters reached a player by now."""


@dataclass(frozen=True)
class Doing:
    """Something a character did, of which the game may still say what came.

    Args:
        started: the turn in which it was done.
        seen_by: who perceived it.
    """

    started: TurnStarted
    action: TurnAction
    seen_by: frozenset[str]
