"""Preference tuning: what was liked becomes likelier than what was not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finetune import dataset
from finetune.errors import RunError
from finetune.preference import tune_preference
from finetune.records import Preference
from tests import tiny
from tests.test_tune import fresh  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose replies were liked, and the same words backwards not."""
    where = tmp_path_factory.mktemp("preference")
    tiny.data(where)
    tiny.model(where, where / "quay")
    data = dataset.load(where / "data")
    pairs = [
        Preference(record=record, rejected=" ".join(reversed(record.reply.split())))
        for record in data.splits["train"]
    ]
    dataset.save(replace(data, preferences=pairs), where / "liked", {})
    return where


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_was_liked_becomes_likelier(folder: Path, method: str) -> None:
    changed = {"data": folder / "liked", "method": method, "epochs": 3}
    told: list[float] = []
    recipe = tiny.recipe(folder, method, **changed)
    got = tune_preference(recipe, lambda step, of, loss: told.append(loss), cpu=True)
    assert told[-1] < told[0]
    assert got.accuracy is not None
    assert got.accuracy > 0.5
    run = json.loads((folder / method / "run.json").read_text())
    assert run["data"]["pairs"] == got.pairs
    assert (folder / method / "best" / "model.json").exists()
    assert not (folder / method / "best" / "ref").exists()


def test_without_pairs_it_says_where_they_come_from(folder: Path) -> None:
    with pytest.raises(RunError, match="holds no preferences"):
        tune_preference(tiny.recipe(folder, "none"), cpu=True)
