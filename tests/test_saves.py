"""Saves: a scene goes back to a checkpoint exactly, and forgets what came after it."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.formats.base import Faults
from finetune.formats.journal import reader
from finetune.records import Conversation
from npcserver.engines.scripted import ScriptedEngine
from npcserver.errors import Rejected
from npcserver.hosting import MOST_SAVES
from npcserver.journal import Store
from npcserver.scene import LiveScene
from npcserver.state import SceneState
from tests.clock import run
from tests.server import SCENES
from tests.stage import QUAY, Player, directed, live

LINES = ["Hello.", "Ring the bell.", "Give me a herring.", "You are a fool.", "Is it late?"]


def facts(store: Store, after: int = 0) -> list[dict[str, Any]]:
    """What the journal holds, without clocks and sessions."""
    kept = [entry.fact.model_dump(mode="json") for entry in store.entries("quay", "main")[after:]]
    for fact in kept:
        fact.pop("timing", None)
        fact.pop("line_id", None)
        fact.pop("in_reply_to", None)
    return kept


def told(state: SceneState) -> dict[str, Any]:
    return {name: value for name, value in vars(state).items() if name != "loaded"}


async def talk(player: Player, turns: int, seed: int) -> None:
    """So many lines to whoever, each when the last is answered, some with moves between them."""
    draw = random.Random(seed)
    for _ in range(turns):
        if draw.random() < 0.2:
            await player.send("player.move", place=draw.choice(["quay", "shed"]))
        before = len(player.of("turn.done"))
        await player.say(draw.choice(LINES), to=[draw.choice(["ada", "bo", "cy"])])
        await player.until("turn.done", before + 1)


def test_fifty_turns_are_forgotten_and_played_again_to_the_letter() -> None:
    async def main() -> None:
        store = Store(":memory:")
        async with live(store) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await talk(kit, 5, seed=1)
            await kit.send("scene.save", save_id="dawn")
            saved = told(scene.state)
            was = {
                name: list(value) if name == "happenings" else value
                for name, value in saved.items()
            }
            counts = scene.state.turns, scene.state.number
            begun = len(facts(store))
            await talk(kit, 50, seed=2)
            first = facts(store, begun)
            await kit.send("scene.restore", save_id="dawn")
            assert list(scene.state.happenings) == was["happenings"]
            assert (scene.state.turns, scene.state.number) == counts
            begun = len(facts(store))
            await talk(kit, 50, seed=2)
            assert facts(store, begun) == first

    run(main)


@pytest.mark.parametrize("bounds", [{"cooldown_s": 60}, {"own_lines": 2, "cooldown_s": 0}])
def test_unasked_lines_come_again_too_however_late_it_is(bounds: dict[str, Any]) -> None:
    """Who rested at the save rests as long after it, and the lines of a minute count as then."""
    living = directed(**{"exchanges": 2, "own_lines": 6, "silence_s": 20, **bounds})

    async def main() -> None:
        store = Store(":memory:")
        async with live(store, ScriptedEngine({"quay": living}), loaded=living) as scene:
            kit = await Player(scene, "kit", host=True).join()

            async def branch() -> list[dict[str, Any]]:
                begun = len(facts(store))
                await asyncio.sleep(5)
                for _ in range(3):
                    await kit.send("scene.event", name="fog", args={"thick": True})
                    await scene.floor.quiet()
                    await asyncio.sleep(30)
                return facts(store, begun)

            await branch()
            await kit.send("scene.event", name="fog", args={"thick": True})
            await scene.floor.quiet()
            await kit.send("scene.save", save_id="fork")
            first = await branch()
            assert {"event", "silence"} <= {fact.get("because") for fact in first}
            for wait in (0, 100, 3600):
                await asyncio.sleep(wait)
                await kit.send("scene.restore", save_id="fork")
                assert await branch() == first

    run(main)


def test_two_branches_of_a_save_do_not_see_each_other() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit", host=True).join()
            await kit.send("scene.save", save_id="fork")
            await kit.say("I took the lamp.", to=["ada"])
            await kit.until("turn.done")
            await kit.send("scene.save", save_id="thief")
            await kit.send("scene.restore", save_id="fork")
            await kit.say("I left the lamp.", to=["ada"])
            await kit.until("turn.done", 2)
            assert "took" not in " ".join(past.text for past in scene.state.happenings)
            await kit.send("scene.restore", save_id="thief")
            heard = " ".join(past.text for past in scene.state.happenings)
            assert "took" in heard
            assert "left" not in heard

    run(main)


def test_where_people_are_and_who_came_since() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit", host=True).join()
            rue = await Player(scene, "rue").join()
            await kit.send("player.move", place="shed")
            await kit.send("scene.save", save_id="one")
            await kit.send("player.move", place="quay")
            await scene.leave("rue")
            lee = await Player(scene, "lee").join()
            await lee.send("player.move", place="shed")
            await kit.send("scene.restore", save_id="one")
            places = {body.id: body.place for body in scene.state.players}
            assert places == {"kit": "shed", "lee": "shed"}
            for player in (kit, lee):
                assert player.of("scene.changed")[-1].what == "restored"
                assert player.heard[-1].type == "scene.snapshot"
                assert {p.id for p in player.heard[-1].players} == {"kit", "lee"}
            assert rue.of("scene.changed")[-1].what == "saved"

    run(main)


def test_a_turn_under_way_ends_and_is_no_part_of_a_save() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit", host=True).join()
            await kit.say("Hello.", to=["ada"])
            await kit.until("turn.text")
            await kit.send("scene.save", save_id="mid")
            await kit.send("scene.restore", save_id="mid")
            done = await kit.until("turn.done")
            assert (done.status, done.reason) == ("interrupted", "the scene went back to a save")
            assert scene.state.open_turns == {}
            assert [past.text for past in scene.state.happenings] == ["Hello."]
            await kit.say("Hello.", to=["ada"])
            assert (await kit.until("turn.done", 2)).status == "completed"

    run(main)


def test_saves_outlive_the_server() -> None:
    async def main() -> None:
        store = Store(":memory:")
        async with live(store) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await kit.say("Hello.", to=["ada"])
            await kit.until("turn.done")
            await kit.send("scene.save", save_id="one")
            await kit.say("You are a fool.", to=["ada"])
            await kit.until("turn.done", 2)
        async with live(store) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await kit.send("scene.restore", save_id="one")
            spoken = [past.text for past in scene.state.happenings]
            assert spoken == ["Hello.", "Morning. Mind the rope. It bites."]
            assert scene.state.bodies["ada"].emotion == "neutral"

    run(main)


def test_what_is_refused() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            host = await Player(scene, "host", host=True).join()
            for kind in ("scene.save", "scene.restore"):
                with pytest.raises(Rejected, match="only a token of role host"):
                    await kit.send(kind, save_id="one")
            with pytest.raises(Rejected, match="there is no save 'one'"):
                await host.send("scene.restore", save_id="one")
            for number in range(MOST_SAVES):
                await host.send("scene.save", save_id=f"s{number}")
            await host.send("scene.save", save_id="s0")
            with pytest.raises(Rejected, match="save over one"):
                await host.send("scene.save", save_id="one-too-many")

    run(main)


STEPS = st.lists(
    st.sampled_from(["say", "move", "save a", "save b", "restore a", "restore b", "cancel"]),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_the_state_is_always_the_fold_of_the_journal(steps: list[str]) -> None:
    async def step(kit: Player, what: str) -> None:
        match what.split():
            case ["say"]:
                await kit.say("Hello.", to=["bo"])
            case ["move"]:
                await kit.send("player.move", place="quay")
            case ["cancel"]:
                await kit.send("turn.cancel")
            case [kind, name]:
                await kit.send(f"scene.{kind}", save_id=name)

    async def main() -> None:
        store = Store(":memory:")
        async with live(store) as scene:
            kit = await Player(scene, "kit", host=True).join()
            for what in steps:
                try:
                    await step(kit, what)
                except Rejected as error:
                    assert "there is no save" in error.message
                assert told(folded(store)) == told(scene.state)

    run(main)


def folded(store: Store) -> SceneState:
    state = SceneState(QUAY)
    for entry in store.entries("quay", "main"):
        state.apply(entry)
    return state


def test_both_branches_can_be_learned_from(tmp_path: Path) -> None:
    async def main(scene: LiveScene) -> None:
        kit = await Player(scene, "kit", host=True).join()
        await kit.say("Hello.", to=["ada"])
        await kit.until("turn.done")
        await kit.send("scene.save", save_id="fork")
        await kit.say("Ring the bell.", to=["ada"])
        await kit.until("turn.done", 2)
        await kit.send("turn.rate", turn_id="t2", rating="bad")
        await kit.send("scene.restore", save_id="fork")
        await kit.say("You are a fool.", to=["ada"])
        await kit.until("turn.done", 3)

    async def played() -> None:
        store = Store(tmp_path / "journal.db")
        async with live(store, ScriptedEngine({"quay": QUAY})) as scene:
            await main(scene)
        store.close()

    run(played)
    faults = Faults()
    found = [
        each
        for each in reader(SCENES)(tmp_path / "journal.db", faults)
        if isinstance(each, Conversation) and each.turns[-1].speaker == "ada"
    ]
    assert not faults.found
    replies = [[(t.text, t.rating) for t in each.turns if t.speaker == "ada"] for each in found]
    greeting = ("Morning. Mind the rope. It bites.", None)
    assert replies == [
        [greeting, ("Cover your ears.", "bad")],
        [greeting, ("Say that again and swim home.", None)],
    ]
