"""YAML files that remember on which line each field stands, so that errors can name it.

Knows nothing of what the files are about.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from npcserver.errors import SceneError

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where, and what to do."""

    file: Path
    line: int
    field: str
    advice: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.advice}"


@dataclass
class Document:
    """A YAML file that remembers on which line each of its fields stands."""

    file: Path
    data: Any
    faults: list[Fault] = field(default_factory=list)

    def fault(self, path: tuple[str | int, ...], advice: str) -> None:
        """Note that a field is wrong. Args: advice: what to do."""
        name = ".".join(str(part) for part in path) or "file"
        self.faults.append(Fault(self.file, self.line(path), name, advice))

    def line(self, path: tuple[str | int, ...]) -> int:
        """The line on which a field stands, or the nearest thing around it."""
        node, line = self.data, 1
        for part in path:
            if isinstance(node, CommentedMap) and part in node:
                line = node.lc.key(part)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
                line = node.lc.item(part)[0] + 1
            else:
                break
            node = node[part]
        return int(line)


def read(path: Path) -> Document:
    """Read a file. Raises SceneError if it is missing or no YAML."""
    try:
        data = YAML().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SceneError(f"{path}:1: file: is missing; create it") from None
    except UnicodeDecodeError:
        raise SceneError(f"{path}:1: file: is not UTF-8; save it as UTF-8") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SceneError(f"{path}:{line}: file: is not YAML: {error.problem}") from None
    return Document(path, data)


def read_json(path: Path) -> Document:
    """Read a JSON file, whose fields have no lines. Raises SceneError as `read` does."""
    try:
        return Document(path, json.loads(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        raise SceneError(f"{path}:1: file: is missing; create it") from None
    except UnicodeDecodeError:
        raise SceneError(f"{path}:1: file: is not UTF-8; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise SceneError(f"{path}:{error.lineno}: file: is not JSON: {error.msg}") from None


def validate(document: Document, model: type[Model]) -> Model | None:
    """The document as a model; None where it is none, and its faults are noted."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            if fault["loc"][-1] == "constrained-str" and fault["type"] == "string_type":
                continue  # it may be something else as well, and what is wrong with that is told
            where = tuple(part for part in fault["loc"] if not _is_kind(part))
            document.fault(where, _advice(fault["type"], fault["msg"], model))
        return None


def known(
    document: Document, where: tuple[str | int, ...], name: str, among: Collection[str], kind: str
) -> None:
    """Note a fault where a name is none of those declared."""
    if name not in among:
        choices = ", ".join(sorted(among)) or "none"
        document.fault(where, f"there is no {kind} {name!r}; declared are {choices}")


def _is_kind(part: str | int) -> bool:
    """Whether a part of a path names no field but what was looked for there: a key, or a model."""
    return isinstance(part, str) and (part == "[key]" or part[:1].isupper())


def _advice(kind: str, message: str, model: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        return "unknown key; remove it or correct its spelling"
    if kind == "missing":
        return "is missing; add it"
    return message[0].lower() + message[1:]
