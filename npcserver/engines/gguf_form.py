"""A model as transformers saves it → one GGUF file, as OpenVINO GenAI and transformers read it.

Llama and its like: Mistral, Qwen 2 and 3. Knows the two vocabularies such models come with:
SentencePiece's, and byte-level BPE. What it cannot write exactly it refuses; it never leaves
something out.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import sentencepiece
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer

from npcserver.errors import ModelError
from npcserver.models import SENTENCEPIECE_FILE

Quantisation = Literal["F32", "F16", "Q8_0"]
Array = NDArray[np.float32]

FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
FAMILIES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""transformers' kinds of model, and what GGUF calls them."""
ARCHITECTURES = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
BLOCK = int(gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_0][0])
"""Weights in a block of Q8_0; rows that are not whole blocks are written as F16."""
SPLITS = {("Digits", "ByteLevel"): "smollm", ("ByteLevel",): "gpt-2"}
"""GGUF's names for how text is cut before it is made of pieces."""


def write_gguf(folder: Path, target: Path, quantisation: Quantisation = "Q8_0") -> None:
    """Write a model's weights, shape and tokenizer into one file.

    A SentencePiece vocabulary says that no space is put before a text; transformers 5.23, reading
    the file back, puts one all the same.

    Args:
        folder: `config.json`, `*.safetensors` and the tokenizer's files.
        quantisation: of the matrices; vectors stay F32.

    Raises:
        ModelError: it is no plain model of these kinds, or its tokenizer has no exact form in GGUF.
    """
    config, writer = _begun(folder, target, quantisation)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if (folder / SENTENCEPIECE_FILE).exists():
        _sentencepiece_vocabulary(folder, writer, tokenizer)
    else:
        _byte_level_vocabulary(writer, tokenizer, config.vocab_size)
    _weights(folder, writer, config, quantisation)
    _finish(writer)


def write_weights(folder: Path, target: Path, quantisation: Quantisation = "Q8_0") -> None:
    """Write the weights and shape only, with a vocabulary of nonsense, for readers that want one.

    Raises:
        ModelError: it is no plain model of these kinds.
    """
    config, writer = _begun(folder, target, quantisation)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{id_}" for id_ in range(config.vocab_size)])
    # OpenVINO GenAI loads no tokenizer that has no special tokens.
    kinds = [gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (config.vocab_size - 1)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(0)
    _weights(folder, writer, config, quantisation)
    _finish(writer)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ---- shape and weights ---------------------------------------------------------------------------


def _begun(folder: Path, target: Path, quantisation: Quantisation) -> tuple[Any, gguf.GGUFWriter]:
    """What `config.json` says, and a file that says it too."""
    config = AutoConfig.from_pretrained(folder)
    if reason := _unusual(config):
        raise ModelError(
            f"{folder}: {reason}, which OpenVINO GenAI does not read; "
            "`--engine transformers` serves it"
        )
    writer = gguf.GGUFWriter(target, FAMILIES[config.model_type])
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = getattr(config, "rope_parameters", None) or {}
    writer.add_name(folder.resolve().name)
    writer.add_file_type(FILE_TYPES[quantisation])
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    return config, writer


def _unusual(config: Any) -> str | None:
    """What a model has that these files cannot say, or their reader leaves out."""
    rope = getattr(config, "rope_parameters", None) or {}
    windowed = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if config.model_type not in FAMILIES:
        return f"is a {config.model_type} model"
    if rope.get("rope_type", "default") != "default":
        return f"scales its rotary embeddings ({rope['rope_type']})"
    if windowed or (config.model_type == "mistral" and config.sliding_window):
        return "attends to a sliding window"
    if config.model_type != "qwen2" and getattr(config, "attention_bias", False):
        return "has biases in its attention"
    return "has biases in its MLP" if getattr(config, "mlp_bias", False) else None


def _weights(
    folder: Path, writer: gguf.GGUFWriter, config: Any, quantisation: Quantisation
) -> None:
    """Write every tensor under its GGUF name."""
    family = FAMILIES[config.model_type]
    names = gguf.get_tensor_name_map(ARCHITECTURES[family], config.num_hidden_layers)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, tensor in _tensors(folder):
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise ModelError(f"{folder}: has {name}, which a plain {family} has not")
        if family == "llama" and (part := known.split(".")[-2]) in heads:
            tensor = _interleaved(tensor, heads[part])
        kind = _kind(tensor, quantisation)
        writer.add_tensor(known, gguf.quantize(tensor, kind), raw_dtype=kind)


def _tensors(folder: Path) -> Iterator[tuple[str, Array]]:
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                yield name, file.get_tensor(name).float().numpy()


def _interleaved(tensor: Array, heads: int) -> Array:
    """The rows (out, in) of queries or keys in GGUF's order.

    Rotary embeddings turn pairs of rows: transformers takes one from each half of a head, GGUF has
    them next to each other.
    """
    halves = tensor.reshape(heads, 2, -1, tensor.shape[1])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _kind(tensor: Array, quantisation: Quantisation) -> gguf.GGMLQuantizationType:
    if tensor.ndim == 1:
        return gguf.GGMLQuantizationType.F32
    if quantisation == "Q8_0" and tensor.shape[1] % BLOCK:
        return gguf.GGMLQuantizationType.F16
    return gguf.GGMLQuantizationType[quantisation]


# ---- vocabularies --------------------------------------------------------------------------------


def _sentencepiece_vocabulary(folder: Path, writer: gguf.GGUFWriter, tokenizer: Any) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / SENTENCEPIECE_FILE))
    parsed = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if parsed["type"] != "BPE":
        raise ModelError(
            f"{folder}: a {parsed['type']} tokenizer has no exact form in GGUF; "
            "build one with model_type='bpe'"
        )
    ids = range(processor.get_piece_size())
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([processor.id_to_piece(id_) for id_ in ids])
    writer.add_token_scores([processor.get_score(id_) for id_ in ids])
    writer.add_token_types([_piece_type(processor, id_) for id_ in ids])
    writer.add_token_merges([" ".join(merge) for merge in parsed["merges"]])
    writer.add_add_space_prefix(False)
    writer.add_remove_extra_whitespaces(False)
    _special_ids(writer, tokenizer)


