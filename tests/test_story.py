"""Beats, flags, relations and what they change: one fold of the journal, and every condition."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcserver import knowledge
from npcserver.engines.scripted import ScriptedEngine
from npcserver.errors import Rejected
from npcserver.journal import Store
from npcserver.library import load_scene
from npcserver.plot import When
from npcserver.prompt import PromptBuilder
from npcserver.relations import HIGHEST, LOWEST, REMEMBERED_MOVES, Relation
from npcserver.scene import LiveScene
from npcserver.state import SceneState
from npcserver.story import Situation, Story
from tests.clock import run
from tests.quest import QUEST, quest
from tests.stage import Player, live

ENGINE = ScriptedEngine({"quay": QUEST})


async def told(player: Player, line: str, npc: str = "ada") -> Any:
    """The end of the turn that answers a line."""
    before = len(player.of("turn.done"))
    await player.say(line, to=[npc])
    return await player.until("turn.done", before + 1)


def playing(main: Any) -> None:
    """Run `main(scene, kit)` on the quest; Kit is host."""

    async def whole() -> None:
        async with live(loaded=QUEST, engine=ENGINE) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await main(scene, kit)

    run(whole)


def relation(scene: LiveScene, npc: str, player: str = "kit") -> dict[str, int]:
    return {
        m: level for m, level in scene.state.story.relation(npc, player).levels.items() if level
    }


# ---- relations -----------------------------------------------------------------------------------


def test_talk_moves_whoever_it_was_said_to_and_answers_make_familiar() -> None:
    async def main(scene: LiveScene, kit: Player) -> None:
        await told(kit, "Thank you so much!")
        await told(kit, "Hello.")
        assert relation(scene, "ada") == {"trust": 5, "familiarity": 2}
        assert relation(scene, "bo") == {}
        await told(kit, "You are a fool.")
        assert relation(scene, "ada") == {"trust": -55, "familiarity": 3}
        why = [move.why for move in scene.state.story.relation("ada", "kit").moves]
        assert why == [
            "talk: Thank you.",
            "answered",
            "answered",
            "talk: You are a fool.",
            "answered",
        ]

    playing(main)


def test_talk_of_one_kind_moves_less_each_time_and_soon_not_at_all() -> None:
    async def main(scene: LiveScene, kit: Player) -> None:
        rue = await Player(scene, "rue").join()
        for trust in (5, 7, 8, 8, 8):
            await told(kit, "Thanks a lot." if trust == 7 else "Thank you.")
            assert relation(scene, "ada")["trust"] == trust
        await told(kit, "Thank you.", "bo")
        await told(rue, "Thank you.")
        assert relation(scene, "bo")["trust"] == relation(scene, "ada", "rue")["trust"] == 5
        await told(kit, "You are a fool.")
        assert relation(scene, "ada")["trust"] == 8 - 60, "another kind moves as much as ever"
        await kit.send("scene.event", name="mended", args={"by": "kit", "how": "well"})
        assert relation(scene, "ada")["trust"] == 8 - 60 + 30

    playing(main)


def test_thanks_do_not_take_the_place_of_the_quest() -> None:
    loaded = load_scene(Path(__file__).parents[1] / "scenes" / "low_crossing")
    (gated,) = [fact for fact in loaded.scene.facts if fact.when]

    async def main() -> None:
        async with live(loaded=loaded, engine=ScriptedEngine({"low_crossing": loaded})) as scene:
            kit = await Player(scene, "kit", host=True).join()

            def knows() -> bool:
                number = scene.state.number + 1
                return gated.fact in knowledge.known(loaded, scene.state, "tib", number, "kit")

            for _ in range(40):
                await kit.say("Thank you.", to=["tib"])
                await kit.say("That is kind of you, thanks.", to=["tib"])
            assert not knows()
            await kit.send("scene.event", name="soup_paid", args={"by": "kit"})
            assert knows()

    run(main)


@pytest.mark.parametrize(
    ("line", "trust"),
    [
        ("You are not a fool.", 0),
        ("You aren't a fool, thank you.", 5),
        ("No, thank you.", 5),
        ("I will never thank you.", 0),
        ("You are a fool, are you not?", -60),
        ("I do not believe you.", -7),
        ("I believe you.", 0),
    ],
)
def test_what_is_denied_is_not_said(line: str, trust: int) -> None:
    moves = [*QUEST.scene.model_dump()["moves"], {"talk": ["I don't believe you."], "trust": -7}]
    loaded = quest(moves=[{k: v for k, v in move.items() if v} for move in moves])

    async def main() -> None:
        async with live(loaded=loaded, engine=ScriptedEngine({"quay": loaded})) as scene:
            kit = await Player(scene, "kit").join()
            await told(kit, line)
            assert relation(scene, "ada").get("trust", 0) == trust

    run(main)


def test_a_deed_an_event_and_an_action_that_was_done() -> None:
    async def main(scene: LiveScene, kit: Player) -> None:
        rue = await Player(scene, "rue").join()
        await rue.send("player.act", action="give_rope", target="bo")
        await rue.until("turn.done")
        assert relation(scene, "bo", "rue") == {"trust": 12, "debt": 3, "familiarity": 1}
        assert relation(scene, "ada", "rue") == {}
        await kit.send("scene.event", name="mended", args={"by": "rue", "how": "badly"})
        assert relation(scene, "ada", "rue") == {"trust": 30}
        assert relation(scene, "ada", "kit") == {}
        for number, status in enumerate(["failed", "done"], 1):
            await kit.say("Give me a herring.", to=["ada"])
            action = await kit.until("turn.action", number)
            done = len(kit.of("turn.done"))
            await kit.send("action.result", action_id=action.action_id, status=status)
            if status == "failed":
                await kit.until("turn.done", done + 1)
        assert relation(scene, "ada")["debt"] == -4

    playing(main)


@given(st.lists(st.tuples(st.sampled_from(list(LOWEST)), st.integers(-300, 300)), max_size=200))
@settings(deadline=None, max_examples=60)
def test_a_relation_keeps_its_bounds_and_remembers_what_it_was(moves: list[Any]) -> None:
    now, were = Relation(), [Relation()]
    for number, (measure, by) in enumerate(moves):
        now = now.moved(number, {measure: by}, "x")
        were.append(now)
        assert all(low <= now.levels[m] <= HIGHEST for m, low in LOWEST.items())
    counts = Counter(move.measure for move in now.moves)
    assert all(count <= REMEMBERED_MOVES for count in counts.values())
    if len(moves) <= REMEMBERED_MOVES:
        for number, then in enumerate(were):
            assert {m: now.at(number, m) for m in LOWEST} == dict(then.levels)


# ---- conditions ----------------------------------------------------------------------------------

STORY = Story(
    relations={("ada", "kit"): Relation().moved(2, {"trust": 20, "debt": -5}, "x")},
    flags={"rope": ((-1, "cut"), (4, "well"))},
    events={"fog": 1},
    opened={"a": -1, "b": 3, "c": 2},
    closed={"c": 5},
    told={
        "knife": {
            ("", ""): 6,
            **{("ada", who): 6 for who in ("ada", "rue")},  # whispered
            **{(npc, ""): 8 for npc in ("ada", "bo")},  # aloud
        }
    },
    said={"hello": {"kit": 2, "rue": 9}},
)


@pytest.mark.parametrize(
    ("when", "since"),
    [
        ({"beat": "a"}, 0),
        ({"beat": "b"}, 4),
        ({"past": "c"}, 6),
        ({"beat": "b", "past": "c"}, 6),
        ({"said": "hello"}, 3),
        ({"told": "knife"}, 9),
        ({"trust": {"at_least": 20}}, 3),
        ({"trust": {"at_least": 20, "at_most": 30}, "debt": {"at_most": -1}}, 3),
        ({"flags": {"rope": "well"}}, 5),
        ({"place": "quay"}, 0),
        ({"after": "fog"}, 8),
        ({"beat": "nowhere"}, 99),
        ({"trust": {"at_least": 21}}, 99),
        ({"flags": {"rope": "badly"}}, 99),
        ({"place": "shed"}, 99),
        ({"after": "rain"}, 99),
        ({"trust": {"at_least": 1}, "who": "bo"}, 99),
    ],
)
def test_a_condition_holds_since(when: dict[str, Any], since: int) -> None:
    met = When.model_validate(when)
    for number in range(12):
        at = Situation("ada", "kit", "quay", number)
        why = STORY.unmet(met, at, {("ada", "fog"): 7})
        assert (why is None) is (number >= since), (number, why)


def test_a_whisper_tells_those_who_heard_it_and_between_them() -> None:
    told = When(told="knife")
    for npc, player, since in [
        ("ada", "rue", 7),
        ("ada", "kit", 9),
        ("bo", "rue", 9),
        ("cy", "rue", 99),
        ("", "", 7),
    ]:
        for number in range(12):
            why = STORY.unmet(told, Situation(npc, player, "", number), {})
            assert (why is None) is (number >= since)


@pytest.mark.parametrize(
    ("when", "until"), [({"before": "b"}, 4), ({"beat": "c", "before": "b"}, 4)]
)
def test_what_holds_until(when: dict[str, Any], until: int) -> None:
    for number in range(3, 9):
        why = STORY.unmet(When.model_validate(when), Situation("", "", "", number), {})
        assert (why is None) is (number < until)


def test_reasons_are_told() -> None:
    when = When.model_validate({"trust": {"at_least": 30}})
    assert STORY.unmet(when, Situation("ada", "kit", "", 9), {}) == "trust is 20, needs at least 30"
    flag = When.model_validate({"flags": {"rope": "cut"}})
    assert STORY.unmet(flag, Situation("ada", "kit", "", 9), {}) == "flag rope is 'well', not 'cut'"
    assert STORY.unmet(None, Situation("ada", "kit", "", 9), {}) is None


# ---- what was heard of what was told ------------------------------------------------------------

BITES = quest(facts=[{"fact": "The rope bites.", "id": "bites"}])
"""Ada's hello tells it with its last words: `Morning. Mind the rope. It bites.`"""


