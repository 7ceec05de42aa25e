"""The remote engine against servers that nobody here wrote: llama.cpp and `transformers serve`."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from npcserver.engines.base import Message, Prompt, Sampling
from npcserver.engines.remote import RemoteEngine
from npcserver.engines.render import script
from npcserver.errors import EngineError
from tests import model_servers, tiny
from tests.server import client, serving

GREEDY = Sampling(max_tokens=24, temperature=0)
FELT = ["neutral", "angry", "happy", "sad", "warm-hearted"]
THIEF = "Kit: You thief!\nAda (angry): Out!\n\n"
VOCABULARY = 49_152
POLLS = 500
"""How often a server is asked whether it is idle; each question waits for its answer."""

llama_only = pytest.mark.model


@dataclass
class Running:
    """A server, an engine that asks it, and the loop that runs on."""

    url: str
    engine: RemoteEngine
    runner: asyncio.Runner


def running(url: str) -> Iterator[Running]:
    with asyncio.Runner() as runner:
        engine = RemoteEngine([url])
        runner.run(engine.start())
        yield Running(url, engine, runner)
        runner.run(engine.close())


@pytest.fixture(scope="module")
def llama() -> Iterator[Running]:
    pytest.importorskip("xllamacpp", reason="llama.cpp's server comes with xllamacpp")
    with model_servers.llama(slots=2) as (url, _):
        yield from running(url)


@pytest.fixture(scope="module")
def transformers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    pytest.importorskip("openai", reason="`transformers serve` needs openai")
    folder = tmp_path_factory.mktemp("model")
    model = tiny.model(folder, tiny.scene(folder))
    # Its /v1/systemone asks as a chat does.
    template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    (model / "chat_template.jinja").write_text(template)
    with model_servers.transformers_serve(model, folder / "cache") as url:
        yield from running(url)


def prompt(line: str, opening: str = "Ada:") -> Prompt:
    sheet = Message("system", "Ada keeps the harbour. She is short and exact.")
    return Prompt((sheet, Message("user", f"Kit: {line}")), opening)


async def words(engine: RemoteEngine, asked: Prompt, sampling: Sampling = GREEDY) -> str:
    return "".join([piece.text async for piece in engine.generate(asked, sampling)])


# ---- llama.cpp -----------------------------------------------------------------------------------


@llama_only
def test_words_stream_to_a_stop(llama: Running) -> None:
    async def main() -> None:
        said = [p async for p in llama.engine.generate(prompt("Who are you?"), GREEDY)]
        assert len(said) > 2
        assert "\n" not in "".join(piece.text for piece in said)
        usage = said[-1].usage
        assert usage is not None
        assert usage.prompt_tokens > 10
        assert 0 < usage.completion_tokens <= GREEDY.max_tokens

    llama.runner.run(main())


@llama_only
def test_the_same_prompt_gets_the_same_words(llama: Running) -> None:
    async def main() -> None:
        asked = prompt("What do you do here all day?")
        first = await words(llama.engine, asked)
        assert first.strip()
        assert await words(llama.engine, asked) == first

    llama.runner.run(main())


@llama_only
def test_characters_come_whole(llama: Running) -> None:
    line = "茶 🍵 café," + " 茶 🍵 café," * 12
    text = llama.runner.run(words(llama.engine, Prompt((Message("user", line),), "")))
    assert "�" not in text
    assert "🍵 café" in text


@llama_only
def test_status_says_how_it_decides_and_which_server_is_up(llama: Running) -> None:
    status = llama.engine.status()
    assert status.ready
    assert status.model == "weights.gguf"
    assert status.details["up"] == llama.url
    assert status.details["decides by"].startswith("the odds of the options' own")


@llama_only
def test_decisions_follow_the_text_and_sum_to_one(llama: Running) -> None:
    asked = Prompt((Message("user", THIEF * 3 + "Kit: You thief!"),), "Ada (")
    decision = llama.runner.run(llama.engine.decide(asked, FELT))
    assert sum(decision.probabilities) == pytest.approx(1)
    assert decision.probabilities[FELT.index("angry")] > 0.9


@llama_only
@pytest.mark.parametrize("felt", [["heartbroken", "sad", "happy", "angry"], ["a cat", "a dog"]])
def test_decisions_are_what_the_whole_vocabulary_says(llama: Running, felt: list[str]) -> None:
    asked = prompt("My brother is lost in the snow.", "Ada (")

    async def main() -> None:
        got = (await llama.engine.decide(asked, felt)).probabilities
        async with httpx.AsyncClient(base_url=llama.url.removesuffix("/v1"), timeout=60) as http:
            cut = [await tokens(http, script(asked) + option) for option in felt]
            parted = next(
                n for n, column in enumerate(zip(*cut, strict=False)) if len({*column}) > 1
            )
            assert len({ids[parted] for ids in cut}) == len(felt), "they part at one place"
            odds = await next_odds(http, cut[0][:parted])
        weights = [math.exp(odds[ids[parted]]) for ids in cut]
        assert got == pytest.approx([w / math.fsum(weights) for w in weights], abs=0.01)

    llama.runner.run(main())


async def tokens(http: httpx.AsyncClient, text: str) -> list[int]:
    ids: list[int] = (await http.post("/tokenize", json={"content": text})).json()["tokens"]
    return ids


async def next_odds(http: httpx.AsyncClient, before: list[int]) -> dict[int, float]:
    """The log-probabilities of all next tokens."""
    body = {"prompt": before, "logprobs": VOCABULARY, "temperature": 0, "max_tokens": 1}
    answer = (await http.post("/v1/completions", json=body)).json()
    tops = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return {top["id"]: top["logprob"] for top in tops}


@llama_only
def test_characters_of_several_tokens_are_decided(llama: Running) -> None:
    asked = Prompt((Message("user", "茶，茶，茶，茶，"),), "")
    decision = llama.runner.run(llama.engine.decide(asked, ["茶", "蓝", "荃", "a"]))
    assert decision.probabilities[0] > 0.9


@llama_only
def test_what_was_warmed_is_not_computed_again(llama: Running) -> None:
    async def main() -> None:
        asked = prompt("Tell me about the tide, the fog and the bell. " * 5)
        await llama.engine.warm(asked)
        last = [piece async for piece in llama.engine.generate(asked, GREEDY)][-1]
        assert last.usage is not None
        assert last.usage.cached_tokens > last.usage.prompt_tokens // 2

    llama.runner.run(main())


@llama_only
def test_tokens_are_counted_by_the_server(llama: Running) -> None:
    assert llama.runner.run(llama.engine.count(["hello world", ""])) == [2, 0]


@llama_only
def test_an_over_long_prompt_is_told_before_a_word(llama: Running) -> None:
    with pytest.raises(EngineError, match="exceeds the available context size"):
        llama.runner.run(words(llama.engine, prompt("word " * 2000)))


async def busy_slots(http: httpx.AsyncClient, url: str) -> int:
    slots = (await http.get(url.removesuffix("/v1") + "/slots")).json()
    return sum(slot["is_processing"] for slot in slots)


@llama_only
@pytest.mark.parametrize("how", ["closed", "cancelled"])
def test_leaving_a_stream_frees_the_servers_slot(llama: Running, how: str) -> None:
    endless = Sampling(max_tokens=900, temperature=1, stop=())

    async def main() -> None:
        async with httpx.AsyncClient(timeout=60) as http:
            begun = asyncio.Event()
            talking = asyncio.create_task(talk(begun))
            await begun.wait()
            assert await busy_slots(http, llama.url) == 1
            if how == "cancelled":
                talking.cancel()
            leave.set()
            await asyncio.gather(talking, return_exceptions=True)
            assert llama.engine.status().running == 0
            polls = [await busy_slots(http, llama.url)]
            while polls[-1] and len(polls) < POLLS:
                polls.append(await busy_slots(http, llama.url))
            assert polls[-1] == 0

    async def talk(begun: asyncio.Event) -> None:
        async with aclosing(llama.engine.generate(prompt("Tell me a story."), endless)) as pieces:
            async for _ in pieces:
                begun.set()
                if leave.is_set():
                    break

    leave = asyncio.Event()
    llama.runner.run(main())


@llama_only
def test_when_one_server_is_killed_the_other_goes_on() -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp's server comes with xllamacpp")
    endless = Sampling(max_tokens=900, temperature=1, stop=())

    async def main(urls: Sequence[str], dying: Any) -> None:
        engine = RemoteEngine(urls)
        await engine.start()
        with pytest.raises(EngineError, match="amid its answer"):
            async for _ in engine.generate(prompt("Tell me a story."), endless):
                dying.kill()
        for _ in range(3):
            assert await words(engine, prompt("Who are you?"))
        assert sum((await engine.decide(prompt("You!", "Ada ("), FELT)).probabilities) > 0.99
        status = engine.status()
        assert status.ready
        assert (status.details["up"], status.details["down"]) == (urls[1], urls[0])
        await engine.close()

    with model_servers.llama() as (one, process), model_servers.llama() as (other, _):
        asyncio.run(main([one, other], process))


@llama_only
def test_a_scene_is_played_through_it(llama: Running, tmp_path: Path) -> None:
    asked = {"engine": "remote", "remote_urls": [llama.url], "prompt_tokens": 600}

    async def main(address: str) -> None:
        async with client(address) as kit:
            await kit.send("player.say", id="m1", text="Who are you?", to=["ada"])
            feeling = await kit.until("turn.emotion")
            assert sum(feeling["probabilities"].values()) == pytest.approx(1, abs=0.01)
            done = await kit.until("turn.done")
            assert done["status"] == "completed"
            assert done["text"]

    with serving(tmp_path, **asked) as address:
        asyncio.run(main(address))
        told = httpx.get(f"http://{address}/readyz").json()
        assert told["details"]["up"] == llama.url


# ---- transformers serve --------------------------------------------------------------------------


def test_transformers_serve_streams_words(transformers: Running) -> None:
    async def main() -> None:
        said = [p async for p in transformers.engine.generate(prompt("Who are you?"), GREEDY)]
        assert said[-1].finish in ("stop", "length")
        assert said[-1].usage is not None
        assert said[-1].usage.prompt_tokens > 10
        assert await transformers.engine.count(["hello world"]) == [4]

    transformers.runner.run(main())


def test_transformers_serve_is_asked_a_question_to_decide(transformers: Running) -> None:
    async def main() -> None:
        many = [*FELT, *(f"mood {number}" for number in range(25))]
        for options in (FELT, many):
            chances = await transformers.engine.decide(prompt("You!", "Ada ("), options)
            assert sum(chances.probabilities) == pytest.approx(1)
            assert min(chances.probabilities) > 0
        assert "/v1/systemone" in transformers.engine.status().details["decides by"]

    transformers.runner.run(main())
