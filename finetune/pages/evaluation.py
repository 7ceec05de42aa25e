"""The page of an evaluation: every number with its interval, and the words behind it.

Knows no models; whatever it shows was measured elsewhere.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from finetune.evaluate.measures import MEASURES, Measure, having
from finetune.evaluate.outcomes import Line, Outcome
from finetune.evaluate.results import Evaluation, Metric, Results
from finetune.pages import html
from finetune.pages.html import Markup, tag

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 30
WORST = 12
STYLE = """
.talk { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .6rem .9rem; margin: .4rem 0 .8rem; }
.talk p { margin: .2rem 0; max-width: none; white-space: pre-wrap; }
.talk b { margin-right: .5em; }
.talk .note-of { color: var(--soft); font-size: .85rem; margin-right: .5em; }
.talk .sign { color: var(--bad); font-size: .85rem; display: block; }
.talk .wanted { color: var(--good); }
details { margin: .3rem 0; }
.plot { max-width: 34rem; }
"""


def page(evaluation: Evaluation) -> str:
    """The page, as one HTML document that needs nothing else."""
    results = evaluation.results
    return html.document(
        f"Evaluation: {results.subject['name']}",
        _glance(results, len(evaluation.outcomes)),
        *map(html.note, warnings(results)),
        html.section("Headlines", *_headlines(results)),
        *(_suite(suite, evaluation) for suite in _suites(results)),
        html.section("How fast it was", _timing(results)),
        html.section("Where it comes from", _origin(results)),
        style=STYLE,
    )


def warnings(results: Results) -> Iterator[str]:
    """What a reader should know before believing a number."""
    for suite, why in results.skipped.items():
        yield f"Left out, {suite}: {why}."
    few = [each.name for each in results.metrics if each.cases < FEW]
    if few:
        yield (
            f"Fewer than {FEW} cases each: {', '.join(few)}. Their intervals are wide, and the "
            "bootstrap makes those of very few cases too narrow."
        )
    if results.made["most"]:
        yield f"At most {results.made['most']} cases of each suite were asked, drawn by the seed."


def _glance(results: Results, cases: int) -> Markup:
    shown: list[tuple[str, object]] = [("cases", f"{cases:,}")]
    shown += [(each.name, figure(each)) for each in results.metrics if each.headline]
    return html.facts(shown)


def figure(metric: Metric) -> str:
    """A value as people read it."""
    return "–" if metric.value is None else number(metric.name, metric.value)


def number(name: str, value: float) -> str:
    """A share as percent, a perplexity as it is."""
    return f"{value:.2f}" if name == "perplexity" else f"{100 * value:.1f}%"


def interval(metric: Metric) -> str:
    """The interval as people read it."""
    if metric.low is None or metric.high is None:
        return "unknown"
    return f"{number(metric.name, metric.low)} to {number(metric.name, metric.high)}"


def _suites(results: Results) -> list[str]:
    return list(dict.fromkeys(each.suite for each in results.metrics))


def _headlines(results: Results) -> Iterator[Markup]:
    heads = [each for each in results.metrics if each.headline]
    yield _table(heads)
    shares = [
        each for each in results.metrics if each.name != "perplexity" and each.low is not None
    ]
    if shares:
        told = "Every share with its 95% interval. Filled: higher is better; open: lower is better."
        height = 0.8 + 0.22 * len(shares)
        drawn = html.figure(lambda axes: _draw(axes, shares), "Every share", told, height=height)
        yield tag("div", drawn, class_="plot")


def _draw(axes: "Axes", shares: Sequence[Metric]) -> None:
    for at, each in enumerate(reversed(shares)):
        assert each.low is not None and each.high is not None and each.value is not None
        axes.plot([each.low, each.high], [at, at], color=html.ACCENT, linewidth=2)
        filled = html.ACCENT if each.better == "higher" else "none"
        axes.plot([each.value], [at], "o", color=html.ACCENT, markerfacecolor=filled, markersize=5)
    axes.set_yticks(range(len(shares)), [each.name for each in reversed(shares)])
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])


def _table(metrics: Sequence[Metric]) -> Markup:
    head = ("measure", "better", "what it means", "value", "95% interval", "cases", "clusters")
    rows = [
        (
            each.name,
            each.better,
            each.about,
            figure(each),
            interval(each),
            f"{each.cases:,}",
            f"{each.clusters:,}",
        )
        for each in metrics
    ]
    return html.table(head, rows, left=3)


def _suite(suite: str, evaluation: Evaluation) -> Markup:
    metrics = [each for each in evaluation.results.metrics if each.suite == suite]
    return html.section(
        suite.capitalize(),
        _table(metrics),
        *(_worst(each, evaluation.outcomes) for each in MEASURES if each.suite == suite),
        _all(suite, evaluation.outcomes),
    )


def _worst(measure: Measure, outcomes: Sequence[Outcome]) -> Markup:
    """The cases that a measure is worst in, one click away."""
    if measure.kind in ("accuracy", "macro_f1"):
        bad = [each for each in having(measure, outcomes) if _is_wrong(measure, each)]
    else:
        ranked = sorted(having(measure, outcomes), key=lambda each: _badness(measure, each))
        bad = [each for each in reversed(ranked) if _badness(measure, each) > _spotless(measure)]
    if not bad:
        return Markup("")
    shown = [talk(each) for each in bad[:WORST]]
    title = f"{measure.name}: the worst {len(shown)} of {len(bad):,} that are not spotless"
    return tag("details", tag("summary", title), *shown)


def _is_wrong(measure: Measure, outcome: Outcome) -> bool:
    return any(wanted != given for wanted, given in outcome.pairs[measure.parts])


def _badness(measure: Measure, outcome: Outcome) -> float:
    """Higher is worse."""
    sums = outcome.tallies[measure.parts]
    if measure.kind == "f1":
        return sums[1] + sums[2]
    ratio = sums[0] / sums[1] if sums[1] else 0.0
    return ratio if measure.better == "lower" else -ratio


def _spotless(measure: Measure) -> float:
    return -1.0 if measure.better == "higher" and measure.kind != "f1" else 0.0


def _all(suite: str, outcomes: Sequence[Outcome]) -> Markup:
    found = [each for each in outcomes if each.suite == suite]
    title = f"All {len(found):,} cases, as they were said"
    return tag("details", tag("summary", title), *map(talk, found))


def talk(outcome: Outcome) -> Markup:
    """What was said in a case."""
    wanted = (
        [tag("p", tag("b", "written:"), outcome.wanted, class_="wanted")] if outcome.wanted else []
    )
    told = f"{outcome.case} · {outcome.scene} {outcome.npc}"
    return tag(
        "div", tag("p", told, class_="soft"), *map(_line, outcome.talk), *wanted, class_="talk"
    )


def _line(line: Line) -> Markup:
    note = [tag("span", f"({line.note})", class_="note-of")] if line.note else []
    who = [tag("b", f"{line.who}:")] if line.who else []
    return tag("p", *who, *note, line.text, *(tag("span", s, class_="sign") for s in line.signs))


def _timing(results: Results) -> Markup:
    rows = [(name, html.told(value)) for name, value in results.timing.items()]
    return html.table(("what", "on this machine, one player at a time"), rows, left=2)


def _origin(results: Results) -> Markup:
    told = {**results.subject, **results.made}
    return html.table(("what", "is"), [(k, html.told(v)) for k, v in told.items()], left=2)
