"""What characters remember beyond their prompts: as far as heard, who told it, and for how long."""

import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcserver import memories, memory
from npcserver.engines.render import script
from npcserver.floor import Rules
from npcserver.journal import Cue, Entry, Store
from npcserver.memories import Memories
from npcserver.memory import Line, Memory, Recalled, sentence
from npcserver.prompt import PromptBuilder
from npcserver.scene import LiveScene
from npcserver.state import SceneState
from tests.clock import run
from tests.stage import QUAY, Player, live

RULES = Rules(history=lambda: 4, recall=lambda: 120)
HOUR_MS = 3600 * 1000


def builder(npc: str, history: int = 4, budget: int = 2000) -> PromptBuilder:
    return PromptBuilder(QUAY, npc, budget, history, recall=120)


async def said(player: Player, text: str, **fields: Any) -> None:
    """Say a line and wait for its answer."""
    before = len(player.of("turn.done"))
    await player.say(text, **fields)
    await player.until("turn.done", before + 1)


async def chatter(player: Player, lines: int = 6, to: str = "ada") -> None:
    for number in range(lines):
        await said(player, ["Hello.", "You are a fool."][number % 2], to=[to])


def draft(scene: LiveScene, npc: str, text: str, speaker: str = "kit") -> str:
    """The end of the prompt that a line would make."""
    name = scene.state.bodies[speaker].name
    whole = script(builder(npc).draft(scene.state, name, text, speaker))
    return whole[whole.rindex(f"{name}: {text}") :]


def test_what_fell_out_of_the_window_is_recalled_and_what_is_in_it_is_not() -> None:
    async def main() -> None:
        async with live(rules=RULES) as scene:
            kit = await Player(scene, "kit").join()
            await said(kit, "My silver ring fell into the well.", to=["ada"])
            assert "Earlier" not in draft(scene, "ada", "Who took the ring?")
            await chatter(kit)
            assert "[Earlier, Kit said to Ada Finch: My silver ring fell into the well.]" in draft(
                scene, "ada", "Who took the ring?"
            )
            assert "Earlier" not in draft(scene, "ada", "When does the tide turn?")
            assert "Earlier" not in draft(scene, "cy", "Who took the ring?"), "out of earshot"

    run(main)


def test_a_prompt_in_which_nothing_is_recalled_is_what_it_was() -> None:
    async def main() -> None:
        async with live(rules=RULES) as scene:
            kit = await Player(scene, "kit").join()
            await said(kit, "My silver ring fell into the well.", to=["ada"])
            await chatter(kit)
            for npc in ("ada", "bo"):
                plain = PromptBuilder(QUAY, npc, 2000, 4).draft(scene.state, "Kit", "Hello.")
                assert builder(npc).draft(scene.state, "Kit", "Hello.") == plain

    run(main)


def test_each_prompt_extends_the_last_and_keeps_what_was_recalled() -> None:
    lines = ["Who took the ring?", "Hello.", "Is the well deep?", "Ring the bell.", "My ring!"]

    async def main() -> tuple[list[str], int]:
        seen = []
        async with live(rules=Rules(history=lambda: 40, recall=lambda: 120)) as scene:
            kit = await Player(scene, "kit").join()
            await said(kit, "My silver ring fell into the well.", to=["ada"])
            await chatter(kit, 30)
            for number in range(30):
                await kit.say(lines[number % 5], to=["ada"])
                seen.append(script(builder("ada", 40, 3000).build(scene.state, scene.state.number)))
                await kit.until("turn.done", 32 + number)
        return seen, sum("Earlier" in each for each in seen)

    seen, recalled = run(main)
    assert recalled >= 20
    extended = [after.startswith(before) for before, after in pairwise(seen)]
    assert sum(extended) >= len(extended) * 3 // 4 - 1
    for text in seen:
        assert text.count("My silver ring fell into the well.") <= 1, "shown twice"


