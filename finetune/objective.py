"""The loss of a row: cross-entropy on what is trained, nothing on what is only read."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.nn import functional

from finetune.rows import SLOTS, Row


@dataclass(frozen=True)
class RowLoss:
    """What a model makes of a row.

    Args:
        total: () the weighted sum of the losses.
        losses: (N,) each target's, not weighted, and
        hits: (N,) bool, where the model's first choice was right.
    """

    total: torch.Tensor
    losses: torch.Tensor
    hits: torch.Tensor


def row_loss(model: Callable[..., object], row: Row, smoothing: float = 0.0) -> RowLoss:
    """The losses of a row's targets.

    Only the hidden states that predict something are turned into logits (N, V); in a prompt of
    hundreds of tokens with a reply of twenty, that spares most of the largest matrix product.
    """
    out = model(
        input_ids=row.ids[None],
        position_ids=row.positions[None],
        attention_mask=row.mask(),
        layouts=row.layouts,
        logits_to_keep=row.where,
        use_cache=False,
    )
    logits = out.logits[0].float()  # type: ignore[attr-defined]
    losses = functional.cross_entropy(
        logits, row.targets, reduction="none", label_smoothing=smoothing
    )
    hits = logits.detach().argmax(-1) == row.targets
    return RowLoss((losses * row.weights).sum(), losses.detach(), hits)


@dataclass
class Tally:
    """Sums over many rows, by slot: tokens, losses, first choices that were right."""

    tokens: list[float] = field(default_factory=lambda: [0.0] * len(SLOTS))
    losses: list[float] = field(default_factory=lambda: [0.0] * len(SLOTS))
    hits: list[float] = field(default_factory=lambda: [0.0] * len(SLOTS))
    weighted: float = 0.0
    weight: float = 0.0

    def add(self, row: Row, got: RowLoss) -> None:
        """Take in a row."""
        self.weighted += float((got.losses * row.weights).sum())
        self.weight += float(row.weights.sum())
        for number in range(len(SLOTS)):
            of_slot = row.slots == number
            self.tokens[number] += float(of_slot.sum())
            self.losses[number] += float(got.losses[of_slot].sum())
            self.hits[number] += float(got.hits[of_slot].sum())

    def sums(self) -> list[float]:
        """Everything in one list, to be added up over processes."""
        return [*self.tokens, *self.losses, *self.hits, self.weighted, self.weight]

    @classmethod
    def of(cls, sums: list[float]) -> "Tally":
        """The tally of such a list."""
        size = len(SLOTS)
        parts = [sums[start : start + size] for start in range(0, 3 * size, size)]
        return cls(parts[0], parts[1], parts[2], sums[-2], sums[-1])

    @property
    def loss(self) -> float:
        """The weighted mean loss, in nats a token."""
        return self.weighted / self.weight if self.weight else float("nan")

    @property
    def accuracy(self) -> float:
        """Share of tokens that were the model's first choice."""
        tokens = sum(self.tokens)
        return sum(self.hits) / tokens if tokens else float("nan")

    def by_slot(self) -> dict[str, dict[str, float]]:
        """Loss, accuracy and number of tokens of each slot that occurs."""
        return {
            slot: {"loss": loss / count, "accuracy": hits / count, "tokens": count}
            for slot, count, loss, hits in zip(
                SLOTS, self.tokens, self.losses, self.hits, strict=True
            )
            if count
        }
