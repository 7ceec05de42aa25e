"""Running the application on a port: bind first, load, listen, tell that it is ready.

The port is taken before the model is loaded, so that a taken one is told at once; it listens only
when everything is loaded.
"""

import logging
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

import uvicorn
from fastapi import FastAPI
from uvicorn.config import WS_PROTOCOLS

from npcserver.app import Startup, create_app
from npcserver.config import Settings
from npcserver.errors import SettingError

PING_S = 20.0
SHUTDOWN_S = 5
Announce = Callable[[str, Startup, float], None]
"""Told once: the server's URL, how starting went, and the seconds since `begun`."""


def run(settings: Settings, announce: Announce, begun: float) -> None:
    """Serve until a signal stops it.

    Args:
        begun: when the process began, by `time.perf_counter`.

    Raises:
        NpcError: it could not start, and what to do.
    """
    _quiet_logs()
    with _bind(settings) as listener:
        app = create_app(settings)
        server = _Server(_config(app, settings), app)
        url = _url(settings.host, listener)
        server.on_ready = lambda startup: announce(url, startup, time.perf_counter() - begun)
        with suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has stopped
            server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """Runs the application's start and stop itself, so that its errors reach the caller."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self._life = AsyncExitStack()
        self.on_ready: Callable[[Startup], None] = lambda startup: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load, then listen. Raises NpcError when something cannot be loaded."""
        await self._life.enter_async_context(self._app.router.lifespan_context(self._app))
        await super().startup(sockets)
        self.on_ready(self._app.state.startup)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close every connection, then everything else."""
        await super().shutdown(sockets)
        await self._life.aclose()


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    sansio = "websockets-sansio"
    return uvicorn.Config(
        app,
        ws=sansio if sansio in WS_PROTOCOLS else "websockets",
        ws_max_size=settings.frame_bytes,
        ws_ping_interval=PING_S,
        # Its windows are 45 kB a connection, and messages of a few words hardly shrink.
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


def _bind(settings: Settings) -> socket.socket:
    """Take the port. Raises SettingError when it cannot be had."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        # `localhost` is often two addresses; every client finds the IPv4 one.
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise SettingError(f"host: cannot listen on {settings.host}: {error.strerror}") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise SettingError(
            f"port: cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "choose another with --port (0 finds a free one)"
        ) from None
    return listener


def _url(host: str, listener: socket.socket) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{listener.getsockname()[1]}/"


def _quiet_logs() -> None:
    """Warnings and errors only: uvicorn's own chatter would bury what the server says."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").addFilter(_no_frame_faults)


def _no_frame_faults(record: logging.LogRecord) -> bool:
    """A client's bad UTF-8 is answered with a close code; a traceback a frame would fill disks."""
    fault = record.exc_info[1] if record.exc_info else None
    return not isinstance(fault, UnicodeDecodeError)
