"""How much one text is about another: overlap of words that carry meaning, rare ones counting more.

English words and Chinese character pairs alike. Knows nothing of models or scenes.
"""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

_STOP = frozenset(
    """a about all am an and any are as at be been but by can could did do does for from get go got
    had has have he her here him his how i if in is it its just let like me my no not of on one or
    our out say see she should so some tell than that the their them then there they this to up us
    was we well were what when where which who why will with would you your hello""".split()
)
_SAME = {"hi": "hello", "hey": "hello", "bye": "goodbye", "thanks": "thank"} | dict(
    pair.split("=")
    for pair in """im=i ive=i u=you ur=your r=are youre=you youve=you youll=you hes=he
    shes=she theyre=they whats=what whos=who wheres=where whens=when whys=why hows=how thats=that
    theres=there dont=don doesnt=doesn didnt=didn isnt=isn arent=aren wasnt=wasn werent=weren
    cant=can couldnt=couldn wouldnt=wouldn shouldnt=shouldn wont=won havent=haven hasnt=hasn
    hadnt=hadn""".split()
)
"""What people type, as it is compared: without the apostrophe, an ending is gone too."""
LEAST_SHARE = 0.25
"""Of a query's weight, how much a text put alike must share: `How much is the fare?` and `How is
the weather?` have words in common, and nothing else."""
_FILLERS = frozenset(
    """a alright am an and anyway are do does did haha hello is just lol now oh please really so the
    then there to um well""".split()
)
_ASKING = frozenset("who what when where why how which".split())
_WANTING = re.compile(
    r"\W*(?:(?:alright|also|and|anyway|but|fine|ha|haha|hey|hi|lol|no|ok|okay|oh|please|right|so|sorry"
    r"|then|um|wait|well|yeah|yes)\W+)*"
    r"(?:who|what|when|where|why|how|which|can|could|do|does|did|is|are|am|was|were|will|would|shall"
    r"|should|may|might|have|has|had|got|any|explain|say|show|sing|tell)(?:s|re|t|nt|'\w+)?\b"
    r"|.*[吗呢么谁哪几啥]",
    re.IGNORECASE | re.DOTALL,
)
_CLAIMING = re.compile(r"(?:you|it|this|that|there|he|she|they|we|i)\b.*\?\W*$", re.IGNORECASE)
SAME_FUNCTION_WORDS = 0.5
SAME_SHARE = 0.5
"""Of the weight of all terms of two lines, how much both must have to be the same line. The most
alike of the wordings that writers listed then mostly has the same answer: benchmarks/answers.py."""
SAME_NEAR = 0.75
"""Those that are much less alike than the most alike are other lines."""
_DENYING = re.compile(
    r"\b(?:not|no|never|neither|nor|nobody|nothing|none|hardly|without|cannot)\b"
    r"|\b\w+n['’]t\b|\b(?:do|does|did|is|are|was|were|ca|wo)nt\b"
    r"|(?<![对了])不(?![错过])|没|(?<![特区])别(?!人)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,.;:!?…—，。；：！？]+|\bbut\b|但", re.IGNORECASE)
_ENGLISH = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_CHINESE = re.compile(r"[\u3400-\u9fff]+")


