"""One turn of a character: prompt → decide → speak → guard, as a stream of parts.

Emotion and action are read off the model's own distribution over what the scene declares; they are
never parsed out of prose. Knows nothing of sockets, journals or other turns, and does no I/O but to
ask the engine it is given.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from npcserver.engines.base import Engine, Prompt, Sampling, Usage
from npcserver.guard import Guard, Sentences
from npcserver.prompt import Deed, PromptBuilder
from npcserver.state import SceneState

NONE = "none"
"""The name under which doing nothing stands among an action's probabilities."""


@dataclass(frozen=True)
class Feeling:
    """The emotion decided, before the words it colours."""

    emotion: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Doing:
    """The action decided."""

    action: str
    target: str | None
    args: dict[str, Any]
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Words:
    """Words to be said now."""

    delta: str


@dataclass(frozen=True)
class Sentence:
    """A finished sentence of the words said so far, in code points."""

    start: int
    end: int


@dataclass(frozen=True)
class Spoken:
    """The turn came to its own end."""

    usage: Usage


Part = Feeling | Doing | Words | Sentence | Spoken


async def play(
    builder: PromptBuilder,
    state: SceneState,
    engine: Engine,
    *,
    line: int,
    asker: str,
    sampling: Sampling,
) -> AsyncIterator[Part]:
    """Answer happening number `line`, said by `asker`.

    Raises:
        EngineError: the engine could not go on; what was yielded until then stands.
    """
    names = [body.name for body in state.bodies.values()] + [builder.wording.stranger]
    prompt = builder.build(state, line)
    feeling = await _decide_emotion(builder, engine, prompt)
    yield feeling
    doing, deed = await _decide_deed(builder, state, engine, prompt, feeling.emotion, asker)
    if doing is not None:
        yield doing
    opened = prompt.then(builder.opening(feeling.emotion, deed))
    async for part in _speak(engine, opened, sampling, Guard(names)):
        yield part


async def _decide_emotion(builder: PromptBuilder, engine: Engine, prompt: Prompt) -> Feeling:
    opening, words = builder.emotions()
    decision = await engine.decide(prompt.then(opening), words)
    chances = dict(zip(builder.loaded.scene.emotions, decision.probabilities, strict=True))
    return Feeling(max(chances, key=chances.__getitem__), chances)


async def _decide_deed(
    builder: PromptBuilder,
    state: SceneState,
    engine: Engine,
    prompt: Prompt,
    emotion: str,
    asker: str,
) -> tuple[Doing | None, Deed | None]:
    """Whether to do anything; and only then, what."""
    deeds = builder.deeds(state, asker)
    if not deeds:
        return None, None
    opening, _ = builder.emotions()
    felt = prompt.then(opening + builder.emotion_slot(emotion))
    refrain, act = builder.acting()
    refraining, acting = (await engine.decide(felt, [refrain, act])).probabilities
    if refraining >= acting:
        return None, None
    decision = await engine.decide(felt.then(act), builder.deed_options(deeds))
    chances = {NONE: refraining}
    for deed, chance in zip(deeds, decision.probabilities, strict=True):
        chances[deed.action] = chances.get(deed.action, 0.0) + acting * chance
    best = max(range(len(deeds)), key=decision.probabilities.__getitem__)
    deed = deeds[best]
    return Doing(deed.action, deed.target, deed.args, chances), deed


async def _speak(
    engine: Engine, prompt: Prompt, sampling: Sampling, guard: Guard
) -> AsyncIterator[Part]:
    sentences, usage = Sentences(), Usage()
    async with aclosing(engine.generate(prompt, sampling)) as pieces:
        async for piece in pieces:
            usage = piece.usage or usage
            if said := guard.feed(piece.text):
                yield Words(said)
                for start, end in sentences.feed(said):
                    yield Sentence(start, end)
            if guard.ended:
                break
    if rest := guard.finish():
        yield Words(rest)
        for start, end in sentences.feed(rest):
            yield Sentence(start, end)
    for start, end in sentences.finish():
        yield Sentence(start, end)
    yield Spoken(usage)
