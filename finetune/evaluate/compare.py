"""Two evaluations of the same cases: what got better or worse, and whether to let it pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

from finetune.errors import DataError
from finetune.evaluate.measures import MEASURES, Measured, compared, measured
from finetune.evaluate.results import Evaluation

Verdict = Literal["better", "worse", "unclear"]
FEWEST = 5
"""Conversations that a verdict takes: the interval of fewer says too little."""


@dataclass(frozen=True)
class Change:
    """A measure over the cases both have. Args: by: how much higher it is in the second."""

    first: Measured
    second: Measured
    by: Measured

    @property
    def verdict(self) -> Verdict:
        """Clear where the interval of the difference does not hold nothing; never of few cases."""
        low, high = self.by.estimate.low, self.by.estimate.high
        if isnan(low) or low <= 0 <= high or self.by.clusters < FEWEST:
            return "unclear"
        return "better" if (low > 0) == (self.by.measure.better == "higher") else "worse"


def changes(first: Evaluation, second: Evaluation, seed: int = 0) -> list[Change]:
    """Every measure that some case of both counts for.

    Raises:
        DataError: they have no case in common.
    """
    shared = {each.case for each in first.outcomes} & {each.case for each in second.outcomes}
    found = list(_changes(first, second, shared, seed))
    if not found:
        raise DataError("the two evaluations have no case in common; run both on the same data")
    return found


def _changes(
    first: Evaluation, second: Evaluation, shared: set[str], seed: int
) -> Iterator[Change]:
    one = [each for each in first.outcomes if each.case in shared]
    other = [each for each in second.outcomes if each.case in shared]
    for measure in MEASURES:
        by = compared(measure, one, other, seed)
        values = measured(measure, one, seed), measured(measure, other, seed)
        if by and values[0] and values[1]:
            yield Change(values[0], values[1], by)


def differences(first: Evaluation, second: Evaluation) -> list[str]:
    """In what the two were not asked alike."""
    one, other = first.results.made, second.results.made
    return [
        f"{name}: {one.get(name)} and {other.get(name)}"
        for name in ("seed", "data", "part", "scenes", "most", "judge")
        if one.get(name) != other.get(name)
    ]


def failing(found: Sequence[Change]) -> list[Change]:
    """Headlines that clearly got worse: what a gate stops at."""
    return [each for each in found if each.by.measure.headline and each.verdict == "worse"]
