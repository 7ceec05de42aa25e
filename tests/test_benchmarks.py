"""The benchmarks run, with a tiny model; what they print is their own business."""

import asyncio
import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from npcserver.recall import terms
from tests import tiny
from tests.server import serving
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


def test_recall_is_measured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recall, out = benchmark("recall"), tmp_path / "recall.json"
    recall.main(["--sizes", "10", "100", "--seeds", "1", "--out", str(out)])
    rows = json.loads(out.read_text())["results"]
    assert {(row["language"], row["events"], row["way"]) for row in rows} == {
        (language, events, way)
        for language in ("en", "zh")
        for events in (10, 100)
        for way in ("as served", "rarity left out", "FTS5")
    }
    ours = [row for row in rows if row["way"] == "as served"]
    assert all(row["asked"] >= 0.9 for row in ours)
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_asked_afresh_shares_no_word(language: str) -> None:
    path = ROOT / "benchmarks" / "recall_cases" / f"{language}.yaml"
    cases = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert len(cases["facts"]) == 30
    for fact in cases["facts"]:
        assert terms(fact["told"]) & terms(fact["asked"]), fact
        assert fact["told"] not in fact["asked"]
        shared = terms(fact["told"]) & terms(fact["afresh"])
        assert not shared, (fact, shared)


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


def test_an_engine_is_timed_against_transformers_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    engine = importlib.import_module("engine")
    out = folder / "engine.json"
    few = ["--talkers", "2", "--turns", "1", "--tokens", "4", "--pairs", "1", "--cache-gb", "1"]
    # Prompts are those of the shipped scenes: longer than what the tiny model was made for.
    config = json.loads((folder / "tiny" / "config.json").read_text())
    config["max_position_embeddings"] = 4096
    shutil.copytree(folder / "tiny", folder / "long")
    (folder / "long" / "config.json").write_text(json.dumps(config))
    engine.main(["--model", str(folder / "long"), "--draw", "as-it-is", "--out", str(out), *few])
    (row,) = json.loads(out.read_text())["rows"]
    assert row["model"] == "as-it-is"
    assert row["ours"]["n"] == row["transformers"]["n"] == 2
    assert row["ours"]["tokens_per_s"] > 0
    assert row["of_roofline"] is None  # no GPU, no figure


def test_players_talk_to_a_server_and_what_they_noticed_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    load = importlib.import_module("load")
    with serving(tmp_path) as address:
        people = [load.Cast("quay", "ada", "quay")] * 3
        turns = asyncio.run(load.talk(f"ws://{address}", people, load.Manner(2)))
    told = load.summary(turns)
    assert told["ended"] == {"completed": 6}
    assert told["first_word_ms"]["n"] == 6
    assert told["tokens_a_reply"] > 0


def test_the_performance_page_says_what_was_measured() -> None:
    report = benchmark("report")
    found = json.loads((ROOT / "benchmarks" / "results" / "serve-cpu.json").read_text())
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert f"{report.BEGIN}\n{report.page(found)}{report.END}" in page
