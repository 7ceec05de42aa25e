"""Scenario files: what is told when they are wrong, and what they catch when a scene is."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from npcserver.cli import app
from npcserver.client import Message
from npcserver.engines.scripted import ScriptedEngine
from npcserver.errors import SceneError
from npcserver.library import LoadedScene, load_scene
from npcserver.rehearsal import Here, Rehearsal, There
from npcserver.scenarios import WATCHES, Expected, Watch, load, says
from npcserver.trial import Played, play
from tests import clock
from tests.server import SCENES, serving


@pytest.fixture
def quay(tmp_path: Path) -> Path:
    """A copy of the quay, to put scenarios beside."""
    folder = tmp_path / "scenes" / "quay"
    shutil.copytree(SCENES / "quay", folder)
    (folder / "scenarios").mkdir()
    return folder


def written(quay: Path, text: str, name: str = "one") -> Path:
    file = quay / "scenarios" / f"{name}.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def played(quay: Path, **options: Any) -> dict[str, Played]:
    """Every scenario of the quay, by name, with the scripted engine on virtual time."""
    loaded = load_scene(quay)

    async def main() -> dict[str, Played]:
        engine = ScriptedEngine({"quay": loaded}, pace_s=0.05)
        stage = options.pop("stage", Here)(engine)
        return {each.file.stem: await play(each, stage, **options) for each in load(loaded)}

    return clock.run(main)


def findings(quay: Path, **options: Any) -> list[str]:
    (one,) = played(quay, **options).values()
    return [finding.what for finding in one.findings]


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps: []", ":1: about: is missing; add it"),
        ("about: x\nsteps:\n  - say: Hi\n    move: shed", ":3: steps.0: .*exactly one of say"),
        ("about: x\nsteps:\n  - say: Hi\n    too: [ada]", ":4: steps.0.too: unknown key"),
        ("about: x\nsteps:\n  - say: Hi\n    to: [eve]", ":4: steps.0.to: there is no 'eve'"),
        ("about: x\nsteps:\n  - event: rain", ":3: steps.0.event: there is no 'rain'"),
        (
            "about: x\nsteps:\n  - say: Hi\n    expect:\n      - emotion: [glad]",
            ":5: steps.0.expect.0.emotion: there is no 'glad'; declared are neutral, happy, angry",
        ),
        ("about: x\nplayers: {ada: Ada}\nsteps:\n  - say: Hi", ":2: players.ada: is a character"),
        ("about: [", "is not YAML"),
    ],
)
def test_a_faulty_file_is_told_by_line(quay: Path, text: str, told: str) -> None:
    file = written(quay, text)
    with pytest.raises(SceneError, match=told) as error:
        load(load_scene(quay))
    assert error.value.message.startswith(str(file))


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [
        ("Take the soup.", "soup", True),
        ("Take the Soup!", "stew | soup", True),
        ("Soupy weather.", "soup", False),
        ("喝碗面汤吧。", "面汤", True),
        ("That is 6.50, sir.", "6.50", True),
    ],
)
def test_words_are_found_whole(text: str, wanted: str, found: bool) -> None:
    assert says(text, wanted) is found


# ---- playing -------------------------------------------------------------------------------------

WHOLE = """
about: Everything a step can be.
watch: [secrets, actions, marks]
players: {kit: Kit, rue: Rue}
steps:
  - say: Hello.
    to: [ada]
    expect:
      - npc: ada
        says: [rope]
        says_not: [herring]
        emotion: [neutral]
        action: [none]
        chances: {neutral: {above: 0.5}, angry: {below: 0.2}}
        total_ms: 5000
        heard_by: [kit, rue]
    messages:
      - {type: turn.started, npc: ada}
      - {type: turn.emotion, emotion: neutral}
      - {type: turn.text, delta: Morning}
      - {type: turn.done, status: completed}
    no_messages: [{type: turn.action}]
  - say: Ring the bell, Ada.
    volume: whisper
    to: [ada]
    expect: [{npc: ada, action: [ring], target: bell, unheard_by: [rue]}]
  - result: failed
    detail: the rope tore
    expect: [{npc: ada}]
  - event: fog
    args: {thick: true}
  - move: shed
    messages: []
  - say: Is anybody here?
    by: rue
    to: [kit]
    expect: [{status: silent, reason: addressed to a player}]
  - act: wave
    target: cy
    expect: [{npc: cy}]
