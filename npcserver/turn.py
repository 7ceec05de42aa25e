"""One turn of a character: prompt → decide → speak → guard, as a stream of parts.

Emotion and action are read off the model's own distribution over what the scene declares; they are
never parsed out of prose. Knows nothing of sockets, journals or other turns, and does no I/O but to
ask the engine it is given.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from npcserver import authored, notes
from npcserver.engines.base import Engine, Piece, Prompt, Sampling, Usage
from npcserver.guard import Guard, Sentences
from npcserver.plot import Line
from npcserver.prompt import Deed, PromptBuilder
from npcserver.state import SceneState

NONE = "none"
"""The name under which doing nothing stands among an action's probabilities."""
ODDS = 0.5
"""Something is done when that is likelier than not."""


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
class Authored:
    """The words that follow are a writer's line. Args: line: its id."""

    line: str


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


Part = Feeling | Doing | Authored | Words | Sentence | Spoken


@dataclass(frozen=True)
class Intent:
    """What a character is going to do about a line, before a word is said.

    Args:
        prompt: what it was decided on, up to the character's name.
    """

    prompt: Prompt
    feeling: Feeling
    doing: Doing | None
    deed: Deed | None


async def intend(
    builder: PromptBuilder, state: SceneState, engine: Engine, prompt: Prompt, asker: str
) -> Intent:
    """Decide about a line that is not said yet, so that its answer begins at once.

    Raises:
        EngineError: the engine could not decide.
    """
    feeling = await _decide_emotion(builder, engine, prompt)
    felt = _felt(builder, prompt, feeling)
    deeds = builder.deeds(state, asker)
    acting = await _decide_to_act(builder, engine, felt) if deeds else 0.0
    if acting <= ODDS:
        return Intent(prompt, feeling, None, None)
    return Intent(prompt, feeling, *await _decide_deed(builder, engine, felt, deeds, acting))


async def play(
    builder: PromptBuilder,
    state: SceneState,
    engine: Engine,
    *,
    line: int,
    asker: str,
    sampling: Sampling,
    foreseen: Intent | None = None,
    recite: bool = False,
    is_late: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Part]:
    """Answer happening number `line`, said by `asker`.

    Args:
        foreseen: what was decided while the line was typed; of no use if it was typed on.
        recite: whether a line that a writer answered is answered in those words, unless something
            stands beside it that is to be told: lore, or what the character wants now.
        is_late: asked at the end of each sentence; once it is, that was the last one.

    Raises:
        EngineError: the engine could not go on; what was yielded until then stands.
    """
    names = [body.name for body in state.bodies.values()] + [builder.wording.stranger]
    reading = builder.read(state, state.happening(line))
    prompt = reading.prompt
    guard = Guard(names)

    def words(emotion: str, deed: Deed | None) -> AsyncGenerator[Piece, None]:
        return engine.generate(prompt.then(builder.opening(emotion, deed)), sampling)

    if foreseen is not None and foreseen.prompt != prompt:
        foreseen = None
    feeling = foreseen.feeling if foreseen else None
    if fits := authored.fitting(builder, state, line, asker):
        feeling = feeling or await _decide_emotion(builder, engine, prompt)
        own = authored.stand_in(builder, state, line)
        written = await _choose(builder, engine, _opened(builder, prompt, feeling), fits, own)
        if written is not None:
            async for part in _recite(state, written, feeling, asker):
                yield part
            return
    recite = recite and reading.beside == notes.NONE
    answer = authored.answered(builder, state, line, asker) if recite else None
    if answer is not None:
        async for part in _recite(state, answer, None, asker):
            yield part
        return
    if foreseen is not None:
        yield foreseen.feeling
        if foreseen.doing is not None:
            yield foreseen.doing
        async for part in _speak(words(foreseen.feeling.emotion, foreseen.deed), guard, is_late):
            yield part
        return
    feeling = feeling or await _decide_emotion(builder, engine, prompt)
    yield feeling
    felt = _felt(builder, prompt, feeling)
    deeds = builder.deeds(state, asker)
    # Most often nothing is done; so the words that follow are begun beside that decision.
    async with _begun(words(feeling.emotion, None)) as pieces:
        acting = await _decide_to_act(builder, engine, felt) if deeds else 0.0
        if acting <= ODDS:
            async for part in _speak(pieces, guard, is_late):
                yield part
            return
    doing, deed = await _decide_deed(builder, engine, felt, deeds, acting)
    yield doing
    async for part in _speak(words(feeling.emotion, deed), guard, is_late):
        yield part


