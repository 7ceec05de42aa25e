"""Sources → a data set: read, clean, leave out what was said before, split, augment, write.

Everything that is read is either in the data set or counted by the reason it is not. A fault in any
source stops it all, with every fault told, before anything is written.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finetune import dataset, provenance, split
from finetune.augment import augmented
from finetune.cleaning import Bounds, clean
from finetune.dataset import Dataset
from finetune.duplicates import without_duplicates
from finetune.errors import DataError
from finetune.examples import Misfit, stage_record
from finetune.formats.base import Faults
from finetune.formats.registry import Source
from finetune.pages import data as data_page
from finetune.preferences import pairs
from finetune.records import Act, Conversation, Dropped, Preference, Record, Stage
from finetune.replies import records
from finetune.split import Shares
from npcserver.prompt import PromptBuilder

PAGES = ("index.html",)
SHOWN = 5
Tell = Callable[[str, int], None]
"""Told the step under way, and how many conversations or records of it are done."""


@dataclass(frozen=True)
class Options:
    """How to prepare.

    Args:
        scenes: the folder of scenes that journals and preferences name.
        copies: changed copies of each training conversation.
    """

    scenes: Path = Path("scenes")
    bounds: Bounds = field(default_factory=Bounds)
    shares: Shares = field(default_factory=Shares)
    copies: int = 0
    seed: int = 0


@dataclass
class _Drops:
    """What is left out, counted by reason."""

    counts: Counter[str] = field(default_factory=Counter)
    shown: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, dropped: Iterable[Dropped]) -> None:
        for each in dropped:
            self.counts[each.reason] += 1
            if len(self.shown[each.reason]) < SHOWN:
                self.shown[each.reason].append(each.source)


def prepare(
    sources: Sequence[Source], out: Path, options: Options, tell: Tell = lambda step, done: None
) -> Dataset:
    """Make a data set of some sources, and write it to `out`.

    Raises:
        DataError: anything in the sources is wrong, or nothing is left; nothing is written then.
    """
    stages: dict[str, Stage] = {}
    dataset.claim(out, PAGES)
    drops, faults = _Drops(), Faults()
    found: list[Record] = []
    about: list[dict[str, Any]] = []
    for source in sources:
        read = _read(source, options, faults, drops, stages, tell)
        about.append(_describe(source, read))
        found += read
    faults.check()
    total = len(found) + drops.counts.total()
    fresh, dropped = without_duplicates(found, lambda done: tell("comparing", done))
    drops.add(dropped)
    fresh, liked, dropped = pairs(fresh)
    drops.add(dropped)
    parts, dropped = split.split(fresh, stages, options.shares, options.seed)
    drops.add(dropped)
    if not parts["train"]:
        raise DataError(
            f"{sources[0].path}:1: of {total} replies none is left to train on; left out were: "
            f"{dict(drops.counts) or 'none'}; to measure with are {len(fresh) - len(dropped)}"
        )
    liked, dropped = _learned(liked, parts["train"])
    drops.add(dropped)
    parts["train"] = augmented(parts["train"], stages, options.copies, options.seed)
    used = {record.stage for part in parts.values() for record in part}
    used |= {pair.record.stage for pair in liked}
    shown = split.without_answers(
        parts, {name: stage for name, stage in stages.items() if name in used}
    )

    def moved(record: Record) -> Record:
        return record.model_copy(update={"stage": shown[record.stage].id})

    data = Dataset(
        {stage.id: stage for stage in shown.values()},
        {part: [moved(each) for each in records] for part, records in parts.items()},
        {
            "sources": about,
            "read": total,
            "dropped": dict(drops.counts.most_common()),
            "dropped_examples": dict(drops.shown),
            "seed": options.seed,
            "options": _options(options),
            "revision": provenance.revision(),
        },
        [pair.model_copy(update={"record": moved(pair.record)}) for pair in liked],
    )
    tell("writing", 0)
    return dataset.save(data, out, {PAGES[0]: data_page.page(data)})


def _read(
    source: Source,
    options: Options,
    faults: Faults,
    drops: _Drops,
    stages: dict[str, Stage],
    tell: Tell,
) -> list[Record]:
    """The clean records of one source."""
    found: list[Record] = []
    builders: dict[tuple[str, str], PromptBuilder] = {}
    step = f"reading {source.path.name}"
    for number, read in enumerate(source.reader(options.scenes)(source.path, faults)):
        tell(step, number)
        if isinstance(read, Dropped):
            drops.add([read])
            continue
        cleaned, reason = clean(read, options.bounds)
        drops.add(_lost(read, cleaned, reason))
        if cleaned is None:
            continue
        stages[cleaned.stage.id] = cleaned.stage
        for each in records(cleaned):
            fitting = _fitting(each, cleaned.stage, builders) if isinstance(each, Record) else each
            if isinstance(fitting, Record):
                found.append(fitting)
            else:
                drops.add([fitting])
    return found


def _fitting(
    record: Record, stage: Stage, builders: dict[tuple[str, str], PromptBuilder]
) -> Record | Dropped:
    """The record, if its scene allows what it says was done.

    Args:
        builders: those made so far, by stage and character.
    """
    if not isinstance(record.action, Act):
        return record
    key = record.stage, record.character
    if key not in builders:
        builders[key] = PromptBuilder(stage.loaded(), record.character, budget=0)
    try:
        stage_record(builders[key], record)
    except Misfit as error:
        return Dropped(source=record.source, reason=str(error))
    return record


def _lost(
    read: Conversation, cleaned: Conversation | None, reason: str | None
) -> Iterable[Dropped]:
    """The replies that a cut took away."""
    if reason is None:
        return
    kept = len(cleaned.turns) if cleaned else 0
    for turn in read.turns[kept:]:
        if turn.speaker in read.stage.characters and turn.spoken:
            yield Dropped(source=turn.source or read.source, reason=reason)


def _learned(
    pairs: Sequence[Preference], train: Sequence[Record]
) -> tuple[list[Preference], list[Dropped]]:
    """The pairs whose liked reply is trained on; the others would show what is measured with."""
    trained = {record.conversation for record in train}
    kept = [pair for pair in pairs if pair.record.conversation in trained]
    lost = [pair for pair in pairs if pair.record.conversation not in trained]
    reason = "disliked, and its better is measured with"
    return kept, [Dropped(source=pair.record.source, reason=reason) for pair in lost]


def _describe(source: Source, read: Sequence[Record]) -> dict[str, Any]:
    files = [source.path] if source.path.is_file() else sorted(source.path.rglob("*"))
    whole = hashlib.sha256()
    for path in files:
        if path.is_file():
            whole.update(path.read_bytes())
    return {
        "path": str(source.path),
        "format": source.format,
        "sha256": whole.hexdigest(),
        "conversations": len({record.conversation for record in read}),
        "records": len(read),
    }


def _options(options: Options) -> dict[str, Any]:
    return {name: value for name, value in asdict(options).items() if name != "scenes"}
