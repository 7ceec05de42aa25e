"""transformers' continuous batching, as the program that host.py talks to.

    python -m npcserver.engines.torch_batching MODEL [--adapter FOLDER] [--cache-gb N]

MODEL is a folder, or a repository on the hub. On a GPU it computes in bfloat16, and the library
chooses attention and graphs; on a CPU in float32. Words come from the library's own thread; for a
decision that thread waits while the model itself is asked.

The library offers neither a frequency penalty nor a seed for each request: of `Sampling`,
`frequency_penalty` and `seed` change nothing here.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from npcserver.engines import machine
from npcserver.engines.asked import AskedBlocks
from npcserver.engines.chat import of_transformers
from npcserver.engines.render import asked_ids, template
from npcserver.engines.speech import Speech
from npcserver.engines.torch_manager import Manager, tokens_in
from npcserver.engines.torch_scoring import Prefixes, Scorer, Scoring
from npcserver.engines.torch_tokens import TorchTokens
from npcserver.engines.torch_weights import load_tokenizer, load_weights, merged
from npcserver.engines.vocabulary import Ids
from npcserver.engines.worker import Command, Event, run
from npcserver.errors import ModelError
from npcserver.models import facts

SCORED_AT_ONCE = {"cpu": 256, "cuda": 2048}
"""Tokens of a decision's prompt that are computed while all others wait."""
DECISIONS_SHARE = 4
"""One part in this many of the cache keeps the prompts of decisions."""
WAIT_S = 0.005
"""How long a step waits for tokens; a request that comes meanwhile waits as long at most."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class Generation:
    """A stream of words."""

    id: int
    request: str
    speech: Speech
    usage: dict[str, int]
    ends: frozenset[int]
    seen: int = 0

    def hear(self, output: Any) -> Iterator[Event]:
        """What has come; the manager tells all tokens each time."""
        tokens = output.generated_tokens[self.seen :]
        self.seen += len(tokens)
        text = self.speech.feed(tokens)
        if self.speech.stopped:
            yield self._last(text, "stop")
        elif output.is_finished():
            finish = "stop" if output.generated_tokens[-1] in self.ends else "length"
            yield self._last(text + self.speech.end(), finish)
        elif text:
            yield {"id": self.id, "text": text}

    def _last(self, text: str, finish: str) -> Event:
        usage = self.usage | {"completion_tokens": self.speech.tokens}
        return {"id": self.id, "text": text, "finish": finish, "usage": usage}


@dataclass
class Warming:
    """A prompt computed for later."""

    id: int
    request: str

    def hear(self, output: Any) -> Iterator[Event]:
        """Done once its one token has come."""
        if output.is_finished():
            yield {"id": self.id, "done": True}


class TorchWorker:
    """The manager and the jobs under way."""

    def __init__(
        self, model: Any, tokens: TorchTokens, told: dict[str, Any], cache_gb: int
    ) -> None:
        """Args: told: the model's `model.json`. cache_gb: of all keys and values, in GiB."""
        self._tokens = tokens
        self._ends = frozenset(tokens.special_ids)
        self._template = template(told["template"])
        room = tokens_in(cache_gb * 2**30, model)
        kept = room // DECISIONS_SHARE
        self._manager = Manager(model, self._ends, room - kept)
        self._scorer = Scorer(model, Prefixes(kept), SCORED_AT_ONCE[model.device.type])
        longest = model.config.get_text_config().max_position_embeddings
        self.cache_tokens = self._manager.capacity
        # A request that the cache could not hold would end the manager.
        self._context = min(int(told.get("context_tokens", longest)), self._manager.capacity)
        self._usage = AskedBlocks(self._manager.page).usage
        self._spoken: dict[str, Generation | Warming] = {}
        self._scored: dict[int, Scoring] = {}

    # ---- commands ----------------------------------------------------------------------------

    def take(self, command: Command) -> Iterator[Event]:
        """Begin what a command asks for; answer at once what can be."""
        job = command["id"]
        try:
            match command["op"]:
                case "generate":
                    self._generate(job, command)
                case "decide":
                    options = [self._tokens.encode(option) for option in command["options"]]
                    ids = self._prompt(command, room=max(map(len, options)))
                    self._scored[job] = Scoring(job, self._scorer, ids, options)
                case "score":  # the scorer keeps no log-probabilities along a text
                    yield {"id": job, "scores": None}
                case "warm":
                    ids = self._prompt(command, room=1)
                    self._usage(ids)
                    request = self._manager.add(ids, most=1)
                    self._spoken[request] = Warming(job, request)
                case "count":
                    counts = [len(self._tokens.encode(text)) for text in command["texts"]]
                    yield {"id": job, "counts": counts}
                case "cancel":
                    self._cancel(job)
        except (ValueError, RuntimeError) as error:
            yield {"id": job, "error": str(error).splitlines()[0]}

    def _generate(self, job: int, command: Command) -> None:
        sampling = command["sampling"]
        ids = self._prompt(command, room=sampling["max_tokens"])
        request = self._manager.add(
            ids, sampling["max_tokens"], sampling["temperature"], sampling["top_p"]
        )
        speech = Speech(self._tokens, sampling["stop"])
        self._spoken[request] = Generation(job, request, speech, self._usage(ids), self._ends)

    def _cancel(self, job: int) -> None:
        self._scored.pop(job, None)
        for spoken in [spoken for spoken in self._spoken.values() if spoken.id == job]:
            self._forget(spoken.request)

    def _forget(self, request: str) -> None:
        """Free what a request holds; what it says from now on is not heard."""
        del self._spoken[request]
        self._manager.cancel(request)

    def _prompt(self, command: Command, room: int) -> Ids:
        return asked_ids(command, room, self._context, self._template, self._tokens)

    # ---- work --------------------------------------------------------------------------------

    def step(self) -> list[Event]:
        """A chunk of every decision, and what has been said meanwhile.

        Raises:
            RuntimeError: the manager has failed; only a new process can help.
        """
        events = list(self._decided()) if self._scored else []
        for output in self._manager.news(0 if events or self._scored else WAIT_S):
            if (spoken := self._spoken.get(output.request_id)) is None:
                continue
            if output.error is not None:
                heard = [{"id": spoken.id, "error": output.error.split("\n", 1)[0]}]
            else:
                heard = list(spoken.hear(output))
            if heard and heard[-1].keys() & {"finish", "done", "error"}:
                self._forget(spoken.request)
            events += heard
        return events

    def _decided(self) -> Iterator[Event]:
        with self._manager.paused():
            for scoring in list(self._scored.values()):
                try:
                    answers = list(scoring.go_on())
                except torch.OutOfMemoryError as error:
                    answers = [{"id": scoring.id, "error": str(error).split("\n", 1)[0]}]
                if answers:
                    del self._scored[scoring.id]
                yield from answers

    @property
    def running(self) -> int:
        """Jobs under way."""
        return len(self._spoken) + len(self._scored)

    @property
    def kv_usage(self) -> float:
        """Share of the cache that words under way hold, 0 to 1."""
        return self._manager.in_use


