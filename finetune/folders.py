"""Folders and files written in one go: a kill at any moment leaves the old one or the new one.

Two folders cannot change places in one step everywhere. So the old one steps aside, the new one
takes its place, and the old one goes. A kill in between leaves the old one aside: `standing` finds
it there, and `settle` puts it back.
"""

import shutil
from collections.abc import Callable
from pathlib import Path


def replace(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder, and put it in the place of the old one.

    Whatever fails, the old one stays and nothing is left beside it.
    """
    folder = folder.resolve()  # what a link names is replaced, not the link
    settle(folder)
    partial, old = _beside(folder, "partial"), _beside(folder, "old")
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write(partial)
        _swap(partial, folder, old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _swap(built: Path, folder: Path, old: Path) -> None:
    """Put `built` in the place of `folder`, which goes to `old`."""
    if folder.exists():
        folder.rename(old)
    try:
        built.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise


def standing(folder: Path) -> Path:
    """Where a folder is to be read: its place, or aside if a kill left it there. Moves nothing."""
    old = _beside(folder.resolve(), "old")
    return old if old.exists() and not folder.exists() else folder


def settle(folder: Path) -> None:
    """Put a folder back that a kill left aside. Only for whoever may write it."""
    if (found := standing(folder)) != folder:
        found.rename(folder)


def write_text(path: Path, text: str) -> None:
    """Write a file (UTF-8)."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")
