"""What may be learned from: what is left out, and above all what is not."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finetune.cleaning import Bounds, clean, fault, whole
from finetune.records import Conversation, Persona, Turn, plain_stage

FAMILY = "👩\u200d👩\u200d👧"
HEART = "❤\ufe0f\u200d🔥"
ASTRONAUT = "👩🏽\u200d🚀"
NODDING = "🙂\u200d↔\ufe0f"
SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
NEW = "\U0001fae8"

STAGE = plain_stage(
    "A walk.", "A path.", {"ada": Persona(name="Ada", about="A walker.", resting="calm")}
)


def talk(*texts: str, player: str = "Kit") -> Conversation:
    """Kit speaks, Ada answers, and so on."""
    turns = [
        Turn(speaker="ada", name="Ada", text=text, source=f"t:{number}")
        if number % 2
        else Turn(speaker="player", name=player, text=text, source=f"t:{number}")
        for number, text in enumerate(texts)
    ]
    return Conversation(stage=STAGE, turns=turns, dataset="test", source="t:0")


def cleaned(*texts: str, bounds: Bounds = Bounds()) -> tuple[list[str], str | None]:  # noqa: B008
    kept, reason = clean(talk(*texts), bounds)
    return [turn.text for turn in kept.turns] if kept else [], reason


@pytest.mark.parametrize(
    "text",
    [
        "I <3 you.",
        "If 3 < 4 and y > x, then <b>so</b> be it.",
        "[laughs] Well, well.",
        "[LAUGHS] Well.",
        "[takes my hand] Come.",
        "[shakes your hand]",
        "[whispers her name]",
        "<laughs> You?",
        "Tell me your name, user of ropes.",
        "Mind the city, the company and the person.",
        "Listen to me, human: go home.",
        "The player: who was it?",
        "I am an aide, not an airman.",
        "As an artist I disagree.",
        "42.",
        "【笑】好啊。",
        "我是一名船工。",
        "Ça va ? Señor, übermorgen!",
        "为什么不呢？“灯油”三文钱！",
        f"Look {FAMILY}",
    ],
)
def test_what_people_say_is_not_left_out(text: str) -> None:
    assert fault(whole(text), 400, own=True) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing is said"),
        ("?! … ___ 🐟", "nothing is said"),
        ("Hello [Your Name]!", "a placeholder"),
        ("Hello [your name here].", "a placeholder"),
        ("I'm [User 1's name].", "a placeholder"),
        ("[PERSON_NAME] left [City, State].", "a placeholder"),
        ("Her name is [my wife's name].", "a placeholder"),
        ("[insert a joke about fish]", "a placeholder"),
        ("Ask {{user}}.", "a placeholder"),
        ("Ask {name}.", "a placeholder"),
        ("Ask <USER> or <name>.", "a placeholder"),
        ("我叫[姓名]。", "a placeholder"),
        ("Well. User: what?", "another speaker's label in it"),
        ("Assistant: Hello.", "another speaker's label in it"),
        ("Hello.<|im_end|>", "another speaker's label in it"),
        ("As an AI, I cannot.", "out of character"),
        ("I’m an A.I. of sorts.", "out of character"),
        ("I am a language model.", "out of character"),
        ("作为一个人工智能，我不能。", "out of character"),
        ("我是AI。", "out of character"),
        ("x" * 401, "too long"),
    ],
)
def test_what_no_character_says_is_left_out_with_its_reason(text: str, reason: str) -> None:
    assert fault(whole(text), 400, own=True) == reason


def test_a_player_may_call_somebody_a_machine() -> None:
    assert fault("Are you ChatGPT?", 400, own=False) is None


@pytest.mark.parametrize("emoji", [FAMILY, HEART, ASTRONAUT, NODDING, SCOTLAND, "☎\ufe0f", NEW])
def test_emoji_stay_in_one_piece(emoji: str) -> None:
    assert whole(f"So {emoji}!") == f"So {emoji}!"
    assert whole(emoji) == emoji
    assert whole(f"{emoji}{emoji}为") == f"{emoji}{emoji}为"


@pytest.mark.parametrize(
    "unseen", list("\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e\u2066\u2069\u200f")
)
def test_what_is_not_seen_goes_and_leaves_no_gap(unseen: str) -> None:
    assert whole(f"zero{unseen}width") == "zerowidth"
    assert whole(f"{unseen}為{unseen}") == "為"
    assert whole(f"e{unseen}\u0301") == "é"


def test_hidden_tags_outside_a_flag_go() -> None:
    assert whole("Hi\U000e0069\U000e0067\U000e006e.") == "Hi."


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("  a \t b\r\n\x07c\u00a0\u3000d ", "a b c d"),
        ("cafe\u0301", "café"),
        ("schÃ¶n", "schön"),
        ("fish &amp; chips", "fish & chips"),
        ("“Don’t.”", '"Don\'t."'),
        ("你好，世界！（“笑”）", "你好，世界！（“笑”）"),
        ("好　啊", "好 啊"),
    ],
)
def test_text_is_made_whole(text: str, mended: str) -> None:
    assert whole(text) == mended


@settings(max_examples=200, deadline=None)
@example("é\u200b”“你")
@given(
    st.text(
        st.sampled_from(
            "aé e\u0301你，“” \n\t\u200b\u200d\u202e\ufe0f👩🏽🚀🏴\U000e0067\U000e007f."
        )
    )
)
def test_whole_text_is_normal_and_stays_as_it_is(text: str) -> None:
    made = whole(text)
    assert made == " ".join(made.split()) == unicodedata.normalize("NFC", made)
    assert not set(made) & set("\u200b\u202e")
    assert whole(made) == made


def test_a_conversation_is_cut_before_its_first_bad_turn() -> None:
    assert cleaned("Hi.", "Hello.", "And you?", "As an AI, no.", "Oh.", "Yes.") == (
        ["Hi.", "Hello.", "And you?"],
        "out of character",
    )
    assert cleaned("[Your Name]?", "Hello.") == ([], "a placeholder")
    assert cleaned("Hi.") == ([], "answers nobody")


def test_lines_and_replies_have_bounds_of_their_own() -> None:
    assert cleaned("x" * 6, "yy", bounds=Bounds(line=5)) == ([], "too long")
    assert cleaned("x" * 5, "y" * 4, bounds=Bounds(5, 4)) == (["xxxxx", "yyyy"], None)
    assert cleaned("x", "y" * 5, "z", bounds=Bounds(5, 4)) == ([], "too long")


@pytest.mark.parametrize(
    ("player", "name"),
    [("Kit", "Kit"), (" K\nit: hey (", "K it hey"), ("\u200b", "Stranger"), ("(:", "Stranger")],
)
def test_a_players_name_fits_a_prompt(player: str, name: str) -> None:
    kept, _ = clean(talk("Hi.", "Hello.", player=player), Bounds())
    assert kept
    assert [turn.name for turn in kept.turns] == [name, "Ada"]


def test_a_player_may_be_silent() -> None:
    assert fault("...", 100, own=False) is None
    assert fault("...", 100, own=True) == "nothing is said"
