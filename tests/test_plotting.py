"""What is wrong with a story is told as file:line: field: what to do."""

import re
import shutil
from pathlib import Path

import pytest

from npcserver.errors import SceneError
from npcserver.library import load_scene
from tests.server import SCENES
from tests.test_lorebook import add

ROOT = Path(__file__).parent.parent


@pytest.fixture
def quay(tmp_path: Path) -> Path:
    folder = tmp_path / "quay"
    shutil.copytree(SCENES / "quay", folder)
    return folder


def test_the_story_in_the_docs_loads(tmp_path: Path) -> None:
    for page in ("README.md", "docs/scenes.md"):
        for block in re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL):
            path = tmp_path / block.split("\n", 1)[0].removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(block)
    loaded = load_scene(tmp_path / "my_scenes" / "lighthouse")
    assert list(loaded.scene.beats) == ["dry_lamp", "lit_again"]
    assert len(loaded.lore["ines"][0].entries) == 2


SCENE_FAULTS = [
    ("beats: {a: {when: {beat: b}}}", "beats.a.when.beat: there is no beat 'b'; declared are a"),
    ("beats: {a: {when: {}}}", "beats.a.when: asks for nothing; write a condition"),
    ("beats: {a: {until: {after: rain}}}", "beats.a.until.after: there is no event 'rain'"),
    ("beats: {a: {when: {trust: {at_least: 5}}}}", "beats.a.when.who: is missing; say whose"),
    ("beats: {a: {when: {trust: {at_least: 101}}}}", "trust.at_least: input should be less"),
    ("beats: {a: {when: {trust: {more: 1}}}}", "trust.more: unknown key"),
    ("beats: {a: {wants: {eve: x}}}", "beats.a.wants: there is no character 'eve'"),
    ("beats: {a: {when: {said: x}}}", "beats.a.when.said: there is no line 'x'"),
    ("beats: {a: {when: {told: x}}}", "beats.a.when.told: there is no fact with the id 'x'"),
    ("beats: {a: {when: {place: moon}}}", "beats.a.when.place: there is no place 'moon'"),
    ("beats: {a: {when: {flags: {lit: true}}}}", "flags.lit: there is no flag 'lit'"),
    ("flags: {lit: 1.5}", "flags.lit"),
    ("facts: [{fact: x, id: a}, {fact: y, id: a}]", "facts.0.id: is another fact's too"),
    ("facts: [{fact: x, when: {who: eve}}]", "facts.0.when.who: there is no character 'eve'"),
    ("moves: [{talk: [Hi.], trust: 0}]", "moves.0: moves nothing; give trust"),
    ("moves: [{trust: 1}]", "moves.0: has one of talk, deed, event, action; here are 0"),
    ("moves: [{talk: [Hi.], deed: x, trust: 1}]", "moves.0: has one of .*; here are 2"),
    ("moves: [{event: rain, trust: 1}]", "moves.0.event: there is no event 'rain'"),
    ("moves: [{event: fog, player: by, trust: 1}]", "moves.0.player: there is no argument 'by'"),
    ("moves: [{action: ring, trust: 1}]", "there is no action done to a player 'ring'"),
    ("moves: [{deed: x, of: [eve], trust: 1}]", "there is no character or faction 'eve'"),
]


@pytest.mark.parametrize(("line", "fault"), SCENE_FAULTS)
def test_a_scenes_story(quay: Path, line: str, fault: str) -> None:
    number = add(quay / "scene.yaml", line)
    with pytest.raises(SceneError, match=f"scene.yaml:{number}: .*{fault}"):
        load_scene(quay)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "target: prop,",
            "target: prop, requires: {beat: x},",
            "actions.ring.requires.beat: there",
        ),
        ("sea., args", "sea., sets: {lit: true}, args", "events.fog.sets.lit: there is no flag"),
        ("sea., args", "sea., sets: {lit: '{x}'}, args", "there is no argument 'x'"),
    ],
)
def test_an_actions_and_an_events(quay: Path, old: str, new: str, fault: str) -> None:
    file = quay / "scene.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(SceneError, match=rf"scene.yaml:\d+: .*{fault}"):
        load_scene(quay)


def test_a_flag_keeps_its_kind(quay: Path) -> None:
    add(quay / "scene.yaml", "flags: {lit: false}")
    number = add(quay / "scene.yaml", "beats: {a: {when: {flags: {lit: 'yes'}}}}")
    with pytest.raises(SceneError, match=f":{number}: .*flag lit is declared as a bool"):
        load_scene(quay)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("lines: [{id: a, says: Hi.}]", "lines.0.asked: is missing; say what asks for it"),
        ("lines: [{id: a, asked: [x]}]", "lines.0.says: is missing"),
        ("lines: [{id: a, asked: [x], says: Hi., emotion: sad}]", "there is no emotion 'sad'"),
        ("lines: [{id: a, asked: [x], says: Hi., action: fly}]", "lines.0.action: not one of"),
        ("lines: [{id: a, asked: [x], says: Hi., target: bell}]", "lines.0.action: is missing"),
        ("lines: [{id: a, asked: [x], says: Hi., action: ring}]", "lines.0.target: is not a"),
        ("lines: [{id: a, asked: [x], says: 'Hi *waves*.'}]", "lines.0.says: would not be said"),
        ('lines: [{id: a, asked: [x], says: "Hi.\\nYou."}]', "lines.0.says: would not be said"),
        ("lines: [{id: a, asked: [x], says: A.}, {id: a, asked: [y], says: B.}]", "another line's"),
        ("lines: [{id: a, when: {beat: x}, says: A.}]", "lines.0.when.beat: there is no beat 'x'"),
    ],
)
def test_a_characters_lines(quay: Path, line: str, fault: str) -> None:
    number = add(quay / "characters" / "ada.yaml", line)
    with pytest.raises(SceneError, match=f"ada.yaml:{number}: .*{fault}"):
        load_scene(quay)


def test_a_secret_is_a_sentence_or_a_sentence_with_a_condition(quay: Path) -> None:
    file = quay / "characters" / "ada.yaml"
    text = file.read_text(encoding="utf-8")
    for secret, fault in (
        ("{fact: x}", "hides.0.when: is missing; add it"),
        ("{fact: x, when: {after: rain}}", "hides.0.when.after: there is no event 'rain'"),
    ):
        file.write_text(text.replace("[Ada sold the lighthouse lamp.]", f"[{secret}]"))
        with pytest.raises(SceneError, match=fault) as error:
            load_scene(quay)
        assert len(error.value.message.splitlines()) == 1
