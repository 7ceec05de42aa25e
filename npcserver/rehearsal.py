"""A live instance of a scene to try things in: in this process, or on a running server.

Both are the same to whoever rehearses: players come in, send what a client may send, and read what
the server says, as the plain dictionaries that cross the wire.
"""

import asyncio
import json
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from npcserver.client import Client, Message, connect
from npcserver.engines.base import Engine
from npcserver.errors import NpcError, Rejected
from npcserver.floor import Rules
from npcserver.hosting import Sender
from npcserver.journal import Batch, Store
from npcserver.library import LoadedScene
from npcserver.protocol import PlayerInfo, ServerMessage, parse
from npcserver.scene import LiveScene

STILL_S = 0.2
"""A server is thought to have said everything when it says nothing for so long after a turn."""
PATIENCE_S = 60.0


class Rehearsal(Protocol):
    """One instance, and the players in it."""

    async def join(self, player: str, name: str) -> None:
        """Let somebody in. Raises NpcError where they may not."""

    async def send(self, player: str, kind: str, **fields: Any) -> None:
        """What a client sends. Raises Rejected when the server refuses it."""

    async def wait(self, seconds: float) -> None:
        """Let time pass."""

    async def settle(self) -> None:
        """Wait until every turn that was asked for is done."""

    def heard(self, player: str) -> list[Message]:
        """Everything a player was told, oldest first; nothing before they come in."""


class Stage(Protocol):
    """Where rehearsals take place."""

    def open(self, loaded: LoadedScene) -> AbstractAsyncContextManager[Rehearsal]:
        """A new instance of a scene, with nobody in it."""


@dataclass(frozen=True)
class Heard:
    """A turn as a player was told of it.

    Args:
        authored: the id of the writer's line that was said.
        emotions, actions: the probabilities, where any were told; an action not done is `none`.
    """

    npc: str
    status: str
    text: str
    reason: str = ""
    authored: str = "none"
    emotion: str = ""
    emotions: dict[str, float] = field(default_factory=dict)
    action: str = "none"
    target: str | None = None
    args: dict[str, Any] = field(default_factory=dict)
    actions: dict[str, float] = field(default_factory=dict)
    action_id: str = ""
    first_word_ms: int = 0
    total_ms: int = 0
    tokens: int = 0


def turns(messages: list[Message]) -> Iterator[Heard]:
    """The turns that ended in some messages, in the order they ended."""
    parts: defaultdict[str, dict[str, Message]] = defaultdict(dict)
    for message in messages:
        if message["type"].startswith("turn.") and "turn_id" in message:
            parts[message["turn_id"]][message["type"]] = message
            if message["type"] == "turn.done":
                yield _turn(parts.pop(message["turn_id"]))


def _turn(parts: dict[str, Message]) -> Heard:
    done, feeling = parts["turn.done"], parts.get("turn.emotion", {})
    doing = parts.get("turn.action", {})
    timing, usage = done.get("timing") or {}, done.get("usage") or {}
    return Heard(
        npc=done["npc"],
        status=done["status"],
        text=done["text"],
        reason=done.get("reason") or "",
        authored=done.get("authored") or "none",
        emotion=feeling.get("emotion", ""),
        emotions=feeling.get("probabilities") or {},
        action=doing.get("name", "none"),
        target=doing.get("target"),
        args=doing.get("args") or {},
        actions=doing.get("probabilities") or {},
        action_id=doing.get("action_id", ""),
        first_word_ms=timing.get("ttft_ms", 0),
        total_ms=timing.get("total_ms", 0),
        tokens=usage.get("completion_tokens", 0),
    )


# ---- in this process -----------------------------------------------------------------------------


class InMemory:
    """A journal that lives as long as its instance: the real store, in memory."""

    def __init__(self) -> None:
        self.store = Store(":memory:")

    async def commit(self, batch: Batch) -> None:
        """Write a batch now."""
        self.store.write([batch])


@dataclass(frozen=True)
class Here:
    """Rehearsals in this process, with an engine that is started already."""

    engine: Engine
    rules: Rules = field(default_factory=Rules)

    @asynccontextmanager
    async def open(self, loaded: LoadedScene) -> AsyncIterator["_HereRehearsal"]:
        """A new instance of a scene. Its clock is the loop's."""
        loop, journal = asyncio.get_running_loop(), InMemory()
        scene = LiveScene(
            loaded,
            "rehearsal",
            engine=self.engine,
            journal=journal,
            rules=self.rules,
            wall_ms=lambda: round(1000 * loop.time()),
        )
        await scene.start()
        try:
            yield _HereRehearsal(scene)
        finally:
            await scene.close()
            journal.store.close()


