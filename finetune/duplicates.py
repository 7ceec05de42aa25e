"""Records that say the same twice: word for word, or nearly.

Nearly alike is a Jaccard similarity of word triples (of character pairs in Chinese) above a
threshold, of the reply and of line and reply together: the same question may have many answers.
Candidates are found by MinHash (Broder 1997) with the datasketch library. Of a kind the first that
somebody rated is kept, else the first.
"""

import re
from collections.abc import Callable, Iterable

from datasketch import MinHash, MinHashLSH

from finetune.records import CHINESE, Dropped, Record

THRESHOLD = 0.8
BANDS, ROWS = 16, 4
"""Pairs of similarity s are looked at with the chance 1 - (1 - s**ROWS)**BANDS: 0.9998 at the
threshold, 0.34 at half of it."""
PERMUTATIONS = BANDS * ROWS
SEED = 1


def without_duplicates(
    records: Iterable[Record], told: Callable[[int], None] = lambda done: None
) -> tuple[list[Record], list[Dropped]]:
    """The records that are not said before, in their order, and those that are.

    Args:
        told: of how many have been looked at.
    """
    kept: dict[int, Record] = {}
    dropped: list[Dropped] = []
    exact: set[tuple[str, str]] = set()
    near = MinHashLSH(params=(BANDS, ROWS), num_perm=PERMUTATIONS)
    rated_first = sorted(enumerate(records), key=lambda each: each[1].rating is None)
    for done, (number, record) in enumerate(rated_first):
        told(done)
        key = record.line.casefold(), record.reply.casefold()
        if key in exact:
            dropped.append(Dropped(source=record.source, reason="said before, word for word"))
            continue
        exact.add(key)
        sketch = _sketch(_words(record))
        if any(_alike(record, kept[found]) for found in near.query(sketch)):
            dropped.append(Dropped(source=record.source, reason="said before, nearly alike"))
            continue
        near.insert(number, sketch)
        kept[number] = record
    return [kept[number] for number in sorted(kept)], dropped


def shingles(text: str) -> set[str]:
    """The word triples of a text, or its character pairs where it is Chinese."""
    if CHINESE.search(text):
        dense = "".join(re.findall(r"\w", text))
        return {dense[at : at + 2] for at in range(max(1, len(dense) - 1))}
    words = re.findall(r"\w+", text.casefold())
    return {" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


def similarity(one: str, other: str) -> float:
    """The share of shingles that two texts have in common."""
    first, second = shingles(one), shingles(other)
    return len(first & second) / len(first | second)


def _words(record: Record) -> str:
    return f"{record.line} / {record.reply}"


def _alike(one: Record, other: Record) -> bool:
    pairs = (one.reply, other.reply), (_words(one), _words(other))
    return all(similarity(*pair) >= THRESHOLD for pair in pairs)


def _sketch(text: str) -> MinHash:
    sketch = MinHash(num_perm=PERMUTATIONS, seed=SEED)
    sketch.update_batch([shingle.encode() for shingle in sorted(shingles(text))])
    return sketch