def _piece_type(processor: Any, id_: int) -> gguf.TokenType:
    if processor.is_unknown(id_):
        return gguf.TokenType.UNKNOWN
    if processor.is_control(id_):
        return gguf.TokenType.CONTROL
    if processor.is_byte(id_):
        return gguf.TokenType.BYTE
    if processor.is_unused(id_):
        return gguf.TokenType.UNUSED
    # The only user-defined piece a processor does not tell from others: the line break.
    if processor.id_to_piece(id_) == "\n":
        return gguf.TokenType.USER_DEFINED
    return gguf.TokenType.NORMAL


def _byte_level_vocabulary(writer: gguf.GGUFWriter, tokenizer: Any, size: int) -> None:
    parsed = json.loads(tokenizer.backend_tokenizer.to_str())
    text_of = {id_: text for text, id_ in tokenizer.get_vocab().items()}
    special = {token["id"]: token["special"] for token in parsed["added_tokens"]}
    types = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.USER_DEFINED}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_split(parsed))
    writer.add_token_list([text_of.get(id_, f"[PAD{id_}]") for id_ in range(size)])
    writer.add_token_types(
        [
            types[special[id_]]
            if id_ in special
            else gguf.TokenType.NORMAL
            if id_ in text_of
            else gguf.TokenType.UNUSED
            for id_ in range(size)
        ]
    )
    writer.add_token_merges([" ".join(merge) for merge in parsed["model"]["merges"]])
    _special_ids(writer, tokenizer)


def _split(parsed: dict[str, Any]) -> str:
    """GGUF's name for how a tokenizer cuts text up. Raises ModelError where it has none."""
    steps = parsed["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    kinds = tuple(step.get("type", "nothing") for step in steps)
    plain = parsed["normalizer"] is None and parsed["model"]["type"] == "BPE"
    if not plain or kinds not in SPLITS:
        raise ModelError(
            f"a {parsed['model']['type']} tokenizer that cuts text by {' and '.join(kinds)} has no "
            "exact form in GGUF; SentencePiece's BPE and SmolLM's byte-level BPE have"
        )
    return SPLITS[kinds]


def _special_ids(writer: gguf.GGUFWriter, tokenizer: Any) -> None:
    for name, write in {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "unk": writer.add_unk_token_id,
        "pad": writer.add_pad_token_id,
    }.items():
        if (id_ := getattr(tokenizer, f"{name}_token_id")) is not None:
            write(id_)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
