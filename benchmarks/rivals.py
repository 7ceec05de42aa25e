"""What a studio could use instead, on the same prompts: the engine alone, llama.cpp's server.

Each runs in a process of its own, which is gone before the next begins.
"""
# ruff: noqa: PLC0415 - each process imports what it runs

import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

THREADS = 2
Result = TypeVar("Result")


@dataclass
class Answer:
    """One request: seconds to the first token and to the end, and the tokens that came."""

    first: float
    whole: float
    tokens: int


@dataclass(frozen=True)
class Work:
    """What every rival is given.

    Args:
        personas: prompts' common beginnings, computed before the clock starts; and
        foreseen: longer ones, for a rival that keeps them all. The server computes both at load.
        rehearsal: a prompt of each talker, answered at once before the clock starts.
        prompts: for each talker, what to answer, one after the other.
        tokens: the length of each reply.
        together: talkers wait for each other before each request.
    """

    personas: Sequence[str]
    foreseen: Sequence[str]
    rehearsal: Sequence[str]
    prompts: Sequence[Sequence[str]]
    tokens: int
    together: bool = False


@dataclass
class Outcome:
    """What came of it."""

    answers: list[Answer] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def tokens_per_s(self) -> float:
        """Tokens of replies a second, all talkers together."""
        return sum(answer.tokens for answer in self.answers) / self.seconds


def in_a_process(run: Callable[..., Result], *args: Any) -> Result:
    """Run a rival in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *args).result()


def engine_alone(folder: Path, work: Work, drawing: dict[str, Any], chunk: int) -> Outcome:
    """OpenVINO GenAI's continuous batching, asked directly: no sockets, no scenes."""
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    from npcserver.engines import machine
    from npcserver.engines.openvino import PROPERTIES

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1
    scheduler.enable_prefix_caching = True
    scheduler.dynamic_split_fuse = True
    scheduler.max_num_batched_tokens = chunk
    properties = PROPERTIES | {"INFERENCE_NUM_THREADS": machine.cores()}  # as the server's
    pipeline = genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", properties)
    tokenizer = pipeline.get_tokenizer()
    number = 0

    def ask(text: str, tokens: int) -> Any:
        nonlocal number
        number += 1
        ids = np.array(tokenizer.encode(text, add_special_tokens=False).input_ids.data, np.int64)
        config = genai.GenerationConfig(
            apply_chat_template=False, max_new_tokens=tokens, ignore_eos=True, **drawing
        )
        return pipeline.add_request(number, ov.Tensor(ids), config)

    for beginning in (*work.personas, *work.foreseen):
        _kept = ask(beginning, 1)
        while pipeline.has_non_finished_requests():
            pipeline.step()
    _kept = [ask(text, work.tokens) for text in work.rehearsal]
    while pipeline.has_non_finished_requests():
        pipeline.step()
    outcome, begun = Outcome(), time.perf_counter()
    left = [list(each) for each in work.prompts]
    talking: dict[int, tuple[Any, float, Answer]] = {}
    while any(left) or talking:
        waiting = [n for n, prompts in enumerate(left) if prompts and n not in talking]
        if not work.together or not talking:
            for n in waiting:
                handle = ask(left[n].pop(0), work.tokens)
                talking[n] = (handle, time.perf_counter(), Answer(0.0, 0.0, 0))
        pipeline.step()
        now = time.perf_counter()
        for n, (handle, asked, answer) in list(talking.items()):
            while handle.can_read():
                for output in handle.read().values():
                    answer.tokens += len(output.generated_ids)
                    answer.first = answer.first or now - asked
            if answer.tokens >= work.tokens:
                answer.whole = now - asked
                outcome.answers.append(answer)
                del talking[n]
    outcome.seconds = time.perf_counter() - begun
    return outcome


def llama_cpp(gguf: Path, work: Work, drawing: dict[str, Any]) -> Outcome:
    """llama.cpp's own server, as many slots as talkers, over HTTP with streaming."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_parallel = len(work.prompts)
    params.n_ctx = 1024 * len(work.prompts)
    params.cpuparams.n_threads = THREADS
    params.cpuparams_batch.n_threads = THREADS
    params.cont_batching = True
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    server = xllamacpp.Server(params)
    return asyncio.run(_over_http(server.listening_address, work, drawing))


async def _over_http(url: str, work: Work, drawing: dict[str, Any]) -> Outcome:
    # A connection of its own for each request: llama.cpp closes those that are kept at times.
    fresh = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=url, timeout=600, trust_env=False, limits=fresh
    ) as client:
        for persona in work.personas:
            await _ask(client, persona, 1, drawing)
        await asyncio.gather(*(_ask(client, text, work.tokens, drawing) for text in work.rehearsal))
        outcome, begun = Outcome(), time.perf_counter()
        barrier = asyncio.Barrier(len(work.prompts))

        async def talker(prompts: Sequence[str]) -> None:
            for prompt in prompts:
                if work.together:
                    await barrier.wait()
                outcome.answers.append(await _ask(client, prompt, work.tokens, drawing))

        await asyncio.gather(*(talker(prompts) for prompts in work.prompts))
        outcome.seconds = time.perf_counter() - begun
        return outcome


async def _ask(
    client: httpx.AsyncClient, prompt: str, tokens: int, drawing: dict[str, Any]
) -> Answer:
    body = {
        "prompt": prompt,
        "n_predict": tokens,
        "ignore_eos": True,
        "cache_prompt": True,
        "stream": True,
        "temperature": drawing.get("temperature", 0),
        "top_p": drawing.get("top_p", 1.0),
        "frequency_penalty": drawing.get("frequency_penalty", 0.0),
    }
    asked, answer = time.perf_counter(), Answer(0.0, 0.0, 0)
    async with client.stream("POST", "/completion", json=body) as response:
        response.raise_for_status()
        async for text in response.aiter_lines():
            if not text.startswith("data: "):
                continue
            data = json.loads(text.removeprefix("data: "))
            answer.first = answer.first or time.perf_counter() - asked
            answer.tokens = data.get("tokens_predicted") or answer.tokens + 1
    answer.whole = time.perf_counter() - asked
    return answer
