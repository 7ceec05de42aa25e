"""How likely each token of a given text was, read off OpenVINO's pipeline a token at a time.

An echo of the text would tell nothing of what the cache holds, and what was just said is held. So
each token is drawn where nothing else can be, as decisions do (deciding.py).
"""

from collections.abc import Iterator, Sequence
from typing import Any

from npcserver.engines.deciding import ROUNDS, SEED, Asker, held, outputs
from npcserver.engines.vocabulary import Ids
from npcserver.engines.worker import Event


class Surprising:
    """Scores one text after a prompt, one token after the other."""

    def __init__(self, job: int, worker: Asker, prompt: Ids, text: Ids) -> None:
        self.id = job
        self._worker = worker
        self._prompt = prompt
        self._text = text
        self._logs: list[float] = []
        self._tries = 0
        self._handle: Any = None
        self._draw()

    def _draw(self) -> None:
        """Ask for the log-probability of the next token, if there is one."""
        self._handle = None
        if (at := len(self._logs)) == len(self._text):
            return
        self._tries += 1
        self._handle = self._worker.add(
            [*self._prompt, *self._text[:at]],
            max_new_tokens=1,
            min_new_tokens=1,
            logprobs=1,
            do_sample=True,
            rng_seed=SEED + self._tries,
            **held(self._worker.tokens, self._text[at : at + 1]),
        )

    def poll(self) -> Iterator[Event]:
        """Go on, or answer."""
        if self._handle is not None:
            drawn = next(outputs(self._handle), None)
            if drawn is None:
                return
            if drawn.generated_ids[0] == self._text[len(self._logs)]:
                self._logs.append(float(drawn.generated_log_probs[0]))
                self._tries = 0
            if self._tries == ROUNDS:
                yield {"id": self.id, "error": "the text could not be scored"}
                return
            self._draw()
        if self._handle is None:
            written = map(self._worker.tokens.token_bytes, self._text)
            yield {"id": self.id, "scores": whole(list(written), self._logs)}

    def cancel(self) -> None:
        """Free the slot."""
        if self._handle is not None:
            self._handle.cancel()


def whole(parts: Sequence[bytes], logs: Sequence[float]) -> list[tuple[str, float]]:
    """Tokens that are parts of a character become one piece, as likely as all of them together."""
    pieces: list[tuple[str, float]] = []
    begun, so_far = b"", 0.0
    for part, log in zip(parts, logs, strict=True):
        begun, so_far = begun + part, so_far + log
        try:
            pieces.append((begun.decode(), so_far))
        except UnicodeDecodeError:
            continue
        begun, so_far = b"", 0.0
    return pieces
