"""Probabilities of options, read off OpenVINO's pipeline a token at a time.

The pipeline tells the log-probability of the token it generates and of no other, and takes it
before any mask. So for each token that may come next a request of one token is held to just that
one. They share the prompt's cache, and all of a point's requests are one step.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import openvino_genai as genai

from npcserver.engines.options import OptionTree, Path
from npcserver.engines.vocabulary import Ids, Tokens
from npcserver.engines.worker import Event

CHEAP = 8
"""As many tokens may be computed once more as cost less than a step of their own."""


class Asker(Protocol):
    """What a decision needs of the worker it runs in."""

    tokens: Tokens

    def add(self, ids: Ids, **config: Any) -> Any:
        """Put ids (T,) into the pipeline; return the handle."""

    def usage(self, ids: Ids) -> dict[str, int]:
        """Tokens of a prompt, and how many were computed before."""

    def new_tokens(self, ids: Ids) -> int:
        """How many tokens at the end are yet to be computed."""


class Deciding:
    """Scores what may follow a prompt, one point where the options part after the other."""

    def __init__(self, job: int, worker: Asker, prompt: Ids, options: Sequence[Ids]) -> None:
        self.id = job
        self._worker = worker
        self._prompt = prompt
        self._tree = OptionTree(options)
        self._usage = worker.usage(prompt)
        self._scores: dict[Path, dict[int, float]] = {}
        self._asked: dict[int, Any] = {}
        self._waiting: list[int] = []
        self._next_fork()

    def _next_fork(self) -> bool:
        """Ask for the next point's tokens; the first alone, where the prompt is yet to compute."""
        path = self._tree.next_fork(self._scores)
        if path is None:
            return False
        self._path, self._scores[path] = path, {}
        tokens = self._tree.forks[path]
        ids = [*self._prompt, *path]
        again = (self._worker.new_tokens(ids) - 1) * (len(tokens) - 1)
        at_once = len(tokens) if again <= CHEAP else 1
        self._waiting = list(tokens[at_once:])
        self._asked = {token: self._force(ids, token) for token in tokens[:at_once]}
        return True

    def poll(self) -> Iterator[Event]:
        """Go on, or answer."""
        for token, handle in list(self._asked.items()):
            for output in outputs(handle):
                if output.generated_ids[0] != token:
                    self.cancel()
                    yield {"id": self.id, "error": "the options could not be scored"}
                    return
                self._scores[self._path][token] = float(output.generated_log_probs[0])
                del self._asked[token]
        if self._asked:
            return
        if self._waiting:
            ids = [*self._prompt, *self._path]
            self._asked = {token: self._force(ids, token) for token in self._waiting}
            self._waiting = []
        elif not self._next_fork():
            chances = self._tree.probabilities(self._scores)
            yield {"id": self.id, "probabilities": chances, "usage": self._usage}

    def _force(self, ids: Ids, token: int) -> Any:
        """A request that can generate this token only.

        A grammar allows every token that its text begins with; those that are not this one are
        forbidden, as end tokens are before the least length. Where the token is a part of a
        character, which no grammar can say, all others are.
        """
        tokens = self._worker.tokens
        text = tokens.written[token]
        held: dict[str, Any] = {}
        try:
            held["structured_output_config"] = genai.StructuredOutputConfig(
                grammar=f"root ::= {json.dumps(text.decode(), ensure_ascii=False)}"
            )
            held["stop_token_ids"] = tokens.beginnings(token)
        except UnicodeDecodeError:
            held["stop_token_ids"] = tokens.written.keys() - {token}
        return self._worker.add(ids, max_new_tokens=1, min_new_tokens=1, logprobs=1, **held)

    def cancel(self) -> None:
        """Free the slots."""
        for handle in self._asked.values():
            handle.cancel()


def outputs(handle: Any) -> Iterator[Any]:
    """What a request has to say since it was last asked."""
    while handle.can_read():
        yield from handle.read().values()
