"""A run → a model the server loads, in several forms, each measured against the unmerged model.

model.safetensors, config.json, tokenizer files
                the adapter merged into the weights, as transformers loads it
model-q8_0.gguf the same in one file of 8-bit weights
openvino_*.xml  what `npcserver serve --model FOLDER` loads
model.json      what the server must know
export.json     size, speed and loss of each form against the unmerged model
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from finetune import base, dataset, folders, provenance
from finetune.base import Base
from finetune.config import Recipe
from finetune.errors import RunError
from finetune.examples import Example
from finetune.objective import Tally, row_loss
from finetune.rows import make_row, packed
from finetune.served import Served
from finetune.tune import BEST, RUN, make_examples, write_json
from npcserver.engines.gguf_form import write_gguf
from npcserver.engines.openvino_form import write_openvino

REPORT = "export.json"
GGUF = "model-q8_0.gguf"
MEASURED = 100
"""Validation examples that each form is measured on."""
MERGED_WITHIN = 1e-3
"""The merged weights may differ in loss by rounding only, in nats a token; more is a fault."""
SPOKEN_TOKENS = 64

Tell = Callable[[str], None]
"""Told the step under way."""


@dataclass(frozen=True)
class Form:
    """One form of the model.

    Args:
        loss: on validation examples, in nats a token.
        tokens_per_second: it speaks, to one listener and to eight at once; where it was measured.
    """

    name: str
    megabytes: float
    loss: float
    tokens_per_second: tuple[float, float] | None = None


def export(run: Path, out: Path, tell: Tell = lambda step: None) -> list[Form]:
    """Write a run's best model to `out` in every form, and say what became of it.

    Raises:
        RunError: the run has no model yet, `out` is taken, or the merged weights are not the same
            model. The loss of the 8-bit forms is told, not judged.
    """
    recipe, start = read_run(run)
    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out} is not empty; name another --out")
    tell("reading the data")
    data = dataset.load(recipe.data)
    made, _ = make_examples(recipe, data, start, ("dev",), lambda done, of: None)
    examples = made["dev"][:MEASURED]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        built = Path(scratch) / "built"
        forms = _build(run, built, recipe, start, examples, tell)
        write_json(built / REPORT, _report(run, forms, len(examples)))
        shutil.rmtree(out, ignore_errors=True)
        built.rename(out)
    return forms


def read_run(run: Path) -> tuple[Recipe, Base]:
    """A run's recipe, and the model it started from.

    Raises:
        RunError: it is none, has no model yet, or the model it started from is another now.
    """
    about, kept = run / RUN, folders.standing(run / BEST) / "model.json"
    if not about.exists() or not kept.exists():
        raise RunError(f"{run}: holds no run with a model; name the --out of finetune train")
    recipe = Recipe.model_validate(json.loads(about.read_text(encoding="utf-8"))["recipe"])
    start = base.find(recipe.model)
    told = json.loads(kept.read_text(encoding="utf-8"))["base"]["sha256"]
    if told != start.sha256:
        raise RunError(
            f"{run}: was trained from weights with the digest {told[:12]}…; "
            f"{recipe.model} now has {start.sha256[:12]}…"
        )
    return recipe, start


def _build(
    run: Path, built: Path, recipe: Recipe, start: Base, examples: Sequence[Example], tell: Tell
) -> list[Form]:
    tell("merging")
    best, forms = folders.standing(run / BEST), []
    if recipe.method == "lora":
        adapted = PeftModel.from_pretrained(start.load(torch.float32), best)
        forms.append(Form("adapter", size(best), loss(adapted, examples, recipe)))
        model = adapted.merge_and_unload()
    else:
        model = base.find(str(best)).load(torch.float32)
    merged = loss(model, examples, recipe)
    model.save_pretrained(built)
    start.save_tokenizer(built)
    shutil.copy(best / "model.json", built / "model.json")
    forms.append(Form("safetensors", size(built), merged))
    if abs(forms[0].loss - merged) > MERGED_WITHIN:
        raise RunError(
            f"the merged model has a loss of {merged:.4f}, the unmerged {forms[0].loss:.4f}; "
            "it is another model"
        )
    tell("writing GGUF")
    write_gguf(built, built / GGUF, "Q8_0")
    forms.append(
        Form("gguf", (built / GGUF).stat().st_size / 1e6, gguf_loss(built, examples, recipe))
    )
    tell("writing OpenVINO's form")
    write_openvino(built, built.with_name("served"))
    for path in built.with_name("served").iterdir():
        path.replace(built / path.name)
    tell("measuring what is served")
    served = Served(built)
    prompt = examples[0].ids[: _read_before(examples[0])]
    speeds = tuple(served.speed(prompt, SPOKEN_TOKENS, streams) for streams in (1, 8))
    forms.append(
        Form(
            "openvino",
            sum(path.stat().st_size for path in built.glob("openvino_*")) / 1e6,
            served.loss(examples, recipe.weights),
            (speeds[0], speeds[1]),
        )
    )
    return forms


def _read_before(example: Example) -> int:
    """How many tokens are read before the first that is trained."""
    return next(at for at, slot in enumerate(example.slots) if slot is not None)


@torch.no_grad()
def loss(model: Any, examples: Sequence[Example], recipe: Recipe) -> float:
    """A model's mean loss on examples, in nats a token."""
    model.eval()
    tally = Tally()
    for forest in packed(examples, recipe.row_tokens, seed=0):
        row = make_row(forest, recipe.weights)
        tally.add(row, row_loss(model, row))
    return tally.loss


def gguf_loss(built: Path, examples: Sequence[Example], recipe: Recipe) -> float:
    """The loss of the GGUF file, read back."""
    model = AutoModelForCausalLM.from_pretrained(built, gguf_file=GGUF, dtype=torch.float32)
    return loss(model, examples, recipe)


def size(folder: Path) -> float:
    """Megabytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e6


def _report(run: Path, forms: Sequence[Form], measured: int) -> dict[str, Any]:
    first = forms[0]
    return {
        "run": run.name,
        "revision": provenance.revision(),
        "machine": provenance.machine(),
        "validation_examples": measured,
        "forms": [
            {
                "name": form.name,
                "megabytes": round(form.megabytes, 1),
                "loss": round(form.loss, 5),
                "loss_change": round(form.loss - first.loss, 5),
                "tokens_per_second": form.tokens_per_second
                and [round(speed, 1) for speed in form.tokens_per_second],
            }
            for form in forms
        ],
    }
