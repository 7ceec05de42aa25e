"""How likely each option is as the next text, from a server that can be held to tokens: llama.cpp.

It cuts texts into tokens for us, tells the odds of the likeliest ones, and under a grammar of
tokens it writes a certain token and tells the odds it would have had without one.
"""

import asyncio
import math
from collections.abc import Sequence

from npcserver.engines.asking import common_length
from npcserver.engines.base import Prompt, Usage
from npcserver.engines.endpoint import Json
from npcserver.engines.options import OptionTree, Path
from npcserver.engines.writing import Completing, Talk, choices, usage
from npcserver.errors import EngineError

LIKELIEST = 200
"""Of so many next tokens the odds are told at once."""
WHOLE = '"a"'
"""What is drawn to be told the odds: a whole character, since of a part nothing would be told."""
NEGLIGIBLE = 1e-3
"""A token this much less likely than another need not be told exactly."""

Ids = list[int]


class Forced:
    """Exact: where options part, the odds of their own next tokens."""

    says = "the odds of the options' own tokens (exact)"

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def weigh(self, prompt: Prompt, options: Sequence[str]) -> tuple[list[float], Usage]:
        """One request a fork that matters; a few more where its tokens are unlikely."""
        cut = await asyncio.gather(*(self._tokens(prompt, option) for option in options))
        shared = min(common_length(cut), min(map(len, cut)) - 1)  # the tree wants no empty option
        tree = OptionTree([ids[shared:] for ids in cut])
        spent, scores = Usage(), dict[Path, dict[int, float]]()
        while (fork := tree.next_fork(scores)) is not None:
            before = [*cut[0][:shared], *fork]
            scores[fork], took = await self._odds(prompt, before, tree.forks[fork])
            spent += took
        return tree.probabilities(scores), spent

    async def _odds(
        self, prompt: Prompt, before: Ids, tokens: Sequence[int]
    ) -> tuple[dict[int, float], Usage]:
        """The log-probabilities of some next tokens."""
        likeliest, spent = await self._likeliest(prompt, before)
        odds = {token: likeliest[token] for token in tokens if token in likeliest}
        # What is not told is less likely than all that is.
        least = min(likeliest.values())
        matters = least > max(odds.values(), default=-math.inf) + math.log(NEGLIGIBLE)
        for token in tokens:
            if token not in odds and matters:
                exact, took = await self._written(prompt, before, token)
                spent += took
                odds[token] = least if exact is None else exact
        return {token: odds.get(token, least) for token in tokens}, spent

    async def _tokens(self, prompt: Prompt, option: str) -> Ids:
        """The tokens of a prompt and an option, cut as the server cuts what it completes."""
        assert isinstance(self._talk.form, Completing)
        text = self._talk.form.write(prompt, option)["prompt"]
        asked = {"content": text, "add_special": True, "parse_special": True}
        told = await self._talk.fleet.ask("/tokenize", {**self._talk.named(), **asked})
        ids = told.get("tokens")
        if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
            raise EngineError("the server does not tell a text's tokens")
        return ids

    async def _likeliest(self, prompt: Prompt, before: Ids) -> tuple[dict[int, float], Usage]:
        """The likeliest next tokens and their log-probabilities."""
        answer = await self._drawn(prompt, before, WHOLE, LIKELIEST)
        tops = (_told(answer) or {}).get("top_logprobs") or []
        if not tops or "id" not in tops[0]:
            raise EngineError("the server does not tell which tokens are likely")
        return {top["id"]: top["logprob"] for top in tops}, usage(answer) or Usage()

    async def _written(self, prompt: Prompt, before: Ids, token: int) -> tuple[float | None, Usage]:
        """The log-probability of a token, when nothing else can be drawn; None: it is not told."""
        answer = await self._drawn(prompt, before, f"<[{token}]>", 1)
        spent = usage(answer) or Usage()
        if (told := _told(answer)) is None:
            return None, spent
        if told.get("id") != token:
            raise EngineError("the server cannot be held to tokens")
        return told["logprob"], spent

    async def _drawn(self, prompt: Prompt, before: Ids, what: str, told: int) -> Json:
        """Draw one token, held to `what`; the odds that are told are those without a grammar."""
        grammar = f"root ::= {what}"
        return await self._talk.ask(
            prompt, prompt=before, grammar=grammar, max_tokens=1, temperature=0, logprobs=told
        )


def _told(answer: Json) -> Json | None:
    """What is told of the token that was drawn: nothing, if it is a part of a character."""
    told: list[Json] = (choices(answer)[0].get("logprobs") or {}).get("content") or []
    return told[0] if told else None
