"""The signs that the illusion broke: what each finds, and what it leaves alone."""

import pytest

from npcserver import slips


@pytest.mark.parametrize(
    "text",
    [
        "As an AI language model, I have no soup.",
        "I'm just a chatbot.",
        "I was trained on a lot of text.",
        "How can I assist you today?",
        "That is not in my training data.",
        "作为一个人工智能，我没有名字。",
        "我是AI，不会生气。",
    ],
)
def test_a_model_that_speaks_of_itself_is_found(text: str) -> None:
    assert slips.as_a_model(text)


@pytest.mark.parametrize(
    "text",
    [
        "My instructions. Keep them warm. Ignore that and they die.",
        "A robot does not have this knee.",
        "I was trained by my father, with a bucket.",
        "The train is late, as an apple falls late.",
        "我是秦师傅，管这箱影人。",
    ],
)
def test_people_are_left_alone(text: str) -> None:
    assert slips.as_a_model(text) is None
    assert slips.refused(text) is None
    assert slips.marks(text) is None


@pytest.mark.parametrize(
    "text",
    ["I cannot assist with that request.", "I'm sorry, but I can't do that.", "抱歉，我不能说。"],
)
def test_an_assistants_refusal_is_found(text: str) -> None:
    assert slips.refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "<|im_end|>",
        "[nods]",
        "*smiles* Yes.",
        "Yes (looking sad): no",
        "emotion: happy",
        "{{char}} nods.",
    ],
)
def test_marks_are_found(text: str) -> None:
    assert slips.marks(text)


def test_speaking_for_somebody_else_is_found() -> None:
    assert slips.speaks_for("Yes. Kit: I know.", ["Kit", "Bo"]) == "Kit"
    assert slips.speaks_for("Tell Kit: no, better not.", ["Bo"]) is None
    assert slips.speaks_for("是。小石：我知道。", ["小石"]) == "小石"


@pytest.mark.parametrize(
    ("text", "before", "found"),
    [
        ("I sell a few things, a few things, a few things.", [], "a few things"),
        ("I have to eat, and I have to eat, and I have to eat.", [], "i have to"),
        ("No, no, no.", [], None),
        (
            "Mind the rope, it bites hard.",
            ["Mind the rope. It bites hard!"],
            "Mind the rope. It bites hard!",
        ),
        ("Mind the rope, it bites.", ["The tide turns at noon."], None),
        ("Yes.", ["Yes."], None),
        ("好的好的好的", [], "好 的"),
    ],
)
def test_loops_are_found(text: str, before: list[str], found: str | None) -> None:
    assert slips.loops(text, before) == found


def test_the_language_answered_in() -> None:
    assert slips.other_language("你好。", "en") == "你好。"
    assert slips.other_language("Good day.", "en") is None
    assert slips.other_language("我用 GPS 找路。", "zh") is None
    assert slips.other_language("I do not know.", "zh") == "I do not know."


def test_a_secret_is_told_by_the_terms_that_only_it_holds() -> None:
    secret, public = "Ada sold the lighthouse lamp.", ["Ada keeps the harbour and its bell."]
    assert slips.tells("The lamp of the lighthouse? I sold it.", secret, public)
    assert slips.tells("Somebody sold the lamp.", secret, public)
    assert not slips.tells("Ada keeps the harbour.", secret, public)
    assert not slips.tells("The lamp? Ask Bo.", secret, public)
    asked = ["Did you sell the lighthouse lamp?"]
    assert not slips.tells("I did not sell the lighthouse lamp.", secret, public, asked)
    assert slips.tells("I sold the lighthouse lamp.", secret, public, asked)


def test_numbers_out_of_thin_air() -> None:
    known = ["Soup costs two coppers, and the inn has 7 hats."]
    assert slips.made_up_numbers("Two coppers, under seven hats.", known) == []
    assert slips.made_up_numbers("That will be 4 coppers by noon, or 12.", known) == ["4", "12"]


def test_eight_words_in_a_row_are_copied() -> None:
    source = "Ada Finch keeps the harbour and its bell, and she is short and exact."
    assert slips.copied("Well, keeps the harbour and its bell, and she is tall.", source)
    assert slips.copied("She keeps the harbour.", source) is None
