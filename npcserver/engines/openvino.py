"""OpenVINO GenAI's continuous batching, as the program that host.py talks to.

    python -m npcserver.engines.openvino FOLDER [--cache-gb 1] [--chunk 256]

Requests come in as JSON lines; after each step of the pipeline one line goes out with what all
requests got from it. Knows nothing of event loops; it may block as it likes.
"""

import argparse
import codecs
import json
import os
import queue
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import openvino as ov
import openvino_genai as genai

from npcserver.engines.base import Message, Prompt
from npcserver.engines.deciding import BLOCK, Deciding, Event, outputs
from npcserver.engines.render import TEMPLATES, prompt_ids
from npcserver.engines.vocabulary import Ids, Tokens

PROPERTIES = {"KV_CACHE_PRECISION": "f16"}
"""The default cache of 8 bits moved the odds of a decision by up to 0.44 when it was extended, and
sometimes the choice; with 16 bits it was 0.13 at most, and no slower. docs/log.md"""
REMEMBERED_DECISIONS = 4096

Command = dict[str, Any]


@dataclass
class Generation:
    """A stream of words. Text goes out in whole code points and ends before a stop string."""

    id: int
    handle: Any
    tokens: Tokens
    stop: Sequence[str]
    usage: dict[str, int]
    held: str = ""
    decoder: Any = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))

    def poll(self) -> Iterator[Event]:
        """What this step brought."""
        for output in outputs(self.handle):
            for token in output.generated_ids:
                self.usage["completion_tokens"] += 1
                if token not in self.tokens.special_ids:
                    self.held += self.decoder.decode(self.tokens.bytes_of[token])
            if (cut := self._stopped()) is not None:
                self.handle.cancel()
                yield from self._last(self.held[:cut], "stop")
                return
            if output.finish_reason != genai.GenerationFinishReason.NONE:
                length = output.finish_reason == genai.GenerationFinishReason.LENGTH
                rest = self.held + self.decoder.decode(b"", final=True)
                yield from self._last(rest, "length" if length else "stop")
                return
            if text := self._ready():
                yield {"id": self.id, "text": text}

    def _stopped(self) -> int | None:
        found = [at for at in (self.held.find(stop) for stop in self.stop) if at >= 0]
        return min(found, default=None)

    def _ready(self) -> str:
        """The text that cannot be the beginning of a stop string."""
        keep = 0
        for stop in self.stop:
            for size in range(1, len(stop)):
                if self.held.endswith(stop[:size]):
                    keep = max(keep, size)
        end = len(self.held) - keep
        text, self.held = self.held[:end], self.held[end:]
        return text

    def _last(self, text: str, finish: str) -> Iterator[Event]:
        yield {"id": self.id, "text": text, "finish": finish, "usage": self.usage}

    def cancel(self) -> None:
        """Free the slot."""
        self.handle.cancel()


@dataclass
class Warming:
    """A prompt computed for later."""

    id: int
    handle: Any

    def poll(self) -> Iterator[Event]:
        """Done once its one token has come."""
        if any(True for _ in outputs(self.handle)):
            yield {"id": self.id, "done": True}

    def cancel(self) -> None:
        """Free the slot."""
        self.handle.cancel()


Job = Generation | Warming | Deciding


