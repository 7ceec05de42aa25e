"""Which records are learned from, and which are kept to measure with.

A conversation is never in two parts, and a character of `unseen` is in no other. Both follow from
the seed and the data alone, so that more data moves as little as possible. Knows no files.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from finetune.dataset import SPLITS, Split
from finetune.errors import DataError
from finetune.records import Dropped, Persona, Record, Stage


@dataclass(frozen=True)
class Shares:
    """How much goes where: shares of conversations, and of characters for `unseen`.

    Args:
        named: characters that are `unseen` in any case, by id.
    """

    dev: float = 0.05
    test: float = 0.05
    unseen: float = 0.0
    named: list[str] = field(default_factory=list)


def split(
    records: Sequence[Record], stages: Mapping[str, Stage], shares: Shares, seed: int
) -> tuple[dict[Split, list[Record]], list[Dropped]]:
    """Records in their parts, and those that fit in none.

    Raises:
        DataError: one of `named` is nobody.
    """
    who = {id(record): identity(record, stages) for record in records}
    if nobody := set(shares.named) - {record.character for record in records}:
        raise DataError(f"--hold-out {min(nobody)}: no reply is a character's with this id")
    named = {who[id(record)] for record in records if record.character in shares.named}
    held_out = named | _first(set(who.values()), shares.unseen, seed)
    seen = [record for record in records if who[id(record)] not in held_out]
    beside = {record.conversation for record in records if _present(record, stages) & held_out}
    order = _ordered({record.conversation for record in seen} - beside, seed)
    for_dev, for_test = _size(shares.dev, order), _size(shares.test, order)
    dev, test = set(order[:for_dev]), set(order[for_dev : for_dev + for_test])
    parts: dict[Split, list[Record]] = {name: [] for name in SPLITS}
    dropped = []
    for record in records:
        if who[id(record)] in held_out:
            parts["unseen"].append(record)
        elif record.conversation in beside:
            dropped.append(Dropped(source=record.source, reason="beside a character held out"))
        elif record.conversation in dev:
            parts["dev"].append(record)
        else:
            parts["test" if record.conversation in test else "train"].append(record)
    check(parts, stages)
    return parts, dropped


def identity(record: Record, stages: Mapping[str, Stage]) -> str:
    """Who a character is, wherever they stand: a digest of name and sheet."""
    return _digest(stages[record.stage].characters[record.character])


def _digest(sheet: Persona) -> str:
    return hashlib.sha256(f"{sheet.name}\n{sheet.about}".encode()).hexdigest()[:16]


def _present(record: Record, stages: Mapping[str, Stage]) -> set[str]:
    """Whose words a record holds: the identities of its character and of who spoke before."""
    speakers = {record.character, *(turn.speaker for turn in record.history)}
    return {
        _digest(sheet)
        for npc, sheet in stages[record.stage].characters.items()
        if npc in speakers or sheet.name == record.asker
    }


def check(parts: Mapping[Split, Sequence[Record]], stages: Mapping[str, Stage]) -> None:
    """Raise DataError if anything measured with could have been learned."""
    places: Counter[str] = Counter()
    for part in SPLITS:
        places.update({record.conversation for record in parts[part]})
    if shared := [name for name, count in places.items() if count > 1]:
        raise DataError(f"conversation {shared[0]} is in two parts: a fault of the splitter")
    unseen = {identity(record, stages) for record in parts["unseen"]}
    for part in ("train", "dev", "test"):
        for record in parts[part]:
            if _present(record, stages) & unseen:
                raise DataError(f"{record.source}: a character in it is in `unseen` too")


def _first(names: set[str], share: float, seed: int) -> set[str]:
    return set(_ordered(names, seed)[: _size(share, names)])


def _size(share: float, names: Collection[str]) -> int:
    """At least one, where any share is wanted."""
    return max(1, round(share * len(names))) if share else 0


def _ordered(names: set[str], seed: int) -> list[str]:
    """Names in an order drawn by the seed, the same whatever else is among them."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
