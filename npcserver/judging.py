"""Judges: who reads what characters said, and answers questions about it with probabilities.

A judge is asked several times, with the options in another order each time, so that a liking for
the first one cancels out; how often it agreed with itself is part of its verdict. Whether a judge's
word is worth anything is measured against people (`finetune agreement`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from string import ascii_uppercase
from typing import Protocol

import httpx

from npcserver.engines.base import Engine, Message, Prompt
from npcserver.errors import EngineError

SAMPLES = 4
"""How often a question is asked."""
PATIENCE_S = 120.0
YES, NO = "yes", "no"
ASKED = "Read the text, then answer the question with the letter of the right option."


class Judge(Protocol):
    """Answers one question once."""

    name: str

    async def choose(self, text: str, question: str, options: Sequence[str]) -> tuple[float, ...]:
        """The probability of each option, which are told in this order. Raises EngineError."""


@dataclass(frozen=True)
class Verdict:
    """What a judge said about a question, asked several times.

    Args:
        probabilities: of each option, the mean over all samples.
        agreement: the share of samples whose likeliest option is that of the mean.
    """

    options: tuple[str, ...]
    probabilities: tuple[float, ...]
    agreement: float

    @property
    def chosen(self) -> str:
        """The likeliest option."""
        return max(zip(self.probabilities, self.options, strict=True))[1]

    @property
    def level(self) -> float:
        """Where options are levels, lowest first: the mean level, from 0."""
        return sum(at * chance for at, chance in enumerate(self.probabilities))


async def ask(
    judge: Judge, text: str, question: str, options: Sequence[str], samples: int = SAMPLES
) -> Verdict:
    """Ask a judge several times, each option as often in front as behind."""
    told = []
    for sample in range(samples):
        order = _order(len(options), sample)
        chances = await judge.choose(text, question, [options[at] for at in order])
        told.append([chances[order.index(at)] for at in range(len(options))])
    mean = tuple(fmean(each) for each in zip(*told, strict=True))
    agreed = sum(_best(each) == _best(mean) for each in told) / samples
    return Verdict(tuple(options), mean, agreed)


def _order(options: int, sample: int) -> list[int]:
    """Forwards and backwards in turns, beginning elsewhere each second time."""
    turned = [(at + sample // 2) % options for at in range(options)]
    return turned[::-1] if sample % 2 else turned


def _best(chances: Sequence[float]) -> int:
    return max(range(len(chances)), key=chances.__getitem__)


async def holds(judge: Judge, text: str, statement: str) -> Verdict:
    """Whether a statement is true of a text."""
    return await ask(judge, text, f"Is this true of the text: {statement}", (YES, NO))


async def prefer(judge: Judge, text: str, first: str, second: str) -> Verdict:
    """Which of two answers to a text is the better one; the options are those answers."""
    return await ask(judge, text, "Which answer is better here?", (first, second))


def _lettered(options: Sequence[str]) -> str:
    return "\n".join(f"{ascii_uppercase[at]}. {option}" for at, option in enumerate(options))


class ServedJudge:
    """The model that is served, by typed decisions."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._engine = engine

    async def choose(self, text: str, question: str, options: Sequence[str]) -> tuple[float, ...]:
        """The model's own distribution over the options' letters."""
        asked = Message("user", f"{text}\n\nQuestion: {question}\n{_lettered(options)}")
        prompt = Prompt((Message("system", ASKED), asked), "Answer:")
        letters = [f" {letter}" for letter in ascii_uppercase[: len(options)]]
        return (await self._engine.decide(prompt, letters)).probabilities


class RemoteJudge:
    """A model behind any OpenAI-compatible server; it answers with a letter, and is believed."""

    def __init__(self, url: str, model: str, key: str | None = None) -> None:
        """Args: url: the base, as in `https://host/v1`."""
        self.name = model
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def choose(self, text: str, question: str, options: Sequence[str]) -> tuple[float, ...]:
        """One for the option whose letter it answers, nothing for the others."""
        asked = f"{text}\n\nQuestion: {question}\n{_lettered(options)}\n\nAnswer with one letter."
        body = {
            "model": self.name,
            "temperature": 0,
            "max_tokens": 8,
            "messages": [{"role": "system", "content": ASKED}, {"role": "user", "content": asked}],
        }
        answer = await self._post(body)
        letters = ascii_uppercase[: len(options)]
        found = re.search(rf"\b[{letters}]\b", answer)
        if found is None:
            raise EngineError(f"the judge {self.name} answered {answer[:60]!r}, and no letter")
        return tuple(float(letter == found[0]) for letter in letters)

    async def _post(self, body: dict[str, object]) -> str:
        try:
            async with httpx.AsyncClient(timeout=PATIENCE_S, headers=self._headers) as http:
                answer = await http.post(f"{self._url}/chat/completions", json=body)
                answer.raise_for_status()
                return str(answer.json()["choices"][0]["message"]["content"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise EngineError(f"the judge at {self._url} did not answer: {error}") from None