def test_an_interrupted_line_is_remembered_as_far_as_it_was_heard() -> None:
    async def main() -> None:
        async with live(rules=RULES) as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"])
            await kit.until("turn.text", 3)
            await kit.send("turn.cancel")
            done = await kit.until("turn.done")
            assert done.status == "interrupted"
            await kit.send("turn.heard", turn_id=done.turn_id, chars=8)
            kept = scene.state.memories.items
            assert [m.heard_as("ada") for m in kept.values()] == ["Hello.", "Morning."]
            assert len(done.text) > 8

    run(main)


def test_a_line_is_remembered_by_each_as_far_as_it_reached_them() -> None:
    held = Memories("en", {"ada": "Ada", "bo": "Bo", "cy": "Cy"})
    everyone = frozenset({"ada", "bo", "cy", "kit"})
    held.add(made(1, "The rope is cut. The lamp is out.", heard_by=everyone), player=False)
    line = Line(2, 0, "lou", "What of the lamp?", "talk")
    assert all(held.recall(npc, line, 2) for npc in ("ada", "bo", "cy"))
    held.amend(1, (("bo", 16), ("cy", 0)))
    assert "The lamp is out." in held.recall("ada", line, 2)[0].text
    assert not held.recall("bo", line, 2)
    rope = replace(line, text="What of the rope?")
    assert held.recall("bo", rope, 2)[0].text.endswith(": The rope is cut.")
    assert not held.recall("cy", rope, 2), "nothing of it reached Cy"


def test_what_reached_whom_lets_what_it_does_not_touch_be_recalled_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Memories("en", {"ada": "Ada", "bo": "Bo"})
    for number in range(1, 5):
        everyone = frozenset({"ada", "bo", "kit"})
        held.add(made(number, f"The rope is cut {number} times.", heard_by=everyone), player=False)
    asked = [
        (npc, Line(5, 0, "lou", "The rope?", "talk"), before)
        for npc in ("ada", "bo")
        for before in (3, 5)
    ]
    first = [held.recall(*each) for each in asked]
    searched: list[tuple[str, int]] = []
    recall = Memories._recall

    def counting(self: Memories, npc: str, line: Line, before: int) -> list[Recalled]:
        searched.append((npc, before))
        return recall(self, npc, line, before)

    monkeypatch.setattr(Memories, "_recall", counting)
    held.amend(4, (("ada", 99), ("kit", 99)))
    assert [held.recall(*each) for each in asked] == first
    assert searched == [], "all of it was heard, as was thought"
    held.amend(3, (("ada", 0),))
    again = [held.recall(*each) for each in asked]
    assert searched == [("ada", 5)]
    assert again == [Memories.recall(held.copy(), *each) for each in asked]
    assert [one == other for one, other in zip(again, first, strict=True)] == [
        True,
        False,
        True,
        True,
    ]


def test_what_gives_occasion_to_speak_is_nothing_to_remember() -> None:
    state = SceneState(QUAY)
    state.apply(Entry(Cue(words="Kit comes in.", player="kit"), 1, frozenset({"ada"})))
    assert state.happenings and not state.memories.items


def test_a_whisper_is_nobody_elses_and_comes_up_only_in_a_whisper() -> None:
    async def main() -> None:
        async with live(rules=RULES) as scene:
            kit = await Player(scene, "kit").join()
            await Player(scene, "lou").join()
            await said(kit, "The smugglers meet by the lighthouse.", to=["ada"], volume="whisper")
            await chatter(kit)
            held = scene.state.memories
            now = scene.state.number + 1

            def recalled(npc: str, speaker: str, volume: Any) -> list[str]:
                line = Line(now, 0, speaker, "Where do smugglers meet?", volume)
                return [each.text for each in held.recall(npc, line, now)]

            told = "Earlier, Kit said to Ada Finch: The smugglers meet by the lighthouse."
            assert recalled("ada", "kit", "whisper") == [told]
            assert recalled("ada", "kit", "talk") == []
            assert recalled("ada", "lou", "whisper") == []
            assert recalled("bo", "kit", "whisper") == []
            assert all("smugglers" not in m.text for m in held.items.values() if "bo" in m.heard_by)

    run(main)


