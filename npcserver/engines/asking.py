"""How likely each option is as the next text, read off the log-probabilities a server tells.

Two ways: the server echoes a prompt with its log-probabilities, or it tells the likeliest next
tokens, and the options are walked as a tree of texts.
"""

import math
from collections.abc import Hashable, Sequence
from itertools import takewhile
from typing import Protocol

from npcserver.engines.base import Decision, Prompt, Usage
from npcserver.engines.endpoint import Json
from npcserver.engines.options import UNLIKELY, OptionTree, Path
from npcserver.engines.writing import Completing, Talk, choices, usage
from npcserver.errors import EngineError

LEAST = 1e-12
"""Nothing is impossible."""


class Way(Protocol):
    """One way to weigh options."""

    @property
    def says(self) -> str:
        """The way, in words."""

    async def weigh(self, prompt: Prompt, options: Sequence[str]) -> tuple[list[float], Usage]:
        """A weight for each option, not all zero. Raises EngineError."""


MALFORMED = (AttributeError, LookupError, TypeError, ValueError, OverflowError)
"""What reading an answer of another shape than the usual one raises."""


async def decided(way: Way, prompt: Prompt, options: Sequence[str]) -> Decision:
    """The options' probabilities, as the way has it. Raises EngineError."""
    try:
        weights, usage = await way.weigh(prompt, options)
        total = math.fsum(weights)
        if not 0 < total < math.inf:
            raise EngineError("the server's odds are no numbers")
        return Decision(tuple(weight / total for weight in weights), usage)
    except MALFORMED as error:
        raise EngineError(f"the server's answer has an unusual shape: {error!r}") from None


class Echoed:
    """Exact: every option is sent behind the prompt, and its tokens come back with their odds."""

    says = "echoed log-probabilities (exact)"

    def __init__(self, talk: Talk, drawn: int) -> None:
        """Args: drawn: tokens the server must be asked to draw beyond the echo, 0 or 1."""
        self._talk = talk
        self._drawn = drawn

    async def weigh(self, prompt: Prompt, options: Sequence[str]) -> tuple[list[float], Usage]:
        """All options in one request."""
        assert isinstance(self._talk.form, Completing)
        texts = [self._talk.form.write(prompt, option)["prompt"] for option in options]
        asked = {"prompt": texts, "max_tokens": self._drawn, "echo": True, "logprobs": 1}
        answer = await self._talk.ask(prompt, temperature=0, **asked)
        echoed = [self._tokens(choice) for choice in choices(answer)]
        if len(echoed) != len(options):
            raise EngineError("the server does not echo every prompt")
        return _held(echoed), usage(answer) or Usage()

    def _tokens(self, choice: Json) -> list[tuple[str, float]]:
        told = choice.get("logprobs") or {}
        tokens, odds = told.get("tokens"), told.get("token_logprobs")
        if not isinstance(tokens, list) or not isinstance(odds, list) or len(tokens) < 2:
            raise EngineError("the server does not echo prompts with log-probabilities")
        pairs = [(str(token), odd or 0.0) for token, odd in zip(tokens, odds, strict=True)]
        return pairs[: len(pairs) - self._drawn]


def _held(echoed: Sequence[Sequence[tuple[str, float]]]) -> list[float]:
    """The options' probabilities when the model is held to them.

    An option's first letters may be one token with the prompt's last: so what is common is found by
    comparing, not by counting characters.
    """
    texts = [[token for token, _ in tokens] for tokens in echoed]
    number = {text: n for n, text in enumerate({text for tokens in texts for text in tokens})}
    shared = min(common_length(texts), min(map(len, texts)) - 1)  # the tree wants no empty option
    tree = OptionTree([[number[text] for text in tokens[shared:]] for tokens in texts])
    scores: dict[Path, dict[int, float]] = {fork: {} for fork in tree.forks}
    for tokens in echoed:
        path: Path = ()
        for text, odds in tokens[shared:]:
            if path in scores:
                scores[path][number[text]] = odds
            path = (*path, number[text])
    return tree.probabilities(scores)


