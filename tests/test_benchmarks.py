"""The benchmarks run, with a tiny model; what they print is their own business."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from tests import tiny
from tests.test_tune import fresh  # noqa: F401 - a fixture

ROOT = Path(__file__).parent.parent


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("benchmarks")
    tiny.data(where)
    tiny.model(where, where / "quay")
    return where


def test_training_is_timed_against_trl(folder: Path) -> None:
    train, out = benchmark("train"), folder / "train.json"
    common = ["--data", str(folder / "data"), "--out", str(out), "--cpu"]
    train.main([*common, "--model", str(folder / "tiny"), "--shell", str(folder / "shell")])
    assert not list((folder / "shell").glob("*.safetensors"))
    few = ["--examples", "8", "--step", "4", "--batch", "2", "--pairs", "1"]
    train.main([*common, *few, "--model", str(folder / "shell"), "--methods", "lora", "full"])
    told = json.loads(out.read_text())
    assert [each["method"] for each in told["results"]] == ["lora", "full"]
    for each in told["results"]:
        assert set(each["tokens_per_second"]) == {"packed", "alone", "trl"}
        assert set(each["ratio_to_trl"]) == {"packed", "alone"}
    assert told["revision"]
