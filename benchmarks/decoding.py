"""Which way of drawing words suits a model: settings side by side on replies kept for validation.

    python benchmarks/decoding.py --data data/characters --out reports/decoding.json

Each setting answers the same lines, as a scene would, many at a time. Shown for each: words shared
with the written reply, repetition within a reply and between a character's replies, length, and
how many replies end without a sentence's end. Emotions and deeds do not depend on the setting.
"""

import argparse
import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from finetune import dataset
from finetune.evaluate import texts
from finetune.examples import asker_id, state_before
from finetune.records import Record
from npcserver.config import load
from npcserver.engines import choice
from npcserver.engines.base import Engine, Sampling
from npcserver.prompt import PromptBuilder
from npcserver.turn import Words, play

AT_ONCE = 16
ENDED = re.compile(r"[.!?…。！？][\"'”’)]*$")


@dataclass(frozen=True)
class Row:
    """What a setting gives; shares are of 1."""

    temperature: float
    top_p: float
    frequency_penalty: float
    f1: float
    looping: float
    same_reply: float
    words: float
    unfinished: float


async def answers(
    engine: Engine,
    data: dataset.Dataset,
    records: Sequence[Record],
    tokens: int,
    history: int,
    drawn: Sampling,
) -> list[str]:
    """What is said to each record's line, in order."""
    room = asyncio.Semaphore(AT_ONCE)
    loaded = {stage.id: stage.loaded() for stage in data.stages.values()}

    async def answer(number: int, record: Record) -> str:
        builder = PromptBuilder(loaded[record.stage], record.character, tokens, history)
        said = ""
        async with room:
            parts = play(
                builder,
                state_before(builder, record),
                engine,
                line=len(record.history) + 1,
                asker=asker_id(builder, record),
                sampling=replace(drawn, seed=number),
            )
            async for part in parts:
                said += part.delta if isinstance(part, Words) else ""
        return said

    return list(await asyncio.gather(*(answer(n, r) for n, r in enumerate(records))))


def measured(drawn: Sampling, records: Sequence[Record], said: Sequence[str]) -> Row:
    """The figures of a setting."""
    loops = sum(any(n > 1 for n in Counter(texts.ngrams(each, 3)).values()) for each in said)
    by_npc: defaultdict[str, list[str]] = defaultdict(list)
    for record, each in zip(records, said, strict=True):
        by_npc[record.character].append(each)
    same = sum(len(each) - len(set(each)) for each in by_npc.values())
    count = len(records)
    return Row(
        drawn.temperature,
        drawn.top_p,
        drawn.frequency_penalty,
        round(sum(texts.f1(s, r.reply) for s, r in zip(said, records, strict=True)) / count, 2),
        round(loops / count, 3),
        round(same / count, 3),
        round(sum(len(each.split()) for each in said) / count, 1),
        round(sum(not ENDED.search(each) for each in said) / count, 3),
    )


async def run(args: argparse.Namespace) -> dict[str, Any]:
    """All settings on the same lines."""
    data = dataset.load(args.data)
    settings = load({"model": args.model, "adapter": args.adapter, "engine": "openvino"})
    chosen = choice.choose(settings, {})
    records = data.splits["dev"]
    await chosen.engine.start()
    rows, spoken = [], {}
    try:
        for heat, share, penalty in product(args.temperature, args.top_p, args.penalty):
            drawn = Sampling(settings.reply_tokens, heat, share, penalty)
            said = await answers(
                chosen.engine, data, records, settings.prompt_tokens, chosen.history, drawn
            )
            rows.append(measured(drawn, records, said))
            spoken[f"{heat} {share} {penalty}"] = said
            print(*asdict(rows[-1]).values(), sep="\t", flush=True)
    finally:
        await chosen.engine.close()
    lines = [{"npc": r.character, "line": r.line, "written": r.reply} for r in records]
    return {"rows": [asdict(row) for row in rows], "lines": lines, "said": spoken}


def main() -> None:
    """Read the command line, run, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--temperature", type=float, nargs="+", default=[0.3, 0.5, 0.7, 0.9])
    parser.add_argument("--top-p", type=float, nargs="+", default=[0.9])
    parser.add_argument("--penalty", type=float, nargs="+", default=[0.0, 0.4])
    args = parser.parse_args()
    print("temp\ttop_p\tpenalty\tf1\tloops\tsame\twords\tunfinished")
    told = asyncio.run(run(args))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
