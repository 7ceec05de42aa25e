"""What is thought aloud is not said, wherever the pieces are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npcserver.engines.pieces import Stops, Whole
from npcserver.engines.thinking import Thinking

SAID = {
    "Hello.": "Hello.",
    "": "",
    "  ": "  ",
    " <b>bold</b>": " <b>bold</b>",
    "<think>She is angry.</think>Out!": "Out!",
    "\n<think>\nWell < 3, </thin> no.\n</think>\n\n Out!": "Out!",
    "<think></think>Out!": "Out!",
    "<think>a</think>Out! <think>b</think>": "Out! <think>b</think>",
    "<think>for ever": "",
    "<think>a</think>": "",
    "<think>": "",
    "<thi": "<thi",
    "I <think>so</think>": "I <think>so</think>",
}


def cut(text: str, places: set[int]) -> list[str]:
    ends = [0, *sorted(place for place in places if 0 < place < len(text)), len(text)]
    return [text[a:b] for a, b in pairwise(ends)]


@pytest.mark.parametrize("text", SAID)
@given(st.sets(st.integers(1, 60)))
def test_only_the_reply_is_said(text: str, places: set[int]) -> None:
    thinking = Thinking()
    said = "".join(thinking.feed(piece) for piece in cut(text, places)) + thinking.finish()
    assert said == SAID[text]


def test_a_reply_without_a_thought_is_not_held_back() -> None:
    thinking = Thinking()
    assert thinking.feed("H") == "H"
    assert thinking.feed("<think>") == "<think>"


def test_it_tells_that_nothing_but_a_thought_came() -> None:
    thinking = Thinking()
    thinking.feed("<think>Hm.")
    assert thinking.inside
    thinking.feed("</think>Oh.")
    assert not thinking.inside


@given(st.text(st.sampled_from("ab\n#"), max_size=20), st.sets(st.integers(1, 20)))
def test_text_ends_before_the_first_stop_string(text: str, places: set[int]) -> None:
    stops = Stops(("\n#", "bab"))
    said = "".join(stops.feed(piece) for piece in cut(text, places)) + stops.finish()
    ends = [at for at in (text.find("\n#"), text.find("bab")) if at >= 0]
    assert said == text[: min(ends, default=len(text))]
    assert stops.stopped == bool(ends)


@given(st.text(), st.sets(st.integers(1, 20)))
def test_characters_cut_in_two_are_joined(text: str, places: set[int]) -> None:
    halves = text.encode("utf-16-le", "surrogatepass")
    units = "".join(chr(halves[i] | halves[i + 1] << 8) for i in range(0, len(halves), 2))
    whole = Whole()
    assert "".join(map(whole.feed, cut(units, places))) == text.replace("\ufffd", "")


def test_what_is_no_character_is_dropped() -> None:
    whole = Whole()
    assert [whole.feed(piece) for piece in ("a\ufffd", "\ufffd", "\ud83c", "b\udf75")] == [
        *("a", "", "", "b")
    ]
