"""Ratings → pairs: of two replies to the same line, one that was liked and one that was not.

Lines are the same when they are nearly alike (see duplicates.py). Knows no files.
"""

from collections import defaultdict
from collections.abc import Sequence

from finetune.duplicates import similarity
from finetune.records import Dropped, Preference, Record

ALIKE = 0.5
"""Share of common shingles from which two lines ask the same."""


def pairs(records: Sequence[Record]) -> tuple[list[Record], list[Preference], list[Dropped]]:
    """The records nobody disliked, the pairs, and what is left out.

    Each disliked reply is held against the liked one whose line is most like its own.
    """
    liked: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.rating == "good":
            liked[record.stage, record.character].append(record)
    kept: list[Record] = []
    found: list[Preference] = []
    dropped: list[Dropped] = []
    for record in records:
        if record.rating != "bad":
            kept.append(record)
            continue
        best = _most_alike(record, liked[record.stage, record.character])
        if best is None:
            dropped.append(Dropped(source=record.source, reason="disliked"))
        else:
            found.append(Preference(record=best, rejected=record.reply))
    return kept, found, dropped


def _most_alike(record: Record, others: Sequence[Record]) -> Record | None:
    """The record whose line asks the same, and whose reply is another."""
    best, most = None, ALIKE
    for other in others:
        share = similarity(record.line, other.line)
        if share >= most and other.reply != record.reply:
            best, most = other, share
    return best
