"""The generated parts of docs/: settings of a recipe, measures. `finetune docs` writes them."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from finetune.config import Recipe
from finetune.evaluate.measures import MEASURES
from npcserver.reference import markdown_table, type_words, updated

PAGE = "finetune.md"
MEASURES_PAGE = "evaluation.md"


def recipe_table() -> str:
    """Every setting: its dotted name, what it may be, its default, and what it does."""
    return markdown_table(["setting", "may be", "default", "what it does"], list(_rows(Recipe, "")))


def measures_table() -> str:
    """Every measure: its name, suite, which way is better, and what it means."""
    head = ["measure", "suite", "better", "what it means"]
    rows = [
        [
            f"**{each.name}**" if each.headline else each.name,
            each.suite,
            each.better,
            each.about,
        ]
        for each in MEASURES
    ]
    return markdown_table(head, rows)


def pages() -> dict[str, str]:
    """The generated part of each page, by file name."""
    return {PAGE: recipe_table(), MEASURES_PAGE: measures_table()}


def write(folder: Path) -> list[Path]:
    """Bring the pages in a folder up to date."""
    paths = []
    for name, generated in pages().items():
        paths.append(path := folder / name)
        path.write_text(updated(path.read_text(encoding="utf-8"), generated), encoding="utf-8")
    return paths


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
