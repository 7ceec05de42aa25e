"""How well and how fast a character recalls: `python benchmarks/recall.py`.

Histories of so many events hold facts that were told once, among chatter made of the same words.
Each fact is asked for: `asked` puts it otherwise and keeps some of its words, `afresh` shares none.
Counted is how often the fact is among the five memories recalled. Beside it stand the same without
regard to how unusual a memory is, and SQLite's FTS5 (bm25) on the same terms. Times are of the
processor, so that neighbours on the machine do not count.
"""

import argparse
import json
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

import yaml

from npcserver import memories
from npcserver.memories import Memories
from npcserver.memory import Line, Memory
from npcserver.recall import terms

CASES = Path(__file__).parent / "recall_cases"
SIZES = (10, 100, 1_000, 10_000)
PER_HISTORY = 5
"""Facts in one history; so that even the shortest is mostly chatter."""
NPC = "keeper"


def events(cases: dict[str, Any], size: int, facts: Sequence[str], seed: int) -> list[str]:
    """A history: chatter with the facts at drawn places."""
    draw = random.Random(seed)
    told = [*facts, *(_chatter(cases, draw) for _ in range(size - len(facts)))]
    draw.shuffle(told)
    return told


def _chatter(cases: dict[str, Any], draw: random.Random) -> str:
    words = draw.choice(cases["chatter"])
    for slot, values in cases["slots"].items():
        while f"{{{slot}}}" in words:
            words = words.replace(f"{{{slot}}}", draw.choice(values), 1)
    return words[0].upper() + words[1:]


def remembered(language: str, told: Sequence[str]) -> Memories:
    """A keeper who heard all that, from three players in turn."""
    held = Memories(language, {NPC: "Keeper"})
    for number, text in enumerate(told, 1):
        speaker = ("kit", "lou", "rue")[number % 3]
        memory = Memory(
            number,
            number * 3000,
            "",
            speaker,
            speaker.title(),
            text,
            True,
            ("Keeper",),
            frozenset({speaker, NPC}),
            "talk",
            frozenset({speaker, NPC}),
            None,
        )
        held.add(memory, player=True)
    return held


def ours(language: str, told: Sequence[str]) -> Callable[[str], list[int]]:
    """The recall that serves."""
    held = remembered(language, told)

    def recall(asked: str) -> list[int]:
        now = len(told) + 1
        line = Line(now, now * 3000, "guest", asked, "talk")
        return [each.number for each in held.recall(NPC, line, now) if each.why == "about"]

    return recall


def plain(language: str, told: Sequence[str]) -> Callable[[str], list[int]]:
    """The recall that serves, if it did not prefer the unusual."""
    recall = ours(language, told)

    def without(asked: str) -> list[int]:
        weight, memories.RARITY_WEIGHT = memories.RARITY_WEIGHT, 0.0
        try:
            return recall(asked)
        finally:
            memories.RARITY_WEIGHT = weight

    return without


def fts5(language: str, told: Sequence[str]) -> Callable[[str], list[int]]:
    """SQLite's full-text search, on the same terms."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE told USING fts5(text)")

    rows = ((number, " ".join(terms(text))) for number, text in enumerate(told, 1))
    db.executemany("INSERT INTO told (rowid, text) VALUES (?, ?)", rows)

    def recall(asked: str) -> list[int]:
        query = " OR ".join(f'"{word}"' for word in sorted(terms(asked)))
        found = "SELECT rowid FROM told WHERE told MATCH ? ORDER BY bm25(told) LIMIT 5"
        return [row for (row,) in db.execute(found, (query,))] if query else []

    return recall


WAYS = {"as served": ours, "rarity left out": plain, "FTS5": fts5}


def measured(language: str, size: int, seeds: int) -> Iterator[dict[str, Any]]:
    """Recall and its time, for both ways."""
    cases = yaml.safe_load((CASES / f"{language}.yaml").read_text(encoding="utf-8"))
    for name, way in WAYS.items():
        hits: dict[str, list[bool]] = {"asked": [], "afresh": []}
        took: list[float] = []
        for seed in range(seeds):
            order = random.Random(f"{seed}").sample(cases["facts"], len(cases["facts"]))
            for start in range(0, len(order), PER_HISTORY):
                facts = order[start : start + PER_HISTORY]
                told = events(cases, size, [fact["told"] for fact in facts], 1000 * seed + start)
                recall = way(language, told)
                recall("warm")
                for fact in facts:
                    wanted = told.index(fact["told"]) + 1
                    for kind, results in hits.items():
                        terms.cache_clear()
                        begun = time.thread_time()
                        found = recall(fact[kind])
                        took.append(1000 * (time.thread_time() - begun))
                        results.append(wanted in found)
        yield {
            "language": language,
            "events": size,
            "way": name,
            "n": len(hits["asked"]),
            **{kind: round(sum(found) / len(found), 3) for kind, found in hits.items()},
            "p50_ms": round(quantiles(took, n=100)[49], 2),
            "p95_ms": round(quantiles(took, n=100)[94], 2),
        }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table."""
    lines = ["| language | events | way | asked otherwise | in no word of it | p50 ms | p95 ms |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        shown = f"| {row['language']} | {row['events']:,} | {row['way']} |"
        shares = " | ".join(f"{100 * row[kind]:.0f}%" for kind in ("asked", "afresh"))
        lines.append(f"{shown} {shares} | {row['p50_ms']} | {row['p95_ms']} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seeds", type=int, default=3, help="Histories a fact is put into.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    rows = [
        row
        for language in ("en", "zh")
        for size in options.sizes
        for row in measured(language, size, options.seeds)
    ]
    print(table(rows))
    if options.out:
        asked = ["git", "rev-parse", "--short", "HEAD"]
        revision = subprocess.check_output(asked, text=True).strip()  # noqa: S603
        told = {"revision": revision, "results": rows}
        options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
