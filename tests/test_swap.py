"""One engine takes another's place while requests are under way."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from npcserver.engines.base import (
    Decision,
    Engine,
    EngineStatus,
    Message,
    Piece,
    Prompt,
    Sampling,
    Usage,
)
from npcserver.engines.swap import SwappableEngine
from npcserver.errors import EngineError, ModelError

ASKED = Prompt((Message("user", "Hello."),))


class Fake:
    """Says its name twice; the second time it waits for `go`."""

    def __init__(self, name: str, *, torn: bool = False) -> None:
        self.name = name
        self.torn = torn
        self.go = asyncio.Event()
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.closed = asyncio.Event()
        self.asked = asyncio.Event()
        self.starting = asyncio.Event()

    async def start(self) -> None:
        self.starting.set()
        await self.may_start.wait()
        if self.torn:
            raise ModelError(f"{self.name} is torn")

    async def close(self) -> None:
        self.closed.set()
        self.go.set()

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        yield Piece(self.name)
        await self.go.wait()
        if self.closed.is_set():
            raise EngineError("the engine is closed")
        yield Piece(self.name, Usage(), "stop")

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        self.asked.set()
        await self.go.wait()
        return Decision(tuple(float(option == self.name) for option in options))

    async def warm(self, prompt: Prompt) -> None:
        await self.go.wait()

    async def count(self, texts: Sequence[str]) -> list[int]:
        return [len(self.name)] * len(texts)

    def status(self) -> EngineStatus:
        return EngineStatus("fake", self.name, ready=True)


def fakes() -> tuple[Fake, Fake, SwappableEngine]:
    old, new = Fake("old"), Fake("younger")
    engine: Engine = SwappableEngine(old)
    assert isinstance(engine, SwappableEngine)
    return old, new, engine


async def said(pieces: AsyncGenerator[Piece, None]) -> str:
    return "".join([piece.text async for piece in pieces])


def test_what_is_under_way_ends_on_the_old_one() -> None:
    async def main() -> None:
        old, new, engine = fakes()
        await engine.start()
        stream = engine.generate(ASKED, Sampling())
        assert (await anext(stream)).text == "old"
        deciding = asyncio.create_task(engine.decide(ASKED, ["old", "younger"]))
        await old.asked.wait()
        await engine.use(new)
        assert engine.status().model == "younger"
        assert await engine.count(["x"]) == [7]
        new.go.set()
        assert await said(engine.generate(ASKED, Sampling())) == "youngeryounger"
        assert not old.closed.is_set()

        old.go.set()
        assert (await deciding).probabilities == (1.0, 0.0)
        assert not old.closed.is_set()
        assert await said(stream) == "old"
        await old.closed.wait()
        assert not new.closed.is_set()
        await engine.close()
        assert new.closed.is_set()

    asyncio.run(main())


def test_an_idle_engine_is_closed_at_once() -> None:
    async def main() -> None:
        old, new, engine = fakes()
        await engine.start()
        await engine.use(new)
        await old.closed.wait()
        await engine.close()

    asyncio.run(main())


def test_a_stream_that_is_left_frees_the_old_one() -> None:
    async def main() -> None:
        old, new, engine = fakes()
        await engine.start()
        stream = engine.generate(ASKED, Sampling())
        await anext(stream)
        await engine.use(new)
        await stream.aclose()
        await old.closed.wait()
        await engine.close()

    asyncio.run(main())


def test_one_that_does_not_start_changes_nothing() -> None:
    async def main() -> None:
        old, _, engine = fakes()
        await engine.start()
        torn = Fake("torn", torn=True)
        with pytest.raises(ModelError, match="torn is torn"):
            await engine.use(torn)
        assert torn.closed.is_set()
        assert not old.closed.is_set()
        assert engine.status().model == "old"
        await engine.close()

    asyncio.run(main())


def test_a_start_that_is_given_up_frees_the_new_one() -> None:
    async def main() -> None:
        _, new, engine = fakes()
        await engine.start()
        new.may_start.clear()
        swap = asyncio.create_task(engine.use(new))
        await new.starting.wait()
        swap.cancel()
        with pytest.raises(asyncio.CancelledError):
            await swap
        assert new.closed.is_set()
        assert engine.status().model == "old"
        await engine.close()

    asyncio.run(main())


def test_swaps_come_one_after_the_other() -> None:
    async def main() -> None:
        old, new, engine = fakes()
        await engine.start()
        new.may_start.clear()
        last = Fake("last")
        swaps = [asyncio.create_task(engine.use(each)) for each in (new, last)]
        await new.starting.wait()
        assert not last.starting.is_set()
        assert engine.status().model == "old"
        new.may_start.set()
        await asyncio.gather(*swaps)
        assert engine.status().model == "last"
        await old.closed.wait()
        await new.closed.wait()
        await engine.close()

    asyncio.run(main())


def test_closing_closes_both() -> None:
    async def main() -> None:
        old, new, engine = fakes()
        await engine.start()
        stream = engine.generate(ASKED, Sampling())
        await anext(stream)
        await engine.use(new)
        await engine.close()
        assert old.closed.is_set()
        assert new.closed.is_set()
        with pytest.raises(EngineError, match="closed"):
            await said(stream)
        with pytest.raises(EngineError, match="closed"):
            await engine.use(Fake("too late"))

    asyncio.run(main())
