"""A model's weights and tokenizer as transformers has them, and an adapter merged into them.

Imports torch: for the engine's own process and for training, never for the server.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from npcserver.errors import ModelError
from npcserver.models import GGUF_FILE

PROBE = (1, 2, 3, 5, 8, 13, 21, 34)
"""Any ids will do to see whether an adapter does something."""


def load_tokenizer(place: str | Path) -> Any:
    """The tokenizer of a folder or of a repository on the hub."""
    gguf = _gguf(place)
    tokenizer = AutoTokenizer.from_pretrained(place, **gguf)
    if gguf:
        # The file says that digits stand alone; transformers' reader of it forgets that.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return tokenizer


def load_weights(place: str | Path, dtype: torch.dtype | str, attention: str = "sdpa") -> Any:
    """The weights, de-quantised where they were, as transformers' PreTrainedModel.

    Args: dtype: `auto` takes that of the files.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model: Any = AutoModelForCausalLM.from_pretrained(
        place, dtype=dtype, attn_implementation=attention, **_gguf(place)
    )
    # Else transformers takes the model for a quantised one and refuses to save it.
    if hasattr(model, "hf_quantizer"):
        del model.hf_quantizer
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model


def merged(model: Any, adapter: Path) -> Any:
    """The model with an adapter of peft's merged into its weights.

    Raises:
        ModelError: the adapter changes nothing, so it is not of this model.
    """
    from peft import PeftModel  # noqa: PLC0415  # slow to import, and seldom needed

    before = _probed(model)
    whole = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    if torch.equal(before, _probed(whole)):
        raise ModelError(f"the adapter {adapter} changes nothing in this model")
    return whole


@torch.no_grad()
def _probed(model: Any) -> torch.Tensor:
    """Logits (T, V) of some ids."""
    ids = torch.tensor([PROBE], device=model.device)
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return logits


def _gguf(place: str | Path) -> dict[str, str]:
    return {"gguf_file": GGUF_FILE} if (Path(place) / GGUF_FILE).exists() else {}
