"""Which reader reads a source: the one named, as in `light:data/light`, or what it looks like."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import DataError
from finetune.formats import (
    card,
    chat,
    cpdc,
    journal,
    kdconv,
    light,
    persona_chat,
    preference,
    scenes,
    sharegpt,
    table,
)
from finetune.formats.base import Reader

HEAD_BYTES = 2**16
READERS: dict[str, Reader] = {
    "scene": scenes.read,
    "chat": chat.read,
    "sharegpt": sharegpt.read,
    "csv": table.read,
    "card": card.read,
    "light": light.read,
    "persona_chat": persona_chat.read,
    "cpdc": cpdc.read,
    "kdconv": kdconv.read,
}
PLAYED: dict[str, Callable[[Path], Reader]] = {
    "journal": journal.reader,
    "preference": preference.reader,
}
"""Formats whose sources name scenes instead of holding them."""
FORMATS = (*READERS, *PLAYED)
KEYS = {
    "messages": "chat",
    "conversations": "sharegpt",
    "worldview": "cpdc",
    "spec": "card",
    "mes_example": "card",
    "disliked": "preference",
}
"""What the first object of a JSON file holds, and what that makes it."""


@dataclass(frozen=True)
class Source:
    """Something to read, and how."""

    path: Path
    format: str

    def reader(self, played: Path) -> Reader:
        """Its reader. Args: played: the folder of scenes that a source may name."""
        made = PLAYED.get(self.format)
        return made(played) if made else READERS[self.format]


def sources(given: str) -> list[Source]:
    """What a source on the command line names; a folder of scenes is several.

    Raises:
        DataError: it is not there, or looks like no format.
    """
    name, colon, rest = given.partition(":")
    if colon and name in FORMATS:
        return [Source(Path(rest), name)]
    path = Path(given)
    if not path.exists():
        raise DataError(f"{path}:1: there is no such file or folder")
    if below := sorted(each.parent for each in path.glob("*/scene.yaml")):
        return [Source(folder, "scene") for folder in below]
    found = detect(path)
    if found is None:
        known = ", ".join(FORMATS)
        raise DataError(
            f"{path}:1: is no format that is known by its look; name one of {known}, "
            f"as in chat:{path}"
        )
    return [Source(path, found)]


def detect(path: Path) -> str | None:
    """The format a file or folder looks like."""
    if path.is_dir():
        if (path / "scene.yaml").exists():
            return "scene"
        return "light" if (path / "characters.json").exists() else None
    match path.suffix.lower():
        case ".db" | ".sqlite":
            return "journal"
        case ".png":
            return "card"
        case ".csv":
            return _table(path)
        case ".json" | ".jsonl":
            return _json(path)
    return None


def _table(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader([file.readline(HEAD_BYTES)]), [])
    return "persona_chat" if "Best Generated Conversation" in header else "csv"


def _json(path: Path) -> str | None:
    """By the keys of the first object; where it cannot be seen, by the ending."""
    first = _first_object(path)
    if "messages" in first and _is_kdconv(first["messages"]):
        return "kdconv"
    by_ending = "chat" if path.suffix.lower() == ".jsonl" else None
    return next((name for key, name in KEYS.items() if key in first), by_ending)


def _is_kdconv(messages: Any) -> bool:
    first = messages[0] if isinstance(messages, list) and messages else None
    return isinstance(first, dict) and "message" in first


def _first_object(path: Path) -> dict[str, Any]:
    """The first object in a JSON file, or the file's own; empty where there is none."""
    text = path.read_text(encoding="utf-8-sig", errors="replace").lstrip()
    text = text[1:].lstrip() if text.startswith("[") else text
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
