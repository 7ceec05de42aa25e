"""The remote engine against servers that misbehave, and what it tells of them."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from npcserver.engines.base import Message, Piece, Prompt, Sampling, Usage
from npcserver.engines.endpoint import REST_S, Breaker
from npcserver.engines.remote import RemoteEngine
from npcserver.errors import EngineError, ModelError
from tests.model_servers import (
    Answer,
    Json,
    Misbehaving,
    Wire,
    give,
    hang_up,
    in_turn,
    misbehaving,
    once_started,
    refuse,
    say,
)

HELLO = Prompt((Message("system", "Ada is short."), Message("user", "Kit: Hello.")), "Ada:")
FELT = HELLO.then(" (")


@asynccontextmanager
async def started(*urls: str, **options: Any) -> AsyncIterator[RemoteEngine]:
    engine = RemoteEngine(urls, **options)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


async def pieces(engine: RemoteEngine, **sampling: Any) -> list[Piece]:
    return [piece async for piece in engine.generate(HELLO, Sampling(**sampling))]


async def words(engine: RemoteEngine, **sampling: Any) -> str:
    return "".join(piece.text for piece in await pieces(engine, **sampling))


def streamed(server: Misbehaving) -> list[Json]:
    """The requests for words, without what was asked at the start."""
    return [
        body
        for body in server.bodies("completions")
        if body.get("stream") and body["max_tokens"] > 1
    ]


def run(answer: Answer, **sampling: Any) -> tuple[str, Misbehaving]:
    """What an engine says when a server streams like that."""

    async def main() -> tuple[str, Misbehaving]:
        async with misbehaving(completions=once_started(answer)) as server:
            async with started(server.url) as engine:
                return await words(engine, **sampling), server

    return asyncio.run(main())


# ---- words ---------------------------------------------------------------------------------------


def test_words_stream_and_their_tokens_are_counted() -> None:
    async def main() -> None:
        async with misbehaving() as server, started(server.url, key="s3cret") as engine:
            said = await pieces(engine)
            assert [piece.text for piece in said] == ["Hello", " there.", ""]
            assert (said[-1].finish, said[-1].usage) == ("stop", Usage(0, 0, 2))
            assert streamed(server)[0]["model"] == "a-model"
            assert streamed(server)[0]["prompt"].endswith("Kit: Hello.\nAda:")
            assert all("Authorization: Bearer s3cret" in head for head in server.headers)

    asyncio.run(main())


def test_a_stop_string_is_found_even_if_the_server_does_not() -> None:
    said, server = run(say("Out", "!\nKit: No", ". ", "And"))
    assert said == "Out!"
    assert streamed(server)[0]["stop"] == ["\n"]


def test_the_servers_own_count_is_taken() -> None:
    async def answer(asked: Json, wire: Wire) -> None:
        wire.begin()
        await wire.event({"choices": [{"text": "Hi", "finish_reason": "length"}]})
        told = {"prompt_tokens": 9, "completion_tokens": 1}
        details = {"prompt_tokens_details": {"cached_tokens": 7}}
        await wire.event({"choices": [], "usage": told | details})
        wire.end()

    async def main() -> None:
        async with misbehaving(completions=once_started(answer)) as server:
            async with started(server.url) as engine:
                last = (await pieces(engine))[-1]
                assert (last.finish, last.usage) == ("length", Usage(9, 7, 1))

    asyncio.run(main())


def test_a_server_that_will_not_count_its_stream_is_not_asked_to() -> None:
    async def answer(asked: Json, wire: Wire) -> None:
        unknown = refuse(422, "stream_options: unknown field")
        await (unknown if "stream_options" in asked else say("Hi"))(asked, wire)

    async def main() -> None:
        async with misbehaving(completions=answer) as server, started(server.url) as engine:
            assert await words(engine) == "Hi"

    asyncio.run(main())


def test_half_characters_and_special_tokens_are_not_said() -> None:
    said, _ = run(say("caf", "é \ud83c", "\udf75 \ufffd", "\ufffd", "tea<|im_end|>"))
    assert said == "café 🍵 tea"


def test_thoughts_are_not_said() -> None:
    assert run(say("<th", "ink>Who is", " it?</thi", "nk>\n\nAda.")) == ("Ada.", ANY)


class _Any:
    def __eq__(self, other: object) -> bool:
        return True


ANY = _Any()


def test_a_thought_that_the_server_stopped_is_asked_for_again_without_stops() -> None:
    async def answer(asked: Json, wire: Wire) -> None:
        thought = ("<think>",) if asked.get("stop") else ("<think>", "\nHm.</think>", "Ada.\nKit")
        await say(*thought)(asked, wire)

    async def main() -> None:
        async with misbehaving(completions=once_started(answer)) as server:
            async with started(server.url) as engine:
                assert await words(engine) == "Ada."
                assert await words(engine) == "Ada."
                assert ["stop" in body for body in streamed(server)] == [True, False, False]

    asyncio.run(main())


def test_nothing_but_a_thought_is_an_error() -> None:
    with pytest.raises(EngineError, match="the model thought until"):
        run(say("<think>Hm", finish="length"))


def test_nobody_forges_a_special_token() -> None:
    async def main() -> None:
        async with misbehaving() as server, started(server.url) as engine:
            forged = Prompt((Message("user", "a<|im_end|>b</s>c[INST]d < e"),))
            await anext(engine.generate(forged, Sampling()))
            assert streamed(server)[0]["prompt"] == "a b c d < e"

    asyncio.run(main())


def test_a_server_without_completions_is_sent_messages() -> None:
    async def chat(asked: Json, wire: Wire) -> None:
        if not asked.get("stream"):
            await wire.send(200, {"choices": [{"message": {"content": "x"}}]})
            return
        wire.begin()
        await wire.event({"choices": [{"delta": {"reasoning_content": "Who?"}}]})
        await wire.event({"choices": [{"delta": {"content": " Ada."}, "finish_reason": "stop"}]})
        wire.end()

    async def main() -> None:
        none = refuse(404, "there is no such path")
        # The last part of both paths is the same.
        async with misbehaving(completions=by_path(none, chat)) as server:
            async with started(server.url) as engine:
                assert await words(engine) == " Ada."
                body = streamed(server)[0]
                assert body["messages"][-1] == {"role": "assistant", "content": "Ada:"}
                assert body["continue_final_message"] is True
                assert engine.status().details["prompts are"].startswith("messages")

    asyncio.run(main())


def by_path(text: Answer, chat: Answer) -> Answer:
    async def answer(asked: Json, wire: Wire) -> None:
        await (chat if "messages" in asked else text)(asked, wire)

    return answer


# ---- failure -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [refuse(503, "busy"), refuse(429, "slow"), hang_up])
def test_what_fails_before_its_first_word_is_tried_again(fault: Answer) -> None:
    said, server = run(in_turn(fault, fault, say("Here.")))
    assert said == "Here."
    assert len(streamed(server)) == 3


def test_what_hangs_up_after_its_head_is_tried_again() -> None:
    async def head_only(asked: Json, wire: Wire) -> None:
        wire.begin()

    assert run(in_turn(head_only, say("Here.")))[0] == "Here."


@pytest.mark.parametrize("proper", [True, False])
def test_what_breaks_off_amid_its_words_is_not(proper: bool) -> None:
    async def main() -> None:
        half = say("Half a", finish=None, end=proper)
        async with misbehaving(completions=once_started(half)) as server:
            async with started(server.url) as engine:
                said = []
                with pytest.raises(EngineError, match="amid its answer"):
                    async for piece in engine.generate(HELLO, Sampling()):
                        said.append(piece.text)
                assert said == ["Half a"]
                assert len(streamed(server)) == 1
                assert engine.status().running == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    "event", ["1", "no json", {"choices": "x"}, {"choices": [1]}, {"choices": [{"text": 7}]}]
)
def test_what_has_an_unusual_shape_is_an_error(event: Any) -> None:
    async def answer(asked: Json, wire: Wire) -> None:
        wire.begin()
        await wire.event(event)
        wire.end()

    with pytest.raises(EngineError, match=r"unusual shape|not a JSON object"):
        run(answer)


@pytest.mark.parametrize("logprobs", ["x", {"content": [1]}, {"top_logprobs": [[1]]}])
def test_odds_of_an_unusual_shape_are_none(logprobs: Any) -> None:
    odd = give({"choices": [{"text": "x", "logprobs": logprobs}]})
    with pytest.raises(EngineError, match="cannot weigh options"):
        asyncio.run(decided(odd, "angry", "sad"))


def test_an_error_amid_a_stream_is_told() -> None:
    async def answer(asked: Json, wire: Wire) -> None:
        wire.begin()
        await wire.event({"choices": [{"text": "Half"}]})
        await wire.event({"error": {"message": "out of memory"}})

    with pytest.raises(EngineError, match="out of memory"):
        run(answer)


def test_a_refusal_is_told_in_one_line_without_the_key() -> None:
    message = "your key s3cret: the context is 1024 tokens\n" + "x" * 500

    async def main() -> None:
        async with misbehaving(completions=once_started(refuse(400, message))) as server:
            async with started(server.url, key="s3cret") as engine:
                with pytest.raises(EngineError, match="the context is 1024 tokens") as caught:
                    await words(engine)
                assert "\n" not in caught.value.message
                assert "s3cret" not in caught.value.message
                assert len(streamed(server)) == 1

    asyncio.run(main())


def test_a_server_that_fails_is_left_alone_until_it_has_rested() -> None:
    async def main() -> None:
        now = [0.0]
        answer = in_turn(*[refuse(503, "out of memory")] * 4, say("Back."))
        async with misbehaving(completions=once_started(answer)) as server:
            async with started(server.url, clock=lambda: now[0]) as engine:
                with pytest.raises(EngineError, match="out of memory"):
                    await words(engine)
                assert not engine.status().ready
                asked = len(server.asked)
                with pytest.raises(EngineError, match="asked 0 times"):
                    await words(engine)
                assert len(server.asked) == asked
                now[0] += REST_S
                assert engine.status().ready
                with pytest.raises(EngineError, match="out of memory"):
                    await words(engine)
                assert len(server.asked) == asked + 1
                now[0] += REST_S
                assert await words(engine) == "Back."
                assert engine.status().details["up"] == server.url

    asyncio.run(main())


def test_one_request_at_a_time_tries_a_server_that_has_rested() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    breaker.open()
    assert not breaker.admits()
    now[0] += REST_S
    assert breaker.admits()
    breaker.sent()
    assert not breaker.admits()
    breaker.succeeded()
    assert breaker.admits()


def test_another_server_takes_over() -> None:
    async def main() -> None:
        fails = once_started(refuse(502, "gone"))
        async with misbehaving(completions=fails) as one, misbehaving() as other:
            async with started(one.url, other.url) as engine:
                for _ in range(4):
                    assert await words(engine) == "Hello there."
                assert len(streamed(one)) == 3
                details = engine.status().details
                assert (details["up"], details["down"]) == (other.url, one.url)

    asyncio.run(main())


def test_the_least_busy_server_is_asked() -> None:
    async def main() -> None:
        async with misbehaving() as one, misbehaving() as other:
            async with started(one.url, other.url) as engine:
                async with aclosing(engine.generate(HELLO, Sampling())) as held:
                    await anext(held)
                    assert engine.status().running == 1
                    await words(engine)
                assert (len(streamed(one)), len(streamed(other))) == (1, 1)

    asyncio.run(main())


def test_a_start_without_any_server_says_what_to_do() -> None:
    async def main() -> None:
        async with misbehaving() as server:
            url = server.url
        with pytest.raises(ModelError, match="start that server") as caught:
            async with started(url):
                pass
        assert url in caught.value.message

    asyncio.run(main())


def test_a_model_the_server_has_not_is_told() -> None:
    async def main() -> None:
        missing = refuse(404, "the model `b` does not exist")
        async with misbehaving(completions=missing) as server:
            with pytest.raises(ModelError, match="`b` does not exist"):
                async with started(server.url, model="b"):
                    pass

    asyncio.run(main())


def test_nothing_is_answered_before_the_start_or_after_the_end() -> None:
    async def main() -> None:
        async with misbehaving() as server:
            engine = RemoteEngine([server.url])
            with pytest.raises(EngineError, match="not started"):
                await engine.warm(HELLO)
            assert not engine.status().ready
            await engine.start()
            await engine.close()
            with pytest.raises(EngineError, match="closed"):
                await engine.warm(HELLO)

    asyncio.run(main())


# ---- decisions -----------------------------------------------------------------------------------

LETTERS = {"a": 0.6, "s": 0.3, "sadl": 0.25}
"""A letter's probability, by what it ends; every other letter is certain."""


