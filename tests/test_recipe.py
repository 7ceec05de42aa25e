"""A training recipe: which value wins, and what a wrong one says."""

from pathlib import Path
from typing import Any

import pytest

from finetune.config import LLAMA_LAYERS, Recipe, assignments, load
from npcserver.errors import SettingError

NEEDED = "data: data/mine\nout: runs/first\n"


def file(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def fault(path: Path | None, flags: dict[str, Any]) -> str:
    with pytest.raises(SettingError) as caught:
        load(path, flags)
    return caught.value.message


def test_the_later_wins(tmp_path: Path) -> None:
    text = f"{NEEDED}rows: 2\nepochs: 5\noptimizer:\n  learning_rate: 1e-4\n  clip: 2\n"
    recipe = load(file(tmp_path, text), {"rows": 4, "seed": None, "optimizer.clip": 3})
    assert (recipe.rows, recipe.epochs, recipe.seed) == (4, 5, 0)
    assert (recipe.optimizer.learning_rate, recipe.optimizer.clip) == (1e-4, 3)
    assert recipe.data == Path("data/mine")


def test_flags_alone_are_enough() -> None:
    recipe = load(None, {"data": Path("d"), "out": Path("o"), "lora.rank": 4})
    assert recipe == Recipe(data=Path("d"), out=Path("o"), lora={"rank": 4})
    assert recipe.settled(8).shape.history_lines == 8


def test_any_setting_can_be_given_as_name_and_value(tmp_path: Path) -> None:
    given = assignments(
        [
            "optimizer.learning_rate=1e-4",
            " rows = 3",
            "packing=false",
            "lora.layers=[q_proj, v_proj]",
            "optimizer.betas=[0.8, 0.9]",
            "model=a=b",
            "weights.words=2",
        ]
    )
    recipe = load(file(tmp_path, NEEDED), given)
    assert (recipe.optimizer.learning_rate, recipe.rows, recipe.packing) == (1e-4, 3, False)
    assert (recipe.lora.layers, recipe.optimizer.betas) == (["q_proj", "v_proj"], (0.8, 0.9))
    assert recipe.model == "a=b"
    assert recipe.weights == {"emotion": 1, "action": 1, "words": 2}


def test_null_takes_a_setting_away_that_may_be_unset(tmp_path: Path) -> None:
    path = file(tmp_path, f"{NEEDED}adapter: runs/first/best\nmax_steps: 5\n")
    given = assignments(["adapter=null", "max_steps=", "seed=3"])
    recipe = load(path, {"adapter": Path("other"), "max_steps": 7, "seed": 2}, given)
    assert (recipe.adapter, recipe.max_steps, recipe.seed) == (None, None, 3)


@pytest.mark.parametrize("name", ["rows", "lora", "lora.rank", "weights.words", "model"])
def test_null_is_refused_where_a_value_is_needed(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError) as caught:
        load(file(tmp_path, NEEDED), {}, assignments([f"{name}=null"]))
    assert caught.value.message.startswith(f"{name}: input should be")


@pytest.mark.parametrize(
    ("given", "told"),
    [("rows", "--set rows: write name=value"), ("rows=[1", "--set rows=[1: the value is not YAML")],
)
def test_what_is_no_assignment_is_told(given: str, told: str) -> None:
    with pytest.raises(SettingError) as caught:
        assignments([given])
    assert caught.value.message == told


def test_every_wrong_value_is_named(tmp_path: Path) -> None:
    text = (
        "data: d\nrows: 0\nmethod: both\nlerning_rate: 1\npatience: x\n"
        "lora: {layers: [], rank: 1.5}\n"
        "optimizer: {betas: [1, 0.9], warmup: 2, learning_rate: .nan, speed: 1}\n"
        "weights: {smile: 1}\nepochs: 2\n"
    )
    path = file(tmp_path, text)
    lines = fault(path, {"epochs": 0, "seed": -1}).splitlines()
    named = {
        line.split(": ")[0] if f"{path}" not in line else line.split(": ")[1] for line in lines
    }
    assert named == {
        *("rows", "method", "lerning_rate", "patience", "lora.layers", "lora.rank", "out"),
        *("optimizer.betas.0", "optimizer.warmup", "optimizer.learning_rate", "optimizer.speed"),
        *("weights.smile", "epochs", "seed"),
    }
    assert f"{path}: out: is missing; give it in the recipe or as a flag" in lines
    assert f"{path}: lerning_rate: there is no such setting; see finetune train --help" in lines
    assert "epochs: input should be greater than or equal to 1" in lines


def test_a_wrong_flag_is_not_laid_upon_the_file(tmp_path: Path) -> None:
    path = file(tmp_path, NEEDED)
    assert fault(path, {"lora.layers": ["k"]}).startswith("lora.layers.0: input should be 'q_proj'")
    assert fault(path, {"lora.lairs": 1}).startswith("lora.lairs: there is no such setting")


def test_a_loss_needs_a_slot_that_counts(tmp_path: Path) -> None:
    text = f"{NEEDED}weights: {{emotion: 0, action: 0, words: 0}}"
    assert "weights: value error, one slot must count" in fault(file(tmp_path, text), {})


@pytest.mark.parametrize("inner", ["lora", "optimizer"])
def test_a_part_holds_settings(tmp_path: Path, inner: str) -> None:
    path = file(tmp_path, f"{NEEDED}{inner}: 3\n")
    assert fault(path, {}).startswith(f"{path}: {inner}: ")
    assert fault(path, {f"{inner}.x": 3}) == f"{inner}: holds settings of its own, one a line"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"data: d\nrows: [1\nout: o\n", ":3: is not YAML: "),
        (b"data: d\n\tout: o\n", ":2: is not YAML: "),
        (b"data: d\nout: o\ndata: e\n", ":3: is not YAML: found duplicate key"),
        (b"data: d\nout: \x07\n", ":1: is not YAML: "),
        (b"data: \xff\n", ": is not UTF-8"),
        (b"", ": holds no settings; `name: value` lines are wanted"),
        (b"- data\n", ": holds no settings"),
        (b"just words", ": holds no settings"),
    ],
)
def test_a_file_that_is_no_recipe_is_told_with_its_line(
    tmp_path: Path, data: bytes, told: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(data)
    assert fault(path, {}).startswith(f"{path}{told}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert fault(tmp_path / "no.yaml", {}) == f"{tmp_path}/no.yaml: there is no such file"
    assert fault(tmp_path, {}) == f"{tmp_path}: there is no such file"


def test_the_usual_settings_fit_the_embedded_model() -> None:
    recipe = Recipe(data=Path("d"), out=Path("o"))
    assert tuple(recipe.lora.layers) == LLAMA_LAYERS
    assert recipe.prompt_tokens <= recipe.longest <= recipe.row_tokens


def test_history_is_as_long_as_the_data_has_it_unless_it_is_said() -> None:
    recipe = load(None, {"data": "d", "out": "o"})
    assert recipe.settled(3).shape.history_lines == 3
    assert recipe.settled(30).shape.history_lines == 8
    said = load(None, {"data": "d", "out": "o", "history_lines": 5})
    assert said.settled(0).shape.history_lines == 5
