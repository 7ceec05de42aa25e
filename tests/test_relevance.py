"""What a line is about, in English and Chinese."""

import pytest

from npcserver.relevance import Index, affirmed, rank, terms

LINES = ["Hello.", "Who are you?", "How is the weather?", "What does it cost?", "Tell me a joke."]


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("Hi there", 0),
        ("hey, who are you", 1),
        ("How is the weather today?", 2),
        ("so what does it cost", 3),
        ("Can you tell me a joke?", 4),
        ("How much is the fare?", None),
        ("!?", None),
    ],
)
def test_lines_that_are_put_alike(query: str, best: int | None) -> None:
    found = rank(query, LINES, function_words=0.2)
    assert (found[0] if found else None) == best


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("You are not a fool, you are kind.", "you are kind"),
        ("I don’t know; I want to, but I cannot.", "I want to"),
        ("Thank you!", "Thank you"),
        ("dont thank me", ""),
        ("你不是傻瓜，谢谢你。", "谢谢你"),
        ("对不起，你真不错，特别好。", "对不起, 你真不错, 特别好"),
    ],
)
def test_what_is_denied_is_left_out(text: str, left: str) -> None:
    assert affirmed(text) == left


def test_facts_are_found_by_what_they_are_about() -> None:
    facts = ["The fare is four coppers.", "The rope has six strands.", "茶馆明天关门。"]
    assert rank("What is the fare?", facts) == [0]
    assert rank("is the the of", facts) == []
    assert rank("茶馆什么时候关门", facts) == [2]


def test_rarer_terms_count_more() -> None:
    facts = ["the old bridge", "the old tower", "the old mill"]
    assert rank("the old mill", facts)[0] == 2


def test_chinese_is_taken_in_pairs() -> None:
    assert terms("茶馆关门") == {"茶馆", "馆关", "关门"}
    assert terms("茶") == {"茶"}


def test_an_index_finds_those_that_say_the_same() -> None:
    index = Index([*LINES, "What does it cost, please?", "What did it not cost?"])
    assert index.same("so what does it cost") == [3, 5]
    assert index.same("is it so?") == []
    assert Index(["Can you help me?", "Can I help you?"]).same("can you help me") == [0]


def test_what_is_typed_without_apostrophes_is_the_same() -> None:
    assert terms("whats your name, youre new, dont go") == terms(
        "what's ur name, you're new, don't go"
    )