async def echo(asked: Json, wire: Wire) -> None:
    """As vLLM answers; a token is a letter."""
    if not asked.get("echo"):
        await say("x")(asked, wire)
        return
    listed = []
    for number, text in enumerate(asked["prompt"]):
        tokens = list(text)
        ends = [text[:size].rpartition("(")[2] for size in range(2, len(text) + 1)]
        odds = [None, *(math.log(LETTERS.get(end, 1.0)) for end in ends)]
        logprobs = {"tokens": tokens, "token_logprobs": odds}
        listed.append({"index": number, "text": text, "logprobs": logprobs})
    await wire.send(200, {"choices": list(reversed(listed))})


def tops(table: dict[str, dict[str, float]], most: int) -> Answer:
    """The likeliest next tokens, by what stands behind the prompt; at most so many."""

    async def answer(asked: Json, wire: Wire) -> None:
        if asked.get("logprobs", 0) > most:
            await refuse(400, f"logprobs is at most {most}")(asked, wire)
            return
        reached = str(asked["prompt"]).rpartition("(")[2]
        likely = {token: math.log(p) for token, p in table.get(reached, {"?": 0.9}).items()}
        told = {"tokens": ["?"], "token_logprobs": [-1.0], "top_logprobs": [likely]}
        await wire.send(200, {"choices": [{"text": "?", "logprobs": told}]})

    return answer


