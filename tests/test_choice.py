"""Which engine plays which scene, and how much history its prompts hold."""

from pathlib import Path

import pytest

from npcserver.config import Settings
from npcserver.engines import choice, sources
from npcserver.engines.base import Message, Prompt
from npcserver.engines.remote import RemoteEngine
from npcserver.engines.scripted import ScriptedEngine
from npcserver.errors import ModelError
from npcserver.prompt import PROMPT_VERSION
from tests.adapters import write_adapter, write_model
from tests.stage import QUAY

SCENES = {"quay": QUAY}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a model which speaks Chinese only."""
    return write_model(tmp_path / "model", languages=["zh"])


def test_auto_plays_by_script_what_the_model_does_not_speak(model: Path) -> None:
    chosen = choice.choose(Settings(engine="auto", model=str(model)), SCENES)
    assert chosen.scripted == ("quay",)
    engine = chosen.engine
    assert isinstance(engine, choice.TwoEngines)
    assert engine._of(Prompt((Message("user", "x"),), "", "quay", "ada")) is engine._script
    assert engine._of(Prompt((Message("user", "x"),), "", "other", "bo")) is engine._model


def test_a_named_engine_plays_everything(model: Path) -> None:
    chosen = choice.choose(Settings(engine="openvino", model=str(model)), SCENES)
    assert chosen.scripted == ()
    assert not isinstance(chosen.engine, choice.TwoEngines)
    assert chosen.engine.status().model == "model"


def test_auto_takes_transformers_where_torch_finds_a_gpu(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = Settings(engine="auto", model=str(model))
    monkeypatch.setattr(sources, "gpu_is_here", lambda: False)
    assert choice.engine_of(auto) == "openvino"
    monkeypatch.setattr(sources, "gpu_is_here", lambda: True)
    chosen = choice.choose(auto, {})
    assert (chosen.engine.status().engine, chosen.engine.status().model) == (
        "transformers",
        "model",
    )
    (model / "weights.gguf").unlink()  # what is left is for OpenVINO only
    assert choice.engine_of(auto) == "openvino"


def test_transformers_takes_an_adapter_as_it_is(model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", base=b"model")
    settings = Settings(engine="transformers", model=str(model), adapter=adapter)
    chosen = choice.choose(settings, SCENES)
    assert chosen.engine.status().model == "model+adapter"
    assert chosen.history == 8


def test_a_gpu_is_asked_for_only_where_there_is_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    sources.gpu_is_here.cache_clear()
    monkeypatch.setattr(sources, "GPU_DEVICES", ())
    monkeypatch.setattr(sources.subprocess, "run", lambda *_, **__: pytest.fail("it was asked"))
    assert not sources.gpu_is_here()
    sources.gpu_is_here.cache_clear()


def test_the_script_needs_no_model(tmp_path: Path) -> None:
    settings = Settings(engine="scripted", model=str(tmp_path), adapter=tmp_path)
    chosen = choice.choose(settings, SCENES)
    assert isinstance(chosen.engine, ScriptedEngine)
    assert (chosen.model, chosen.adapter) == (None, None)


def test_remote_servers_play_every_scene() -> None:
    settings = Settings(engine="remote", remote_urls=["http://127.0.0.1:1"], history_lines=3)
    chosen = choice.choose(settings, SCENES)
    assert isinstance(chosen.engine, RemoteEngine)
    assert (chosen.scripted, chosen.history) == ((), 3)
    assert not chosen.engine.status().ready


def test_an_adapter_is_for_the_remote_server_to_load(tmp_path: Path) -> None:
    settings = Settings(engine="remote", remote_urls=["http://127.0.0.1:1"], adapter=tmp_path)
    with pytest.raises(ModelError, match="must load it itself"):
        choice.choose(settings, SCENES)


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nor a folder with"):
        choice.choose(Settings(model=str(tmp_path)), SCENES)


def test_a_model_of_other_prompts_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", prompt_version=PROMPT_VERSION + 1)
    with pytest.raises(ModelError, match="train it again"):
        choice.choose(Settings(model=str(model)), SCENES)


def test_history_is_as_set_else_as_tuned_else_none(tmp_path: Path) -> None:
    def history(**settings: int) -> int:
        return choice.choose(Settings(model=str(model), **settings), SCENES).history

    model = write_model(tmp_path / "plain")
    assert history() == 0
    assert history(history_lines=3) == 3
    model = write_model(tmp_path / "tuned", history_lines=8)
    assert history() == 8
    assert history(history_lines=0) == 0
    for number, wrong in enumerate(("8", -1, 401, None)):
        model = write_model(tmp_path / f"wrong{number}", history_lines=wrong)
        with pytest.raises(ModelError, match="history_lines is"):
            history()


def test_memories_are_recalled_as_set_and_not_by_a_model_that_was_tuned_without(
    tmp_path: Path,
) -> None:
    def recall(model: Path, **settings: int) -> int:
        return choice.choose(Settings(model=str(model), **settings), SCENES).recall

    plain = write_model(tmp_path / "plain")
    tuned = write_model(tmp_path / "tuned", history_lines=8)
    assert (recall(plain), recall(tuned)) == (120, 0)
    assert (recall(plain, recall_tokens=0), recall(tuned, recall_tokens=60)) == (0, 60)