class _HereRehearsal:
    def __init__(self, scene: LiveScene) -> None:
        self._scene = scene
        self._heard: dict[str, list[Message]] = {}
        self._ids = 0

    async def join(self, player: str, name: str) -> None:
        heard = self._heard[player] = []

        def listen(message: ServerMessage) -> None:
            heard.append(message.model_dump(mode="json", exclude_none=True))

        info = PlayerInfo(id=player, name=name)
        await self._scene.join(info, listen, Sender(player, f"s-{player}", host=True))

    async def send(self, player: str, kind: str, **fields: Any) -> None:
        self._ids += 1
        frame = json.dumps({"type": kind, "id": f"m{self._ids}", **fields})
        sender = Sender(player, f"s-{player}", host=True)
        await self._scene.submit(sender, parse(frame))

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def settle(self) -> None:
        floor = self._scene.floor
        await self._scene.call(_nothing)  # behind whatever may begin a turn
        while floor.is_busy:  # one turn may give rise to another
            await floor.quiet()
            await self._scene.call(_nothing)

    def heard(self, player: str) -> list[Message]:
        return self._heard.get(player, [])


async def _nothing() -> None:
    pass


# ---- on a running server -------------------------------------------------------------------------


@dataclass(frozen=True)
class There:
    """Rehearsals on a running server, each in an instance of its own.

    Args:
        token: of role host where a secret is set, good for any player.
    """

    url: str
    token: Callable[[str], str | None] = lambda player: None

    @asynccontextmanager
    async def open(self, loaded: LoadedScene) -> AsyncIterator["_ThereRehearsal"]:
        """A new instance of a scene that the server has."""
        instance = f"rehearsal-{secrets.token_hex(4)}"
        async with AsyncExitStack() as stack:
            yield _ThereRehearsal(self, loaded.id, instance, stack)


class _ThereRehearsal:
    def __init__(self, there: There, scene: str, instance: str, stack: AsyncExitStack) -> None:
        self._there = there
        self._scene = scene
        self._instance = instance
        self._stack = stack
        self._clients: dict[str, Client] = {}
        self._heard: dict[str, list[Message]] = {}
        self._news = asyncio.Event()
        self._awaited: set[str] = set()
        self._open: set[str] = set()

    async def join(self, player: str, name: str) -> None:
        client = await self._stack.enter_async_context(
            connect(
                self._there.url,
                self._scene,
                player=player,
                name=name,
                instance=self._instance,
                token=self._there.token(player),
            )
        )
        self._clients[player], self._heard[player] = client, [client.snapshot]
        reading = asyncio.create_task(self._read(player, client))
        self._stack.callback(reading.cancel)

    async def _read(self, player: str, client: Client) -> None:
        async for message in client.messages():
            self._heard[player].append(message)
            match message:
                case {"type": "turn.started", "turn_id": turn, **rest}:
                    self._open.add(turn)
                    self._awaited.discard(rest.get("in_reply_to", ""))
                case {"type": "turn.done", "turn_id": turn}:
                    self._open.discard(turn)
            self._news.set()

    async def send(self, player: str, kind: str, **fields: Any) -> None:
        message_id = await self._clients[player].send(kind, **fields)
        if kind == "player.say":
            self._awaited.add(message_id)
        ack = await self._ack(player, message_id)
        if ack["status"] == "rejected":
            self._awaited.discard(message_id)
            raise Rejected(ack["error"]["message"], ack["error"]["code"])

    async def _ack(self, player: str, message_id: str) -> Message:
        while True:
            for message in self._heard[player]:
                if message["type"] == "ack" and message.get("ref") == message_id:
                    return message
            await self._wait(PATIENCE_S)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def settle(self) -> None:
        while self._awaited or self._open or await self._wait(STILL_S, patient=False):
            if self._awaited or self._open:
                await self._wait(PATIENCE_S)

    async def _wait(self, seconds: float, *, patient: bool = True) -> bool:
        """Wait for a message; whether one came. Raises NpcError when a patient wait was in vain."""
        self._news.clear()
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            if patient:
                told = f"the server at {self._there.url} said nothing for {seconds:.0f} s"
                raise NpcError(told, "unreachable") from None
            return False
        return True

    def heard(self, player: str) -> list[Message]:
        return self._heard.get(player, [])
