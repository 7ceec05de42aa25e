"""A client of the wire protocol: connect, say, read what comes.

Small on purpose: read it before you write one in your game's language. Knows the protocol's
messages as plain dictionaries, so that a newer server's fields do no harm. It does not resume.
"""

import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from itertools import count
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from npcserver.errors import Closed, NpcError, Rejected

Message = dict[str, Any]
MAX_FRAME = 4_194_304
"""A snapshot of a large scene is the largest message there is."""


class Client:
    """One player's connection, its session started.

    Args:
        snapshot: the `scene.snapshot` that the session began with.
    """

    def __init__(self, socket: ClientConnection, player: str) -> None:
        self.player = player
        self.snapshot: Message = {}
        self._socket = socket
        self._ids = (f"m{number}" for number in count(1))
        self._last_error: Message = {}

    async def start(self, name: str) -> None:
        """Open the session. Raises Closed when the server refuses it."""
        player = {"id": self.player, "name": name}
        await self.send("session.start", protocol=1, player=player)
        async for message in self.messages():
            if message["type"] == "scene.snapshot":
                self.snapshot = message
                return

    async def send(self, kind: str, **fields: Any) -> str:
        """Send one message; returns the `id` it was given, which its `ack` will name."""
        message_id = next(self._ids)
        try:
            await self._socket.send(json.dumps({"type": kind, "id": message_id, **fields}))
        except ConnectionClosed:
            async for _ in self.messages():
                pass  # what the server said before it closed holds the reason
        return message_id

    async def say(self, text: str, to: Iterable[str] = (), volume: str = "talk") -> str:
        """Say a line, to somebody or to whoever hears it; returns the line's `id`."""
        return await self.send("player.say", text=text, to=list(to), volume=volume)

    async def messages(self) -> AsyncIterator[Message]:
        """Everything the server says from now on. Raises Closed when the connection ends."""
        while True:
            try:
                message: Message = json.loads(await self._socket.recv())
            except ConnectionClosed as error:
                raise self._closed(error) from None
            if message["type"] == "error":
                self._last_error = message
            yield message

    async def reply(self, line_id: str) -> Message:
        """The `turn.done` of the first turn that answers a line.

        Raises:
            Rejected: the line was refused, and why.
            Closed: the connection ended first.
        """
        turn_id = ""
        async for message in self.messages():
            match message:
                case {"type": "ack", "ref": ref, "status": "rejected"} if ref == line_id:
                    raise Rejected(message["error"]["message"], message["error"]["code"])
                case {"type": "turn.started", "in_reply_to": ref} if ref == line_id and not turn_id:
                    turn_id = message["turn_id"]
                case {"type": "turn.done", "turn_id": done} if done == turn_id:
                    return message
        raise AssertionError("messages() ends by raising only")

    def _closed(self, error: ConnectionClosed) -> Closed:
        """Why the server closed: in its own words, where it said any."""
        code = error.rcvd.code if error.rcvd else 1006
        said = self._last_error if self._last_error.get("fatal") else {}
        reason = said.get("message") or (error.rcvd.reason if error.rcvd else "") or "no reason"
        return Closed(f"the connection ended ({code}): {reason}", code, said.get("code", "closed"))


@asynccontextmanager
async def connect(
    url: str,
    scene: str,
    *,
    player: str,
    name: str | None = None,
    instance: str = "main",
    token: str | None = None,
) -> AsyncIterator[Client]:
    """A client in a scene, its session started.

    Args:
        url: where the server is, `ws://127.0.0.1:8000` or as `serve` says it, `http://…`.
        player: the player's id; a token is good for one only.
        name: what characters call the player; without it, the id.

    Raises:
        NpcError: there is no server (`unreachable`).
        Closed: the server refused the connection or the session.
    """
    query = urlencode({"instance": instance})
    base = re.sub("^http", "ws", url.rstrip("/"))
    uri = f"{base}/v1/scenes/{quote(scene, safe='')}/ws?{query}"
    try:
        socket = await open_socket(
            uri,
            additional_headers={"Authorization": f"Bearer {token}"} if token else None,
            max_size=MAX_FRAME,
            proxy=None if is_here(url) else True,
        )
    except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as error:
        raise unreachable(url, error) from None
    async with socket:
        client = Client(socket, player)
        await client.start(name or player)
        yield client


def is_here(url: str) -> bool:
    """Whether a URL names this machine, which no proxy can reach."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def unreachable(url: str, error: Exception) -> NpcError:
    """The error for a server that does not answer."""
    return NpcError(
        f"no npcserver answers at {url} ({error}); start one with `npcserver serve`, "
        "or name another with --url",
        "unreachable",
    )
