"""Options as a tree of tokens, and what a model's next-token probabilities make of it.

An option's probability is the chance that the model takes it when it is held to the options: at
each point where they part, the next token is one of those that go on with an option. So nothing is
asked once a single option is left, and a long option has no handicap.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

UNLIKELY = 0.05
"""Options that are less likely than this all together are not told apart; they share it evenly."""
Ids = Sequence[int]
Path = tuple[int, ...]


class OptionTree:
    """Where options part."""

    def __init__(self, options: Sequence[Ids]) -> None:
        """Args: options: tokens (T,) of each; no two alike, none empty."""
        self._options = [tuple(option) for option in options]
        everything = list(range(len(options)))
        self.forks: dict[Path, tuple[int, ...]] = dict(self._forks(everything, ()))
        """The tokens that may come next, by the tokens that lead there."""

    def _forks(self, left: list[int], path: Path) -> Iterator[tuple[Path, tuple[int, ...]]]:
        while len(left) > 1:
            going_on = self._next(left, len(path))
            if len(going_on) > 1 or self._ended(left, path) is not None:
                yield path, tuple(going_on)
                for token, those in going_on.items():
                    yield from self._forks(those, (*path, token))
                return
            path += tuple(going_on)

    def _next(self, left: list[int], depth: int) -> dict[int, list[int]]:
        """Those options that are longer than `depth`, by the token that stands there."""
        grouped: dict[int, list[int]] = {}
        for option in left:
            if len(self._options[option]) > depth:
                grouped.setdefault(self._options[option][depth], []).append(option)
        return grouped

    def _ended(self, left: list[int], path: Path) -> int | None:
        return next((option for option in left if self._options[option] == path), None)

    def next_fork(self, scores: Mapping[Path, Mapping[int, float]]) -> Path | None:
        """The next fork to ask the model about; None when all that matters is known."""
        chances = self.probabilities(scores)
        for path in self.forks.keys() - scores.keys():
            through = (o for o, option in enumerate(self._options) if option[: len(path)] == path)
            known = all(
                path[:size] in scores for size in range(len(path)) if path[:size] in self.forks
            )
            if known and math.fsum(chances[option] for option in through) >= UNLIKELY:
                return path
        return None

    def probabilities(self, scores: Mapping[Path, Mapping[int, float]]) -> list[float]:
        """The probability of each option; they sum to one.

        Args:
            scores: by fork, the log-probability of each token that may come next. Beyond a fork
                that is missing all options are equally likely.
        """
        chances = [0.0] * len(self._options)
        self._share(list(range(len(self._options))), (), 1.0, scores, chances)
        return chances

    def _share(
        self,
        left: list[int],
        path: Path,
        mass: float,
        scores: Mapping[Path, Mapping[int, float]],
        chances: list[float],
    ) -> None:
        while len(left) > 1 and path not in self.forks:
            path += tuple(self._next(left, len(path)))
        if path not in scores or len(left) == 1:
            for option in left:
                chances[option] = mass / len(left)
            return
        ended = self._ended(left, path)
        shares, remaining = _shares(scores[path], may_end=ended is not None)
        if ended is not None:
            chances[ended] = mass * remaining
        for token, those in self._next(left, len(path)).items():
            self._share(those, (*path, token), mass * shares[token], scores, chances)


def _shares(logs: Mapping[int, float], *, may_end: bool) -> tuple[dict[int, float], float]:
    """Each token's share, and what remains for the option that ends there."""
    best = 0.0 if may_end else max(logs.values())
    weights = {token: math.exp(log - best) for token, log in logs.items()}
    total = math.fsum(weights.values())
    remaining = max(0.0, 1.0 - total) if may_end else 0.0
    whole = total + remaining
    return {token: weight / whole for token, weight in weights.items()}, remaining / whole
