"""The generated part of docs/finetune.md: every setting of a recipe. `finetune docs` writes it."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from finetune.config import Recipe
from npcserver.reference import markdown_table, type_words, updated

PAGE = "finetune.md"


def recipe_table() -> str:
    """Every setting: its dotted name, what it may be, its default, and what it does."""
    return markdown_table(["setting", "may be", "default", "what it does"], list(_rows(Recipe, "")))


def write(folder: Path) -> Path:
    """Bring the page in a folder up to date."""
    path = folder / PAGE
    path.write_text(updated(path.read_text(encoding="utf-8"), recipe_table()), encoding="utf-8")
    return path


def _rows(model: type[BaseModel], prefix: str) -> Iterator[list[str]]:
    schemas = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _rows(kind, f"{prefix}{name}.")
            continue
        may_be = type_words(schemas[name], optional=True)
        yield [f"`{prefix}{name}`", may_be, _default(field), field.description or ""]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, dict):
        return ", ".join(f"{name} {value:g}" for name, value in default.items())
    if isinstance(default, list | tuple):
        return ", ".join(str(each) for each in default)
    return f"`{default}`"