def common_length(sequences: Sequence[Sequence[Hashable]]) -> int:
    """How many items all of them begin with."""
    alike = (len(set(column)) == 1 for column in zip(*sequences, strict=False))
    return sum(takewhile(bool, alike))


class Walked:
    """The likeliest next tokens, asked for again behind every beginning that is found.

    Near the truth for options that are likely; what is not among the tokens told is guessed.
    """

    def __init__(self, talk: Talk, number: int) -> None:
        """Args: number: how many of the likeliest tokens the server tells."""
        self._talk = talk
        self._number = number

    @property
    def says(self) -> str:
        """With the number, since what is not among them is guessed."""
        return f"the {self._number} likeliest next tokens (rough for what is not among them)"

    async def weigh(self, prompt: Prompt, options: Sequence[str]) -> tuple[list[float], Usage]:
        """Held to the options: nothing is asked once a single one is left, or they are unlikely."""
        spent = Usage()
        weights: dict[str, float] = {}
        beginnings = [("", 1.0, list(options))]
        while beginnings:
            reached, mass, some = beginnings.pop()
            if len(some) == 1 or mass < UNLIKELY:
                weights |= dict.fromkeys(some, mass / len(some))
                continue
            likeliest, took = await self._next(prompt, reached)
            spent += took
            groups = _groups(likeliest, reached, some)
            total = math.fsum(chance for chance, _ in groups.values())
            beginnings += [(b, mass * c / total, those) for b, (c, those) in groups.items()]
        return [weights[option] for option in options], spent

    async def _next(self, prompt: Prompt, reached: str) -> tuple[dict[str, float], Usage]:
        form = self._talk.form
        asked = {**form.write(prompt, reached), **form.logprobs(self._number)}
        answer = await self._talk.ask(prompt, max_tokens=1, temperature=0, **asked)
        return _candidates(choices(answer)), usage(answer) or Usage()


def _groups(
    likeliest: dict[str, float], reached: str, options: Sequence[str]
) -> dict[str, tuple[float, list[str]]]:
    """One token on: how likely each longer beginning is, and which options it leads to."""
    groups: dict[str, tuple[float, list[str]]] = {}
    missing = []
    for option in options:
        rest = option[len(reached) :]
        token = _fitting(likeliest, rest) if rest else None
        if token is not None:
            begun = reached + token[: len(rest)]
            groups.setdefault(begun, (likeliest[token], []))[1].append(option)
        elif rest:
            missing.append(option)
    left = max(0.0, 1 - math.fsum(likeliest.values()))
    for option in missing:
        # Less likely than the least likely that was told, and all of them share what is left.
        groups[option] = (max(LEAST, min(left / len(missing), *likeliest.values())), [option])
    if reached in options:
        others = math.fsum(chance for chance, _ in groups.values())
        groups[reached] = (max(LEAST, 1 - others), [reached])
    return groups


def _fitting(likeliest: dict[str, float], rest: str) -> str | None:
    """The token that writes most of `rest`, as a tokenizer would; it may write more."""
    fits = [each for each in likeliest if each and (rest.startswith(each) or each.startswith(rest))]
    return max(fits, key=lambda each: (min(len(each), len(rest)), likeliest[each]), default=None)


def _candidates(listed: Sequence[Json]) -> dict[str, float]:
    """The likeliest next tokens of an answer and their probabilities, in either usual form."""
    told = (listed[0].get("logprobs") if listed else None) or {}
    content = told.get("content")
    if isinstance(content, list) and content:
        tops = content[0].get("top_logprobs") or []
        found = [(str(top["token"]), top["logprob"]) for top in tops]
    else:
        tops = told.get("top_logprobs") or [{}]
        found = list(tops[0].items())
    if not found:
        raise EngineError("the server does not tell the likeliest next tokens")
    return {token: math.exp(odds) for token, odds in found}