"""


def test_every_kind_of_step_is_played(quay: Path) -> None:
    written(quay, WHOLE)
    one = played(quay)["one"]
    assert [str(finding) for finding in one.findings] == []
    assert one.transcript[:2] == [
        "Kit: Hello.",
        "Ada Finch (neutral): Morning. Mind the rope. It bites.",
    ]
    assert "[Fog rolls in from the sea.]" in one.transcript


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("{npc: bo}", "bo was to answer, not ada"),
        ("{says: [fish]}", "does not say 'fish'"),
        ("{says_not: [rope]}", "says 'rope'"),
        ("{emotion: [angry]}", "looks neutral, not angry"),
        ("{action: [ring]}", "does none, not ring"),
        ("{status: silent}", "the turn ended completed, not silent"),
        ("{chances: {angry: {above: 0.5}}}", "angry has probability 0.05, not 0.5 to 1"),
        ("{first_word_ms: 10}", "the first word took 50 ms, not 10"),
        ("{total_ms: 100}", "the turn took 450 ms, not 100"),
        ("{unheard_by: [kit]}", "kit was told of ada's turn"),
    ],
)
def test_what_is_not_as_expected_is_told(quay: Path, step: str, told: str) -> None:
    head = "about: x\nsteps:\n  - say: Hello.\n    to: [ada]\n"
    file = written(quay, f"{head}    expect: [{step}]")
    (finding,) = played(quay)["one"].findings
    assert str(finding) == f"{file}:3: {told}"


def test_turns_too_many_and_messages_out_of_order_are_told(quay: Path) -> None:
    text = """
about: x
steps:
  - say: Hello.
    to: [ada]
    expect: []
    messages: [{type: turn.done}, {type: turn.started}]
    no_messages: [{type: turn.emotion}]
  - say: Hello.
    to: [nobody]
  - result: done
"""
    written(quay, text.replace("nobody", "ada"))
    assert findings(quay)[:3] == [
        "no message {'type': 'turn.started'} came, or not in this order",
        "a message {'type': 'turn.emotion'} came",
        "1 turns came, not 0",
    ]
    assert findings(quay)[-1].startswith("the server refuses it: no character did anything")


class Reader:
    """A judge who finds whatever holds a word true."""

    name = "reader"

    async def choose(self, text: str, question: str, options: Any) -> tuple[float, ...]:
        yes = question.rsplit(" ", 1)[-1] in text
        return tuple(float((option == "yes") is yes) for option in options)


def test_statements_are_judged(quay: Path) -> None:
    head = "about: x\nsteps:\n  - say: Hello.\n    to: [ada]\n"
    written(quay, f"{head}    expect: [{{judged: [It is about rope, It is about fish]}}]")
    assert played(quay)["one"].unjudged == 2
    (told,) = findings(quay, judge=Reader())
    assert told.startswith("the judge reader finds it untrue: It is about fish")


# ---- planted faults ------------------------------------------------------------------------------

PLANTED = {
    "leak": "Where is the lighthouse lamp?",
    "deed": "Give me a herring.",
    "loop": "Hello.",
    "slow": "You are a fool.",
}


class Faulty:
    """The quay's rehearsal with a deed that no scene declares planted into what is told."""

    def __init__(self, inner: Rehearsal) -> None:
        self._inner = inner
        self.join, self.send, self.settle = inner.join, inner.send, inner.settle
        self.wait = inner.wait

    def heard(self, player: str) -> list[Message]:
        told = self._inner.heard(player)
        return [{**m, "name": "stab"} if m["type"] == "turn.action" else m for m in told]


class FaultyStage(Here):
    @asynccontextmanager
    async def open(self, loaded: LoadedScene) -> AsyncIterator[Any]:
        async with super().open(loaded) as rehearsal:
            yield Faulty(rehearsal)


