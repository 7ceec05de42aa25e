"""A live scene in a test: real SQLite, the scripted engine, virtual time, attentive players."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from npcserver.engines.base import Engine
from npcserver.engines.scripted import ScriptedEngine
from npcserver.floor import Rules
from npcserver.hosting import Sender
from npcserver.journal import Batch, Fact, JournalError, Store
from npcserver.library import LoadedScene, load_scene
from npcserver.protocol import PlayerInfo, ServerMessage, parse
from npcserver.scene import LiveScene
from npcserver.sheets import Direction, Example

QUAY = load_scene(Path(__file__).parent / "data" / "quay")

MORE = {
    "ada": {"line": "Who mends boats?", "reply": "Bo does."},
    "bo": {"line": "Who rings?", "reply": "Ada rings, I hammer."},
    "cy": {"line": "Who is loud?", "reply": "Bo! No, Ada!"},
}


def directed(**direction: Any) -> LoadedScene:
    """The quay, with characters who may speak unasked."""
    scene = QUAY.scene.model_copy(update={"director": Direction(**direction)})
    characters = dict(QUAY.characters)
    for npc, more in MORE.items():
        sheet = characters[npc]
        examples = [*sheet.examples, Example(emotion="happy", **more)]
        characters[npc] = sheet.model_copy(update={"examples": examples})
    return replace(QUAY, scene=scene, characters=characters)


class InlineJournal:
    """The real store, written at once: no thread for a virtual clock to wait for."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def commit(self, batch: Batch) -> None:
        self.store.write([batch])


class FaultyStore(Store):
    """A store that cannot write the next fact of each kind in `faults`."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.faults: list[type[Fact]] = []

    def write(self, batches: Sequence[Batch]) -> None:
        for entry in (entry for batch in batches for entry in batch.entries):
            if type(entry.fact) in self.faults:
                self.faults.remove(type(entry.fact))
                raise JournalError("the journal could not be written: disk full")
        super().write(batches)


class Player:
    """A player who keeps everything they are told."""

    def __init__(self, scene: LiveScene, player_id: str, host: bool = False) -> None:
        self.id = player_id
        self.heard: list[ServerMessage] = []
        self._by_type: defaultdict[str, list[Any]] = defaultdict(list)
        self._scene = scene
        self._news = asyncio.Event()
        self._sender = Sender(player_id, f"s-{player_id}", host)

    async def join(self) -> "Player":
        info = PlayerInfo(id=self.id, name=self.id.title())
        await self._scene.join(info, self._listen, self._sender)
        return self

    def _listen(self, message: ServerMessage) -> None:
        self.heard.append(message)
        self._by_type[message.type].append(message)
        self._news.set()

    async def send(self, kind: str, **fields: Any) -> None:
        await self._scene.submit(self._sender, parse(json.dumps({"type": kind, **fields})))

    async def say(self, text: str, **fields: Any) -> None:
        await self.send("player.say", text=text, **fields)

    def of(self, kind: str) -> list[Any]:
        return self._by_type[kind]

    async def until(self, kind: str, count: int = 1) -> Any:
        """Wait until `count` messages of a kind have come; return the last of them."""
        while len(self.of(kind)) < count:
            self._news.clear()
            await self._news.wait()
        return self.of(kind)[count - 1]


@asynccontextmanager
async def live(
    store: Store | None = None,
    engine: Engine | None = None,
    rules: Rules | None = None,
    instance: str = "main",
    loaded: LoadedScene = QUAY,
) -> AsyncIterator[LiveScene]:
    """A live instance of the quay."""
    store = store or Store(":memory:")
    scene = LiveScene(
        loaded,
        instance,
        engine=engine or ScriptedEngine({"quay": QUAY}, pace_s=0.05),
        journal=InlineJournal(store),
        rules=rules or Rules(),
        wall_ms=lambda: round(1000 * asyncio.get_running_loop().time()),
    )
    scene.load(store.entries("quay", instance))
    await scene.start(store.speech("quay", instance))
    try:
        yield scene
    finally:
        await scene.close()
