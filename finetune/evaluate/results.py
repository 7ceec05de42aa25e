"""What an evaluation came to: a folder with `results.json`, every outcome, and a page.

results.json     every measure with its interval; the same for the same subject, data and seed, but
                 for what stands under `timing`
outcomes.jsonl   what was said in every case
report.html      the page
cases/           outcomes as they were made, from which a killed run goes on
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from finetune import folders
from finetune.errors import DataError
from finetune.evaluate.measures import MEASURES, Measured, measured
from finetune.evaluate.outcomes import Outcome

RESULTS = "results.json"
OUTCOMES = "outcomes.jsonl"
REPORT = "report.html"
DIGITS = 6


class Metric(BaseModel):
    """A measure and its value. Args: low, high: its 95% interval; None where it is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    suite: str
    about: str
    better: str
    headline: bool
    value: float | None
    low: float | None
    high: float | None
    cases: int
    clusters: int


class Results(BaseModel):
    """Everything an evaluation came to.

    Args:
        made: what it was made from: seed, revision, data and scenes by digest.
        skipped: suites that were not run, and why.
        timing: what hangs on the machine and the moment.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: dict[str, Any]
    made: dict[str, Any]
    skipped: dict[str, str]
    metrics: list[Metric]
    timing: dict[str, Any]

    def metric(self, name: str) -> Metric | None:
        """A measure by name."""
        return next((each for each in self.metrics if each.name == name), None)


@dataclass(frozen=True)
class Evaluation:
    """Results, and the outcomes they come from."""

    results: Results
    outcomes: Sequence[Outcome]


def metrics(outcomes: Sequence[Outcome], seed: int) -> list[Metric]:
    """Every measure that some case counts for."""
    found = (measured(measure, outcomes, seed) for measure in MEASURES)
    return [_metric(each) for each in found if each is not None]


def _metric(each: Measured) -> Metric:
    measure, estimate = each.measure, each.estimate
    return Metric(
        name=measure.name,
        suite=measure.suite,
        about=measure.about,
        better=measure.better,
        headline=measure.headline,
        value=rounded(estimate.value),
        low=rounded(estimate.low),
        high=rounded(estimate.high),
        cases=each.cases,
        clusters=each.clusters,
    )


def rounded(value: float) -> float | None:
    """A value as it is written; None for one that is none."""
    return None if isnan(value) else round(value, DIGITS)


def timing(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """How fast it was: the spread of what each turn took."""
    told: dict[str, Any] = {}
    for name in ("first_word_ms", "total_ms"):
        values = [value for each in outcomes for value in each.timing.get(name, [])]
        if values:
            points = np.percentile(values, [50, 95, 99])
            told[name] = dict(zip(("p50", "p95", "p99"), map(round, points), strict=True))
    spent = sum(sum(each.timing.get("total_ms", [])) for each in outcomes)
    tokens = sum(sum(each.timing.get("tokens", [])) for each in outcomes)
    if spent and tokens:
        told["tokens_per_second"] = round(1000 * tokens / spent, 1)
    return told


def save(evaluation: Evaluation, folder: Path) -> None:
    """Write results and outcomes."""
    told = evaluation.results.model_dump(mode="json")
    folders.write_text(folder / RESULTS, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    lines = (each.model_dump_json(exclude_defaults=True) for each in evaluation.outcomes)
    folders.write_text(folder / OUTCOMES, "".join(f"{line}\n" for line in lines))


def load(folder: Path) -> Evaluation:
    """Read results and outcomes.

    Raises:
        DataError: they are not there, or not what `finetune evaluate` wrote.
    """
    path = folder / RESULTS
    if not path.exists():
        raise DataError(f"{folder}:1: holds no {RESULTS}; make one with: finetune evaluate")
    try:
        results = Results.model_validate_json(path.read_text(encoding="utf-8"))
        outcomes = list(_outcomes(folder / OUTCOMES))
    except (ValidationError, OSError) as error:
        raise DataError(f"{path}:1: is not what finetune evaluate wrote: {error}") from None
    return Evaluation(results, outcomes)


def _outcomes(path: Path) -> Iterator[Outcome]:
    with path.open(encoding="utf-8") as file:
        yield from map(Outcome.model_validate_json, file)
