"""From writers' lines to a served character: prepare, train, export, serve, talk."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from finetune.cli import app
from finetune.errors import RunError
from finetune.export import export
from finetune.tune import tune
from tests import tiny
from tests.server import client, serving
from tests.test_tune import fresh  # noqa: F401 - a fixture

ROOT = Path(__file__).parent.parent
SAME = 1e-3
ROUNDED = 2e-2
"""Eight-bit weights change a loss by less than this."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("export")
    tiny.data(where)
    tiny.model(where, where / "quay")
    return where


@pytest.mark.parametrize("method", ["lora", "full"])
def test_every_form_is_the_same_model(folder: Path, method: str) -> None:
    tune(tiny.recipe(folder, method, method=method, epochs=3), lambda event: None, cpu=True)
    out = folder / f"{method}-out"
    done = CliRunner().invoke(app, ["export", str(folder / method), "--out", str(out)])
    assert done.exit_code == 0, done.output
    report = json.loads((out / "export.json").read_text())
    forms = {form["name"]: form for form in report["forms"]}
    adapter = {"adapter"} if method == "lora" else set()
    assert set(forms) == {"safetensors", "gguf", "openvino"} | adapter
    assert abs(forms["safetensors"]["loss_change"]) < SAME
    assert abs(forms["gguf"]["loss_change"]) < ROUNDED
    assert abs(forms["openvino"]["loss_change"]) < ROUNDED
    assert min(forms["openvino"]["tokens_per_second"]) > 0


def test_from_writers_lines_to_a_served_character(folder: Path, tmp_path: Path) -> None:
    """The walk of docs/finetune.md, by its commands, through a kill."""
    data, run, out = tmp_path / "data", tmp_path / "run", tmp_path / "model"
    command("prepare", folder / "quay", "--out", data, "--dev", 0.15)
    train = ["train", "--data", data, "--out", run, "--model", folder / "tiny", "--method", "full"]
    train += ["--epochs", 25, "--rows", 2, "--row-tokens", 512, "--learning-rate", 6e-3, "--cpu"]
    train += ["--set", "patience=30", "--set", "save_every=5"]
    killed_in_mid_training(train, run)
    assert str(run / "best") in command(*train)
    assert (run / "curves.png").exists()
    command("export", run, "--out", out)
    with serving(tmp_path / "journal", engine="openvino", model=str(out), scenes=folder) as address:
        reply = asyncio.run(talk(address, "Tell me of the herring."))
    assert reply["status"] == "completed"
    taught = " ".join(" ".join(answers) for answers in tiny.ANSWERS.values()).split()
    assert set(reply["text"].split()) & set(taught)


def command(*arguments: object) -> str:
    """What a command of finetune prints."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def killed_in_mid_training(train: list[object], run: Path) -> None:
    """Run a command until it has logged ten steps, and kill it."""
    words = [str(argument) for argument in train]
    with subprocess.Popen([sys.executable, "-m", "finetune", *words], cwd=ROOT) as process:
        while len(tiny.losses(run)) < 10:
            assert process.poll() is None
        process.kill()
    assert not (run / "curves.png").exists()


async def talk(address: str, line: str) -> dict[str, Any]:
    """Say a line to Ada, and wait for the end of her turn."""
    async with client(address, "kit") as kit:
        await kit.send("player.say", text=line, to=["ada"])
        return await kit.until("turn.done")


def test_a_run_is_not_exported_twice_or_half_done(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run with a model"):
        export(tmp_path, tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    tune(tiny.recipe(folder, "short", max_steps=1), lambda event: None, cpu=True)
    with pytest.raises(RunError, match="not empty"):
        export(folder / "short", tmp_path / "out")
