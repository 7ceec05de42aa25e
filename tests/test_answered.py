"""Lines that a writer answered already, answered in the writer's words."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from npcserver import lobby
from npcserver.admission import Admission
from npcserver.config import Settings
from npcserver.engines.base import Piece, Prompt, Sampling
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


@pytest.mark.parametrize(
    "line",
    [
        "I'm new here. Can you row to the far shore tonight?",
        "can you row to the far shore tonight? i can pay",
        "All right, can you row to the far shore tonight",
        "Can you row to the far shore tonight? And why is it so cold in the nights here",
        "lol anyway can you row to the far shore tonight",
        "hey ada who are you and can you row to the far shore tonight",
    ],
)
def test_the_part_of_a_line_that_wants_an_answer_is_enough(line: str) -> None:
    assert answers(quay(*ROWS[:1]), line) == [("Not in this fog.", "example_")]


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


def test_a_name_that_calls_is_no_part_of_the_line() -> None:
    thanks = Example(line="Thanks Ada", reply="Any time.", emotion="happy")
    hello = Example(line="Good morning.", reply="Is it?", emotion="neutral")
    assert answers(quay(thanks, hello), "Good morning, Ada.") == [("Is it?", "example_")]


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
    ],
)
def test_another_line(one: str, other: str) -> None:
    assert Index([other]).same(one) == []


def test_a_server_does_it_unless_it_is_told_not_to() -> None:
    assert Settings.model_fields["written_answers"].default is True
    for wanted in (True, False):
        settings = Settings(written_answers=wanted)
        assert lobby.rules(settings, lambda: 0, lambda: 0, Admission(lambda: None)).recite is wanted


class Wordless(ScriptedEngine):
    """Decides as ever, and finds no words."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[Piece]:
        for piece in ():
            yield piece


def test_who_finds_no_words_says_what_was_written_for_want_of_an_answer() -> None:
    sheet = QUAY.characters["ada"].model_copy(update={"brief": ["Hm.", "Later."]})
    loaded = replace(QUAY, characters={**QUAY.characters, "ada": sheet})

    async def main() -> tuple[str, str]:
        async with live(loaded=loaded, engine=Wordless({"quay": QUAY}), rules=Rules()) as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("Hello.", to=["ada"])
            done = await kit.until("turn.done")
            return done.status, done.text

    assert run(main) == ("completed", "Later.")
