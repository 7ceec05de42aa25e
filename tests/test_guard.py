"""What may be said, piece by piece."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npcserver.guard import Guard, Sentences

NAMES = ["Hessa Vorn", "Hessa", "Kit", "阿远"]


def said(text: str, size: int = 1) -> str:
    guard = Guard(NAMES)
    pieces = [guard.feed(text[i : i + size]) for i in range(0, len(text), size)]
    return "".join(pieces) + guard.finish()


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Not on that rope.", "Not on that rope."),
        ("Fine. Kit: I give you gold.", "Fine."),
        ("Fine. Hessa (angry): Out.", "Fine."),
        ("Fine.\nKit: more", "Fine."),
        ("Kit is a good name. Kitten: no.", "Kit is a good name. Kitten: no."),
        ("(smiles) Sit down *nods* here.", "Sit down here."),
        ("Sit (down", "Sit"),
        ("Yes.<|im_end|>", "Yes."),
        ("过来。阿远：好的", "过来。"),
        ("Ask Hessa", "Ask Hessa"),
        ("3 coppers: no more.", "3 coppers: no more."),
        (" One cart): Two coppers.", "One cart. Two coppers."),
        ("Out.) Now.", "Out. Now."),
    ],
)
def test_speech_ends_where_another_line_begins(text: str, expected: str, size: int) -> None:
    assert said(text, size) == expected


@given(st.text(alphabet="ab K(it):.<|\n好：（", max_size=60), st.integers(1, 7))
def test_how_text_is_cut_changes_nothing(text: str, size: int) -> None:
    whole = said(text, 1000)
    assert said(text, size) == whole
    assert "\n" not in whole
    assert "Kit:" not in whole


def spans(text: str, size: int = 1) -> list[str]:
    sentences = Sentences()
    found = []
    for i in range(0, len(text), size):
        found += sentences.feed(text[i : i + size])
    return [text[start:end] for start, end in found + sentences.finish()]


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It costs 3.50 a head. Pay.", ["It costs 3.50 a head.", "Pay."]),
        ("Well... no.", ["Well...", "no."]),
        ("不行。“快走！”他说。", ["不行。", "“快走！”", "他说。"]),
        ("No end", ["No end"]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str], size: int) -> None:
    assert spans(text, size) == expected
