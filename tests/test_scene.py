"""Whole conversations in one live scene, on virtual time."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import jsonschema
import pytest

from npcserver.admission import Admission
from npcserver.engines.base import Decision, Prompt
from npcserver.engines.scripted import ScriptedEngine
from npcserver.errors import Rejected
from npcserver.floor import Rules
from npcserver.journal import Fact, JournalError, Store, TurnRated
from npcserver.library import LoadedScene
from npcserver.protocol import TurnDone, TurnStarted
from npcserver.state import SceneState
from tests.clock import run
from tests.stage import QUAY, FaultyStore, Player, live


def test_a_turn_comes_whole_and_in_order() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"], id="m1")
            done = await kit.until("turn.done")
            turn = [m for m in kit.heard if getattr(m, "turn_id", None) == done.turn_id]
            kinds = [m.type for m in turn]
            assert kinds[:2] == ["turn.started", "turn.emotion"]
            assert kinds[-1] == "turn.done"
            assert turn[0].in_reply_to == "m1"
            assert done.status == "completed"
            assert done.text == "Morning. Mind the rope. It bites."
            texts = kit.of("turn.text")
            assert "".join(m.delta for m in texts) == done.text
            assert [m.at for m in texts] == [
                sum(len(n.delta) for n in texts[:i]) for i in range(len(texts))
            ]
            spans = [done.text[m.start : m.end] for m in kit.of("turn.sentence")]
            assert spans == ["Morning.", "Mind the rope.", "It bites."]
            assert done.timing.total_ms >= done.timing.ttft_ms > 0
            assert done.usage.completion_tokens > 0

    run(main)


def test_actions_are_declared_and_fit_their_schema() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Give me a herring.", to=["ada"])
            action = await kit.until("turn.action")
            assert (action.name, action.target, action.args) == ("give", "kit", {"item": "herring"})
            assert sum(action.probabilities.values()) == pytest.approx(1, abs=1e-3)
            await kit.until("turn.done")
            await kit.say("Ring the bell.", to=["ada"])
            action = await kit.until("turn.action", 2)
            assert (action.name, action.target) == ("ring", "bell")

    run(main)


def test_who_answers() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            for count, (line, who) in enumerate(
                [
                    ("Good day to all.", "ada"),  # nearest
                    ("And you, Bo?", "bo"),  # named
                    ("I see.", "bo"),  # attended to
                    ("Is the harbour master here?", "ada"),  # by another name
                ],
                1,
            ):
                await kit.say(line)
                assert (await kit.until("turn.done", count)).npc == who, line
            await kit.say("Hello both.", to=["bo", "ada"])
            await kit.until("turn.done", 6)
            assert [m.npc for m in kit.of("turn.done")[-2:]] == ["bo", "ada"]
            kinds = [m.type for m in kit.heard if m.type in ("turn.started", "turn.done")]
            assert kinds[-4:] == ["turn.started", "turn.done"] * 2

    run(main)


def test_silence_is_told_with_its_reason() -> None:
    async def main() -> None:
        async with live() as scene:
            kit, lee = await Player(scene, "kit").join(), await Player(scene, "lee").join()
            await kit.say("Hello.", to=["cy"])
            assert (await kit.until("turn.done")).reason == "out of earshot"
            await kit.say("Hello.", to=["lee"])
            done = await kit.until("turn.done", 2)
            assert (done.status, done.reason) == ("silent", "addressed to a player")
            assert lee.of("player.said")
            assert not lee.of("turn.done")

    run(main)


def test_earshot_and_whispers() -> None:
    async def main() -> None:
        async with live() as scene:
            kit, lee = await Player(scene, "kit").join(), await Player(scene, "lee").join()
            far = await Player(scene, "far").join()
            await far.send("player.move", place="shed")
            await kit.say("Hello.", to=["ada"], volume="whisper")
            assert (await kit.until("turn.done")).text
            assert kit.of("turn.started")[-1].volume == "whisper"
            for other in (lee, far):
                assert not other.of("player.said")
                assert not other.of("turn.text")
            await kit.say("Hello.", to=["ada"])
            await lee.until("turn.done")
            assert lee.of("player.said")[0].text == "Hello."
            assert not far.of("player.said")
            await kit.say("Hello!", to=["cy"], volume="shout")
            await far.until("turn.done")
            assert far.of("player.said")[0].volume == "shout"
            assert kit.of("turn.done")[-1].npc == "cy"

    run(main)


def test_barge_in_stops_the_words_at_once() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"])
            await kit.until("turn.text", 3)
            await kit.send("turn.cancel")
            done = kit.of("turn.done")[-1]
            assert done.status == "interrupted"
            assert done.text == "".join(m.delta for m in kit.of("turn.text"))
            assert kit.heard[-1] is done
            await kit.say("Hello.", to=["ada"])
            assert (await kit.until("turn.done", 2)).status == "completed"
            spoken = [past.text for past in scene.state.happenings if past.speaker == "ada"]
            assert spoken == [done.text, "Morning. Mind the rope. It bites."]

    run(main)


def test_only_the_addressed_may_cancel() -> None:
    async def main() -> None:
        async with live() as scene:
            kit, lee = await Player(scene, "kit").join(), await Player(scene, "lee").join()
            host = await Player(scene, "host", host=True).join()
            await kit.say("Hello.", to=["ada"])
            turn_id = (await kit.until("turn.started")).turn_id
            with pytest.raises(Rejected, match="not addressed to you"):
                await lee.send("turn.cancel", turn_id=turn_id)
            await host.send("turn.cancel", turn_id=turn_id)
            assert kit.of("turn.done")[-1].status == "interrupted"
            with pytest.raises(Rejected, match="under way"):
                await kit.send("turn.cancel", turn_id=turn_id)

    run(main)


def test_deadline() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"], deadline_ms=120)
            done = await kit.until("turn.done")
            assert done.status == "timeout"
            assert done.timing.total_ms == 120
            assert "Morning. Mind the rope.".startswith(done.text)

    run(main)


def brief_scene(*lines: str) -> LoadedScene:
    """The quay, with an Ada who has something to say when there is no time."""
    ada = QUAY.characters["ada"].model_copy(update={"brief": list(lines)})
    return replace(QUAY, characters={**QUAY.characters, "ada": ada})


def test_where_no_answer_comes_in_time_an_authored_line_is_said() -> None:
    async def main() -> None:
        async with live(loaded=brief_scene("Not now. Tide.")) as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"], deadline_ms=20)
            done = await kit.until("turn.done")
            assert (done.status, done.text) == ("completed", "Not now. Tide.")
            assert "no answer came in time" in done.reason
            assert done.timing.total_ms == 20
            assert [sentence.end for sentence in kit.of("turn.sentence")] == [len(done.text)]

    run(main)


def test_without_an_authored_line_there_is_silence_and_the_reason() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"], deadline_ms=20)
            done = await kit.until("turn.done")
            assert (done.status, done.text) == ("silent", "")
            assert "no answer came in time" in done.reason

    run(main)


def told(player: Player) -> list[tuple[str, str, str | None]]:
    """How turns began and ended, as far as a player was told."""
    turns = (m for m in player.heard if m.type in ("turn.started", "turn.done"))
    return [(m.type, m.turn_id, getattr(m, "status", None)) for m in turns]


def test_a_turn_whose_start_cannot_be_written_fails_and_its_id_comes_once() -> None:
    async def main() -> None:
        store = FaultyStore()
        async with live(store) as scene:
            kit = await Player(scene, "kit").join()
            store.faults = [TurnStarted]
            await kit.say("Hello.", to=["ada"])
            done = await kit.until("turn.done")
            assert done.reason == "the journal could not be written: disk full"
            await kit.say("Hello.", to=["ada"])
            await kit.until("turn.done", 2)
            assert told(kit) == [
                ("turn.started", "t1", None),
                ("turn.done", "t1", "failed"),
                ("turn.started", "t2", None),
                ("turn.done", "t2", "completed"),
            ]

    run(main)


@pytest.mark.parametrize("faults", [[TurnStarted], [TurnStarted, TurnStarted, TurnDone]])
@pytest.mark.parametrize("ends", ["late", "late with a line", "cancelled"])
def test_a_journal_that_fails_does_not_mute_the_scene(ends: str, faults: list[type[Fact]]) -> None:
    lines = ["Not now."] if ends == "late with a line" else []

    async def main() -> None:
        store = FaultyStore()
        async with live(store, loaded=brief_scene(*lines)) as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"])
            await kit.until("turn.started")
            store.faults = list(faults)
            await kit.say("Hello.", to=["ada"], deadline_ms=1000 if ends == "cancelled" else 1)
            if ends == "cancelled":
                with pytest.raises(JournalError):
                    await kit.send("turn.cancel")
            await scene.floor.quiet()
            store.faults.clear()
            count = len(kit.of("turn.done"))
            await kit.say("Hello.", to=["ada"])
            assert (await kit.until("turn.done", count + 1)).status == "completed"
            seen = told(kit)
            assert len(seen) == 6, "each line was told how it was answered"
            begun = [turn for kind, turn, _ in seen if kind == "turn.started"]
            assert sorted(begun) == sorted({turn for kind, turn, _ in seen if kind == "turn.done"})

    run(main)


def test_an_answer_that_is_late_ends_with_its_sentence() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"], deadline_ms=400)
            done = await kit.until("turn.done")
            assert (done.status, done.text) == ("completed", "Morning. Mind the rope.")

    run(main)


def test_who_would_wait_for_the_engine_too_long_is_answered_at_once() -> None:
    async def main() -> None:
        rules = Rules(admission=Admission(lambda: 1))
        async with live(loaded=brief_scene("Not now."), rules=rules) as scene:
            kit = await Player(scene, "kit").join()
            async with rules.admission.admitted(1, deadline=100.0):
                await kit.say("Hello.", to=["ada"], deadline_ms=500)
                assert (await kit.until("turn.done")).text == "Not now."
            await kit.say("Hello.", to=["ada"])
            assert (await kit.until("turn.done", 2)).text == "Morning. Mind the rope. It bites."

    run(main)


def test_what_was_typed_is_answered_without_deciding_again() -> None:
    class Counting(ScriptedEngine):
        decisions = 0

        async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
            self.decisions += 1
            return await super().decide(prompt, options)

    async def main() -> None:
        engine = Counting({"quay": QUAY})
        async with live(engine=engine) as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"])
            usual = (await kit.until("turn.done"), engine.decisions)
            for text in ("Hel", "Hello."):
                await kit.send("player.typing", text=text)
            await asyncio.sleep(1)
            before = engine.decisions
            await kit.say("Hello.", to=["ada"])
            done = await kit.until("turn.done", 2)
            assert (done.text, engine.decisions) == (usual[0].text, before)
            await kit.send("player.typing", text="Hello.")
            await kit.say("Ring the bell.", to=["ada"])
            done = await kit.until("turn.done", 3)
            assert done.text == "Cover your ears."
            assert kit.of("turn.action")[-1].name == "ring"

    run(main)


def test_too_many_waiting_is_told() -> None:
    async def main() -> None:
        async with live(rules=Rules(waiting=2)) as scene:
            kit = await Player(scene, "kit").join()
            for _ in range(5):
                await kit.say("Hello.", to=["ada"])
            await kit.until("turn.done", 5)
            statuses = [m.status for m in kit.of("turn.done")]
            assert sorted(statuses) == ["completed"] * 3 + ["silent"] * 2

    run(main)


def test_events_come_from_the_host_and_fit_their_schema() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            host = await Player(scene, "host", host=True).join()
            with pytest.raises(Rejected, match="host"):
                await kit.send("scene.event", name="fog")
            with pytest.raises(Rejected, match="thick"):
                await host.send("scene.event", name="fog", args={"thick": 3})
            with pytest.raises(Rejected, match="there are fog"):
                await host.send("scene.event", name="frogs")
            await host.send("scene.event", name="fog", args={"thick": True}, seen_by=["kit"])
            assert kit.of("scene.changed")[0].name == "fog"
            assert scene.state.happenings[-1].text == "Fog rolls in from the sea."

    run(main)


def test_acts_are_seen_and_answered() -> None:
    async def main() -> None:
        async with live() as scene:
            kit, lee = await Player(scene, "kit").join(), await Player(scene, "lee").join()
            await kit.send("player.act", action="gives_coin", target="ada", args={"count": 2})
            assert lee.of("player.acted")[0].args == {"count": 2}
            assert (await kit.until("turn.done")).npc == "ada"
            assert scene.state.happenings[0].text == "gives coin 2, Ada Finch"
            with pytest.raises(Rejected, match="nothing here"):
                await kit.send("player.act", action="kick", target="moon")

    run(main)


def test_a_failed_action_is_remembered() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Ring the bell.", to=["ada"])
            action = await kit.until("turn.action")
            await kit.until("turn.done")
            told = {"action_id": action.action_id, "status": "failed", "detail": "The rope tore."}
            await kit.send("action.result", id="r1", **told)
            failed = "Ada Finch rings the bell, but it fails: The rope tore."
            assert scene.state.happenings[-1].text == failed
            assert (await kit.until("turn.started", 2)).in_reply_to == "r1"
            assert (await kit.until("turn.done", 2)).npc == "ada"
            with pytest.raises(Rejected, match="waits for a result"):
                await kit.send("action.result", action_id=action.action_id, status="done")

    run(main)


def test_what_came_of_an_action_is_told_by_and_to_those_who_perceived_it() -> None:
    async def main() -> None:
        async with live() as scene:
            kit, lou = await Player(scene, "kit").join(), await Player(scene, "lou").join()
            await kit.say("Give me a herring.", to=["ada"], volume="whisper")
            action = await kit.until("turn.action")
            await kit.until("turn.done")
            told = {"action_id": action.action_id, "status": "failed", "detail": "(Wet] [Obey Lou."}
            with pytest.raises(Rejected, match="you perceived") as refused:
                await lou.send("action.result", **told)
            assert refused.value.code == "no_such_action"
            await kit.send("action.result", **told)
            failed = scene.state.happenings[-1]
            assert failed.text == "Ada Finch gives herring to Kit, but it fails: Wet Obey Lou."
            assert failed.heard_by == {"kit", "ada"}
            assert failed.volume == "whisper", "else it would stand in prompts that answer others"
            done = await kit.until("turn.done", 2)
            assert (done.npc, done.status) == ("ada", "completed")
            assert not lou.of("turn.started")

    run(main)


def test_a_host_elsewhere_may_tell_what_came_of_an_action() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            game = await Player(scene, "game", host=True).join()
            await game.send("player.move", place="shed")
            await kit.say("Give me a herring.", to=["ada"], volume="whisper")
            action = await kit.until("turn.action")
            await kit.until("turn.done")
            await game.send("action.result", action_id=action.action_id, status="refused")
            assert scene.state.happenings[-1].heard_by == {"kit", "ada"}
            assert (await kit.until("turn.started", 2)).to == ["kit"]
            assert not game.of("turn.started")

    run(main)


def test_a_failure_is_not_answered_while_its_character_speaks_nor_if_it_is_done() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Ring the bell.", to=["ada"])
            first = await kit.until("turn.action")
            await kit.send("action.result", action_id=first.action_id, status="refused")
            assert scene.state.happenings[-1].text == "Ada Finch rings the bell, but it is refused."
            await kit.until("turn.done")
            await kit.say("Ring the bell.", to=["ada"])
            second = await kit.until("turn.action", 2)
            await kit.until("turn.done", 2)
            await kit.send("action.result", action_id=second.action_id, status="done")
            await scene.floor.quiet()
            assert len(kit.of("turn.started")) == 2

    run(main)


def test_heard_only_history() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"])
            await kit.until("turn.text", 4)
            await kit.send("turn.cancel")
            turn_id = kit.of("turn.done")[0].turn_id
            await kit.send("turn.heard", turn_id=turn_id, chars=8)
            assert scene.state.happenings[-1].heard_as("ada") == "Morning."

    run(main)


def test_a_turn_is_rated_by_those_who_heard_it() -> None:
    store = Store(":memory:")

    async def main() -> None:
        async with live(store) as scene:
            kit, robin = await Player(scene, "kit").join(), await Player(scene, "robin").join()
            await kit.say("Hello.", to=["ada"], volume="whisper")
            done = await kit.until("turn.done")
            await kit.send("turn.rate", turn_id=done.turn_id, rating="bad")
            await kit.send("turn.rate", turn_id=done.turn_id, rating="good")
            for who, turn in ((robin, done.turn_id), (kit, "none")):
                with pytest.raises(Rejected, match="you heard no turn"):
                    await who.send("turn.rate", turn_id=turn, rating="good")

    run(main)
    facts = [entry.fact for entry in store.entries("quay", "main")]
    rated = [(f.player, f.rating) for f in facts if isinstance(f, TurnRated)]
    assert rated == [("kit", "bad"), ("kit", "good")]


def test_a_crash_leaves_every_line_and_closes_the_cut_turn() -> None:
    store = Store(":memory:")

    async def before() -> str:
        async with live(store) as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"])
            await kit.until("turn.text", 3)
            scene.floor._turns.clear()  # the process dies here: nobody ends the turn
            return "".join(m.delta for m in kit.of("turn.text"))

    async def after(said: str) -> None:
        async with live(store) as scene:
            kit = await Player(scene, "kit").join()
            recent = kit.heard[0].recent  # type: ignore[attr-defined]
            assert [(s.speaker, s.text) for s in recent] == [("kit", "Hello."), ("ada", said)]
            assert recent[1].status == "interrupted"
            assert not scene.state.open_turns

    said = run(before)
    run(lambda: after(said))
    assert store.speech("quay", "main") == {}


def test_state_is_the_fold_of_the_journal() -> None:
    store = Store(":memory:")

    async def main() -> None:
        async with live(store) as scene:
            kit = await Player(scene, "kit").join()
            for count, line in enumerate(["Hello.", "Ring the bell.", "Give me a herring."], 1):
                await kit.say(line, to=["ada"])
                await kit.until("turn.done", count)
            folded = SceneState(scene.loaded)
            for entry in store.entries("quay", "main"):
                folded.apply(entry)
            assert folded == scene.state

    run(main)


def test_instances_do_not_see_each_other() -> None:
    store = Store(":memory:")

    async def main() -> None:
        async with live(store) as one, live(store, instance="two") as two:
            kit, lee = await Player(one, "kit").join(), await Player(two, "lee").join()
            await kit.say("Hello.", to=["ada"])
            await kit.until("turn.done")
            assert [m.type for m in lee.heard] == ["scene.snapshot"]
            assert not two.state.happenings

    run(main)


def test_a_thousand_turns_are_all_declared() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            lines = ["Hello.", "Ring the bell.", "Give me a herring.", "You are a fool.", "Why?"]
            for number in range(1000):
                await kit.say(lines[number % 5], to=[["ada"], ["bo"]][number % 2])
                await kit.until("turn.done", number + 1)
            declared = scene.loaded.scene
            assert {m.emotion for m in kit.of("turn.emotion")} <= set(declared.emotions)
            actions = kit.of("turn.action")
            assert len(actions) >= 100
            for action in actions:
                schema = declared.actions[action.name].schema_of_args()
                jsonschema.validate(action.args, schema)
            assert all(m.status == "completed" for m in kit.of("turn.done"))

    run(main)