def hearing(main: Any) -> None:
    """Run `main(scene, kit, lee)`, to whom Ada can tell the fact."""

    async def whole() -> None:
        engine = ScriptedEngine({"quay": BITES}, pace_s=0.05)
        async with live(loaded=BITES, engine=engine) as scene:
            await main(scene, *[await Player(scene, who).join() for who in ("kit", "lee")])

    run(whole)


def heard_it(scene: LiveScene) -> set[tuple[str, str]]:
    """Which characters heard the fact, and to whom they may show it; `ALL` is the scene."""
    return set(scene.state.story.told.get("bites", ()))


ALL, ADA, BO = ("", ""), ("ada", ""), ("bo", "")


def counts(scene: LiveScene, npc: str, player: str) -> bool:
    at = Situation(npc, player, "", scene.state.number + 1)
    return scene.state.story.unmet(When(told="bites"), at, {}) is None


def test_a_fact_is_told_to_those_who_heard_that_much_of_it() -> None:
    async def main(scene: LiveScene, kit: Player, lee: Player) -> None:
        turn = (await told(kit, "Hello.")).turn_id
        assert heard_it(scene) == {ALL, ADA, BO}
        assert counts(scene, "ada", "kit")
        await kit.send("turn.heard", turn_id=turn, chars=23)
        assert heard_it(scene) == {ALL, BO}, "Ada knows that she was cut short"
        assert not counts(scene, "ada", "kit")
        assert counts(scene, "bo", "lee")
        await lee.send("turn.heard", turn_id=turn, chars=0)
        assert heard_it(scene) == set()
        assert not counts(scene, "", "")
        await kit.send("turn.heard", turn_id=turn, chars=99)  # the farthest report counts
        assert heard_it(scene) == {ALL, ADA, BO}
        assert counts(scene, "ada", "kit")

    hearing(main)


