"""One player's session: what was sent to them, in order, and what they asked already.

It outlives its socket for a while, so that a dropped one can resume with nothing lost or doubled.
One log serves as send queue and as memory for a resume; a socket reads it with a cursor. Knows
nothing of sockets.
"""

import asyncio
import secrets
from collections import OrderedDict, deque
from itertools import islice

from npcserver.bounds import Bucket
from npcserver.protocol import Ack, PlayerInfo, ServerMessage

REMEMBERED_ACKS = 4096


class Session:
    """The ordered stream of messages to one player."""

    def __init__(
        self, player: PlayerInfo, scene: str, instance: str, keep: int, lines: Bucket
    ) -> None:
        """Args: keep: messages remembered for a resume. lines: how many the player may say."""
        self.id = f"s-{secrets.token_urlsafe(12)}"
        self.player = player
        self.scene = scene
        self.instance = instance
        self.lines = lines
        self.seq = 0
        self.news = asyncio.Event()
        self.overflow = asyncio.Event()
        self._cursor = 0
        self._most_unsent: int | None = None
        self._bodies: deque[str] = deque()
        self._keep = keep
        self._acks: OrderedDict[str, Ack] = OrderedDict()

    def push(self, message: ServerMessage) -> None:
        """Append a message; whoever sends for this session is woken."""
        self._bodies.append(message.wire())
        self.seq += 1
        while len(self._bodies) > self._keep:
            self._bodies.popleft()
        self.news.set()
        unsent = self.seq - self._cursor
        if self._most_unsent is not None and unsent > min(self._most_unsent, self._keep):
            self.overflow.set()

    def attach(self, cursor: int, queue: int) -> None:
        """A socket sends from `cursor` on; `overflow` is set when it falls `queue` behind."""
        self._cursor = cursor
        # What waits already was missed while nobody was connected; it does not make one slow.
        self._most_unsent = queue + self.seq - cursor
        self.overflow.clear()

    def detach(self) -> None:
        """The socket is gone; messages are kept for a resume."""
        self._most_unsent = None

    def unsent(self, limit: int = 64) -> list[str]:
        """The next frames to send, at most `limit`, each with its `seq`."""
        start = len(self._bodies) - (self.seq - self._cursor)
        if start < 0:
            return []  # dropped already; `overflow` is set
        bodies = islice(self._bodies, start, start + limit)
        return [
            f'{body[:-1]},"seq":{number}}}' for number, body in enumerate(bodies, self._cursor + 1)
        ]

    def sent(self) -> None:
        """One more frame was sent."""
        self._cursor += 1

    def can_resume(self, after_seq: int) -> bool:
        """Whether everything after `after_seq` is still here."""
        return self.seq - len(self._bodies) <= after_seq <= self.seq

    def rewind(self, after_seq: int, started: ServerMessage) -> None:
        """Go on after `after_seq`: first `started`, then everything the client missed.

        What was missed is numbered anew, one higher, so that `seq` rises by one for the client.
        """
        missed = self.seq - after_seq
        for _ in range(len(self._bodies) - missed):
            self._bodies.popleft()
        self._bodies.appendleft(started.wire())
        self.seq += 1
        self.news.set()

    def answered(self, message_id: str) -> Ack | None:
        """The ack given to a message before, if it was acted on or refused already."""
        return self._acks.get(message_id)

    def acknowledge(self, ack: Ack) -> None:
        """Answer a message that was acted on, and remember that it was."""
        self.remember(ack)
        self.push(ack)

    def remember(self, ack: Ack) -> None:
        """Keep an ack, so that the same message acts once."""
        self._acks[ack.ref] = ack
        while len(self._acks) > REMEMBERED_ACKS:
            self._acks.popitem(last=False)
