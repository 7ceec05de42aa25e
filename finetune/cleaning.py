"""What may be learned from: text made whole, and what a character must never say left out.

A conversation is cut before its first bad turn; what stood before it is still good. Knows no files.
"""

import re
import unicodedata
from dataclasses import dataclass

import ftfy

from finetune.records import Conversation, Turn

PLACEHOLDER = re.compile(
    r"\[[^\[\]]*\b(?:names?|users?|your|my|insert|person|city|company)\b[^\[\]]*\]"
    r"|\{\{?\s*\w+\s*\}?\}|<\w+>|\[[A-Z_ ]{3,}\]",
    re.IGNORECASE,
)
OUT_OF_CHARACTER = re.compile(
    r"\b(?:as|i am|i'm|being) an? (?:ai|a\.i\.|artificial intelligence|language model|chat ?bot"
    r"|virtual assistant)\b|\blanguage model\b|\bopenai\b|\bchatgpt\b"
    r"|作为一?[个名]?(?:人工智能|ai|AI|语言模型|聊天机器人)|我是一?[个名]?(?:人工智能|AI|语言模型)",
    re.IGNORECASE,
)
LABEL = re.compile(r"(?:^|\s)(?:User|Player|Assistant|NPC|Human|Bot) ?\d?:\s|<\|", re.IGNORECASE)
LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Bounds:
    """How long what is said may be, in characters."""

    line: int = 600
    reply: int = 400


def whole(text: str) -> str:
    """Text with broken encodings mended, one form of each character, and single spaces."""
    text = unicodedata.normalize("NFC", ftfy.fix_text(text))
    shown = (char if char.isprintable() else " " for char in text)
    return " ".join("".join(shown).split())


def clean(conversation: Conversation, bounds: Bounds) -> tuple[Conversation | None, str | None]:
    """A conversation with every text made whole, up to its first bad turn.

    Returns:
        The conversation, None where nothing is left; and why it was cut, if it was.
    """
    turns: list[Turn] = []
    reason = None
    for turn in conversation.turns:
        text = whole(turn.text)
        own = turn.speaker in conversation.stage.characters
        reason = fault(text, bounds.reply if own else bounds.line, own=own)
        if reason:
            break
        turns.append(turn.model_copy(update={"text": text}))
    kept = conversation.model_copy(update={"turns": turns}) if len(turns) > 1 else None
    return kept, reason


def fault(text: str, most: int, *, own: bool) -> str | None:
    """Why a turn cannot be used; None if it can.

    Args:
        own: a character of the scene says it.
    """
    if not LETTER.search(text):
        return "nothing is said"
    if PLACEHOLDER.search(text):
        return "a placeholder"
    if LABEL.search(text):
        return "another speaker's label in it"
    if own and OUT_OF_CHARACTER.search(text):
        return "out of character"
    if len(text) > most:
        return "too long"
    return None
