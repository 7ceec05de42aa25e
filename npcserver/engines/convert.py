"""GGUF → OpenVINO: rewrite 4-bit weights as 8-bit, and save what the pipeline makes of them.

OpenVINO's reader loses much of a Q4_1 file and little of a Q8_0 one. Run as a program, because it
takes memory that only the end of a process gives back:

    python -m npcserver.engines.convert SOURCE.gguf FOLDER
"""

import sys
from pathlib import Path

import gguf

Q4_1 = gguf.GGMLQuantizationType.Q4_1
Q8_0 = gguf.GGMLQuantizationType.Q8_0


def rewrite(source: Path, target: Path) -> None:
    """Copy a GGUF file, its Q4_1 tensors as Q8_0; everything else stays bit for bit."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
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
        if quantisation == Q4_1:
            data, quantisation = gguf.quantize(gguf.dequantize(data, Q4_1), Q8_0), Q8_0
        writer.add_tensor(tensor.name, data, raw_dtype=quantisation)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def save_ir(source: Path) -> None:
    """Let OpenVINO read a GGUF file and save model and tokenizer next to it."""
    import openvino_genai as ov  # noqa: PLC0415 - rewriting alone needs it not

    ov.ContinuousBatchingPipeline(
        source, ov.SchedulerConfig(), "CPU", {"enable_save_ov_model": True}
    )
    ov.Tokenizer(source, enable_save_ov_model=True)


def convert(source: Path, folder: Path) -> None:
    """Make an OpenVINO model folder from a GGUF file."""
    folder.mkdir(parents=True)
    rewritten = folder / "rewritten.gguf"
    rewrite(source, rewritten)
    save_ir(rewritten)
    rewritten.unlink()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
