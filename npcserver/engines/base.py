"""The contract every engine keeps.

Knows prompts, words and probabilities. Knows nothing of scenes, players or sockets. An engine that
computes lives in a process of its own (see host.py), so that no caller's event loop waits for it.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One block of a prompt."""

    role: Role
    text: str


@dataclass(frozen=True)
class Prompt:
    """What the model reads.

    Args:
        messages: finished blocks, the stable ones first so that their prefix stays cached.
        opening: the unfinished assistant block that the model continues, e.g. `Hessa (angry):`.
        scene: the scene's id, and
        speaker: the character's id; for engines that look lines up instead of computing them.
    """

    messages: tuple[Message, ...]
    opening: str = ""
    scene: str = ""
    speaker: str = ""

    def then(self, text: str) -> "Prompt":
        """The same prompt with `text` appended to its opening."""
        return Prompt(self.messages, self.opening + text, self.scene, self.speaker)


@dataclass(frozen=True)
class Sampling:
    """How words are drawn.

    Args:
        max_tokens: at most this many tokens a reply.
        temperature: 0 is greedy.
        frequency_penalty: taken off a token's logit each time it was generated already; unlike a
            repetition penalty it leaves alone what stands in the prompt.
        stop: generation ends before any of these strings; they are not part of the text.
        seed: the same seed, prompt and engine give the same words when nothing else runs.
    """

    max_tokens: int = 64
    temperature: float = 0.7
    top_p: float = 0.9
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ("\n",)
    seed: int = 0


@dataclass(frozen=True)
class Usage:
    """Tokens of one request; `cached_tokens` of the prompt's were not computed again."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True)
class Piece:
    """A piece of generated text: whole code points. The last one carries the usage.

    Args:
        finish: on the last piece, why it ended: `stop` or `length`.
    """

    text: str
    usage: Usage | None = None
    finish: Literal["stop", "length"] | None = None


@dataclass(frozen=True)
class Decision:
    """A probability for each option, in the order asked; they sum to one."""

    probabilities: tuple[float, ...]
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        assert abs(sum(self.probabilities) - 1.0) < 1e-6


@dataclass(frozen=True)
class EngineStatus:
    """What an engine is doing now.

    Args:
        ready: it can answer.
        running: requests under way.
        kv_usage: share of the key-value cache in use, 0 to 1; None where there is none.
        cache_tokens: what that cache holds in all; None where nobody knows.
        restarts: how often its process had to be started again.
        details: what else an operator should know, in words.
    """

    engine: str
    model: str
    ready: bool
    running: int = 0
    kv_usage: float | None = None
    cache_tokens: int | None = None
    restarts: int = 0
    details: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Turns prompts into words. Safe for many callers at once.

    Every method but `status` may raise EngineError: the request failed, later ones may succeed.
    """

    async def start(self) -> None:
        """Load the model. Returns once it can answer. Raises ModelError if it never will."""

    async def close(self) -> None:
        """Free everything. Requests under way fail with EngineError."""

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Stream the continuation of `prompt`. Closing the iterator cancels the request."""

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        """Score each option as the very next text after `prompt`; options must be distinct."""

    async def warm(self, prompt: Prompt) -> None:
        """Compute `prompt` now, so that what extends it later starts from the cache."""

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text."""

    def status(self) -> EngineStatus:
        """What it is doing now; never waits."""


@runtime_checkable
class Scorer(Protocol):
    """An engine that may tell how likely a given text was."""

    async def score(self, prompt: Prompt, text: str) -> list[tuple[str, float]] | None:
        """The pieces of `text` and the log-probability of each, after `prompt` and those before it.

        A piece is whole code points. None where the engine cannot tell.
        """


async def score(engine: Engine, prompt: Prompt, text: str) -> list[tuple[str, float]] | None:
    """What the engine's `score` tells; None where it has none."""
    return await engine.score(prompt, text) if isinstance(engine, Scorer) else None
