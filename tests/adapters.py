"""Tiny models and adapters on disk, for tests that compute nothing large."""

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from npcserver.models import ABOUT_FILE, ADAPTER_CONFIG, ADAPTER_WEIGHTS, GGUF_FILE, IR_FILE
from npcserver.prompt import PROMPT_VERSION

Array = NDArray[np.float32]
RANK, ALPHA = 2, 8
HEADS, KEY_HEADS, WIDTH, INNER = 4, 2, 64, 96
SHAPES = {
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH * KEY_HEADS // HEADS, WIDTH),
    "attn_v": (WIDTH * KEY_HEADS // HEADS, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (INNER, WIDTH),
    "ffn_up": (INNER, WIDTH),
    "ffn_down": (WIDTH, INNER),
}
PEFT_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def write_gguf(path: Path, architecture: str = "llama") -> Path:
    """A llama of one layer, its weights in Q4_1."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_token_list(["a", "b", "茶"])
    for name, shape in SHAPES.items():
        data = gguf.quantize(draw(*shape), gguf.GGMLQuantizationType.Q4_1)
        writer.add_tensor(f"blk.0.{name}.weight", data, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("blk.0.attn_norm.weight", draw(WIDTH))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def read_gguf(path: Path) -> dict[str, tuple[str, Array]]:
    """Each tensor's quantisation and weights."""
    return {
        tensor.name: (
            tensor.tensor_type.name,
            gguf.dequantize(tensor.data, tensor.tensor_type),
        )
        for tensor in gguf.GGUFReader(path).tensors
    }


def sides(name: str, layer: int = 0) -> tuple[str, str]:
    """The keys of A and B in peft's file."""
    stem = f"base_model.model.model.layers.{layer}.{PEFT_NAMES[name]}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def weights() -> dict[str, Any]:
    """An adapter of every layer."""
    found = {}
    for seed, (name, (out, inner)) in enumerate(SHAPES.items()):
        a, b = sides(name)
        found[a] = draw(RANK, inner, seed=seed)
        found[b] = draw(out, RANK, seed=seed)
    return found


def write_adapter(
    folder: Path,
    base: bytes = b"",
    tensors: dict[str, Any] | None = None,
    about: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """An adapter as fine-tuning writes it.

    Args:
        base: the content of the GGUF it says it was trained on.
        about: what its `model.json` says besides, or instead.
        config: what its configuration says besides, or instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", **config}
    (folder / ADAPTER_CONFIG).write_text(json.dumps(whole))
    save_file(weights() if tensors is None else tensors, folder / ADAPTER_WEIGHTS)
    told = {
        "prompt_version": PROMPT_VERSION,
        "history_lines": 8,
        "base": {"name": "base", "sha256": hashlib.sha256(base).hexdigest()},
        **(about or {}),
    }
    (folder / ABOUT_FILE).write_text(json.dumps(told))
    return folder


def write_model(folder: Path, **about: Any) -> Path:
    """A folder that looks like a model, which nothing could load; its GGUF is its own name."""
    folder.mkdir(parents=True)
    (folder / IR_FILE).touch()
    (folder / GGUF_FILE).write_bytes(folder.name.encode())
    (folder / ABOUT_FILE).write_text(json.dumps({"name": folder.name, **about}))
    return folder
