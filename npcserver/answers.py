"""What a writer had a character answer, found by what is said to them.

The examples of the sheet, and how the dialogues beside the scene begin. Knows no prompts.
"""

import re
from collections.abc import Sequence
from functools import cached_property

from npcserver.relevance import Index
from npcserver.sheets import Example

_SENTENCE = re.compile(r"[^.!?;…。！？；]+[.!?;…。！？；]*")
_COMMA = re.compile(r"[,，](?!\d)")
FUNCTION_WORDS = 0.2
"""What `who`, `you` and the like weigh when an example's line is compared with a player's."""


class Answers:
    """A character's examples, to be looked up. Lines are given without the character's names."""

    def __init__(self, examples: Sequence[Example]) -> None:
        """Args: examples: those of the sheet first."""
        self.examples = examples

    def lay_out(self) -> None:
        """Make what looks them up, which takes a moment; else the first to look does."""
        _ = self._asked, self._whole

    @cached_property
    def _asked(self) -> Index:
        return Index([example.line for example in self.examples])

    @cached_property
    def _whole(self) -> Index:
        return Index([f"{example.line} {example.reply}" for example in self.examples])

    def like(self, line: str) -> list[Example]:
        """Those that fit a line, best first: those put alike, then those about the same."""
        alike = self._asked.rank(line, function_words=FUNCTION_WORDS)
        order = dict.fromkeys([*alike, *self._whole.rank(line)])
        return [self.examples[index] for index in order]

    def to(self, line: str) -> list[Example]:
        """Those to the very line, near enough, or to the part of it that wants an answer."""
        found = (index for said in sayings(line) for index in self._asked.same(said))
        return [self.examples[index] for index in dict.fromkeys(found)]


def sayings(line: str) -> list[str]:
    """A line, and what in it wants an answer: its last question, or what it ends with.

    `Hi there, I'm new. Who are you?` is all of it, `Who are you?`, and nothing else.
    """
    parts = [part.strip() for part in _SENTENCE.findall(line)]
    asked = [part for part in parts if part.endswith(("?", "？"))] or parts
    last = asked[-1] if asked else line
    return list(dict.fromkeys([line, last, _COMMA.split(last)[-1].strip()]))
