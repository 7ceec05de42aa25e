"""Intervals, differences and rank correlations, by resampling. Knows nothing of characters.

What belongs together (the replies of one conversation) is drawn together: a cluster is resampled,
not a case. Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, chapters 8 and 13.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Fold = Callable[[Floats], Floats]
"""Sums of a measure's parts (..., D) → its values (...)."""
DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval; the interval of a single cluster is unknown."""

    value: float
    low: float
    high: float

    def apart(self, other: "Estimate") -> bool:
        """Whether the intervals do not touch."""
        return self.low > other.high or other.low > self.high


def estimate(parts: Floats, clusters: Sequence[str], fold: Fold, seed: int = 0) -> Estimate:
    """A measure over all cases.

    Args:
        parts: (N, D), what each case adds to the measure's sums.
        clusters: (N,) what each case belongs to.
    """
    sums = _by_cluster(parts, clusters)
    return _spread(float(fold(sums.sum(axis=0))), fold(_weights(len(sums), seed) @ sums))


def difference(
    first: Floats, second: Floats, clusters: Sequence[str], fold: Fold, seed: int = 0
) -> Estimate:
    """How much a measure is higher in `second`, over the same cases (N, D) of both."""
    one, other = _by_cluster(first, clusters), _by_cluster(second, clusters)
    drawn = _weights(len(one), seed)
    value = float(fold(other.sum(axis=0)) - fold(one.sum(axis=0)))
    return _spread(value, fold(drawn @ other) - fold(drawn @ one))


def spearman(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Estimate:
    """The rank correlation of two lists (N,); nan where one of them is constant."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(a), size=(DRAWS, len(a)))
    return _spread(_spearman(a, b), np.array([_spearman(a[each], b[each]) for each in drawn]))


def _spearman(a: Floats, b: Floats) -> float:
    ranked = stats.rankdata(a), stats.rankdata(b)
    if np.ptp(ranked[0]) == 0 or np.ptp(ranked[1]) == 0:
        return float("nan")
    return float(np.corrcoef(*ranked)[0, 1])


def _by_cluster(parts: Floats, clusters: Sequence[str]) -> Floats:
    """The sums of each cluster (C, D), in the order of its first case."""
    names = {name: at for at, name in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros((len(names), parts.shape[1]))
    np.add.at(sums, [names[name] for name in clusters], parts)
    return sums


def _weights(clusters: int, seed: int) -> Floats:
    """How often each cluster is drawn (DRAWS, C)."""
    chances = np.full(clusters, 1 / clusters)
    drawn = np.random.default_rng(seed).multinomial(clusters, chances, size=DRAWS)
    return drawn.astype(np.float64)


def _spread(value: float, draws: Floats) -> Estimate:
    """Args: draws: (DRAWS,) where a draw that has no value is nan."""
    kept = draws[~np.isnan(draws)]
    if len(kept) < DRAWS // 2 or np.isnan(value):
        return Estimate(value, float("nan"), float("nan"))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(kept, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))
