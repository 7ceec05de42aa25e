"""What a run leaves on disk: where to go on from, the best model so far, its log.

A checkpoint is written beside its place and moved there, and the one before it goes after that, so
a kill at any moment leaves a whole one. Knows nothing of data and losses.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from finetune import folders

PROGRESS = "progress.json"


@dataclass
class Progress:
    """How far a run has come.

    Args:
        epoch, in_epoch: the epoch under way, and the steps done in it.
        tokens: read so far, those of shared sheets counted for each example, and
        computed: counted once.
        first_loss: of the validation set, before the first step.
        worse: evaluations since the best one.
    """

    step: int = 0
    epoch: int = 0
    in_epoch: int = 0
    tokens: int = 0
    computed: int = 0
    seconds: float = 0.0
    first_loss: float = float("nan")
    best_loss: float = float("inf")
    best_step: int = 0
    worse: int = 0
    stopped: str = ""


def keep_trained_only(accelerator: Accelerator) -> None:
    """Let checkpoints leave out weights that never change: those of a model under an adapter."""
    if accelerator.distributed_type == DistributedType.FSDP:
        return

    def drop_frozen(
        models: list[torch.nn.Module], weights: list[dict[str, torch.Tensor]], folder: str
    ) -> None:
        for model, state in zip(models, weights, strict=True):
            plain = accelerator.unwrap_model(model)
            trained = {name for name, value in plain.named_parameters() if value.requires_grad}
            for name in [name for name in state if name not in trained]:
                del state[name]

    accelerator.register_save_state_pre_hook(drop_frozen)


def save(accelerator: Accelerator, folder: Path, progress: Progress) -> None:
    """Write a checkpoint, and delete the one before it. To be called by every process."""
    target = folder / f"step-{progress.step:07d}"
    partial = folder / "partial"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    if accelerator.is_main_process:
        (partial / PROGRESS).write_text(json.dumps(asdict(progress)))
        partial.rename(target)  # free: a run goes on after the newest checkpoint, never before it
        for old in folder.glob("step-*"):
            if old != target:
                shutil.rmtree(old)
    accelerator.wait_for_everyone()


def resume(accelerator: Accelerator, folder: Path) -> Progress:
    """Load the last checkpoint, if there is one; return how far it had come."""
    found = sorted(folder.glob("step-*"))
    if not found:
        return Progress()
    options = {} if accelerator.distributed_type == DistributedType.FSDP else {"strict": False}
    accelerator.load_state(str(found[-1]), load_kwargs=None, **options)
    return Progress(**json.loads((found[-1] / PROGRESS).read_text()))


class Log:
    """`log.jsonl`: one object a step and an evaluation, in order."""

    def __init__(self, path: Path, last_step: int) -> None:
        """Go on after `last_step`; what a killed run had written beyond it is done again."""
        self._path = path
        kept = [entry for entry in read_log(path) if entry["step"] <= last_step]
        folders.write_text(path, "".join(json.dumps(entry) + "\n" for entry in kept))

    def add(self, entry: dict[str, Any]) -> None:
        """Write an entry, at once."""
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """A log's entries; a last line that a kill cut short is left out."""
    entries = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries
