"""What a writer had a character answer, found by what is said to them.

The examples of the sheet, and how the dialogues beside the scene begin. Knows no prompts.
"""

import re
from collections.abc import Sequence
from functools import cached_property

from npcserver.plot import Line
from npcserver.relevance import Index, asks
from npcserver.sheets import Example

_SENTENCE = re.compile(r"[^.!?;…。！？；]+[.!?;…。！？；]*")
_COMMA = re.compile(
    r"[,，](?!\d)|\b(?:and|but|so) (?=(?:are|can|could|do|does|how|is|what|when|where|which|who|why"
    r"|will|would)(?:s|re|'\w+)?\b)",
    re.IGNORECASE,
)
_ABOUT_THEM = re.compile(
    r"\b(?:about|at|find|for|from|is|know|like|meet|of|see|the|to|with)\W*$"
    r"|\b(?:about|and|did|does|has|is|like|of|or|the|was) {3}\w"
    r"|[\u3400-\u9fff] [\u3400-\u9fff]",
    re.IGNORECASE,
)
"""What a line looks like without a name that did not call the character but meant them."""
_TAG = re.compile(
    r",?\s*\b(?:(?:are|ca|could|did|do|does|has|have|is|should|was|were|wo|would)n['’]?t"
    r" (?:he|i|it|she|they|we|you)|right|no|yeah)\s*\?+\s*$",
    re.IGNORECASE,
)
"""`You are a smith, aren't you?`"""
MOST_QUESTIONS = 4
SURELY = 0.8
"""How much alike an earlier question must be to be answered instead of the last."""
FUNCTION_WORDS = 0.2
"""What `who`, `you` and the like weigh when an example's line is compared with a player's."""


class Answers:
    """A character's examples and the lines of their story, to be looked up."""

    def __init__(self, examples: Sequence[Example], lines: Sequence[Line] = ()) -> None:
        """Args: examples: those of the sheet first."""
        self.examples = examples
        self._wordings = [(words, line) for line in lines for words in line.asked]

    def lay_out(self) -> None:
        """Make what looks them up, which takes a moment; else the first to look does."""
        self._asked.lay_out()
        _ = self._whole, self._all

    @cached_property
    def _asked(self) -> Index:
        return Index([example.line for example in self.examples])

    @cached_property
    def _whole(self) -> Index:
        return Index([f"{example.line} {example.reply}" for example in self.examples])

    @cached_property
    def _all(self) -> Index:
        """The wordings that ask for the story's lines, then the examples'."""
        wordings = (words for words, _ in self._wordings)
        return Index([*wordings, *(example.line for example in self.examples)])

    def lines(self, text: str) -> list[Line]:
        """The story's lines asked for in words more like a text than any example's, best first."""
        found: dict[str, Line] = {}
        for index in self._all.rank(text, function_words=FUNCTION_WORDS):
            if index >= len(self._wordings):
                break
            line = self._wordings[index][1]
            found.setdefault(line.id, line)
        return list(found.values())

    def like(self, line: str) -> list[Example]:
        """Those that fit a line, best first: those put alike, then those about the same."""
        alike = self._asked.rank(line, function_words=FUNCTION_WORDS)
        order = dict.fromkeys([*alike, *self._whole.rank(line)])
        return [self.examples[index] for index in order]

    def to(self, line: str, plain: str) -> list[Example]:
        """Those to the very line, near enough, or to the part of it that wants an answer.

        Args:
            plain: the line without the character's names, which mostly only call them.
        """
        names_them = plain != line and _ABOUT_THEM.search(plain)
        said = _TAG.sub("", line if names_them else plain)
        tried = [*sayings(said), line]
        found = [index for each in tried for index in self._asked.same(each)]
        found += [index for each in questions(said) for index in self._asked.same(each, SURELY)]
        return [self.examples[index] for index in dict.fromkeys(found)]


def sayings(line: str) -> list[str]:
    """A line, and what in it wants an answer: its last question, or what it ends with.

    `Hi there, I'm new. Who are you?` is all of it, `Who are you?`, and nothing else.
    """
    parts = [part.strip() for part in _SENTENCE.findall(line)]
    last = next(filter(asks, reversed(parts)), parts[-1] if parts else line)
    return list(dict.fromkeys([line, last, _COMMA.split(last)[-1].strip()]))


def questions(line: str) -> list[str]:
    """The last questions in a line, but for mere echoes: one answered is better than none."""
    parts = [part.strip() for part in _SENTENCE.findall(line)]
    return [part for part in parts if asks(part) and not _is_echo(part)][-MOST_QUESTIONS:]


def _is_echo(part: str) -> bool:
    """`Soup?`, `A rope?`: two words at most, and no question by themselves."""
    return part.isascii() and len(part.split()) < 3 and not asks(part.rstrip("?"))