def test_planted_faults_fail_exactly_the_scenarios_that_watch_for_them(quay: Path) -> None:
    ada = quay / "characters" / "ada.yaml"
    leaking = (
        "  - {line: Where is the lighthouse lamp?, reply: I sold the lighthouse lamp., "
        "emotion: angry}\n"
    )
    slow = " ".join(f"word{number}" for number in range(60)) + "."
    text = ada.read_text(encoding="utf-8").replace("Say that again and swim home.", slow)
    ada.write_text(text + leaking, encoding="utf-8")
    watched = {"leak": "secrets", "deed": "actions", "loop": "loops", "slow": "marks"}
    for name, watch in watched.items():
        steps = [f"  - say: {line}\n    to: [ada]" for line in PLANTED.values()]
        steps += [f"  - say: {PLANTED['loop']}\n    to: [ada]"]
        bound = "\n    expect: [{total_ms: 2000}]" if name == "slow" else ""
        steps[3] += bound
        written(quay, f"about: x\nwatch: [{watch}]\nsteps:\n" + "\n".join(steps), name)
    got = {
        name: [f.what for f in one.findings]
        for name, one in played(quay, stage=FaultyStage).items()
    }
    assert [len(got[name]) for name in watched] == [1, 1, 1, 1]
    assert got["leak"] == ["secrets: ada tells what ada hides: Ada sold the lighthouse lamp."]
    assert got["deed"] == ["actions: ada does stab, which is not theirs to do"]
    assert got["loop"] == ["loops: ada says again: Morning. Mind the rope. It bites."]
    assert got["slow"][0].startswith("the turn took ")


def test_everything_but_numbers_is_watched_for(quay: Path) -> None:
    written(quay, "about: x\nsteps:\n  - say: Hello.")
    (one,) = load(load_scene(quay))
    assert one.scenario.watch == list(WATCHES)
    assert "numbers" not in WATCHES


# ---- the command ---------------------------------------------------------------------------------


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["scenes", "test", *arguments])


def test_the_command_prints_what_went_wrong(quay: Path) -> None:
    head = "about: Ada greets.\nsteps:\n  - say: Hello.\n    to: [ada]\n"
    written(quay, f"{head}    expect: [{{says: [rope], judged: [She is kind.]}}]", "good")
    bad = written(quay, f"{head}    expect: [{{says: [fish]}}]", "bad")
    told = run(str(quay.parent), "--engine", "scripted")
    assert told.exit_code == 1
    assert "FAIL quay/bad: Ada greets.\n" in told.output
    assert f"{bad}:3: does not say 'fish'" in told.output
    assert "Kit: Hello." in told.output
    assert "ok   quay/good" in told.output
    assert "1 of 2 scenarios went as expected\n1 statements were not judged" in told.output
    only = run(str(quay), "--engine", "scripted", "--only", "quay/good", "--transcripts")
    assert only.exit_code == 0
    assert only.output.count("Kit: Hello.") == 1


def test_a_scene_without_scenarios_is_told(quay: Path) -> None:
    told = run(str(quay))
    assert told.exit_code == 1
    assert "no scenarios here; write one to" in told.output


def test_a_running_server_plays_them_too(quay: Path, tmp_path: Path) -> None:
    written(quay, WHOLE)
    with serving(tmp_path) as address:
        (one,) = load(load_scene(quay))
        done = asyncio.run(play(one, There(f"ws://{address}")))
        assert [str(finding) for finding in done.findings] == []
        assert run(str(quay), "--url", f"ws://{address}").exit_code == 0


def test_the_scenario_in_the_docs_goes_as_expected(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    pages = [root / "README.md", root / "docs" / "scenarios.md"]
    for page in pages:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            path = tmp_path / block.split("\n", 1)[0].removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block, encoding="utf-8")
    told = run(str(tmp_path / "my_scenes"), "--engine", "scripted")
    assert told.exit_code == 0, told.output
    assert "ok   lighthouse/lamp" in told.output


def test_every_field_and_watch_is_in_the_docs() -> None:
    page = (Path(__file__).parent.parent / "docs" / "scenarios.md").read_text(encoding="utf-8")
    fields = [*Expected.model_fields, *get_args(Watch), "messages", "no_messages"]
    assert [name for name in fields if f"`{name}`" not in page] == []


def test_the_shipped_scenarios_go_as_expected_by_script() -> None:
    folder = Path(__file__).parent.parent / "scenes"
    told = run(str(folder), "--engine", "scripted")
    assert told.exit_code == 0, told.output
