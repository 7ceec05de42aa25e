"""Preference tuning: what was liked becomes likelier than what was not."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from finetune import dataset, preferences
from finetune.errors import DataError, RunError
from finetune.formats.registry import sources
from finetune.preference import tune_preference
from finetune.prepare import Options, prepare
from finetune.records import Preference, Rating, Record
from finetune.split import Shares
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


def rated(line: str, reply: str, rating: Rating | None) -> Record:
    return Record(
        stage="s",
        character="ada",
        conversation=f"{line}{reply}",
        asker="Kit",
        line=line,
        reply=reply,
        rating=rating,
        dataset="test",
        source=f"{reply}:1",
    )


def test_a_disliked_reply_is_held_against_the_liked_one_that_was_asked_most_alike() -> None:
    good = rated("When does the tide turn today?", "Noon.", "good")
    other = rated("Who rings the bell here?", "I do.", "good")
    bad = rated("When does the tide turn?", "Tide turn tide turn.", "bad")
    alone = rated("Is there any soup left?", "Soup.", "bad")
    plain = rated("Hello.", "Morning.", None)
    kept, pairs, dropped = preferences.pairs([good, other, bad, alone, plain])
    assert kept == [good, other, plain]
    assert pairs == [Preference(record=good, rejected="Tide turn tide turn.")]
    assert [(each.source, each.reason) for each in dropped] == [("Soup.:1", "disliked")]


def test_a_file_of_pairs_becomes_a_data_set(folder: Path) -> None:
    file = folder / "pairs.jsonl"
    lines = [
        {"scene": "quay", "npc": "ada", "line": ask, "liked": good, "disliked": bad}
        for ask, good, bad in (
            ("Is the fog thick?", "Thick as porridge.", "Fog fog fog."),
            ("Sell me your bell.", "Sell me your teeth first.", "Of course!"),
            ("Do you swim?", "Only in ledgers.", "As you wish, friend."),
        )
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = prepare(
        sources(str(file)), folder / "paired", Options(scenes=folder, shares=Shares(0, 0))
    )
    assert [pair.rejected for pair in data.preferences] == [line["disliked"] for line in lines]
    assert [record.reply for record in data.splits["train"]] == [line["liked"] for line in lines]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"npc": "zoe"}, "npc: there is no 'zoe' in quay"),
        ({"scene": "moon"}, "scene: "),
        ({"emotion": "smug"}, "emotion: one of neutral, happy, angry is wanted"),
        ({"liked": ""}, "liked: string should have at least 1 character"),
        ({"score": 3}, "score: extra inputs are not permitted"),
    ],
)
def test_a_wrong_pair_is_told_with_its_line(
    folder: Path, tmp_path: Path, changed: dict[str, object], fault: str
) -> None:
    pair = {"scene": "quay", "npc": "ada", "line": "Hm?", "liked": "Aye.", "disliked": "No."}
    file = tmp_path / "wrong.jsonl"
    file.write_text(json.dumps(pair) + "\n" + json.dumps(pair | changed) + "\n")
    with pytest.raises(DataError, match=re.escape(f"{file}:2: {fault}")):
        prepare(sources(f"preference:{file}"), tmp_path / "out", Options(scenes=folder))
    assert not (tmp_path / "out").exists()


def test_without_pairs_it_says_where_they_come_from(folder: Path) -> None:
    with pytest.raises(RunError, match="holds no preferences"):
        tune_preference(tiny.recipe(folder, "none"), cpu=True)
