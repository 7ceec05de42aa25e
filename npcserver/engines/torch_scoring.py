"""Probabilities of options from plain forwards of a transformers model.

Keeps the keys and values of the prompts it computed last, since the next decision's prompt mostly
begins with one of them. Knows nothing of requests under way beside it.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from npcserver.engines.options import OptionTree, Path
from npcserver.engines.vocabulary import Ids
from npcserver.engines.worker import Event

Layers = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of each layer, (rows, heads, T, width) both."""
AT_ONCE = 8
"""Rows of a forward. Each holds a copy of the prompt's keys and values."""


class Prefixes:
    """The keys and values of prompts, those used last."""

    def __init__(self, most: int) -> None:
        """Args: most: tokens kept, of all prompts together."""
        self._most = most
        self._kept: OrderedDict[tuple[int, ...], Layers] = OrderedDict()

    @property
    def tokens(self) -> int:
        """Tokens kept."""
        return sum(map(len, self._kept))

    def longest(self, ids: Ids) -> tuple[int, Layers]:
        """How many of the first ids are known, and their layers; never all, the last is needed."""
        wanted = tuple(ids[:-1])
        shared = {known: _shared(known, wanted) for known in self._kept}
        best = max(shared, key=lambda known: shared[known], default=())
        if not (length := shared.get(best, 0)):
            return 0, ()
        self._kept.move_to_end(best)
        # Views: extending them makes new tensors and leaves these as they are.
        return length, tuple((k[:, :, :length], v[:, :, :length]) for k, v in self._kept[best])

    def keep(self, ids: Ids, layers: Layers) -> None:
        """Keep a prompt; those that it begins with are kept with it."""
        whole = tuple(ids)
        for known in [known for known in self._kept if known == whole[: len(known)]]:
            del self._kept[known]
        self._kept[whole] = layers
        while self.tokens > self._most:
            self._kept.popitem(last=False)


class Scorer:
    """The model, asked what comes next."""

    def __init__(self, model: Any, prefixes: Prefixes, chunk: int) -> None:
        """Args: chunk: tokens of a prompt computed at a time."""
        self._model = model
        self.prefixes = prefixes
        self.chunk = chunk

    @torch.no_grad()
    def extended(self, layers: Layers, ids: Ids) -> tuple[Layers, Tensor]:
        """The layers with `ids` after them, and the log-probabilities (V,) of what comes next."""
        cache: Any = DynamicCache(layers or None)
        out = self._model(
            input_ids=self._rows([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        held = tuple((layer.keys, layer.values) for layer in cache.layers)
        return held, _log_probabilities(out.logits[0, -1])

    @torch.no_grad()
    def after(self, layers: Layers, paths: Sequence[Path]) -> list[Tensor]:
        """The log-probabilities (V,) of what comes after each path behind the same prompt.

        Rows are filled up on their right, where attention, which looks back only, sees nothing.
        """
        longest = max(map(len, paths))
        rows = [[*path, *[0] * (longest - len(path))] for path in paths]
        spread = tuple(
            (k.expand(len(paths), -1, -1, -1), v.expand(len(paths), -1, -1, -1)) for k, v in layers
        )
        logits = self._model(
            input_ids=self._rows(rows), past_key_values=DynamicCache(spread), use_cache=True
        ).logits
        return [_log_probabilities(logits[row, len(path) - 1]) for row, path in enumerate(paths)]

    def _rows(self, rows: Sequence[Ids]) -> Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self._model.device)


class Scoring:
    """One decision: its prompt is computed a chunk at a time, then every point where options part.

    Args:
        options: tokens of each.
    """

    def __init__(self, job: int, scorer: Scorer, prompt: Ids, options: Sequence[Ids]) -> None:
        self.id = job
        self._scorer = scorer
        self._prompt = prompt
        self._tree = OptionTree(options)
        self._done, self._layers = scorer.prefixes.longest(prompt)
        self._cached = self._done

    def go_on(self) -> Iterator[Event]:
        """Compute a chunk of the prompt; after the last, answer."""
        if not self._tree.forks:  # a single option is certain
            yield self._answer({})
            return
        chunk = self._prompt[self._done : self._done + self._scorer.chunk]
        self._layers, next_token = self._scorer.extended(self._layers, chunk)
        self._done += len(chunk)
        if self._done < len(self._prompt):
            return
        self._scorer.prefixes.keep(self._prompt, self._layers)
        yield self._answer(self._scores(next_token))

    def _scores(self, next_token: Tensor) -> dict[Path, dict[int, float]]:
        logs: dict[Path, Tensor] = {(): next_token}
        scores: dict[Path, dict[int, float]] = {}
        while (path := self._tree.next_fork(scores)) is not None:
            if path not in logs:
                logs |= self._further()
            tokens = self._tree.forks[path]
            scores[path] = dict(zip(tokens, logs[path][list(tokens)].tolist(), strict=True))
        return scores

    def _further(self) -> Iterator[tuple[Path, Tensor]]:
        """Every point that lies along an option: all at once costs little more than one."""
        further = [path for path in self._tree.forks if path]
        for start in range(0, len(further), AT_ONCE):
            paths = further[start : start + AT_ONCE]
            yield from zip(paths, self._scorer.after(self._layers, paths), strict=True)

    def _answer(self, scores: Mapping[Path, Mapping[int, float]]) -> Event:
        usage = {
            "prompt_tokens": len(self._prompt),
            "cached_tokens": self._cached,
            "completion_tokens": 0,
        }
        chances = self._tree.probabilities(scores)
        return {"id": self.id, "probabilities": chances, "usage": usage}


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many of their first tokens two sequences share."""
    parted = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(parted, min(len(one), len(other)))


def _log_probabilities(logits: Tensor) -> Tensor:
    """(V,) → (V,) in float32 on the CPU."""
    return torch.log_softmax(logits.float(), dim=-1).cpu()
