"""How dialogues beside a scene begin, as examples for what players say."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from npcserver.errors import SceneError
from npcserver.library import LoadedScene, load_scene
from npcserver.prompt import PromptBuilder
from npcserver.state import SceneState
from tests.stage import QUAY

HELLO = {"says": "Can you row to the far shore?"}
REPLY = {"reply": "Not in this fog.", "emotion": "neutral"}


def quay(folder: Path, *dialogues: Any) -> LoadedScene:
    """The quay, with dialogues beside it."""
    target = folder / "quay"
    shutil.copytree(QUAY.folder, target)
    (target / "dialogues").mkdir()
    lines = "\n".join(json.dumps(each) for each in dialogues)
    (target / "dialogues" / "talk.jsonl").write_text(lines, encoding="utf-8")
    return load_scene(target)


def drafted(loaded: LoadedScene, line: str) -> str:
    prompt = PromptBuilder(loaded, "ada", 2000).draft(SceneState(loaded), "Kit", line)
    return "\n".join(message.text for message in prompt.messages)


def test_what_a_dialogue_begins_with_is_recalled_for_a_line_like_it(tmp_path: Path) -> None:
    loaded = quay(tmp_path, {"npc": "ada", "turns": [HELLO, REPLY]})
    assert "Not in this fog." in drafted(loaded, "Would you row me to the far shore?")
    assert "Not in this fog." not in drafted(QUAY, "Would you row me to the far shore?")
    assert "Not in this fog." not in drafted(loaded, "Hello.")


def test_other_wordings_recall_it_too(tmp_path: Path) -> None:
    asked = HELLO | {"also": ["Is the ferry running?"]}
    loaded = quay(tmp_path, {"npc": "ada", "turns": [asked, REPLY]})
    assert "Not in this fog." in drafted(loaded, "Is your ferry running?")
    with pytest.raises(SceneError, match=r"talk.jsonl:1: turns.1: also: is for other wordings"):
        quay(tmp_path / "x", {"npc": "ada", "turns": [HELLO, REPLY | {"also": ["No."]}]})


def test_the_sheet_stays_as_it_is(tmp_path: Path) -> None:
    loaded = quay(tmp_path, {"npc": "ada", "turns": [HELLO, REPLY]})
    assert loaded.characters == QUAY.characters
    assert len(list(PromptBuilder(loaded, "ada", 2000).foreseen())) == len(
        QUAY.characters["ada"].examples
    )


@pytest.mark.parametrize(
    "dialogue",
    [
        {"turns": [{"happens": "The bell rings."}, HELLO, REPLY]},
        {"turns": [HELLO | {"by": "Bo"}, REPLY]},
        {"turns": [HELLO, HELLO, REPLY]},
        {"player": "Kit", "turns": [HELLO, REPLY | {"reply": "No, Kit."}]},
    ],
)
def test_a_beginning_that_needs_more_than_itself_is_no_example(
    tmp_path: Path, dialogue: Any
) -> None:
    assert not quay(tmp_path, {"npc": "ada"} | dialogue).beginnings["ada"]


def test_a_scene_with_a_faulty_dialogue_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"talk.jsonl:2: turns.1: emotion: one of neutral"):
        quay(
            tmp_path,
            {"npc": "ada", "turns": [HELLO, REPLY]},
            {"npc": "ada", "turns": [HELLO, REPLY | {"emotion": "proud"}]},
        )


def test_dialogues_that_are_not_text_are_told(tmp_path: Path) -> None:
    loaded = quay(tmp_path, {"npc": "ada", "turns": [HELLO, REPLY]})
    (loaded.folder / "dialogues" / "more.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(SceneError, match=r"more.jsonl:1: is not UTF-8"):
        load_scene(loaded.folder)
