"""An engine without a model: it plays the example lines written in the scenes' own files.

For client developers without a model, and for tests. It keeps the whole contract: its decisions
have probabilities, its words stream. The same prompt always gets the same answer.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence

from npcserver.engines.base import Decision, EngineStatus, Piece, Prompt, Sampling, Usage
from npcserver.errors import EngineError
from npcserver.library import LoadedScene
from npcserver.prompt import PromptBuilder
from npcserver.sheets import Example

SURE = 0.9
"""The probability of what the script says; the other options share the rest."""


class ScriptedEngine:
    """Answers each line with the character's example that is most about it."""

    def __init__(self, scenes: Mapping[str, LoadedScene], pace_s: float = 0.0) -> None:
        """Args: pace_s: seconds between two pieces of text."""
        self._builders = {
            (scene.id, npc): PromptBuilder(scene, npc, budget=0)
            for scene in scenes.values()
            for npc in scene.characters
        }
        self._pace_s = pace_s
        self._running = 0

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to free."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Stream the script's words, a word a piece."""
        words = re.findall(r"\s*\S[A-Za-z0-9']*|\s+$", self._rest(prompt))[: sampling.max_tokens]
        self._running += 1
        try:
            for word in words:
                await asyncio.sleep(self._pace_s)
                yield Piece(word)
            yield Piece("", Usage(_tokens(prompt), 0, len(words)), "stop")
        finally:
            self._running -= 1

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        """The option the script goes on with gets SURE; without one, all are equally likely."""
        rest = self._rest(prompt) if prompt.speaker else ""
        fitting = [option for option in options if rest.startswith(option)]
        best = max(fitting, key=len, default=None)
        if best is None or len(options) == 1:
            return Decision(tuple(1 / len(options) for _ in options))
        other = (1 - SURE) / (len(options) - 1)
        chances = tuple(SURE if option == best else other for option in options)
        return Decision(chances, Usage(_tokens(prompt)))

    async def warm(self, prompt: Prompt) -> None:
        """Nothing to compute."""

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Words, as it knows no tokens."""
        return [len(text.split()) for text in texts]

    def status(self) -> EngineStatus:
        """Always ready."""
        return EngineStatus("scripted", "the scenes' examples", ready=True, running=self._running)

    def _rest(self, prompt: Prompt) -> str:
        """What the script says after the prompt's opening."""
        builder = self._builders.get((prompt.scene, prompt.speaker))
        if builder is None:
            raise EngineError(f"no script for {prompt.speaker!r} in {prompt.scene!r}")
        name, line = _newest_line(prompt, builder)
        example = _fitting(builder, line, len(prompt.messages))
        whole = builder.example_line(example, name)
        if whole.startswith(prompt.opening):
            return whole[len(prompt.opening) :]
        return builder.said(example.reply)


def _newest_line(prompt: Prompt, builder: PromptBuilder) -> tuple[str, str]:
    """The name and the words of whoever spoke last."""
    text = next((m.text for m in reversed(prompt.messages) if m.role == "user"), "")
    spoken = [line for line in text.split("\n") if not line.startswith("[")]
    name, _, words = (spoken[-1] if spoken else text).partition(builder.wording.colon)
    return name, words.strip()


def _fitting(builder: PromptBuilder, line: str, turn: int) -> Example:
    examples = builder.answers.examples
    return next(iter(builder.examples(line)), examples[turn % len(examples)])


def _tokens(prompt: Prompt) -> int:
    return sum(len(message.text.split()) for message in prompt.messages)
