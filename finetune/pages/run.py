"""The page of a training run: how it went, and where it came from. An unfinished run has one too.

Reads run.json and log.jsonl alone, and takes neither to be whole.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean as mean
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python

from finetune.checkpoints import read_log
from finetune.config import Recipe
from finetune.errors import RunError
from finetune.pages import html
from finetune.pages.html import Markup, tag

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Entry = Mapping[str, Any]
OVERFIT = 1.01
"""A validation loss this many times the best one, while training's still falls, is over-fitting."""
MOST_POINTS = 800
SMOOTHED = 0.04
"""Share of all steps that the smoothed curve looks back on."""
GLANCED = ("best_validation_loss", "steps", "tokens", "seconds", "tokens_per_second", "mfu")
"""Facts that stand on top of the page."""


def page(folder: Path) -> str:
    """The page, as one HTML document.

    Raises:
        RunError: the folder holds no run.
    """
    facts = _facts(folder / "run.json")
    log = [entry for entry in read_log(folder / "log.jsonl") if isinstance(entry, dict)]
    steps = [entry for entry in log if entry.get("kind") == "step"]
    evaluations = [entry for entry in log if entry.get("kind") == "evaluation"]
    kept = _kept(facts, evaluations)
    return html.document(
        f"Run {folder.resolve().name}",
        *_verdict(facts, steps, evaluations),
        html.facts(_glance(facts, steps, evaluations)),
        html.section("Curves", *_curves(steps, evaluations, kept)),
        html.section("Evaluations", *_evaluations(evaluations, kept)),
        html.section("Recipe", *_recipe(facts)),
        html.section("Where it came from", _origin(facts)),
    )


def _facts(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise RunError(f"{path.parent} holds no run: {path.name} is missing")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}") from None
    return facts if isinstance(facts, dict) else {}


def _kept(facts: Entry, evaluations: Sequence[Entry]) -> int | None:
    """The step whose weights are kept."""
    best = [entry.get("step") for entry in evaluations if entry.get("best")]
    step = facts.get("best_step", best[-1] if best else None)
    return step if isinstance(step, int) else None


# ---- how it ended ----------------------------------------------------------------------------


def _verdict(
    facts: Entry, steps: Sequence[Entry], evaluations: Sequence[Entry]
) -> Iterator[Markup]:
    if "verdict" not in facts:
        yield html.note(_under_way(steps), "warn")
        if _rising(evaluations):
            yield html.note("The validation loss is rising: it begins to over-fit.", "bad")
    elif str(facts["verdict"]).startswith("over-fitted"):
        yield html.note(_sentence(facts["verdict"]), "bad loud")
    else:
        yield html.note(_sentence(facts["verdict"]), "good loud")
    if any(_number(entry, "loss") is None for entry in (*steps, *evaluations)):
        yield html.note("Some losses are no numbers; a lower learning rate may help.", "bad")
    if left_out := _inner(facts, "data").get("spans_too_long"):
        yield html.note(f"{left_out} parts of replies were longer than the recipe allows.")


def _under_way(steps: Sequence[Entry]) -> str:
    if not steps:
        return "Not finished: no step has been made yet."
    return (
        f"Not finished: {steps[-1].get('step')} steps are done. It is still being trained, or was "
        "stopped; the same command goes on with it."
    )


def _rising(evaluations: Sequence[Entry]) -> bool:
    losses = list(_numbers(evaluations, "loss"))
    return bool(losses) and losses[-1] > OVERFIT * min(losses)


def _sentence(text: object) -> str:
    told = str(text)
    return told[:1].upper() + told[1:].rstrip(".") + "."


def _glance(
    facts: Entry, steps: Sequence[Entry], evaluations: Sequence[Entry]
) -> Iterator[tuple[str, object]]:
    if losses := list(_numbers(evaluations, "loss")):
        yield "lowest validation loss", f"{min(losses):.3f}"
    if steps:
        yield "steps", html.told(steps[-1].get("step"))
    # What run.json says counts what the log of a run that was gone on with may lack.
    tokens = _number(facts, "tokens") or sum(_numbers(steps, "tokens"))
    seconds = _number(facts, "seconds") or sum(_numbers(steps, "seconds"))
    if seconds:
        rate = _number(facts, "tokens_per_second") or tokens / seconds
        yield "tokens read", f"{tokens:,.0f}"
        yield "time", _duration(seconds)
        yield "tokens a second", f"{rate:,.0f}"
    if (used := _number(facts, "mfu")) is not None:
        yield "of the GPU’s arithmetic (MFU)", f"{used:.1%}"


# ---- curves ----------------------------------------------------------------------------------


def _curves(
    steps: Sequence[Entry], evaluations: Sequence[Entry], kept: int | None
) -> Iterator[Markup]:
    if not steps and not evaluations:
        yield tag("p", "There is nothing to draw yet.")
        return

    def losses(axes: "Axes") -> None:
        at, raw = _thinned(*_points(steps, "loss"))
        axes.plot(at, raw, lw=0.6, color=html.INK, alpha=0.35, label="a step")
        axes.plot(at, _smoothed(raw), lw=1.2, color=html.INK, label="steps, smoothed")
        mean, valid = _points(evaluations, "train_loss"), _points(evaluations, "loss")
        axes.plot(*mean, "o-", ms=4, color=html.SLOT_COLOURS["words"], label="training, mean")
        axes.plot(*valid, "s-", ms=4, color=html.ACCENT, label="validation")
        axes.set(xlabel="step", ylabel="loss, nats a token")
        _finish(axes, kept)

    def right(axes: "Axes") -> None:
        for slot, colour in html.SLOT_COLOURS.items():
            told = [_slot(entry, slot) | {"step": entry.get("step")} for entry in evaluations]
            axes.plot(*_points(told, "accuracy"), "s-", ms=4, color=colour, label=slot)
        trained = _points(evaluations, "train_accuracy")
        axes.plot(*trained, "o:", ms=3, color=html.INK, label="all, training")
        axes.set(xlabel="step", ylabel="guessed right", ylim=(0, 1.02))
        _finish(axes, kept)

    how = "Lower is better. Validation that rises while training falls is over-fitting."
    told = "Share of tokens that were the model’s first choice, of the part dev."
    drawn = html.figure(losses, "Losses by step", how), html.figure(right, "Accuracy by step", told)
    yield tag("div", *drawn, class_="figures")


