"""How alike two texts are, and how varied one is.

BLEU and chrF are sacrebleu's. Words are lower case and without punctuation; a Chinese character is
a word.
"""

import re
from collections import Counter
from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+(?:'[^\W_]+)*")
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_CHRF = CHRF()
_BLEU = {kind: BLEU(effective_order=True, tokenize=kind) for kind in ("13a", "zh")}


def words(text: str) -> list[str]:
    """The words of a text."""
    return _WORD.findall(text.lower())


def f1(said: str, wanted: str) -> float:
    """The harmonic mean of precision and recall of words, each as often as it occurs."""
    ours, theirs = Counter(words(said)), Counter(words(wanted))
    shared = (ours & theirs).total()
    return 2 * shared / (ours.total() + theirs.total()) if shared else 0.0


def rouge_l(said: str, wanted: str) -> float:
    """ROUGE-L: the F-measure of the longest common subsequence of words (C.-Y. Lin, 2004)."""
    ours, theirs = words(said), words(wanted)
    longest = _common(ours, theirs)
    return 2 * longest / (len(ours) + len(theirs)) if longest else 0.0


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for each in a:
        before = row
        row = [0]
        for at, other in enumerate(b):
            row.append(before[at] + 1 if each == other else max(before[at + 1], row[-1]))
    return row[-1]


def chrf(said: str, wanted: str) -> float:
    """chrF, 0 to 1."""
    return float(_CHRF.sentence_score(said, [wanted]).score) / 100


def bleu(said: str, wanted: str) -> float:
    """Sentence BLEU of as many n-grams as there are, 0 to 1."""
    kind = "zh" if _CHINESE.search(wanted) else "13a"
    return float(_BLEU[kind].sentence_score(said, [wanted]).score) / 100


def ngrams(text: str, size: int) -> list[tuple[str, ...]]:
    """Runs of words, in order."""
    found = words(text)
    return [tuple(found[at : at + size]) for at in range(len(found) - size + 1)]


def distinct(texts: Sequence[str], size: int) -> tuple[int, int]:
    """Different runs of words in all texts together, and all of them."""
    found = [each for text in texts for each in ngrams(text, size)]
    return len(set(found)), len(found)


def copied_share(said: str, source: str, size: int = 4) -> float:
    """The share of a text's runs of words that stand in the source too."""
    ours = ngrams(said, size)
    held = set(ngrams(source, size))
    return sum(each in held for each in ours) / len(ours) if ours else 0.0