def test_what_was_heard_may_be_known_before_the_line_is_over() -> None:
    async def main(scene: LiveScene, kit: Player, lee: Player) -> None:
        await kit.say("Hello.", to=["ada"])
        turn = (await kit.until("turn.text", 2)).turn_id
        await kit.send("turn.heard", turn_id=turn, chars=8)
        await lee.until("turn.text", 6)
        await lee.send("player.move", place="shed")  # has heard of the rope, and no more
        done = await kit.until("turn.done")
        assert done.text.endswith("It bites.")
        assert heard_it(scene) == set()

    hearing(main)


def test_what_adds_nothing_to_words_unheard_counts_after_all() -> None:
    async def main(scene: LiveScene, kit: Player, lee: Player) -> None:
        first = (await told(kit, "Hello.")).turn_id
        second = await told(kit, "Hello.")
        number = scene.state.number
        assert set(scene.state.story.told["bites"].values()) == {1}
        for player in (kit, lee):
            await player.send("turn.heard", turn_id=first, chars=8)
        assert second.text.endswith("It bites.")
        assert heard_it(scene) == {ALL, ADA, BO}
        assert set(scene.state.story.told["bites"].values()) == {number - 1}

    hearing(main)


def test_a_whisper_half_heard_is_told_to_nobody() -> None:
    async def main(scene: LiveScene, kit: Player, lee: Player) -> None:
        await kit.say("Hello.", to=["ada"], volume="whisper")
        turn = (await kit.until("turn.done")).turn_id
        assert heard_it(scene) == {ALL, ("ada", "ada"), ("ada", "kit")}
        assert counts(scene, "ada", "kit")
        assert not counts(scene, "ada", "lee")
        await kit.send("turn.heard", turn_id=turn, chars=8)
        assert not counts(scene, "ada", "kit")

    hearing(main)


