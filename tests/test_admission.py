"""Who is let in to the engine, who waits, and who is told at once that it is too late."""

import asyncio

import pytest

from npcserver.admission import Admission, Late
from tests.clock import run


async def hold(admission: Admission, tokens: int, seconds: float, deadline: float = 100.0) -> float:
    """Be inside for some seconds; the time of coming in."""
    async with admission.admitted(tokens, deadline):
        came = asyncio.get_running_loop().time()
        await asyncio.sleep(seconds)
        return came


def test_those_who_do_not_fit_wait_in_order() -> None:
    async def main() -> None:
        admission = Admission(lambda: 100)
        came = await asyncio.gather(
            hold(admission, 60, 3), hold(admission, 60, 2), hold(admission, 30, 1)
        )
        # The third would fit beside the first; but nobody overtakes.
        assert came == [0, 3, 3]
        assert admission.waiting == 0

    run(main)


def test_one_that_is_larger_than_the_cache_is_the_engines_to_refuse() -> None:
    async def main() -> None:
        assert await hold(Admission(lambda: 100), 500, 1) == 0

    run(main)


def test_an_engine_without_a_bound_lets_everybody_in() -> None:
    async def main() -> None:
        admission = Admission(lambda: None)
        assert await asyncio.gather(*(hold(admission, 10**6, 1) for _ in range(9))) == [0] * 9

    run(main)


def test_nobody_waits_beyond_their_deadline() -> None:
    async def main() -> None:
        admission = Admission(lambda: 100)
        long = asyncio.create_task(hold(admission, 90, 50))
        await asyncio.sleep(0)
        with pytest.raises(Late, match="no place"):
            await hold(admission, 90, 1, deadline=2.0)
        assert asyncio.get_running_loop().time() == 2.0
        assert admission.waiting == 0
        await long

    run(main)


def test_who_gives_up_waiting_leaves_no_place_taken() -> None:
    async def main() -> None:
        admission = Admission(lambda: 100)
        first = asyncio.create_task(hold(admission, 90, 5))
        second = asyncio.create_task(hold(admission, 90, 5))
        third = asyncio.create_task(hold(admission, 90, 5))
        await asyncio.sleep(1)
        second.cancel()
        assert await first == 0
        assert await third == 5

    run(main)


def test_what_turns_took_lately_tells_who_would_be_late() -> None:
    async def main() -> None:
        admission = Admission(lambda: None)
        other = asyncio.create_task(hold(admission, 10, 60))
        await asyncio.sleep(8)
        for _ in range(12):
            admission.first_word(asked_at=0.0)  # each took 8 seconds
        with pytest.raises(Late, match="in time"):
            await hold(admission, 10, 1, deadline=10.0)
        assert await hold(admission, 10, 1, deadline=20.0) == 8.0
        # Without news the engine is tried again.
        await asyncio.sleep(30)
        assert await hold(admission, 10, 1, deadline=41.0) == 39.0
        await other

    run(main)


def test_an_idle_engine_is_always_tried() -> None:
    async def main() -> None:
        admission = Admission(lambda: None)
        await asyncio.sleep(8)
        admission.first_word(asked_at=0.0)
        assert await hold(admission, 10, 1, deadline=8.1) == 8.0

    run(main)
