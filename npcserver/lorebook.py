"""Lorebooks: what is told when a word comes up, with the Character Book's semantics.

An entry is told when one of its keys stands in what was lately said, and for a `selective` one, one
of its secondary keys too; a `constant` one always. Told entries may bring up others
(`recursive_scanning`). What is over the budget goes, lowest `priority` first. Knows no files and no
prompts.

A key may be a regular expression (`use_regex`), of a bounded kind: what could take long on a
hostile line is refused when the book is read.

A book is searched on the event loop, for every line and at every keystroke. So its keys are laid
out once (`_Index`), and what was found in a line is kept.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Content = Annotated[str, Field(min_length=1, max_length=2000)]
Key = Annotated[str, Field(min_length=1, max_length=200)]

SCANNED = 600
"""At most this many code points of each line are searched for keys, the last ones."""
KEPT = 1024
"""For so many lines a book keeps which of its keys stand there."""
ALLOWED = {r"[*+{]": (1, "* + {"), r"(?<![*+?}(])\?": (3, "?"), r"\((?!\?)|\(\?:": (2, "groups")}
"""How many of these a regular expression may hold. So a line costs at most its length squared."""
_ATOMS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]")


class _Lenient(BaseModel):
    # Books come from elsewhere: what is not ours is left alone.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _nulls(cls, data: Any) -> Any:
        """A null means that nothing is said, as in cards."""
        return _without_nulls(data)


class Entry(_Lenient):
    """Something to be told when it comes up."""

    content: Content
    """What is told; `{{char}}` and `{{user}}` stand for the names."""
    keys: Annotated[list[Key], Field(max_length=64)] = []
    """It is told when one of these stands in what was lately said."""
    secondary_keys: Annotated[list[Key], Field(max_length=64)] = []
    """Of a `selective` entry, one of these must stand there too."""
    selective: bool = False
    """Whether the secondary keys count."""
    constant: bool = False
    """Always told."""
    enabled: bool = True
    """A disabled entry is never told."""
    insertion_order: float = 100
    """Lower comes earlier."""
    priority: float = 0
    """What is over the budget goes, lowest priority first."""
    case_sensitive: bool = False
    """Whether keys must be written so."""
    use_regex: bool = False
    """Keys are regular expressions."""
    position: Literal["before_char", "after_char"] = "before_char"
    """Before or after what the character knows."""
    name: str | None = None
    """For people; never in a prompt."""

    @model_validator(mode="after")
    def _safe(self) -> "Entry":
        for key in (*self.keys, *self.secondary_keys) if self.use_regex else ():
            if fault := pattern_fault(key):
                raise ValueError(f"the key {key!r} {fault}")
        return self


class Lorebook(_Lenient):
    """Entries, and how they are looked for."""

    entries: Annotated[list[Entry], Field(max_length=2000)]
    """What may be told."""
    scan_depth: Annotated[int, Field(ge=1, le=50)] = 4
    """So many lines are searched for keys: the one that is answered, and those before it."""
    token_budget: Annotated[int, Field(ge=1, le=2000)] = 200
    """What may be told at once, in estimated tokens."""
    recursive_scanning: bool = False
    """Whether what is told is searched for keys as well."""
    name: str | None = None
    """For people; never in a prompt."""

    @model_validator(mode="after")
    def _laid_out(self) -> "Lorebook":
        self.index  # noqa: B018  made when the book is read, not when the first line is said
        return self

    @cached_property
    def index(self) -> "_Index":
        """Where its keys are looked up."""
        return _Index(self.entries)

    def told(self, lines: Sequence[str], tokens: Callable[[str], int]) -> list[Entry]:
        """The entries that lines bring up, in the order in which they are told.

        Args:
            lines: what was said, the newest last.
            tokens: a high estimate of a text's tokens.
        """
        scanned = [line[-SCANNED:] for line in lines[-self.scan_depth :]]
        found: set[int] = set()
        while scanned:
            new = self.index.told_by(scanned) - found
            found |= new
            scanned = [self.entries[at].content[-SCANNED:] for at in new]
            if not self.recursive_scanning:
                break
        kept, spent = set(), 0
        for at in sorted(found, key=lambda at: (-self.entries[at].priority, at)):
            spent += tokens(self.entries[at].content)
            if spent > self.token_budget:
                break
            kept.add(at)
        order = sorted(kept, key=lambda at: (self.entries[at].insertion_order, at))
        return [self.entries[at] for at in order]


def book_in(data: Any) -> Any:
    """The book in a file's data: a book itself, a `lorebook_v3`, or the one in a character card."""
    if not isinstance(data, dict):
        return data
    inner = data.get("data") if "spec" in data else data
    if isinstance(inner, dict) and "character_book" in inner:
        return inner["character_book"]
    return inner


