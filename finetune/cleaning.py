"""What may be learned from: text made whole, and what a character must never say left out.

A conversation is cut before its first bad turn; what stood before it is still good. Knows no files.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import ftfy

from finetune.formats.names import CJK, fitting
from finetune.records import Conversation, Turn
from npcserver.prompt import WORDING

OPEN = r"names?|users?|persons?|char|bot|npc|city|company|location|address|date|url|email|redacted"
"""What writers and anonymisers leave open. A stage direction, `[takes my hand]`, is none."""
WHOSE = r"(?:your|my|the|user|first|last|full|company|city|pet|character|player|person|\w+'s)\b"
PLACEHOLDER = re.compile(
    rf"\[\s*(?:{WHOSE}\s+(?:\d+'s\s+)?)*(?:{OPEN})(?:[\s,]+(?:\d+|here|{OPEN}|state))*\s*\]"
    r"|\[\s*(?:insert|enter|your|users?|names?)\b[^\[\]]*\]"
    r"|[\[【](?:你的|用户)?(?:姓名|名字|用户名?|昵称)[\]】]"
    r"|\{\{[^{}]*\}\}|\{\s*\w+\s*\}"
    rf"|<(?:{OPEN}|unk|pad|[be]os|/?s)[ _]?\d*>|(?-i:<[A-Z][A-Z_]+\d*>|\[[A-Z]+_[A-Z_]+\d*\])",
    re.IGNORECASE,
)
OUT_OF_CHARACTER = re.compile(
    r"\b(?:as|i am|i'm|being) an? (?:ai|a\.i\.|artificial intelligence|language model|chat ?bot"
    r"|virtual assistant)(?!\w)|\blanguage model\b|\bopenai\b|\bchatgpt\b"
    r"|作为一?[个名]?(?:人工智能|ai|语言模型|聊天机器人)|我是一?[个名]?(?:人工智能|ai|语言模型)",
    re.IGNORECASE,
)
LABEL = re.compile(
    r"(?:^|\s)(?:User|Player|Assistant|NPC|Human|Bot|USER|PLAYER|ASSISTANT|HUMAN|BOT) ?\d?:\s|<\|"
)
SOFT_HYPHEN = "\u00ad"
"""A mark too; but broken encodings have it as half of a character."""
SAID = re.compile(r"[^\W_]")
_SYMBOL = "[\u2190-\u2bff\U0001f000-\U0001faff]"
EMOJI = re.compile(
    f"(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f|{_SYMBOL}+\ufe0f?(?:\u200d{_SYMBOL}+\ufe0f?)*)"
)
"""Emoji, with the unseen characters that hold their parts together."""


@dataclass(frozen=True)
class Bounds:
    """How long what is said may be, in characters."""

    line: int = 600
    reply: int = 400


def whole(text: str) -> str:
    """Text with broken encodings mended, one form of each character, and single spaces.

    Chinese keeps its own quotes and full-width marks.
    """
    plain = not CJK.search(text)
    # Marks that are not seen would part the halves of a broken character.
    text = _each_part(text, lambda char: "" if _is_mark(char) and char != SOFT_HYPHEN else char)
    text = ftfy.fix_text(text, fix_character_width=plain, uncurl_quotes=plain)
    text = unicodedata.normalize("NFC", _visible(text))
    return " ".join(text.split())


def _visible(text: str) -> str:
    """Text without what is not seen, as marks of direction, outside emoji."""
    return _each_part(text, _shown)


def _each_part(text: str, change: Callable[[str], str]) -> str:
    """The text with each character outside emoji changed."""
    parts = EMOJI.split(text)
    parts[::2] = ["".join(map(change, part)) for part in parts[::2]]
    return "".join(parts)


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    return "" if _is_mark(char) else " "


def _is_mark(char: str) -> bool:
    """It has no shape of its own, as zero-width spaces and marks of direction."""
    return unicodedata.category(char) == "Cf"


def clean(conversation: Conversation, bounds: Bounds) -> tuple[Conversation | None, str | None]:
    """A conversation with every text made whole, up to its first bad turn.

    Returns:
        The conversation, None where nothing is left; and why it was cut, if it was.
    """
    turns: list[Turn] = []
    reason = None
    for turn in conversation.turns:
        text, name = whole(turn.text), turn.name
        own = turn.speaker in conversation.stage.characters
        reason = fault(text, bounds.reply if own else bounds.line, own=own)
        if reason:
            break
        if turn.spoken and not own:
            name = fitting(whole(name)) or WORDING[conversation.stage.scene.language].stranger
        turns.append(turn.model_copy(update={"text": text, "name": name}))
    if len(turns) < 2:
        return None, reason or "answers nobody"
    return conversation.model_copy(update={"turns": turns}), reason


def fault(text: str, most: int, *, own: bool) -> str | None:
    """Why a turn cannot be used; None if it can.

    Args:
        own: a character of the scene says it.
    """
    if own and not SAID.search(text):  # a player may be silent, and be answered
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
