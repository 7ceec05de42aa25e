"""How fast training is, against TRL's SFTTrainer on the same examples in the same call.

    python benchmarks/train.py --data data/mine --out benchmarks/results/train.json
    python benchmarks/train.py --data data/mine --out … --methods full lora --row-tokens 16384

A machine without the model needs its shape and tokenizer only; weights drawn anew are as fast:

    python benchmarks/train.py --data data/mine --out … --shell models/shell
    python benchmarks/train.py --data data/mine --out … --model models/shell

In turns, and several times over, each trainer makes the same number of optimiser steps on
the same sequences: same base model, adapter, precision, learning rate, trained tokens, and as many
examples a step. What is told is the ratio of tokens a second, where a token is one of a sequence,
however a trainer packs or pads it. Loading is not timed. On a known GPU it adds the share of the
bf16 arithmetic that is used (MFU), counted from the tokens really computed.
"""

import argparse
import gc
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Dataset as Table
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer

from finetune import base, dataset, flops, provenance
from finetune.config import Recipe, load
from finetune.examples import Example
from finetune.train import Event, Run, Stepped, lay_out
from finetune.tune import adapter_config, load_model, make_examples, precision_of


class Drawn(base.Base):
    """A model of which only the shape and the tokenizer are there."""

    def load(self, dtype: torch.dtype, attention: str = "sdpa") -> Any:
        """Weights, drawn anew."""
        torch.manual_seed(0)
        config = AutoConfig.from_pretrained(self.folder)
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)


def find(name: str) -> base.Base:
    """The model of that name, or one drawn in the shape that a folder holds."""
    folder = Path(name)
    if (folder / "config.json").exists() and not any(folder.glob("*.safetensors")):
        facts = json.loads((folder / "model.json").read_text())
        return Drawn(name, folder, "drawn", facts)
    return base.find(name)