def _stem(word: str) -> str:
    word = word.split("'", maxsplit=1)[0]
    word = _SAME.get(word, word)
    if word in _STOP:
        return word
    for ending in ("ing", "ies", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


@lru_cache(maxsize=65536)
def terms(text: str) -> frozenset[str]:
    """The terms of a text: stemmed English words and Chinese character pairs."""
    found = {_stem(word) for word in _ENGLISH.findall(text.lower())}
    for run in _CHINESE.findall(text):
        found.update(run[i : i + 2] for i in range(len(run) - 1))
        if len(run) == 1:
            found.add(run)
    return frozenset(found)


def meaning(text: str) -> frozenset[str]:
    """The terms of a text that carry meaning."""
    return terms(text) - _STOP


class _Said(NamedTuple):
    """What a text weighs, what it asks for and denies, and whether it asks at all."""

    weight: float
    turn: tuple[frozenset[str], int]
    kinds: frozenset[bool]


class Index:
    """Texts that many queries are compared with; each looks only at those that share a term."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Args: texts: named by their place in all that is found."""
        self._texts = texts
        self._bags = [terms(text) for text in texts]
        self._holding: defaultdict[str, list[int]] = defaultdict(list)
        for index, bag in enumerate(self._bags):
            for term in bag:
                self._holding[term].append(index)

    def lay_out(self) -> None:
        """Make what `same` needs, which takes a moment; else the first to ask does."""
        _ = self._said

    def rank(self, query: str, *, function_words: float = 0.0) -> list[int]:
        """The texts that share a term with `query`, best first; see `rank`."""
        wanted = {term: self._weight(term, function_words) for term in sorted(terms(query))}
        shared: defaultdict[int, float] = defaultdict(float)
        for term, weight in wanted.items():
            for index in self._holding.get(term, ()):
                shared[index] += weight
        least = LEAST_SHARE * sum(wanted.values()) if function_words else 0
        return [
            index
            for _, index in sorted(
                (-weight / math.sqrt(len(self._bags[index])), index)
                for index, weight in shared.items()
                if weight > least
            )
        ]

    def same(self, query: str, least: float = SAME_SHARE) -> list[int]:
        """The texts that say the same as `query`, the most alike first.

        Alike is the share of terms in common, by weight. Words that change nothing are not counted
        (`So what's your name, please?`). A text that asks or denies otherwise is another one.
        """
        turn, kinds = _turn(query), _kinds(query)
        mine = {term: self._weight(term, SAME_FUNCTION_WORDS) for term in sorted(_core(query))}
        shared: defaultdict[int, float] = defaultdict(float)
        for term, weight in mine.items():
            for index in self._holding.get(term, ()):
                shared[index] += weight
        whole = sum(mine.values())
        alike = []
        for index, weight in shared.items():
            other = self._said[index]
            share = weight / (whole + other.weight - weight)
            if share >= least and other.turn == turn and other.kinds & kinds:
                alike.append((-share, index))
        alike.sort()
        least = max(least, SAME_NEAR * -alike[0][0]) if alike else 1
        return [index for share, index in alike if -share >= least]

    @cached_property
    def _said(self) -> list["_Said"]:
        return [
            _Said(
                sum(self._weight(term, SAME_FUNCTION_WORDS) for term in sorted(_core(text))),
                _turn(text),
                _kinds(text),
            )
            for text in self._texts
        ]

    def _weight(self, term: str, function_words: float) -> float:
        rarity = math.log(1 + len(self._bags) / max(len(self._holding.get(term, ())), 1))
        return rarity * (function_words if term in _STOP else 1)


def denies(text: str) -> bool:
    """Whether a text says that something is not so."""
    return _DENYING.search(text) is not None


def affirmed(text: str) -> str:
    """A text without the clauses that deny something: `You are not a fool, you are kind.`"""
    clauses = (clause for clause in _CLAUSE.split(text) if not denies(clause))
    return ", ".join(clause.strip() for clause in clauses if clause.strip())


def rank(query: str, texts: Sequence[str], *, function_words: float = 0.0) -> list[int]:
    """Indexes of the `texts` that share a term with `query`, best first.

    The score is the summed inverse document frequency of the shared terms over the square root of
    the text's length in terms; ties keep the given order.

    Args:
        function_words: what words like `who` and `you` weigh; nothing, unless one looks for texts
            that are put alike ("Who are you?") rather than about the same thing.
    """
    return Index(texts).rank(query, function_words=function_words)


def _core(text: str) -> frozenset[str]:
    """The terms that are compared: without fillers, where enough are left to mean something."""
    left = terms(text) - _FILLERS
    return left if len(left) > 1 or left - _STOP else terms(text)


def _turn(text: str) -> tuple[frozenset[str], int]:
    """What is asked for, and how often something is denied."""
    return terms(text) & _ASKING, len(_DENYING.findall(text))


def asks(text: str) -> bool:
    """Whether a line wants an answer: a question, with its mark or without, or `tell me`."""
    return text.rstrip().endswith(("?", "？")) or _WANTING.match(text) is not None


def _kinds(text: str) -> frozenset[bool]:
    """Whether it asks, where it cannot be both: `You are a smith, aren't you?`"""
    return frozenset({True, False}) if _CLAIMING.match(text) else frozenset({asks(text)})
