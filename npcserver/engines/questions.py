"""How likely each option is, from a server that tells no log-probabilities: it is asked.

Either as a typed question, or by drawing under a constraint. Neither is the probability of the next
text itself; `says` tells which it was.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence

from npcserver.engines.base import Prompt, Usage
from npcserver.engines.endpoint import Json
from npcserver.engines.render import TEMPLATES
from npcserver.engines.writing import Talk, choices, usage
from npcserver.errors import EngineError

AT_ONCE = 20
"""Options of one question: models label them with letters, of which there are 26."""
QUESTION = "Which of these does the text above go on with?"
DRAWS = 8


class Questioned:
    """A typed question to `/v1/systemone`, its options labelled by letters."""

    says = "a question to /v1/systemone (the options' letters, not the next text)"

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def weigh(self, prompt: Prompt, options: Sequence[str]) -> tuple[list[float], Usage]:
        """Many options are asked for in groups, then among the groups' first choices."""
        if len(options) <= AT_ONCE:
            return await self._answer(prompt, options)
        groups = [options[at : at + AT_ONCE] for at in range(0, len(options), AT_ONCE)]
        answers = [await self._answer(prompt, group) for group in groups]
        firsts = [
            max(zip(a[0], group, strict=True))[1] for a, group in zip(answers, groups, strict=True)
        ]
        shares, spent = await self._answer(prompt, firsts)
        weights = []
        for (within, took), share in zip(answers, shares, strict=True):
            spent += took
            weights += [share * each / max(within) for each in within]
        return weights, spent

    async def _answer(self, prompt: Prompt, options: Sequence[str]) -> tuple[list[float], Usage]:
        names = _names(options)
        question = {"type": "choice", "instructions": QUESTION, "criteria": dict.fromkeys(names)}
        state = TEMPLATES["script"].text(prompt)
        asked = {"state": state, "questions": {"next": question}, **self._talk.named()}
        answer = await self._talk.fleet.ask("systemone", asked)
        try:
            told = answer["answers"]["next"]["probabilities"]
            weights = [float(told[name]) for name in names]
        except (KeyError, TypeError, ValueError):
            raise EngineError("the server's answer has no probabilities") from None
        return weights, Usage((answer.get("usage") or {}).get("input_tokens") or 0)


def _names(options: Sequence[str]) -> list[str]:
    """The options as keys: without the spaces at their ends, where they stay different."""
    names = [option.strip() for option in options]
    if "" in names or len(set(names)) < len(names):
        return [f"“{option}”" for option in options]
    return names


def _regex(options: Sequence[str]) -> str:
    special = "\\.^$*+?()[]{}|"
    escaped = ("".join(f"\\{c}" if c in special else c for c in option) for option in options)
    return f"({'|'.join(escaped)})"


def _grammar(options: Sequence[str]) -> str:
    return "root ::= " + " | ".join(json.dumps(option) for option in options)


CONSTRAINTS: dict[str, Callable[[Sequence[str]], Json]] = {
    "structured_outputs": lambda options: {"structured_outputs": {"choice": list(options)}},
    "guided_choice": lambda options: {"guided_choice": list(options)},
    "regex": lambda options: {"regex": _regex(options)},
    "grammar": lambda options: {"grammar": _grammar(options)},
}
"""How servers are told to draw one of some texts: vLLM now and before, SGLang, llama.cpp."""


class Drawn:
    """A few draws, each held to the options. Rough: what is drawn once in 20 is seldom seen."""

    def __init__(self, talk: Talk, constraint: str) -> None:
        """Args: constraint: a key of CONSTRAINTS."""
        self._talk = talk
        self._constraint = constraint

    @property
    def says(self) -> str:
        """With the number of draws, since that bounds what is told apart."""
        return f"{DRAWS} draws held to the options by {self._constraint} (rough)"

    async def weigh(self, prompt: Prompt, options: Sequence[str]) -> tuple[list[float], Usage]:
        """How often each was drawn; one draw more is shared by all, so that none is impossible."""
        answer = await self._talk.ask(
            prompt,
            n=DRAWS,
            temperature=1,
            max_tokens=max(map(len, options)),
            **CONSTRAINTS[self._constraint](options),
        )
        drawn = Counter(self._talk.form.text(choice) for choice in choices(answer))
        if not drawn or drawn.keys() - set(options):
            raise EngineError("the server does not hold its draws to the options")
        return [drawn[option] + 1 / len(options) for option in options], usage(answer) or Usage()
