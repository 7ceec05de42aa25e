"""The program's side of an engine in a process of its own; host.py is the server's side.

Requests come in as JSON lines; after each step one line goes out with what all requests got from
it. Knows nothing of models. It may block as it likes: nobody's event loop runs here.
"""

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TextIO

from npcserver.errors import ModelError

Command = dict[str, Any]
Event = dict[str, Any]
Commands = queue.SimpleQueue[Command | None]


class Worker(Protocol):
    """What does the work: takes commands, and goes on a step at a time."""

    def take(self, command: Command) -> Iterator[Event]:
        """Begin what a command asks for; answer at once what can be."""

    def step(self) -> list[Event]:
        """Go on with everything under way; what every job got from it."""

    @property
    def running(self) -> int:
        """Jobs under way."""

    @property
    def kv_usage(self) -> float:
        """Share of the cache in use, 0 to 1."""

    @property
    def cache_tokens(self) -> int | None:
        """Tokens that the cache holds; None where nobody knows."""


def serve(worker: Worker, commands: Commands, out: TextIO) -> None:
    """Work until the commands end. Sleeps when there is nothing to do."""
    while True:
        events: list[Event] = []
        while not commands.empty() or not worker.running:
            command = commands.get()
            if command is None:
                return
            events += worker.take(command)
            if events and not worker.running:
                break
        events += worker.step()
        if events:
            line = {"events": events, "running": worker.running, "kv": worker.kv_usage}
            out.write(json.dumps(line) + "\n")
            out.flush()


def run(load: Callable[[], Worker], name: str) -> None:
    """Load the worker, say so, serve, and end the process."""
    # What libraries print must not mix with the protocol: it keeps the real standard output.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    commands: Commands = queue.SimpleQueue()
    code = 0
    try:
        worker = load()
        out.write(json.dumps({"ready": name, "cache_tokens": worker.cache_tokens}) + "\n")
        out.flush()
        threading.Thread(target=_read, args=(commands,), daemon=True).start()
        serve(worker, commands, out)
        out.flush()
    except ModelError as error:
        print(error.message, file=sys.stderr)
        code = 1
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)  # a library's own threads may take seconds to end, or never end


def _read(commands: Commands) -> None:
    for line in sys.stdin:
        commands.put(json.loads(line))
    commands.put(None)  # whoever asks is gone
