"""A table (CSV): a line and its reply in each row, and what else is known of them.

Columns: `line` and `reply`; and if you like `conversation` (rows of one follow each other),
`character`, `about`, `player`, `emotion`, `action`. A spreadsheet saves this.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from finetune.formats.base import Faults, Read, explain, identifier, text_of
from finetune.formats.chat import COMPANION, NOBODY, PLAYER, STRANGER, clean_name
from finetune.records import (
    NONE,
    PLAIN_EMOTIONS,
    Act,
    Conversation,
    Persona,
    Stage,
    Turn,
    plain_stage,
)
from npcserver.sheets import Action, Emotion, Face

WANTED = ("line", "reply")
KNOWN = (*WANTED, "conversation", "character", "about", "player", "emotion", "action")
FIELD_CHARS = 100_000


@dataclass(frozen=True)
class _Row:
    source: str
    cells: dict[str, str]

    def of(self, column: str, otherwise: str = "") -> str:
        return self.cells.get(column, "").strip() or otherwise

    @property
    def group(self) -> tuple[str, str, str]:
        """What rows of one conversation share; a row without one stands alone."""
        return self.of("conversation", self.source), self.of("character"), self.of("about")


def read(path: Path, faults: Faults) -> Read:
    """Read a CSV file."""
    rows = list(_rows(path, faults))
    declared = _declared(rows)
    groups: dict[tuple[str, str, str], list[_Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    for group in groups.values():
        try:
            yield _conversation(group, declared)
        except ValidationError as error:
            faults.add(group[0].source, explain(error))


def _rows(path: Path, faults: Faults) -> Iterator[_Row]:
    """Rows with the line each begins on."""
    text = text_of(path, faults)
    if not text:
        return
    csv.field_size_limit(FIELD_CHARS)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    header: list[str] | None = None
    try:
        for cells in reader:
            source, begins = f"{path}:{begins}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip().lower() for cell in cells]
                if not _header_fits(header, source, faults):
                    return
            elif len(cells) != len(header):
                faults.add(source, f"has {len(cells)} cells; the header has {len(header)}")
            else:
                yield from _whole(_Row(source, dict(zip(header, cells, strict=True))), faults)
    except csv.Error as error:
        faults.add(f"{path}:{begins}", f"is not CSV: {error}")


def _header_fits(header: list[str], source: str, faults: Faults) -> bool:
    missing = [name for name in WANTED if name not in header]
    unknown = [name for name in header if name not in KNOWN]
    if missing:
        faults.add(source, f"the header lacks {', '.join(missing)}")
    if unknown:
        faults.add(source, f"unknown columns {', '.join(unknown)}; known are {', '.join(KNOWN)}")
    return not missing and not unknown


def _whole(row: _Row, faults: Faults) -> Iterator[_Row]:
    empty = [name for name in WANTED if not row.of(name)]
    if empty:
        faults.add(row.source, f"{' and '.join(empty)}: nothing is there")
    else:
        yield row


def _declared(rows: list[_Row]) -> dict[str, Any]:
    """The emotions and actions that occur, as a scene declares them."""
    felt = sorted({row.of("emotion") for row in rows} - {""})
    done = sorted({row.of("action") for row in rows} - {"", NONE})
    emotions = {
        identifier(word, "emotion"): Emotion(
            word="-".join(word.split()), face=word if word in get_args(Face) else "neutral"
        )
        for word in felt
    }
    actions = {identifier(name, "action"): Action(words=name.replace("_", " ")) for name in done}
    return {"emotions": {**PLAIN_EMOTIONS, **emotions}, "actions": actions}


def _conversation(group: list[_Row], declared: dict[str, Any]) -> Conversation:
    name = clean_name(group[0].of("character", COMPANION))
    npc = identifier(name)
    persona = Persona(
        name=name,
        about=group[0].of("about", NOBODY),
        resting="calm",
        actions=list(declared["actions"]),
    )
    stage: Stage = plain_stage("Two people talk.", "Wherever they are.", {npc: persona}, **declared)
    turns = []
    for row in group:
        asker = row.of("player", STRANGER)
        turns.append(Turn(speaker=PLAYER, name=asker, text=row.of("line"), source=row.source))
        turns.append(_answer(row, npc, name))
    return Conversation(stage=stage, turns=turns, dataset="csv", source=group[0].source)


def _answer(row: _Row, npc: str, name: str) -> Turn:
    felt, done = row.of("emotion"), row.of("action")
    act: Act | str | None = None
    if "action" in row.cells:
        act = Act(name=identifier(done, "action")) if done not in ("", NONE) else NONE
    return Turn.model_validate(
        {
            "speaker": npc,
            "name": name,
            "text": row.of("reply"),
            "emotion": identifier(felt, "emotion") if felt else None,
            "action": act,
            "source": row.source,
        }
    )
