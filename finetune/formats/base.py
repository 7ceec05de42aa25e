"""What every reader is, and how it says where data is wrong.

A reader goes through a file and yields conversations. What it leaves out it yields as `Dropped`,
with a reason; what is not the format at all, it reports to `Faults` as file and line, and goes on.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from finetune.errors import DataError
from finetune.records import PLAYER, Conversation, Dropped

Model = TypeVar("Model", bound=BaseModel)

MAX_FILE_BYTES = 2 * 2**30
SHOWN = 20
SPACE = re.compile(r"[ \t\r\n]*")


@dataclass
class Faults:
    """What is wrong with the data read so far, as `file:line: what`."""

    found: list[str] = field(default_factory=list)

    def add(self, source: str, what: str) -> None:
        """Note a fault. Args: source: `file:line`."""
        self.found.append(f"{source}: {what}")

    def check(self) -> None:
        """Raise DataError if there are any; the first ones are told in full."""
        if self.found:
            more = len(self.found) - SHOWN
            rest = [f"… and {more} more"] if more > 0 else []
            raise DataError("\n".join([*self.found[:SHOWN], *rest]))


Read = Iterator[Conversation | Dropped]
Reader = Callable[[Path, Faults], Read]


def text_of(path: Path, faults: Faults) -> str:
    """A file's text; empty, and a fault noted, where it is missing, empty, huge or not UTF-8."""
    if not path.is_file():
        faults.add(f"{path}:1", "there is no such file")
        return ""
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        faults.add(f"{path}:1", f"has {size} bytes, more than {MAX_FILE_BYTES}; split it")
        return ""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        faults.add(f"{path}:{line}", "is not UTF-8; save the file as UTF-8")
        return ""
    if not text.strip():
        faults.add(f"{path}:1", "is empty")
        return ""
    return text


def json_lines(path: Path, faults: Faults) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON Lines file, each with its `file:line`. Empty lines are passed over."""
    for number, line in enumerate(text_of(path, faults).split("\n"), 1):
        if not line.strip():
            continue
        source = f"{path}:{number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.add(source, f"is not JSON: {error}")
            continue
        if isinstance(value, dict):
            yield source, value
        else:
            faults.add(source, f"is a JSON {type(value).__name__}; one object a line is wanted")


def json_file(path: Path, faults: Faults) -> Any:
    """A whole JSON file; None, and a fault noted, where it is not one."""
    if not (text := text_of(path, faults)):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        faults.add(f"{path}:{error.lineno}", f"is not JSON: {error.msg}")
    except (ValueError, RecursionError):
        faults.add(f"{path}:1", "holds a number too long, or is nested too deeply")
    return None


def json_list(path: Path, faults: Faults) -> Iterator[tuple[str, Any]]:
    """The entries of a file that is one JSON list, each with the `file:line` where it begins."""
    if not (text := text_of(path, faults)):
        return
    at = _past_space(text, 0)
    if not re.compile(r"\[\s*[^\s\]]").match(text, at):
        faults.add(f"{path}:1", "one JSON list with entries in it is wanted")
        return
    line, counted = 1, 0
    while text[at : at + 1] in ("[", ","):
        at = _past_space(text, at + 1)
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            faults.add(f"{path}:{getattr(error, 'lineno', line)}", f"is not JSON: {error}")
            return
        yield f"{path}:{line}", value
        at = _past_space(text, at)
    if text[at : at + 1] != "]" or _past_space(text, at + 1) < len(text):
        end = line + text.count("\n", counted, at)
        faults.add(f"{path}:{end}", "is not JSON: a comma, or the end of the list, is wanted")


def _past_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def explain(error: ValidationError) -> str:
    """A validation's faults in one line: `field: what; field: what`."""
    told = []
    for fault in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in fault["loc"]) or "entry"
        told.append(f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}")
    return "; ".join(told)


def validated(model: type[Model], value: Any, source: str, faults: Faults) -> Model | None:
    """A value as a typed model; None, and a fault noted, where it is not one."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults.add(source, explain(error))
        return None


def identifier(name: str, fallback: str = "npc") -> str:
    """An id made of a name: small letters, digits and `_`."""
    made = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40].rstrip("_")
    return made if made and made[0].isalpha() else f"{fallback}_{made}".rstrip("_")[:40]


def character_id(name: str) -> str:
    """The id of a character of that name; never the player's."""
    npc = identifier(name)
    return f"npc_{npc}" if npc == PLAYER else npc
