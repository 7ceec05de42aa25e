"""Examples → rows of tokens, several to a row, none seeing another.

A row is a forest. The examples of one character share what they begin with, the sheet: that is
the trunk of a tree, computed once, and each example goes on from it as a branch of its own. A token
sees the trunk of its tree and what came before it in its branch, and its position is the one it
would have alone, so every example gets the loss it would get in a row of its own. Knows no model.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch

from finetune.examples import Example, Slot

SLOTS: tuple[Slot, ...] = get_args(Slot)


@dataclass(frozen=True)
class Layout:
    """Where a tree lies in its row, as half-open ranges of tokens."""

    trunk: tuple[int, int]
    branches: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Row:
    """What is computed at once.

    Args:
        ids, positions: (T,) int64
        targets: (N,) the ids to be predicted, and
        where: (N,) the index of the token that predicts each.
        weights: (N,) float32
        slots: (N,) int64, what each target is trained as: an index of SLOTS.
        layouts: where its trees lie, which says who sees whom.
        read: tokens its examples have, the shared ones counted for each.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    where: torch.Tensor
    weights: torch.Tensor
    slots: torch.Tensor
    layouts: tuple[Layout, ...]
    read: int

    def mask(self) -> torch.Tensor:
        """Who sees whom: (1, 1, T, T) bool, True where the query (row) sees the key (column)."""
        size = len(self.ids)
        seen = torch.zeros(size, size, dtype=torch.bool, device=self.ids.device)
        for layout in self.layouts:
            for start, end in (layout.trunk, *layout.branches):
                seen[start:end, slice(*layout.trunk)] = True
                seen[start:end, start:end] = True
        return seen.tril()[None, None]

    def to(self, device: torch.device) -> "Row":
        """The same row on a device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)

    def blank(self) -> "Row":
        """The same row, counting for nothing."""
        none: dict[str, Any] = {
            name: getattr(self, name)[:0] for name in ("targets", "where", "weights", "slots")
        }
        return replace(self, **none, read=0)


@dataclass
class Tree:
    """Examples with a common trunk."""

    trunk: Sequence[int]
    examples: list[Example]

    @property
    def size(self) -> int:
        """Tokens to compute."""
        return len(self.trunk) + sum(len(each.ids) - len(self.trunk) for each in self.examples)


Forest = Sequence[Tree]
"""What stands in one row, not yet laid out."""


def make_row(trees: Forest, weights: Mapping[Slot, float]) -> Row:
    """Lay trees out one after the other."""
    ids: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    where: list[int] = []
    slots: list[Slot] = []
    layouts: list[Layout] = []
    read = 0
    for tree in trees:
        size = len(tree.trunk)
        ranges: list[tuple[int, int]] = []
        last_of_trunk = len(ids) + size - 1
        ids += tree.trunk
        positions += range(size)
        for example in tree.examples:
            read += len(example.ids)
            start = len(ids) - size
            for at in range(size, len(example.ids)):
                slot = example.slots[at]
                if slot is not None and weights[slot] > 0:
                    targets.append(example.ids[at])
                    where.append(start + at - 1 if at > size else last_of_trunk)
                    slots.append(slot)
            ranges.append((len(ids), len(ids) + len(example.ids) - size))
            ids += example.ids[size:]
            positions += range(size, len(example.ids))
        layouts.append(Layout((last_of_trunk + 1 - size, last_of_trunk + 1), tuple(ranges)))
    return Row(
        torch.tensor(ids),
        torch.tensor(positions),
        torch.tensor(targets, dtype=torch.int64),
        torch.tensor(where, dtype=torch.int64),
        torch.tensor([weights[slot] for slot in slots], dtype=torch.float32),
        torch.tensor([SLOTS.index(slot) for slot in slots], dtype=torch.int64),
        tuple(layouts),
        read,
    )


def alone(examples: Sequence[Example], seed: int) -> list[Forest]:
    """Each example in a row of its own; their order is drawn anew for each seed."""
    drawn = random.Random(seed).sample(list(examples), len(examples))
    return [[Tree(each.ids[:1], [each])] for each in drawn]


def packed(examples: Sequence[Example], tokens: int, seed: int) -> list[Forest]:
    """Rows of at most `tokens` tokens, where one example is not longer by itself.

    Which examples stand together and the order of the rows are drawn anew for each seed.
    """
    draw = random.Random(seed)
    groups: defaultdict[tuple[int, ...], list[Example]] = defaultdict(list)
    for example in draw.sample(list(examples), len(examples)):
        groups[example.key].append(example)
    trees = [tree for key, group in groups.items() for tree in _split(key, group, tokens)]
    forests = _fill(trees, tokens)
    draw.shuffle(forests)
    return forests


def _split(key: tuple[int, ...], group: Sequence[Example], tokens: int) -> list[Tree]:
    """The examples of one trunk as trees that fit."""
    trees = [Tree(key, [])]
    for example in group:
        if trees[-1].examples and trees[-1].size + len(example.ids) - len(key) > tokens:
            trees.append(Tree(key, []))
        trees[-1].examples.append(example)
    return trees


def _fill(trees: Sequence[Tree], tokens: int) -> list[Forest]:
    """Trees into rows, the largest first, each into the first row that has room for it."""
    forests: list[list[Tree]] = []
    room: list[int] = []
    for tree in sorted(trees, key=lambda each: each.size, reverse=True):
        at = next((i for i, left in enumerate(room) if left >= tree.size), None)
        if at is None:
            forests.append([])
            room.append(tokens)
            at = len(forests) - 1
        forests[at].append(tree)
        room[at] -= tree.size
    return list(forests)