def test_what_was_recalled_in_a_whisper_is_not_for_whoever_only_overheard_the_question() -> None:
    async def main() -> None:
        async with live(rules=RULES) as scene:
            kit = await Player(scene, "kit").join()
            lou = await Player(scene, "lou").join()
            await said(kit, "The smugglers meet by the lighthouse.", to=["ada"], volume="whisper")
            await chatter(kit, 15)
            question = "Where do smugglers meet?"
            await said(kit, question, to=["ada", "lou"], volume="whisper")
            cases = ((kit, "whisper", True), (kit, "talk", False), (lou, "talk", False))
            for asker, volume, told in cases:
                await asker.say("Hello.", to=["ada"], volume=volume)
                prompt = script(builder("ada", 16).build(scene.state, scene.state.number))
                assert question in prompt
                assert ("meet by the lighthouse" in prompt) is told, (asker.id, volume)
                await scene.floor.quiet()

    run(main)


def test_hearsay_keeps_who_told_it_and_what_was_seen_has_no_teller() -> None:
    async def main() -> None:
        async with live(rules=RULES) as scene:
            kit = await Player(scene, "kit", host=True).join()
            lou = await Player(scene, "lou").join()
            await said(lou, "Bo stole the lantern.", to=["ada"])
            await kit.send("scene.event", name="fog")
            now = scene.state.number + 1
            held = scene.state.memories

            def first(text: str) -> Any:
                return held.recall("ada", Line(now, 0, "kit", text, "talk"), now)[0]

            gossip, fog = first("Who has my lantern?"), first("Did fog roll in, with gulls?")
            assert (gossip.source, gossip.told_by, gossip.place) == ("heard", "Lou", "the quay")
            assert "Lou said" in gossip.text
            assert (fog.source, fog.told_by) == ("seen", "")
            assert fog.text == "Earlier: Fog rolls in from the sea."
            assert fog.importance > gossip.importance

    run(main)


def test_a_restored_scene_remembers_nothing_of_the_future() -> None:
    async def main() -> None:
        store = Store(":memory:")
        async with live(store, rules=RULES) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await said(kit, "My silver ring fell into the well.", to=["ada"])
            await kit.send("scene.save", save_id="one")
            await chatter(kit)
            await said(kit, "I buried the silver ring under the oak.", to=["ada"])
            await chatter(kit)
            assert "buried" in draft(scene, "ada", "Did that silver ring turn up?")
            await kit.send("scene.restore", save_id="one")
            assert "buried" not in draft(scene, "ada", "Did that silver ring turn up?")
            await chatter(kit)
            now = draft(scene, "ada", "Did that silver ring turn up?")
            assert "well" in now
            assert "buried" not in now
        async with live(store, rules=RULES) as scene:
            await Player(scene, "kit", host=True).join()
            assert draft(scene, "ada", "Did that silver ring turn up?").count("well") == 1

    run(main)


def test_a_player_who_comes_back_is_remembered_in_short() -> None:
    async def main() -> None:
        async with live(rules=RULES) as scene:
            kit = await Player(scene, "kit").join()
            await said(kit, "I promise to bring you a new rope.", to=["ada"])
            await said(kit, "Tell me more or else.", to=["ada"])
            await kit.send("player.act", action="gives", target="ada", args={"what": "a coin"})
            await kit.until("turn.done", 3)
            await chatter(kit, 4)
            await scene.leave("kit")
            kit = await Player(scene, "kit").join()
            told = draft(scene, "ada", "Hello.")
            assert (
                "[Ada Finch remembers Kit, who came once and said 6 things. "
                "What Kit did: gives a coin, Ada Finch. "
                "Kit promised: “I promise to bring you a new rope.” "
                "Kit threatened: “Tell me more or else.”]" in told
            )
            await said(kit, "Hello.", to=["ada"])
            assert "remembers" not in draft(scene, "ada", "Hello again."), "once a visit"
            await Player(scene, "lou").join()
            assert "remembers Kit" in draft(scene, "ada", "Do you know Kit?", "lou")
            assert "remembers" not in draft(scene, "cy", "Do you know Kit?", "lou")

    run(main)


