"""A real server on a real port in a test, and a client that knows nothing but the protocol."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from npcserver.app import create_app
from npcserver.config import Settings

SCENES = Path(__file__).parent / "data"
PATIENCE_S = 20.0
"""How long a client waits for what must come; only a failing test waits that long."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, up: threading.Event) -> None:
        super().__init__(config)
        self._up = up

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._up.set()


@contextmanager
def serving(tmp_path: Path, **settings: Any) -> Iterator[str]:
    """A server with the quay, played by the scripted engine; yields its `host:port`."""
    quay = {"engine": "scripted", "scenes": SCENES, "written_answers": False}
    given = {**quay, "data": tmp_path, "port": 0, **settings}
    config = uvicorn.Config(
        create_app(Settings(**given)),
        port=0,
        log_level="critical",
        ws="websockets-sansio",
        ws_max_size=Settings(**given).frame_bytes,
    )
    started = threading.Event()
    server = _Server(config, started)

    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    assert started.wait(PATIENCE_S)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


class Client:
    """One connection. Keeps every message; waits for those of a kind."""

    def __init__(self, socket: ClientConnection, player: str) -> None:
        self.socket = socket
        self.player = player
        self.messages: list[dict[str, Any]] = []
        self.session_id = ""

    async def start(self, resume: dict[str, Any] | None = None) -> dict[str, Any]:
        fields: dict[str, Any] = {"player": {"id": self.player, "name": self.player.title()}}
        if resume:
            fields["resume"] = resume
        await self.send("session.start", protocol=1, **fields)
        started = await self.until("session.started")
        self.session_id = started["session_id"]
        return started

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def read(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            message: dict[str, Any] = json.loads(await self.socket.recv())
        self.messages.append(message)
        return message

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Read on to the next message of a kind whose fields are as given."""
        while True:
            message = await self.read()
            if message["type"] == kind and fields.items() <= message.items():
                return message

    async def closed(self) -> int:
        """Read to the end; return the close code."""
        with suppress(ConnectionClosed):
            while True:
                await self.read()
        assert self.socket.close_code is not None
        return self.socket.close_code

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]


@asynccontextmanager
async def client(
    address: str,
    player: str = "kit",
    *,
    scene: str = "quay",
    instance: str = "main",
    start: bool = True,
    **options: Any,
) -> AsyncIterator[Client]:
    """A connected client, its session started."""
    uri = f"ws://{address}/v1/scenes/{scene}/ws?instance={instance}"
    async with connect(uri, max_size=2**24, **options) as socket:
        new = Client(socket, player)
        if start:
            await new.start()
        yield new
