"""Agreement with people: read from CharacterBench's shape, and told with what it does not know."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from finetune.cli import app
from finetune.errors import DataError
from finetune.evaluate import agreement
from finetune.evaluate.agreement import agreements, read, table


def entry(reply: str, score: float, **more: Any) -> dict[str, Any]:
    said = {
        "character_name": "Ada",
        "character_profile": {"Trade": "keeps the harbour", "Thing": "a bell"},
        "dialogue": [
            {"speaker": "user", "utterance": "Who are you?"},
            {"speaker": "character", "utterance": "Ada. Mind the rope."},
            {"speaker": "user", "utterance": "What do you keep?"},
        ],
        "response_messages": {"response": reply, **more},
    }
    return {**said, "annotation_score": score, "translation_en": said}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Replies that fit the profile the better, the higher they are scored."""
    words = ["the harbour and a bell", "the harbour, mostly", "a bell and fish", "fish and chips"]
    entries = [
        entry(f"I keep {words[n % 4]}, number {n}.", 4 - n % 4, reference_response="The harbour.")
        for n in range(24)
    ]
    file = tmp_path / "attribute_consistency_bot_dev.json"
    file.write_text(json.dumps(entries), encoding="utf-8")
    return tmp_path


def test_replies_are_read_in_both_languages(folder: Path) -> None:
    replies = read(folder)
    assert len(replies) == 48
    first = replies[0]
    assert first.profile == "Trade: keeps the harbour\nThing: a bell"
    assert first.before == ["Ada. Mind the rope."]
    assert (first.dimension, first.score, first.written) == (
        "attribute_consistency_bot",
        4,
        "The harbour.",
    )
    assert len(agreement.first(replies, 5)) == 10


def test_what_agrees_is_found_and_what_never_varies_is_not_told(folder: Path) -> None:
    replies = read(folder)
    scores = {name: [score(each) for each in replies] for name, score in agreement.SCORERS.items()}
    found = {(each.scorer, each.language): each for each in agreements(replies, scores)}
    fitting = found["profile terms", "en"]
    assert fitting.estimate.value > 0.8
    assert fitting.correlates
    assert found["f1", "en"].estimate.value > 0
    assert not found["in character", "en"].correlates
    text = table(list(found.values()), "en")
    assert "| in character | – |" in text
    assert "| profile terms | **+" in text


def test_the_command_asks_a_judge_and_writes_both_files(folder: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(
        app, ["agreement", str(folder), "--model", "none", "--out", str(tmp_path / "out")]
    )
    assert told.exit_code == 0, told.output
    data = json.loads((tmp_path / "out" / "agreement.json").read_text(encoding="utf-8"))
    assert data["judge_agrees_with_itself"] is None
    assert {each["language"] for each in data["correlations"]} == {"en", "zh"}
    assert "### English" in (tmp_path / "out" / "agreement.md").read_text(encoding="utf-8")


def test_what_is_not_characterbench_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \*_dev\.json"):
        read(tmp_path)
    (tmp_path / "engagement_dev.json").write_text("[{}]", encoding="utf-8")
    with pytest.raises(DataError, match=r"dev\.json:1: is not what CharacterBench"):
        read(tmp_path)
