"""Supervised tuning: one loop, from one process on a CPU to many on GPUs.

A step is `rows` rows over all processes and what each accumulates; every process knows all of them,
so the loss is the mean over all trained tokens of the step, however they are spread. Rows, their
order and every draw follow from the recipe's seed, and a step's number is all that is needed to go
on after a kill.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import torch
from accelerate import Accelerator

from finetune import checkpoints
from finetune.checkpoints import Progress
from finetune.config import Optimizer, Recipe
from finetune.examples import Example
from finetune.objective import Tally, row_loss
from finetune.rows import Forest, Row, alone, make_row, packed

Tell = Callable[["Event"], None]


@dataclass(frozen=True)
class Stepped:
    """A step was made.

    Args:
        loss: mean over the step's trained tokens, weighted.
        tokens: read in it; sheets that were shared are counted for each example, and
        computed: counted once.
        seconds: it took.
    """

    step: int
    epoch: int
    loss: float
    rate: float
    gradient: float
    tokens: int
    computed: int
    seconds: float


@dataclass(frozen=True)
class Evaluated:
    """The validation set was gone through.

    Args:
        train_loss, train_accuracy: of the steps since the last evaluation.
        loss, accuracy, slots: of the validation set.
    """

    step: int
    epoch: int
    train_loss: float
    train_accuracy: float
    loss: float
    accuracy: float
    slots: dict[str, dict[str, float]]
    best: bool


@dataclass(frozen=True)
class Planned:
    """What lies ahead, before the first step.

    Args:
        loss: of the validation set, before any training.
    """

    steps: int
    steps_an_epoch: int
    done: int
    examples: int
    trained_parameters: int
    parameters: int
    loss: float


Event = Planned | Stepped | Evaluated


class Run:
    """A model, what it learns from, and how far it has come."""

    def __init__(
        self,
        recipe: Recipe,
        accelerator: Accelerator,
        model: torch.nn.Module,
        train: Sequence[Example],
        dev: Sequence[Example],
        write_best: Callable[[torch.nn.Module], None],
        tell: Tell,
    ) -> None:
        """Go on where the folder's last checkpoint ends.

        Args:
            write_best: keeps the model as it is now; called by every process.
            tell: told of every step; on the main process only.
        """
        self._recipe = recipe
        self._accelerator = accelerator
        self._train = train
        self._dev = lay_out(recipe, dev, epoch=0)
        self._write_best = write_best
        self._tell = tell if accelerator.is_main_process else _silent
        trained = [value for value in model.parameters() if value.requires_grad]
        self._sizes = sum(v.numel() for v in trained), sum(v.numel() for v in model.parameters())
        optimizer = make_optimizer(recipe.optimizer, trained)
        self._model, self._optimizer = accelerator.prepare(model, optimizer)
        checkpoints.keep_trained_only(accelerator)
        self._folder = recipe.out / "checkpoints"
        self.progress = checkpoints.resume(accelerator, self._folder)
        if accelerator.is_main_process:
            self._log = checkpoints.Log(recipe.out / "log.jsonl", self.progress.step)
        self._since = Tally()

    def train(self) -> Progress:
        """Go on until the epochs are done, or the validation loss no longer falls."""
        recipe, progress = self._recipe, self.progress
        counts = [
            math.ceil(len(lay_out(recipe, self._train, epoch)) / recipe.rows)
            for epoch in range(1, recipe.epochs + 1)
        ]
        self._steps = min(sum(counts), recipe.max_steps or sum(counts))
        if progress.step == 0:
            progress.first_loss = self._tally_dev().loss
        plan = (self._steps, counts[0], progress.step, len(self._train), *self._sizes)
        self._tell(Planned(*plan, progress.first_loss))
        while progress.epoch < recipe.epochs and not progress.stopped:
            for step_rows, ends_epoch in self._rest_of_epoch():
                self._step(step_rows, ends_epoch)
                if progress.step == recipe.max_steps or progress.epoch == recipe.epochs:
                    progress.stopped = "all steps are done"
                self._look_up(ends_epoch)
                if progress.stopped:
                    break
        return progress

    def _rest_of_epoch(self) -> Iterator[tuple[Sequence[Row], bool]]:
        """The rows of each step of this epoch that is still to be made, and whether it ends it."""
        recipe, size = self._recipe, self._recipe.rows
        forests = lay_out(recipe, self._train, self.progress.epoch + 1)
        for start in range(self.progress.in_epoch * size, len(forests), size):
            step_rows = [make_row(each, recipe.weights) for each in forests[start : start + size]]
            yield step_rows, start + size >= len(forests)

    def _look_up(self, ends_epoch: bool) -> None:
        """Evaluate and save, where it is time for it."""
        recipe, step = self._recipe, self.progress.step
        every = recipe.evaluate_every
        due = ends_epoch if every is None else step % every == 0
        if due or self.progress.stopped:
            self._evaluate()
        if due or self.progress.stopped or (recipe.save_every and step % recipe.save_every == 0):
            checkpoints.save(self._accelerator, self._folder, self.progress)

    # ---- a step ------------------------------------------------------------------------------

    def _step(self, step_rows: Sequence[Row], ends_epoch: bool) -> None:
        begun, progress = time.perf_counter(), self.progress
        rate = learning_rate(self._recipe.optimizer, progress.step, self._steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._model.train()
        weight = sum(float(row.weights.sum()) for row in step_rows)
        loss = self._backward(step_rows, weight)
        gradient = self._accelerator.clip_grad_norm_(
            self._model.parameters(), self._recipe.optimizer.clip
        )
        self._optimizer.step()
        self._optimizer.zero_grad()
        seconds = time.perf_counter() - begun
        read = sum(row.read for row in step_rows)
        computed = sum(len(row.ids) for row in step_rows)
        epoch = progress.epoch
        progress.step += 1
        progress.epoch, progress.in_epoch = (
            (epoch + 1, 0) if ends_epoch else (epoch, progress.in_epoch + 1)
        )
        progress.tokens += read
        progress.computed += computed
        progress.seconds += seconds
        stepped = Stepped(
            progress.step, epoch, loss, rate, float(gradient), read, computed, seconds
        )
        self._report("step", stepped)

    def _backward(self, step_rows: Sequence[Row], weight: float) -> float:
        """Add up the gradients of a step; its loss."""
        total = torch.zeros((), device=self._accelerator.device)
        mine = self._mine(step_rows)
        for number, row in enumerate(mine, 1):
            row = row.to(self._accelerator.device)
            waits = number < len(mine)
            with self._accelerator.no_sync(self._model) if waits else nullcontext():
                got = row_loss(self._model, row, self._recipe.label_smoothing)
                # Gradients are averaged over processes; each gives its part that many times.
                self._accelerator.backward(got.total * self._accelerator.num_processes / weight)
            total += got.total.detach()
            self._since.add(row, got)
        return float(self._accelerator.reduce(total)) / weight

    def _mine(self, step_rows: Sequence[Row]) -> list[Row]:
        """This process's rows of a step; as many as any other's, the last of them perhaps blank."""
        processes, rank = self._accelerator.num_processes, self._accelerator.process_index
        mine = list(step_rows[rank::processes])
        if len(mine) < math.ceil(len(step_rows) / processes):
            mine.append(step_rows[0].blank())
        return mine

    # ---- evaluation --------------------------------------------------------------------------

    def _evaluate(self) -> None:
        tally, progress = self._tally_dev(), self.progress
        best = tally.loss < progress.best_loss
        if best:
            progress.best_loss, progress.best_step, progress.worse = tally.loss, progress.step, 0
            self._write_best(self._model)
        else:
            progress.worse += 1
            if progress.worse >= self._recipe.patience and not progress.stopped:
                progress.stopped = f"no better validation loss in {progress.worse} evaluations"
        since = self._reduced(self._since)
        self._since = Tally()
        evaluated = Evaluated(
            progress.step,
            progress.epoch,
            since.loss,
            since.accuracy,
            tally.loss,
            tally.accuracy,
            tally.by_slot(),
            best,
        )
        self._report("evaluation", evaluated)

    @torch.no_grad()
    def _tally_dev(self) -> Tally:
        self._model.eval()
        tally = Tally()
        for row in self._mine([make_row(each, self._recipe.weights) for each in self._dev]):
            row = row.to(self._accelerator.device)
            tally.add(row, row_loss(self._model, row))
        return self._reduced(tally)

    def _reduced(self, tally: Tally) -> Tally:
        """The sums of all processes."""
        sums = torch.tensor(tally.sums(), dtype=torch.float64, device=self._accelerator.device)
        return Tally.of(self._accelerator.reduce(sums).tolist())

    # ---- rows and reports --------------------------------------------------------------------

    def _report(self, kind: str, event: Stepped | Evaluated) -> None:
        if self._accelerator.is_main_process:
            self._log.add({"kind": kind, **asdict(event)})
        self._tell(event)


def lay_out(recipe: Recipe, examples: Sequence[Example], epoch: int) -> list[Forest]:
    """The rows of an epoch, counted from 1, in the order they are computed; of validation, 0."""
    seed = 1_000_003 * recipe.seed + epoch
    if recipe.packing:
        return packed(examples, recipe.row_tokens, seed)
    return alone(examples, seed)


def _silent(event: Event) -> None:
    """The other processes say nothing."""


def make_optimizer(
    wanted: Optimizer, weights: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimiser; norms and biases do not decay, as is usual."""
    weights = list(weights)
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": wanted.weight_decay},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if wanted.name == "sgd":
        return torch.optim.SGD(groups, wanted.learning_rate, momentum=wanted.momentum)
    kind = torch.optim.AdamW if wanted.name == "adamw" else torch.optim.Adam
    return kind(groups, wanted.learning_rate, betas=wanted.betas, fused=True)


def learning_rate(wanted: Optimizer, step: int, steps: int) -> float:
    """The rate of step number `step`, counted from 0: a rise, then a fall to the floor."""
    rise = max(1, round(wanted.warmup * steps))
    if step < rise:
        return wanted.learning_rate * (step + 1) / rise
    done = min(1.0, (step - rise) / max(1, steps - rise))
    left = {
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "linear": 1 - done,
        "constant": 1.0,
    }[wanted.schedule]
    return wanted.learning_rate * (wanted.floor + (1 - wanted.floor) * left)
