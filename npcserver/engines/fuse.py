"""A fine-tuned adapter as peft saves it, and what it adds to each tensor of a llama GGUF.

Low-rank adaptation: a layer's weights W become W + scale · B A. Whatever an adapter holds that is
not of this form is refused, since a model without it would not be the one that was trained.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from npcserver.errors import ModelError
from npcserver.models import ADAPTER_CONFIG as CONFIG
from npcserver.models import ADAPTER_WEIGHTS as WEIGHTS

Array = NDArray[np.float32]

KEY = re.compile(
    r"base_model\.model\.model\.layers\.(\d+)\.(self_attn|mlp)\.(\w+)\.lora_([AB])\.weight"
)
GGUF_NAMES = {
    ("self_attn", "q_proj"): "attn_q",
    ("self_attn", "k_proj"): "attn_k",
    ("self_attn", "v_proj"): "attn_v",
    ("self_attn", "o_proj"): "attn_output",
    ("mlp", "gate_proj"): "ffn_gate",
    ("mlp", "up_proj"): "ffn_up",
    ("mlp", "down_proj"): "ffn_down",
}
PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin that leave the base as it is; others (pissa, olora, corda) change it."""
UNDERSTOOD = {
    *("peft_type", "r", "lora_alpha", "use_rslora", "bias", "init_lora_weights"),
    # What was trained is read off the weights; the rest says how it was trained, or is of a
    # feature that has its own switch.
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("task_type", "auto_mapping", "base_model_name_or_path", "revision", "peft_version"),
    *("inference_mode", "lora_dropout", "eva_config", "loftq_config", "runtime_config"),
    *("megatron_core", "qalora_group_size", "ensure_weight_tying"),
}


@dataclass(frozen=True)
class Delta:
    """What is added to one layer's weights (out, in).

    Args:
        a: (rank, in).
        b: (out, rank).
    """

    a: Array
    b: Array
    scale: float

    def matrix(self, heads: int | None = None) -> Array:
        """(out, in), its rows ordered as a llama GGUF orders those of q and k, which have heads.

        GGUF keeps the two numbers that a position rotates side by side; peft's side keeps the
        first of all pairs in a head, then the second of all.
        """
        b = self.b
        if heads is not None:
            out, rank = b.shape
            b = b.reshape(heads, 2, out // heads // 2, rank).swapaxes(1, 2).reshape(out, rank)
        return np.float32(self.scale) * (b @ self.a)


def read(folder: Path) -> dict[str, Delta]:
    """What an adapter adds, by the name of the GGUF tensor it is added to.

    Raises:
        ModelError: it is not an adapter that can be merged, and why.
    """
    scale, rank = _scale(_config(folder / CONFIG))
    found: dict[str, dict[str, Array]] = {}
    for key, values in _tensors(folder / WEIGHTS):
        name, side = _place(key)
        found.setdefault(name, {})[side] = values
    if not found:
        raise ModelError(f"{WEIGHTS} holds no weights; train the adapter again")
    return {name: _delta(name, sides, scale, rank) for name, sides in found.items()}


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path}: is not a JSON object")
    return config


def _scale(config: Mapping[str, Any]) -> tuple[float, int]:
    """What B A is multiplied with, and the rank."""
    if config.get("peft_type") != "LORA":
        raise _refusal("peft_type", config.get("peft_type"))
    if config.get("bias", "none") != "none":
        raise _refusal("bias", config["bias"])
    if config.get("init_lora_weights") not in PLAIN_STARTS:
        raise _refusal("init_lora_weights", config["init_lora_weights"])
    for name, value in config.items():
        if value and name not in UNDERSTOOD:
            raise _refusal(name, value)
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise ModelError(f"{CONFIG}: r and lora_alpha must be numbers, r a whole one from 1")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank), rank


def _refusal(name: str, value: object) -> ModelError:
    return ModelError(
        f"{CONFIG}: {name} is {value!r}, which this server cannot merge; "
        "train a plain LoRA adapter of attention and MLP layers"
    )


def _tensors(path: Path) -> Iterator[tuple[str, Array]]:
    try:
        entries = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors: {error}") from None
    for name, entry in entries:
        values = _numbers(name, entry["dtype"], entry["data"]).reshape(entry["shape"])
        if not np.isfinite(values).all():
            raise ModelError(f"{WEIGHTS}: {name} holds numbers that are not finite; train again")
        yield name, values


def _numbers(name: str, dtype: str, data: bytes) -> Array:
    match dtype:
        case "F32":
            return np.frombuffer(data, np.float32)
        case "F16":
            return np.frombuffer(data, np.float16).astype(np.float32)
        case "BF16":  # the upper half of an F32
            return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    raise ModelError(f"{WEIGHTS}: {name} is {dtype}; save it as F32, F16 or BF16")


def _place(key: str) -> tuple[str, str]:
    """The GGUF tensor that a key belongs to, and which side of the product it is."""
    fits = KEY.fullmatch(key)
    if fits is None or (fits[2], fits[3]) not in GGUF_NAMES:
        layers = ", ".join(layer for _, layer in GGUF_NAMES)
        raise ModelError(
            f"{WEIGHTS}: {key} cannot be merged; an adapter may change {layers}, "
            "and nothing but their lora_A and lora_B"
        )
    return f"blk.{fits[1]}.{GGUF_NAMES[fits[2], fits[3]]}.weight", fits[4]


def _delta(name: str, sides: Mapping[str, Array], scale: float, rank: int) -> Delta:
    if sides.keys() != {"A", "B"}:
        (missing,) = {"A", "B"} - sides.keys()
        raise ModelError(f"{WEIGHTS}: for {name} there is no lora_{missing}")
    a, b = sides["A"], sides["B"]
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != rank or b.shape[1] != rank:
        raise ModelError(
            f"{WEIGHTS}: for {name} lora_A is {a.shape} and lora_B is {b.shape}, "
            f"which is not of rank {rank} as {CONFIG} says"
        )
    return Delta(a, b, scale)
