"""A recipe → a run: data, model, training, and what is left in the run's folder.

run.json        the recipe, where everything came from, what came out
log.jsonl       every step and evaluation
best/           the adapter or model with the lowest validation loss, as the server takes it
checkpoints/    where to go on after a kill
curves.png      its losses, also in
index.html      a page about it
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import LoraConfig, PeftModel, get_peft_model

from finetune import (
    attention,
    base,
    checkpoints,
    curves,
    dataset,
    flops,
    folders,
    provenance,
    tensorboard,
)
from finetune.base import Base
from finetune.checkpoints import Progress
from finetune.config import Lora, Recipe
from finetune.dataset import Dataset, Split
from finetune.errors import RunError
from finetune.examples import Example, Staging, conversations
from finetune.pages import run as run_page
from finetune.records import Record
from finetune.train import Run, Tell
from npcserver.prompt import PROMPT_VERSION

RUN = "run.json"
BEST = "best"

Prepare = Callable[[int, int], None]
"""Told how many of how many conversations have been made into examples."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Args:
        verdict: how it ended, and whether it over-fitted, in a sentence.
    """

    folder: Path
    progress: Progress
    verdict: str


def tune(
    recipe: Recipe, tell: Tell, prepare: Prepare = lambda done, of: None, *, cpu: bool = False
) -> Outcome:
    """Train by a recipe, or go on with a run that was begun.

    Args:
        cpu: leave a GPU alone.

    Raises:
        DataError, RunError: data, base or folder are not what the recipe needs.
    """
    precision = precision_of(recipe, cpu)
    mixed = {"fp32": "no", "bf16": "bf16"}[precision]
    accelerator = Accelerator(mixed_precision=mixed, cpu=cpu)
    data, start = dataset.load(recipe.data), base.find(recipe.model)
    recipe = recipe.settled(data.longest_history)
    if accelerator.is_main_process:
        claim(recipe, data)
    accelerator.wait_for_everyone()
    set_seed(recipe.seed)
    examples, left_out = make_examples(recipe, data, start, ("train", "dev"), prepare)
    if recipe.tensorboard and accelerator.is_main_process:
        tell = tensorboard.also(recipe.out / "tensorboard", tell)
    model = load_model(recipe, start, precision)
    per_token = flops.flops_per_token(
        model, recipe.row_tokens if recipe.packing else recipe.longest, recipe.method == "full"
    )
    run = Run(
        recipe,
        accelerator,
        model,
        examples["train"],
        examples["dev"],
        lambda trained: write_best(recipe, start, accelerator, trained),
        tell,
    )
    progress = run.train()
    outcome = Outcome(recipe.out, progress, verdict(recipe.out, progress))
    if accelerator.is_main_process:
        facts = _facts(recipe, data, start, left_out, precision, progress, outcome.verdict)
        facts |= _speed(progress, per_token, accelerator)
        write_json(recipe.out / RUN, facts)
        curves.draw(recipe.out)
        (recipe.out / "index.html").write_text(run_page.page(recipe.out), encoding="utf-8")
    accelerator.wait_for_everyone()
    return outcome


def claim(recipe: Recipe, data: Dataset) -> None:
    """Make the run's folder, or make sure that it holds this very run on this very data.

    Raises:
        RunError: it holds another.
    """
    wanted = recipe.model_dump(mode="json")
    about = recipe.out / RUN
    if about.exists():
        told = json.loads(about.read_text(encoding="utf-8"))
        held = told["recipe"]
        differing = sorted(name for name in wanted if held.get(name) != wanted[name])
        if told["data"]["sha256"] != data.sha256:
            differing.append(f"content of {recipe.data}")
        if differing:
            raise RunError(
                f"{recipe.out} holds a run with another {', '.join(differing)}; "
                "name another --out, or delete it"
            )
        folders.settle(recipe.out / BEST)
        return
    if recipe.out.exists() and any(recipe.out.iterdir()):
        raise RunError(f"{recipe.out} is not empty and holds no run; name another --out")
    recipe.out.mkdir(parents=True, exist_ok=True)
    write_json(about, {"recipe": wanted, "data": {"sha256": data.sha256}})


def precision_of(recipe: Recipe, cpu: bool) -> str:
    """`auto` resolved: bf16 on a GPU, and on a CPU that has AMX."""
    if recipe.precision != "auto":
        return recipe.precision
    if torch.cuda.is_available() and not cpu:
        return "bf16"
    # Whether bf16 is any faster on a CPU without AMX was not measured.
    return "bf16" if torch.cpu._is_amx_tile_supported() else "fp32"


def make_examples(
    recipe: Recipe, data: Dataset, start: Base, splits: Sequence[Split], prepare: Prepare
) -> tuple[dict[Split, list[Example]], int]:
    """The examples of some splits, and how many spans were longer than the recipe allows.

    Raises:
        RunError: a split has none.
    """
    context = int(start.facts.get("context_tokens", recipe.longest))
    longest = min(recipe.longest, context)
    staging = Staging(data.stages.values(), recipe.shape, start.template, start.tokenizer())
    grouped = {split: _drawn(recipe, data, split) for split in splits}
    made: dict[Split, list[Example]] = {split: [] for split in splits}
    done, of, left_out = 0, sum(map(len, grouped.values())), 0
    for split, groups in grouped.items():
        for records in groups:
            examples, too_long = staging.examples(records, longest)
            made[split] += examples
            left_out += too_long
            done += 1
            prepare(done, of)
        if not made[split]:
            raise RunError(f"{recipe.data}: no {split} example fits into {longest} tokens")
    return made, left_out


def _drawn(recipe: Recipe, data: Dataset, split: Split) -> list[list[Record]]:
    """The conversations of a split, or as many as the recipe wants of it."""
    found = conversations(data.splits[split])
    if recipe.most_conversations is None:
        return found
    most = recipe.most_conversations if split == "train" else -(-recipe.most_conversations // 5)
    return random.Random(recipe.seed).sample(found, min(most, len(found)))


def load_model(recipe: Recipe, start: Base, precision: str) -> Any:
    """The model to be trained, on the CPU: whole, or frozen under an adapter."""
    attention.register()
    half = precision == "bf16" and recipe.method == "lora"
    model = start.load(torch.bfloat16 if half else torch.float32, recipe.attention)
    model.config.attention_dropout = recipe.attention_dropout
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = recipe.attention_dropout
    if recipe.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    if recipe.method == "full":
        return model
    if recipe.adapter is not None:
        return PeftModel.from_pretrained(model, folders.standing(recipe.adapter), is_trainable=True)
    return with_adapter(model, recipe.lora, start)


def adapter_config(lora: Lora) -> LoraConfig:
    """A new adapter, as peft is told of it."""
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.layers),
        task_type="CAUSAL_LM",
    )


def with_adapter(model: Any, lora: Lora, start: Base) -> PeftModel:
    """The model with a new adapter, which alone is trained."""
    adapted = get_peft_model(model, adapter_config(lora))
    # Else the path of this machine's cache would be written into the adapter.
    adapted.peft_config["default"].base_model_name_or_path = start.title
    return adapted


def write_best(
    recipe: Recipe, start: Base, accelerator: Accelerator, model: torch.nn.Module
) -> None:
    """Keep the model as it is now. Called by every process, since gathering takes them all."""
    weights = accelerator.get_state_dict(model)
    if not accelerator.is_main_process:
        return
    plain: Any = accelerator.unwrap_model(model)

    def write(folder: Path) -> None:
        save_weights(recipe, start, plain, weights, folder)
        write_json(folder / "model.json", describe(recipe, start))

    folders.replace(recipe.out / BEST, write)


def save_weights(
    recipe: Recipe, start: Base, model: Any, weights: Mapping[str, torch.Tensor], folder: Path
) -> None:
    """Write an adapter in peft's form, or a whole model with its tokenizer in transformers'.

    An adapter is written in half precision: it is rounded far more finely than the 8 bits that it
    is merged into.
    """
    if recipe.method == "lora":
        model.save_pretrained(
            folder,
            state_dict={name: weight.half() for name, weight in weights.items()},
            selected_adapters=["default"],
            save_embedding_layers=False,
        )
        (folder / "README.md").unlink(missing_ok=True)  # a form nobody filled in
    else:
        model.save_pretrained(folder, state_dict=weights)
        start.save_tokenizer(folder)


def describe(recipe: Recipe, start: Base) -> dict[str, Any]:
    """What the server must know of a tuned model, as its `model.json`."""
    kept = ("languages", "licence", "template", "context_tokens")
    return {
        "name": recipe.out.name,
        **{name: start.facts[name] for name in kept if name in start.facts},
        "prompt_version": PROMPT_VERSION,
        "history_lines": recipe.history_lines,
        "prompt_tokens": recipe.prompt_tokens,
        "base": {"name": start.title, "sha256": start.sha256},
    }


def verdict(folder: Path, progress: Progress) -> str:
    """How a run ended, in a sentence; and whether it over-fitted."""
    told = [e for e in checkpoints.read_log(folder / "log.jsonl") if e["kind"] == "evaluation"]
    if not told:
        return "never evaluated"
    last = told[-1]
    best = next((e for e in told if e["step"] == progress.best_step), last)
    if last["loss"] > run_page.OVERFIT * best["loss"] and last["train_loss"] < best["train_loss"]:
        return (
            f"over-fitted after step {best['step']}: from there the training loss fell from "
            f"{best['train_loss']:.3f} to {last['train_loss']:.3f} while the validation loss rose "
            f"from {best['loss']:.3f} to {last['loss']:.3f}; kept is step {best['step']}. "
            "More data, fewer epochs, a lower rank or rate, or more dropout may help"
        )
    return (
        f"{progress.stopped}; validation loss {progress.first_loss:.3f} before training, "
        f"{best['loss']:.3f} at its lowest, at step {best['step']}"
    )


def _facts(
    recipe: Recipe,
    data: Dataset,
    start: Base,
    left_out: int,
    precision: str,
    progress: Progress,
    ended: str,
) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "revision": provenance.revision(),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "prompt_version": PROMPT_VERSION,
        "data": {"sha256": data.sha256, "spans_too_long": left_out},
        "base": {"name": start.title, "sha256": start.sha256},
        "precision": precision,
        "verdict": ended,
        "steps": progress.step,
        "validation_loss_before": progress.first_loss,
        "best_step": progress.best_step,
        "best_validation_loss": progress.best_loss,
        "tokens": progress.tokens,
        "tokens_computed": progress.computed,
        "seconds": round(progress.seconds, 1),
    }


def _speed(progress: Progress, per_token: float, accelerator: Accelerator) -> dict[str, Any]:
    """Tokens a second, and on a known GPU the share of its arithmetic that was used."""
    seconds = max(progress.seconds, 1e-9)
    told: dict[str, Any] = {"tokens_per_second": round(progress.tokens / seconds, 1)}
    if accelerator.device.type == "cuda":
        peak = flops.peak_flops(torch.cuda.get_device_name())
        if peak:
            used = progress.computed / seconds * per_token
            told["mfu"] = round(used / peak / accelerator.num_processes, 4)
    return told


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file in one go."""
    folders.write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
