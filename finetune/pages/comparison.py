"""The page of two evaluations: differences with their intervals, and answers side by side."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from finetune.evaluate.compare import Change, differences
from finetune.evaluate.outcomes import Outcome
from finetune.evaluate.results import Evaluation, rounded
from finetune.pages import evaluation as pages
from finetune.pages import html
from finetune.pages.html import Markup, tag

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 400
STYLE = (
    pages.STYLE
    + """
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem; }
.pair > * { min-width: 0; }
"""
)


def page(first: Evaluation, second: Evaluation, found: Sequence[Change]) -> str:
    """The page, as one HTML document that needs nothing else."""
    names = [str(each.results.subject["name"]) for each in (first, second)]
    unlike = [f"Not asked alike, {each}." for each in differences(first, second)]
    return html.document(
        f"{names[0]} against {names[1]}",
        html.facts([("first", names[0]), ("second", names[1])]),
        *map(html.note, unlike),
        html.section("What changed", *_table(found)),
        html.section("What was said", *_pairs(first, second)),
        style=STYLE,
    )


def _table(found: Sequence[Change]) -> Iterator[Markup]:
    yield tag(
        "p", "Over the cases both have. Shares in percent; differences are second less first."
    )
    head = ("measure", "verdict", "first", "second", "difference", "95% interval", "cases")
    rows = [row(each) for each in found]
    strong = {at for at, each in enumerate(found) if each.verdict != "unclear"}
    yield html.table(head, rows, left=2, strong=strong)
    shares = [each for each in found if each.by.measure.kind != "perplexity"]
    if shares:
        told = "Differences of shares with their 95% intervals."
        height = 0.8 + 0.22 * len(shares)
        drawn = html.figure(lambda axes: _draw(axes, shares), "Differences", told, height=height)
        yield tag("div", drawn, class_="plot")


def row(change: Change) -> tuple[object, ...]:
    """A change as people read it."""
    measure = change.by.measure
    head = f"{measure.name}{' (headline)' if measure.headline else ''}"
    low, high = change.by.estimate.low, change.by.estimate.high
    known = rounded(low) is not None
    spread = f"{_number(change, low)} to {_number(change, high)}" if known else "unknown"
    return (
        head,
        change.verdict,
        _number(change, change.first.estimate.value),
        _number(change, change.second.estimate.value),
        _number(change, change.by.estimate.value),
        spread,
        f"{change.by.cases:,}",
    )


def _number(change: Change, value: float) -> str:
    return "–" if rounded(value) is None else pages.number(change.by.measure.name, value)


def _draw(axes: "Axes", shares: Sequence[Change]) -> None:
    for at, each in enumerate(reversed(shares)):
        by = each.by.estimate
        axes.plot([by.low, by.high], [at, at], color=html.ACCENT, linewidth=2)
        axes.plot([by.value], [at], "o", color=html.ACCENT, markersize=5)
    axes.axvline(0, color=html.INK, linewidth=0.8)
    axes.set_yticks(range(len(shares)), [each.by.measure.name for each in reversed(shares)])


def _pairs(first: Evaluation, second: Evaluation) -> Iterator[Markup]:
    """The cases both have, those that were answered otherwise first."""
    other = {each.case: each for each in second.outcomes}
    both = [(each, other[each.case]) for each in first.outcomes if each.case in other]
    changed = [pair for pair in both if _words(pair[0]) != _words(pair[1])]
    yield tag("p", f"{len(changed):,} of {len(both):,} cases were answered otherwise.")
    suites = list(dict.fromkeys(one.suite for one, _ in changed))
    for suite in suites:
        shown = [pair for pair in changed if pair[0].suite == suite]
        title = f"{suite}: {len(shown):,} cases, {min(len(shown), SHOWN):,} shown"
        yield tag("details", tag("summary", title), *map(_pair, shown[:SHOWN]))


def _words(outcome: Outcome) -> list[str]:
    return [line.text for line in outcome.talk]


def _pair(pair: tuple[Outcome, Outcome]) -> Markup:
    return tag("div", *map(pages.talk, pair), class_="pair")
