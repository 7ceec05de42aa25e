"""Attention over a forest: what no branch sees is not computed.

In a row of many branches nearly all pairs of tokens are masked. Here each trunk attends to itself,
and each branch to its trunk and itself, so a row of ten branches costs a fraction of a dense mask.
Registered with transformers under the name `forest`; without a row's layout it is `sdpa`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from finetune.rows import Layout

NAME = "forest"


def forest_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    layouts: Sequence[Layout] | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What each token gathers from those it sees.

    Args:
        query: (1, heads, T, width)
        key, value: (1, key heads, T, width)
        layouts: where the row's trees lie, one after the other; together they are all of it.

    Returns:
        (1, T, heads, width), and no weights.
    """
    if layouts is None:
        out: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **rest
        )
        return out
    shared = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(shared, dim=1) for each in (key, value))
    parts = [
        part for layout in layouts for part in _tree(layout, query, key, value, dropout, scaling)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _tree(
    layout: Layout,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    scaling: float | None,
) -> Iterator[torch.Tensor]:
    """Its trunk's part (1, heads, trunk, width), then that of each branch."""
    trunk = slice(*layout.trunk)
    size = trunk.stop - trunk.start
    trunk_key, trunk_value = key[:, :, trunk], value[:, :, trunk]
    yield scaled_dot_product_attention(
        query[:, :, trunk], trunk_key, trunk_value, None, dropout, is_causal=True, scale=scaling
    )
    for start, end in layout.branches:
        if start == end:
            continue
        own = slice(start, end)
        seen = torch.ones(end - start, size + end - start, dtype=torch.bool, device=query.device)
        yield scaled_dot_product_attention(
            query[:, :, own],
            torch.cat((trunk_key, key[:, :, own]), dim=2),
            torch.cat((trunk_value, value[:, :, own]), dim=2),
            seen.tril(size),
            dropout,
            scale=scaling,
        )


def register() -> None:
    """Let transformers know it by its name."""
    AttentionInterface.register(NAME, forest_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
