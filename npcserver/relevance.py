"""How much one text is about another: overlap of words that carry meaning, rare ones counting more.

English words and Chinese character pairs alike. Knows nothing of models or scenes.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

_STOP = frozenset(
    """a about all am an and any are as at be been but by can could did do does for from get go got
    had has have he her here him his how i if in is it its just let like me my no not of on one or
    our out say see she should so some tell than that the their them then there they this to up us
    was we well were what when where which who why will with would you your hello""".split()
)
_SAME = {"hi": "hello", "hey": "hello", "bye": "goodbye", "thanks": "thank"}
LEAST_SHARE = 0.25
"""Of a query's weight, how much a text put alike must share: `How much is the fare?` and `How is
the weather?` have words in common, and nothing else."""
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


@lru_cache(maxsize=8192)
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
    wanted = terms(query)
    bags = [terms(text) for text in texts]
    frequency = Counter(term for bag in bags for term in bag)

    def weight(found: frozenset[str]) -> float:
        return sum(
            math.log(1 + len(texts) / max(frequency[term], 1))
            * (function_words if term in _STOP else 1)
            for term in found
        )

    least = LEAST_SHARE * weight(wanted) if function_words else 0
    shared = [(weight(wanted & bag), index) for index, bag in enumerate(bags)]
    fitting = [(each, index) for each, index in shared if each > least]
    return [
        index
        for _, index in sorted((-w / math.sqrt(len(bags[index])), index) for w, index in fitting)
    ]
