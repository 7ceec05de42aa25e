"""Speaking in a live scene: in turn, unasked, not at all, and what each listener heard of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcserver.admission import Admission
from npcserver.engines.base import Decision, Prompt
from npcserver.engines.scripted import ScriptedEngine
from npcserver.errors import Rejected
from npcserver.explaining import explain
from npcserver.floor import Rules
from npcserver.journal import Cue, Store
from npcserver.library import LoadedScene, load_scene
from npcserver.prompt import PromptBuilder
from npcserver.protocol import TurnHeard
from npcserver.rehearsal import Here
from npcserver.scenarios import LoadedScenario, load
from npcserver.trial import play
from npcserver.views import snapshot
from tests.clock import run
from tests.stage import QUAY, FaultyStore, Player, directed, live

WHARF = load_scene(Path(__file__).parent / "living" / "wharf")


@pytest.mark.parametrize("scenario", load(WHARF), ids=lambda each: each.file.stem)
def test_the_scenarios_of_the_wharf_go_as_expected(scenario: LoadedScenario) -> None:
    stage = Here(ScriptedEngine({"wharf": WHARF}, pace_s=0.05))
    played = run(lambda: play(scenario, stage))
    assert [str(finding) for finding in played.findings] == []


# ---- in turn -------------------------------------------------------------------------------------


def engine(loaded: LoadedScene) -> ScriptedEngine:
    return ScriptedEngine({"quay": loaded}, pace_s=0.05)


def test_within_earshot_one_speaks_at_a_time_and_elsewhere_others_do() -> None:
    async def main() -> None:
        async with live() as scene:
            kit, lee = await Player(scene, "kit").join(), await Player(scene, "lee").join()
            far = await Player(scene, "far").join()
            await far.send("player.move", place="shed")
            await kit.say("Hello.", to=["ada"])
            await lee.say("Hello.", to=["bo"])
            await far.say("Hello.", to=["cy"])
            await kit.until("turn.done", 2)
            await far.until("turn.done")
            kinds = [m.type for m in kit.heard if m.type in ("turn.started", "turn.done")]
            assert kinds == ["turn.started", "turn.done"] * 2
            assert far.of("turn.done")[0].timing.queue_ms == 0
            assert kit.of("turn.done")[1].timing.queue_ms > 0

    run(main)


def test_an_exchange_stops_when_a_player_speaks_and_not_for_a_whisper_elsewhere() -> None:
    loaded = directed(exchanges=8)

    async def main() -> None:
        async with live(engine=engine(loaded), loaded=loaded) as scene:
            kit, lee = await Player(scene, "kit").join(), await Player(scene, "lee").join()
            await lee.send("player.move", place="shed")
            await kit.say("Who mends boats?", to=["ada"])
            await kit.until("turn.started", 2)
            await lee.say("Hello.", to=["cy"], volume="whisper")
            third = await kit.until("turn.started", 3)
            assert third.because == "exchange"
            await kit.say("Hello.", to=["ada"])
            done = kit.of("turn.done")[-1]
            assert (done.turn_id, done.status) == (third.turn_id, "interrupted")
            assert done.reason == "a player spoke"
            assert (await kit.until("turn.started", 4)).to == ["kit"]

    run(main)


def test_whoever_hears_an_exchange_may_stop_it() -> None:
    loaded = directed(exchanges=8)

    async def main() -> None:
        async with live(engine=engine(loaded), loaded=loaded) as scene:
            kit, lee = await Player(scene, "kit").join(), await Player(scene, "lee").join()
            far = await Player(scene, "far").join()
            await far.send("player.move", place="shed")
            await kit.say("Who mends boats?", to=["ada"])
            turn = (await lee.until("turn.started", 2)).turn_id
            with pytest.raises(Rejected, match="not addressed to you"):
                await far.send("turn.cancel", turn_id=turn)
            await lee.send("turn.cancel")
            assert (await kit.until("turn.done", 2)).status == "interrupted"
            await scene.floor.quiet()
            assert len(kit.of("turn.started")) == 2

    run(main)


def test_who_says_something_at_once_is_answered_and_not_greeted() -> None:
    loaded = directed(own_lines=4, silence_s=3600)

    async def main() -> None:
        async with live(engine=engine(loaded), loaded=loaded) as scene:
            kit, lee = await Player(scene, "kit").join(), await Player(scene, "lee").join()
            await asyncio.sleep(3)
            await kit.say("Hello.", to=["ada"])
            await asyncio.sleep(20)
            to_kit = [m.because for m in kit.of("turn.started") if m.to == ["kit"]]
            to_lee = [m.because for m in kit.of("turn.started") if m.to == ["lee"]]
            assert (to_kit, to_lee) == (["addressed"], ["arrival"])
            assert len(lee.of("turn.started")) == 2

    run(main)


def test_a_cue_that_cannot_be_written_down_does_not_end_breaking_the_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loaded, store = directed(own_lines=6, silence_s=30), FaultyStore()

    async def main() -> None:
        async with live(store, engine=engine(loaded), loaded=loaded) as scene:
            kit = await Player(scene, "kit").join()
            await kit.until("turn.done")
            store.faults = [Cue]
            await asyncio.sleep(600)
            assert store.faults == []
            unasked = [m.because for m in kit.of("turn.started")]
            assert unasked == ["arrival", "silence", "silence", "silence"]

    run(main)
    assert "nobody could speak unasked: the journal could not be written" in caplog.text


def test_who_types_is_waited_for() -> None:
    loaded = directed(own_lines=4)

    async def main() -> None:
        async with live(engine=engine(loaded), loaded=loaded) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await asyncio.sleep(20)
            await scene.floor.quiet()
            before = len(kit.of("turn.started"))
            await kit.send("player.typing", text="I thi")
            await kit.send("scene.event", name="fog")
            assert len(kit.of("turn.started")) == before
            await asyncio.sleep(5)
            await kit.send("scene.event", name="fog")
            await kit.until("turn.started", before + 1)

    run(main)


# ---- the model's choice --------------------------------------------------------------------------


class Casting(ScriptedEngine):
    """Thinks that Bo speaks next, whatever is said."""

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        if not prompt.speaker:
            assert prompt.messages[-1].text == "Kit: Good day."
            return Decision(tuple(0.7 if name == "Bo" else 0.3 for name in options))
        return await super().decide(prompt, options)


def test_where_rules_leave_it_open_the_model_decides_and_says_how_surely() -> None:
    loaded = directed(ask_model=True)
    store = Store(":memory:")

    async def main() -> None:
        async with live(store, Casting({"quay": loaded}), loaded=loaded) as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Good day.")
            started = await kit.until("turn.started")
            assert (started.npc, started.because) == ("bo", "model")
            assert started.probabilities == {"ada": 0.3, "bo": 0.7}
            await kit.until("turn.done")
            await kit.say("Ada, hello.")
            assert (await kit.until("turn.started", 2)).probabilities is None

    run(main)
    told = explain(loaded, store.entries("quay", "main"), "t1", 1200, 0)
    assert told is not None
    assert (told.because, told.odds) == ("model", {"ada": 0.3, "bo": 0.7})


def test_the_models_choice_waits_to_be_let_in_as_turns_do() -> None:
    loaded, admission = directed(ask_model=True), Admission(lambda: 1000)
    asked_at: list[float] = []

    class Watched(Casting):
        async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
            asked_at.append(asyncio.get_running_loop().time())
            return await super().decide(prompt, options)

    async def main() -> None:
        rules = Rules(admission=admission)
        async with live(engine=Watched({"quay": loaded}), loaded=loaded, rules=rules) as scene:
            kit = await Player(scene, "kit").join()
            async with admission.admitted(1000, deadline=100):
                await kit.say("Good day.")
                await asyncio.sleep(7)
                assert not asked_at
            assert (await kit.until("turn.started")).because == "model"
            assert asked_at[0] == 7

    run(main)


def test_an_exchange_is_explained_by_the_line_it_answers() -> None:
    loaded, store = directed(exchanges=1), Store(":memory:")

    async def main() -> None:
        async with live(store, engine(loaded), loaded=loaded) as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Who mends boats?", to=["ada"])
            await kit.until("turn.done", 2)
            await scene.floor.quiet()

    run(main)
    told = explain(loaded, store.entries("quay", "main"), "t2", 1200, 0)
    assert told is not None
    assert (told.npc, told.line, told.because) == ("bo", "Bo does.", "exchange")
    assert told.prompt[-1].text.endswith("Ada Finch: Bo does.")


# ---- the lock ------------------------------------------------------------------------------------


def test_a_lock_stops_who_speaks_and_ends_with_its_host() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            host = await Player(scene, "host", host=True).join()
            await kit.say("Hello.", to=["ada"])
            await kit.until("turn.text")
            with pytest.raises(Rejected, match="only a token of role host may lock"):
                await kit.send("scene.lock")
            await host.send("scene.lock")
            assert kit.of("turn.done")[0].status == "interrupted"
            await kit.say("Hello.", to=["ada"])
            assert (await kit.until("turn.done", 2)).reason == "the game plays a scripted scene"
            await kit.send("player.act", action="waves", target="ada")
            assert (await kit.until("turn.done", 3)).status == "silent"
            started = [each.because for each in kit.of("turn.started")]
            assert started == ["addressed", "nearest", "act"]
            assert (await Player(scene, "lee").join()).of("scene.snapshot")[0].locked == "host"
            await scene.leave("host")
            assert locks(kit) == [("locked", "host"), ("unlocked", "host")]
            assert (await Player(scene, "rue").join()).of("scene.snapshot")[0].locked is None
            await kit.say("Hello.", to=["ada"])
            assert (await kit.until("turn.done", 4)).status == "completed"

    run(main)


def locks(player: Player) -> list[tuple[str, str]]:
    """What a player was told of locks, by whom."""
    told = player.of("scene.changed")
    return [(each.what, each.name) for each in told if each.what in ("locked", "unlocked")]


def test_a_save_holds_the_lock_and_a_restart_ends_it() -> None:
    store = Store(":memory:")

    async def main() -> None:
        async with live(store) as scene:
            host = await Player(scene, "host", host=True).join()
            await host.send("scene.save", save_id="free")
            await host.send("scene.lock")
            await host.send("scene.save", save_id="locked")
            await host.send("scene.restore", save_id="free")
            assert not scene.state.pace.locked_by
            assert host.of("scene.snapshot")[-1].locked is None
            await host.send("scene.restore", save_id="locked")
            assert scene.state.pace.locked_by == "host"
            assert host.of("scene.snapshot")[-1].locked == "host"
            changes = [("locked", "host"), ("unlocked", "host"), ("locked", "host")]
            assert locks(host) == changes
            await host.send("scene.restore", save_id="locked")
            assert locks(host) == changes, "it was locked before"
        async with live(store) as scene:
            assert not scene.state.pace.locked_by

    run(main)


# ---- heard only ----------------------------------------------------------------------------------


def test_each_remembers_of_a_line_what_reached_them() -> None:
    async def main() -> None:
        async with live() as scene:
            players = [await Player(scene, who).join() for who in ("kit", "lee", "rue")]
            kit, lee, _ = players
            await kit.say("Hello.", to=["ada"])
            turn = (await kit.until("turn.done")).turn_id
            await kit.send("turn.heard", turn_id=turn, chars=8)
            await lee.send("turn.heard", turn_id=turn, chars=23)
            past = scene.state.happenings[-1]
            heard = {who: past.heard_as(who) for who in ("kit", "lee", "rue", "ada", "bo")}
            assert heard == {
                "kit": "Morning.",
                "lee": "Morning. Mind the rope.",
                "rue": "Morning. Mind the rope. It bites.",  # said nothing to the contrary
                "ada": "Morning.",  # it was Kit she spoke to
                "bo": "Morning. Mind the rope. It bites.",
            }
            assert snapshot(scene.state, "lee").recent[-1].text == heard["lee"]
            await kit.say("Goodbye.", to=["bo"])
            shown = {}
            for npc in ("ada", "bo"):
                prompt = PromptBuilder(QUAY, npc, 1200, 9).build(scene.state, scene.state.number)
                shown[npc] = [line for m in prompt.messages for line in m.text.split("\n")]
            assert "Ada Finch (looking neutral): Morning." in shown["ada"]
            assert f"Ada Finch: {past.text}" in shown["bo"]

    run(main)


def test_who_walks_away_hears_no_more_and_who_is_answered_is_not_shouted_after() -> None:
    async def main() -> None:
        async with live() as scene:
            kit, lee = await Player(scene, "kit").join(), await Player(scene, "lee").join()
            await kit.say("Hello.", to=["ada"])
            await lee.until("turn.text", 2)
            await lee.send("player.move", place="shed")
            left = lee.of("turn.done")[-1]
            assert (left.status, left.reason) == ("interrupted", "out of earshot")
            assert left.text == "".join(part.delta for part in lee.of("turn.text"))
            await kit.until("turn.done")
            assert lee.heard[-1] is left
            past = scene.state.happenings[-1]
            assert past.heard_as("lee") == left.text
            assert past.heard_as("kit") == past.heard_as("ada") == past.text
            await kit.say("Hello.", to=["ada"])
            await kit.until("turn.text", len(kit.of("turn.text")) + 2)
            await kit.send("player.move", place="shed")
            done = kit.of("turn.done")[-1]
            assert (done.status, done.reason) == ("interrupted", "the player walked away")

    run(main)


def report(turn: str, chars: int) -> TurnHeard:
    return TurnHeard(type="turn.heard", turn_id=turn, chars=chars)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["kit", "lee", "bo", "eve"]), st.integers(0, 60))))
def test_whatever_is_told_of_hearing_everybody_remembers_a_beginning(
    told: list[tuple[str, int]],
) -> None:
    async def main() -> None:
        async with live(engine=ScriptedEngine({"quay": QUAY})) as scene:
            kit = await Player(scene, "kit").join()
            await Player(scene, "lee").join()
            await kit.say("Hello.", to=["ada"])
            turn = (await kit.until("turn.done")).turn_id
            for who, chars in told:
                if who in scene.state.bodies:
                    sender = replace(kit._sender, player=who)
                    await scene.submit(sender, report(turn, chars))
            past = scene.state.happenings[-1]
            reports = {who: [c for by, c in told if by == who] for who in ("kit", "lee")}
            for who, chars in reports.items():
                expected = past.text[: max(chars)] if chars else past.text
                assert past.heard_as(who) == expected
            assert past.heard_as("ada") == past.heard_as("kit")
            both = (past.heard_as("kit"), past.heard_as("lee"))
            assert past.heard_as("bo") == max(both, key=len)

    run(main)
