"""What a turn's parts become: facts that are journaled, and messages to those who hear it.

Knows the scene only as somebody who writes down and shows; nothing of who speaks, or when.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from npcserver.journal import Fact
from npcserver.library import LoadedScene
from npcserver.protocol import (
    ServerMessage,
    TurnAction,
    TurnDone,
    TurnEmotion,
    TurnSentence,
    TurnStarted,
    TurnStatus,
    TurnText,
    UsageBody,
)
from npcserver.state import SceneState
from npcserver.turn import Authored, Doing, Feeling, Part, Sentence, Spoken, Words
from npcserver.waiting import Turn


class Writer(Protocol):
    """The scene, as far as its turns need it."""

    state: SceneState
    loaded: LoadedScene

    async def call(self, handler: Callable[[], Awaitable[Any]]) -> Any:
        """Run a handler as the scene's writer."""

    async def record(self, fact: Fact, audience: frozenset[str]) -> None:
        """Journal a fact, take it into the state, and show it."""

    async def record_speech(self, turn_id: str, delta: str) -> None:
        """Make words durable before they are shown."""

    def show(self, message: ServerMessage, audience: Iterable[str]) -> None:
        """Send a message to those of the audience who listen."""


def started(turn: Turn, turn_id: str) -> TurnStarted:
    """A turn takes the floor."""
    return TurnStarted(
        turn_id=turn_id,
        npc=turn.npc,
        in_reply_to=turn.reply_to,
        to=turn.to,
        volume=turn.volume,
        because=turn.because,
        probabilities=turn.odds,
        line=turn.line,
    )


def done(turn: Turn, status: TurnStatus, reason: str | None) -> TurnDone:
    """A turn is over, with what was said until now."""
    return TurnDone(
        turn_id=turn.turn_id,
        npc=turn.npc,
        status=status,
        text=turn.text,
        reason=reason,
        usage=UsageBody(**vars(turn.usage)),
        timing=turn.timing(asyncio.get_running_loop().time()),
        authored=turn.authored,
    )


async def take(scene: Writer, turn: Turn, part: Part) -> None:
    """Take in one part of a turn, as the scene's writer."""
    match part:
        case Feeling():
            await _feel(scene, turn, part)
        case Doing():
            await _do(scene, turn, part)
        case Authored(line):
            turn.authored = line
        case Words(delta):
            await scene.record_speech(turn.turn_id, delta)
            if turn.first_word_at is None:
                turn.first_word_at = asyncio.get_running_loop().time()
            text = TurnText(turn_id=turn.turn_id, delta=delta, at=len(turn.text))
            turn.text += delta
            scene.show(text, turn.audience)
        case Sentence(start, end):
            sentence = TurnSentence(
                turn_id=turn.turn_id, index=turn.sentences, start=start, end=end
            )
            turn.sentences += 1
            scene.show(sentence, turn.audience)
        case Spoken(usage):
            turn.usage = usage


async def _feel(scene: Writer, turn: Turn, feeling: Feeling) -> None:
    emotion = TurnEmotion(
        turn_id=turn.turn_id,
        emotion=feeling.emotion,
        face=scene.loaded.scene.emotions[feeling.emotion].face,
        intensity=round(feeling.probabilities[feeling.emotion], 3),
        at=len(turn.text),
        probabilities=rounded(feeling.probabilities),
    )
    await scene.record(emotion, turn.audience)


async def _do(scene: Writer, turn: Turn, doing: Doing) -> None:
    action = TurnAction(
        turn_id=turn.turn_id,
        action_id=f"a-{turn.turn_id}",
        name=doing.action,
        target=doing.target,
        args=doing.args,
        at=len(turn.text),
        probabilities=rounded(doing.probabilities),
    )
    await scene.record(action, turn.audience)


def rounded(probabilities: dict[str, float]) -> dict[str, float]:
    """Probabilities as they are told."""
    return {name: round(p, 4) for name, p in probabilities.items()}