def _finish(axes: "Axes", kept: int | None) -> None:
    """Mark the kept step, and name what is drawn."""
    if kept is not None:
        axes.axvline(kept, ls="--", lw=1, color=html.INK, label=f"kept: step {kept}")
    for line in [each for each in axes.lines if not len(each.get_xdata())]:  # type: ignore[arg-type]
        line.remove()
    if axes.lines:
        axes.legend()
    axes.locator_params("x", integer=True)


def _points(entries: Sequence[Entry], name: str) -> tuple[list[float], list[float]]:
    """The steps that have such a number, and the numbers."""
    told = [(_number(entry, "step"), _number(entry, name)) for entry in entries]
    whole = [(at, value) for at, value in told if at is not None and value is not None]
    return [at for at, _ in whole], [value for _, value in whole]


def _thinned(at: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    """So few points that a page of a long run stays small, each the mean of some."""
    size = len(at) // MOST_POINTS + 1
    starts = range(0, len(at), size)
    return [mean(at[i : i + size]) for i in starts], [mean(values[i : i + size]) for i in starts]


def _smoothed(values: Sequence[float]) -> list[float]:
    """A mean that forgets, without the pull of where it began."""
    keep = 1 - 1 / max(1.0, SMOOTHED * len(values))
    smoothed, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        smoothed.append(total / weight)
    return smoothed


# ---- tables ----------------------------------------------------------------------------------


def _evaluations(evaluations: Sequence[Entry], kept: int | None) -> Iterator[Markup]:
    if not evaluations:
        yield tag("p", "None yet.")
        return
    slots = [s for s in html.SLOT_COLOURS if any(_slot(entry, s) for entry in evaluations)]
    head = ["step", "epochs", "loss, training", "validation", "right, training", "validation"]
    head += slots
    rows = []
    for entry in evaluations:
        row: list[object] = [html.told(entry.get("step")), html.told(entry.get("epoch"))]
        row += [_loss(entry, "train_loss"), _loss(entry, "loss")]
        row += [_right(entry, "train_accuracy"), _right(entry, "accuracy")]
        of = [_slot(entry, slot) for slot in slots]
        rows.append([*row, *(f"{_loss(e, 'loss')} · {_right(e, 'accuracy')}" for e in of)])
    strong = {at for at, entry in enumerate(evaluations) if entry.get("step") == kept}
    yield html.table(head, rows, left=0, strong=strong)
    tokens = (f"{slot} {html.told(_slot(evaluations[-1], slot).get('tokens'))}" for slot in slots)
    told = (
        "Of the part dev, each slot’s loss and share guessed right. Tokens in it: "
        f"{', '.join(tokens)}. The kept step stands out."
    )
    yield tag("p", told, class_="soft")


def _recipe(facts: Entry) -> Iterator[Markup]:
    rows = list(_settings(_inner(facts, "recipe"), Recipe))
    head = ("setting", "value", "usual, if another", "what it is")
    changed = {at for at, row in enumerate(rows) if row[2]}
    yield html.table(head, rows, left=4, strong=changed)


def _settings(
    held: Entry, model: type[BaseModel], prefix: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    for name, value in held.items():
        field = model.model_fields.get(name)
        usual = field.default if field else PydanticUndefined
        if isinstance(usual, BaseModel) and isinstance(value, dict):
            yield from _settings(value, type(usual), f"{prefix}{name}.")
            continue
        same = usual is PydanticUndefined or to_jsonable_python(usual) == value
        other = "" if same else html.told(to_jsonable_python(usual))
        yield f"{prefix}{name}", html.told(value), other, (field and field.description) or ""


def _origin(facts: Entry) -> Markup:
    names = [name for name in facts if name not in ("recipe", "verdict", *GLANCED)]
    rows: list[tuple[str, str]] = []
    for name in names:
        inner = facts[name].items() if isinstance(facts[name], dict) else [("", facts[name])]
        rows += [(f"{name} {part}".strip(), html.told(value)) for part, value in inner]
    return (
        html.table(("what", "which"), rows, left=2)
        if rows
        else tag("p", "Told when the run has ended.")
    )


# ---- values ----------------------------------------------------------------------------------


def _inner(entry: Entry, name: str) -> dict[str, Any]:
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def _slot(entry: Entry, slot: str) -> dict[str, Any]:
    return _inner(_inner(entry, "slots"), slot)


def _number(entry: Entry, name: str) -> float | None:
    """A finite number; None where there is none."""
    value = entry.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if math.isfinite(value) else None


def _numbers(entries: Sequence[Entry], name: str) -> Iterator[float]:
    return (value for entry in entries if (value := _number(entry, name)) is not None)


def _loss(entry: Entry, name: str) -> str:
    return "–" if (value := _number(entry, name)) is None else f"{value:.3f}"


def _right(entry: Entry, name: str) -> str:
    return "–" if (value := _number(entry, name)) is None else f"{value:.1%}"


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes >= 2 else f"{seconds:.0f} s"
