"""Training: the same losses after a kill, on two processes, with and without packing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file

from finetune.errors import DataError, RunError
from finetune.export import read_run
from finetune.train import Evaluated, Event, Planned, Stepped, learning_rate
from finetune.tune import tune
from npcserver.prompt import PROMPT_VERSION
from tests import tiny

CLOSE = 1e-4
"""Sums in another order differ by rounding."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and a tiny model."""
    where = tmp_path_factory.mktemp("tune")
    tiny.data(where)
    tiny.model(where, where / "quay")
    return where


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """accelerate keeps its state in the process; each run here begins without."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    PartialState._reset_state()


def trained(folder: Path, name: str, **changed: Any) -> list[Event]:
    told: list[Event] = []
    tune(tiny.recipe(folder, name, **changed), told.append, cpu=True)
    return told


def test_losses_fall_and_the_best_is_kept(folder: Path) -> None:
    told = trained(folder, "first", epochs=15, patience=20)
    evaluated = [event for event in told if isinstance(event, Evaluated)]
    assert evaluated[-1].loss < evaluated[0].loss / 2
    assert evaluated[-1].accuracy > 0.5
    assert set(evaluated[-1].slots) == {"emotion", "action", "words"}
    assert isinstance(told[0], Planned)
    assert told[0].loss > evaluated[0].loss
    assert sum(isinstance(event, Stepped) for event in told) == told[0].steps
    kept = json.loads((folder / "first" / "best" / "model.json").read_text())
    assert kept["prompt_version"] == PROMPT_VERSION
    assert kept["history_lines"] == 2  # as many as the data has
    run = json.loads((folder / "first" / "run.json").read_text())
    assert run["best_validation_loss"] == min(event.loss for event in evaluated)
    assert run["data"]["sha256"]
    assert run["base"]["sha256"]
    assert str(folder) not in json.dumps({k: v for k, v in run.items() if k != "recipe"})
    assert (folder / "first" / "curves.png").stat().st_size > 5000


KILLED = """
import os, signal, sys
from pathlib import Path
from finetune.train import Stepped
from finetune.tune import tune
from tests import tiny

def tell(event):
    if isinstance(event, Stepped) and event.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

changed = {"method": sys.argv[3], "save_every": 2, "lora.dropout": 0.1}
tune(tiny.recipe(Path(sys.argv[1]), sys.argv[2], **changed), tell, cpu=True)
"""


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(folder: Path, method: str) -> None:
    changed = {"method": method, "save_every": 2, "lora.dropout": 0.1}
    trained(folder, f"unbroken-{method}", **changed)
    command = [sys.executable, "-c", KILLED, str(folder), f"killed-{method}", method]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    killed = folder / f"killed-{method}"
    assert len(tiny.losses(killed)) == 5
    told = trained(folder, f"killed-{method}", **changed)
    assert isinstance(told[0], Planned)
    assert told[0].done == 4
    assert tiny.losses(killed) == tiny.losses(folder / f"unbroken-{method}")
    kinds = (
        tiny.losses(killed, "evaluation"),
        tiny.losses(folder / f"unbroken-{method}", "evaluation"),
    )
    assert kinds[0] == kinds[1]
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    weights = [
        load_file(folder / f"{run}-{method}" / "best" / name) for run in ("killed", "unbroken")
    ]
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key])


def test_two_processes_learn_what_one_does(folder: Path) -> None:
    trained(folder, "one", epochs=1)
    settings = tiny.recipe(folder, "two", epochs=1).model_dump(mode="json")
    config = folder / "two.yaml"
    config.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += [
        "--main_process_port",
        "0",
        "-m",
        "finetune",
        "train",
        "--config",
        str(config),
        "--cpu",
    ]
    root = Path(__file__).parent.parent
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert tiny.losses(folder / "two") == pytest.approx(tiny.losses(folder / "one"), rel=CLOSE)
    ends = [tiny.losses(folder / name, "evaluation") for name in ("two", "one")]
    assert ends[0] == pytest.approx(ends[1], rel=CLOSE)


def test_what_over_fits_is_caught_and_stops(folder: Path) -> None:
    changed = {"epochs": 60, "patience": 8, "optimizer.learning_rate": 2e-2, "rows": 1}
    told = trained(folder, "overfit", **changed)
    evaluated = [event for event in told if isinstance(event, Evaluated)]
    assert len(evaluated) < 60
    run = json.loads((folder / "overfit" / "run.json").read_text())
    assert run["verdict"].startswith("over-fitted after step")
    assert run["best_step"] < evaluated[-1].step


def test_a_folder_holds_one_run(folder: Path) -> None:
    trained(folder, "claimed", max_steps=1)
    with pytest.raises(RunError, match="another epochs, seed"):
        trained(folder, "claimed", max_steps=1, seed=3, epochs=9)
    (folder / "taken").mkdir()
    (folder / "taken" / "diary.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        trained(folder, "taken")


def test_a_finished_run_is_not_gone_on_with(folder: Path) -> None:
    trained(folder, "done", max_steps=2)
    before = (folder / "done" / "log.jsonl").read_text()
    told = trained(folder, "done", max_steps=2)
    assert [type(event) for event in told] == [Planned]
    assert (folder / "done" / "log.jsonl").read_text() == before


def test_the_best_that_a_kill_left_aside_is_found_and_put_back(folder: Path) -> None:
    trained(folder, "aside", max_steps=1)
    best = folder / "aside" / "best"
    best.rename(best.with_name(".best.old"))
    assert read_run(folder / "aside")[0].out == folder / "aside"
    assert not best.exists()
    trained(folder, "aside", max_steps=1)
    assert (best / "model.json").exists()


def test_a_run_does_not_go_on_with_other_data(folder: Path) -> None:
    trained(folder, "moved", max_steps=1)
    about = folder / "moved" / "run.json"
    about.write_text(about.read_text().replace('"sha256": "', '"sha256": "0', 1))
    with pytest.raises(RunError, match="another content of"):
        trained(folder, "moved", max_steps=1)


def test_what_is_not_there_is_named_and_nothing_is_written(folder: Path) -> None:
    with pytest.raises(RunError, match="neither one of embedded nor a folder"):
        trained(folder, "none", model="nowhere")
    with pytest.raises(DataError, match=r"holds no dataset\.json"):
        trained(folder, "none", data=folder / "tiny")
    assert not (folder / "none").exists()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_other_optimizers_and_settings_train_too(folder: Path, optimizer: str) -> None:
    changed = {
        "optimizer.name": optimizer,
        "packing": False,
        "label_smoothing": 0.1,
        "checkpointing": True,
        "attention_dropout": 0.1,
        "max_steps": 3,
    }
    told = trained(folder, f"other-{optimizer}", **changed)
    assert isinstance(told[-1], Evaluated)


def test_the_rate_rises_then_falls_to_its_floor() -> None:
    wanted = tiny.recipe(Path(), "rates").optimizer
    rates = [learning_rate(wanted, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(wanted.learning_rate / 5)
    assert max(rates) == rates[4] == wanted.learning_rate
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert learning_rate(wanted, 100, 100) == pytest.approx(wanted.floor * wanted.learning_rate)
    assert learning_rate(wanted, 150, 100) == learning_rate(wanted, 100, 100)
