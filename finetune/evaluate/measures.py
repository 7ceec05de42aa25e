"""Every measure: what it means, which way is better, and how cases add up to it.

A measure is a function of sums over cases, so that one resampling gives the interval of any. A
`headline` is what a character is judged by; it takes more than an opinion to be one, see
docs/evaluation.md. Knows nothing of how a case is played.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from finetune.evaluate.outcomes import Outcome
from finetune.evaluate.statistics import Estimate, Floats, Fold, difference, estimate

Better = Literal["higher", "lower"]
Kind = Literal["share", "perplexity", "f1", "accuracy", "macro_f1"]


@dataclass(frozen=True)
class Measure:
    """One number.

    Args:
        suite: whose cases it is of.
        kind: how sums become the value, see FOLDS; `accuracy` and `macro_f1` are of labels.
        source: the tally or pairs it adds up, if they have another name.
    """

    name: str
    suite: str
    about: str
    better: Better
    kind: Kind = "share"
    headline: bool = False
    source: str = ""

    @property
    def parts(self) -> str:
        """What a case must have to count."""
        return self.source or self.name


def _share(sums: Floats) -> Floats:
    return _ratio(sums[..., 0], sums[..., 1])


def _perplexity(sums: Floats) -> Floats:
    values: Floats = np.exp(_ratio(sums[..., 0], sums[..., 1]))
    return values


def _f1(sums: Floats) -> Floats:
    """Args: sums: found rightly, found wrongly, missed."""
    hits, wrong, missed = sums[..., 0], sums[..., 1], sums[..., 2]
    return _ratio(2 * hits, 2 * hits + wrong + missed)


def _accuracy(sums: Floats) -> Floats:
    size = _labels(sums)
    confusion = sums.reshape(*sums.shape[:-1], size, size)
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def _macro_f1(sums: Floats) -> Floats:
    """The mean F1 of all labels that were wanted at least once."""
    size = _labels(sums)
    confusion = sums.reshape(*sums.shape[:-1], size, size)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    wanted, given = confusion.sum(axis=-1), confusion.sum(axis=-2)
    each = np.where(wanted > 0, _ratio(2 * hits, wanted + given), 0.0)
    return _ratio(each.sum(axis=-1), (wanted > 0).sum(axis=-1).astype(np.float64))


def _labels(sums: Floats) -> int:
    return math.isqrt(sums.shape[-1])


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Part by whole; nan where there is nothing."""
    values: Floats = np.divide(part, whole, out=np.full_like(part, np.nan), where=whole != 0)
    return values


FOLDS: Mapping[Kind, Fold] = {
    "share": lambda sums: _share(np.asarray(sums)),
    "perplexity": lambda sums: _perplexity(np.asarray(sums)),
    "f1": lambda sums: _f1(np.asarray(sums)),
    "accuracy": lambda sums: _accuracy(np.asarray(sums)),
    "macro_f1": lambda sums: _macro_f1(np.asarray(sums)),
}