def test_however_often_a_fact_is_whispered_the_next_to_tell_it_counts_too() -> None:
    async def main() -> None:
        async with live(loaded=BITES, engine=ScriptedEngine({"quay": BITES})) as scene:
            players = [await Player(scene, f"p{number}").join() for number in range(20)]
            for player in players:
                for _ in range(2):
                    await player.say("The rope bites.", to=["bo"], volume="whisper")
                assert counts(scene, "bo", player.id)
            assert not counts(scene, "bo", "kit")
            assert not counts(scene, "ada", "p0")
            whispered = heard_it(scene)
            assert len(whispered) == 1 + 1 + len(players), "told again, it takes no more"
            await players[3].say("The rope bites.", to=["ada"])
            assert counts(scene, "ada", "kit")
            assert heard_it(scene) == whispered | {ADA, BO}

    run(main)


# ---- what was heard of what was written ---------------------------------------------------------


def test_a_written_line_counts_for_those_who_heard_most_of_it() -> None:
    asked, said = "Who cut the rope?", When(said="ada_asks")

    async def main(scene: LiveScene, kit: Player) -> None:
        lee = await Player(scene, "lee").join()
        at = Situation("bo", "", "", scene.state.number + 9)

        def unheard() -> set[str]:
            story = scene.state.story
            return {who for who in ("kit", "lee") if not story.has_heard(who, "ada_asks")}

        def counts() -> bool:
            return scene.state.story.unmet(said, at, {}) is None

        first = await told(kit, asked)
        assert first.authored == "ada_asks"
        assert not unheard()
        await kit.send("turn.heard", turn_id=first.turn_id, chars=0)
        assert unheard() == {"kit"}
        assert counts(), "Lee heard it"
        await lee.send("turn.heard", turn_id=first.turn_id, chars=3)
        assert unheard() == {"kit", "lee"}
        assert not counts()
        assert scene.state.story.is_open("the_rope", scene.state.number + 1), "that happened"
        again = await told(kit, asked)
        assert again.authored == "ada_asks", "what was not heard is said again"
        assert not unheard()
        since = scene.state.number - 1
        assert scene.state.story.said["ada_asks"] == dict.fromkeys(["", "kit", "lee"], since)
        await lee.send("turn.heard", turn_id=first.turn_id, chars=99)  # the farthest counts
        assert scene.state.story.said["ada_asks"]["lee"] < since
        assert scene.state.story.said["ada_asks"]["kit"] == since

    playing(main)


def test_what_was_heard_of_a_written_line_before_it_was_over_counts() -> None:
    async def main() -> None:
        async with live(loaded=QUEST, engine=ScriptedEngine({"quay": QUEST}, pace_s=0.05)) as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Who cut the rope?", to=["ada"])
            turn = (await kit.until("turn.started")).turn_id
            await kit.send("turn.heard", turn_id=turn, chars=5)
            assert (await kit.until("turn.done")).authored == "ada_asks"
            assert not scene.state.story.has_heard("kit", "ada_asks")
            assert not scene.state.story.opened.keys() & {"the_rope"}
            await kit.send("turn.heard", turn_id=turn, chars=99)
            assert scene.state.story.has_heard("kit", "ada_asks")
            assert "the_rope" in scene.state.story.opened

    run(main)


# ---- a quest -------------------------------------------------------------------------------------


def text(scene: LiveScene, npc: str, line: str, player: str = "kit", history: int = 8) -> str:
    """The prompt for a line that a player would say now."""
    prompt = PromptBuilder(QUEST, npc, 4000, history).draft(
        scene.state, player.title(), line, player
    )
    return "\n".join(message.text for message in prompt.messages)