def load(place: str, adapter: Path | None, cache_gb: int, dtype: str | None) -> TorchWorker:
    """The worker with a model.

    Raises:
        ModelError: it cannot be loaded, or there is no room for it.
    """
    on_gpu = torch.cuda.is_available()
    told = facts(Path(place)) | (facts(adapter) if adapter else {})
    try:
        tokenizer = load_tokenizer(place)
        model = load_weights(place, DTYPES[dtype or ("bfloat16" if on_gpu else "float32")])
        model = model.to("cuda" if on_gpu else "cpu")
        if adapter:
            model = merged(model, adapter)
        tokens = TorchTokens(tokenizer, _ends(model))
        told["template"] = told.get("template") or of_transformers(tokenizer, tokens.specials)
        return TorchWorker(model, tokens, told, cache_gb)
    except (OSError, ValueError, RuntimeError, MemoryError, KeyError) as error:
        raise ModelError((str(error) or repr(error)).strip().splitlines()[0]) from error


def _ends(model: Any) -> list[int]:
    """The tokens that end a text, as the model's own configuration has them."""
    ends = model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [] if ends is None else [ends]


def main() -> None:
    """Load the model, say so, and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("place", metavar="MODEL")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--cache-gb", type=int, default=machine.cache_gb())
    parser.add_argument("--dtype", choices=DTYPES)
    asked = parser.parse_args()
    run(lambda: load(asked.place, asked.adapter, asked.cache_gb, asked.dtype), asked.place)


if __name__ == "__main__":
    main()
