"""The command line of fine-tuning. What a command needs is imported inside it.

Every error that is raised on purpose ends here as a sentence on stderr and exit code 2.
"""
# ruff: noqa: PLC0415

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finetune import evaluation_commands
from finetune.commands import friendly, spinner
from npcserver.commands import examples

if TYPE_CHECKING:
    from finetune.config import Recipe
    from finetune.dataset import Split


class Method(StrEnum):
    """What is trained."""

    lora = "lora"
    full = "full"


class Precision(StrEnum):
    """How weights are computed."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class Part(StrEnum):
    """A part of a data set."""

    train = "train"
    dev = "dev"
    test = "test"
    unseen = "unseen"


app = typer.Typer(
    name="finetune",
    help="From raw dialogue to a served character, with proof: prepare, train, evaluate, export.",
    epilog=examples(
        "finetune prepare scenes --out data/mine",
        "finetune train --data data/mine --out runs/first",
        "npcserver serve --adapter runs/first/best",
    ),
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataFolder = Annotated[Path, typer.Argument(help="Folder made by `finetune prepare`.")]


@app.callback()
def main() -> None:
    """What comes before every command."""


@app.command(
    epilog=examples(
        "finetune prepare scenes --out data/mine",
        "finetune prepare scenes light:data/light talk.jsonl --out data/mine --unseen 0.1",
        "finetune prepare journal:journal.db --scenes scenes --out data/played",
    )
)
def prepare(
    sources: Annotated[
        list[str],
        typer.Argument(help="Files and folders; `format:path` where the look does not tell."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; replaced if it is a data set.")],
    scenes: Annotated[Path, typer.Option(help="Scenes of journals and preferences.")] = Path(
        "scenes"
    ),
    dev: Annotated[float, typer.Option(min=0, max=0.5, help="Share to validate with.")] = 0.05,
    test: Annotated[float, typer.Option(min=0, max=0.5, help="Share to measure with.")] = 0.05,
    unseen: Annotated[float, typer.Option(min=0, max=0.5, help="Share of characters.")] = 0.0,
    hold_out: Annotated[
        list[str] | None, typer.Option(help="Id of a character that is unseen too; repeatable.")
    ] = None,
    copies: Annotated[
        int, typer.Option(min=0, max=20, help="Changed copies of what is trained on.")
    ] = 0,
    longest_reply: Annotated[int, typer.Option(min=1, help="Characters of a reply.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every draw.")] = 0,
) -> None:
    """Read dialogue, clean it, split it without leakage, and say what is in it.

    Formats: scene, chat, sharegpt, csv, card, light, persona_chat, cpdc, kdconv, journal,
    preference. What is wrong is told as [bold]file:line[/bold] and nothing is written; what is left
    out is counted by reason. Look at [bold]index.html[/bold] in the folder.
    """
    with friendly():
        from finetune.cleaning import Bounds
        from finetune.formats import registry
        from finetune.prepare import Options
        from finetune.prepare import prepare as run
        from finetune.split import Shares

        found = [source for given in sources for source in registry.sources(given)]
        shares = Shares(dev, test, unseen, hold_out or [])
        options = Options(scenes, Bounds(reply=longest_reply), shares, copies, seed)
        with spinner() as tell:
            data = run(found, out, options, tell)
        for part, records in data.splits.items():
            print(f"{part:7}{len(records):7} replies")
        for reason, count in data.about["dropped"].items():
            print(f"left out {count:5}: {reason}")
        print(out / "index.html")


@app.command(epilog=examples("finetune view data/mine", "finetune view data/mine --html see.html"))
def view(
    data: DataFolder,
    model: Annotated[str, typer.Option(help="Model whose tokens are shown.")] = "embedded",
    part: Annotated[Part, typer.Option(help="Part of the data.")] = Part.train,
    number: Annotated[int, typer.Option(min=1, help="How many examples.")] = 3,
    skip: Annotated[int, typer.Option(min=0, help="Examples to pass over.")] = 0,
    config: Annotated[Path | None, typer.Option(help="Recipe; else the usual settings.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page instead.")] = None,
) -> None:
    """Show examples as the model reads them: which tokens are trained, as what, how strongly."""
    with friendly():
        from itertools import islice

        from rich.console import Console

        from finetune import base, dataset
        from finetune import config as recipes
        from finetune.examples import Staging, conversations
        from finetune.pages import view as pages

        recipe = recipes.load(config, {"data": data, "out": Path(), "model": model})
        loaded, start = dataset.load(data), base.find(recipe.model)
        recipe = recipe.settled(loaded.longest_history)
        tokenizer = start.tokenizer()
        staging = Staging(loaded.stages.values(), recipe.shape, start.template, tokenizer)
        split: Split = part.value
        every = (
            example
            for records in conversations(loaded.splits[split])
            for example in staging.examples(records, recipe.longest)[0]
        )
        shown = list(islice(every, skip, skip + number))
        if html is not None:
            html.write_text(pages.page(shown, tokenizer, recipe.weights), encoding="utf-8")
            print(html)
            return
        for example in shown:
            Console().print(pages.terminal(example, tokenizer, recipe.weights))


@app.command(
    epilog=examples(
        "finetune train --data data/mine --out runs/first",
        "finetune train --config recipe.yaml --set optimizer.learning_rate=1e-4",
        "accelerate launch --num_processes 2 -m finetune train --config recipe.yaml",
    )
)
def train(
    config: Annotated[Path | None, typer.Option(help="Recipe (YAML).")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder made by `finetune prepare`.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    model: Annotated[str | None, typer.Option(help="Model to start from.")] = None,
    method: Annotated[Method | None, typer.Option(help="An adapter, or all weights.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Times through the data, at most.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps, at most.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    rank: Annotated[int | None, typer.Option(help="Rank of the adapter.")] = None,
    rows: Annotated[int | None, typer.Option(help="Rows in a step, over all devices.")] = None,
    row_tokens: Annotated[int | None, typer.Option(help="Tokens computed at once.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="auto: bf16 on a GPU.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting of the recipe, `name=value`.")
    ] = None,
    preference: Annotated[
        bool, typer.Option("--preference", help="Learn from pairs of liked and disliked replies.")
    ] = False,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave a GPU alone.")] = False,
) -> None:
    """Train an adapter, or a whole model; run it again to go on after a kill.

    Settings come from the recipe, then these flags, then --set; docs/finetune.md lists them all.
    The best model so far is in [bold]best[/bold] in the run's folder, its curves in
    [bold]curves.png[/bold] and [bold]index.html[/bold].
    """
    with friendly():
        from finetune import config as recipes
        from finetune.terminal import Watch
        from finetune.tune import tune

        flags: dict[str, Any] = {
            "data": data,
            "out": out,
            "model": model,
            "method": method and method.value,
            "epochs": epochs,
            "max_steps": max_steps,
            "optimizer.learning_rate": learning_rate,
            "lora.rank": rank,
            "rows": rows,
            "row_tokens": row_tokens,
            "precision": precision and precision.value,
            "seed": seed,
        }
        recipe = recipes.load(config, flags, recipes.assignments(settings or []))
        if preference:
            _train_preference(recipe, cpu)
            return
        with Watch() as watch:
            outcome = tune(recipe, watch.tell, watch.prepare, cpu=cpu)
        watch.finish(outcome)


def _train_preference(recipe: "Recipe", cpu: bool) -> None:
    from finetune.preference import tune_preference
    from finetune.tune import BEST

    with spinner() as tell:
        got = tune_preference(
            recipe, lambda step, of, loss: tell(f"loss {loss:.3f}, step of {of}", step), cpu=cpu
        )
    print(f"{got.pairs} pairs")
    if got.accuracy is not None:
        print(f"of the pairs held back, {got.accuracy:.0%} went the way people liked")
    print(got.folder / BEST)


@app.command(epilog=examples("finetune export runs/first --out models/first"))
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path, typer.Option(help="Folder of the model; made.")],
) -> None:
    """Merge a run's best adapter into its base, and write every form people ask for.

    transformers' safetensors, a GGUF file, and the form that [bold]npcserver serve --model[/bold]
    loads; with the size and loss of each beside the unmerged model's, and the speed of the last.
    """
    with friendly():
        from rich.console import Console
        from rich.table import Table

        from finetune.export import export as run_export

        with spinner() as tell:
            forms = run_export(run, out, lambda step: tell(step, ""))
        table = Table("form", "MB", "loss", "change", "tokens/s, 1 and 8 at once", box=None)
        for form in forms:
            speeds = form.tokens_per_second
            spoken = f"{speeds[0]:.0f}, {speeds[1]:.0f}" if speeds else ""
            change = f"{form.loss - forms[0].loss:+.4f}"
            table.add_row(form.name, f"{form.megabytes:.1f}", f"{form.loss:.4f}", change, spoken)
        Console().print(table)
        print(out)


@app.command(
    epilog=examples(
        "finetune scratch stories.txt --out models/tiny",
        "finetune scratch elvish/*.txt --out models/elvish --vocabulary 8000 --steps 5000",
    )
)
def scratch(
    corpus: Annotated[list[Path], typer.Argument(help="Text files (UTF-8).")],
    out: Annotated[Path, typer.Option(help="Folder of the model; made.")],
    vocabulary: Annotated[int, typer.Option(min=300, help="Tokens.")] = 2000,
    layers: Annotated[int, typer.Option(min=1, help="Layers.")] = 4,
    width: Annotated[int, typer.Option(min=32, help="Width; a multiple of 32.")] = 128,
    context: Annotated[int, typer.Option(min=64, help="Longest prompt, in tokens.")] = 2048,
    steps: Annotated[int, typer.Option(min=0, help="Training steps on the text itself.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every draw.")] = 0,
) -> None:
    """Make a small model and its tokenizer from nothing but text, for a language of your own."""
    with friendly():
        from finetune import scratch as small

        with spinner() as tell:
            small.build(
                corpus,
                out,
                vocabulary=vocabulary,
                layers=layers,
                width=width,
                context=context,
                steps=steps,
                seed=seed,
                progress=lambda step, loss: tell(f"loss {loss:.2f}, step of {steps}", step),
            )
        print(out)


app.command(epilog=evaluation_commands.EVALUATE)(evaluation_commands.evaluate)
app.command(epilog=evaluation_commands.COMPARE)(evaluation_commands.compare)
app.command(epilog=evaluation_commands.AGREEMENT)(evaluation_commands.agreement)


@app.command(hidden=True)
def docs(
    out: Annotated[Path, typer.Option(help="The project's docs folder.")] = Path("docs"),
) -> None:
    """Bring the generated tables of docs/ up to date."""
    with friendly():
        from finetune import reference

        for path in reference.write(out):
            print(path)
