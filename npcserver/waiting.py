"""Who has the floor and who waits for it: the order of a scene's turns.

Turns are kept in the order they were asked for. One begins when no turn before it will be heard by
anybody who hears this one: so within earshot one speaks at a time, and nobody is passed over. Knows
nothing of how a turn is played.
"""

import asyncio
from dataclasses import dataclass, field

from npcserver import hearing
from npcserver.engines.base import Usage
from npcserver.pace import UNASKED
from npcserver.protocol import Because, TimingBody, Volume
from npcserver.state import SceneState

WRAP_UP = 0.6
"""After this share of the time allowed a turn goes no further than its sentence."""


@dataclass(eq=False)
class Turn:
    """One answer, from being asked for to being done. Times are the loop's, in seconds.

    Args:
        asker: the player, or the character, who is answered; empty where nobody asked.
        open: all who might take the turn instead; the model chooses.
        odds: what it chose by.
        depth: lines that characters said to each other before, and with, this one.
        given: words to say instead of finding some.
        authored: the writer's line that is said, by id.
    """

    npc: str
    asker: str
    line: int
    reply_to: str | None
    volume: Volume
    asked_at: float
    allowed_s: float
    because: Because | None = None
    open: tuple[str, ...] = ()
    odds: dict[str, float] | None = None
    depth: int = 0
    given: str = ""
    authored: str | None = None
    task: asyncio.Task[None] | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    turn_id: str = ""
    audience: frozenset[str] = frozenset()
    begun_at: float = 0.0
    first_word_at: float | None = None
    text: str = ""
    sentences: int = 0
    usage: Usage = field(default_factory=Usage)

    @property
    def deadline(self) -> float:
        """When it is stopped."""
        return self.asked_at + self.allowed_s

    @property
    def wrap_up_at(self) -> float:
        """From then on it ends with the sentence it is in."""
        return self.asked_at + WRAP_UP * self.allowed_s

    @property
    def unasked(self) -> bool:
        """No player asked for it: it gives way to those they did ask for."""
        return self.because in UNASKED

    def is_for(self, player: str) -> bool:
        """Whether it is this player's to stop: said to them, or unasked within their hearing."""
        return self.asker == player or (self.unasked and player in self.audience)

    @property
    def to(self) -> list[str]:
        """Whom it is said to."""
        return [self.asker] if self.asker else []

    def timing(self, now: float) -> TimingBody:
        """How long it took by now."""
        first = self.first_word_at or now
        return TimingBody(
            queue_ms=round(1000 * (self.begun_at - self.asked_at)),
            ttft_ms=round(1000 * (first - self.asked_at)),
            total_ms=round(1000 * (now - self.asked_at)),
        )


class Turns(list[Turn]):
    """A scene's turns under way, in the order they were asked for."""

    def ahead_of(self, turn: Turn, state: SceneState) -> Turn | None:
        """The first turn before this one that is heard by somebody who hears this one too."""
        heard_by = reach(turn, state)
        for other in self:
            if other is turn:
                return None
            if heard_by & reach(other, state):
                return other
        return None

    def talking_over(self, turn: Turn, state: SceneState) -> Turn | None:
        """A turn that has begun and is heard by somebody who hears this one."""
        heard_by = reach(turn, state)
        begun = (other for other in self if other.turn_id and other is not turn)
        return next((other for other in begun if heard_by & other.audience), None)


def reach(turn: Turn, state: SceneState) -> frozenset[str]:
    """Who hears a turn, or would if it began now."""
    if turn.turn_id:
        return turn.audience
    volume = reply_volume(turn, state)
    return hearing.listeners(state, turn.npc, volume, tuple(turn.to)) | frozenset(turn.to)


def reply_volume(turn: Turn, state: SceneState) -> Volume:
    """How loud a turn is, if it begins now."""
    return hearing.answer_volume(state, turn.npc, turn.asker, turn.volume)
