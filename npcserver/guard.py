"""What must not come out: a streaming filter over a character's words.

Speech ends where another speaker's line, a slot header or chat markup would begin. Text is passed
on as soon as it can no longer be the start of any of these. Knows nothing of engines or sockets.
"""

import re
from collections.abc import Iterable

_MARKUP = re.compile(r"<[|｜/]|\[/?INST\]|</?s>")
_STAGE = re.compile(r"[\[(（*][^\])）*]*[\])）*]\s*")
# What may be held back at most while it could still turn into something that must not be said.
_LONGEST_HOLD = 48


class Guard:
    """Filters one turn's words.

    Args:
        names: everybody whose line could follow; speech ends before any of `Name:` and `Name (`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        starts = sorted({re.escape(name) for name in names if name}, key=len, reverse=True)
        speaker = "|".join(starts) or r"(?!)"
        self._end = re.compile(rf"(?<!\w)(?:{speaker})\s*[:：(（]|[\r\n]|{_MARKUP.pattern}")
        self._names = [name for name in names if name]
        self._held = ""
        self._said = ""
        self.ended = False

    def feed(self, text: str) -> str:
        """Take in generated text; return what may be said now."""
        if self.ended:
            return ""
        self._held += text
        if not self._said:
            self._held = self._held.lstrip()
        if match := self._end.search(self._held):
            self._held = self._held[: match.start()]
            self.ended = True
            return self.finish()
        self._drop_stage_directions()
        keep = self._hold_from()
        out, self._held = self._held[:keep], self._held[keep:]
        self._said += out
        return out

    def finish(self) -> str:
        """The generation is over: what was held back, without what was never closed."""
        self.ended = True
        self._drop_stage_directions()
        out = re.split(r"[\[(（<*]", self._held, maxsplit=1)[0].rstrip()
        self._held = ""
        self._said += out
        return out

    def _drop_stage_directions(self) -> None:
        """Deeds are decided, not narrated: `(smiles)` and `*nods*` are not speech."""
        self._held = _STAGE.sub("", self._held)

    def _hold_from(self) -> int:
        """Where the part begins that could still become something that must not be said."""
        start = max(0, len(self._held) - _LONGEST_HOLD)
        opening = re.search(r"[\[(（<*]", self._held[start:])
        if opening:
            return start + opening.start()
        for index in range(start, len(self._held)):
            if index and self._held[index - 1].isalnum() and self._held[index].isascii():
                continue
            tail = self._held[index:].rstrip()
            if tail and any(name.startswith(tail) for name in self._names):
                return index
        # A space at the end waits for its word: speech does not end with one.
        return len(self._held.rstrip())


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
