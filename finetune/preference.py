"""Preference tuning: of two replies to the same prompt, the one people liked becomes likelier.

Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290) by TRL's trainer, on the
`preferences.jsonl` of a data set and on the text the server sends. It usually goes on from an
adapter that was trained on dialogue first.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset as Table
from peft import PeftModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import DPOConfig, DPOTrainer

from finetune import base, checkpoints, dataset, provenance
from finetune.base import Base
from finetune.config import Recipe
from finetune.errors import RunError
from finetune.examples import Staging, stage_record
from finetune.records import Preference
from finetune.tune import (
    BEST,
    RUN,
    claim,
    describe,
    load_model,
    precision_of,
    save_weights,
    write_json,
)

Tell = Callable[[int, int, float], None]
"""Told the step, of how many, and its loss."""


@dataclass(frozen=True)
class Preferred:
    """What came of preference tuning.

    Args:
        accuracy: share of held-back pairs in which the liked reply gained more than the other,
            against the model it started from; None where no pair was held back.
    """

    folder: Path
    pairs: int
    accuracy: float | None


def tune_preference(
    recipe: Recipe, tell: Tell = lambda step, of, loss: None, *, cpu: bool = False
) -> Preferred:
    """Tune on the pairs of a data set.

    Raises:
        DataError, RunError: data, base or folder are not what the recipe needs.
    """
    data, start = dataset.load(recipe.data), base.find(recipe.model)
    recipe = recipe.settled(data.longest_history)
    if not data.preferences:
        raise RunError(
            f"{recipe.data} holds no preferences; they come from replies that players rated, "
            "or from a preference file: finetune prepare --help"
        )
    claim(recipe, data)
    staging = Staging(data.stages.values(), recipe.shape, start.template, start.tokenizer())
    train, held = _parts([pair_texts(staging, start, pair) for pair in data.preferences])
    precision = precision_of(recipe, cpu)
    model = load_model(recipe, start, precision)
    trainer = DPOTrainer(
        model=model,
        ref_model=None if isinstance(model, PeftModel) else start.load(model.dtype),
        args=_arguments(recipe, precision, cpu),
        train_dataset=Table.from_list(train),
        eval_dataset=Table.from_list(held) if held else None,
        processing_class=start.transformers_tokenizer(),
        callbacks=[_Watch(tell)],
    )
    trainer.train()
    told = trainer.evaluate() if held else {}
    _keep(recipe, start, trainer.accelerator.unwrap_model(trainer.model))
    accuracy = told.get("eval_rewards/accuracies")
    write_json(recipe.out / RUN, _facts(recipe, data, start, precision, trainer, told))
    return Preferred(recipe.out, len(train) + len(held), accuracy)


def pair_texts(staging: Staging, start: Base, pair: Preference) -> dict[str, str]:
    """A pair as TRL takes it: the text the server sends, and the two that could follow."""
    record = pair.record
    builder = staging.builder(record)
    staged = stage_record(builder, record)
    opened = staged.prompt.then(builder.opening(staged.emotion, staged.deed))
    end = start.template.end
    return {
        "prompt": staging.text(opened),
        "chosen": builder.said(record.reply) + end,
        "rejected": builder.said(pair.rejected) + end,
    }


def _parts(
    pairs: Sequence[dict[str, str]],
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Pairs to train on and, of ten or more, each tenth to measure with."""
    if len(pairs) < 10:
        return list(pairs), []
    held = [pair for number, pair in enumerate(pairs) if number % 10 == 9]
    return [pair for number, pair in enumerate(pairs) if number % 10 != 9], held


def _arguments(recipe: Recipe, precision: str, cpu: bool) -> DPOConfig:
    wanted = recipe.optimizer
    return DPOConfig(
        output_dir=str(recipe.out / "checkpoints"),
        beta=recipe.beta,
        max_length=recipe.longest,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=recipe.rows,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        learning_rate=wanted.learning_rate,
        weight_decay=wanted.weight_decay,
        adam_beta1=wanted.betas[0],
        adam_beta2=wanted.betas[1],
        max_grad_norm=wanted.clip,
        warmup_steps=wanted.warmup,
        lr_scheduler_type=wanted.schedule,
        bf16=precision == "bf16",
        gradient_checkpointing=recipe.checkpointing,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=cpu,
        seed=recipe.seed,
    )


class _Watch(TrainerCallback):
    """Hands what the trainer logs to whoever watches."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **rest: Any,
    ) -> None:
        """A step was made."""
        if logs and "loss" in logs:
            self._tell(state.global_step, state.max_steps, float(logs["loss"]))


def _keep(recipe: Recipe, start: Base, model: Any) -> None:
    def write(folder: Path) -> None:
        save_weights(recipe, start, model, model.state_dict(), folder)
        write_json(folder / "model.json", describe(recipe, start))

    checkpoints.replace(recipe.out / BEST, write)


def _facts(
    recipe: Recipe,
    data: dataset.Dataset,
    start: Base,
    precision: str,
    trainer: DPOTrainer,
    told: dict[str, float],
) -> dict[str, Any]:
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "recipe": recipe.model_dump(mode="json"),
        "kind": "preference",
        "revision": provenance.revision(),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "data": {"sha256": data.sha256, "pairs": len(data.preferences)},
        "base": {"name": start.title, "sha256": start.sha256},
        "precision": precision,
        "steps": trainer.state.global_step,
        "losses": [entry["loss"] for entry in history],
        "held_out": json.loads(json.dumps(told)),
    }
