"""How often characters spoke unasked, and whether they may: a small part of a scene's state.

A fold of the journal like all of it. Knows nothing of who speaks next; the director asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from npcserver.journal import Entry
from npcserver.protocol import (
    Because,
    PlayerActed,
    PlayerJoined,
    PlayerLeft,
    PlayerSaid,
    SceneChanged,
    TurnStarted,
)

OWN_ACCORD: frozenset[Because] = frozenset({"event", "arrival", "silence"})
UNASKED: frozenset[Because] = OWN_ACCORD | {"exchange"}
"""Why characters speak when no player asked them to."""
WINDOW_MS = 60_000


@dataclass(frozen=True)
class Pace:
    """What is to be known of unasked lines. Times are Unix milliseconds.

    Args:
        locked_by: the host who plays a scripted scene; nobody else speaks meanwhile.
        own: when lines of characters' own accord began, in the last minute.
        unanswered: silences broken since a player last did something.
        spoke: when each character last spoke unasked.
    """

    locked_by: str = ""
    own: tuple[int, ...] = ()
    unanswered: int = 0
    spoke: Mapping[str, int] = field(default_factory=dict)

    def after(self, entry: Entry) -> "Pace":
        """The pace once an entry is taken in."""
        match entry.fact:
            case PlayerSaid() | PlayerActed() | PlayerJoined():
                return replace(self, unanswered=0) if self.unanswered else self
            case PlayerLeft(player=player) if player == self.locked_by:
                return replace(self, locked_by="")
            case SceneChanged(what="locked", name=str(host)):
                return replace(self, locked_by=host)
            case SceneChanged(what="unlocked"):
                return replace(self, locked_by="")
            case TurnStarted(because=because, npc=npc) if because in UNASKED:
                own = self.own
                if because in OWN_ACCORD:
                    own = (*self.recent(entry.at_ms), entry.at_ms)
                return replace(
                    self,
                    own=own,
                    unanswered=self.unanswered + (because == "silence"),
                    spoke={**self.spoke, npc: entry.at_ms},
                )
        return self

    def later(self, ms: int) -> "Pace":
        """The pace as if everything had been so much later: who rested in a save rests as long."""
        spoke = {npc: at + ms for npc, at in self.spoke.items()}
        return replace(self, own=tuple(at + ms for at in self.own), spoke=spoke)

    def recent(self, now_ms: int) -> tuple[int, ...]:
        """When lines of own accord began in the minute before now."""
        return tuple(at for at in self.own if now_ms - at < WINDOW_MS)

    def rests(self, npc: str, now_ms: int, cooldown_s: float) -> bool:
        """Whether a character spoke unasked so lately that others come first."""
        at = self.spoke.get(npc)
        return at is not None and now_ms - at < 1000 * cooldown_s
