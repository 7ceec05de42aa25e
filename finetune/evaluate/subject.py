"""Whoever is evaluated: an engine here, or a running server, and how it is asked.

Requests go to an engine one at a time. Alone, the same prompt and seed give the same words; in a
batch the last bits of a sum depend on the neighbours, and now and then a word with them.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from finetune.evaluate.controls import Reference
from finetune.evaluate.likelihood import Likelihood
from npcserver.engines.base import Decision, Engine, EngineStatus, Piece, Prompt, Sampling
from npcserver.floor import Rules
from npcserver.rehearsal import Here, Stage


class OneAtATime:
    """An engine that is asked one thing at a time, so that what it says can be had again."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._free = asyncio.Lock()

    async def start(self) -> None:
        """Load the model."""
        await self._engine.start()

    async def close(self) -> None:
        """Free everything."""
        await self._engine.close()

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Stream the continuation of `prompt`, once nothing else runs."""
        async with self._free, aclosing(self._engine.generate(prompt, sampling)) as pieces:
            async for piece in pieces:
                yield piece

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        """Score each option, once nothing else runs."""
        async with self._free:
            return await self._engine.decide(prompt, options)

    async def warm(self, prompt: Prompt) -> None:
        """Compute `prompt`, once nothing else runs."""
        async with self._free:
            await self._engine.warm(prompt)

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text."""
        return await self._engine.count(texts)

    def status(self) -> EngineStatus:
        """What the engine is doing now."""
        return self._engine.status()


@dataclass(frozen=True)
class Subject:
    """Whoever is evaluated.

    Args:
        about: what it is, for the report; holds digests, and no folders of this machine.
        stage: where it is talked with.
        engine: what it is, where it is here; None on a server.
        likelihood: None where nobody can say how likely it finds a text.
        shuffled: everybody is on somebody else's sheet.
        key: who has to be told what was written, to say it.
    """

    about: dict[str, Any]
    stage: Stage
    rules: Rules
    engine: Engine | None = None
    likelihood: Likelihood | None = None
    shuffled: bool = False
    key: Reference | None = None

    @property
    def name(self) -> str:
        """What the report calls it."""
        return str(self.about["name"])

    def digest(self, seed: int) -> str:
        """Of everything that its answers hang on."""
        told = json.dumps([self.about, seed], sort_keys=True, default=str)
        return hashlib.sha256(told.encode()).hexdigest()


def here(
    about: dict[str, Any],
    engine: Engine,
    rules: Rules,
    seed: int,
    *,
    likelihood: Likelihood | None = None,
    shuffled: bool = False,
    key: Reference | None = None,
) -> Subject:
    """A subject in this process. Args: engine: started."""
    alone = OneAtATime(engine)
    seeded = replace(rules, sampling=replace(rules.sampling, seed=seed))
    sampling = {k: v for k, v in vars(seeded.sampling).items() if k != "seed"}
    whole = about | {
        "sampling": {k: list(v) if isinstance(v, tuple) else v for k, v in sampling.items()},
        "history_lines": rules.history(),
        "prompt_tokens": rules.prompt_tokens,
        **({"written_answers": True} if rules.recite else {}),
    }
    return Subject(whole, Here(alone, seeded), seeded, alone, likelihood, shuffled, key)