async def _choose(
    builder: PromptBuilder, engine: Engine, opened: Prompt, fits: list[Line], own: str
) -> Line | None:
    """The line to say among those that fit, if the model doesn't rather use words of its own.

    Args:
        opened: the prompt, up to the words.
        own: what stands for words of its own.
    """
    if fits[0].always:
        return fits[0]
    by_words = {builder.said(line.says): line for line in fits}
    options = list(dict.fromkeys([*by_words, builder.said(own)]))
    chances = (await engine.decide(opened, options)).probabilities
    best = max(range(len(options)), key=chances.__getitem__)  # the first of equals
    return by_words.get(options[best])


async def _recite(
    state: SceneState, line: Line, feeling: Feeling | None, asker: str
) -> AsyncIterator[Part]:
    """Say a writer's line, word by word as any other; it is no one else's, whoever is named."""
    yield Authored(line.id)
    if line.emotion is not None:
        feeling = Feeling(line.emotion, {line.emotion: 1.0})
    if feeling is not None:
        yield feeling
    if deed := authored.deed_of(state, line, asker):
        yield Doing(deed.action, deed.target, deed.args, {deed.action: 1.0})

    async def pieces() -> AsyncGenerator[Piece, None]:
        for word in re.findall(r"\s*\S+", line.says):
            yield Piece(word)

    async for part in _speak(pieces(), Guard([]), lambda: False):
        yield part


def _opened(builder: PromptBuilder, prompt: Prompt, feeling: Feeling) -> Prompt:
    return prompt.then(builder.opening(feeling.emotion, None))


@asynccontextmanager
async def _begun(pieces: AsyncGenerator[Piece, None]) -> AsyncIterator[AsyncGenerator[Piece, None]]:
    """A stream whose first piece is asked for now, and which is closed if nobody reads it."""
    first = asyncio.ensure_future(anext(pieces))

    async def whole() -> AsyncGenerator[Piece, None]:
        try:
            yield await first
        except StopAsyncIteration:
            return
        async for piece in pieces:
            yield piece

    try:
        yield whole()
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await pieces.aclose()


def _felt(builder: PromptBuilder, prompt: Prompt, feeling: Feeling) -> Prompt:
    opening, _ = builder.emotions()
    return prompt.then(opening + builder.emotion_slot(feeling.emotion))


async def _decide_emotion(builder: PromptBuilder, engine: Engine, prompt: Prompt) -> Feeling:
    opening, words = builder.emotions()
    decision = await engine.decide(prompt.then(opening), words)
    chances = dict(zip(builder.loaded.scene.emotions, decision.probabilities, strict=True))
    return Feeling(max(chances, key=chances.__getitem__), chances)


async def _decide_to_act(builder: PromptBuilder, engine: Engine, felt: Prompt) -> float:
    """The probability that anything is done."""
    return (await engine.decide(felt, builder.acting())).probabilities[1]


async def _decide_deed(
    builder: PromptBuilder, engine: Engine, felt: Prompt, deeds: list[Deed], acting: float
) -> tuple[Doing, Deed]:
    """What is done. Args: acting: the probability that anything is."""
    _, act = builder.acting()
    decision = await engine.decide(felt.then(act), builder.deed_options(deeds))
    chances = {NONE: 1 - acting}
    for deed, chance in zip(deeds, decision.probabilities, strict=True):
        chances[deed.action] = chances.get(deed.action, 0.0) + acting * chance
    deed = deeds[max(range(len(deeds)), key=decision.probabilities.__getitem__)]
    return Doing(deed.action, deed.target, deed.args, chances), deed


async def _speak(
    stream: AsyncGenerator[Piece, None], guard: Guard, is_late: Callable[[], bool]
) -> AsyncIterator[Part]:
    sentences, usage, spoken = Sentences(), Usage(), 0
    async with aclosing(stream) as pieces:
        async for piece in pieces:
            usage = piece.usage or usage
            said = guard.feed(piece.text)
            finished = sentences.feed(said)
            if finished and is_late():
                for part in _said(said[: finished[-1][1] - spoken], finished):
                    yield part
                yield Spoken(usage)
                return
            for part in _said(said, finished):
                yield part
            spoken += len(said)
            if guard.ended:
                break
    rest = guard.finish()
    for part in _said(rest, [*sentences.feed(rest), *sentences.finish()]):
        yield part
    yield Spoken(usage)


def _said(text: str, finished: list[tuple[int, int]]) -> Iterator[Part]:
    if text:
        yield Words(text)
    for start, end in finished:
        yield Sentence(start, end)