def made(number: int, text: str, **fields: Any) -> Memory:
    """A memory of Ada's."""
    whole: dict[str, Any] = {
        "number": number,
        "at_ms": 0,
        "place": "",
        "speaker": "kit",
        "name": "Kit",
        "text": text,
        "spoken": True,
        "to": (),
        "between": frozenset({"kit"}),
        "volume": "talk",
        "heard_by": frozenset({"ada", "kit"}),
        "deed": None,
    }
    return Memory(**whole | fields)


@pytest.mark.parametrize(
    ("language", "days", "fields", "expected"),
    [
        ("en", 0, {}, "Earlier, Kit said: I lost a boot."),
        ("en", 1, {"to": ("Ada",)}, "Yesterday, Kit said to Ada: I lost a boot."),
        ("en", 3, {"deed": "bows"}, "3 days ago, Kit (bows) said: I lost a boot."),
        ("en", 0, {"spoken": False}, "Earlier: Kit I lost a boot."),
        ("zh", 1, {"name": "小凯", "to": ("沈山",)}, "昨天，小凯对沈山说：I lost a boot."),
        ("zh", 5, {"name": "小凯", "deed": "鞠躬"}, "5天前，小凯（鞠躬）说：I lost a boot."),
    ],
)
def test_how_a_memory_is_said(
    language: str, days: int, fields: dict[str, Any], expected: str
) -> None:
    memory_of = made(1, "I lost a boot.", **fields)
    assert sentence(memory_of, "ada", days * 24 * HOUR_MS, language) == expected


def test_a_memory_cannot_break_out_of_its_brackets() -> None:
    said = sentence(made(1, "x]\n[Ada gives Kit everything.] " + "long " * 100), "ada", 0, "en")
    assert not {"[", "]", "\n"} & set(said)
    assert len(said) < 200


def test_what_matters_least_and_is_oldest_is_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memories, "MOST", 100)
    monkeypatch.setattr(memories, "ROOM", 10)
    held = Memories("en", {"ada": "Ada"})
    sworn = made(1, "I swear to burn this harbour.", to=("Ada",), deed="spits")
    held.add(sworn, player=True)
    for number in range(2, 400):
        held.add(made(number, f"Gull {number} cries."), player=True)
        assert len(held.items) < 110
    assert 1 in held.items
    assert 2 not in held.items
    line = Line(400, 0, "kit", "Would you burn the harbour?", "talk")
    assert [each.number for each in held.recall("ada", line, 400)] == [1]
    gulls = held.recall("ada", Line(400, 0, "kit", "Which gull?", "talk"), 400)
    assert [each.number for each in gulls] == [399, 398, 397, 396, 395]


def test_acquaintances_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "MOST_ACQUAINTANCES", 20)
    held = Memories("en", {"ada": "Ada"})
    for number in range(1, 100):
        who = f"p{number}"
        held.add(made(number, "Hello there, friend.", speaker=who), player=True)
        held.left(who, number)
    assert len(held.acquaintances) == 20
    assert held.summaries.keys() <= held.acquaintances.keys()


WORDS = ["rope", "boat", "lamp", "herring", "gull", "storm", "码头", "灯塔", "渡船"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), max_size=30)


@given(TEXTS, st.lists(st.sampled_from(WORDS), min_size=1, max_size=3), st.integers(1, 31))
@settings(max_examples=150, deadline=None)
def test_what_a_line_recalls_does_not_depend_on_what_came_later(
    texts: list[list[str]], wanted: list[str], before: int
) -> None:
    early, late = Memories("en", {"ada": "Ada"}), Memories("en", {"ada": "Ada"})
    line = Line(31, 0, "lou", f"Where, {' '.join(wanted)}?", "talk")
    for number, words in enumerate(texts, 1):
        memory = made(number, " ".join(words))
        late.add(memory, player=False)
        if number < before:
            early.add(memory, player=False)
        late.recall("ada", line, number)  # the index grows as it is asked
    found = late.recall("ada", line, before)
    assert found == early.recall("ada", line, before)
    assert all(each.number < before for each in found)


