"""A journal whose disk work happens on a thread of its own, so that scenes never wait for a disk.

Knows nothing of what is written, nor of scenes.
"""

import asyncio
import queue
import sqlite3
import threading
from dataclasses import dataclass, field

from npcserver.journal import Batch, JournalError, Store


@dataclass
class _Waiting:
    batch: Batch
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None] = field(repr=False)


class JournalWriter:
    """Writes batches in the order they come.

    Whatever waits when the thread looks is written in one transaction: under load, scenes share
    the cost of a commit.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    async def commit(self, batch: Batch) -> None:
        """Write a batch; returns once it is durable. Raises JournalError."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.put(_Waiting(batch, loop, done))
        await done

    def close(self) -> None:
        """Write what waits, then stop the thread. The store stays open."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        stop = False
        while not stop:
            group = [self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get())
            stop = None in group
            self._write([item for item in group if item is not None])

    def _write(self, group: list[_Waiting]) -> None:
        if not group:
            return
        try:
            self._store.write([item.batch for item in group])
        except sqlite3.Error:
            # One bad batch must not fail its neighbours: write each by itself.
            for item in group:
                self._write_alone(item)
            return
        for item in group:
            _settle(item, None)

    def _write_alone(self, item: _Waiting) -> None:
        try:
            self._store.write([item.batch])
        except sqlite3.Error as error:
            _settle(item, JournalError(f"the journal could not be written: {error}"))
        else:
            _settle(item, None)


def _settle(item: _Waiting, error: JournalError | None) -> None:
    def settle() -> None:
        if not item.done.done():
            if error is None:
                item.done.set_result(None)
            else:
                item.done.set_exception(error)

    if not item.loop.is_closed():
        item.loop.call_soon_threadsafe(settle)
