"""An engine that can be exchanged for another while requests are under way.

New requests go to the new one; those under way end on the one they began on, which is closed once
its last has ended. Knows nothing of models.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from npcserver.engines.base import Decision, Engine, EngineStatus, Piece, Prompt, Sampling, score
from npcserver.errors import EngineError

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Post:
    """An engine and how many requests it has."""

    engine: Engine
    requests: int = 0


class SwappableEngine:
    """Whichever engine is in use now."""

    def __init__(self, engine: Engine) -> None:
        """Args: engine: the first one, not started yet."""
        self._post = _Post(engine)
        self._retired: set[_Post] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._swapping = asyncio.Lock()
        self._closed = False

    async def start(self) -> None:
        """Load the first engine's model."""
        await self._post.engine.start()

    async def use(self, new: Engine) -> None:
        """Start another engine and let it take over. Swaps asked for meanwhile wait their turn.

        Returns once new requests go to it; the old one may still be busy.

        Raises:
            NpcError: it could not start, or this is closed; the old one stays.
        """
        async with self._swapping:
            if self._closed:
                raise EngineError("the engine is closed")
            try:
                await new.start()
            except BaseException:
                await new.close()
                raise
            old, self._post = self._post, _Post(new)
            self._retired.add(old)
            self._close_if_idle(old)

    async def close(self) -> None:
        """Free everything, what is being started too. Requests under way fail with EngineError."""
        self._closed = True
        async with self._swapping:
            engines = [post.engine for post in (self._post, *self._retired)]
            self._retired.clear()
            await asyncio.gather(*(engine.close() for engine in engines), *self._closing)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Stream the continuation of `prompt`, all of it from one engine."""
        with self._held() as engine:
            async with aclosing(engine.generate(prompt, sampling)) as pieces:
                async for piece in pieces:
                    yield piece

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        """Score each option as the very next text after `prompt`."""
        with self._held() as engine:
            return await engine.decide(prompt, options)

    async def score(self, prompt: Prompt, text: str) -> list[tuple[str, float]] | None:
        """The pieces of `text` and the log-probability of each; None where it cannot tell."""
        with self._held() as engine:
            return await score(engine, prompt, text)

    async def warm(self, prompt: Prompt) -> None:
        """Compute `prompt` now."""
        with self._held() as engine:
            await engine.warm(prompt)

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text."""
        with self._held() as engine:
            return await engine.count(texts)

    def status(self) -> EngineStatus:
        """What the engine that takes new requests is doing now."""
        return self._post.engine.status()

    @contextmanager
    def _held(self) -> Iterator[Engine]:
        """The engine of now, for one request; it is not closed before the request has ended."""
        post = self._post
        post.requests += 1
        try:
            yield post.engine
        finally:
            post.requests -= 1
            self._close_if_idle(post)

    def _close_if_idle(self, post: _Post) -> None:
        """Close a retired engine beside whoever ended its last request."""
        if post.requests or post not in self._retired:
            return
        self._retired.discard(post)
        task = asyncio.create_task(_close(post.engine), name="closing an engine")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _close(engine: Engine) -> None:
    try:
        await engine.close()
    except Exception:
        log.exception("an engine that was replaced could not be closed")
