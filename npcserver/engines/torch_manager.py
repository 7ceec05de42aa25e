"""transformers' continuous batching manager: all that is used of it, and how it is set.

The manager computes words on a thread of its own, a step for all requests at a time, through a
paged cache that shares what prompts begin with. Knows nothing of prompts and texts.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from npcserver.engines.vocabulary import Ids

CPU_PAGE, CPU_CHUNK = 32, 256
"""Tokens of a page and of a step on a CPU; the library's own defaults are made for GPUs."""
GREEDY = {"temperature": 0.01, "top_p": 0.0}
"""The manager always draws. With no share of the probability allowed, only the likeliest token is
left; the low temperature keeps the others' sum, which is rounded, away from the whole."""
SEED = 0


class Manager:
    """Requests for tokens, and what came of them."""

    def __init__(self, model: Any, ends: frozenset[int], tokens: int) -> None:
        """Allocate the cache, prepare the GPU's graphs, and start.

        Args:
            ends: tokens after which a request is done.
            tokens: of keys and values that the cache holds.

        Raises:
            MemoryError, torch.OutOfMemoryError: there is no room for it.
        """
        settings = ContinuousBatchingConfig(per_request_processors=True, seed=SEED)
        if model.device.type == "cpu":
            settings.page_size, settings.max_batch_tokens = CPU_PAGE, CPU_CHUNK
        self.page = settings.page_size
        self.capacity = tokens // self.page * self.page
        settings.num_blocks = self.capacity // self.page
        # What is not set here, no request can set for itself.
        drawing = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=True, temperature=0.7, top_p=0.9, eos_token_id=sorted(ends)
        )
        self._manager = model.init_continuous_batching(drawing, settings)
        self._manager.warmup()  # here, so that what goes wrong is raised here
        self._cache = self._manager.batch_processor.cache
        self._manager.start()

    def add(self, ids: Ids, most: int, temperature: float = 0.0, top_p: float = 1.0) -> str:
        """Ask for what follows ids (T,); return the request's name.

        Args:
            most: tokens at most.
            temperature: 0 is greedy.

        Raises:
            RuntimeError: the manager has failed.
        """
        drawn = {"temperature": float(temperature), "top_p": float(top_p)}
        request: str | None = self._manager.add_request(
            ids, max_new_tokens=most, streaming=True, **(drawn if temperature > 0 else GREEDY)
        )
        if request is None:
            raise RuntimeError(f"the model has failed: {self._failure}")
        return request

    def cancel(self, request: str) -> None:
        """Stop a request and free what it holds; one that is done already is nothing to stop."""
        self._manager.cancel_request(request)

    def news(self, wait_s: float) -> Iterator[Any]:
        """What requests got since this was asked last: transformers' GenerationOutput, in order.

        Args:
            wait_s: how long to wait for the first.

        Raises:
            RuntimeError: nothing is left to tell, and nothing will come: the manager has failed.
        """
        # Asked first: what it tells as it fails may come after the last answer here.
        running, told = self._manager.is_running(), False
        while (output := self._manager.get_result(timeout=wait_s)) is not None:
            yield output
            wait_s, told = 0, True
        if not running and not told:
            raise RuntimeError(f"the model has failed: {self._failure}")

    def paused(self) -> AbstractContextManager[None]:
        """Inside, the manager's thread waits, and the model may be used otherwise."""
        pause: AbstractContextManager[None] = self._manager.pause()
        return pause

    @property
    def in_use(self) -> float:
        """Share of the cache that requests hold, 0 to 1.

        Not what is only kept in case that a prompt begins like one before; it gives way.
        """
        cache = self._cache
        spare = sum(
            len(allocator.ledger.cached_blocks) * allocator.bytes_per_block
            for allocator in cache.cache_allocators.values()
        )
        whole = cache.num_sectors * cache.bytes_per_sector
        held: float = 1.0 - cache.compute_free_capacity() - spare / whole
        return max(0.0, held)

    @property
    def _failure(self) -> str:
        error = self._manager.background_thread_status.fatal_error
        return str(error).split("\n", 1)[0] if error else "it has stopped"


def tokens_in(cache_bytes: int, model: Any) -> int:
    """How many tokens' keys and values of all layers fit into some bytes."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    numbers = 2 * config.num_hidden_layers * heads * width
    return int(cache_bytes // (numbers * torch.finfo(model.dtype).bits // 8))
