"""How likely each option is as the next text, from a server that can be held to tokens: llama.cpp.

It cuts texts into tokens for us, tells the odds of the likeliest ones, and under a grammar of
tokens it writes nothing but an option, and tells the odds it would have had without one.
"""

import asyncio
import math
from collections.abc import Sequence

from npcserver.engines.asking import LEAST, NEGLIGIBLE, common_length
from npcserver.engines.base import Prompt, Usage
from npcserver.engines.endpoint import Json
from npcserver.engines.writing import Completing, Talk, choices, usage
from npcserver.errors import EngineError

LIKELIEST = 200
"""Of so many first tokens the odds are told at once; most options need not be written then."""

Ids = list[int]


class Forced:
    """Exact for every option that is not negligible: it is written out, token by token."""

    says = "the odds of the options' own tokens (exact)"

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def weigh(self, prompt: Prompt, options: Sequence[str]) -> tuple[list[float], Usage]:
        """The first tokens' odds say which options are worth writing out, the best first."""
        cut = await asyncio.gather(*(self._tokens(prompt.then(option)) for option in options))
        shared = common_length(cut)
        before, rests = cut[0][:shared], [ids[shared:] for ids in cut]
        firsts, spent = await self._firsts(prompt, before)
        least = min(firsts.values())
        bounds = [firsts.get(rest[0], least) if rest else 1.0 for rest in rests]
        weights, best = list(bounds), 0.0
        for number in sorted(range(len(rests)), key=bounds.__getitem__, reverse=True):
            rest = rests[number]
            if bounds[number] < NEGLIGIBLE * best:
                break  # it and all that follow are at most as likely as their first tokens
            if len(rest) > 1 or (rest and rest[0] not in firsts):
                weights[number], took = await self._written(prompt, before, rest)
                spent += took
            best = max(best, weights[number])
        return [max(weight, LEAST) for weight in weights], spent

    async def _tokens(self, prompt: Prompt) -> Ids:
        """The tokens of a prompt, cut as the server cuts what it completes."""
        assert isinstance(self._talk.form, Completing)
        text = self._talk.form.write(prompt)["prompt"]
        asked = {"content": text, "add_special": True, "parse_special": True}
        told = await self._talk.fleet.ask("/tokenize", {**self._talk.named(), **asked})
        ids = told.get("tokens")
        if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
            raise EngineError("the server does not tell a text's tokens")
        return ids

    async def _firsts(self, prompt: Prompt, before: Ids) -> tuple[dict[int, float], Usage]:
        """The likeliest next tokens and their probabilities."""
        answer = await self._talk.ask(
            prompt, prompt=before, max_tokens=1, temperature=0, logprobs=LIKELIEST
        )
        tops = _told(answer)[0].get("top_logprobs") or []
        if not tops or "id" not in tops[0]:
            raise EngineError("the server does not tell which tokens are likely")
        return {top["id"]: math.exp(top["logprob"]) for top in tops}, usage(answer) or Usage()

    async def _written(self, prompt: Prompt, before: Ids, rest: Ids) -> tuple[float, Usage]:
        """The probability of these very tokens."""
        answer = await self._talk.ask(
            prompt,
            prompt=before,
            grammar="root ::= " + " ".join(f"<[{token}]>" for token in rest),
            max_tokens=len(rest),
            temperature=0,
            logprobs=1,
        )
        told = _told(answer)[: len(rest)]
        if [token.get("id") for token in told] != rest:
            raise EngineError("the server cannot be held to tokens")
        return math.exp(math.fsum(token["logprob"] for token in told)), usage(answer) or Usage()


def _told(answer: Json) -> list[Json]:
    """What is told of each token that was written. Raises EngineError when nothing is."""
    told: list[Json] = (choices(answer)[0].get("logprobs") or {}).get("content") or []
    if not told:
        raise EngineError("the server tells no log-probabilities")
    return told
