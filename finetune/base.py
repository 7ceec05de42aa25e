"""The model a run starts from: its weights for training, its tokenizer, and how it reads prompts.

Named as the server names models: `embedded`, or a folder as transformers saves it. Knows no data.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from finetune import folders
from finetune.errors import RunError
from npcserver import models
from npcserver.engines import torch_weights
from npcserver.engines.chat import of_transformers
from npcserver.engines.render import Template, template
from npcserver.engines.sources import weights
from npcserver.engines.vocabulary import special_texts


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

    @cached_property
    def template(self) -> Template:
        """How it reads prompts."""
        if told := self.facts.get("template"):
            return template(told)
        tokenizer = self.transformers_tokenizer()
        specials = TrainingTokenizer(tokenizer).specials
        return template(of_transformers(tokenizer, specials))

    @property
    def title(self) -> str:
        """Its name, without the folders of this machine."""
        return self.name if self.name in models.KNOWN else Path(self.name).resolve().name

    def tokenizer(self) -> TrainingTokenizer:
        """Its tokenizer, as prompts are rendered with it."""
        return TrainingTokenizer(self.transformers_tokenizer())

    def transformers_tokenizer(self) -> Any:
        """Its tokenizer, as transformers has it."""
        return torch_weights.load_tokenizer(self.folder)

    def save_tokenizer(self, folder: Path) -> None:
        """Write its tokenizer into the folder of a model made from it."""
        self.transformers_tokenizer().save_pretrained(folder)
        if (self.folder / models.SENTENCEPIECE_FILE).exists():
            shutil.copy(self.folder / models.SENTENCEPIECE_FILE, folder)

    def load(self, dtype: torch.dtype, attention: str = "sdpa") -> Any:
        """Its weights, de-quantised where they were, as transformers' PreTrainedModel."""
        return torch_weights.load_weights(self.folder, dtype, attention)


def find(name: str) -> Base:
    """The model of that name.

    Raises:
        RunError: there is none that can be trained.
        ModelError: its `model.json` is none.
    """
    folder = models.cache_folder() / name if name in models.KNOWN else folders.standing(Path(name))
    files = weights(folder)
    if name in models.KNOWN and not files:
        raise RunError(f"the model {name!r} is not here yet; run: npcserver models pull {name}")
    if not files:
        raise RunError(
            f"model {name!r}: neither one of {', '.join(models.KNOWN)} nor a folder that holds "
            "config.json and *.safetensors, as transformers saves a model"
        )
    return Base(name, folder, models.digest_of(files), models.facts(folder))
