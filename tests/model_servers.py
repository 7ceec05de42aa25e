"""Servers of models for the tests of the remote engine: two real ones, and one that misbehaves.

What the last one does is the server's side of the wire; the engine under test is real.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from npcserver import models

Json = dict[str, Any]
HERE = Path(__file__).parent


@contextmanager
def process(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that ends with the test."""
    pipe = subprocess.PIPE
    running = subprocess.Popen(command, stdin=pipe, text=True, **options)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


@contextmanager
def llama(context: int = 1024, slots: int = 1) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """llama.cpp with the embedded model: its base URL, and the process to kill."""
    weights = models.resolve("embedded") / "weights.gguf"
    command = [sys.executable, str(HERE / "llama_server.py"), str(weights), str(context)]
    with process(
        [*command, str(slots)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        assert running.stdout
        address = running.stdout.readline().strip()
        assert address.startswith("http://"), "llama.cpp did not start"
        yield f"{address}/v1", running


@contextmanager
def transformers_serve(folder: Path, cache: Path) -> Iterator[str]:
    """`transformers serve` with the model in a folder: its base URL."""
    environment = os.environ | {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()"]
    options = ["serve", str(folder), "--device", "cpu", "--host", "127.0.0.1", "--port", "0"]
    with process([*command, *options], stderr=subprocess.PIPE, env=environment) as running:
        assert running.stderr
        for line in running.stderr:
            if found := re.search(r"running on (http://\S+)", line):
                yield f"{found[1]}/v1"
                return
        raise AssertionError("transformers serve did not start")


class Misbehaving:
    """A server on a real socket that answers each path as a test tells it.

    Args:
        url: its base URL.
        asked: the bodies of the requests that came, with their paths.
    """

    def __init__(self, **answers: "Answer") -> None:
        self.url = ""
        self.asked: list[tuple[str, Json]] = []
        self.headers: list[str] = []
        self._answers = answers

    def bodies(self, path: str) -> list[Json]:
        return [body for asked, body in self.asked if asked == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.headers.append(head)
            length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
            body = json.loads(await reader.readexactly(int(length[1])) if length else b"{}")
            path = head.split()[1].rsplit("/", 1)[-1]
            self.asked.append((path, body))
            await self._answers.get(path, DEFAULTS.get(path, refuse(404, "there is no such path")))(
                body, Wire(writer)
            )
        writer.close()


class Wire:
    """The way back to who asked."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def send(self, status: int, body: Json | str) -> None:
        """A whole answer."""
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self._head(status, f"Content-Type: application/json\r\nContent-Length: {len(data)}")
        self._writer.write(data)
        await self._writer.drain()

    def begin(self) -> None:
        """The head of a stream."""
        self._head(200, "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked")

    async def event(self, data: Json | str) -> None:
        """One event of it."""
        text = f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
        self._writer.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
        await self._writer.drain()

    def end(self) -> None:
        """The proper end of it; what breaks off leaves that out."""
        self._writer.write(b"0\r\n\r\n")

    def _head(self, status: int, headers: str) -> None:
        self._writer.write(
            f"HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}\r\n\r\n".encode()
        )


Answer = Callable[[Json, Wire], Awaitable[None]]


def give(body: Json | str) -> Answer:
    """Always the same."""

    async def answer(asked: Json, wire: Wire) -> None:
        await wire.send(200, body)

    return answer


def refuse(status: int, message: str) -> Answer:
    """An error in OpenAI's shape."""

    async def answer(asked: Json, wire: Wire) -> None:
        await wire.send(status, {"error": {"message": message}})

    return answer


async def hang_up(asked: Json, wire: Wire) -> None:
    """Nothing at all."""


def say(*pieces: str, finish: str | None = "stop", end: bool = True) -> Answer:
    """A streamed completion; asked for no stream, the same in one piece."""

    async def answer(asked: Json, wire: Wire) -> None:
        if not asked.get("stream"):
            await wire.send(200, {"choices": [{"text": "".join(pieces), "finish_reason": finish}]})
            return
        wire.begin()
        for piece in pieces:
            await wire.event({"choices": [{"text": piece, "finish_reason": None}]})
        if finish:
            await wire.event({"choices": [{"text": "", "finish_reason": finish}]})
        if end:
            await wire.event("[DONE]")
            wire.end()

    return answer


def in_turn(*answers: Answer) -> Answer:
    """One after the other; the last one stays."""
    left = list(answers)

    async def answer(asked: Json, wire: Wire) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(asked, wire)

    return answer


def once_started(answer: Answer, *, probe: Answer = say("x")) -> Answer:  # noqa: B008
    """What is asked to find out what the server can do is answered plainly; then `answer`."""

    async def chosen(asked: Json, wire: Wire) -> None:
        words = asked.get("stream") and asked["max_tokens"] > 1
        await (answer if words else probe)(asked, wire)

    return chosen


DEFAULTS: dict[str, Answer] = {
    "models": give({"object": "list", "data": [{"id": "a-model"}]}),
    "completions": say("Hello", " there."),
}


@asynccontextmanager
async def misbehaving(**answers: Answer) -> AsyncIterator[Misbehaving]:
    """A server whose paths, by their last part, are answered as told; the others plainly."""
    server = Misbehaving(**answers)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    async with listener:
        yield server
