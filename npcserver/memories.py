"""What the characters of a scene remember beyond what their prompts hold, and what a line recalls.

A memory is held by the characters who perceived it, as far as they perceived it. All follows from
the scene's journal; the indexes are made when first asked, and again after a restore. Bounded: what
matters least and is oldest goes first. Knows nothing of prompts or engines, and does no I/O.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from npcserver.acquaintance import Acquaintance, shortened, summary
from npcserver.memory import Line, Memory, Recalled, sentence
from npcserver.recall import Found, Index, terms

MOST = 10_000
"""Memories a scene holds."""
ROOM = 500
"""So many are forgotten at once."""
MOST_ACQUAINTANCES = 2_000
SUMMED_UP_EVERY = 40
"""Lines of one player after which a character sums up what they know of them."""
KEPT_SUMMARIES = 3
RECALLED = 5
"""A line recalls at most this many; how many of them a prompt shows is not decided here."""
IMPORTANCE_WEIGHT = 0.3
RECENCY_WEIGHT = 0.2
RARITY_WEIGHT = 0.5
"""What it adds that a memory is unlike the others: routine is not what is asked for."""
OWN_WEIGHT = 0.2
"""What it adds that a memory is of somebody who speaks now."""
HALF_LIFE = 300
"""Happenings after which a memory is half as recent."""
LONGEST_SUMMARY = {"en": 260, "zh": 90}


@dataclass(frozen=True)
class Summary:
    """What a character knew of a player when happening `number` had occurred."""

    number: int
    player: str
    name: str
    since: int
    text: str


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
        self._put(memory)
        if player:
            for npc in sorted(held_by):
                self._meet(npc, memory)
        if len(self.items) >= MOST + ROOM:
            self._forget()

    def amend(self, number: int, reached: tuple[tuple[str, int], ...]) -> None:
        """More or less of it was heard than was thought. Args: reached: as in a `Memory`."""
        if number not in self.items or self.items[number].reached == reached:
            return
        old = self.items[number]
        new = self.items[number] = replace(old, reached=reached)
        changed = {npc for npc in new.heard_by if old.heard_as(npc) != new.heard_as(npc)}
        if not changed & self.names.keys():
            return
        self._put(new)
        # What was recalled of older ones only is as it was.
        self._recalled = {
            (npc, line, before): recalled
            for (npc, line, before), recalled in self._recalled.items()
            if npc not in changed or before <= number
        }

    def _put(self, memory: Memory) -> None:
        """Let a memory be found by whoever heard anything of it, and by nobody else."""
        for npc in memory.heard_by & self._indexes.keys():
            if memory.heard_as(npc):
                self._indexes[npc].put(memory.number, memory.terms(npc))
            else:
                self._indexes[npc].drop(memory.number)

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
        gone = {memory.number for memory in by_worth[: len(self.items) - MOST]}
        for number in gone:
            del self.items[number]
        for index in self._indexes.values():
            index.drop_all(gone)
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

    def go_back(self, saved: "Memories") -> None:
        """Remember what a save holds, and nothing else."""
        gone = {number for number, one in self.items.items() if saved.items.get(number) is not one}
        back = [one for number, one in saved.items.items() if self.items.get(number) is not one]
        for npc, index in self._indexes.items():
            index.drop_all(gone)
            index.put_all(_found_by(npc, back))
        self.items = dict(saved.items)
        self.acquaintances = dict(saved.acquaintances)
        self.summaries = dict(saved.summaries)
        self._recalled.clear()

    def prepare(self) -> None:
        """Make the indexes now, so that no reply waits for them."""
        for npc in self.names:
            self._index(npc)

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
        for each in self._index(npc).find(wanted, before):
            memory = self.items[each.number]
            if _may_come_up(memory, line):
                found.append((_score(each, memory, line), each.number, each.relevance))
        best = heapq.nlargest(RECALLED, found)
        about = [self._told(npc, line, number, of, score) for score, number, of in best]
        return [*self._summaries(npc, line, before), *about][:RECALLED]

    def _told(self, npc: str, line: Line, number: int, relevance: float, score: float) -> Recalled:
        memory = self.items[number]
        recency = _recency(line.number - number, HALF_LIFE)
        return Recalled(
            memory.number,
            sentence(memory, npc, line.at_ms, self.language),
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
            self._indexes[npc] = Index()
            self._indexes[npc].put_all(_found_by(npc, self.items.values()))
        return self._indexes[npc]


def _found_by(npc: str, memories: Iterable[Memory]) -> dict[int, frozenset[str]]:
    """What those of the memories are about of which a character heard anything, by number."""
    return {
        memory.number: memory.terms(npc)
        for memory in memories
        if npc in memory.heard_by and memory.heard_as(npc)
    }


def _may_come_up(memory: Memory, line: Line) -> bool:
    """What was whispered comes to mind only when whoever heard it whispers."""
    return memory.volume != "whisper" or (
        line.volume == "whisper" and line.speaker in memory.heard_by
    )


def _score(found: Found, memory: Memory, line: Line) -> float:
    return found.relevance * (
        1
        + IMPORTANCE_WEIGHT * memory.importance
        + RECENCY_WEIGHT * _recency(line.number - memory.number, HALF_LIFE)
        + RARITY_WEIGHT * found.rarity
        + OWN_WEIGHT * (line.speaker in memory.between)
    )


def _recency(age: int, half_life: int) -> float:
    return float(0.5 ** (age / half_life))


def _names(text: str, name: str) -> bool:
    """Whether a line names somebody."""
    if not name.isascii():
        return name in text
    words = {word.strip(".,!?;:'\"").removesuffix("'s") for word in text.casefold().split()}
    return set(name.casefold().split()) <= words
