"""A table (CSV): a line and its reply in each row, and what else is known of them.

Columns: `line` and `reply`; and if you like `conversation` (rows of one follow each other),
`character`, `about`, `player`, `emotion`, `action`. A spreadsheet saves this.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from finetune.formats import chat
from finetune.formats.base import (
    Faults,
    Model,
    Read,
    character_id,
    explain,
    identifier,
    text_of,
    validated,
)
from finetune.records import (
    NONE,
    PLAIN_EMOTIONS,
    PLAYER,
    Conversation,
    Dropped,
    Persona,
    Turn,
    plain_stage,
)
from npcserver.fields import Face
from npcserver.sheets import Action, Emotion

WANTED = ("line", "reply")
KNOWN = (*WANTED, "conversation", "character", "about", "player", "emotion", "action")
MOST_EMOTIONS, MOST_ACTIONS = 16, 24
"""What a scene can declare."""


@dataclass(frozen=True)
class _Row:
    source: str
    cells: dict[str, str]

    def of(self, column: str, otherwise: str = "") -> str:
        return self.cells.get(column, "").strip() or otherwise


@dataclass(frozen=True)
class _Declared:
    """What a scene of this table declares, and by which id each word of the table goes."""

    emotions: dict[str, Emotion]
    actions: dict[str, Action]
    felt: dict[str, str]
    done: dict[str, str]


def read(path: Path, faults: Faults) -> Read:
    """Read a CSV file."""
    rows = list(_rows(path, faults))
    declared = _declared(rows, faults)
    groups: dict[str, list[_Row]] = {}
    for row in rows:
        if all(row.of(name) for name in WANTED):
            groups.setdefault(row.of("conversation", row.source), []).append(row)
        else:
            yield Dropped(source=row.source, reason=chat.EMPTY)
    for group in groups.values():
        yield from _conversation(group, declared, faults)


def _rows(path: Path, faults: Faults) -> Iterator[_Row]:
    """Rows with the line each begins on."""
    text = text_of(path, faults)
    if not text:
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins, header, found = 1, list[str](), False
    try:
        for cells in reader:
            source, begins = f"{path}:{begins}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip().lower() for cell in cells]
                if not _header_fits(header, source, faults):
                    return
                continue
            found = True
            if len(cells) != len(header):
                faults.add(source, f"has {len(cells)} cells; the header has {len(header)}")
            else:
                yield _Row(source, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        faults.add(f"{path}:{begins}", f"is not CSV: {error}")
        return
    if not found:
        faults.add(f"{path}:1", "has no rows below its header")


def _header_fits(header: list[str], source: str, faults: Faults) -> bool:
    wrong = {
        "the header lacks": [name for name in WANTED if name not in header],
        "the header repeats": [name for name in KNOWN if header.count(name) > 1],
        "unknown columns": [name or "(without a name)" for name in header if name not in KNOWN],
    }
    for what, names in wrong.items():
        if names:
            faults.add(source, f"{what} {', '.join(names)}; known are {', '.join(KNOWN)}")
    return not any(wrong.values())


def _declared(rows: Sequence[_Row], faults: Faults) -> _Declared:
    emotions, actions = dict(PLAIN_EMOTIONS), dict[str, Action]()
    felt = _declare(rows, "emotion", emotions, _emotion, MOST_EMOTIONS, faults)
    done = _declare(rows, "action", actions, _action, MOST_ACTIONS, faults)
    return _Declared(emotions, actions, felt, done)


def _declare(
    rows: Sequence[_Row],
    column: str,
    made: dict[str, Model],
    make: Callable[[str], Model],
    most: int,
    faults: Faults,
) -> dict[str, str]:
    """Add to `made` what a column names. Returns: the id of each word, as `_key` has it."""
    ids = {name: name for name in made} | {"": "", NONE: ""}
    for row in rows:
        word = row.of(column)
        key = _key(word)
        if key in ids:
            continue
        if len(made) == most:
            faults.add(row.source, f"{column}: {word} is one too many; a scene has {most} at most")
            break
        try:
            value = make(word)
        except ValidationError as error:
            faults.add(row.source, f"{column}: {explain(error)}")
            continue
        ids[key] = _unused(identifier(key, column), made)
        made[ids[key]] = value
    return ids


def _key(word: str) -> str:
    """The same for every way to write a word."""
    return "-".join(word.casefold().replace("_", " ").split())


def _unused(wanted: str, taken: dict[str, Model]) -> str:
    """Words of other writing than Latin would else all have the same id."""
    numbered = (f"{wanted[:36]}_{number}" for number in count(2))
    return wanted if wanted not in taken else next(each for each in numbered if each not in taken)


def _emotion(word: str) -> Emotion:
    known = next((face for face in get_args(Face) if face == _key(word)), "neutral")
    return Emotion(word="-".join(word.split()), face=known)


def _action(name: str) -> Action:
    return Action(words=" ".join(name.replace("_", " ").split()))


def _conversation(group: list[_Row], declared: _Declared, faults: Faults) -> Read:
    name = chat.clean_name(_first(group, "character", chat.COMPANION))
    others = [row for row in group if chat.clean_name(row.of("character", name)) != name]
    for row in others:
        faults.add(row.source, f"character: is not {name}, who speaks in this conversation")
    npc = character_id(name)
    about = _first(group, "about", chat.NOBODY)
    known = {"name": name, "about": about, "resting": "calm", "actions": list(declared.actions)}
    persona = validated(Persona, known, group[0].source, faults)
    turns = [turn for row in group for turn in _turns(row, npc, name, declared, faults)]
    if others or persona is None or not turns:
        return
    stage = plain_stage(
        "Two people talk.",
        "Wherever they are.",
        {npc: persona},
        emotions=declared.emotions,
        actions=declared.actions,
    )
    yield Conversation(stage=stage, turns=turns, dataset="csv", source=group[0].source)


def _first(group: list[_Row], column: str, otherwise: str) -> str:
    return next((row.of(column) for row in group if row.of(column)), otherwise)


def _turns(row: _Row, npc: str, name: str, declared: _Declared, faults: Faults) -> Iterator[Turn]:
    """A row's line and reply; a blank cell below `action` tells that nothing was done."""
    act = declared.done.get(_key(row.of("action")))
    told = {
        "emotion": declared.felt.get(_key(row.of("emotion"))) or None,
        "action": ({"name": act} if act else NONE) if "action" in row.cells else None,
    }
    asker = row.of("player", chat.STRANGER)
    asked = {"speaker": PLAYER, "name": asker, "text": row.of("line"), "source": row.source}
    answer = {"speaker": npc, "name": name, "text": row.of("reply"), "source": row.source}
    for turn in (asked, answer | told):
        made = validated(Turn, turn, row.source, faults)
        if made is not None:
            yield made