def write_shell(name: str, folder: Path) -> None:
    """Write a model's shape and tokenizer, some megabytes, without its weights."""
    start = base.find(name)
    start.load(torch.float32).config.save_pretrained(folder)
    start.save_tokenizer(folder)
    (folder / "model.json").write_text(json.dumps(start.facts))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the pairs, print a table, write the figures."""
    options = _options(arguments)
    if options.shell:
        write_shell(options.model, options.shell)
        return
    results = []
    for method in options.methods:
        recipe = _recipe(options, method)
        data, start = dataset.load(recipe.data), find(recipe.model)
        recipe = recipe.settled(data.longest_history)
        made, _ = make_examples(recipe, data, start, ("train",), lambda done, of: None)
        examples = made["train"][: options.examples]
        results.append(_pairs(recipe, start, examples, options))
        print(json.dumps(results[-1], indent=2))
    told = {
        "revision": provenance.revision(),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "data": data.sha256,
        "results": results,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(told, indent=2) + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--methods", nargs="+", default=["lora"], choices=["lora", "full"])
    parser.add_argument("--examples", type=int, default=64, help="sequences of a turn")
    parser.add_argument("--step", type=int, default=16, help="sequences of an optimiser step")
    parser.add_argument("--batch", type=int, default=4, help="sequences TRL computes at once")
    parser.add_argument("--row-tokens", type=int, default=2048)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--shell", type=Path, help="write shape and tokenizer there, and end")
    return parser.parse_args(arguments)


def _recipe(options: argparse.Namespace, method: str) -> Recipe:
    return load(
        None,
        {
            "data": options.data,
            "out": Path("unused"),
            "model": options.model,
            "method": method,
            "row_tokens": options.row_tokens,
            "precision": options.precision,
            "epochs": 1,
        },
    )


def _pairs(
    recipe: Recipe, start: base.Base, examples: Sequence[Example], options: argparse.Namespace
) -> dict[str, Any]:
    tokens = sum(len(example.ids) for example in examples)
    trainers: dict[str, Callable[..., dict[str, float]]] = {
        "packed": lambda: _ours(recipe, start, examples, options),
        "alone": lambda: _ours(
            recipe.model_copy(update={"packing": False}), start, examples, options
        ),
        "trl": lambda: _trl(recipe, start, examples, options),
    }
    rates: dict[str, list[float]] = {name: [] for name in trainers}
    mfu: dict[str, float] = {}
    for _ in range(options.pairs):
        for name, train in trainers.items():
            got = train()
            rates[name].append(tokens / got["seconds"])
            if "mfu" in got:
                mfu[name] = got["mfu"]
            gc.collect()
            torch.cuda.empty_cache()
    return {
        "method": recipe.method,
        "precision": precision_of(recipe, options.cpu),
        "examples": len(examples),
        "tokens": tokens,
        "trained_tokens": sum(slot is not None for each in examples for slot in each.slots),
        "tokens_per_second": {
            name: [round(rate, 1) for rate in got] for name, got in rates.items()
        },
        "ratio_to_trl": {
            name: _ratio(rates[name], rates["trl"]) for name in trainers if name != "trl"
        },
        "mfu": mfu,
    }


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Pair by pair: the smallest, the median and the largest."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "min": round(min(pairs), 3),
        "median": round(statistics.median(pairs), 3),
        "max": round(max(pairs), 3),
    }


def _ours(
    recipe: Recipe, start: base.Base, examples: Sequence[Example], options: argparse.Namespace
) -> dict[str, float]:
    """One epoch, in as many steps as the other trainer makes."""
    steps = max(1, len(examples) // options.step)
    precision = precision_of(recipe, options.cpu)
    mixed = {"fp32": "no", "bf16": "bf16"}[precision]
    accelerator = Accelerator(mixed_precision=mixed, cpu=options.cpu)
    model = load_model(recipe, start, precision)
    longest = recipe.row_tokens if recipe.packing else max(len(each.ids) for each in examples)
    per_token = flops.flops_per_token(model, longest, recipe.method == "full")
    stepped: list[Stepped] = []

    def tell(event: Event) -> None:
        if isinstance(event, Stepped):
            stepped.append(event)

    with tempfile.TemporaryDirectory() as scratch:
        count = len(lay_out(recipe, examples, 1))
        changed = {"out": Path(scratch), "rows": math.ceil(count / steps)}
        sized = recipe.model_copy(update=changed)
        run = Run(sized, accelerator, model, examples, examples[:1], _keep_nothing, tell)
        run.train()
    seconds = sum(each.seconds for each in stepped)
    return {"seconds": seconds} | _mfu(sum(each.computed for each in stepped) * per_token, seconds)


def _keep_nothing(model: torch.nn.Module) -> None:
    """A benchmark keeps no model."""


def _mfu(operations: float, seconds: float) -> dict[str, float]:
    if not torch.cuda.is_available():
        return {}
    peak = flops.peak_flops(torch.cuda.get_device_name())
    return {"mfu": round(operations / seconds / peak, 4)} if peak else {}


class _Clock(TrainerCallback):
    """Times the steps alone."""

    def on_train_begin(self, *args: Any, **rest: Any) -> None:
        """Training begins."""
        self.begun = time.perf_counter()

    def on_train_end(self, *args: Any, **rest: Any) -> None:
        """Training ends."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.begun


def _trl(
    recipe: Recipe, start: base.Base, examples: Sequence[Example], options: argparse.Namespace
) -> dict[str, float]:
    precision = precision_of(recipe, options.cpu)
    half = precision == "bf16" and recipe.method == "lora"
    clock = _Clock()
    wanted = recipe.optimizer
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            model=start.load(torch.bfloat16 if half else torch.float32),
            args=SFTConfig(
                output_dir=scratch,
                per_device_train_batch_size=options.batch,
                gradient_accumulation_steps=max(1, options.step // options.batch),
                num_train_epochs=1,
                learning_rate=wanted.learning_rate,
                max_length=None,
                bf16=precision == "bf16",
                gradient_checkpointing=recipe.checkpointing,
                logging_steps=1000,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=options.cpu,
            ),
            train_dataset=Table.from_list([_labelled(example) for example in examples]),
            processing_class=start.transformers_tokenizer(),
            peft_config=adapter_config(recipe.lora) if recipe.method == "lora" else None,
            callbacks=[clock],
        )
        trainer.train()
    return {"seconds": clock.seconds}


def _labelled(example: Example) -> dict[str, list[int]]:
    labels = [
        -100 if slot is None else token
        for token, slot in zip(example.ids, example.slots, strict=True)
    ]
    return {"input_ids": example.ids, "labels": labels}


if __name__ == "__main__":
    main()