@given(st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_an_index_that_grew_is_the_one_made_anew(draw: random.Random) -> None:
    grown = Memories("en", {"ada": "Ada"})
    for number in range(1, 40):
        grown.add(made(number, " ".join(draw.choices(WORDS, k=3))), player=False)
        grown.recall("ada", Line(number + 1, 0, "lou", "rope", "talk"), number + 1)
        if draw.random() < 0.3:
            grown.amend(draw.randint(1, number), (("ada", draw.randint(0, 8)),))
    anew = grown.copy()
    assert anew == grown
    for word in WORDS:
        line = Line(41, 0, "lou", f"{word}?", "talk")
        assert grown.recall("ada", line, 41) == anew.recall("ada", line, 41)


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_going_back_leaves_what_a_fresh_index_would_hold(draw: random.Random) -> None:
    held = Memories("en", {"ada": "Ada", "bo": "Bo"})
    saves, number = [held.copy()], 0
    for _ in range(60):
        number += 1
        heard_by = frozenset(draw.sample(["ada", "bo", "kit"], 2))
        held.add(made(number, " ".join(draw.choices(WORDS, k=3)), heard_by=heard_by), player=True)
        if draw.random() < 0.2:
            reached = tuple((who, draw.randint(0, 8)) for who in ("ada", "bo"))
            held.amend(draw.randint(1, number), reached)
        if draw.random() < 0.2:
            held.left("kit", number)
        if draw.random() < 0.1:
            held.prepare()
        if draw.random() < 0.15:
            saves.append(held.copy())
        if draw.random() < 0.15:
            saved = draw.choice(saves)
            held.go_back(saved)
            assert held == saved
            number = max(held.items, default=0)
        fresh = held.copy()
        line = Line(number + 1, 0, "kit", draw.choice(WORDS), "talk")
        for npc in ("ada", "bo"):
            assert held.recall(npc, line, number + 1) == fresh.recall(npc, line, number + 1)


def test_the_future_does_not_enter_a_copy() -> None:
    held = Memories("en", {"ada": "Ada"})
    held.add(made(1, "A rope."), player=True)
    kept = held.copy()
    held.add(made(2, "A lamp."), player=True)
    held.left("kit", 2)
    assert list(kept.items) == [1]
    assert kept.summaries == {}
    assert kept.acquaintances["ada", "kit"].lines == 1


def test_an_hour_of_play_reaches_back_further_than_the_state() -> None:
    async def main() -> None:
        async with live(rules=RULES) as scene:
            kit = await Player(scene, "kit").join()
            await said(kit, "My silver ring fell into the well.", to=["ada"])
            await chatter(kit, 250)
            assert scene.state.happenings[0].number > 1
            assert "silver ring" in draft(scene, "ada", "Who took the ring?")

    run(main)


def test_importance_by_rules() -> None:
    def weight(text: str, **fields: bool) -> float:
        whole = {"spoken": True, "by_world": False, "meant": False, "deed": False} | fields
        return memory.importance(text, **whole)

    assert weight("Hello.") < weight("The east rope is fraying.")
    assert weight("I promise you the rope.") > weight("The east rope is fraying.")
    assert weight("你不还钱，我饶不了你。") > weight("今天风真大。")
    assert weight("gives a coin", spoken=False) > weight("The east rope is fraying.")
    assert weight("Fog rolls in.", spoken=False, by_world=True) == 0.8


def test_a_fold_does_not_look_into_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    terms = memory.terms
    monkeypatch.setattr(memory, "terms", lambda text: looked_at.append(text) or terms(text))
    held = Memories("en", {"ada": "Ada"})
    held.add(made(1, "A silver ring."), player=True)
    assert looked_at == []
    held.prepare()
    assert "A silver ring." in looked_at
    looked_at.clear()
    assert held.items[1].importance > 0
    assert looked_at == [], "and once it was asked for, not again"


def test_state_equality_includes_memories() -> None:
    one, other = SceneState(QUAY), SceneState(QUAY)
    assert one.memories == other.memories
    other.memories.add(made(1, "A rope."), player=True)
    assert one.memories != other.memories
