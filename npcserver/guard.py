"""What must not come out: a streaming filter over a character's words.

Speech ends where another speaker's line or chat markup would begin; stage directions are left out,
since deeds are decided and not narrated. Text is passed on as soon as nothing that follows could
take it back. Knows nothing of engines or sockets.
"""

import re
from collections.abc import Iterable

_DIRECTION = re.compile(r"\s*(?:\([^)]*\)|（[^）]*）|\[[^\]]*\]|\*[^*]*\*)")
_CLOSED = re.compile(r"(?P<end>[.!?…。！？])?\s*[)）](?:\s*[:：])?")
"""The end of a stage direction whose beginning was not said: here a sentence ends."""
_OPENED = re.compile(r"[\[(（*]")


class Guard:
    """Filters one turn's words.

    Args:
        names: everybody whose line could follow; speech ends before any of `Name:` and `Name (`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted({name for name in names if name}, key=len, reverse=True)
        lines = "|".join(_edge(name) + re.escape(name) for name in self._names) or r"(?!)"
        self._end = re.compile(rf"(?:{lines})\s*[:：(（]|[\r\n<]")
        self._raw = ""
        self._said = ""
        self.ended = False

    def feed(self, text: str) -> str:
        """Take in generated text; return what may be said now."""
        if self.ended:
            return ""
        self._raw += text
        if match := self._end.search(self._raw):
            self._raw = self._raw[: match.start()]
            return self.finish()
        return self._say(self._raw[: self._undecided()])

    def finish(self) -> str:
        """The generation is over; return the rest of what may be said."""
        self.ended = True
        return self._say(self._raw)

    def _say(self, text: str) -> str:
        # A reply is short, so looking at all of it again costs less than keeping track.
        spoken = _DIRECTION.sub("", text)
        spoken = _OPENED.split(spoken, maxsplit=1)[0].strip()
        spoken = _CLOSED.sub(lambda found: found["end"] or ".", spoken)
        new = spoken[len(self._said) :]
        self._said = spoken
        return new

    def _undecided(self) -> int:
        """Where the end begins that could still become the start of somebody's line."""
        longest = max(map(len, self._names), default=0)
        tail = self._raw.rstrip()
        for index in range(max(0, len(tail) - longest), len(tail)):
            for name in self._names:
                if name.startswith(tail[index:]) and re.search(
                    _edge(name) + r"$", self._raw[:index]
                ):
                    return index
        return len(self._raw)


def _edge(name: str) -> str:
    """A Latin name begins at a word's edge; Chinese knows no such thing."""
    return r"(?<!\w)" if name.isascii() else ""


class Sentences:
    """Finds the spans of finished sentences in a growing text."""

    # An end mark, closing quotes, then a space; Chinese marks need none.
    _END = re.compile(r"[.!?…]+[\"'”’)]*(?=\s)|[。！？…]+[”’」』）]*")

    def __init__(self) -> None:
        self._text = ""
        self._start = 0

    def feed(self, text: str) -> list[tuple[int, int]]:
        """Take in text; return the spans of the sentences it finished."""
        self._text += text
        spans = []
        # A Chinese end mark at the very end may still get its closing quote; wait one character.
        for match in self._END.finditer(self._text, self._start):
            if match.end() < len(self._text):
                spans.append(self._span(match.end()))
        return spans

    def finish(self) -> list[tuple[int, int]]:
        """The text is over: the rest is the last sentence."""
        return [self._span(len(self._text))] if self._text[self._start :].strip() else []

    def _span(self, end: int) -> tuple[int, int]:
        start = self._start
        while start < end and self._text[start].isspace():
            start += 1
        self._start = end
        return start, end
