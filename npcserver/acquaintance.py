"""What a character has come to know of a player, in short: a summary of a long history, by rules.

Kept up as things happen, never on the path of a reply. What was whispered is counted and not
quoted. Knows nothing of scenes, prompts or engines.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

QUOTED = 2
"""Of each kind, so many are kept; the newest."""
LONGEST_QUOTE = {"en": 60, "zh": 24}
_PROMISE = re.compile(
    r"\b(?:i promise|i swear|i'll|i will|my word|count on me)\b"
    "|我保证|我答应|我发誓|我一定|我会|包在我身上|说话算话",
    re.IGNORECASE,
)
_THREAT = re.compile(
    r"\b(?:or else|kill you|hurt you|regret|make you pay|burn (?:this|your|it)|watch your back"
    r"|break your|cut your)\b|杀了你|要你好看|后悔|等着瞧|打断你|烧了|小心你的|饶不了你",
    re.IGNORECASE,
)


def promises(text: str) -> bool:
    """Whether somebody promises something, as far as single words can tell."""
    return _PROMISE.search(text) is not None


def threatens(text: str) -> bool:
    """Whether somebody threatens, as far as single words can tell."""
    return _THREAT.search(text) is not None


def shortened(text: str, longest: int) -> str:
    """A text of at most `longest` characters, on one line and without brackets."""
    text = " ".join(text.split()).replace("[", "(").replace("]", ")")
    if len(text) <= longest:
        return text
    cut = text[: longest - 1]
    at = max(cut.rfind(space) for space in " ,;，；。")
    return cut[: at if at > longest // 2 else None].rstrip(" ,;，；") + "…"


@dataclass(frozen=True)
class Acquaintance:
    """What a character knows of one player.

    Args:
        since: the number of the first happening between them.
        visits: how often the player came, this time included.
        lines: how much the character heard them say; `reflected` of these when last summed up.
        here: whether something happened between them since the player came in.
    """

    name: str
    since: int
    visits: int = 0
    lines: int = 0
    reflected: int = 0
    here: bool = False
    did: tuple[str, ...] = ()
    promised: tuple[str, ...] = ()
    threatened: tuple[str, ...] = ()

    def met(self) -> "Acquaintance":
        """Something happens between them."""
        return self if self.here else replace(self, here=True, visits=self.visits + 1)

    def after_line(self, text: str, *, whispered: bool) -> "Acquaintance":
        """The player says something that the character hears."""
        told = replace(self.met(), lines=self.lines + 1)
        if whispered:
            return told
        if threatens(text):
            return replace(told, threatened=_with(self.threatened, text))
        if promises(text):
            return replace(told, promised=_with(self.promised, text))
        return told

    def after_deed(self, text: str) -> "Acquaintance":
        """The player does something that the character sees."""
        return replace(self.met(), did=_with(self.did, text))


def _with(quotes: tuple[str, ...], text: str) -> tuple[str, ...]:
    return (*(quote for quote in quotes if quote != text), text)[-QUOTED:]


def summary(character: str, known: Acquaintance, language: str) -> str:
    """An acquaintance as prompts say it. Args: character: whose it is, by name."""

    def quoted(texts: tuple[str, ...], mark: str) -> str:
        return mark.join(shortened(text, LONGEST_QUOTE[language]) for text in texts)

    if language == "zh":
        return _in_chinese(character, known, quoted)
    visits = {1: "who came once", 2: "who came twice"}
    came = visits.get(known.visits, f"who came {known.visits} times")
    said = {0: "said nothing", 1: "said one thing"}.get(known.lines, f"said {known.lines} things")
    told = [f"{character} remembers {known.name}, {came} and {said}."]
    if known.did:
        told.append(f"What {known.name} did: {quoted(known.did, '; ')}.")
    if known.promised:
        told.append(f"{known.name} promised: “{quoted(known.promised, '” and “')}”")
    if known.threatened:
        told.append(f"{known.name} threatened: “{quoted(known.threatened, '” and “')}”")
    return " ".join(told)


def _in_chinese(
    character: str, known: Acquaintance, quoted: Callable[[tuple[str, ...], str], str]
) -> str:
    told = [f"{character}记得{known.name}：来过{known.visits}次，说过{known.lines}句话。"]
    if known.did:
        told.append(f"{known.name}做过：{quoted(known.did, '；')}。")
    if known.promised:
        told.append(f"{known.name}答应过：“{quoted(known.promised, '”“')}”")
    if known.threatened:
        told.append(f"{known.name}威胁过：“{quoted(known.threatened, '”“')}”")
    return "".join(told)
