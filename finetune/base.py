"""The model a run starts from: its weights for training, its tokenizer, and how it reads prompts.

Named as the server names models: `embedded`, or a folder as transformers saves it. Knows no data.
"""

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from finetune import folders
from finetune.errors import RunError
from finetune.pieces import MODEL_FILE
from npcserver import models
from npcserver.engines.render import TEMPLATES, Template
from npcserver.engines.vocabulary import special_texts
from npcserver.models import GGUF_FILE


class TrainingTokenizer:
    """A transformers tokenizer as the prompt builder's renderer takes it."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.specials: Sequence[str] = special_texts(tokenizer.get_vocab(), self.encode)

    def encode(self, text: str) -> list[int]:
        """ids (T,)"""
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, special tokens and spaces kept as they are."""
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )


@dataclass(frozen=True)
class Base:
    """A model that can be trained, not loaded yet.

    Args:
        name: as it was asked for.
        folder: where it lies.
        sha256: of its weights.
        facts: what its `model.json` says: languages, template, context.
    """

    name: str
    folder: Path
    sha256: str
    facts: dict[str, Any]

    @property
    def template(self) -> Template:
        """How it reads prompts."""
        return TEMPLATES[self.facts.get("template", "chatml")]

    @property
    def title(self) -> str:
        """Its name, without the folders of this machine."""
        return self.name if self.name in models.KNOWN else Path(self.name).resolve().name

    @property
    def _gguf(self) -> dict[str, str]:
        return {"gguf_file": GGUF_FILE} if (self.folder / GGUF_FILE).exists() else {}

    def tokenizer(self) -> TrainingTokenizer:
        """Its tokenizer, as prompts are rendered with it."""
        return TrainingTokenizer(self.transformers_tokenizer())

    def transformers_tokenizer(self) -> Any:
        """Its tokenizer, as transformers has it."""
        tokenizer = AutoTokenizer.from_pretrained(self.folder, **self._gguf)
        if self._gguf:
            # The file says that digits stand alone; transformers' reader of it forgets that.
            tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Digits(individual_digits=True),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
                ]
            )
        return tokenizer

    def save_tokenizer(self, folder: Path) -> None:
        """Write its tokenizer into the folder of a model made from it."""
        self.transformers_tokenizer().save_pretrained(folder)
        if (self.folder / MODEL_FILE).exists():
            shutil.copy(self.folder / MODEL_FILE, folder / MODEL_FILE)

    def load(self, dtype: torch.dtype, attention: str = "sdpa") -> Any:
        """Its weights, de-quantised where they were, as transformers' PreTrainedModel."""
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model: Any = AutoModelForCausalLM.from_pretrained(
            self.folder, dtype=dtype, attn_implementation=attention, **self._gguf
        )
        # Else transformers takes the model for a quantised one and refuses to save it.
        if hasattr(model, "hf_quantizer"):
            del model.hf_quantizer
        model.is_quantized = False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        return model


def find(name: str) -> Base:
    """The model of that name.

    Raises:
        RunError: there is none that can be trained.
        ModelError: its `model.json` is none.
    """
    folder = models.cache_folder() / name if name in models.KNOWN else folders.standing(Path(name))
    gguf = folder / GGUF_FILE
    weights = [gguf] if gguf.exists() else sorted(folder.glob("*.safetensors"))
    if name in models.KNOWN and not weights:
        raise RunError(f"the model {name!r} is not here yet; run: npcserver models pull {name}")
    if not weights:
        raise RunError(
            f"model {name!r}: neither one of {', '.join(models.KNOWN)} nor a folder that holds "
            "config.json and *.safetensors, as transformers saves a model"
        )
    return Base(name, folder, digest(weights), models.facts(folder))


def digest(files: Sequence[Path]) -> str:
    """The sha256 of some files, one after the other."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                whole.update(chunk)
    return whole.hexdigest()
