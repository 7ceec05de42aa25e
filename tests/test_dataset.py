"""A prepared data set on disk: read as it was written, whole or not at all."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune import dataset
from finetune.dataset import ABOUT, FILES, Dataset, load, save
from finetune.errors import DataError
from finetune.formats.scenes import stage_of
from finetune.records import NONE, Act, Persona, Preference, Record, Stage, Turn, plain_stage
from npcserver.library import load_scenes
from tests.stage import QUAY

SCENES = Path(__file__).parent.parent / "scenes"
STAGE = stage_of(QUAY)
PAGE = {"index.html": "<p>为什么</p>"}


def ada(reply: str, **fields: Any) -> Record:
    told = {
        "stage": STAGE.id,
        "character": "ada",
        "conversation": reply,
        "asker": "Kit",
        "line": "Hello. 为什么?",
        "reply": reply,
        "dataset": "test",
        "source": "test:1",
    }
    return Record.model_validate(told | fields)


def made(*replies: str) -> Dataset:
    give = Act(name="give", args={"item": "herring"})
    history = [Turn(text="Fog rolls in.", spoken=False), Turn(name="Kit", text="Hm\u2028?")]
    train = [
        *(ada(reply) for reply in replies),
        ada("Take it.", emotion="happy", action=give, history=history, rating="good"),
    ]
    dev = [ada("No.", emotion="angry", action=NONE, hidden=["Hello."])]
    liked = [Preference(record=train[-1], rejected="Bah.")]
    about = {"seed": 3, "dropped": {"für nichts": 1}}
    return Dataset(
        {STAGE.id: STAGE}, {"train": train, "dev": dev, "test": [], "unseen": []}, about, liked
    )


def fault(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(folder)
    return caught.value.message


def saved(folder: Path, *replies: str) -> Dataset:
    return save(made(*replies), folder / "data", PAGE)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    data = saved(tmp_path, "Aye.")
    assert load(tmp_path / "data") == data
    assert data.sha256 == load(tmp_path / "data").sha256
    assert (tmp_path / "data" / "index.html").read_text(encoding="utf-8") == PAGE["index.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    "stage",
    [
        *(stage_of(loaded) for loaded in load_scenes(SCENES).values()),
        plain_stage(
            "A walk.",
            "A path.",
            {"a": Persona(name="A", about="Long " * 300, resting="calm")},
            language="zh",
        ),
    ],
    ids=lambda stage: stage.scene.name,
)
def test_a_stage_keeps_its_id(tmp_path: Path, stage: Stage) -> None:
    stages = {stage.id: stage}
    save(Dataset(stages, {split: [] for split in dataset.SPLITS}, {}), tmp_path / "data", {})
    assert load(tmp_path / "data").stages == stages


def test_the_digest_is_of_the_records_alone(tmp_path: Path) -> None:
    one = saved(tmp_path, "Aye.").sha256
    assert saved(tmp_path, "Aye.").sha256 == one
    assert saved(tmp_path, "Nay.").sha256 != one


@pytest.mark.parametrize("name", FILES)
def test_what_was_changed_or_is_missing_is_noticed(tmp_path: Path, name: str) -> None:
    saved(tmp_path, "Aye.")
    file = tmp_path / "data" / name
    file.write_bytes(file.read_bytes() + b"\n")
    assert fault(tmp_path / "data").startswith(f"{tmp_path}/data/{ABOUT}:1: the records have")
    file.unlink()
    assert fault(tmp_path / "data") == f"{file}:1: is missing; prepare the data again"


def test_a_record_that_is_moved_to_another_part_is_noticed(tmp_path: Path) -> None:
    saved(tmp_path, "Aye.", "Nay.")
    train, dev = tmp_path / "data" / "train.jsonl", tmp_path / "data" / "dev.jsonl"
    lines = train.read_text().splitlines(keepends=True)
    train.write_text("".join(lines[:-1]))
    dev.write_text(lines[-1] + dev.read_text())
    assert "prepare the data again" in fault(tmp_path / "data")


def test_a_record_that_is_none_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, "Aye.")
    file = tmp_path / "data" / "train.jsonl"
    file.write_text(file.read_text() + '{"reply": "Aye."}\n')
    monkeypatch.setattr(dataset, "_digest", lambda folder: None)
    (tmp_path / "data" / ABOUT).write_text("{}")
    assert fault(tmp_path / "data").startswith(f"{file}:3: Field required")


@pytest.mark.parametrize("text", ["{", "[]", "", "\ud800"])
def test_what_describes_it_may_be_damaged(tmp_path: Path, text: str) -> None:
    saved(tmp_path)
    about = tmp_path / "data" / ABOUT
    about.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert fault(tmp_path / "data").startswith(f"{about}:1: is not ")


def test_where_there_is_none(tmp_path: Path) -> None:
    assert "finetune prepare" in fault(tmp_path)
    assert "finetune prepare" in fault(tmp_path / "nowhere")


def test_a_data_set_replaces_a_data_set_whole_or_broken(tmp_path: Path) -> None:
    saved(tmp_path, "Aye.")
    (tmp_path / "data" / "train.jsonl").unlink()
    data = saved(tmp_path, "Nay.")
    assert load(tmp_path / "data") == data
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert saved(tmp_path) == load(tmp_path / "data")


def test_a_folder_that_is_no_data_set_stays(tmp_path: Path) -> None:
    kept = tmp_path / "data" / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("The only copy.")
    with pytest.raises(DataError, match="holds no data set"):
        saved(tmp_path)
    (kept.parent / ABOUT).write_text("{}")
    with pytest.raises(DataError, match=r"thesis\.txt:1: is no part of a data set"):
        saved(tmp_path)
    assert kept.read_text() == "The only copy."


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        saved(tmp_path)


@pytest.mark.parametrize("calls", [1, 2])
def test_what_fails_in_the_middle_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    old = saved(tmp_path, "Aye.")
    rename = Path.rename
    left = iter(range(calls))

    def fails_last(path: Path, target: Path) -> Path:
        if next(left, None) == calls - 1:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", fails_last)
        saved(tmp_path, "Nay.")
    assert load(tmp_path / "data") == old
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_kill_in_the_middle_leaves_the_old_one(tmp_path: Path) -> None:
    old = saved(tmp_path, "Aye.")
    code = (
        "import os, signal, sys; from pathlib import Path; from finetune import dataset;"
        "folder = Path(sys.argv[1]); data = dataset.load(folder);"
        "dataset._digest = lambda built: os.kill(os.getpid(), signal.SIGKILL);"
        "dataset.save(data, folder, {'index.html': ''})"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "data"], check=False)
    assert killed.returncode == -9
    assert load(tmp_path / "data") == old
    assert json.loads((tmp_path / "data" / ABOUT).read_text(encoding="utf-8")) == dict(old.about)


def test_one_of_another_version_is_to_be_prepared_again(tmp_path: Path) -> None:
    data = made("Aye.")
    record = data.splits["dev"][0].model_copy(update={"stage": "elsewhere"})
    splits = {**data.splits, "dev": [record]}
    save(Dataset(data.stages, splits, data.about), tmp_path / "data", PAGE)
    assert "stages.jsonl:1: was written by another version" in fault(tmp_path / "data")
