"""What can be remembered: something that happened, who told it, where, when, how much it matters.

Knows nothing of who remembers it, of prompts or of engines, and does no I/O.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from npcserver.acquaintance import promises, shortened, threatens
from npcserver.protocol import Volume
from npcserver.recall import terms

Source = Literal["heard", "seen", "said"]
"""How a character knows: somebody told it, it was witnessed, or they said it themselves."""

LONGEST = {"en": 140, "zh": 48}
"""Characters of what happened that a recalled memory quotes."""
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Memory:
    """Something that happened, as it can be remembered.

    Args:
        number: that of the happening.
        speaker: whose words or deed it is, by id; empty for what the world did.
        to: to whom it was said, by name; `between` are they and the speaker, by id.
        deed: what a character did while saying it.
        heard_by: who perceived it, by id.
        reached: how many characters of `text` reached whom, where somebody did not hear all of it.
    """

    number: int
    at_ms: int
    place: str
    speaker: str
    name: str
    text: str
    spoken: bool
    to: tuple[str, ...]
    between: frozenset[str]
    volume: Volume
    heard_by: frozenset[str]
    deed: str | None
    reached: tuple[tuple[str, int], ...] = ()

    def heard_as(self, npc: str) -> str:
        """The words as far as a character heard them, which may be not at all."""
        return self.text[: dict(self.reached).get(npc)]

    def source(self, npc: str) -> Source:
        """How a character who holds it knows."""
        if not self.spoken:
            return "seen"
        return "said" if self.speaker == npc else "heard"

    def terms(self, npc: str) -> frozenset[str]:
        """What it is about to a character who holds it."""
        heard = self.heard_as(npc)
        return self._found[0] if heard == self.text else terms(heard) | self._named

    @property
    def importance(self) -> float:
        """How much it matters, 0 to 1."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[frozenset[str], float]:
        """What it is about, and how much it matters: not asked while a journal is folded."""
        weight = importance(
            self.text,
            spoken=self.spoken,
            by_world=not self.speaker,
            meant=bool(self.to),
            deed=self.deed is not None,
        )
        return terms(self.text) | self._named, weight

    @cached_property
    def _named(self) -> frozenset[str]:
        return terms(" ".join((self.name, *self.to, self.deed or "", self.place)))


@dataclass(frozen=True)
class Line:
    """What a character is to answer, as far as it makes them remember."""

    number: int
    at_ms: int
    speaker: str
    text: str
    volume: Volume


@dataclass(frozen=True)
class Recalled:
    """A memory that a line brings to mind, and why.

    Args:
        number: that of the happening; a summary has that of the newest it covers, negated.
        text: how the prompt says it.
        relevance, recency, importance: 0 to 1, and `score` what they come to.
        why: it is about what was said; or its player is back; or they were named.
    """

    number: int
    text: str
    source: Source | Literal["summary"]
    told_by: str
    place: str
    at_ms: int
    relevance: float
    recency: float
    importance: float
    score: float
    why: Literal["about", "back", "named"]


SAID = {
    "en": "{when}, {who}{deed} said{to}: {text}",
    "zh": "{when}，{who}{deed}{to}说：{text}",
}
DONE = {"en": "{when}: {who}{text}", "zh": "{when}：{who}{text}"}
EARLIER = {"en": "Earlier", "zh": "先前"}
DAYS = {"en": ("Yesterday", "{} days ago"), "zh": ("昨天", "{}天前")}
TO = {"en": " to {}", "zh": "对{}"}
DEED = {"en": " ({})", "zh": "（{}）"}


def sentence(memory: Memory, npc: str, now_ms: int, language: str) -> str:
    """A memory as a prompt of `npc` says it: `Earlier, Kit said to Ada: My ring fell in.`"""
    days = max(now_ms - memory.at_ms, 0) // DAY_MS
    when = EARLIER[language]
    if days:
        yesterday, ago = DAYS[language]
        when = yesterday if days == 1 else ago.format(days)
    text = shortened(memory.heard_as(npc), LONGEST[language])
    if not memory.spoken:
        space = " " if memory.name and memory.name.isascii() else ""
        return DONE[language].format(when=when, who=memory.name + space, text=text)
    return SAID[language].format(
        when=when,
        who=memory.name,
        deed=DEED[language].format(memory.deed) if memory.deed else "",
        to=TO[language].format(memory.to[0]) if len(memory.to) == 1 else "",
        text=text,
    )


def importance(text: str, *, spoken: bool, by_world: bool, meant: bool, deed: bool) -> float:
    """How much it matters, 0 to 1, by rules.

    Args:
        by_world: nobody did it: an event, or what came of a deed.
        meant: it was said to somebody by name.
        deed: something was done with the words.
    """
    if by_world:
        return 0.8
    if not spoken:
        return 0.6
    weight = 0.2 + 0.1 * meant + 0.2 * deed
    if promises(text) or threatens(text):
        weight += 0.3
    if len(terms(text)) < 2:
        weight -= 0.15
    return round(min(weight, 1.0), 2)
