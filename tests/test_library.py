"""Scene files: what is wrong is told by file, line and field."""

import re
import shutil
from pathlib import Path

import pytest

from npcserver.errors import SceneError
from npcserver.library import json_schemas, load_scene, load_scenes
from npcserver.sheets import argument_options
from tests.server import SCENES

SHIPPED = Path(__file__).parent.parent / "scenes"


@pytest.fixture
def quay(tmp_path: Path) -> Path:
    """A copy of the quay to spoil."""
    return Path(shutil.copytree(SCENES / "quay", tmp_path / "quay"))


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("scene.yaml", "entrance: quay", "entrance: moon", r"scene.yaml:4: entrance: .*'moon'"),
        ("scene.yaml", "language: en", "langage: en", r":2: langage: unknown key"),
        ("scene.yaml", "name: The Quay\n", "", r":1: name: is missing; add it"),
        ("scene.yaml", "targets: [bell]", "targets: [gong]", r":16: .*targets.0: .*'gong'"),
        ("scene.yaml", "place: shed}\nemo", "place: hut}\nemo", r":10: props.net.place: .*'hut'"),
        ("scene.yaml", "face: angry", "face: furious", r":14: emotions.angry.face: "),
        ("scene.yaml", "enum: [herring, rope]", "type: string", r":17: .*args.item: use an enum"),
        ("scene.yaml", "gives {item} to", "gives to", r":17: actions.give.words: .*{item}"),
        ("scene.yaml", "character: cy", "character: di", r":23: cast.2.character: .*di.yaml"),
        ("scene.yaml", "thick: {type: boolean}", "thick: {type: bool}", r":19: .*JSON Schema"),
        ("scene.yaml", "places:", "places: [", r":\d+: file: is not YAML"),
        ("characters/ada.yaml", "resting: neutral", "resting: calm", r":7: resting: .*'calm'"),
        ("characters/ada.yaml", "emotion: angry", "emotion: mad", r":13: examples.3.emotion: "),
        ("characters/ada.yaml", "actions: [ring, give]", "actions: [ring]", r":12: .*not one of"),
        ("characters/ada.yaml", "item: herring", "item: cod", r":12: examples.2.args: "),
        ("characters/ada.yaml", "target: bell", "target: net", r":11: examples.1.target: "),
        ("characters/ada.yaml", "voice: Short", "voice: [Short", r":\d+: "),
    ],
)
def test_faults_name_file_line_and_field(
    quay: Path, file: str, old: str, new: str, fault: str
) -> None:
    path = quay / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SceneError) as error:
        load_scene(quay)
    assert re.search(fault, error.value.message), error.value.message


def test_every_fault_is_told_at_once(quay: Path) -> None:
    for path in [quay / "scene.yaml", quay / "characters" / "bo.yaml"]:
        path.write_text(path.read_text() + "surprise: 1\n")
    with pytest.raises(SceneError) as error:
        load_scene(quay)
    assert error.value.message.count("surprise: unknown key") == 2


def test_a_missing_file_and_a_missing_folder(quay: Path, tmp_path: Path) -> None:
    (quay / "characters" / "bo.yaml").unlink()
    with pytest.raises(SceneError, match=r"there is no characters/bo\.yaml"):
        load_scene(quay)
    with pytest.raises(SceneError, match="no scenes here"):
        load_scenes(tmp_path / "nothing")


@pytest.mark.parametrize("folder", sorted(p.parent.name for p in SHIPPED.glob("*/scene.yaml")))
def test_shipped_scenes_are_whole(folder: str) -> None:
    loaded = load_scene(SHIPPED / folder)
    assert len(loaded.characters) >= 4
    for character in loaded.characters.values():
        assert character.secrets
        said = " ".join(e.reply for e in character.examples) + " ".join(character.knows)
        for secret in character.secrets:
            assert secret not in said


def test_three_scenes_are_shipped_and_one_is_chinese() -> None:
    languages = [loaded.scene.language for loaded in load_scenes(SHIPPED).values()]
    assert len(languages) >= 3
    assert "zh" in languages


def test_argument_options() -> None:
    assert argument_options({"type": "boolean"}) == [True, False]
    assert argument_options({"type": "integer", "minimum": 1, "maximum": 3}) == [1, 2, 3]
    with pytest.raises(ValueError, match="can be scored"):
        argument_options({"type": "integer", "minimum": 1, "maximum": 300})


def test_editors_get_a_schema() -> None:
    schema = json_schemas()["scene.schema.json"]
    assert "earshot" in schema["$defs"]["Place"]["properties"]
