"""Small models from plain text: their tokenizers, their training, and what cannot be made."""

import json
from pathlib import Path

import pytest
import sentencepiece
import torch
from transformers import AutoTokenizer

from finetune import base, scratch
from finetune.errors import DataError, RunError
from finetune.pieces import ModelType
from tests.invented import HARD_TEXTS, corpus

TINY = {"vocabulary": 310, "layers": 1, "width": 32, "heads": 2, "kv_heads": 1, "context": 64}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def built(
    request: pytest.FixtureRequest, text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    kind: ModelType = request.param
    out = tmp_path_factory.mktemp("models") / kind
    sizes = TINY | ({"vocabulary": 400} if kind == "bpe" else {})
    scratch.build(text, out, model_type=kind, languages=["ulm"], **sizes)  # type: ignore[arg-type]
    return out


@pytest.mark.parametrize("hard", HARD_TEXTS)
def test_every_text_has_sentencepiece_s_ids_and_comes_back(built: Path, hard: str) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(built / "tokenizer.model"))
    tokenizer = AutoTokenizer.from_pretrained(built)
    ids = tokenizer.encode(hard, add_special_tokens=False)
    assert ids == processor.encode(hard)
    assert tokenizer.decode(ids) == hard


def test_a_line_break_is_one_token_and_what_is_special_can_be_told(built: Path) -> None:
    tokenizer = base.find(str(built)).tokenizer()
    assert len(tokenizer.encode("\n")) == 1
    assert list(tokenizer.specials) == ["</s>", "<pad>", "<s>", "<unk>"]


def test_the_folder_says_what_it_holds(built: Path) -> None:
    facts = json.loads((built / "model.json").read_text(encoding="utf-8"))
    assert facts == {
        "name": built.name,
        "languages": ["ulm"],
        "template": "script",
        "context_tokens": 64,
    }


def test_it_can_be_loaded_and_its_embeddings_are_tied(built: Path) -> None:
    model = base.find(str(built)).load(torch.float32)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.config.eos_token_id == AutoTokenizer.from_pretrained(built).eos_token_id


def test_the_same_text_and_seed_make_the_same_model(text: Path, tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> bytes:
        out = tmp_path / name
        scratch.build(text, out, seed=seed, steps=2, **TINY)  # type: ignore[arg-type]
        return (out / "model.safetensors").read_bytes()

    first = weights("first", seed=1)
    assert weights("again", seed=1) == first
    assert weights("other", seed=2) != first
    pieces = [(tmp_path / name / "tokenizer.model").read_bytes() for name in ("first", "other")]
    assert pieces[0] == pieces[1]


def test_training_learns_the_language(text: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []
    scratch.build(
        text,
        tmp_path / "out",
        steps=60,
        window=32,
        progress=lambda step, loss: seen.append((step, loss)),
        **TINY,  # type: ignore[arg-type]
    )
    assert [step for step, _ in seen] == list(range(1, 61))
    assert seen[-1][1] < 0.7 * seen[0][1]


def test_several_files_are_several_documents(text: Path, tmp_path: Path) -> None:
    more = corpus(tmp_path, seed=1)
    scratch.build([text, more], tmp_path / "out", steps=1, **TINY)  # type: ignore[arg-type]
    assert (tmp_path / "out" / "model.safetensors").exists()


def refusal(text: bytes, folder: Path, vocabulary: int = 310) -> str:
    path = folder / "corpus.txt"
    path.write_bytes(text)
    with pytest.raises(DataError) as caught:
        scratch.build(path, folder / "out", **{**TINY, "vocabulary": vocabulary})  # type: ignore[arg-type]
    assert not (folder / "out").exists()
    return caught.value.message.removeprefix(f"{folder}/")


def test_what_cannot_be_learned_from_is_told(tmp_path: Path) -> None:
    assert refusal(b"one\ntwo \xff\n", tmp_path).startswith("corpus.txt:2: is not UTF-8 (byte 0xff")
    assert refusal(b" \n\n", tmp_path).startswith("corpus.txt:1: there is no text")
    few = refusal(b"kelu varra\n", tmp_path)
    assert few.startswith("corpus.txt:1: the corpus is too small for a vocabulary of 310")
    many = "".join(map(chr, range(0x4E00, 0x4F00))).encode()
    assert "more characters than a vocabulary of 310" in refusal(many, tmp_path)
    assert refusal(b"kelu\n", tmp_path, vocabulary=100).startswith("corpus.txt:1: no tokenizer")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt:1: No such file"):
        scratch.build(tmp_path / "none.txt", tmp_path / "out")


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"width": 48}, "multiple of 32"),
        ({"heads": 3, "width": 96, "kv_heads": 2}, "multiple of kv_heads"),
        ({"heads": 5}, "hold the heads"),
        ({"context": 64, "window": 65}, "longer than the context"),
    ],
)
def test_sizes_that_do_not_go_together_are_told(
    sizes: dict[str, int], told: str, text: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=told):
        scratch.build(text, tmp_path / "out", **sizes)  # type: ignore[arg-type]


def test_nothing_is_overwritten(text: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="holds something already"):
        scratch.build(text, tmp_path)
