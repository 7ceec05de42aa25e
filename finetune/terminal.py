"""A training run in a terminal: a bar while it goes, a line at every evaluation."""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from finetune.train import Evaluated, Event, Planned, Stepped
from finetune.tune import BEST, Outcome


class Watch:
    """Shows what a run tells. On stderr, but for the lines of results."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}"),
            console=Console(stderr=True, soft_wrap=True),
        )
        self._reading: TaskID | None = None
        self._training: TaskID | None = None
        self._rate = 0.0

    def __enter__(self) -> "Watch":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def prepare(self, done: int, of: int) -> None:
        """So many of so many conversations are tokens now."""
        if self._reading is None:
            self._reading = self._bar.add_task("reading", total=of, told="")
        self._bar.update(self._reading, completed=done)

    def tell(self, event: Event) -> None:
        """Show an event of the run."""
        match event:
            case Planned():
                self._plan(event)
            case Stepped():
                self._step(event)
            case Evaluated():
                self._bar.console.print(line(event), markup=False, highlight=False)

    def _plan(self, plan: Planned) -> None:
        share = plan.trained_parameters / plan.parameters
        self._bar.console.print(
            f"{plan.examples} examples, {plan.steps_an_epoch} steps an epoch; training "
            f"{plan.trained_parameters:,} of {plan.parameters:,} weights ({share:.1%}); "
            f"validation loss {plan.loss:.3f} before"
            + (f"; going on after step {plan.done}" if plan.done else ""),
            highlight=False,
        )
        self._training = self._bar.add_task(
            "training", total=plan.steps, completed=plan.done, told=""
        )

    def _step(self, step: Stepped) -> None:
        rate = step.tokens / max(step.seconds, 1e-9)
        self._rate = 0.9 * self._rate + 0.1 * rate if self._rate else rate
        assert self._training is not None
        told = f"loss {step.loss:.3f}  {self._rate:,.0f} tokens/s"
        self._bar.update(self._training, completed=step.step, told=told)

    def finish(self, outcome: Outcome) -> None:
        """Print what came of the run."""
        print(outcome.verdict)
        print(outcome.folder / BEST)


def line(event: Evaluated) -> str:
    """An evaluation in a line."""
    slots = "  ".join(f"{slot} {told['accuracy']:.1%}" for slot, told in event.slots.items())
    return (
        f"epoch {event.epoch}  step {event.step}  loss {event.train_loss:.3f}  "
        f"validation {event.loss:.3f}  right {event.accuracy:.1%} ({slots})"
        + ("  best" if event.best else "")
    )
