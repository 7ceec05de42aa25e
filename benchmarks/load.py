"""Players who talk to a server over real WebSockets, and what they notice."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from npcserver.client import Client, connect

LINES = (
    "Good evening. Who is in charge here?",
    "How long until the water reaches the door?",
    "I have come a long way and I am hungry.",
    "What would you do if you were me?",
    "Somebody told me you know everybody's business.",
    "Is it true what they say about the bridge?",
    "I need a bed for the night, nothing fancy.",
    "You look as if you had not slept for a week.",
    "What is that noise outside?",
    "Can I trust the others in this place?",
    "Tell me what happened here last winter.",
    "I lost my glove somewhere on the road.",
    "Who taught you to do this work?",
    "Give me one good reason to stay.",
    "I would like to pay you back one day.",
    "Where does that path behind the house lead?",
)


@dataclass(frozen=True)
class Cast:
    """Whom to talk to: a character of a scene."""

    scene: str
    npc: str
    place: str


@dataclass
class Turn:
    """One line and its answer, as the player saw it. Times are seconds of one clock.

    Args:
        asked: when the line was sent.
        words: when each piece of text came.
    """

    asked: float
    status: str = ""
    words: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    done: float = 0.0

    @property
    def first_word(self) -> float:
        """Seconds from the line to the first word; to the end, where none came."""
        return (self.words[0] if self.words else self.done) - self.asked


@dataclass(frozen=True)
class Manner:
    """How players talk.

    Args:
        turns: lines each of them says.
        pause: least and most seconds between an answer and the next line.
        typing: seconds between the last `player.typing` and the line; None: they do not tell.
        together: everybody says a line at the same instant, and waits for all answers.
    """

    turns: int
    pause: tuple[float, float] = (0.0, 0.0)
    typing: float | None = None
    together: bool = False


def line(talker: int, turn: int) -> str:
    """What a talker says in a turn; no two lines of a run are alike."""
    said = LINES[(7 * talker + turn) % len(LINES)]
    return f"{said} That is what I ask you, {talker * 100 + turn} times."


async def talk(url: str, cast: Sequence[Cast], manner: Manner, seed: int = 0) -> list[Turn]:
    """Let as many players as there are cast members talk, each in an instance of their own."""
    barrier = asyncio.Barrier(len(cast))
    run = f"{seed}-{time.monotonic_ns()}"
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                connect(
                    url,
                    each.scene,
                    player=f"p{number}",
                    name=f"Player{number}",
                    instance=f"b{run}-{number}",
                )
            )
            for number, each in enumerate(cast)
        ]
        talkers = (
            _talker(client, number, each, manner, barrier, random.Random(seed * 1000 + number))
            for number, (client, each) in enumerate(zip(clients, cast, strict=True))
        )
        return [turn for turns in await asyncio.gather(*talkers) for turn in turns]


async def _talker(
    client: Client,
    number: int,
    cast: Cast,
    manner: Manner,
    barrier: asyncio.Barrier,
    rng: random.Random,
) -> list[Turn]:
    turns = []
    await client.send("player.move", place=cast.place)
    await barrier.wait()
    if manner.pause[1] and not manner.together:
        await asyncio.sleep(rng.uniform(0, manner.pause[1]))  # players do not begin in step
    for turn in range(manner.turns):
        said = line(number, turn)
        if manner.typing is not None:
            await client.send("player.typing", text=said)
            await asyncio.sleep(manner.typing)
        if manner.together:
            await barrier.wait()
        turns.append(await _ask(client, cast.npc, said))
        await asyncio.sleep(rng.uniform(*manner.pause))
    return turns


async def _ask(client: Client, npc: str, said: str) -> Turn:
    turn = Turn(time.perf_counter())
    line_id = await client.say(said, to=[npc])
    turn_id = ""
    async for message in client.messages():
        match message:
            case {"type": "turn.started", "in_reply_to": ref} if ref == line_id:
                turn_id = message["turn_id"]
            case {"type": "turn.text", "turn_id": ref} if ref == turn_id:
                turn.words.append(time.perf_counter())
            case {"type": "turn.done", "turn_id": ref} if ref == turn_id:
                turn.done, turn.status = time.perf_counter(), message["status"]
                usage = message["usage"]
                turn.prompt_tokens = usage["prompt_tokens"]
                turn.cached_tokens = usage["cached_tokens"]
                turn.completion_tokens = usage["completion_tokens"]
                return turn
    raise AssertionError("messages() ends by raising only")


async def crowd(stack: AsyncExitStack, url: str, scene: str, size: int, per_instance: int) -> None:
    """Connect players who say nothing, until the stack is closed."""

    async def one(number: int) -> None:
        client = await stack.enter_async_context(
            connect(
                url,
                scene,
                player=f"idle{number}",
                instance=f"idle-{number // per_instance}",
            )
        )
        readers.append(asyncio.create_task(_read(client)))

    readers: list[asyncio.Task[None]] = []
    for start in range(0, size, 50):
        await asyncio.gather(*(one(number) for number in range(start, min(start + 50, size))))
    stack.callback(lambda: [reader.cancel() for reader in readers])


async def _read(client: Client) -> None:
    async for message in client.messages():
        json.dumps(message["type"])


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 in milliseconds."""
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    return {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "n": len(ordered)}


def summary(turns: Sequence[Turn]) -> dict[str, object]:
    """What a run's players noticed."""
    gaps = [b - a for turn in turns for a, b in zip(turn.words, turn.words[1:], strict=False)]
    whole = max(turn.done for turn in turns) - min(turn.asked for turn in turns)
    tokens = sum(turn.completion_tokens for turn in turns)
    ended: dict[str, int] = {}
    for turn in turns:
        ended[turn.status] = ended.get(turn.status, 0) + 1
    return {
        "first_word_ms": percentiles([turn.first_word for turn in turns]),
        "between_words_ms": percentiles(gaps or [0.0]),
        "tokens_per_s": round(tokens / whole, 1),
        "tokens_a_reply": round(tokens / len(turns), 1),
        "prompt_tokens": round(sum(turn.prompt_tokens for turn in turns) / len(turns), 1),
        "cached_tokens": round(sum(turn.cached_tokens for turn in turns) / len(turns), 1),
        "ended": ended,
    }