def test_three_steps_change_what_is_said_wanted_and_known() -> None:
    async def main(scene: LiveScene, kit: Player) -> None:
        before = text(scene, "ada", "Hello.")
        assert (await told(kit, "Hello.")).authored is None
        assert "wants the rope" not in text(scene, "ada", "Hello.")
        done = await told(kit, "Who cut the rope?")
        assert (done.authored, done.text) == ("ada_asks", "Somebody cut it. Will you mend it?")
        assert kit.of("turn.action")[-1].name == "ring"
        assert text(scene, "ada", "Hello.").endswith("Kit: Hello.\n[Ada wants the rope mended.]")
        secret = "Bo cut the rope himself with a herring knife."
        assert secret not in text(scene, "bo", "Did Bo cut the rope with a herring knife?")
        await told(kit, "Somebody cut the rope with a herring knife.", "cy")
        assert secret in text(scene, "bo", "Did Bo cut the rope with a herring knife?")
        await kit.send("scene.event", name="mended", args={"by": "kit", "how": "well"})
        last = text(scene, "ada", "When does the boat sail?")
        assert "[The boat sails at dusk.]" in last
        assert last.endswith("[Ada wants everybody aboard.]")
        done = await told(kit, "Here I am.")
        assert (done.authored, done.text) == (
            "ada_sails",
            "You mended it. Come aboard, Kit: there is room.",
        )
        # What was asked before stands as it stood.
        assert text(scene, "ada", "Hello.", history=0) != before
        told_before = PromptBuilder(QUEST, "ada", 4000, 8).build(scene.state, 1)
        assert "wants" not in told_before.messages[-1].text

    playing(main)


def test_an_unknown_way_of_mending_leaves_the_beat_open() -> None:
    async def main(scene: LiveScene, kit: Player) -> None:
        await told(kit, "Who cut the rope?")
        await kit.send("scene.event", name="mended", args={"by": "kit", "how": "badly"})
        number = scene.state.number + 1
        story = scene.state.story
        assert story.is_open("the_rope", number)
        assert story.is_open("sailing", number)
        await kit.send("scene.set", name="rope", value="well")
        number += 1
        assert not scene.state.story.is_open("the_rope", number)

    playing(main)


def test_trust_tells_one_player_what_it_keeps_from_another() -> None:
    asked, fact = "Where does Bo sleep on Friday, in the lighthouse?", "Bo sleeps in the lighthouse"

    async def main(scene: LiveScene, kit: Player) -> None:
        rue = await Player(scene, "rue").join()
        assert fact not in text(scene, "bo", asked)
        await told(kit, "Thank you.", "bo")
        assert fact not in text(scene, "bo", asked)
        await kit.send("player.act", action="give_rope", target="bo")
        await kit.until("turn.done", 2)
        assert fact in text(scene, "bo", asked)
        assert fact not in text(scene, "bo", asked, "rue")
        # Told to Kit, it stands in Kit's prompts as history, and in no prompt that answers Rue.
        await told(kit, asked, "bo")
        assert fact in text(scene, "bo", "Hello.", "kit")
        assert fact not in text(scene, "bo", "Hello.", "rue")
        await told(rue, "Hello.", "bo")
        assert text(scene, "bo", "Hello.", "kit").count(fact) == 1

    playing(main)


def test_what_the_game_keeps_is_the_hosts_to_set_and_nobody_elses_to_see() -> None:
    async def main(scene: LiveScene, kit: Player) -> None:
        rue = await Player(scene, "rue").join()
        with pytest.raises(Rejected, match="only a token of role host"):
            await rue.send("scene.set", name="boat", value=True)
        with pytest.raises(Rejected, match="no flag 'moon'; there are rope, boat"):
            await kit.send("scene.set", name="moon", value=True)
        with pytest.raises(Rejected, match="boat is declared as a bool"):
            await kit.send("scene.set", name="boat", value="yes")
        await kit.send("scene.set", name="boat", value=True)
        assert scene.state.story.flag("boat", scene.state.number + 1) is True
        assert not [m for m in rue.heard if m.type == "scene.changed"]

    playing(main)


