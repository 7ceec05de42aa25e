"""Which models are on this machine, and how to be rid of those that can be made again."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from npcserver import models


@dataclass(frozen=True)
class ModelInfo:
    """A model known by name, or one that was converted or merged here."""

    name: str
    about: str
    licence: str
    languages: tuple[str, ...]
    folder: Path
    present: bool
    size_bytes: int


def list_models() -> list[ModelInfo]:
    """The models known by name, and whether they are here; then what was made on the way."""
    known = [
        _info(
            models.cache_folder() / model.name,
            (model.name, _about(model), model.licence, model.languages),
        )
        for model in models.KNOWN.values()
    ]
    return known + [_made_info(folder) for folder in _made()]


def _about(model: models.Packaged) -> str:
    own = models.worn(model.name, None)
    return (
        f"{model.about}; with the adapter {models.facts(own).get('name')!r}" if own else model.about
    )


def clean() -> list[ModelInfo]:
    """Delete what was converted and merged, and return it; it is made again when it is needed."""
    found = [_made_info(folder) for folder in _made()]
    for info in found:
        shutil.rmtree(info.folder)
    return found


def _made() -> list[Path]:
    """Folders of models that were converted, or merged with an adapter."""
    folders = (models.cache_folder() / kind for kind in ("converted", "merged"))
    return sorted(path.parent for folder in folders for path in folder.glob(f"*/{models.IR_FILE}"))


def _made_info(folder: Path) -> ModelInfo:
    told = models.facts(folder)
    odds = told.get("perplexity", {})
    before, after = odds.get("source"), odds.get("converted")
    about = f"{folder.parent.name}, from {told.get('source', 'somewhere')}"
    about += f"; perplexity {before} before, {after} after" if before and after else ""
    return _info(
        folder,
        (
            str(told.get("name", folder.name)),
            about,
            str(told.get("licence", "")),
            tuple(told.get("languages", ())),
        ),
    )


def _info(folder: Path, told: tuple[str, str, str, tuple[str, ...]]) -> ModelInfo:
    present = (folder / models.IR_FILE).exists()
    files = folder.glob("*") if present else ()
    return ModelInfo(*told, folder, present, sum(path.stat().st_size for path in files))
