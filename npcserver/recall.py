"""Finding, among thousands of short texts, those that a line is about; in English and Chinese.

An inverted index. A text's relevance is the share of the line's weight that it has in common with
it, rare terms weighing more. What is rare is judged by the texts before the one asked for, so an
answer does not change when more is added. Knows nothing of scenes or characters.
"""

import heapq
import math
import re
import sys
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import lru_cache

from npcserver import relevance

FOUND = 200
"""At most this many texts are found for a line."""
LOOKS = 12_000
"""Where a line's terms stand in more texts than that, the most usual of them are left out."""
USUAL_TERMS = 8
"""A text with more terms than that needs to share more to be as relevant."""
_FUNCTION = (
    "的了吗呢吧啊呀么我你您他她它们是在有不没就都也还很这那哪什怎谁给把被和与跟从个些着哦嗯请"
)
_CHINESE = re.compile(f"(?:(?![{_FUNCTION}])[\u3400-\u9fff])+")
_ROOTS = {
    form: root
    for root, forms in {
        "begin": "began begun",
        "break": "broke broken",
        "bring": "brought",
        "build": "built",
        "buy": "bought",
        "catch": "caught",
        "come": "came",
        "die": "dead death",
        "drink": "drank drunk",
        "eat": "ate eaten",
        "fall": "fell fallen",
        "feel": "felt",
        "fight": "fought",
        "find": "found",
        "forget": "forgot forgotten",
        "give": "gave given gift",
        "hide": "hid hidden",
        "keep": "kept",
        "know": "knew known",
        "leave": "left",
        "lend": "lent",
        "lose": "lost",
        "make": "made",
        "meet": "met",
        "owe": "owed",
        "pay": "paid",
        "run": "ran",
        "see": "saw seen",
        "sell": "sold",
        "sleep": "slept",
        "speak": "spoke spoken",
        "steal": "stole stolen",
        "take": "took taken",
        "teach": "taught",
        "think": "thought",
        "throw": "threw thrown",
        "wear": "wore worn",
        "win": "won",
        "write": "wrote written",
    }.items()
    for form in forms.split()
}


def _root(word: str) -> str:
    """A stemmed word without what its forms differ in: `promis` for promise, promises, promised."""
    word = _ROOTS.get(word, word)
    if len(word) > 3 and word[-1] in "ey":
        word = word[:-1]
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word


@lru_cache(maxsize=4096)
def terms(text: str) -> frozenset[str]:
    """What a text is about: roots of English words, Chinese characters and pairs of them."""
    found = {_root(word) for word in relevance.meaning(text) if word.isascii()}
    for run in _CHINESE.findall(text):
        found.update(run)
        found.update(run[at : at + 2] for at in range(len(run) - 1))
    return frozenset(map(sys.intern, found))  # thousands of texts share them


@dataclass(frozen=True)
class Found:
    """A text that a line has something in common with.

    Args:
        relevance: the share of the line's weight that is in the text, 0 to 1.
        rarity: how unlike the other texts it is, 0 to 1.
    """

    number: int
    relevance: float
    rarity: float


class Index:
    """Texts by number. Numbers may be put in any order; rising ones are fastest."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._bags: dict[int, frozenset[str]] = {}
        self._places: dict[str, list[int]] = {}

    def put(self, number: int, found: frozenset[str]) -> None:
        """Add a text, or put another in its place."""
        self.drop(number)
        insort(self._numbers, number)
        self._bags[number] = found
        for term in found:
            insort(self._places.setdefault(term, []), number)

    def drop(self, number: int) -> None:
        """Take a text out, if it is there."""
        if (found := self._bags.pop(number, None)) is None:
            return
        _cut(self._numbers, number)
        for term in found:
            _cut(self._places[term], number)
            if not self._places[term]:
                del self._places[term]

    def put_all(self, found: Mapping[int, frozenset[str]]) -> None:
        """Add many texts at once, none of which is there."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for number, bag in found.items():
            for term in bag:
                places[term].append(number)
        self._bags.update(found)
        self._numbers = sorted([*self._numbers, *found])
        for term, numbers in places.items():
            self._places[term] = sorted([*self._places.get(term, ()), *numbers])

    def drop_all(self, numbers: Set[int]) -> None:
        """Take many texts out at once, those that are there."""
        gone = self._bags.keys() & numbers
        touched = frozenset().union(*(self._bags.pop(number) for number in gone))
        self._numbers = [number for number in self._numbers if number not in gone]
        for term in touched:
            left = [number for number in self._places.pop(term) if number not in gone]
            if left:
                self._places[term] = left

    def find(self, wanted: frozenset[str], before: int) -> list[Found]:
        """The texts with numbers below `before` that have most in common with a line.

        Args:
            wanted: the line's terms.

        Returns:
            Those that share most, best first.
        """
        everything = bisect_left(self._numbers, before)
        ends = {term: bisect_left(self._places.get(term, ()), before) for term in wanted}
        weights = {term: math.log(1 + everything / max(end, 1)) for term, end in ends.items()}
        # In a fixed order, since sums of fractions depend on it.
        rarest = sorted(wanted, key=lambda term: (ends[term], term))
        shared: dict[int, float] = {}
        looks = LOOKS
        for term in rarest:
            looks -= ends[term]
            if looks < 0 and shared:
                break
            weight = weights[term]
            for number in self._places.get(term, ())[: ends[term]]:
                shared[number] = shared.get(number, 0.0) + weight
        if not shared:
            return []
        least = max(shared.values()) / 2
        whole = sum(weights[term] for term in rarest)
        found = [
            (each / whole / self._length(number), number)
            for number, each in shared.items()
            # What has nothing to add to the line is not about it.
            if each >= least and not self._bags[number] <= wanted
        ]
        rarities: dict[str, float] = {}
        return [
            Found(number, each, self._rarity(number, before, rarities))
            for each, number in heapq.nlargest(FOUND, found)
        ]

    def _rarity(self, number: int, before: int, known: dict[str, float]) -> float:
        """How unlike the others a text is. Args: known: each term's; is added to."""
        bag = self._bags[number]
        for term in bag - known.keys():
            most = math.log(1 + bisect_left(self._numbers, before))
            known[term] = 1 - math.log(bisect_left(self._places[term], before)) / most
        return math.fsum(known[term] for term in bag) / len(bag)  # exact, in whatever order

    def _length(self, number: int) -> float:
        return max(1.0, 0.75 + 0.25 * len(self._bags[number]) / USUAL_TERMS)


def _cut(numbers: list[int], number: int) -> None:
    del numbers[bisect_left(numbers, number)]