def test_an_action_that_requires_something_is_not_there_before() -> None:
    changed = quest(
        actions={
            **QUEST.scene.model_dump()["actions"],
            "ring": {"words": "rings the", "target": "prop", "requires": {"flags": {"boat": True}}},
        }
    )

    async def main() -> None:
        async with live(loaded=changed, engine=ScriptedEngine({"quay": changed})) as scene:
            kit = await Player(scene, "kit", host=True).join()
            builder = PromptBuilder(changed, "ada", 1000)
            assert "ring" not in {deed.action for deed in builder.deeds(scene.state, "kit")}
            # A line that would do it cannot be said either.
            assert (await told(kit, "Who cut the rope?")).authored is None
            await kit.send("scene.set", name="boat", value=True)
            assert "ring" in {deed.action for deed in builder.deeds(scene.state, "kit")}
            assert (await told(kit, "Who cut the rope?")).authored == "ada_asks"

    run(main)


# ---- the fold ------------------------------------------------------------------------------------

STEPS = st.lists(
    st.sampled_from(
        [
            *("say Thank you.", "say Who cut the rope?", "say You are a fool.", "cancel"),
            *("say It was cut with a herring knife, the rope.", "set well", "set cut", "mended"),
            *("save", "restore", "act", "fog", "heard 3", "heard 60"),
        ]
    ),
    max_size=14,
)


@given(STEPS)
@settings(deadline=None, max_examples=40)
def test_the_story_is_the_fold_of_the_journal_and_a_save_brings_it_back(steps: list[str]) -> None:
    async def step(kit: Player, what: str) -> None:
        match what.split(maxsplit=1):
            case ["say", line]:
                await kit.say(line, to=["ada"])
                await asyncio.sleep(1.0 if "rope" in line else 0.1)
            case ["set", value]:
                await kit.send("scene.set", name="rope", value=value)
            case ["mended"]:
                await kit.send("scene.event", name="mended", args={"by": "kit", "how": "well"})
            case ["fog"]:
                await kit.send("scene.event", name="fog")
            case ["act"]:
                await kit.send("player.act", action="give_rope", target="ada")
            case ["cancel"]:
                await kit.send("turn.cancel")
            case ["heard", chars]:
                turn = kit.of("turn.started")[-1].turn_id if kit.of("turn.started") else "t1"
                await kit.send("turn.heard", turn_id=turn, chars=int(chars))
            case [kind]:
                await kit.send(f"scene.{kind}", save_id="one")

    async def main() -> None:
        store, saved = Store(":memory:"), None
        async with live(store, loaded=QUEST, engine=ENGINE) as scene:
            kit = await Player(scene, "kit", host=True).join()
            for what in steps:
                try:
                    await step(kit, what)
                except Rejected:
                    continue
                if what == "save":
                    saved = scene.state.story
                if what == "restore":
                    assert scene.state.story == saved
                folded = SceneState(QUEST)
                for entry in store.entries("quay", "main"):
                    folded.apply(entry)
                assert folded.story == scene.state.story

    run(main)


def test_a_save_brings_the_story_back_and_branches_do_not_see_each_other() -> None:
    async def main(scene: LiveScene, kit: Player) -> None:
        await told(kit, "Thank you.")
        await kit.send("scene.save", save_id="one")
        saved = scene.state.story
        await told(kit, "Who cut the rope?")
        await kit.send("scene.set", name="rope", value="well")
        branch = scene.state.story
        await kit.send("scene.save", save_id="two")
        await kit.send("scene.restore", save_id="one")
        assert scene.state.story == saved
        await told(kit, "You are a fool.")
        await kit.send("scene.restore", save_id="two")
        assert scene.state.story == branch
        await kit.send("scene.restore", save_id="one")
        assert (await told(kit, "Who cut the rope?")).authored == "ada_asks"

    playing(main)


def test_reasons_for_what_is_withheld() -> None:
    async def main(scene: LiveScene, kit: Player) -> None:
        why = dict(knowledge.withheld(QUEST, scene.state, "bo", 1, "kit"))
        assert why["Bo sleeps in the lighthouse every Friday."] == "trust is 0, needs at least 10"
        assert why["The rope was cut with a herring knife."] == "known by cy only"
        assert why["The boat sails at dusk."] == "beat sailing is not open"
        unlocked = "Bo cut the rope himself with a herring knife."
        assert why[unlocked] == "hidden: beat suspicion is not open"

    playing(main)