def pattern_fault(pattern: str) -> str | None:
    """Why a regular expression is refused; None where it is fine."""
    try:
        re.compile(pattern)
    except re.error as error:
        return f"is no regular expression: {error}"
    if re.search(r"\\[1-9]|\(\?[^:]", pattern):
        return "looks around or refers back, which may take long; write it out"
    plain = _ATOMS.sub("x", pattern)
    if re.search(r"\)[*+{]", plain):
        return "repeats a group, which may take long; list the wordings as keys instead"
    for sign, (most, name) in ALLOWED.items():
        if len(re.findall(sign, plain)) > most:
            return f"has more than {most} {name}, which may take long; split it into keys"
    return None


@dataclass
class _Key:
    """A key, and which entry it is of."""

    text: str
    entry: Entry
    at: int
    is_secondary: bool

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        flags, key = 0 if self.entry.case_sensitive else re.IGNORECASE, self.text
        if self.entry.use_regex:
            return re.compile(key, flags)
        # A key is a word of its own where it is written in Latin letters; Chinese parts no words.
        first = "(?<![A-Za-z0-9])" if key[0].isascii() and key[0].isalnum() else ""
        last = "(?![A-Za-z0-9])" if key[-1].isascii() and key[-1].isalnum() else ""
        return re.compile(first + re.escape(key) + last, flags)


class _Index:
    """The keys of a book, laid out so that a line costs its own length and hardly the book's.

    Entries go by their place in the book. A plain key is looked up among the pieces of a line, and
    its pattern made and asked only where that finds it. Every regular expression is asked.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        enabled = [(at, entry) for at, entry in enumerate(entries) if entry.enabled]
        self._constant = {at for at, entry in enabled if entry.constant}
        self._selective = {at for at, entry in enabled if entry.selective and entry.secondary_keys}
        self._regexes: list[_Key] = []
        self._plain: defaultdict[str, list[_Key]] = defaultdict(list)
        self._lengths: defaultdict[str, set[int]] = defaultdict(set)
        for at, entry in enabled:
            for text in entry.keys:
                self._add(_Key(text, entry, at, is_secondary=False))
            for text in entry.secondary_keys:
                self._add(_Key(text, entry, at, is_secondary=True))
        self._found = lru_cache(maxsize=KEPT)(self._search)

    def _add(self, key: _Key) -> None:
        if key.entry.use_regex:
            key.pattern  # noqa: B018  compiled now, not when somebody waits
            self._regexes.append(key)
            return
        text = _alike(key.text)
        self._plain[text].append(key)
        self._lengths[text[0]].add(len(text))

    def told_by(self, lines: Iterable[str]) -> set[int]:
        """The entries that lines bring up, all of them at once, and those that are always told."""
        found = [self._found(line) for line in lines]
        primary = set().union(*(each for each, _ in found))
        secondary = set().union(*(each for _, each in found))
        return self._constant | (primary - (self._selective - secondary))

    def _search(self, line: str) -> tuple[frozenset[int], frozenset[int]]:
        """The entries of which a key stands in a line, and those of which a secondary one does."""
        keys = [key for key in self._possible(line) if key.pattern.search(line)]
        return (
            frozenset(key.at for key in keys if not key.is_secondary),
            frozenset(key.at for key in keys if key.is_secondary),
        )

    def _possible(self, line: str) -> Iterable[_Key]:
        line = _alike(line)
        pieces = {
            line[at : at + length]
            for at, char in enumerate(line)
            for length in self._lengths.get(char, ())
        }
        plain = (self._plain[piece] for piece in pieces & self._plain.keys())
        return chain(*plain, self._regexes)


def _alike(text: str) -> str:
    """A text as it is wherever `re.IGNORECASE` takes two for the same, and in few other cases."""
    # In lower case first: İ, i and ı are the same to it, and so are s and ſ, µ and μ.
    return text.replace("İ", "i").lower().upper()


def _without_nulls(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    return {key: value for key, value in data.items() if value is not None}
