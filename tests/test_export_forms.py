"""The forms a model is served in: GGUF and OpenVINO's, made and held against transformers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from finetune import scratch
from npcserver.engines import host
from npcserver.engines.base import Message, Prompt, Sampling
from npcserver.engines.gguf_form import Quantisation, write_gguf
from npcserver.engines.openvino_form import write_openvino
from npcserver.engines.render import TEMPLATES
from npcserver.engines.vocabulary import Tokens
from npcserver.errors import ModelError
from tests.invented import HARD_TEXTS, corpus

ASKED = Prompt((Message("user", "Kit: keludo varra 茶 sonisem mit, the salt road."),), "Ada:")
OPTIONS = [" mit", " kelu", " soni"]
"""One token each: longer ones, scored at once, disturb each other in the engine's cache."""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "ulmish"
    sizes = {"vocabulary": 400, "layers": 2, "width": 64, "heads": 4, "kv_heads": 2}
    scratch.build(text, out, context=256, steps=80, window=32, **sizes)  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def byte_level(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a tokenizer of SmolLM's kind."""
    out = tmp_path_factory.mktemp("models") / "bytes"
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    backend.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train(
        [str(text)],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=specials,
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, unk_token=specials[0], eos_token=specials[1]
    )
    tokenizer.save_pretrained(out)
    save_random(out, vocab_size=len(tokenizer), eos_token_id=1)
    return out


def save_random(out: Path, **config: Any) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**{**sizes, **heads, **config}))
    model.save_pretrained(out)


def load(folder: Path, **how: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **how).eval()  # type: ignore[no-untyped-call]


@torch.no_grad()
def logits(model: Any, ids: list[int]) -> torch.Tensor:
    """(T,) → (T, vocabulary)"""
    return model(torch.tensor([ids])).logits[0]  # type: ignore[no-any-return]


# ---- GGUF ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quantisation", "off"), [("F32", 0), ("F16", 0.02), ("Q8_0", 0.3)])
@pytest.mark.parametrize("source", ["trained", "byte_level"])
def test_a_gguf_gives_the_same_logits(
    source: str,
    quantisation: Quantisation,
    off: float,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    folder: Path = request.getfixturevalue(source)
    write_gguf(folder, tmp_path / "weights.gguf", quantisation)
    ids = AutoTokenizer.from_pretrained(folder).encode("Kit: kelu varra 茶 soni.\n")
    back = load(tmp_path, gguf_file="weights.gguf")
    wanted = logits(load(folder), ids)
    assert (logits(back, ids) - wanted).abs().max() <= off
    assert wanted.abs().max() > 0.3  # or nothing was compared


def test_a_gguf_holds_the_vocabulary(trained: Path, tmp_path: Path) -> None:
    write_gguf(trained, tmp_path / "weights.gguf")
    fields = gguf.GGUFReader(tmp_path / "weights.gguf").fields
    told = {name: field.contents() for name, field in fields.items()}
    processor = sentencepiece.SentencePieceProcessor(model_file=str(trained / "tokenizer.model"))
    pieces = [processor.id_to_piece(id_) for id_ in range(400)]
    assert told["tokenizer.ggml.model"] == "llama"
    assert told["tokenizer.ggml.tokens"] == pieces
    assert told["tokenizer.ggml.scores"] == pytest.approx(
        list(map(processor.get_score, range(400)))
    )
    assert told["tokenizer.ggml.token_type"][:6] == [3, 2, 3, 3, 4, 6]  # pad unk bos eos \n bytes
    assert set(told["tokenizer.ggml.token_type"][261:]) == {1}
    assert told["tokenizer.ggml.add_space_prefix"] is False
    assert told["tokenizer.ggml.eos_token_id"] == processor.eos_id()
    assert told["llama.context_length"] == 256


@pytest.mark.parametrize("line", ["  kelu  varra 茶 🍵", " soni, 12 345.", " aaaa ....."])
def test_transformers_reads_the_vocabulary_back(line: str, trained: Path, tmp_path: Path) -> None:
    write_gguf(trained, tmp_path / "weights.gguf")
    back = AutoTokenizer.from_pretrained(tmp_path, gguf_file="weights.gguf")
    wanted = AutoTokenizer.from_pretrained(trained).encode(line, add_special_tokens=False)
    assert back.encode(line, add_special_tokens=False) == wanted


def test_untied_embeddings_are_kept(byte_level: Path, tmp_path: Path) -> None:
    save_random(tmp_path, vocab_size=400, tie_word_embeddings=False)
    AutoTokenizer.from_pretrained(byte_level).save_pretrained(tmp_path)
    (tmp_path / "gguf").mkdir()
    write_gguf(tmp_path, tmp_path / "gguf" / "weights.gguf", "F32")
    back = load(tmp_path / "gguf", gguf_file="weights.gguf")
    assert torch.equal(logits(back, [3, 4, 5]), logits(load(tmp_path), [3, 4, 5]))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"attention_bias": True}, "biases in its attention"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "rotary"),
    ],
)
def test_what_gguf_cannot_say_is_refused(
    config: dict[str, Any], told: str, byte_level: Path, tmp_path: Path
) -> None:
    save_random(tmp_path, vocab_size=400, **config)
    AutoTokenizer.from_pretrained(byte_level).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=told):
        write_gguf(tmp_path, tmp_path / "weights.gguf")


