"""A prepared data set on disk: a folder, written in one go or not at all.

dataset.json    where it came from, what was dropped and why, digests
stages.jsonl    the scenes and characters its records play on
train.jsonl dev.jsonl test.jsonl unseen.jsonl
                records; `unseen` holds characters that occur in no other part
preferences.jsonl
                pairs of a reply that was liked and one that was not
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from finetune import folders
from finetune.errors import DataError
from finetune.records import Preference, Record, Stage

Split = Literal["train", "dev", "test", "unseen"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test", "unseen")
ABOUT = "dataset.json"
STAGES = "stages.jsonl"
PREFERENCES = "preferences.jsonl"
FILES = (STAGES, *(f"{split}.jsonl" for split in SPLITS), PREFERENCES)
"""What the digest is of."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Dataset:
    """Records in their splits, and the stages they play on.

    Args:
        about: what `dataset.json` says beside the digest.
    """

    stages: Mapping[str, Stage]
    splits: Mapping[Split, Sequence[Record]]
    about: Mapping[str, Any]
    preferences: Sequence[Preference] = ()

    @property
    def longest_history(self) -> int:
        """The most turns that stand before a line that is trained."""
        return max((len(record.history) for record in self.splits["train"]), default=0)

    @property
    def sha256(self) -> str:
        """The digest of its stages and records, as `save` wrote it."""
        return str(self.about["sha256"])


def save(data: Dataset, folder: Path, pages: Mapping[str, str]) -> Dataset:
    """Write a data set, and pages beside it. What stood in `folder` is replaced at the end.

    Args:
        pages: the text of more files, by name.

    Returns:
        The data set with its digest.

    Raises:
        DataError: there is something in `folder` that is no data set.
    """
    claim(folder, pages)
    about = dict(data.about)

    def write(built: Path) -> None:
        _write(built / STAGES, data.stages.values())
        for split in SPLITS:
            _write(built / f"{split}.jsonl", data.splits[split])
        _write(built / PREFERENCES, data.preferences)
        about["sha256"] = _digest(built)
        told = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
        (built / ABOUT).write_text(told, encoding="utf-8")
        for name, text in pages.items():
            (built / name).write_text(text, encoding="utf-8")

    folders.replace(folder, write)
    return replace(data, about=about)


def claim(folder: Path, pages: Iterable[str]) -> None:
    """Raise DataError if a data set in `folder` would replace anything that is none."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}:1: is a file; name a folder for --out")
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if found and ABOUT not in found:
        raise DataError(f"{folder}:1: is not empty and holds no data set; name another --out")
    if strange := sorted(found - {ABOUT, *FILES, *pages}):
        raise DataError(f"{folder / strange[0]}:1: is no part of a data set; move it elsewhere")


def load(folder: Path) -> Dataset:
    """Read a data set.

    Raises:
        DataError: it is not one, or was changed since it was prepared.
    """
    folder = folders.standing(folder)
    about_file = folder / ABOUT
    if not about_file.exists():
        raise DataError(f"{folder}:1: holds no {ABOUT}; make a data set with: finetune prepare")
    about = _about(about_file)
    if (found := _digest(folder)) != about.get("sha256"):
        raise DataError(
            f"{about_file}:1: the records have the digest {found}, not the one written here; "
            "prepare the data again instead of editing it"
        )
    stages = {stage.id: stage for stage in _read(folder / STAGES, Stage)}
    splits = {split: list(_read(folder / f"{split}.jsonl", Record)) for split in SPLITS}
    if any(record.stage not in stages for records in splits.values() for record in records):
        raise DataError(
            f"{folder / STAGES}:1: was written by another version, whose scenes hold other fields; "
            "prepare the data again"
        )
    return Dataset(stages, splits, about, list(_read(folder / PREFERENCES, Preference)))


def _about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}:1: is not JSON: {error}; prepare the data again") from None
    if not isinstance(about, dict):
        raise DataError(f"{path}:1: is not what finetune prepare wrote; prepare the data again")
    return about


def _write(path: Path, values: Iterable[BaseModel]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for value in values:
            file.write(value.model_dump_json(exclude_defaults=True) + "\n")


def _read(path: Path, model: type[Model]) -> Iterable[Model]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield model.model_validate_json(line)
            except ValidationError as error:
                what = error.errors(include_url=False)[0]
                raise DataError(f"{path}:{number}: {what['msg']}; prepare the data again") from None


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for name in FILES:
        if not (folder / name).exists():
            raise DataError(f"{folder / name}:1: is missing; prepare the data again")
        held = (folder / name).read_bytes()
        whole.update(f"{name} {len(held)}\n".encode())
        whole.update(held)
    return whole.hexdigest()
