"""An engine in a process of its own, so that the event loop never waits for it.

Speaks JSON lines with the program behind it (openvino.py is one). When that dies, what it was doing
fails with EngineError, it is started again, and what is asked next waits for it.
"""

import asyncio
import contextlib
import json
import logging
import sys
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from npcserver.engines.base import (
    Decision,
    EngineStatus,
    Piece,
    Prompt,
    Sampling,
    Usage,
)
from npcserver.engines.sources import Source
from npcserver.errors import EngineError, ModelError

log = logging.getLogger(__name__)

LINE_BYTES = 16 * 2**20
READY_SECONDS = 60.0
"""How long a request waits for an engine that is starting."""
CLOSE_SECONDS = 5.0
BACKOFF_SECONDS = (0.1, 1.0, 5.0, 15.0)


class HostedEngine:
    """An Engine whose work is done by another process."""

    def __init__(self, command: Sequence[str], model: str, name: str) -> None:
        """Args: command: the program. model, name: how `status` calls them."""
        self._command = list(command)
        self._model = model
        self._name = name
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._answers: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._last_id = 0
        self._running = 0
        self._kv_usage = 0.0
        self._cache_tokens: int | None = None
        self._restarts = 0
        self._complaints: deque[str] = deque(maxlen=5)

    # ---- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the program; returns once it can answer. Raises ModelError if it cannot load."""
        await self._launch()
        self._keeper = asyncio.create_task(self._keep(), name=f"engine {self._name}")

    async def close(self) -> None:
        """End the program; what it was doing fails."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._fail_all("the engine is closed")
        if (process := self._process) is None or process.returncode is not None:
            return
        assert process.stdin
        process.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _launch(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
        )
        self._process = process
        self._listening = asyncio.create_task(self._listen(process))
        assert process.stdout
        line = await process.stdout.readline()
        if not line:
            await process.wait()
            await self._listening
            raise ModelError(f"the engine could not load {self._model}: {self._complaint}")
        self._cache_tokens = json.loads(line).get("cache_tokens")
        self._complaints.clear()  # what it said while it loaded explains no later death
        self._ready.set()

    async def _keep(self) -> None:
        """Read what the program says; when it dies, start it again."""
        failures = 0
        while True:
            process = self._process
            assert process and process.stdout
            while (line := await process.stdout.readline()) and self._take(line):
                failures = 0
            if line:
                process.kill()  # what it says makes no sense; a fresh one may do better
            self._ready.clear()
            self._running = 0
            code = await process.wait()
            self._fail_all("the engine died; it is being started again")
            self._restarts += 1
            log.warning("engine %s died (exit %s): %s", self._name, code, self._complaint)
            await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
            failures += 1
            with contextlib.suppress(ModelError):
                await self._launch()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr
        while line := await process.stderr.readline():
            self._complaints.append(line.decode(errors="replace").strip())

    @property
    def _complaint(self) -> str:
        return self._complaints[-1] if self._complaints else "it said nothing"

    def _take(self, line: bytes) -> bool:
        """Hand a line's events to those who wait; False if it is not such a line."""
        try:
            said = json.loads(line)
            self._running, self._kv_usage = said["running"], said["kv"]
            events = [(event["id"], event) for event in said["events"]]
        except (ValueError, KeyError, TypeError):
            return False
        for job, event in events:
            if (answers := self._answers.get(job)) is not None:
                answers.put_nowait(event)
        return True

    def _fail_all(self, message: str) -> None:
        for answers in self._answers.values():
            answers.put_nowait({"error": message})

    # ---- requests ----------------------------------------------------------------------------

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Stream the continuation of `prompt`. Closing the iterator cancels the request."""
        async with self._asked("generate", prompt, sampling=asdict(sampling)) as answers:
            while True:
                event = await _answer(answers)
                finish = event.get("finish")
                usage = Usage(**event["usage"]) if finish else None
                yield Piece(event["text"], usage, finish)
                if finish:
                    return

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        """Score each option as the very next text after `prompt`."""
        async with self._asked("decide", prompt, options=list(options)) as answers:
            event = await _answer(answers)
            return Decision(tuple(event["probabilities"]), Usage(**event["usage"]))

    async def score(self, prompt: Prompt, text: str) -> list[tuple[str, float]] | None:
        """The pieces of `text` and the log-probability of each; None where it cannot tell."""
        async with self._asked("score", prompt, text=text) as answers:
            scores = (await _answer(answers))["scores"]
            return None if scores is None else [(piece, log) for piece, log in scores]

    async def warm(self, prompt: Prompt) -> None:
        """Compute `prompt` now."""
        async with self._asked("warm", prompt) as answers:
            await _answer(answers)

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text."""
        async with self._asked("count", None, texts=list(texts)) as answers:
            return list((await _answer(answers))["counts"])

    def status(self) -> EngineStatus:
        """What it is doing now."""
        return EngineStatus(
            self._name,
            self._model,
            ready=self._ready.is_set(),
            running=self._running,
            kv_usage=self._kv_usage,
            cache_tokens=self._cache_tokens,
            restarts=self._restarts,
        )

    @contextlib.asynccontextmanager
    async def _asked(
        self, op: str, prompt: Prompt | None, **fields: Any
    ) -> AsyncGenerator[asyncio.Queue[dict[str, Any]], None]:
        """Send a request; its answers come in the queue. Leaving early cancels it."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise EngineError("the engine is not ready") from None
        if prompt is not None:
            fields["messages"] = [(m.role, m.text) for m in prompt.messages]
            fields["opening"] = prompt.opening
        self._last_id += 1
        job = self._last_id
        self._answers[job] = asyncio.Queue()
        try:
            self._send({"id": job, "op": op, **fields})
            yield self._answers[job]
        finally:
            del self._answers[job]
            if self._ready.is_set():
                self._send({"id": job, "op": "cancel"})

    def _send(self, command: dict[str, Any]) -> None:
        assert self._process and self._process.stdin
        # A dead program is noticed by `_keep`, which fails what waits for it.
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._process.stdin.write(json.dumps(command).encode() + b"\n")


async def _answer(answers: asyncio.Queue[dict[str, Any]]) -> dict[str, Any]:
    event = await answers.get()
    if "error" in event:
        raise EngineError(event["error"])
    return event


def openvino(folder: Path, cache_gb: int | None, name: str | None = None) -> HostedEngine:
    """The OpenVINO engine with the model in `folder`, not started yet.

    Args:
        cache_gb: for the key-value cache; None: what fits the machine.
        name: how `status` calls the model; without it, as the folder.
    """
    program = [sys.executable, "-m", "npcserver.engines.openvino", str(folder)]
    return HostedEngine([*program, *_cache(cache_gb)], name or folder.name, "openvino")


def transformers(source: Source, cache_gb: int | None) -> HostedEngine:
    """The transformers engine with the model and adapter of `source`, not started yet."""
    program = [sys.executable, "-m", "npcserver.engines.torch_batching", source.place]
    program += ["--adapter", str(source.adapter)] if source.adapter else []
    return HostedEngine([*program, *_cache(cache_gb)], source.name, "transformers")


def _cache(gigabytes: int | None) -> list[str]:
    return ["--cache-gb", str(gigabytes)] if gigabytes else []
