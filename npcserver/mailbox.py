"""What one writer is to do, one thing after the other; whoever asks is answered, also at the end.

Bounded: who comes while it is full waits for room. Knows nothing of what is done.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from npcserver.errors import NpcError, Rejected

log = logging.getLogger(__name__)

Result = TypeVar("Result")
_Command = tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]]
"""What to do, and who waits for what comes of it."""

ROOM = 256


class Mailbox:
    """Runs handlers in the order they come."""

    def __init__(self, name: str) -> None:
        """Args: name: whose it is, for the log."""
        self._name = name
        self._commands: asyncio.Queue[_Command] = asyncio.Queue(ROOM)
        self._writer: asyncio.Task[None] | None = None
        self._closed = False

    def open(self) -> None:
        """Begin to run what comes, and what came before."""
        self._writer = asyncio.create_task(self._run(), name=self._name)

    async def call(self, handler: Callable[[], Awaitable[Result]]) -> Result:
        """Run a handler as the writer, after everything that came before it.

        Raises:
            Rejected: it is closed; nothing was done.
        """
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        await self._commands.put((handler, answer))
        if self._closed:
            self._refuse_all()
        return await answer

    async def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """Run a last handler, and refuse from then on whatever comes and whatever waits."""

        async def handler() -> None:
            try:
                await last()
            finally:
                self._closed = True

        if self._closed:
            return
        try:
            await self.call(handler)
        finally:
            self._refuse_all()

    async def _run(self) -> None:
        while not self._closed:
            handler, answer = await self._commands.get()
            try:
                result = await handler()
            except NpcError as error:
                if not answer.done():
                    answer.set_exception(error)
            except Exception as error:  # the writer outlives a fault in one handler
                log.exception("a command of %s failed", self._name)
                if not answer.done():
                    answer.set_exception(NpcError(f"internal error: {type(error).__name__}"))
            else:
                if not answer.done():
                    answer.set_result(result)

    def _refuse_all(self) -> None:
        """Answer those whose handlers will never run."""
        while not self._commands.empty():
            _, answer = self._commands.get_nowait()
            if not answer.done():
                told = "this instance was put away; connect again"
                answer.set_exception(Rejected(told, "not_here"))
