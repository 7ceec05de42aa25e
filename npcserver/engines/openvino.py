"""OpenVINO GenAI's continuous batching, as the program that host.py talks to.

    python -m npcserver.engines.openvino FOLDER [--cache-gb N] [--chunk TOKENS]

Requests come in as JSON lines; after each step of the pipeline one line goes out with what all
requests got from it. Knows nothing of event loops; it may block as it likes.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from npcserver import conversion, models
from npcserver.engines import machine
from npcserver.engines.asked import AskedBlocks
from npcserver.engines.chat import of_openvino
from npcserver.engines.deciding import Deciding, outputs
from npcserver.engines.render import asked_ids, template
from npcserver.engines.speech import Speech
from npcserver.engines.surprising import Surprising
from npcserver.engines.vocabulary import Ids, Tokens
from npcserver.engines.worker import Command, Event, run

PROPERTIES = {"KV_CACHE_PRECISION": "f16"}
"""The default cache of 8 bits moved the odds of a decision by up to 0.44 when it was extended, and
sometimes the choice; with 16 bits it was 0.13 at most, and no slower. docs/log.md"""
BLOCK = 32
"""Tokens in a block of OpenVINO's key-value cache on CPUs."""


@dataclass
class Generation:
    """A stream of words."""

    id: int
    handle: Any
    speech: Speech
    usage: dict[str, int]

    def poll(self) -> Iterator[Event]:
        """What this step brought."""
        for output in outputs(self.handle):
            text = self.speech.feed(output.generated_ids)
            if self.speech.stopped:
                self.handle.cancel()
                yield self._last(text, "stop")
                return
            if output.finish_reason != genai.GenerationFinishReason.NONE:
                length = output.finish_reason == genai.GenerationFinishReason.LENGTH
                yield self._last(text + self.speech.end(), "length" if length else "stop")
                return
            if text:
                yield {"id": self.id, "text": text}

    def _last(self, text: str, finish: str) -> Event:
        usage = self.usage | {"completion_tokens": self.speech.tokens}
        return {"id": self.id, "text": text, "finish": finish, "usage": usage}

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


Job = Generation | Warming | Deciding | Surprising


class OpenVinoWorker:
    """The pipeline and the jobs under way in it."""

    def __init__(self, folder: Path, cache_gb: int, chunk: int) -> None:
        """Args: chunk: tokens computed in a step at most; smaller, and talkers wait less."""
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = cache_gb
        scheduler.enable_prefix_caching = True
        scheduler.dynamic_split_fuse = True
        scheduler.max_num_batched_tokens = chunk
        properties = PROPERTIES | {"INFERENCE_NUM_THREADS": machine.cores()}
        self.pipeline = genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", properties)
        tokenizer = self.pipeline.get_tokenizer()
        self.tokens = Tokens(tokenizer)
        facts = models.facts(folder)
        told = facts.get("template") or of_openvino(tokenizer, self.tokens.specials)
        self._template = template(told)
        self._context = int(facts.get("context_tokens") or conversion.context_tokens(folder))
        self._jobs: dict[int, Job] = {}
        self._requests = 0
        self.usage = AskedBlocks(BLOCK).usage

        self.cache_tokens = self._measure_cache()

    def _measure_cache(self) -> int | None:
        """What the cache holds: how much of it a request of two blocks takes up."""
        handle = self.add([self.tokens.eos] * (BLOCK + 1), max_new_tokens=2, ignore_eos=True)
        self.pipeline.step()
        share = self.kv_usage
        handle.cancel()
        self.pipeline.step()
        return round(2 / share) * BLOCK if share else None

    # ---- requests to the pipeline ------------------------------------------------------------

    def add(self, ids: Ids, **config: Any) -> Any:
        """Put ids (T,) into the pipeline; return the handle."""
        self._requests += 1
        settings = genai.GenerationConfig(
            apply_chat_template=False, eos_token_id=self.tokens.eos, **config
        )
        tensor = ov.Tensor(np.array([ids], dtype=np.int64))
        return self.pipeline.add_request(self._requests, tensor, settings)

    # ---- commands ----------------------------------------------------------------------------

    def take(self, command: Command) -> Iterator[Event]:
        """Begin what a command asks for; answer at once what can be."""
        job = command["id"]
        try:
            match command["op"]:
                case "generate":
                    self._jobs[job] = self._generate(job, command)
                case "decide":
                    self._jobs[job] = self._decide(job, command)
                case "score":
                    self._jobs[job] = self._score(job, command)
                case "warm":
                    ids = self._prompt(command, room=1)
                    self.usage(ids)
                    # Requests that find the same partly filled block and go on from it at the same
                    # time write into it without a copy, and read each other's tokens.
                    whole = ids[: len(ids) // BLOCK * BLOCK]
                    if whole:
                        self._jobs[job] = Warming(job, self.add(whole, max_new_tokens=1))
                    else:
                        yield {"id": job, "done": True}
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
        speech = Speech(self.tokens, sampling["stop"])
        return Generation(job, handle, speech, self.usage(ids))

    def _decide(self, job: int, command: Command) -> Deciding:
        options = [self.tokens.encode(option) for option in command["options"]]
        ids = self._prompt(command, room=max(map(len, options)))
        return Deciding(job, self, ids, options)

    def _score(self, job: int, command: Command) -> Surprising:
        text = self.tokens.encode(command["text"])
        return Surprising(job, self, self._prompt(command, room=len(text)), text)

    def _prompt(self, command: Command, room: int) -> Ids:
        return asked_ids(command, room, self._context, self._template, self.tokens)

    def step(self) -> list[Event]:
        """One step of the pipeline: what every job got from it."""
        if self.pipeline.has_non_finished_requests():
            self.pipeline.step()
        events: list[Event] = []
        for job in list(self._jobs.values()):
            events += (got := list(job.poll()))
            if got and got[-1].keys() & {"finish", "done", "probabilities", "scores", "error"}:
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


def main() -> None:
    """Load the model, say so, and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache-gb", type=int, default=machine.cache_gb())
    parser.add_argument("--chunk", type=int, default=machine.prefill_chunk())
    options = parser.parse_args()
    run(
        lambda: OpenVinoWorker(options.folder, options.cache_gb, options.chunk), options.folder.name
    )


if __name__ == "__main__":
    main()