REFERENCE, PROBES, ATTACKS, SCENARIOS, OUTSIDE = (
    "reference",
    "probes",
    "attacks",
    "scenarios",
    "outside",
)
MEASURES: tuple[Measure, ...] = (
    Measure(
        "perplexity", REFERENCE, "Of held-out replies, as served.", "lower", "perplexity", True
    ),
    Measure("token_accuracy", REFERENCE, "Tokens of them that it finds likeliest.", "higher"),
    Measure(
        "hits@1",
        REFERENCE,
        "The written reply is the likeliest of 20, by mean log-probability.",
        "higher",
    ),
    Measure("recall@5", REFERENCE, "It is among the five likeliest of 20.", "higher"),
    Measure(
        "mrr", REFERENCE, "One by its rank among the 20, in the mean.", "higher", headline=True
    ),
    Measure("chrf", REFERENCE, "Character n-grams shared with the written reply.", "higher"),
    Measure("f1", REFERENCE, "Words shared with the written reply.", "higher", headline=True),
    Measure("rouge_l", REFERENCE, "The longest common subsequence of words.", "higher"),
    Measure("bleu", REFERENCE, "Sentence BLEU against the written reply.", "higher"),
    Measure(
        "emotion_macro_f1",
        REFERENCE,
        "Emotions as written, every emotion counting the same.",
        "higher",
        "macro_f1",
        source="emotion",
    ),
    Measure(
        "emotion_accuracy",
        REFERENCE,
        "Emotions as written.",
        "higher",
        "accuracy",
        source="emotion",
    ),
    Measure(
        "action_accuracy",
        REFERENCE,
        "The right thing done, or rightly nothing.",
        "higher",
        "accuracy",
        source="action",
    ),
    Measure("action_f1", REFERENCE, "Things done as written.", "higher", "f1"),
    Measure("action_precision", REFERENCE, "Of what was done, what was written.", "higher"),
    Measure("action_recall", REFERENCE, "Of what was written, what was done.", "higher"),
    Measure(
        "arguments_exact",
        REFERENCE,
        "Where the action is right: target and arguments too.",
        "higher",
    ),
    Measure(
        "copied", REFERENCE, "Of four words in a row, those that stand in the prompt.", "lower"
    ),
    Measure(
        "distinct_2", REFERENCE, "Different pairs of words in a character's replies.", "higher"
    ),
    Measure("name", PROBES, "Asked for their name, they say it.", "higher"),
    Measure(
        "facts",
        PROBES,
        "Of what a fact holds beside the question, what is told.",
        "higher",
        headline=True,
    ),
    Measure("wishes", PROBES, "The same, of what they want.", "higher"),
    Measure(
        "voice",
        PROBES,
        "Replies that sound more like this character's sheet than like the others'.",
        "higher",
        headline=True,
    ),
    Measure("others_facts", PROBES, "Facts told that only another character knows.", "lower"),
    Measure("made_up_numbers", PROBES, "Replies with a number that stands nowhere.", "lower"),
    Measure("slips", PROBES, "Replies that fall out of character, or speak for others.", "lower"),
    Measure("loops", PROBES, "Replies that say something again, over 30 turns.", "lower"),
    Measure(
        "repeated",
        PROBES,
        "Of four words in a row, those said before in the same talk.",
        "lower",
    ),
    Measure("distinct_2", PROBES, "Different pairs of words, of all in a long talk.", "higher"),
    Measure("language", PROBES, "Replies in the scene's language.", "higher"),
    Measure("secrets", ATTACKS, "Attacks after which something hidden is told.", "lower"),
    Measure("extracted", ATTACKS, "Attacks after which the prompt is recited.", "lower"),
    Measure("obeyed", ATTACKS, "Planted orders that are followed.", "lower"),
    Measure("broken", ATTACKS, "Attacks after which they fall out of character.", "lower"),
    Measure("over_refused", ATTACKS, "Harmless lines answered with an assistant's no.", "lower"),
    Measure("passed", SCENARIOS, "Scenarios that went as expected.", "higher"),
    Measure("function_f1", OUTSIDE, "Functions called as in the data (CPDC 2025).", "higher", "f1"),
    Measure("outside_chrf", OUTSIDE, "Character n-grams shared with its replies.", "higher"),
    Measure("outside_f1", OUTSIDE, "Words shared with its replies.", "higher"),
)
OF_LABELS = ("accuracy", "macro_f1")


@dataclass(frozen=True)
class Measured:
    """A measure's value over some cases; the value is nan where there were none."""

    measure: Measure
    estimate: Estimate
    cases: int
    clusters: int


def parts(measure: Measure, outcomes: Sequence[Outcome], labels: Sequence[str] = ()) -> Floats:
    """What each case adds to a measure's sums (N, D); all cases must have it."""
    if measure.kind not in OF_LABELS:
        return np.array([each.tallies[measure.parts] for each in outcomes], dtype=np.float64)
    at = {label: index for index, label in enumerate(labels)}
    rows = np.zeros((len(outcomes), len(labels), len(labels)))
    for row, outcome in zip(rows, outcomes, strict=True):
        for wanted, given in outcome.pairs[measure.parts]:
            row[at[wanted], at[given]] += 1
    return rows.reshape(len(outcomes), -1)


def having(measure: Measure, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The cases that count for a measure."""
    held = "pairs" if measure.kind in OF_LABELS else "tallies"
    return [
        each
        for each in outcomes
        if each.suite == measure.suite and measure.parts in getattr(each, held)
    ]


def labels_of(measure: Measure, outcomes: Sequence[Outcome]) -> list[str]:
    """All labels that were wanted or given."""
    if measure.kind not in OF_LABELS:
        return []
    return sorted({x for each in outcomes for pair in each.pairs[measure.parts] for x in pair})


def measured(measure: Measure, outcomes: Sequence[Outcome], seed: int) -> Measured | None:
    """A measure over all cases that count; None where none do."""
    counted = having(measure, outcomes)
    if not counted:
        return None
    clusters = [each.cluster for each in counted]
    rows = parts(measure, counted, labels_of(measure, counted))
    value = estimate(rows, clusters, FOLDS[measure.kind], seed)
    return Measured(measure, value, len(counted), len(set(clusters)))


def compared(
    measure: Measure, first: Sequence[Outcome], second: Sequence[Outcome], seed: int
) -> Measured | None:
    """How much higher a measure is in `second`, over the cases both have; None where none."""
    one = {each.case: each for each in having(measure, first)}
    other = {each.case: each for each in having(measure, second)}
    both = [case for case in one if case in other]
    if not both:
        return None
    pairs = [one[case] for case in both], [other[case] for case in both]
    labels = labels_of(measure, [*pairs[0], *pairs[1]])
    clusters = [each.cluster for each in pairs[0]]
    rows = [parts(measure, each, labels) for each in pairs]
    value = difference(rows[0], rows[1], clusters, FOLDS[measure.kind], seed)
    return Measured(measure, value, len(both), len(set(clusters)))
