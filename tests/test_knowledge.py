"""Who may know what, and since when: held on the prompts, not on luck."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from npcserver import knowledge
from npcserver.engines.base import Prompt
from npcserver.errors import SceneError
from npcserver.happening import Happening
from npcserver.library import LoadedScene, load_scene
from npcserver.prompt import PromptBuilder
from npcserver.sheets import Fact
from npcserver.state import SceneState
from tests.clock import run
from tests.server import SCENES
from tests.stage import QUAY, Player, live

FACTS = [
    Fact(fact="The ferry to Oxmoor leaves at nine."),
    Fact(fact="The customs men hid a crate under the stairs.", known_by=["customs"]),
    Fact(fact="Bo owes eleven crowns at the tavern.", known_by=["bo"]),
    Fact(fact="The fog hides a wreck off the northern reef.", after="fog"),
    Fact(fact="A smuggler lands barrels in the fog.", known_by=["cy"], after="fog"),
]
ASKED = [
    "When does the ferry to Oxmoor leave?",
    "Is there a crate of the customs men under the stairs?",
    "What does Bo owe at the tavern, how many crowns?",
    "Is there a wreck off the northern reef, in the fog?",
    "Who is the smuggler who lands barrels?",
]


def told() -> LoadedScene:
    """The quay with facts; Ada is of the customs."""
    ada = QUAY.characters["ada"].model_copy(update={"factions": ["customs"]})
    scene = QUAY.scene.model_copy(update={"facts": FACTS})
    return LoadedScene("quay", scene, QUAY.characters | {"ada": ada}, QUAY.folder)


LOADED = told()


def text(prompt: Prompt) -> str:
    return "\n".join(message.text for message in prompt.messages)


def asked(state: SceneState, npc: str, line: str, history: int = 0) -> str:
    """The prompt for a line that is said now."""
    state.number += 1
    everyone = frozenset(state.bodies)
    state.happenings.append(
        Happening(state.number, "kit", "Kit", line, True, (), "talk", everyone, 0)
    )
    builder = PromptBuilder(LOADED, npc, budget=4000, history=history)
    return text(builder.build(state, state.number))


@pytest.mark.parametrize(
    ("npc", "knows"), [("ada", [0, 1]), ("bo", [0, 2]), ("cy", [0])], ids=["ada", "bo", "cy"]
)
def test_before_anything_happened(npc: str, knows: list[int]) -> None:
    for at, (fact, line) in enumerate(zip(FACTS, ASKED, strict=True)):
        prompt = asked(SceneState(LOADED), npc, line)
        assert (fact.fact in prompt) is (at in knows), fact.fact


@pytest.mark.parametrize(
    ("npc", "knows"), [("ada", [0, 1, 3]), ("bo", [0, 2, 3]), ("cy", [0, 3, 4])]
)
def test_whoever_saw_the_fog_knows_more(npc: str, knows: list[int]) -> None:
    for at, (fact, line) in enumerate(zip(FACTS, ASKED, strict=True)):
        state = SceneState(LOADED)
        state.number, state.witnessed[npc, "fog"] = 1, 1
        assert (fact.fact in asked(state, npc, line)) is (at in knows), fact.fact


def test_what_was_asked_before_keeps_its_answer_and_the_prompt_is_extended() -> None:
    state = SceneState(LOADED)
    first = asked(state, "bo", ASKED[3], history=8)
    state.number += 1
    state.witnessed["bo", "fog"] = state.number
    second = asked(state, "bo", ASKED[3], history=8)
    assert second.startswith(first)
    assert FACTS[3].fact not in first
    assert second.count(FACTS[3].fact) == 1


def test_an_event_teaches_those_who_perceive_it_and_a_restore_forgets_it() -> None:
    async def main() -> None:
        async with live(loaded=LOADED) as scene:
            host = await Player(scene, "host", host=True).join()
            await host.send("scene.save", save_id="clear")
            await host.send("scene.event", name="fog", seen_by=["bo", "host"])
            now = scene.state.number + 1
            assert FACTS[3].fact in knowledge.known(LOADED, scene.state, "bo", now)
            assert FACTS[3].fact not in knowledge.known(LOADED, scene.state, "ada", now)
            await host.send("scene.restore", save_id="clear")
            assert FACTS[3].fact not in knowledge.known(LOADED, scene.state, "bo", now)

    run(main)


def test_a_place_is_whoever_of_the_cast_begins_there() -> None:
    fact = Fact(fact="The harbour chain is rusted through.", known_by=["quay"])
    loaded = replace(QUAY, scene=QUAY.scene.model_copy(update={"facts": [fact]}))
    state = SceneState(loaded)
    state.bodies["cy"] = replace(state.bodies["cy"], place="quay")  # walked there since
    known = {npc: knowledge.known(loaded, state, npc, 1) for npc in loaded.characters}
    knowing = {npc for npc, facts in known.items() if fact.fact in facts}
    assert knowing == {"ada", "bo"}
    assert dict(knowledge.withheld(loaded, state, "cy", 1))[fact.fact] == "known by quay only"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("facts: [{fact: x, after: rain}]", "facts.0.after: there is no event 'rain'"),
        ("facts: [{fact: x, known_by: [eve]}]", "there is no character, faction or place 'eve'"),
        ("facts: [{fact: x, know_by: [ada]}]", "facts.0.know_by: unknown key"),
    ],
)
def test_a_wrong_fact_is_told_by_line(tmp_path: Path, line: str, told: str) -> None:
    folder = tmp_path / "quay"
    (folder / "characters").mkdir(parents=True)
    for file in SCENES.glob("quay/**/*.yaml"):
        copy = folder / file.relative_to(SCENES / "quay")
        copy.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    scene = folder / "scene.yaml"
    number = len(scene.read_text(encoding="utf-8").splitlines()) + 1
    scene.write_text(scene.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(SceneError, match=f"scene.yaml:{number}: .*{told}"):
        load_scene(folder)


def test_a_name_that_is_a_place_and_a_faction_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "quay"
    shutil.copytree(SCENES / "quay", folder)
    ada, scene = folder / "characters" / "ada.yaml", folder / "scene.yaml"
    for file, line in ((ada, "factions: [shed]"), (scene, "facts: [{fact: x, known_by: [shed]}]")):
        file.write_text(f"{file.read_text(encoding='utf-8')}{line}\n", encoding="utf-8")
    with pytest.raises(SceneError, match="'shed' is a place too"):
        load_scene(folder)
