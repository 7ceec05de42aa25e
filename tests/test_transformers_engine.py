"""The transformers engine in its own process, against the same weights asked directly."""

import asyncio
import codecs
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from npcserver.engines import host, sources, torch_weights
from npcserver.engines.base import Decision, Message, Prompt, Sampling
from npcserver.engines.host import HostedEngine
from npcserver.engines.options import OptionTree
from npcserver.engines.render import TEMPLATES, prompt_ids
from npcserver.engines.torch_batching import TorchWorker
from npcserver.engines.torch_tokens import TorchTokens
from npcserver.errors import EngineError, ModelError
from npcserver.prompt import PROMPT_VERSION
from tests import tiny
from tests.adapters import ALPHA, RANK, write_adapter

GREEDY = Sampling(max_tokens=16, temperature=0, stop=())
DRAWN = Sampling(max_tokens=16, temperature=1.5, top_p=1.0, stop=())
OPTIONS = [" neutral", " angry", " anxious", " happy and loud", " happy and quiet", " happy"]
CLOSE = 1e-4
"""float32 sums in another order."""


class Plain:
    """The model, asked one forward at a time and keeping nothing."""

    def __init__(self, folder: Path) -> None:
        self.tokens = TorchTokens(torch_weights.load_tokenizer(folder))
        self.model = torch_weights.load_weights(folder, torch.float32)

    def ids(self, asked: Prompt) -> list[int]:
        return prompt_ids(asked, TEMPLATES["script"], self.tokens)

    @torch.no_grad()
    def next_logs(self, ids: Sequence[int]) -> torch.Tensor:
        logits = self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        return torch.log_softmax(logits, dim=-1)

    def decide(self, asked: Prompt, options: Sequence[str]) -> list[float]:
        ids = self.ids(asked)
        tree = OptionTree([self.tokens.encode(option) for option in options])
        scores: dict[tuple[int, ...], dict[int, float]] = {}
        while (path := tree.next_fork(scores)) is not None:
            logs = self.next_logs([*ids, *path])
            scores[path] = {token: float(logs[token]) for token in tree.forks[path]}
        return tree.probabilities(scores)

    def words(self, asked: Prompt, most: int) -> str:
        ids, said = self.ids(asked), b""
        for _ in range(most):
            token = int(self.next_logs(ids).argmax())
            if token in self.tokens.special_ids:
                break
            ids.append(token)
            said += self.tokens.token_bytes(token)
        text: str = codecs.getincrementaldecoder("utf-8")("replace").decode(said)
        return text


@dataclass
class Running:
    """An engine, the loop it runs on, and the same weights beside it."""

    engine: HostedEngine
    runner: asyncio.Runner
    plain: Plain


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    return tiny.model(root, tiny.scene(root))


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    with asyncio.Runner() as runner:
        engine = started(runner, folder)
        yield Running(engine, runner, Plain(folder))
        runner.run(engine.close())


def started(runner: asyncio.Runner, folder: Path, adapter: Path | None = None) -> HostedEngine:
    source = sources.find(str(folder), adapter, PROMPT_VERSION)
    engine = host.transformers(source, cache_gb=1)
    runner.run(engine.start())
    return engine


def prompt(line: str, opening: str = "Ada:") -> Prompt:
    sheet = Message("system", "Ada keeps the harbour. She is short and exact.")
    return Prompt((sheet, Message("user", f"Kit: {line}")), opening)


async def words(engine: HostedEngine, asked: Prompt, sampling: Sampling = GREEDY) -> str:
    return "".join([piece.text async for piece in engine.generate(asked, sampling)])


def assert_close(decision: Decision, true: Sequence[float]) -> None:
    assert sum(decision.probabilities) == pytest.approx(1)
    assert decision.probabilities == pytest.approx(true, abs=CLOSE)


# ---- words ---------------------------------------------------------------------------------------


def test_greedy_words_are_the_models_own_and_stream(running: Running) -> None:
    async def main() -> None:
        asked = prompt("Who are you?")
        pieces = [piece async for piece in running.engine.generate(asked, GREEDY)]
        assert len(pieces) > 4
        text = "".join(piece.text for piece in pieces)
        assert text == running.plain.words(asked, GREEDY.max_tokens)
        assert all(piece.finish is None for piece in pieces[:-1])
        usage = pieces[-1].usage
        assert usage is not None
        assert usage.prompt_tokens == len(running.plain.ids(asked))
        assert 0 < usage.completion_tokens <= GREEDY.max_tokens

    running.runner.run(main())


