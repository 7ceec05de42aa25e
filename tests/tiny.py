"""A tiny model and a data set for the tests of training: made in seconds, from the test scene."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from finetune import scratch
from finetune.checkpoints import read_log
from finetune.config import Recipe
from finetune.config import load as load_recipe
from finetune.formats.registry import Source
from finetune.prepare import Options, prepare
from finetune.split import Shares

# Two threads that share busy cores wait for each other longer than they compute.
torch.set_num_threads(1)

QUAY = Path(__file__).parent / "data" / "quay"
ASKED = ("boat", "tide", "rope", "fog", "bell", "herring", "net", "gull", "weather", "ferry")
FELT = ("neutral", "happy", "angry")
QUESTIONS = ("Tell me of the {}.", "What do you make of our {} these days?")
ANSWERS = {
    "ada": ("The {} is old and good.", "Our {} pays its dues, so I say nothing."),
    "bo": ("I would not trust that {}, friend.", "Sold the {} twice and kept it both times."),
}


def scene(folder: Path) -> Path:
    """The quay with forty dialogues beside it, so regular that a tiny model can learn them."""
    target = folder / "quay"
    shutil.copytree(QUAY, target)
    (target / "dialogues").mkdir()
    lines = []
    for npc, answers in ANSWERS.items():
        for number, thing in enumerate(ASKED):
            for question, answer in zip(QUESTIONS, answers, strict=True):
                turns: list[dict[str, Any]] = [
                    {"says": question.format(thing)},
                    {"reply": answer.format(thing), "emotion": FELT[number % 3]},
                ]
                if npc == "ada" and question == QUESTIONS[1]:
                    turns[1] |= {"action": "ring", "target": "bell"}
                    turns += [
                        {"says": f"Another {thing}?"},
                        {"reply": f"No other {thing} here.", "emotion": "neutral"},
                    ]
                lines.append({"npc": npc, "player": "Kit", "turns": turns})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (target / "dialogues" / "talk.jsonl").write_text(text)
    return target


def data(folder: Path) -> Path:
    """That scene as a data set."""
    out = folder / "data"
    prepare([Source(scene(folder), "scene")], out, Options(shares=Shares(0.15, 0.05)))
    return out


def model(folder: Path, scene_folder: Path) -> Path:
    """A tiny Llama and its tokenizer, weights as they were drawn."""
    corpus = folder / "corpus.txt"
    texts = [path.read_text() for path in sorted(scene_folder.rglob("*")) if path.is_file()]
    corpus.write_text("\n".join(texts))
    out = folder / "tiny"
    scratch.build(
        [corpus], out, vocabulary=500, layers=2, width=64, heads=4, kv_heads=2, context=2048
    )
    return out


def recipe(folder: Path, name: str, **changed: Any) -> Recipe:
    """A recipe for the data and model in a folder, quick enough for a test."""
    wanted = {
        "data": folder / "data",
        "model": str(folder / "tiny"),
        "out": folder / name,
        "method": "full",
        "epochs": 2,
        "rows": 2,
        "row_tokens": 512,
        "precision": "fp32",
        "optimizer.learning_rate": 6e-3,
        "lora.dropout": 0.0,
    }
    return load_recipe(None, wanted | changed)


def losses(run: Path, kind: str = "step") -> Sequence[float]:
    """The losses a run has logged."""
    return [entry["loss"] for entry in read_log(run / "log.jsonl") if entry["kind"] == kind]
