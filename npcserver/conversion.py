"""Weights as they come → the form that the engine `openvino` loads, by programs of their own.

What converts takes memory that only the end of a process gives back, and libraries that the
server's own process is spared. Knows nothing of names and caches.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npcserver.errors import ModelError

CAUTIOUS_CONTEXT = 2048
"""Taken where nothing says how many tokens a model takes."""
READABLE = ("llama", "qwen2", "qwen3")
"""Architectures that OpenVINO GenAI makes a model of from a GGUF file."""
WORSE_AT_MOST = 1.1
"""Conversion may raise a model's perplexity to so many times what it was."""


def check_readable(path: Path) -> None:
    """Refuse early, and with words, what OpenVINO GenAI's reader of GGUF does not know."""
    if path.is_dir():
        if importlib.util.find_spec("transformers") is None:
            raise ModelError(
                f"{path}: converting safetensors needs transformers: install npcserver[finetune]"
            )
        return
    kind = _gguf_fields(path)["kind"]
    if kind not in READABLE:
        raise ModelError(
            f"{path}: is a {kind} model; the engine `openvino` reads {', '.join(READABLE)}; "
            "serve it with llama.cpp and `--engine remote`"
        )


def _gguf_fields(path: Path) -> dict[str, Any]:
    """What a GGUF file says of itself: its kind, and how many tokens it takes, if it says so."""
    import gguf  # noqa: PLC0415 - with numpy, for a first conversion only

    try:
        fields = gguf.GGUFReader(path).fields
    except (ValueError, KeyError, IndexError) as error:
        raise ModelError(f"{path}: is not a GGUF file: {error}") from None
    kind = fields["general.architecture"].contents() if "general.architecture" in fields else None
    length = fields.get(f"{kind}.context_length")
    return {"kind": kind, "context": length.contents() if length else None}


def context_tokens(source: Path) -> int:
    """Tokens that a model takes, as its GGUF file or the `config.json` of its folder says."""
    if source.is_file():
        return int(_gguf_fields(source)["context"] or CAUTIOUS_CONTEXT)
    config = source / "config.json"
    told = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    return int(told.get("max_position_embeddings") or CAUTIOUS_CONTEXT)


def appraised(built: Path, source: Path) -> dict[str, Any]:
    """What `engines/appraisal.py` finds. Raises ModelError if conversion broke the model."""
    command = [sys.executable, "-m", "npcserver.engines.appraisal", str(built), str(source)]
    told: dict[str, Any] = json.loads(_output(command, "the converted model does not run"))
    odds = told["perplexity"]
    before, after = odds.get("source"), odds["converted"]
    if before is not None and not after <= WORSE_AT_MOST * before:
        raise ModelError(
            f"{source}: conversion spoils it: perplexity {before} before, {after} after; "
            "`--engine transformers` serves it as it is"
        )
    return told


def convert(source: Path, target: Path, adapter: Path | None = None) -> Path:
    """Convert in a process of its own, which gives back the memory it takes."""
    program = "openvino_form" if source.is_dir() else "convert"
    command = [sys.executable, "-m", f"npcserver.engines.{program}", str(source), str(target)]
    command += [str(adapter)] if adapter else []
    _output(command, "the model could not be converted")
    return target


def _output(command: Sequence[str], fault: str) -> str:
    """What a program prints. Raises ModelError, with the fault and the last it complained of."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        detail = result.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ModelError(f"{fault}: {detail[0]}")
    return result.stdout