def test_words_end_before_a_stop_string(running: Running) -> None:
    async def main() -> None:
        asked = prompt("What is this place?")
        whole = await words(running.engine, asked)
        stop = whole[len(whole) // 2 :][:2]
        pieces = [
            piece
            async for piece in running.engine.generate(
                asked, Sampling(max_tokens=16, temperature=0, stop=(stop,))
            )
        ]
        assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
        assert pieces[-1].finish == "stop"

    running.runner.run(main())


def test_each_request_is_drawn_by_its_own_sampling(running: Running) -> None:
    """Beside others, drawn and greedy, a greedy request says what it says alone."""

    async def main() -> None:
        asked = prompt("What do you do here all day?")
        alone = await words(running.engine, asked)
        crowd = [words(running.engine, asked, DRAWN) for _ in range(4)]
        others = [words(running.engine, prompt(f"What is {n} and {n}?")) for n in range(3)]
        together, *said = await asyncio.gather(words(running.engine, asked), *crowd, *others)
        assert together == alone
        assert len(set(said[:4])) == 4

    running.runner.run(main())


def test_what_was_asked_before_is_cached(running: Running) -> None:
    async def main() -> None:
        asked = prompt("So I said to him, and he said to me. " * 10)
        await running.engine.warm(asked)
        pieces = [piece async for piece in running.engine.generate(asked.then(" Well"), GREEDY)]
        usage = pieces[-1].usage
        assert usage is not None
        assert usage.prompt_tokens - 64 < usage.cached_tokens < usage.prompt_tokens
        assert "".join(piece.text for piece in pieces) == running.plain.words(
            asked.then(" Well"), GREEDY.max_tokens
        )

    running.runner.run(main())


@pytest.mark.parametrize("text", ["茶 🍵 café, 12 <3\n\tx", "a  b", "你好，世界。", "🍵🍵"])
def test_tokens_are_their_texts_bytes(running: Running, text: str) -> None:
    assert_exact(running.plain.tokens, text)


@pytest.mark.model
@pytest.mark.parametrize("text", ["茶 🍵 café, 12 <3\n\tx", "a  b", "你好，世界。", "🍵🍵"])
def test_the_embedded_models_tokens_are_too(text: str) -> None:
    source = sources.find("embedded", None, PROMPT_VERSION)
    assert_exact(TorchTokens(torch_weights.load_tokenizer(source.place)), text)


def assert_exact(tokens: TorchTokens, text: str) -> None:
    said = b"".join(map(tokens.token_bytes, tokens.encode(text)))
    # SentencePiece puts a space before a text.
    assert said.removeprefix(b" ") == text.encode()


# ---- decisions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 40, 300])
def test_a_decision_is_what_plain_forwards_give(running: Running, length: int) -> None:
    """Also where a prompt is several chunks, and where it is known already."""
    asked = prompt("well " * length, "Ada (looking")
    true = running.plain.decide(asked, OPTIONS)

    async def main() -> None:
        first = await running.engine.decide(asked, OPTIONS)
        again = await running.engine.decide(asked.then(""), OPTIONS)
        assert_close(first, true)
        assert_close(again, true)
        tokens = len(running.plain.ids(asked))
        assert (first.usage.prompt_tokens, again.usage.cached_tokens) == (tokens, tokens - 1)
        assert (await running.engine.decide(asked, [" angry"])).probabilities == (1.0,)

    running.runner.run(main())


def test_decisions_hold_while_others_speak(running: Running) -> None:
    questions = [prompt(f"Is {n} a lot? " * 30, "Ada (looking") for n in range(4)]
    true = [running.plain.decide(asked, OPTIONS) for asked in questions]
    speaking = prompt("Tell me a story.")
    long = Sampling(max_tokens=60, temperature=0, stop=())

    async def main() -> None:
        alone = await words(running.engine, speaking, long)
        talk = [words(running.engine, speaking, long) for _ in range(3)]
        asked = [running.engine.decide(question, OPTIONS) for question in questions]
        said, decided = await asyncio.gather(asyncio.gather(*talk), asyncio.gather(*asked))
        assert said == [alone] * 3
        for decision, expected in zip(decided, true, strict=True):
            assert_close(decision, expected)

    running.runner.run(main())


# ---- life ----------------------------------------------------------------------------------------


def test_a_cancelled_request_frees_its_slot_and_its_cache(running: Running) -> None:
    async def main() -> None:
        long = Sampling(max_tokens=1000, temperature=0, stop=())
        pieces = running.engine.generate(prompt("Tell me a story."), long)
        await anext(pieces)
        assert running.engine.status().running == 1
        assert (running.engine.status().kv_usage or 0) > 0
        await pieces.aclose()
        await running.engine.warm(prompt("Another line."))
        status = running.engine.status()
        assert (status.running, status.kv_usage) == (0, pytest.approx(0, abs=1e-9))

    running.runner.run(main())


def test_an_over_long_prompt_is_an_error_and_nothing_more(running: Running) -> None:
    async def main() -> None:
        with pytest.raises(EngineError, match="the model takes 2048"):
            await words(running.engine, prompt("word " * 3000))
        with pytest.raises(EngineError, match="the model takes 2048"):
            await running.engine.decide(prompt("word " * 3000), OPTIONS)
        assert await running.engine.count(["", "x"]) == [
            0,
            len(running.plain.tokens.encode("x")),
        ]

    running.runner.run(main())


def test_a_killed_engine_comes_back(running: Running) -> None:
    async def main() -> None:
        before = await words(running.engine, prompt("Hello."))
        assert running.engine._process
        running.engine._process.kill()
        with pytest.raises(EngineError):
            await words(running.engine, prompt("Hello."), Sampling(max_tokens=400))
        assert await words(running.engine, prompt("Hello.")) == before
        assert running.engine.status().restarts == 1

    running.runner.run(main())


def test_when_the_model_fails_so_does_what_it_did_and_the_worker_ends(folder: Path) -> None:
    """The host starts another."""

    def fail(*_: Any) -> None:
        raise RuntimeError("the device is lost\nand more about it")

    plain = Plain(folder)
    worker = TorchWorker(plain.model, plain.tokens, {"template": "script"}, cache_gb=1)
    plain.model.register_forward_pre_hook(fail)
    asked = {"id": 1, "op": "generate", "sampling": asdict(GREEDY)}
    assert not list(worker.take({**asked, "messages": [("user", "Hello.")], "opening": "Ada:"}))
    while not (events := worker.step()):
        pass
    assert events == [{"id": 1, "error": "the device is lost"}]
    with pytest.raises(RuntimeError, match=r"the model has failed: the device is lost$"):
        while True:
            worker.step()


def test_what_cannot_load_says_why_in_a_line(folder: Path, tmp_path: Path) -> None:
    source = sources.find(str(folder), None, PROMPT_VERSION)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"no weights")
    with asyncio.Runner() as runner:
        with pytest.raises(ModelError, match="could not load tiny: Memory footprint") as refused:
            runner.run(host.transformers(source, cache_gb=10**6).start())
        assert "\n" not in refused.value.message
        source = sources.find(str(broken), None, PROMPT_VERSION)
        with pytest.raises(ModelError, match="could not load broken: ") as refused:
            runner.run(host.transformers(source, cache_gb=1).start())
        assert "\n" not in refused.value.message


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nor a folder with"):
        sources.find(str(tmp_path), None, PROMPT_VERSION)


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "NEEDED", ("torch", "no_such_torch"))
    with pytest.raises(ModelError, match=r"needs no_such_torch: install npcserver\[finetune\]"):
        sources.find("embedded", None, PROMPT_VERSION)
    assert not sources.suits("embedded")


