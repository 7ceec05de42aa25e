"""The log-probabilities that a model in OpenVINO's form gives a text's own tokens."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from npcserver.engines.vocabulary import Ids

CHUNK = 512
"""Tokens computed in a step at most."""


class Echo:
    """A model folder, loaded. What is found in a cache has no log-probabilities, so there is none.

    Args:
        cached: keep what texts begin with, for `after`.
    """

    def __init__(self, folder: Path, properties: dict[str, Any], *, cached: bool = False) -> None:
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = 1
        scheduler.enable_prefix_caching = cached
        scheduler.dynamic_split_fuse = True
        scheduler.max_num_batched_tokens = CHUNK
        self.pipeline = genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", properties)
        self._requests = 0

    def scores(self, ids: Sequence[int]) -> list[float]:
        """The log-probability of each id (T,) after those before; the first means nothing."""
        return self._echoed(ids)[: len(ids)]

    def after(self, before: Sequence[int], ids: Sequence[int]) -> list[float] | None:
        """The log-probability of each id (T,) that follows `before`.

        None where the cache held all of `before`: then nothing computed tells of the first id.
        """
        echoed = self._echoed([*before, *ids])
        found = echoed[:-1][-len(ids) :]  # the last one is of the token it generated
        return found if len(found) == len(ids) else None

    def likeliest(self, before: Sequence[int], ids: Sequence[int]) -> list[int]:
        """The likeliest token at the place of each id (T,) that follows `before`.

        As long as what is generated is what stands there, one request goes on.
        """
        found: list[int] = []
        while len(found) < len(ids):
            at = len(found)
            read = [*before, *ids[:at]]
            handle = self.add(read, max_new_tokens=len(ids) - at, temperature=0.0)
            self.run()
            (output,) = handle.read_all()
            for token, wanted in zip(output.generated_ids, ids[at:], strict=False):
                found.append(int(token))
                if token != wanted:
                    break
        return found

    def _echoed(self, ids: Sequence[int]) -> list[float]:
        """The log-probabilities of what was computed, and of one token more."""
        handle = self.add(ids, max_new_tokens=1, echo=True, logprobs=1)
        self.run()
        (output,) = handle.read().values()
        return [float(score) for score in output.generated_log_probs]

    def perplexity(self, texts: Sequence[Ids]) -> float:
        """Over all tokens of the texts but their first ones."""
        scores = [score for ids in texts for score in self.scores(ids)[1:]]
        return math.exp(-math.fsum(scores) / len(scores))

    def add(self, ids: Sequence[int], **wanted: Any) -> Any:
        """Put ids (T,) into the pipeline; return the handle."""
        self._requests += 1
        config = genai.GenerationConfig(apply_chat_template=False, ignore_eos=True, **wanted)
        tensor = ov.Tensor(np.array([ids], dtype=np.int64))
        return self.pipeline.add_request(self._requests, tensor, config)

    def run(self) -> None:
        """Until nothing is left to do."""
        while self.pipeline.has_non_finished_requests():
            self.pipeline.step()