def test_tokenizers_gguf_cannot_name_are_refused(
    text: Path, byte_level: Path, tmp_path: Path
) -> None:
    tiny = {"vocabulary": 310, "layers": 1, "width": 32, "heads": 1, "kv_heads": 1}
    scratch.build(text, tmp_path / "uni", model_type="unigram", **tiny)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="model_type='bpe'"):
        write_gguf(tmp_path / "uni", tmp_path / "weights.gguf")
    tokenizer = AutoTokenizer.from_pretrained(byte_level)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    save_random(tmp_path / "cut", vocab_size=400)
    tokenizer.save_pretrained(tmp_path / "cut")
    with pytest.raises(ModelError, match="cuts text by WhitespaceSplit"):
        write_gguf(tmp_path / "cut", tmp_path / "weights.gguf")


# ---- OpenVINO ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("served") / "ulmish"
    write_openvino(trained, out, "F16")
    return out


def ids_of(asked: Prompt, tokenizer: Any) -> list[int]:
    text = TEMPLATES["script"].text(asked)
    return list(tokenizer.encode(text, add_special_tokens=False))


@pytest.mark.parametrize("source", ["trained", "byte_level"])
def test_the_folder_reads_texts_as_transformers_does(
    source: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    import openvino_genai  # noqa: PLC0415 - only this test talks to it

    folder: Path = request.getfixturevalue(source)
    if source == "trained":
        out: Path = request.getfixturevalue("served")
    else:
        write_openvino(folder, out := tmp_path / "served")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = Tokens(openvino_genai.Tokenizer(out))
    for hard in HARD_TEXTS:
        ids = tokens.encode(hard)
        assert ids == tokenizer.encode(hard, add_special_tokens=False)
        assert b"".join(tokens.bytes_of[id_] for id_ in ids) == hard.encode()
    assert tokens.eos == tokenizer.eos_token_id
    assert tokens.specials == sorted(set(tokenizer.all_special_tokens))
    assert tokens.special_ids == set(tokenizer.all_special_ids)


def test_the_engine_says_and_decides_what_transformers_does(trained: Path, served: Path) -> None:
    async def ask() -> tuple[str, tuple[float, ...], list[int]]:
        engine = host.openvino(served, cache_gb=1)
        await engine.start()
        try:
            greedy = Sampling(max_tokens=24, temperature=0, stop=())
            text = "".join([piece.text async for piece in engine.generate(ASKED, greedy)])
            decision = await engine.decide(ASKED, OPTIONS)
            return text, tuple(decision.probabilities), await engine.count(HARD_TEXTS[2:6])
        finally:
            await engine.close()

    text, probabilities, counts = asyncio.run(ask())
    model, tokenizer = load(trained), AutoTokenizer.from_pretrained(trained)
    assert text == greedy_text(model, tokenizer, ids_of(ASKED, tokenizer), 24)
    wanted = option_probabilities(model, tokenizer, ids_of(ASKED, tokenizer))
    assert probabilities == pytest.approx(wanted, abs=0.01)
    assert counts == [len(tokenizer.encode(t, add_special_tokens=False)) for t in HARD_TEXTS[2:6]]


def greedy_text(model: Any, tokenizer: Any, ids: list[int], tokens: int) -> str:
    for _ in range(tokens):
        ids = [*ids, int(logits(model, ids)[-1].argmax())]
    return str(tokenizer.decode(ids[-tokens:], skip_special_tokens=True))


def option_probabilities(model: Any, tokenizer: Any, prompt: list[int]) -> list[float]:
    scores = []
    for option in OPTIONS:
        ids = tokenizer.encode(option, add_special_tokens=False)
        logs = logits(model, prompt + ids).log_softmax(-1)[len(prompt) - 1 : -1]
        scores.append(logs.gather(1, torch.tensor(ids)[:, None]).sum())
    return torch.stack(scores).softmax(0).tolist()


def test_the_folder_carries_the_model_s_facts(trained: Path, served: Path) -> None:
    facts = json.loads((trained / "model.json").read_text(encoding="utf-8"))
    written = json.loads((served / "model.json").read_text(encoding="utf-8"))
    assert written == {**facts, "quantisation": "F16"}
    assert sorted(path.name for path in served.parent.iterdir()) == [served.name]


def test_a_folder_that_is_there_is_left_alone(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is there already"):
        write_openvino(trained, tmp_path)


def test_a_tokenizer_openvino_reads_differently_is_refused(text: Path, tmp_path: Path) -> None:
    tiny = {"vocabulary": 310, "layers": 1, "width": 32, "heads": 2, "kv_heads": 1}
    scratch.build(text, tmp_path / "uni", model_type="unigram", **tiny)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="of its tokenizer reads"):
        write_openvino(tmp_path / "uni", tmp_path / "served")
    assert not (tmp_path / "served").exists()
