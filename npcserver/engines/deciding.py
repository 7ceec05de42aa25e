"""Probabilities of options, read off OpenVINO's pipeline a token at a time.

The pipeline tells the log-probability of the token it generates and of no other, and takes it
before any mask and temperature. So where options part, one request draws many tokens, held to those
that may come next and all of them about equally likely: nearly always each comes up, in a single
step. What did not is drawn again.
"""

import json
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol

import openvino_genai as genai

from npcserver.engines.options import OptionTree, Path
from npcserver.engines.vocabulary import Ids, Tokens
from npcserver.engines.worker import Event

EVEN = 100.0
"""The temperature of drawing: a token that is e^10 times likelier comes up 1.1 times as often."""
SURE = 4
"""The chance that a token never comes up is about e to the minus this, while MOST allows."""
MOST = 64
"""Tokens drawn at once; more are no better than a second step."""
ROUNDS = 8
SEED = 0


class Asker(Protocol):
    """What a decision needs of the worker it runs in."""

    tokens: Tokens

    def add(self, ids: Ids, **config: Any) -> Any:
        """Put ids (T,) into the pipeline; return the handle."""

    def usage(self, ids: Ids) -> dict[str, int]:
        """Tokens of a prompt, and how many were computed before."""


class Deciding:
    """Scores what may follow a prompt, one point where the options part after the other."""

    def __init__(self, job: int, worker: Asker, prompt: Ids, options: Sequence[Ids]) -> None:
        self.id = job
        self._worker = worker
        self._prompt = prompt
        self._tree = OptionTree(options)
        self._usage = worker.usage(prompt)
        self._scores: dict[Path, dict[int, float]] = {}
        self._handle: Any = None
        self._next_fork()

    def _next_fork(self) -> bool:
        """Ask about the next point where options part; False if all that matters is known."""
        path = self._tree.next_fork(self._scores)
        if path is None:
            return False
        self._path, self._scores[path], self._rounds = path, {}, 0
        self._draw(self._tree.forks[path])
        return True

    def _draw(self, tokens: Collection[int]) -> None:
        """Ask for the log-probabilities of these tokens, after the prompt and the path."""
        size = len(tokens)
        self._left = min(MOST, math.ceil(size * (math.log(size) + SURE))) if size > 1 else 1
        self._rounds += 1
        self._handle = self._worker.add(
            [*self._prompt, *self._path],
            max_new_tokens=1,
            min_new_tokens=1,
            logprobs=1,
            do_sample=True,
            temperature=EVEN,
            num_return_sequences=self._left,
            rng_seed=SEED + self._rounds,
            **held(self._worker.tokens, tokens),
        )

    def poll(self) -> Iterator[Event]:
        """Go on, or answer."""
        if self._handle is not None:  # None: there is one option only, and nothing to ask
            scores, wanted = self._scores[self._path], self._tree.forks[self._path]
            for output in outputs(self._handle):
                self._left -= 1
                if (token := output.generated_ids[0]) in wanted:
                    scores[token] = float(output.generated_log_probs[0])
            if self._left:
                return
            if missing := [token for token in wanted if token not in scores]:
                yield from self._again(missing)
                return
        if not self._next_fork():
            chances = self._tree.probabilities(self._scores)
            yield {"id": self.id, "probabilities": chances, "usage": self._usage}

    def _again(self, missing: Collection[int]) -> Iterator[Event]:
        if self._rounds < ROUNDS:
            self._draw(missing)
        else:
            yield {"id": self.id, "error": "the options could not be scored"}

    def cancel(self) -> None:
        """Free the slots."""
        if self._handle is not None:
            self._handle.cancel()


def held(known: Tokens, tokens: Collection[int]) -> dict[str, Any]:
    """What lets a request draw one of these tokens, and as few others as can be said.

    A grammar allows every token that one of their texts begins with; those are forbidden, as end
    tokens are before the least length. Where a token is a part of a character, which no grammar
    can say, all others are.
    """
    try:
        texts = [json.dumps(known.written[t].decode(), ensure_ascii=False) for t in tokens]
    except UnicodeDecodeError:
        return {"stop_token_ids": known.written.keys() - set(tokens)}
    grammar = genai.StructuredOutputConfig(grammar=f"root ::= {' | '.join(texts)}")
    shorter = set().union(*(known.beginnings(token) for token in tokens)) - set(tokens)
    return {"structured_output_config": grammar, "stop_token_ids": shorter}


def outputs(handle: Any) -> Iterator[Any]:
    """What a request has to say since it was last asked."""
    while handle.can_read():
        yield from handle.read().values()
