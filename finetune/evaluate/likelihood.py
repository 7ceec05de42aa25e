"""How likely a served model finds words after a prompt. Knows nothing of characters."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from npcserver import models
from npcserver.engines.base import Prompt
from npcserver.engines.chat import of_openvino
from npcserver.engines.echo import Echo
from npcserver.engines.openvino import PROPERTIES
from npcserver.engines.render import neutral, prompt_ids, template
from npcserver.engines.vocabulary import Tokens


class Likelihood(Protocol):
    """What a model thinks of words somebody else chose."""

    def scores(self, prompt: Prompt, texts: Sequence[str]) -> list[list[float]]:
        """For each text that may follow the prompt: the log-probability of each of its tokens, and
        of the end."""

    def right(self, prompt: Prompt, text: str) -> list[bool]:
        """For each token of a text that may follow the prompt, and for the end: whether it is the
        likeliest."""


class ServedLikelihood:
    """A folder in OpenVINO's form: the weights that are served, rounded as they are served."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._echo = Echo(folder, PROPERTIES, cached=True)
        tokenizer = self._echo.pipeline.get_tokenizer()
        self._tokens = Tokens(tokenizer)
        told = models.facts(folder).get("template")
        self._template = template(told or of_openvino(tokenizer, self._tokens.specials))

    @cached_property
    def _uncached(self) -> Echo:
        return Echo(self._folder, PROPERTIES)

    def scores(self, prompt: Prompt, texts: Sequence[str]) -> list[list[float]]:
        """The prompt is computed once, and what prompts begin with is kept for the next."""
        before = prompt_ids(prompt, self._template, self._tokens)
        return [self._scores(before, self._ids(text)) for text in texts]

    def right(self, prompt: Prompt, text: str) -> list[bool]:
        """One request for each run of right tokens."""
        before, ids = prompt_ids(prompt, self._template, self._tokens), self._ids(text)
        return [a == b for a, b in zip(self._echo.likeliest(before, ids), ids, strict=True)]

    def _ids(self, text: str) -> list[int]:
        said = self._tokens.encode(neutral(text, self._tokens.specials))
        return said + self._tokens.encode(self._template.end)

    def _scores(self, before: list[int], ids: list[int]) -> list[float]:
        found = self._echo.after(before, ids)
        if found is None:  # a prompt that fills its last block: rare
            found = self._uncached.scores([*before, *ids])[-len(ids) :]
        return found