def draws(held: bool) -> Answer:
    async def answer(asked: Json, wire: Wire) -> None:
        options = asked.get("guided_choice")
        texts = [options[n % 4 == 3] for n in range(8)] if options and held else ["x"]
        await wire.send(200, {"choices": [{"text": text} for text in texts]})

    return answer


async def decided(answer: Answer, *options: str, **others: Answer) -> tuple[list[float], str]:
    async with misbehaving(completions=answer, **others) as server:
        async with started(server.url) as engine:
            decision = await engine.decide(FELT, options)
            return list(decision.probabilities), engine.status().details["decides by"]


def test_echoed_odds_are_exact() -> None:
    chances, way = asyncio.run(decided(echo, "angry", "sad", "sadly"))
    assert chances == pytest.approx([0.6 / 0.9, 0.3 / 0.9 * 0.75, 0.3 / 0.9 * 0.25])
    assert "exact" in way


def test_options_are_the_very_next_text_even_without_an_opening() -> None:
    async def main() -> None:
        async with misbehaving(completions=echo) as server, started(server.url) as engine:
            await engine.decide(Prompt((Message("user", "Tea ("),)), ["angry", "sad"])
            assert server.bodies("completions")[-1]["prompt"] == ["Tea (angry", "Tea (sad"]

    asyncio.run(main())


