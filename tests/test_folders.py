"""Folders that are replaced: whatever kills the writer, a whole one can be read."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import folders


class Killed(BaseException):
    """The process is gone: nothing more is done on disk."""


def writes(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in ("first", "second"):
            (folder / name).write_text(text)

    return write


def held(folder: Path) -> set[str]:
    """What stands in a folder's two files."""
    return {(folder / name).read_text() for name in ("first", "second")}


def killed_before(patch: pytest.MonkeyPatch, call: int) -> None:
    """Let the process die before that call of what moves and deletes, counted from 0."""
    made = 0

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made > call:
                raise Killed
            return real(*given, **options)

        return step

    patch.setattr(Path, "rename", watched(Path.rename))
    patch.setattr(shutil, "rmtree", watched(shutil.rmtree))


@pytest.mark.parametrize("call", range(8))
def test_a_kill_between_any_two_steps_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    folder = tmp_path / "best"
    folders.replace(folder, writes("old"))
    ended = False
    with monkeypatch.context() as patch:
        killed_before(patch, call)
        try:
            folders.replace(folder, writes("new"))
            ended = True
        except Killed:
            pass
    assert ended == (call >= 6)  # two moves, and two leavings deleted before and after
    assert held(folders.standing(folder)) in ({"old"}, {"new"})
    folders.settle(folder)
    assert held(folder) == ({"new"} if call >= 4 else {"old"})
    folders.replace(folder, writes("newer"))
    assert held(folder) == {"newer"}
    assert os.listdir(tmp_path) == ["best"]  # noqa: PTH208 - the hidden ones as well


def test_what_a_kill_left_aside_is_not_lost_when_the_next_writer_fails(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    folders.replace(folder, writes("old"))
    folder.rename(tmp_path / ".best.old")

    def fails(folder: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folders.replace(folder, fails)
    assert held(folder) == {"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_the_folder_a_link_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for text in ("old", "new"):
        folders.replace(tmp_path / "link", writes(text))
    assert (tmp_path / "link").is_symlink()
    assert held(tmp_path / "real") == {"new"}


def test_a_file_is_written_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    folders.write_text(path, "old")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", lambda *given: (_ for _ in ()).throw(Killed))
        folders.write_text(path, "new")
    assert path.read_text() == "old"
    folders.write_text(path, "new")
    assert [each.name for each in tmp_path.iterdir()] == ["log.jsonl"]
