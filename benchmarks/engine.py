"""How fast an engine is without sockets and scenes, against transformers alone on the same prompts.

    python benchmarks/engine.py --out benchmarks/results/engine-cpu.json --talkers 1 8

A machine with a GPU and without the weights needs the model's shape and tokenizer only; weights
drawn anew are as fast. There the whole run, an 8-billion-parameter Llama too, is one call:

    python benchmarks/train.py --data data/mine --out … --shell models/shell
    python benchmarks/engine.py --model models/shell --draw as-it-is 8b --out … --talkers 1 32 128

In turns: the engine as the server runs it, and transformers' own `generate_batch`; each asks the
same prompts for replies of one length. On a GPU whose memory is known it adds the share of the
roofline: every step reads all weights once, so no more than talkers × bandwidth / weights tokens a
second can be made.
"""
# ruff: noqa: PLC0415 - torch is imported where it computes

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from rivals import Answer, Outcome, Work, in_a_process
from serve import cast as people
from serve import machine, outcome, tell, work

from npcserver import models
from npcserver.engines import host, sources
from npcserver.engines.base import Message, Prompt, Sampling
from npcserver.engines.host import HostedEngine
from npcserver.prompt import PROMPT_VERSION

SHAPES: dict[str, dict[str, int]] = {
    "as-it-is": {},
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
}
BANDWIDTH_GB_S = {"H200": 4800, "H100": 3350, "A100-SXM": 2039, "L40": 864, "L4": 300, "A10": 600}
"""Of the memory, as NVIDIA's data sheets have it."""
OPTIONS = tuple(f" {word}" for word in "calm warm proud tired worried sad angry amused".split())


def draw(shell: Path, shape: str, folder: Path) -> None:
    """Write a model of that shape with weights drawn anew, in bfloat16."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(shell)
    for name, value in SHAPES[shape].items():
        setattr(config, name, value)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(shell).save_pretrained(folder)
    (folder / models.ABOUT_FILE).write_text(json.dumps({"name": shape, "template": "script"}))


def weight_bytes(folder: Path) -> int:
    """What a step has to read."""
    return sum(path.stat().st_size for path in sources.weights(folder))


async def ours(engine: HostedEngine, given: Work) -> tuple[Outcome, list[float]]:
    """The engine as the server runs it; and seconds of a decision on each talker's first prompt."""
    found = Outcome()
    sampling = Sampling(max_tokens=given.tokens, temperature=0.35, stop=())

    async def talker(prompts: Sequence[str]) -> None:
        for text in prompts:
            asked, answer = time.perf_counter(), Answer(0.0, 0.0, 0)
            async with aclosing(engine.generate(as_prompt(text), sampling)) as pieces:
                async for piece in pieces:
                    answer.first = answer.first or time.perf_counter() - asked
                    if piece.usage:
                        answer.tokens = piece.usage.completion_tokens
            answer.whole = time.perf_counter() - asked
            found.answers.append(answer)

    for persona in given.personas:
        await engine.warm(as_prompt(persona))
    begun = time.perf_counter()
    await asyncio.gather(*(talker(prompts) for prompts in given.prompts))
    found.seconds = time.perf_counter() - begun
    decisions = []
    for prompts in given.prompts[:8]:
        asked = time.perf_counter()
        await engine.decide(as_prompt(prompts[0]), OPTIONS)
        decisions.append(time.perf_counter() - asked)
    return found, decisions


def as_prompt(text: str) -> Prompt:
    """A text as a prompt whose template leaves it as it is."""
    return Prompt((Message("user", text),))


def alone(place: str, given: Work) -> Outcome:
    """transformers' own `generate_batch`, everything at once."""
    import torch
    from transformers import ContinuousBatchingConfig, GenerationConfig

    from npcserver.engines.torch_weights import load_tokenizer, load_weights

    on_gpu = torch.cuda.is_available()
    model = load_weights(place, torch.bfloat16 if on_gpu else torch.float32)
    model = model.to("cuda" if on_gpu else "cpu")
    tokenizer = load_tokenizer(place)
    drawing = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=given.tokens, do_sample=True, temperature=0.35, eos_token_id=-1
    )
    settings = ContinuousBatchingConfig(use_cuda_graph=on_gpu)
    found, seconds = Outcome(), 0.0
    for turn in range(len(given.prompts[0])):
        ids = [
            tokenizer.encode(prompts[turn], add_special_tokens=False) for prompts in given.prompts
        ]
        begun = time.perf_counter()
        told = model.generate_batch(
            ids,
            drawing,
            continuous_batching_config=settings,
            record_timestamps=True,
            persistent_manager=True,
        )
        seconds += (took := time.perf_counter() - begun)
        for each in told.values():
            first = each.timestamps[0] - begun if each.timestamps else took
            found.answers.append(Answer(first, took, len(each.generated_tokens)))
    found.seconds = seconds
    return found


def roofline(folder: Path, talkers: int) -> float | None:
    """Tokens a second that reading the weights alone allows; None where the memory is not known."""
    import torch

    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    known = [speed for part, speed in BANDWIDTH_GB_S.items() if part in name]
    return talkers * known[0] * 1e9 / weight_bytes(folder) if known else None


def compare(place: Path, title: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every number of talkers, pair by pair."""
    rows = []
    for size in options.talkers:
        given = work(people(size), options.turns, tokens=options.tokens)
        for pair in range(options.pairs):
            source = sources.Source(str(place), title, models.facts(place))
            found, decisions = asyncio.run(_run(host.transformers(source, options.cache_gb), given))
            theirs = in_a_process(alone, str(place), given)
            limit = roofline(place, size)
            rows.append(
                tell(
                    {
                        "model": title,
                        "talkers": size,
                        "pair": pair,
                        "ours": outcome(found),
                        "transformers": outcome(theirs),
                        "ratio": round(found.tokens_per_s / theirs.tokens_per_s, 3),
                        "decision_ms": round(1000 * sorted(decisions)[len(decisions) // 2], 1),
                        "of_roofline": limit and round(found.tokens_per_s / limit, 3),
                    }
                )
            )
    return rows


async def _run(engine: HostedEngine, given: Work) -> tuple[Outcome, list[float]]:
    await engine.start()
    try:
        return await ours(engine, given)
    finally:
        await engine.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--model", default="embedded", help="by name, or a folder")
    parser.add_argument("--draw", nargs="+", choices=SHAPES, default=[], help="weights anew")
    parser.add_argument("--talkers", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--cache-gb", type=int, help="key-value cache")
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {"machine": machine(), "rows": []}
    if not options.draw:
        source = sources.find(options.model, None, PROMPT_VERSION)
        found["rows"] += compare(Path(source.place), source.name, options)
    for shape in options.draw:
        with tempfile.TemporaryDirectory() as folder:
            in_a_process(draw, Path(options.model), shape, Path(folder))
            found["rows"] += compare(Path(folder), shape, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, os.fspath(Path(__file__).parent))
    main()
