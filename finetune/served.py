"""What a model is worth in the form that is served: its losses and speed in OpenVINO.

Knows examples as ids and nothing of how a form was made.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from finetune.examples import Example, Slot
from npcserver.engines.echo import Echo
from npcserver.engines.openvino import PROPERTIES


class Served:
    """A folder that the server can load, loaded."""

    def __init__(self, folder: Path) -> None:
        self._echo = Echo(folder, PROPERTIES)

    def loss(self, examples: Sequence[Example], weights: Mapping[Slot, float]) -> float:
        """The weighted mean loss of what is trained in the examples, in nats a token."""
        total = whole = 0.0
        for example in examples:
            scores = self._echo.scores(example.ids)
            for score, slot in zip(scores, example.slots, strict=True):
                if slot is not None:
                    total -= weights[slot] * score
                    whole += weights[slot]
        return total / whole if whole else float("nan")

    def speed(self, prompt: Sequence[int], tokens: int, streams: int) -> float:
        """Tokens a second, all streams together, when each goes on from the prompt at once."""
        for _ in range(streams):
            self._echo.add(prompt, max_new_tokens=tokens)
        begun = time.perf_counter()
        self._echo.run()
        return streams * tokens / (time.perf_counter() - begun)
