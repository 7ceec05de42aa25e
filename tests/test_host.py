"""The engine's host, against a real process that may die at any moment."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from npcserver.engines.base import Message, Prompt, Sampling
from npcserver.engines.host import HostedEngine
from npcserver.errors import EngineError, ModelError

FAILING = """
import sys, threading
from npcserver.engines.worker import run

class Worker:
    running, kv_usage, cache_tokens = 0, 0.0, None

    def __init__(self):
        if "unloadable" in sys.argv:
            raise RuntimeError("the weights are torn")

    def take(self, command):
        self.running = 1
        return iter(())

    def step(self):
        raise RuntimeError("the device is lost")

threading.Thread(target=threading.Event().wait).start()  # as libraries leave them
run(Worker, "failing")
"""
FAKE = [sys.executable, str(Path(__file__).parent / "fake_engine.py")]


def prompt(opening: str) -> Prompt:
    return Prompt((Message("user", "Hello."),), opening)


@asynccontextmanager
async def hosted() -> AsyncIterator[HostedEngine]:
    engine = HostedEngine(FAKE, "fake", "fake")
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def say(engine: HostedEngine, text: str) -> str:
    return "".join([piece.text async for piece in engine.generate(prompt(text), Sampling())])


def test_requests_stream_side_by_side() -> None:
    async def main() -> None:
        async with hosted() as engine:
            texts = ["one", "two", "three"]
            assert await asyncio.gather(*(say(engine, text) for text in texts)) == texts
            assert engine.status().ready
            assert engine.status().kv_usage == 0.5

    asyncio.run(main())


def test_an_error_is_the_requests_own() -> None:
    async def main() -> None:
        async with hosted() as engine:
            with pytest.raises(EngineError, match="no such thing"):
                await engine.decide(prompt("x"), ["a", "b"])
            assert await say(engine, "still here") == "still here"

    asyncio.run(main())


@pytest.mark.parametrize("fault", ["die", "junk"])
def test_a_crash_fails_what_was_running_and_the_next_request_is_answered(fault: str) -> None:
    async def main() -> None:
        async with hosted() as engine:
            hanging = asyncio.create_task(say(engine, "hang"))
            with pytest.raises(EngineError, match="died"):
                await say(engine, fault)
            with pytest.raises(EngineError, match="died"):
                await hanging
            assert await say(engine, "again") == "again"
            assert engine.status().restarts == 1

    asyncio.run(main())


def test_leaving_a_stream_cancels_the_request() -> None:
    async def main() -> None:
        async with hosted() as engine:
            pieces = engine.generate(prompt("a long answer"), Sampling())
            await anext(pieces)
            await pieces.aclose()
            assert await engine.count(["x"]) == [1]

    asyncio.run(main())


def test_a_model_that_cannot_load_says_why() -> None:
    async def main() -> None:
        engine = HostedEngine([*FAKE, "--fail"], "fake", "fake")
        with pytest.raises(ModelError, match="there is no such model"):
            await engine.start()
        await engine.close()

    asyncio.run(main())


def test_a_load_that_fails_ends_the_process_though_its_threads_go_on() -> None:
    async def main() -> None:
        engine = HostedEngine([sys.executable, "-c", FAILING, "unloadable"], "torn", "torn")
        with pytest.raises(ModelError, match="the weights are torn"):
            await engine.start()
        await engine.close()

    asyncio.run(main())


def test_closing_fails_what_waits() -> None:
    async def main() -> None:
        async with hosted() as engine:
            hanging = asyncio.create_task(say(engine, "hang"))
            await say(engine, "x")
        with pytest.raises(EngineError, match="closed"):
            await hanging

    asyncio.run(main())


def test_a_worker_that_fails_ends_its_process(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        engine = HostedEngine([sys.executable, "-c", FAILING], "failing", "failing")
        await engine.start()
        with pytest.raises(EngineError, match="died"):
            await say(engine, "anything")
        await engine.close()

    asyncio.run(main())
    assert "the device is lost" in caplog.text
