"""What the characters of a scene remember beyond what their prompts hold, and what a line recalls.

A memory is something that happened, with who told or did it, where, when and how much it matters;
it is held by the characters who perceived it, as far as they perceived it. All of it follows from
the scene's journal; the indexes are made when first asked, and again after a restore. Bounded:
what matters least and is oldest goes first. Knows nothing of prompts or engines, and does no I/O.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from npcserver.acquaintance import Acquaintance, promises, shortened, summary, threatens
from npcserver.protocol import Volume
from npcserver.recall import Index, terms

Source = Literal["heard", "seen", "said"]
"""How a character knows: somebody told it, it was witnessed, or they said it themselves."""

MOST = 10_000
"""Memories a scene holds."""
ROOM = 500
"""So many are forgotten at once."""
MOST_ACQUAINTANCES = 2_000
SUMMED_UP_EVERY = 40
"""Lines of one player after which a character sums up what they know of them."""
KEPT_SUMMARIES = 3
RECALLED = 5
"""A line recalls at most this many."""
LEAST_RELEVANCE = 0.3
IMPORTANCE_WEIGHT = 0.3
RECENCY_WEIGHT = 0.2
OWN_WEIGHT = 0.2
"""What it adds that a memory is of somebody who speaks now."""
HALF_LIFE = 300
"""Happenings after which a memory is half as recent."""
LONGEST = {"en": 140, "zh": 48}
"""Characters of what happened that a recalled memory quotes."""
LONGEST_SUMMARY = {"en": 260, "zh": 90}
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
        importance: 0 to 1.
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
    importance: float

    def source(self, npc: str) -> Source:
        """How a character who holds it knows."""
        if not self.spoken:
            return "seen"
        return "said" if self.speaker == npc else "heard"

    @property
    def terms(self) -> frozenset[str]:
        """What it is about."""
        named = " ".join((self.name, *self.to, self.deed or "", self.place))
        return terms(self.text) | terms(named)


@dataclass(frozen=True)
class Line:
    """What a character is to answer, as far as it makes them remember."""

    number: int
    at_ms: int
    speaker: str
    text: str
    volume: Volume


@dataclass(frozen=True)
class Summary:
    """What a character knew of a player when happening `number` had occurred."""

    number: int
    player: str
    name: str
    since: int
    text: str


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


def sentence(memory: Memory, now_ms: int, language: str) -> str:
    """A memory as prompts say it: `Earlier, Kit said to Ada: My ring fell into the well.`"""
    days = max(now_ms - memory.at_ms, 0) // DAY_MS
    when = EARLIER[language]
    if days:
        yesterday, ago = DAYS[language]
        when = yesterday if days == 1 else ago.format(days)
    text = shortened(memory.text, LONGEST[language])
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


@dataclass
class Memories:
    """All that a scene's characters remember."""

    language: str
    names: Mapping[str, str]
    """The characters' names, by id."""
    items: dict[int, Memory] = field(default_factory=dict)
    acquaintances: dict[tuple[str, str], Acquaintance] = field(default_factory=dict)
    """By character and player; who was met last comes last."""
    summaries: dict[tuple[str, str], tuple[Summary, ...]] = field(default_factory=dict)
    _indexes: dict[str, Index] = field(default_factory=dict, compare=False, repr=False)
    _recalled: dict[tuple[str, Line, int], tuple[Recalled, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    # ---- writing ---------------------------------------------------------------------------

    def add(self, memory: Memory, player: bool) -> None:
        """Something happened. Args: player: whether a player said or did it."""
        held_by = memory.heard_by & self.names.keys()
        if not held_by:
            return
        self.items[memory.number] = memory
        for npc in held_by & self._indexes.keys():
            self._indexes[npc].put(memory.number, memory.terms)
        if player:
            for npc in sorted(held_by):
                self._meet(npc, memory)
        if len(self.items) >= MOST + ROOM:
            self._forget()

    def amend(self, number: int, text: str) -> None:
        """Less of it was heard than was thought."""
        if number in self.items:
            memory = self.items[number] = replace(self.items[number], text=text)
            for npc in memory.heard_by & self._indexes.keys():
                self._indexes[npc].put(number, memory.terms)
            self._recalled.clear()

    def left(self, player: str, number: int) -> None:
        """A player is gone: whoever met them sums up. Args: number: the newest happening's."""
        for npc, who in list(self.acquaintances):
            if who == player and self.acquaintances[npc, who].here:
                known = self._sum_up(npc, who, number)
                self.acquaintances[npc, who] = replace(known, here=False)

    def _meet(self, npc: str, memory: Memory) -> None:
        key = npc, memory.speaker
        known = self.acquaintances.pop(key, None) or Acquaintance(memory.name, memory.number)
        known = replace(known, name=memory.name)
        if memory.spoken:
            known = known.after_line(memory.text, whispered=memory.volume == "whisper")
        else:
            known = known.after_deed(memory.text)
        self.acquaintances[key] = known
        if known.lines - known.reflected >= SUMMED_UP_EVERY:
            self._sum_up(*key, memory.number)
        while len(self.acquaintances) > MOST_ACQUAINTANCES:
            gone = next(iter(self.acquaintances))
            del self.acquaintances[gone]
            self.summaries.pop(gone, None)

    def _sum_up(self, npc: str, player: str, number: int) -> Acquaintance:
        known = replace(
            self.acquaintances[npc, player], reflected=self.acquaintances[npc, player].lines
        )
        text = summary(self.names[npc], known, self.language)
        made = Summary(number, player, known.name, known.since, text)
        kept = [each for each in self.summaries.get((npc, player), ()) if each.number < number]
        self.summaries[npc, player] = (*kept, made)[-KEPT_SUMMARIES:]
        self.acquaintances[npc, player] = known
        return known

    def _forget(self) -> None:
        newest = max(self.items)
        by_worth = sorted(
            self.items.values(),
            key=lambda item: (item.importance + _recency(newest - item.number, MOST), item.number),
        )
        for memory in by_worth[: len(self.items) - MOST]:
            del self.items[memory.number]
            for npc in memory.heard_by & self._indexes.keys():
                self._indexes[npc].drop(memory.number)
        self._recalled.clear()

    def copy(self) -> "Memories":
        """The same memories, to be kept in a save; what happens later does not enter."""
        return Memories(
            self.language,
            self.names,
            dict(self.items),
            dict(self.acquaintances),
            dict(self.summaries),
        )

    # ---- recalling -------------------------------------------------------------------------

    def recall(self, npc: str, line: Line, before: int) -> tuple[Recalled, ...]:
        """What a line brings to a character's mind, best first, RECALLED at most.

        The same line recalls the same as long as `before` is the same, whatever happens later.

        Args:
            before: happenings from this number on are before the character's eyes anyhow.
        """
        key = npc, line, before
        if key not in self._recalled:
            if len(self._recalled) >= 4096:
                self._recalled.clear()
            self._recalled[key] = tuple(self._recall(npc, line, before))
        return self._recalled[key]

    def _recall(self, npc: str, line: Line, before: int) -> list[Recalled]:
        if not self.items:
            return []
        wanted = terms(line.text)
        found = []
        for number, relevance in self._index(npc).find(wanted, before) if wanted else ():
            memory = self.items[number]
            if relevance < LEAST_RELEVANCE or not _may_come_up(memory, line):
                continue
            if memory.terms <= wanted:  # what was just said need not be remembered
                continue
            found.append(self._weighed(npc, memory, line, relevance))
        found.sort(key=lambda each: (-each.score, -each.number))
        return [*self._summaries(npc, line, before), *found][:RECALLED]

    def _weighed(self, npc: str, memory: Memory, line: Line, relevance: float) -> Recalled:
        recency = _recency(line.number - memory.number, HALF_LIFE)
        own = line.speaker in memory.between
        score = relevance * (
            1 + IMPORTANCE_WEIGHT * memory.importance + RECENCY_WEIGHT * recency + OWN_WEIGHT * own
        )
        return Recalled(
            memory.number,
            sentence(memory, line.at_ms, self.language),
            memory.source(npc),
            memory.name if memory.source(npc) == "heard" else "",
            memory.place,
            memory.at_ms,
            round(min(relevance, 1.0), 3),
            round(recency, 3),
            memory.importance,
            round(score, 3),
            "about",
        )

    def _summaries(self, npc: str, line: Line, before: int) -> Iterable[Recalled]:
        """Of whoever speaks, with the first line after it was made; of others, when named."""
        for (holder, player), made in self.summaries.items():
            fitting = [each for each in made if each.number < line.number and each.since < before]
            if holder != npc or not fitting:
                continue
            newest = fitting[-1]
            back = player == line.speaker and not self._spoke(npc, player, newest.number, line)
            if not back and (player == line.speaker or not _names(line.text, newest.name)):
                continue
            yield Recalled(
                -newest.number,
                shortened(newest.text, LONGEST_SUMMARY[self.language]),
                "summary",
                "",
                "",
                line.at_ms,
                1.0,
                round(_recency(line.number - newest.number, HALF_LIFE), 3),
                1.0,
                1.0,
                "back" if back else "named",
            )

    def _spoke(self, npc: str, player: str, after: int, line: Line) -> bool:
        """Whether a character heard a player between a happening and a line."""
        between = (self.items.get(number) for number in range(after + 1, line.number))
        return any(m and m.speaker == player and m.spoken and npc in m.heard_by for m in between)

    def _index(self, npc: str) -> Index:
        if npc not in self._indexes:
            index = self._indexes[npc] = Index()
            for memory in self.items.values():
                if npc in memory.heard_by:
                    index.put(memory.number, memory.terms)
        return self._indexes[npc]


def _may_come_up(memory: Memory, line: Line) -> bool:
    """What was whispered comes to mind only when whoever heard it whispers."""
    return memory.volume != "whisper" or (
        line.volume == "whisper" and line.speaker in memory.heard_by
    )


def _recency(age: int, half_life: int) -> float:
    return float(0.5 ** (age / half_life))


@lru_cache(maxsize=256)
def _parts(name: str) -> frozenset[str]:
    return frozenset(name.casefold().split())


def _names(text: str, name: str) -> bool:
    """Whether a line names somebody."""
    if not name.isascii():
        return name in text
    words = {word.strip(".,!?;:'\"").removesuffix("'s") for word in text.casefold().split()}
    return _parts(name) <= words
