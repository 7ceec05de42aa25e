"""One player's socket: let in, receive, send in order, resume.

Everything a client sends is bounded here and validated once (protocol.parse); what it is answered
leaves through its session's log. Knows nothing of scenes but how to submit to one.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterator

from fastapi import WebSocket, WebSocketDisconnect

from npcserver import access, protocol
from npcserver.access import Visitor
from npcserver.bounds import Bucket
from npcserver.errors import Closed, NpcError, Rejected
from npcserver.hosting import Sender
from npcserver.lobby import Lobby
from npcserver.protocol import (
    Ack,
    BadFrame,
    ClientMessage,
    ErrorBody,
    ErrorMessage,
    PlayerSay,
    SessionStart,
)
from npcserver.scene import LiveScene
from npcserver.session import Session

log = logging.getLogger(__name__)

SUBPROTOCOL = "npc.v1"
HELLO_SECONDS = 10.0
"""How long a fresh connection may stay silent."""
BURST_SECONDS = 3
FLOOD = 10
"""Refusals, in bursts, after which a flooding client is closed."""
CLOSE_SECONDS = 3.0


async def serve(socket: WebSocket, lobby: Lobby, scene: str, instance: str) -> None:
    """Serve one connection until it ends."""
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    address = socket.client.host if socket.client else ""
    try:
        with _counted(lobby.per_address, address, lobby.settings.connections_per_address):
            visitor = _admit(socket, lobby, scene, instance)
            await _Connection(socket, lobby, visitor).run(scene, instance)
    except Closed as closed:
        await _close(socket, closed)
    except (WebSocketDisconnect, RuntimeError):
        pass  # the client is gone; there is nobody left to tell


def _admit(socket: WebSocket, lobby: Lobby, scene: str, instance: str) -> Visitor:
    """Whether this connection may come in. Raises Closed."""
    tokens = [each for each in socket.scope.get("subprotocols", []) if each.startswith("token.")]
    offered = tokens[0].removeprefix("token.") if tokens else None
    visitor = access.admit(socket.headers, lobby.settings, scene, offered)
    if scene not in lobby.scenes:
        raise Closed(f"there is no scene {scene[:40]!r}", 4404, "no_such_scene")
    if not protocol.is_id(instance):
        raise Closed("an instance is named by letters, digits, _ . and -", 4404, "bad_instance")
    return visitor


@contextlib.contextmanager
def _counted(counts: Counter[str], key: str, most: int) -> Iterator[None]:
    """Count a connection while it lasts. Raises Closed when there are too many."""
    if counts[key] >= most:
        raise Closed(f"{most} connections are open already", 1013, "too_many_connections")
    counts[key] += 1
    try:
        yield
    finally:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]


async def _close(socket: WebSocket, closed: Closed) -> None:
    """Say why, then close."""
    error = ErrorMessage(code=closed.code, message=closed.message, fatal=True)
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            if closed.code != "too_slow":  # it would wait behind all the others
                await socket.send_text(f'{error.wire()[:-1]},"seq":0}}')
            await socket.close(closed.close_code, closed.code)


class _Connection:
    """An admitted connection."""

    def __init__(self, socket: WebSocket, lobby: Lobby, visitor: Visitor) -> None:
        self._socket = socket
        self._lobby = lobby
        self._visitor = visitor
        rate = lobby.settings.messages_per_second
        self._messages = Bucket(rate, rate * BURST_SECONDS)
        self._evicted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, scene: str, instance: str) -> None:
        """Open the session, then receive and send until either ends. Raises Closed."""
        start = await self._hello()
        player = start.player
        if self._visitor.player not in (None, player.id):
            raise Closed(f"the token is for player {self._visitor.player!r}", 1008, "wrong_player")
        most = self._lobby.settings.connections_per_player
        with _counted(self._lobby.per_player, player.id, most):
            try:
                session, live, cursor = await self._lobby.enter(
                    scene, instance, player, start.resume, self._visitor.host, self._evict
                )
            except Rejected as error:
                raise Closed(error.message, 4400, error.code) from error
            if start.id is not None:
                session.push(Ack(ref=start.id, status="ok"))
            try:
                await self._pump(session, live, cursor)
            finally:
                self._lobby.leave(session, self._evict)

    def _evict(self) -> None:
        if not self._evicted.done():
            self._evicted.set_result(None)

    async def _hello(self) -> SessionStart:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                message = protocol.parse(await self._frame())
        except TimeoutError:
            raise Closed("send session.start first", 4400, "no_session") from None
        except BadFrame as error:
            raise Closed(error.message, 4400, error.code) from None
        if not isinstance(message, SessionStart):
            raise Closed("send session.start first", 4400, "no_session")
        return message

    async def _frame(self) -> str:
        """The next text frame. Raises BadFrame for a binary one."""
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1006))
        if event.get("text") is None:
            raise BadFrame("frames are JSON text, not binary", "binary_frame")
        return str(event["text"])

    async def _pump(self, session: Session, live: LiveScene, cursor: int) -> None:
        """Receive and send until one of them ends, or the client is replaced or too slow."""
        session.attach(cursor, self._lobby.settings.send_queue)
        tasks: set[asyncio.Future[None]] = {
            asyncio.create_task(self._receive(session, live)),
            asyncio.create_task(self._send(session)),
            asyncio.create_task(self._fell_behind(session)),
        }
        try:
            done, _ = await asyncio.wait(
                {*tasks, self._evicted}, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._evicted in done:
            raise Closed("the player connected elsewhere", 4409, "replaced")
        for task in done:
            task.result()

    async def _send(self, session: Session) -> None:
        while True:
            session.news.clear()
            frames = session.unsent()
            if not frames:
                await session.news.wait()
            for frame in frames:
                await self._socket.send_text(frame)
                session.sent()

    async def _fell_behind(self, session: Session) -> None:
        await session.overflow.wait()
        raise Closed("too many messages wait for this client; resume later", 1013, "too_slow")

    async def _receive(self, session: Session, live: LiveScene) -> None:
        while True:
            try:
                message = protocol.parse(await self._frame())
            except BadFrame as error:
                if self._in_time(session, error.ref):
                    _refuse(session, error.ref, error)
                continue
            if self._in_time(session, message.id):
                # Shielded: a socket that drops now must not leave it unknown what was acted on.
                await asyncio.shield(self._act(session, live, message))

    def _in_time(self, session: Session, ref: str | None) -> bool:
        """Whether this message may be looked at; if not, say so. Raises Closed on a flood."""
        if self._messages.take(asyncio.get_running_loop().time()):
            return True
        debt = self._messages.debt
        if debt > FLOOD * self._messages.burst:
            raise Closed("this connection floods the server", 1013, "flooding")
        # Without an id there is no ack to send; one error a burst tells enough.
        if ref is not None or debt % self._messages.burst <= 1:
            rate = self._lobby.settings.messages_per_second
            error = Rejected(f"more than {rate} messages a second; slow down", "rate_limited")
            _refuse(session, ref, error)
        return False

    async def _act(self, session: Session, live: LiveScene, message: ClientMessage) -> None:
        if message.id is not None and (ack := session.answered(message.id)):
            session.push(ack)
            return
        try:
            self._check(session, message)
            sender = Sender(session.player.id, session.id, self._visitor.host)
            await live.submit(sender, message)
        except NpcError as error:
            _refuse(session, message.id, error)
        else:
            if message.id is not None:
                session.acknowledge(Ack(ref=message.id, status="ok"))

    def _check(self, session: Session, message: ClientMessage) -> None:
        """The bounds that depend on settings. Raises Rejected."""
        if isinstance(message, SessionStart):
            raise Rejected("the session has started already", "already_started")
        if not isinstance(message, PlayerSay):
            return
        settings = self._lobby.settings
        if len(message.text) > settings.line_chars:
            raise Rejected(f"text: at most {settings.line_chars} characters a line", "too_long")
        if not session.lines.take(asyncio.get_running_loop().time()):
            wait = session.lines.wait_s()
            raise Rejected(
                f"at most {settings.lines_per_minute} lines a minute; wait {wait:.0f} s", "too_fast"
            )


def _refuse(session: Session, ref: str | None, error: NpcError) -> None:
    """Tell the client: as the one ack of a message with an id, else as an error."""
    if ref is None:
        session.push(ErrorMessage(code=error.code, message=error.message))
        return
    body = ErrorBody(code=error.code, message=error.message)
    session.push(Ack(ref=ref, status="rejected", error=body))
