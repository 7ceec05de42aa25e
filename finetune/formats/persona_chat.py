"""Synthetic-Persona-Chat: two people with a few sentences about each get to know one another.

A CSV file, one conversation a row, whose lines begin with `User 1:` or `User 2:`. It has no names:
each row's two people are given invented ones. What they feel or do is not known. Placeholders for
what the writer left open, as `[User 1's name]`, stay as they are; cleaning leaves them out.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from finetune.formats.base import Faults, Read, identifier, text_of
from finetune.formats.names import invented
from finetune.records import (
    MAX_TEXT,
    Conversation,
    Dropped,
    Persona,
    Stage,
    Turn,
    plain_stage,
    sentences,
)

COLUMNS = ("user 1 personas", "user 2 personas", "Best Generated Conversation")
Cells = tuple[str, str, str]
LABEL = re.compile(r"[*_\s]*User ([12]):[*_\s]*(.*)")
MENTION = re.compile(r"(?<![\[({\w])[Uu]ser ([12])\b")
HAPPENS = re.compile(r"\[([^\[\]]+)\]?|\(([^()]+)\)?")
"""A whole line in brackets tells what happens."""


def read(path: Path, faults: Faults) -> Read:
    """Read a CSV file."""
    for line, cells in _rows(path, faults):
        first, second, talk = cells
        seed = "\n".join(cells)
        one = invented(seed)
        names = {"1": one, "2": invented(f"{seed}\n2", taken=[one])}
        source = f"{path}:{line}"
        if not (first.strip() and second.strip()):
            yield Dropped(source=source, reason="no persona")
            continue
        begins = line + first.count("\n") + second.count("\n")
        turns = _turns(talk, names, path, begins)
        if len({turn.speaker for turn in turns if turn.spoken}) < 2:
            yield Dropped(source=source, reason="not two people talking")
            continue
        stage = _stage({names["1"]: first, names["2"]: second})
        yield Conversation(stage=stage, turns=turns, dataset="persona_chat", source=source)


def _rows(path: Path, faults: Faults) -> Iterator[tuple[int, Cells]]:
    """The cells that are wanted of each row, and the line on which it begins."""
    rows = csv.reader(io.StringIO(text_of(path, faults), newline=""))
    places: list[int] | None = None
    begins = 1
    try:
        for row in rows:
            line, begins = begins, rows.line_num + 1
            if not row:
                continue
            if places is None:
                if missing := [name for name in COLUMNS if name not in row]:
                    faults.add(f"{path}:{line}", f"there is no column {missing[0]!r}")
                    return
                places = [row.index(name) for name in COLUMNS]
            elif len(row) <= max(places):
                wanted = max(places) + 1
                faults.add(f"{path}:{line}", f"has {len(row)} columns; {wanted} are wanted")
            else:
                yield line, (row[places[0]], row[places[1]], row[places[2]])
    except csv.Error as error:
        faults.add(f"{path}:{begins}", f"is not CSV: {error}")


def _stage(personas: dict[str, str]) -> Stage:
    sheets = {
        identifier(name): Persona(
            name=name,
            about=sentences(f"{name}, in their own words: {' '.join(about.split())}"),
            resting="calm",
        )
        for name, about in personas.items()
    }
    return plain_stage("Two people meet and talk.", "A quiet place to sit and talk.", sheets)


def _turns(talk: str, names: dict[str, str], path: Path, begins: int) -> list[Turn]:
    """What was said. Args: begins: the line of the file where the conversation begins."""
    turns: list[Turn] = []
    name = ""
    for number, line in enumerate(talk.split("\n"), begins):
        source = f"{path}:{number}"
        line = line.strip("*_ \t\r")
        told = HAPPENS.fullmatch(line)
        if label := LABEL.fullmatch(line):
            name, line = names[label[1]], label[2]
        if not re.search(r"[^\W_]", line):
            continue
        if told:
            text = _named(told[1] or told[2], names)
            turns.append(Turn(text=text[:MAX_TEXT], spoken=False, source=source))
        elif name:
            _say(turns, name, _named(line, names), source)
    return turns


def _say(turns: list[Turn], name: str, text: str, source: str) -> None:
    """Add what somebody says; whoever spoke last goes on."""
    if turns and turns[-1].spoken and turns[-1].name == name:
        last = turns.pop()
        text, source = f"{last.text} {text}", last.source
    speaker = identifier(name)
    turns.append(Turn(speaker=speaker, name=name, text=text[:MAX_TEXT], source=source))


def _named(text: str, names: dict[str, str]) -> str:
    """A text in which `User 1` has a name; not in brackets, where it asks to be filled in."""
    return MENTION.sub(lambda user: names[user[1]], " ".join(text.split()))
