"""What a model is worth in the form that is served: its losses and speed in OpenVINO.

Knows examples as ids and nothing of how a form was made.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from finetune.examples import Example, Slot
from npcserver.engines.openvino import PROPERTIES

CHUNK = 512
"""Tokens computed in a step at most."""


class Served:
    """A folder that the server can load, loaded."""

    def __init__(self, folder: Path) -> None:
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = 1
        # What is found in a cache has no log-probabilities.
        scheduler.enable_prefix_caching = False
        scheduler.dynamic_split_fuse = True
        scheduler.max_num_batched_tokens = CHUNK
        self._pipeline = genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", PROPERTIES)
        self._requests = 0

    def loss(self, examples: Sequence[Example], weights: Mapping[Slot, float]) -> float:
        """The weighted mean loss of what is trained in the examples, in nats a token."""
        total = whole = 0.0
        for example in examples:
            scores = self._echo(example.ids)
            for score, slot in zip(scores, example.slots, strict=True):
                if slot is not None:
                    total -= weights[slot] * score
                    whole += weights[slot]
        return total / whole if whole else float("nan")

    def _echo(self, ids: Sequence[int]) -> list[float]:
        """The log-probability of each id after those before it; the first one's means nothing."""
        handle = self._add(ids, max_new_tokens=1, echo=True, logprobs=1)
        self._run()
        (output,) = handle.read().values()
        return [float(score) for score in output.generated_log_probs[: len(ids)]]

    def speed(self, prompt: Sequence[int], tokens: int, streams: int) -> float:
        """Tokens a second, all streams together, when each goes on from the prompt at once."""
        for _ in range(streams):
            self._add(prompt, max_new_tokens=tokens)
        begun = time.perf_counter()
        self._run()
        return streams * tokens / (time.perf_counter() - begun)

    def _add(self, ids: Sequence[int], **wanted: Any) -> Any:
        self._requests += 1
        config = genai.GenerationConfig(apply_chat_template=False, ignore_eos=True, **wanted)
        tensor = ov.Tensor(np.array([ids], dtype=np.int64))
        return self._pipeline.add_request(self._requests, tensor, config)

    def _run(self) -> None:
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
