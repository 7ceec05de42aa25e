"""Which engine plays which scene."""

from pathlib import Path

import pytest

from npcserver.config import Settings
from npcserver.engines import choice
from npcserver.engines.base import Message, Prompt
from npcserver.errors import ModelError
from tests.stage import QUAY


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a model which speaks Chinese only."""
    (tmp_path / "openvino_model.xml").touch()
    (tmp_path / "model.json").write_text('{"languages": ["zh"]}')
    return tmp_path


def test_auto_plays_by_script_what_the_model_does_not_speak(model: Path) -> None:
    settings = Settings(engine="auto", model=str(model))
    assert choice.unspoken(settings, {"quay": QUAY}) == ["quay"]
    engine = choice.make(settings, {"quay": QUAY})
    assert isinstance(engine, choice.TwoEngines)
    assert engine._of(Prompt((Message("user", "x"),), "", "quay", "ada")) is engine._script
    assert engine._of(Prompt((Message("user", "x"),), "", "other", "bo")) is engine._model


def test_a_named_engine_plays_everything(model: Path) -> None:
    settings = Settings(engine="openvino", model=str(model))
    assert choice.unspoken(settings, {"quay": QUAY}) == []
    assert not isinstance(choice.make(settings, {"quay": QUAY}), choice.TwoEngines)


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nor a folder with"):
        choice.make(Settings(model=str(tmp_path)), {"quay": QUAY})
