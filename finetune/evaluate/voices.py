"""Whose sheet a reply sounds like: a naive Bayes over the character n-grams of the examples.

Source: multinomial naive Bayes with add-one smoothing, as in C. Manning et al., Introduction to
Information Retrieval, chapter 13. Knows nothing of how replies are made.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from npcserver.library import LoadedScene

SIZES = (2, 3, 4)


class Voices:
    """The voices of a cast."""

    def __init__(self, lines: Mapping[str, Iterable[str]]) -> None:
        """Args: lines: what each character says, by id."""
        self._counts = {npc: Counter(_grams(said)) for npc, said in lines.items()}
        self._kinds = len(set().union(*self._counts.values()))
        self._totals = {npc: counts.total() for npc, counts in self._counts.items()}

    def of(self, text: str) -> str:
        """The character that would most likely say it."""
        grams = Counter(_grams([text]))
        return max(self._counts, key=lambda npc: self._score(npc, grams))

    def _score(self, npc: str, grams: Counter[str]) -> float:
        counts, whole = self._counts[npc], self._totals[npc] + self._kinds
        return sum(n * math.log((counts[gram] + 1) / whole) for gram, n in grams.items())


def _grams(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        padded = f" {' '.join(text.lower().split())} "
        for size in SIZES:
            yield from (padded[at : at + size] for at in range(len(padded) - size + 1))


def of_scene(loaded: LoadedScene) -> Voices:
    """The voices of a scene's sheets."""
    return Voices(
        {
            npc: [example.reply for example in sheet.examples] + sheet.brief
            for npc, sheet in loaded.characters.items()
        }
    )
