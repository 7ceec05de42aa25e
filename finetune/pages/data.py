"""The page of a prepared data set: what is in it, what was left out, and what looks wrong.

Knows no tokens and no models.
"""

import hashlib
import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from statistics import mean, median
from typing import TYPE_CHECKING

from finetune.dataset import SPLITS, Dataset
from finetune.pages import html
from finetune.pages.html import Markup, tag
from finetune.records import NONE, Act, Record, Turn
from finetune.split import identity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW, FEW_DEV = 50, 20
OFTEN = 0.02
HALF = 0.5
TOP = 20
SAMPLES = 12
LAST_TURNS = 8
BINS = 40
CUT = 0.99
"""Lengths above those of this share of all go into a histogram's last bar."""

STYLE = """
.talk { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .6rem .9rem; margin: 0 0 .8rem; break-inside: avoid; }
.talk p { margin: .25rem 0; white-space: pre-wrap; }
.talk .reply { border-left: 4px solid var(--words); padding-left: .6rem; }
.talk b { margin-right: .5em; }
.mark { font-size: .8rem; border: 1px solid; border-radius: 1em; padding: 0 .6em;
  margin-left: .5em; }
.emotion { color: var(--emotion); } .action { color: var(--action); }
.talks { columns: 23rem; column-gap: 1rem; }
"""


def page(data: Dataset) -> str:
    """The page, as one HTML document."""
    everything = [record for split in SPLITS for record in data.splits[split]]
    who = _names(data)
    return html.document(
        "Training data",
        _glance(data, everything, who),
        *map(html.note, warnings(data)),
        html.section("Parts", _parts(data, who)),
        html.section("Left out", *_dropped(data)),
        html.section("Lengths", *_lengths(data, everything)),
        html.section("What characters show and do", *_slots(everything)),
        html.section("Who speaks", *_speakers(everything, who)),
        html.section("Most frequent replies", *_frequent(data)),
        html.section("Samples", *_samples(data)),
        html.section("Languages", _languages(data)),
        html.section("Where it came from", *_origin(data)),
        style=STYLE,
    )


def warnings(data: Dataset) -> list[str]:
    """What looks wrong, in plain words."""
    train, dev = _originals(data), data.splits["dev"]
    return [*_size_warnings(train, dev), *_content_warnings(data, train), *_lost_warnings(data)]


def _size_warnings(train: Sequence[Record], dev: Sequence[Record]) -> Iterator[str]:
    if len(train) < FEW:
        yield f"There are only {len(train)} training replies; a model will learn them by heart."
    if not dev:
        yield "The part dev is empty: over-fitting cannot be seen, and training will not begin."
    elif len(dev) < FEW_DEV:
        yield f"The part dev has only {len(dev)} replies; its loss will jump about by chance."


def _content_warnings(data: Dataset, train: Sequence[Record]) -> Iterator[str]:
    if not train:
        return
    reply, times = _replies(train).most_common(1)[0]
    if times > max(1, OFTEN * len(train)):
        yield (
            f"One reply makes up {html.share(times, len(train))} of all: “{_short(reply)}” "
            f"({times:,} times). Characters will say it everywhere."
        )
    if all(record.emotion is None for record in train):
        yield "No reply tells an emotion; choosing emotions will not be trained."
    if all(record.action is None for record in train):
        yield "No reply tells whether something was done; choosing actions will not be trained."
    who = _names(data)
    (_, name), replies = Counter(who[r.stage, r.character] for r in train).most_common(1)[0]
    if replies > HALF * len(train):
        yield f"{name} gives {html.share(replies, len(train))} of all training replies."


def _lost_warnings(data: Dataset) -> Iterator[str]:
    read, lost = data.about.get("read", 0), sum(data.about.get("dropped", {}).values())
    if lost > HALF * read:
        yield f"{html.share(lost, read)} of what was read was left out; see the reasons below."


# ---- counts ----------------------------------------------------------------------------------


def _originals(data: Dataset) -> list[Record]:
    """Training records without their changed copies, whose conversations are named `id+1`."""
    return [record for record in data.splits["train"] if "+" not in record.conversation]