class Worker:
    """The pipeline and the jobs under way in it."""

    def __init__(self, folder: Path, cache_gb: int, chunk: int) -> None:
        """Args: chunk: tokens computed in a step at most; smaller, and talkers wait less."""
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = cache_gb
        scheduler.enable_prefix_caching = True
        scheduler.dynamic_split_fuse = True
        scheduler.max_num_batched_tokens = chunk
        self.pipeline = genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", PROPERTIES)
        self.tokens = Tokens(self.pipeline.get_tokenizer())
        about = folder / "model.json"
        facts = json.loads(about.read_text()) if about.exists() else {}
        self._template = TEMPLATES[facts.get("template", "chatml")]
        self._context = int(facts.get("context_tokens", 2048))
        self._jobs: dict[int, Job] = {}
        self._requests = 0
        self._decided: OrderedDict[tuple[int, int], list[float]] = OrderedDict()
        self._blocks: OrderedDict[int, None] = OrderedDict()

    # ---- requests to the pipeline ------------------------------------------------------------

    def add(self, ids: Ids, **config: Any) -> Any:
        """Put ids (T,) into the pipeline; return the handle."""
        self._requests += 1
        settings = genai.GenerationConfig(
            apply_chat_template=False, eos_token_id=self.tokens.eos, **config
        )
        tensor = ov.Tensor(np.array([ids], dtype=np.int64))
        return self.pipeline.add_request(self._requests, tensor, settings)

    def usage(self, ids: Ids) -> dict[str, int]:
        """Tokens of a prompt, and how many were computed before.

        The pipeline does not tell what it found in its cache; this counts the leading blocks that
        were asked for before, which is what it caches unless it had to make room.
        """
        cached, key, known = 0, 0, True
        for start in range(0, len(ids) - BLOCK, BLOCK):
            key = hash((key, *ids[start : start + BLOCK]))
            known = known and key in self._blocks
            cached += BLOCK * known
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > 100_000:
            self._blocks.popitem(last=False)
        return {"prompt_tokens": len(ids), "cached_tokens": cached, "completion_tokens": 0}

    def remember(self, prompt: Ids, options: list[Ids], chances: list[float]) -> None:
        """Keep a decision: asked again, its tokens would all be cached and have no scores."""
        self._decided[_key(prompt, options)] = chances
        while len(self._decided) > REMEMBERED_DECISIONS:
            self._decided.popitem(last=False)

    # ---- commands ----------------------------------------------------------------------------

    def take(self, command: Command) -> Iterator[Event]:
        """Begin what a command asks for; answer at once what can be."""
        job = command["id"]
        try:
            match command["op"]:
                case "generate":
                    self._jobs[job] = self._generate(job, command)
                case "decide":
                    yield from self._decide(job, command)
                case "warm":
                    ids = self._prompt(command, room=1)
                    self.usage(ids)
                    # A block that is cached in part would be shared by the options of a decision.
                    whole = ids[: len(ids) // BLOCK * BLOCK]
                    self._jobs[job] = Warming(job, self.add(whole or ids, max_new_tokens=1))
                case "count":
                    counts = [len(self.tokens.encode(text)) for text in command["texts"]]
                    yield {"id": job, "counts": counts}
                case "cancel":
                    if running := self._jobs.pop(job, None):
                        running.cancel()
        except (ValueError, RuntimeError) as error:
            yield {"id": job, "error": str(error).splitlines()[0]}

    def _generate(self, job: int, command: Command) -> Generation:
        sampling = command["sampling"]
        ids = self._prompt(command, room=sampling["max_tokens"])
        drawn = sampling["temperature"] > 0
        drawing = {
            "do_sample": True,
            "temperature": sampling["temperature"],
            "top_p": sampling["top_p"],
            "rng_seed": sampling["seed"],
        }
        handle = self.add(
            ids,
            max_new_tokens=sampling["max_tokens"],
            frequency_penalty=sampling["frequency_penalty"],
            stop_token_ids=self.tokens.special_ids,
            **(drawing if drawn else {}),
        )
        return Generation(job, handle, self.tokens, sampling["stop"], self.usage(ids))

    def _decide(self, job: int, command: Command) -> Iterator[Event]:
        options = [self.tokens.encode(option) for option in command["options"]]
        ids = self._prompt(command, room=max(map(len, options)) + 2)
        known = self._decided.get(_key(ids, options))
        if known is not None:
            yield {"id": job, "probabilities": known, "usage": self.usage(ids)}
        else:
            self._jobs[job] = Deciding(job, self, ids, options)

    def _prompt(self, command: Command, room: int) -> Ids:
        """The prompt's ids (T,). Raises ValueError when it does not leave `room` tokens."""
        messages = tuple(Message(role, text) for role, text in command["messages"])
        prompt = Prompt(messages, command["opening"])
        ids = prompt_ids(prompt, self._template, self.tokens)
        if len(ids) + room > self._context:
            raise ValueError(
                f"the prompt has {len(ids)} tokens; with {room} to come, "
                f"the model takes {self._context}"
            )
        return ids

    def step(self) -> list[Event]:
        """One step of the pipeline: what every job got from it."""
        if self.pipeline.has_non_finished_requests():
            self.pipeline.step()
        events: list[Event] = []
        for job in list(self._jobs.values()):
            events += (got := list(job.poll()))
            if got and got[-1].keys() & {"finish", "done", "probabilities", "error"}:
                del self._jobs[job.id]
        return events

    @property
    def running(self) -> int:
        """Jobs under way."""
        return len(self._jobs)

    @property
    def kv_usage(self) -> float:
        """Share of the cache in use, 0 to 1."""
        return float(self.pipeline.get_metrics().cache_usage) / 100


def _key(prompt: Ids, options: list[Ids]) -> tuple[int, int]:
    return hash(tuple(prompt)), hash(tuple(map(tuple, options)))


def serve(worker: Worker, commands: "queue.SimpleQueue[Command | None]", out: TextIO) -> None:
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


def _read(commands: "queue.SimpleQueue[Command | None]") -> None:
    for line in sys.stdin:
        commands.put(json.loads(line))
    commands.put(None)  # whoever asks is gone


def main() -> None:
    """Load the model, say so, and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache-gb", type=int, default=1)
    parser.add_argument("--chunk", type=int, default=256)
    options = parser.parse_args()
    # What libraries print must not mix with the protocol: it keeps the real standard output.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(options.folder, options.cache_gb, options.chunk)
    out.write(json.dumps({"ready": options.folder.name}) + "\n")
    out.flush()
    commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(commands,), daemon=True).start()
    serve(worker, commands, out)
    out.flush()
    os._exit(0)  # the pipeline's own threads may take seconds to end


if __name__ == "__main__":
    main()
