"""Lines that a writer answered already, answered in the writer's words."""

from dataclasses import replace

import pytest

from npcserver.engines.scripted import ScriptedEngine
from npcserver.floor import Rules
from npcserver.library import LoadedScene
from npcserver.lorebook import Entry, Lorebook
from npcserver.relevance import Index
from npcserver.sheets import Example
from tests.clock import run
from tests.stage import QUAY, Player, live

ASKED = "Can you row to the far shore tonight?"
ROWS = (
    Example(line=ASKED, reply="Not in this fog.", emotion="angry"),
    Example(
        line="please, can you row to the far shore tonight", reply="Ask Bo.", emotion="neutral"
    ),
)
RECITING = Rules(recite=True)


def quay(*examples: Example) -> LoadedScene:
    """The quay, whose Ada answered some lines before."""
    return replace(QUAY, beginnings={"ada": examples})


def answers(loaded: LoadedScene, *lines: str, rules: Rules = RECITING) -> list[tuple[str, str]]:
    """What Ada says to each line, and whether a writer wrote it."""

    async def main() -> list[tuple[str, str]]:
        engine = ScriptedEngine({"quay": QUAY})
        async with live(engine=engine, loaded=loaded, rules=rules) as scene:
            kit = await Player(scene, "kit").join()
            for line in lines:
                await kit.say(line, to=["ada"])
                await scene.floor.quiet()
            return [(done.text, (done.authored or "")[:8]) for done in kit.of("turn.done")]

    return run(main)


def test_a_line_that_was_answered_is_answered_so_again() -> None:
    assert answers(quay(*ROWS[:1]), "Can you row to the far shore, Ada?") == [
        ("Not in this fog.", "example_")
    ]


def test_no_player_hears_it_twice() -> None:
    told = answers(quay(*ROWS), ASKED, ASKED, ASKED)
    assert told[:2] == [("Not in this fog.", "example_"), ("Ask Bo.", "example_")]
    assert told[2][1] == ""


def test_only_where_it_is_wanted() -> None:
    assert answers(quay(*ROWS), ASKED, rules=Rules())[0][1] == ""


def test_what_goes_with_a_deed_is_said_only_where_it_can_be_done() -> None:
    rings = Example(line=ASKED, reply="Cover up.", emotion="happy", action="ring", target="bell")
    assert answers(quay(rings), ASKED) == [("Cover up.", "example_")]
    elsewhere = rings.model_copy(update={"target": "net"})
    assert answers(quay(elsewhere), ASKED)[0][1] == ""


def test_asked_about_themselves_by_name_they_are_not_asked_about_nothing() -> None:
    asked = Example(line="Where is?", reply="Boats.", emotion="neutral")
    assert answers(quay(asked), "Where is Ada?")[0][1] == ""


def test_what_an_event_may_have_changed_is_not_said_as_it_was_written() -> None:
    rows = quay(*ROWS[:1])

    async def main() -> str | None:
        async with live(
            engine=ScriptedEngine({"quay": QUAY}), loaded=rows, rules=RECITING
        ) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await kit.send("scene.event", name="fog")
            await kit.say(ASKED, to=["ada"])
            await scene.floor.quiet()
            return kit.of("turn.done")[-1].authored

    assert run(main) is None


def test_where_there_is_more_to_tell_the_character_finds_words() -> None:
    lore = Lorebook(entries=[Entry(keys=["far shore"], content="The far shore is on fire.")])
    loaded = replace(quay(*ROWS), lore={"ada": (lore,)})
    assert answers(loaded, ASKED)[0][1] == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hi!", "hello"),
        ("can you take me across", "Can you take me across tonight?"),
        ("Who are you?", "So who are you, please?"),
        ("What's your name?", "what is your name"),
        ("你是谁？", "你是谁"),
    ],
)
def test_the_same_line(one: str, other: str) -> None:
    assert Index([other]).same(one) == [0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who are you?", "Where are you?"),
        ("I will pay you double for it", "I will not pay you double for it"),
        ("I can pay you double for it", "I can't pay you double for it"),
        ("Is the north road open?", "Is the south gate open?"),
        ("我会付给你双倍的船钱去那边的对岸好吗", "我不会付给你双倍的船钱去那边的对岸好吗"),
        ("?", "!"),
        ("When were you born?", "Where were you born?"),
        ("and you are?", "are you ok"),
    ],
)
def test_another_line(one: str, other: str) -> None:
    assert Index([other]).same(one) == []