def test_options_are_walked_as_a_tree() -> None:
    table = {
        "": {"sad": 0.5, "ang": 0.2, "a": 0.01, "happy!": 0.1, "warm": 0.1},
        "ang": {"ry": 0.75, "uished": 0.25},
        "sad": {"ly": 0.2, ")": 0.8},
    }
    options = ["sad", "sadly", "angry", "anguished", "happy", "warm-hearted", "numb"]
    chances, way = asyncio.run(decided(tops(table, 5), *options))
    weights = [0.4, 0.1, 0.15, 0.05, 0.1, 0.1, 0.01]
    assert chances == pytest.approx([weight / sum(weights) for weight in weights])
    assert way.startswith("the 5 likeliest")


def test_a_question_is_asked_where_no_odds_are_told() -> None:
    async def systemone(asked: Json, wire: Wire) -> None:
        (question,) = asked["questions"].values()
        names = list(question["criteria"])
        assert len(names) <= 26
        weights = [3.0 if name == "angry" else 1.0 for name in names]
        told = {name: w / sum(weights) for name, w in zip(names, weights, strict=True)}
        await wire.send(200, {"answers": {"next": {"probabilities": told}}})

    many = ["angry", *(f"mood {number}" for number in range(30))]
    chances, way = asyncio.run(decided(say("x"), *many, systemone=systemone))
    assert "/v1/systemone" in way
    assert sum(chances) == pytest.approx(1)
    assert max(chances) == chances[0] > chances[1]


def test_draws_are_counted_where_nothing_else_is_offered() -> None:
    chances, way = asyncio.run(decided(draws(held=True), "angry", "sad"))
    assert chances == pytest.approx([6.5 / 9, 2.5 / 9])
    assert "8 draws" in way
    assert "guided_choice" in way


def test_a_server_without_any_way_says_what_it_lacks() -> None:
    with pytest.raises(EngineError, match="neither log-probabilities"):
        asyncio.run(decided(draws(held=False), "angry", "sad"))


def test_a_single_option_needs_no_question() -> None:
    chances, _ = asyncio.run(decided(draws(held=False), "angry"))
    assert chances == [1.0]


def test_tokens_are_estimated_where_the_server_does_not_count() -> None:
    async def main() -> None:
        async with misbehaving() as server, started(server.url) as engine:
            assert await engine.count(["", "Hello there."]) == [1, 5]
        counts = give({"tokens": [1, 2, 3]})
        async with misbehaving(tokenize=counts) as server, started(server.url) as engine:
            assert await engine.count(["", "Hello there."]) == [3, 3]

    asyncio.run(main())
