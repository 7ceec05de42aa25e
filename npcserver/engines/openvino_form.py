"""A model as transformers saves it → the folder that the engine `openvino` loads.

The weights go through GGUF, which OpenVINO GenAI turns into its own form; the file stays beside it,
for adapters to be merged into. The tokenizer is converted by openvino_tokenizers, or, where that
reads texts otherwise than transformers does, goes through GGUF too. Run as a program, since
transformers is not for the server's process:

    python -m npcserver.engines.openvino_form FOLDER TARGET
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import openvino
import openvino_genai
from openvino_tokenizers import convert_tokenizer
from transformers import AutoTokenizer

from npcserver import conversion
from npcserver.engines.gguf_form import write_gguf, write_weights
from npcserver.engines.vocabulary import Tokens
from npcserver.errors import ModelError
from npcserver.models import ABOUT_FILE, GGUF_FILE, SENTENCEPIECE_FILE

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
        ModelError: it cannot be converted exactly, or the target is there already.
    """
    if target.exists():
        raise ModelError(f"{target}: is there already; name a new folder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=target.parent) as scratch:
        built = Path(scratch) / "built"
        weights = Path(scratch) / GGUF_FILE
        write_weights(folder, weights, quantisation)
        conversion.convert(weights, built)
        _write_tokenizer(tokenizer, built)
        if difference(tokenizer, built):
            _take_tokenizer(folder, Path(scratch) / "whole", built)
        if different := difference(tokenizer, built):
            raise ModelError(
                f"{folder}: OpenVINO's form of its tokenizer reads {different!r} differently; "
                "`--engine transformers` serves it"
            )
        weights.rename(built / GGUF_FILE)
        _describe(folder, built, quantisation)
        built.rename(target)


def _take_tokenizer(folder: Path, scratch: Path, built: Path) -> None:
    """The tokenizer as OpenVINO GenAI makes it from a GGUF that holds the vocabulary too."""
    if (folder / SENTENCEPIECE_FILE).exists():  # which it reads from none
        return
    scratch.mkdir()
    try:
        write_gguf(folder, scratch / GGUF_FILE, "Q8_0")
    except ModelError:
        return
    conversion.convert(scratch / GGUF_FILE, scratch / "built")
    for path in (scratch / "built").glob("openvino_*tokenizer.*"):
        path.replace(built / path.name)


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
        back = b"".join(tokens.token_bytes(id_) for id_ in ids).decode(errors="replace")
        # Qwen's tokenizers compose what is written as letter and accent.
        if normalize("NFC", back) != normalize("NFC", text):
            return text
    return None


def _describe(folder: Path, built: Path, quantisation: str) -> None:
    about = folder / ABOUT_FILE
    facts = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
    facts |= {"quantisation": quantisation}
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    (built / ABOUT_FILE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        write_openvino(Path(sys.argv[1]), Path(sys.argv[2]))
    except ModelError as error:
        sys.exit(error.message)
