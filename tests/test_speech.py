"""Tokens become text that may go out."""

import pytest

from npcserver.engines.speech import Speech


class Bytes:
    """A vocabulary of single bytes, and one token that is never text."""

    special_ids = (256,)

    def token_bytes(self, token: int) -> bytes:
        return bytes([token])


def pieces(text: str, stop: tuple[str, ...] = ("\n",)) -> tuple[list[str], Speech]:
    speech = Speech(Bytes(), stop)
    said = []
    for byte in text.encode():
        said.append(speech.feed([byte]))
        if speech.stopped:
            break
    else:
        said.append(speech.end())
    return said, speech


@pytest.mark.parametrize("text", ["茶 🍵 café", "👩‍👩‍👧 e\u0301", "Plain."])
def test_pieces_are_whole_characters(text: str) -> None:
    said, _ = pieces(text)
    assert "".join(said) == text
    assert "�" not in "".join(said)


def test_a_character_that_is_cut_in_two_is_left_out() -> None:
    speech = Speech(Bytes(), ("\n",))
    assert speech.feed([*b"tea ", *"🍵".encode()[:2]]) == "tea "
    assert speech.end() == ""


def test_text_ends_before_a_stop_and_what_may_become_one_waits() -> None:
    said, speech = pieces("Go.<end> more", ("<end>",))
    assert "".join(said) == "Go."
    assert speech.stopped
    assert "".join(pieces("a < b", ("<end>",))[0]) == "a < b"


def test_special_tokens_are_counted_and_not_said() -> None:
    speech = Speech(Bytes(), ())
    assert speech.feed([104, 256, 105]) == "hi"
    assert speech.tokens == 3


def test_a_thought_is_not_said_and_does_not_stop_the_reply() -> None:
    said, _ = pieces("<think>\nHe wants tea.\nI have none.\n</think>\n\nNo tea today.")
    assert "".join(said) == "No tea today."
