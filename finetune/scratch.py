"""A small Llama and its tokenizer from plain text: for an invented language, or for tests.

What comes out is a folder as transformers saves it, which training starts from and the server's
`gguf_form` and `openvino_form` read. Knows no dialogue: it learns to continue text, nothing else.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from finetune.config import Optimizer
from finetune.errors import DataError, RunError
from finetune.pieces import SPECIALS, Document, ModelType, train_pieces, wrapped
from finetune.train import learning_rate, make_optimizer
from npcserver.engines.gguf_form import BLOCK
from npcserver.models import SENTENCEPIECE_FILE

Progress = Callable[[int, float], None]
"""Told each step made, counted from 1, and its loss in nats a token."""

OPTIMIZER = Optimizer(learning_rate=3e-3, weight_decay=0.1)


def build(
    corpus: Path | Sequence[Path],
    out: Path,
    *,
    vocabulary: int = 2000,
    layers: int = 4,
    width: int = 128,
    heads: int = 4,
    kv_heads: int = 2,
    context: int = 1024,
    seed: int = 0,
    model_type: ModelType = "bpe",
    steps: int = 0,
    rows: int = 8,
    window: int = 64,
    optimizer: Optimizer = OPTIMIZER,
    languages: Sequence[str] = (),
    progress: Progress = lambda step, loss: None,
) -> None:
    """Make a tokenizer and a model from text files; the same files and seed make the same ones.

    Args:
        corpus: UTF-8 text; each file is one document.
        out: the folder to make.
        vocabulary: tokens, 256 of them for single bytes; its ids are SentencePiece's own.
        width: of the hidden state; `heads` attention heads share `kv_heads` keys and values.
        context: tokens the model is meant to take.
        model_type: what cuts words up; of the two, only `bpe` can be exported.
        steps: of next-token training, each on `rows` windows of `window` tokens; 0 leaves the
            weights as they were drawn.
        languages: that the model speaks, for whoever serves it.

    Raises:
        DataError: the corpus is not UTF-8, or has too little for the vocabulary.
        RunError: the sizes do not go together, or the folder holds something already.
    """
    _check_sizes(width, heads, kv_heads, window, context)
    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out}: holds something already; name a new folder")
    documents = _read([corpus] if isinstance(corpus, Path) else corpus)
    pieces = train_pieces(documents, vocabulary, model_type)
    tokenizer = wrapped(pieces, model_type)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(len(tokenizer), layers, width, heads, kv_heads, context)
        if steps:
            ids = torch.tensor(list(_ids(documents, tokenizer)))
            _train(model, ids, steps, rows, window, optimizer, progress)
    _save(out, model, tokenizer, pieces, languages, context)


def _check_sizes(width: int, heads: int, kv_heads: int, window: int, context: int) -> None:
    if width % BLOCK:
        raise RunError(f"width {width}: take a multiple of {BLOCK}")
    if width % heads or width // heads % 2 or heads % kv_heads:
        raise RunError(
            f"width {width}, heads {heads}, kv_heads {kv_heads}: the width must hold the heads in "
            "parts of an even size, and the heads be a multiple of kv_heads"
        )
    if window > context:
        raise RunError(f"window {window}: is longer than the context of {context} tokens")


def _read(paths: Sequence[Path]) -> list[Document]:
    documents = [_document(path) for path in paths]
    if not any(document.text.strip() for document in documents):
        where = paths[0] if paths else Path("corpus")
        raise DataError(f"{where}:1: there is no text; give files with the language in them")
    return documents


def _document(path: Path) -> Document:
    try:
        raw = path.read_bytes()
        return Document(path, raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: is not UTF-8 (byte {raw[error.start]:#04x}); save the file as UTF-8"
        ) from None
    except OSError as error:
        raise DataError(f"{path}:1: {error.strerror}; name files that can be read") from error


# ---- the model -----------------------------------------------------------------------------------


def _model(
    vocabulary: int, layers: int, width: int, heads: int, kv_heads: int, context: int
) -> LlamaForCausalLM:
    ids: dict[str, Any] = {f"{name}_id": id_ for id_, name in enumerate(SPECIALS)}
    del ids["unk_token_id"]
    config = LlamaConfig(
        vocab_size=vocabulary,
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=math.ceil(width * 8 / 3 / BLOCK) * BLOCK,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        **ids,
    )
    return LlamaForCausalLM(config)


def _ids(documents: Sequence[Document], tokenizer: PreTrainedTokenizerFast) -> Iterator[int]:
    """All documents' ids, an end token after each."""
    for document in documents:
        yield from tokenizer.encode(document.text, add_special_tokens=False)
        yield int(tokenizer.eos_token_id)


def _train(
    model: LlamaForCausalLM,
    ids: Tensor,
    steps: int,
    rows: int,
    window: int,
    wanted: Optimizer,
    progress: Progress,
) -> None:
    """Next-token training on windows drawn from the corpus's ids (N,)."""
    window = min(window, len(ids) - 1)
    optimizer = make_optimizer(wanted, model.parameters())
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(wanted, step, steps)
        starts = torch.randint(len(ids) - window, (rows, 1))
        seen = ids[starts + torch.arange(window + 1)]  # (rows, window + 1)
        logits = model(input_ids=seen[:, :-1]).logits  # (rows, window, vocabulary)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), seen[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), wanted.clip)
        optimizer.step()
        progress(step + 1, float(loss.detach()))
    model.eval()  # type: ignore[no-untyped-call]


def _save(
    out: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    pieces: bytes,
    languages: Sequence[str],
    context: int,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / SENTENCEPIECE_FILE).write_bytes(pieces)
    about = {
        "name": out.resolve().name,
        "languages": list(languages),
        "template": "script",
        "context_tokens": context,
    }
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    (out / "model.json").write_text(text, encoding="utf-8")
