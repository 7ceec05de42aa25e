"""Which turns the engine is given now, which wait, and which would come too late.

One for all scenes of a server. A turn is let in when its prompt and its reply fit into the engine's
cache beside those under way; the others wait in order. Knows nothing of prompts or scenes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from npcserver.errors import NpcError

HALF_LIFE_S = 5.0
"""What is expected of the engine halves in this time without news, so that it is tried again."""
WEIGHT = 0.3
"""How much a turn that ended counts against those before it."""


class Late(NpcError):
    """The engine could not answer in time."""

    code = "late"


class Admission:
    """The way to the engine."""

    def __init__(self, cache_tokens: Callable[[], int | None]) -> None:
        """Args: cache_tokens: what the engine's cache holds; None where it has no bound."""
        self._cache_tokens = cache_tokens
        self._inside: dict[asyncio.Future[None], int] = {}
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._expected_s = 0.0
        self._expected_at = 0.0

    @property
    def waiting(self) -> int:
        """Turns that wait to be let in."""
        return len(self._waiting)

    @asynccontextmanager
    async def admitted(self, tokens: int, deadline: float) -> AsyncIterator[None]:
        """Be let in with a prompt and reply of so many tokens, and out at the end.

        Args:
            deadline: by the loop's clock, in seconds.

        Raises:
            Late: by what turns have taken lately, its first word would come after the deadline.
        """
        now = asyncio.get_running_loop().time()
        if self._inside and now + self._expected(now) > deadline:
            raise Late("too many are talking to answer in time")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            if self._waiting or not self._fits(tokens):
                await self._wait(place, tokens, deadline)
            else:
                self._inside[place] = tokens
            yield
        finally:
            self._inside.pop(place, None)
            self._let_in()

    def first_word(self, asked_at: float) -> None:
        """A turn that was asked for at `asked_at` has said its first word now."""
        now = asyncio.get_running_loop().time()
        self._expected_s += WEIGHT * (now - asked_at - self._expected(now))
        self._expected_at = now

    def _expected(self, now: float) -> float:
        """Seconds to a first word, as things are."""
        return float(self._expected_s * 0.5 ** ((now - self._expected_at) / HALF_LIFE_S))

    def _fits(self, tokens: int) -> bool:
        room = self._cache_tokens()
        # One that is too large for the cache alone is for the engine to refuse.
        return room is None or not self._inside or sum(self._inside.values()) + tokens <= room

    async def _wait(self, place: asyncio.Future[None], tokens: int, deadline: float) -> None:
        self._waiting[place] = tokens
        try:
            async with asyncio.timeout_at(deadline):
                await place
        except TimeoutError:
            raise Late("too many are talking; no place became free in time") from None
        finally:
            self._waiting.pop(place, None)

    def _let_in(self) -> None:
        """Wake those who fit now, in order."""
        while self._waiting:
            place, tokens = next(iter(self._waiting.items()))
            if not self._fits(tokens):
                return
            del self._waiting[place]
            if not place.done():
                self._inside[place] = tokens
                place.set_result(None)
