"""A Llama as transformers saves it → the folder that npcserver's engine loads.

The weights go through GGUF, which OpenVINO GenAI turns into its own form. A tokenizer goes that way
too if it can; but GenAI reads no SentencePiece vocabulary from a GGUF, so that one is converted by
openvino_tokenizers. What counts is that the folder reads texts as transformers does, and that is
checked. Knows no adapters.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import openvino
import openvino_genai
from openvino_tokenizers import convert_tokenizer
from transformers import AutoTokenizer

from finetune.errors import RunError
from finetune.gguf_form import write_gguf, write_weights
from finetune.pieces import MODEL_FILE
from npcserver.engines.vocabulary import Tokens
from npcserver.models import ABOUT_FILE

PROBES = (
    "The gate is shut.  Who asked?\n\n  Two spaces, 12 345 apples...\n\n42\t\r\n",
    "茶凉了，客人还没走。“再等等。”——谁？！",
    "👩‍👩‍👧 🍵 cafe\u0301 café \u00a0 \u200d ﬁ Ⅷ naïve Ωδός привет שלום",
    " leading, trailing  ",
    "<0x0A> <0xE8>\n<0x0A>\n",
    "hahahaha aaaaaaaaa ......... !!!!!!!! 哈哈哈哈哈哈哈\n\n\n\n1\n\n\n",
)
"""Texts of many kinds; a tokenizer that reads them all alike reads others alike."""


def write_openvino(
    folder: Path, target: Path, quantisation: Literal["F16", "Q8_0"] = "Q8_0"
) -> None:
    """Write the folder a server loads: model, tokenizer, detokenizer and `model.json`.

    It is built beside its place and moved there at the end.

    Args:
        folder: `config.json`, `*.safetensors`, the tokenizer's files, and perhaps `model.json`.
        target: the folder to make.
        quantisation: of the weights; OpenVINO GenAI reads no F32.

    Raises:
        RunError: it cannot be converted exactly, or the target is there already.
    """
    if target.exists():
        raise RunError(f"{target}: is there already; name a new folder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=target.parent) as scratch:
        source, built = Path(scratch) / "weights.gguf", Path(scratch) / "built"
        is_sentencepiece = (folder / MODEL_FILE).exists()
        write = write_weights if is_sentencepiece else write_gguf
        write(folder, source, quantisation)
        _convert(source, built)
        if is_sentencepiece or difference(tokenizer, built):
            _write_tokenizer(tokenizer, built)
        if different := difference(tokenizer, built):
            raise RunError(
                f"{folder}: OpenVINO's form of its tokenizer reads {different!r} differently; "
                "take a SentencePiece model of the kind bpe, or SmolLM's tokenizer"
            )
        _describe(folder, built, quantisation)
        built.rename(target)


def _convert(source: Path, built: Path) -> None:
    """Turn a GGUF into OpenVINO's form, in a process that gives back the memory it takes."""
    command = [sys.executable, "-m", "npcserver.engines.convert", str(source), str(built)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        said = result.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise RunError(f"the model could not be converted: {said[0]}")


def _write_tokenizer(tokenizer: Any, built: Path) -> None:
    # Without tokens to skip, OpenVINO GenAI cannot load the detokenizer.
    forms = convert_tokenizer(tokenizer, with_detokenizer=True, skip_special_tokens=True)
    for form, name in zip(forms, ("tokenizer", "detokenizer"), strict=True):
        openvino.save_model(form, built / f"openvino_{name}.xml")


def difference(tokenizer: Any, folder: Path) -> str | None:
    """A text that a folder's tokenizer reads differently from transformers', or does not give back.

    None where there is no such among the probes.
    """
    tokens = Tokens(openvino_genai.Tokenizer(folder))
    for text in PROBES:
        ids = tokens.encode(text)
        if ids != tokenizer.encode(text, add_special_tokens=False):
            return text
        if b"".join(tokens.bytes_of[id_] for id_ in ids) != text.encode():
            return text
    return None


def _describe(folder: Path, built: Path, quantisation: str) -> None:
    about = folder / ABOUT_FILE
    facts = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
    facts |= {"quantisation": quantisation}
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    (built / ABOUT_FILE).write_text(text, encoding="utf-8")
