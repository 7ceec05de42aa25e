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
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from finetune.errors import DataError
from finetune.records import Preference, Record, Stage

Split = Literal["train", "dev", "test", "unseen"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test", "unseen")
ABOUT = "dataset.json"
STAGES = "stages.jsonl"
PREFERENCES = "preferences.jsonl"

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
    def sha256(self) -> str:
        """The digest of its stages and records, as `save` wrote it."""
        return str(self.about["sha256"])


def save(data: Dataset, folder: Path, pages: Mapping[str, str]) -> None:
    """Write a data set, and pages beside it. What stood in `folder` is replaced at the end.

    Args:
        pages: the text of more files, by name.

    Raises:
        DataError: there is something in `folder` that is no data set.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / ABOUT).exists():
        raise DataError(f"{folder}:1: is not empty and holds no data set; name another --out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        built = Path(scratch) / "built"
        built.mkdir()
        _write(built / STAGES, data.stages.values())
        for split in SPLITS:
            _write(built / f"{split}.jsonl", data.splits[split])
        _write(built / PREFERENCES, data.preferences)
        about = {**data.about, "sha256": _digest(built)}
        (built / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        for name, text in pages.items():
            (built / name).write_text(text, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        built.rename(folder)


def load(folder: Path) -> Dataset:
    """Read a data set.

    Raises:
        DataError: it is not one, or was changed since it was prepared.
    """
    about_file = folder / ABOUT
    if not about_file.exists():
        raise DataError(f"{folder}:1: holds no {ABOUT}; make a data set with: finetune prepare")
    about = json.loads(about_file.read_text(encoding="utf-8"))
    stages = {stage.id: stage for stage in _read(folder / STAGES, Stage)}
    splits = {split: list(_read(folder / f"{split}.jsonl", Record)) for split in SPLITS}
    if (found := _digest(folder)) != about.get("sha256"):
        raise DataError(
            f"{about_file}:1: the records have the digest {found}, not the one written here; "
            "prepare the data again instead of editing it"
        )
    return Dataset(stages, splits, about, list(_read(folder / PREFERENCES, Preference)))


def _write(path: Path, values: Iterable[BaseModel]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for value in values:
            file.write(value.model_dump_json(exclude_defaults=True) + "\n")


def _read(path: Path, model: type[Model]) -> Iterable[Model]:
    if not path.exists():
        raise DataError(f"{path}:1: is missing; prepare the data again")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield model.model_validate_json(line)
            except ValidationError as error:
                what = error.errors(include_url=False)[0]
                raise DataError(f"{path}:{number}: {what['msg']}") from None


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for name in (STAGES, *(f"{split}.jsonl" for split in SPLITS), PREFERENCES):
        whole.update((folder / name).read_bytes())
    return whole.hexdigest()
