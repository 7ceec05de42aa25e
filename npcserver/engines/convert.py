"""GGUF → OpenVINO: rewrite 4-bit weights as 8-bit, and save what the pipeline makes of them.

OpenVINO's reader loses much of a Q4_1 file and little of a Q8_0 one. On the way an adapter can be
merged into the weights. Run as a program, because it takes memory that only the end of a process
gives back:

    python -m npcserver.engines.convert SOURCE.gguf FOLDER [ADAPTER]
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from npcserver.conversion import READABLE
from npcserver.engines import fuse
from npcserver.engines.fuse import Delta
from npcserver.errors import ModelError

Q4_1 = gguf.GGMLQuantizationType.Q4_1
Q8_0 = gguf.GGMLQuantizationType.Q8_0
BLOCK = 32
"""Weights in a block of Q8_0; rows are whole blocks."""


def rewrite(source: Path, target: Path, deltas: Mapping[str, Delta] | None = None) -> None:
    """Copy a GGUF file, its Q4_1 tensors as Q8_0; everything else stays bit for bit.

    Args:
        deltas: what is added, by tensor; a tensor that gets something becomes Q8_0 too.

    Raises:
        ModelError: the deltas do not fit the tensors, or change none of them.
    """
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    merging = _Merging(reader, deltas) if deltas else None
    writer = gguf.GGUFWriter(target, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        if field.name == "general.file_type":
            writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
            continue
        kind, *inner = field.types
        writer.add_key_value(
            field.name, field.contents(), kind, sub_type=inner[-1] if inner else None
        )
    for tensor in reader.tensors:
        data, quantisation = tensor.data, tensor.tensor_type
        if merging and tensor.name in merging.deltas:
            data, quantisation = merging.merged(tensor), Q8_0
        elif quantisation == Q4_1:
            data, quantisation = gguf.quantize(gguf.dequantize(data, Q4_1), Q8_0), Q8_0
        writer.add_tensor(tensor.name, data, raw_dtype=quantisation)
    if merging and not merging.took_effect:
        raise ModelError("the adapter changes no weight; was it trained? train it again")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class _Merging:
    """Adds deltas to tensors; knows whether that changed anything."""

    def __init__(self, reader: gguf.GGUFReader, deltas: Mapping[str, Delta]) -> None:
        self.deltas = deltas
        self.took_effect = False
        architecture = reader.fields["general.architecture"].contents()
        if architecture not in READABLE:
            raise ModelError(
                f"the model is a {architecture}; adapters can be merged into "
                f"{', '.join(READABLE)} models only"
            )
        self._heads = _rotated(reader) if architecture == "llama" else {}
        shapes = {
            tensor.name: tuple(int(n) for n in tensor.shape[::-1]) for tensor in reader.tensors
        }
        for name, delta in deltas.items():
            _check_shape(name, delta, shapes)

    def merged(self, tensor: Any) -> Any:
        """The tensor's weights with what is added, as Q8_0."""
        plain = gguf.dequantize(tensor.data, tensor.tensor_type)
        added = self.deltas[tensor.name].matrix(self._heads.get(tensor.name.split(".")[-2]))
        new = gguf.quantize(plain + added, Q8_0)
        if not self.took_effect:
            self.took_effect = not np.array_equal(new, gguf.quantize(plain, Q8_0))
        return new


def _rotated(reader: gguf.GGUFReader) -> dict[str, int]:
    """The heads of the tensors whose rows a llama's file has in an order of its own."""
    heads = int(reader.fields["llama.attention.head_count"].contents())
    of_keys = reader.fields.get("llama.attention.head_count_kv")
    return {"attn_q": heads, "attn_k": int(of_keys.contents()) if of_keys else heads}


def _check_shape(name: str, delta: Delta, shapes: Mapping[str, tuple[int, ...]]) -> None:
    shape = (delta.b.shape[0], delta.a.shape[1])
    if name not in shapes:
        raise ModelError(f"the adapter changes {name}, which the model has not")
    if shape != shapes[name] or shape[1] % BLOCK:
        raise ModelError(
            f"the adapter changes {name} of shape {shape}, but the model's is {shapes[name]}; "
            "it was trained on another model"
        )


def save_ir(source: Path) -> None:
    """Let OpenVINO read a GGUF file and save model and tokenizer next to it."""
    import openvino_genai as ov  # noqa: PLC0415 - rewriting alone needs it not

    ov.ContinuousBatchingPipeline(
        source, ov.SchedulerConfig(), "CPU", {"enable_save_ov_model": True}
    )
    ov.Tokenizer(source, enable_save_ov_model=True)


def convert(source: Path, folder: Path, adapter: Path | None = None) -> None:
    """Make an OpenVINO model folder from a GGUF file, with an adapter merged into its weights.

    Raises:
        ModelError: the adapter cannot be merged.
    """
    deltas = fuse.read(adapter) if adapter else None
    folder.mkdir(parents=True)
    rewritten = folder / "rewritten.gguf"
    rewrite(source, rewritten, deltas)
    save_ir(rewritten)
    rewritten.unlink()


if __name__ == "__main__":
    try:
        convert(*map(Path, sys.argv[1:]))
    except ModelError as error:
        sys.exit(error.message)