# ---- adapters ------------------------------------------------------------------------------------

LAYER = "model.layers.1.mlp.down_proj"


def adapter(folder: Path, target: Path, scale: float) -> Path:
    """One for a layer of the tiny model."""
    with safe_open(folder / "model.safetensors", "pt") as weights:  # type: ignore[no-untyped-call]
        out, inner = weights.get_slice(f"{LAYER}.weight").get_shape()
    drawn = torch.Generator().manual_seed(0)
    sides = {"A": torch.randn(RANK, inner, generator=drawn), "B": torch.full((out, RANK), scale)}
    tensors = {
        f"base_model.model.{LAYER}.lora_{side}.weight": value.numpy()
        for side, value in sides.items()
    }
    base = (folder / "model.safetensors").read_bytes()
    return write_adapter(target, base, tensors, target_modules=["down_proj"], task_type="CAUSAL_LM")


def by_hand(folder: Path, adapter: Path, target: Path) -> Path:
    """The model with the adapter's product added to its weights."""

    def read(path: Path) -> dict[str, Any]:
        with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    whole, thin = read(folder / "model.safetensors"), read(adapter / "adapter_model.safetensors")
    a, b = (thin[f"base_model.model.{LAYER}.lora_{side}.weight"] for side in "AB")
    whole[f"{LAYER}.weight"] += ALPHA / RANK * (b @ a)
    save_file(whole, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_an_adapter_takes_effect(running: Running, folder: Path, tmp_path: Path) -> None:
    moved = adapter(folder, tmp_path / "adapter", 0.3)
    plain = Plain(by_hand(folder, moved, tmp_path / "whole"))
    asked = prompt("You thief!", "Ada (looking")
    with asyncio.Runner() as runner:
        engine = started(runner, folder, moved)
        try:
            assert engine.status().model == "tiny+adapter"
            decision = runner.run(engine.decide(asked, OPTIONS))
            assert_close(decision, plain.decide(asked, OPTIONS))
            assert decision.probabilities != pytest.approx(
                running.plain.decide(asked, OPTIONS), abs=0.01
            )
            said = runner.run(words(engine, asked))
            assert said == plain.words(asked, GREEDY.max_tokens)
        finally:
            runner.run(engine.close())


def test_an_adapter_that_changes_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    idle = adapter(folder, tmp_path / "idle", 0.0)
    with asyncio.Runner() as runner, pytest.raises(ModelError, match="changes nothing"):
        started(runner, folder, idle)


def test_an_adapter_of_other_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    other = write_adapter(tmp_path / "other", b"other weights")
    with pytest.raises(ModelError, match="serve it with the model it was trained on"):
        sources.find(str(folder), other, PROMPT_VERSION)
    told = json.loads((other / "model.json").read_text())
    told["base"]["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    told["prompt_version"] += 1
    (other / "model.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match="train it again"):
        sources.find(str(folder), other, PROMPT_VERSION)
