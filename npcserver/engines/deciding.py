"""Probabilities of options, read off what OpenVINO's pipeline says of tokens it is given.

Each option is appended to the prompt and echoed with the log-probabilities of its tokens. Only what
is not found in the cache has them, and requests that find the same partly filled block of the cache
write into it without a copy: one that is computed beside another reads the other's tokens. That is
why options go one by one where they can. Knows no templates and no jobs but its own.
"""

import math
from collections.abc import Iterator
from typing import Any, Protocol

from npcserver.engines.vocabulary import Ids, Tokens

Event = dict[str, Any]
BLOCK = 32
"""Tokens in a block of OpenVINO's key-value cache on CPUs."""
AFTER = 2
"""An echo goes on after the option: the end token, and the one that is generated."""


class Asker(Protocol):
    """What a decision needs of the worker it runs in."""

    tokens: Tokens

    def add(self, ids: Ids, **config: Any) -> Any:
        """Put ids (T,) into the pipeline; return the handle."""

    def usage(self, ids: Ids) -> dict[str, int]:
        """Tokens of a prompt, and how many were computed before."""

    def remember(self, prompt: Ids, options: list[Ids], chances: list[float]) -> None:
        """Keep a decision, which cannot be computed twice."""


class Deciding:
    """Scores every option as what follows a prompt.

    Where each option fits into what the prompt leaves of its last block, they are scored one after
    the other: the prompt is computed up to its last token, and each option costs a short step. Else
    all are scored at once, on the prompt's whole blocks, and each computes the rest of the prompt
    anew. Where a block was shared all the same, there are too few scores; then the last line of the
    prompt is moved by an empty line, and all is asked again.
    """

    MOVES = 4

    def __init__(self, job: int, worker: Asker, prompt: Ids, options: list[Ids]) -> None:
        self.id = job
        self._worker = worker
        self._asked = prompt
        self._options = options
        self._usage = worker.usage(prompt)
        self._moves = 0
        self._begin(prompt)

    def _begin(self, prompt: Ids) -> None:
        self._prompt = prompt
        filled = (len(prompt) - 1) % BLOCK
        room = BLOCK - filled - 1
        self._one_by_one = max(map(len, self._options)) + AFTER < room
        computed = prompt[: len(prompt) - 1 - (0 if self._one_by_one else filled)]
        self._again = len(prompt) - 1 - len(computed)
        """Tokens of the prompt that are computed with each option, but for its last one."""
        self._prefix = self._worker.add(computed, max_new_tokens=1) if computed else None
        self._echoes: list[Any] = []
        self._scores: list[float] = []

    def poll(self) -> Iterator[Event]:
        """Go on, or answer."""
        if not self._echoes:
            if self._prefix is None or any(True for _ in outputs(self._prefix)):
                first = self._options[:1] if self._one_by_one else self._options
                self._echoes = [self._echo(option) for option in first]
            return
        for output in outputs(self._echoes[len(self._scores)]):
            self._scores.append(self._score(output, self._options[len(self._scores)]))
            if len(self._scores) == len(self._options):
                yield from self._answer()
                return
            if self._one_by_one:
                self._echoes.append(self._echo(self._options[len(self._scores)]))

    def _score(self, output: Any, option: Ids) -> float:
        """An option's log-probability; nan where not all of it was computed for it."""
        logs = output.generated_log_probs[:-AFTER]
        expected = self._again + len(option)
        return math.fsum(logs[-len(option) :]) if len(logs) >= expected else math.nan

    def _answer(self) -> Iterator[Event]:
        scores = self._scores
        if any(map(math.isnan, scores)):
            if self._moves == self.MOVES:
                yield {"id": self.id, "error": "the options could not be scored"}
                return
            self._moves += 1
            self._begin(self._worker.tokens.with_empty_line(self._prompt))
            return
        weights = [math.exp(score - max(scores)) for score in scores]
        chances = [weight / math.fsum(weights) for weight in weights]
        self._worker.remember(self._asked, self._options, chances)
        yield {"id": self.id, "probabilities": chances, "usage": self._usage}

    def _echo(self, option: Ids) -> Any:
        # Nothing real is followed by the end token there, so what it completes is never found.
        ids = [*self._prompt, *option, self._worker.tokens.eos]
        return self._worker.add(ids, max_new_tokens=1, echo=True, logprobs=1, ignore_eos=True)

    def cancel(self) -> None:
        """Free the slots."""
        for handle in (self._prefix, *self._echoes):
            if handle is not None:
                handle.cancel()


def outputs(handle: Any) -> Iterator[Any]:
    """What a request has to say since it was last asked."""
    while handle.can_read():
        yield from handle.read().values()