def _names(data: Dataset) -> dict[tuple[str, str], tuple[str, str]]:
    """Of each stage's characters: who they are wherever they stand, and their name."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for split in SPLITS:
        for record in data.splits[split]:
            if (key := (record.stage, record.character)) not in found:
                name = data.stages[record.stage].characters[record.character].name
                found[key] = identity(record, data.stages), name
    return found


def _replies(records: Iterable[Record]) -> Counter[str]:
    return Counter(" ".join(record.reply.split()) for record in records)


def _short(text: str, most: int = 80) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


Who = Mapping[tuple[str, str], tuple[str, str]]


def _counted(records: Sequence[Record], who: Who) -> tuple[int, int, int]:
    """How many replies, conversations and characters."""
    conversations = {record.conversation for record in records}
    return len(records), len(conversations), len({who[r.stage, r.character] for r in records})


# ---- parts of the page -----------------------------------------------------------------------


def _glance(data: Dataset, everything: Sequence[Record], who: Who) -> Markup:
    names = ("replies", "conversations", "characters")
    told = [(name, f"{n:,}") for name, n in zip(names, _counted(everything, who), strict=True)]
    told.append(("left out", f"{sum(data.about.get('dropped', {}).values()):,}"))
    return html.facts([*told, ("stages", f"{len(data.stages):,}")])


def _parts(data: Dataset, who: Who) -> Markup:
    rows: list[tuple[object, ...]] = []
    strong = set()
    for split in SPLITS:
        by_format: defaultdict[str, list[Record]] = defaultdict(list)
        for record in data.splits[split]:
            by_format[record.dataset].append(record)
        strong.add(len(rows))
        rows.append((split, "all", *_numbers(data.splits[split], who)))
        rows += [(split, name, *_numbers(by_format[name], who)) for name in sorted(by_format)]
    head = ("part", "format", "replies", "conversations", "characters")
    copies = len(data.splits["train"]) - len(_originals(data))
    told = tag("p", f"{copies:,} of train are changed copies.") if copies else ""
    return html.joined([html.table(head, rows, left=2, strong=strong), told])


def _numbers(records: Sequence[Record], who: Who) -> Iterator[str]:
    return (f"{number:,}" for number in _counted(records, who))


def _dropped(data: Dataset) -> Iterator[Markup]:
    counts, places = data.about.get("dropped", {}), data.about.get("dropped_examples", {})
    if not counts:
        yield tag("p", "Nothing.")
        return
    rows = [
        (reason, "\n".join(map(str, places.get(reason, []))), f"{count:,}")
        for reason, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    ]
    yield html.table(("why", "for instance", "replies"), rows, left=2)


def _lengths(data: Dataset, everything: Sequence[Record]) -> Iterator[Markup]:
    words: list[int] = []
    letters: list[int] = []
    for record in everything:
        if data.stages[record.stage].scene.language == "zh":
            letters.append(len("".join(record.reply.split())))
        else:
            words.append(len(record.reply.split()))
    histories = [len(record.history) for record in everything]
    told = [
        _histogram(words, "words in a reply"),
        _histogram(letters, "characters in a Chinese reply"),
        _histogram(histories, "turns before the line that is answered"),
    ]
    yield tag("div", *told, class_="figures")


def _histogram(values: Sequence[int], what: str) -> Markup:
    if not values:
        return Markup()
    ordered = sorted(values)
    low, high = ordered[0], ordered[min(int(CUT * len(ordered)), len(ordered) - 1)]
    width = (high - low) // BINS + 1
    bins = Counter((min(value, high) - low) // width for value in values)
    edges = [low + width * at for at in range(max(bins) + 2)]

    def draw(axes: "Axes") -> None:
        heights = [bins[at] for at in range(len(edges) - 1)]
        axes.stairs(heights, edges, fill=True, color=html.SLOT_COLOURS["words"])
        axes.set(xlabel=what, ylabel="replies")
        axes.locator_params(integer=True)

    caption = f"median {median(values):g}, mean {mean(values):.1f}, most {ordered[-1]:,}"
    cut = f"; all above {high:,} are in the last bar" if ordered[-1] > high else ""
    return html.figure(draw, f"Histogram: {what}", caption + cut)


def _slots(everything: Sequence[Record]) -> Iterator[Markup]:
    emotions = Counter(record.emotion for record in everything)
    actions = Counter(r.action.name if isinstance(r.action, Act) else r.action for r in everything)
    for title, counts in (("Emotions", emotions), ("Actions", actions)):
        yield tag("h3", title)
        yield html.bars(_bars(counts))


def _bars(counts: Counter[str | None]) -> list[tuple[object, int, str]]:
    told = Counter({name: count for name, count in counts.items() if name not in (None, NONE)})
    ordered = sorted(told.items(), key=lambda each: (-each[1], str(each[0])))
    rows: list[tuple[object, int, str]] = [(name, count, "") for name, count in ordered[:TOP]]
    rest = sum(count for _, count in ordered[TOP:])
    others = f"{len(ordered) - TOP} others"
    pale = ((others, rest), ("none, told so", counts[NONE]), ("not told", counts[None]))
    return rows + [(tag("em", name), count, "soft") for name, count in pale if count]


def _speakers(everything: Sequence[Record], who: Who) -> Iterator[Markup]:
    counts = Counter(who[record.stage, record.character] for record in everything)
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0][1], each[0][0]))
    rows: list[tuple[object, int, str]] = [(key[1], count, "") for key, count in ordered[:TOP]]
    if rest := sum(count for _, count in ordered[TOP:]):
        rows.append((tag("em", f"{len(ordered) - TOP:,} others"), rest, "soft"))
    yield tag("p", f"{len(counts):,} characters; replies of each.", class_="soft")
    yield html.bars(rows)


def _frequent(data: Dataset) -> Iterator[Markup]:
    train = _originals(data)
    counts = sorted(_replies(train).items(), key=lambda each: (-each[1], each[0]))
    rows = [
        (_short(reply, 300), f"{times:,}", html.share(times, len(train)))
        for reply, times in counts[:TOP]
    ]
    told = "What is said often here is learned best. Of train, changed copies left out."
    yield tag("p", told, class_="soft")
    yield html.table(("reply", "times", "share"), rows)


def _languages(data: Dataset) -> Markup:
    stages = Counter(stage.scene.language for stage in data.stages.values())
    replies = Counter(
        data.stages[record.stage].scene.language
        for split in SPLITS
        for record in data.splits[split]
    )
    rows = [(name, f"{stages[name]:,}", f"{replies[name]:,}") for name in sorted(stages)]
    return html.table(("language", "stages", "replies"), rows)


def _origin(data: Dataset) -> Iterator[Markup]:
    names = ("path", "format", "sha256", "conversations", "records")
    rows = [
        [html.told(source.get(name)) for name in names] for source in data.about.get("sources", [])
    ]
    yield html.table(("source", "format", "sha256", "conversations", "replies"), rows, left=3)
    options = data.about.get("options", {})
    told = {"seed": data.about.get("seed"), "revision": data.about.get("revision"), **options}
    yield html.table(("made with", ""), [(n, html.told(v)) for n, v in told.items()], left=2)


# ---- samples ---------------------------------------------------------------------------------


def _samples(data: Dataset) -> Iterator[Markup]:
    talks = [_talk(data, split, record) for split, record in _drawn(data)]
    yield tag("div", *talks, class_="talks")


def _drawn(data: Dataset) -> list[tuple[str, Record]]:
    """A few records of every format, the same each time, most formats first."""
    by_format: defaultdict[str, list[tuple[str, str, Record]]] = defaultdict(list)
    for split in SPLITS:
        for record in data.splits[split]:
            told = f"{record.source} {record.conversation} {record.line} {record.reply}"
            draw = hashlib.sha256(told.encode()).hexdigest()
            by_format[record.dataset].append((draw, split, record))
    drawn = [
        heapq.nsmallest(SAMPLES, by_format[name], key=lambda each: each[0])
        for name in sorted(by_format)
    ]
    turns = (each for round_ in zip_longest(*drawn) for each in round_ if each is not None)
    return [(split, record) for _, split, record in islice(turns, SAMPLES)]


def _talk(data: Dataset, split: str, record: Record) -> Markup:
    """A record as a dialogue."""
    stage = data.stages[record.stage]
    earlier = len(record.history) - LAST_TURNS
    asked = Turn(speaker="asker", name=record.asker, text=record.line)
    said = [*record.history[-LAST_TURNS:], asked]
    answer = Turn(
        speaker=record.character,
        name=stage.characters[record.character].name,
        text=record.reply,
        emotion=record.emotion,
        action=record.action,
    )
    return tag(
        "article",
        tag("p", f"{stage.scene.name} · {record.dataset} · {split}", class_="soft"),
        tag("p", f"… {earlier} turns before", class_="soft") if earlier > 0 else "",
        *map(_turn, said),
        tag("div", _turn(answer), class_="reply"),
        tag("p", record.source, class_="soft"),
        class_="talk",
        lang=stage.scene.language,
    )


def _turn(turn: Turn) -> Markup:
    if not turn.spoken:
        return tag("p", tag("em", turn.text))
    emotion = tag("span", turn.emotion, class_="mark emotion") if turn.emotion else ""
    return tag("p", tag("b", turn.name), turn.text, emotion, _act(turn.action))


def _act(act: Act | str | None) -> Markup:
    if not isinstance(act, Act):
        return Markup()
    told = " ".join([act.name, *([f"→ {act.target}"] if act.target else [])])
    args = f" {json.dumps(act.args, ensure_ascii=False, sort_keys=True)}" if act.args else ""
    return tag("span", told + args, class_="mark action")
