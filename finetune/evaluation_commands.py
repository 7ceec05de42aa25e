"""`finetune evaluate`, `compare` and `agreement`. What a command needs is imported inside it."""
# ruff: noqa: PLC0415

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finetune.commands import friendly
from npcserver.commands import FAILED, EngineName, examples

if TYPE_CHECKING:
    from finetune.evaluate.agreement import Agreement, Judged
    from finetune.evaluate.controls import Control
    from finetune.evaluate.results import Evaluation
    from finetune.evaluate.run import Tell, Wanted
    from npcserver.config import Settings
    from npcserver.judging import Judge


class SuiteName(StrEnum):
    """What is asked."""

    reference = "reference"
    probes = "probes"
    attacks = "attacks"
    scenarios = "scenarios"
    outside = "outside"


class ControlName(StrEnum):
    """A known-better or known-worse speaker, to see what a measure can tell apart."""

    parrot = "parrot"
    reference = "reference"
    shuffled = "shuffled"
    random = "random"


class HeldPart(StrEnum):
    """A part of a data set that was kept out of training."""

    dev = "dev"
    test = "test"
    unseen = "unseen"


EVALUATE = examples(
    "finetune evaluate --out reports/embedded",
    "finetune evaluate --adapter runs/first/best --data data/mine --out reports/first",
    "finetune evaluate --url http://127.0.0.1:8000 --suite probes --out reports/live",
    "finetune evaluate --control parrot --data data/mine --out reports/parrot",
)
AGREEMENT = examples(
    "finetune agreement data/characterbench --out reports/agreement",
    "finetune agreement data/characterbench --judge https://host/v1 --out reports/big",
)
COMPARE = examples(
    "finetune compare reports/embedded reports/first --out reports/diff.html",
    "finetune compare reports/live reports/candidate --gate",
)


def evaluate(
    out: Annotated[Path, typer.Option(help="Folder of the report; run again to go on.")],
    model: Annotated[str, typer.Option(help="Model by name, or a folder.")] = "embedded",
    adapter: Annotated[
        Path | None,
        typer.Option(help="Folder of a fine-tuned adapter; `none`: the model as it is."),
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="What runs it.")] = EngineName.auto,
    remote_url: Annotated[
        list[str] | None, typer.Option(help="Base URL of a server for --engine remote.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="A running npcserver, asked as a player.")] = None,
    control: Annotated[
        ControlName | None, typer.Option(help="Ask a known-better or known-worse speaker instead.")
    ] = None,
    scenes: Annotated[Path, typer.Option(help="Folder of scenes.")] = Path("scenes"),
    scene: Annotated[list[str] | None, typer.Option(help="Only these scenes, by id.")] = None,
    suite: Annotated[list[SuiteName] | None, typer.Option(help="Only these suites.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data set with replies held out; see `prepare`.")
    ] = None,
    part: Annotated[HeldPart, typer.Option(help="Which part of it.")] = HeldPart.test,
    attacks: Annotated[
        Path | None, typer.Option(help="Folder of public attacks; docs/evaluation.md says which.")
    ] = None,
    outside: Annotated[Path | None, typer.Option(help="A file of CPDC 2025, task 1.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="Who judges: an OpenAI-compatible URL, or `served`.")
    ] = None,
    judge_model: Annotated[str, typer.Option(help="The judge's model.")] = "default",
    judge_key: Annotated[
        str | None, typer.Option(envvar="NPCSERVER_JUDGE_KEY", help="The judge's key.")
    ] = None,
    most: Annotated[
        int | None, typer.Option(min=1, help="Cases of each suite at most, drawn by the seed.")
    ] = None,
    written: Annotated[
        bool, typer.Option("--written", help="Say writers' answers too, as `serve` does.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every draw.")] = 0,
) -> None:
    """Measure how good characters are; every number with its interval and the words behind it.

    Writes [bold]results.json[/bold] and [bold]report.html[/bold]. The same subject, data and seed
    give the same results; kill it whenever you like, and the same command goes on.
    """
    with friendly():
        from finetune import dataset
        from finetune.evaluate.run import SUITES, Wanted
        from npcserver.config import load

        loaded = dataset.load(data) if data else None
        wanted = Wanted(
            _scenes(scenes, scene),
            [each.value for each in suite] if suite else SUITES,
            loaded,
            part.value,
            attacks,
            outside,
            _judge(judge, judge_model, judge_key),
            most,
            seed,
        )
        flags = {
            "engine": engine.value,
            "model": model,
            "adapter": adapter,
            "remote_urls": remote_url or None,
            "written_answers": written,
            "seed": seed,
        }
        with _bars() as tell:
            if url:
                evaluation = asyncio.run(_there(url, wanted, out, tell))
            else:
                served = judge == "served"
                work = _here(load(flags), wanted, out, tell, control, judge_served=served)
                evaluation = asyncio.run(work)
        _print(evaluation)
        print(out / "report.html")


def _scenes(folder: Path, only: list[str] | None) -> dict[str, Any]:
    from npcserver.errors import SceneError
    from npcserver.library import load_scene, load_scenes

    found = (
        {folder.name: load_scene(folder)}
        if (folder / "scene.yaml").exists()
        else load_scenes(folder)
    )
    for name in only or ():
        if name not in found:
            raise SceneError(
                f"{folder}:1: --scene: there is no {name!r}; here are {', '.join(found)}"
            )
    return {name: loaded for name, loaded in found.items() if not only or name in only}


def _judge(url: str | None, model: str, key: str | None) -> "Judge | None":
    from npcserver.judging import RemoteJudge

    return RemoteJudge(url, model, key) if url and url != "served" else None


async def _here(
    settings: "Settings",
    wanted: "Wanted",
    out: Path,
    tell: "Tell",
    control: ControlName | None,
    *,
    judge_served: bool,
) -> "Evaluation":
    from dataclasses import replace

    from finetune.evaluate.run import evaluate as run
    from finetune.evaluate.subjects import opened
    from npcserver.judging import ServedJudge

    likely = wanted.data is not None and "reference" in wanted.suites
    name: Control | None = control.value if control else None
    async with opened(settings, wanted.scenes, wanted.seed, name, likely=likely) as subject:
        if judge_served and subject.engine is not None:
            wanted = replace(wanted, judge=ServedJudge(subject.engine, "served"))
        return await run(subject, wanted, out, tell)


async def _there(url: str, wanted: "Wanted", out: Path, tell: "Tell") -> "Evaluation":
    from finetune.evaluate.run import evaluate as run
    from finetune.evaluate.subjects import there
    from npcserver.scene_commands import signer

    return await run(there(url, signer()), wanted, out, tell)


@contextmanager
def _bars() -> Iterator["Tell"]:
    """A bar for each suite, on stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:

        def tell(suite: str, done: int, of: int) -> None:
            if suite not in tasks:
                tasks[suite] = bar.add_task(suite, total=of)
            bar.update(tasks[suite], completed=done)

        yield tell


def _print(evaluation: "Evaluation") -> None:
    from rich.console import Console
    from rich.table import Table

    from finetune.pages.evaluation import figure, interval

    table = Table("suite", "measure", "better", "value", "95% interval", "cases", box=None)
    for each in evaluation.results.metrics:
        name = f"[bold]{each.name}[/bold]" if each.headline else each.name
        row = (each.suite, name, each.better, figure(each), interval(each), str(each.cases))
        table.add_row(*row)
    Console().print(table)
    for suite, why in evaluation.results.skipped.items():
        print(f"left out, {suite}: {why}")


def compare(
    first: Annotated[Path, typer.Argument(help="Folder of an evaluation.")],
    second: Annotated[Path, typer.Argument(help="Folder of another, of the same cases.")],
    out: Annotated[Path | None, typer.Option(help="Write a page.")] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Exit with 1 when a headline clearly got worse.")
    ] = False,
) -> None:
    """Say what got better and what got worse from one evaluation to another, case by case.

    A difference is clear when its 95% interval does not hold nothing; cases of one conversation
    are drawn together.
    """
    with friendly():
        from rich.console import Console
        from rich.table import Table

        from finetune.evaluate import results
        from finetune.evaluate.compare import changes, differences, failing
        from finetune.pages import comparison

        one, other = results.load(first), results.load(second)
        found = changes(one, other)
        table = Table(
            "measure", "first", "second", "difference", "95% interval", "verdict", box=None
        )
        for change in found:
            name, verdict, before, after, by, spread, _ = map(str, comparison.row(change))
            table.add_row(name, before, after, by, spread, verdict)
        Console().print(table)
        for unlike in differences(one, other):
            print(f"not asked alike, {unlike}")
        if out is not None:
            out.write_text(comparison.page(one, other, found), encoding="utf-8")
            print(out)
        if gate and (worse := failing(found)):
            print(f"worse: {', '.join(each.by.measure.name for each in worse)}")
            raise typer.Exit(FAILED)


def agreement(
    folder: Annotated[Path, typer.Argument(help="Folder of CharacterBench's *_dev.json.")],
    out: Annotated[Path, typer.Option(help="Folder to write agreement.json and agreement.md to.")],
    model: Annotated[
        str, typer.Option(help="Model by name, or a folder; `none` asks no model.")
    ] = "embedded",
    judge: Annotated[
        str, typer.Option(help="Who judges: `served`, an OpenAI-compatible URL, or `none`.")
    ] = "served",
    judge_model: Annotated[str, typer.Option(help="The judge's model.")] = "default",
    judge_key: Annotated[
        str | None, typer.Option(envvar="NPCSERVER_JUDGE_KEY", help="The judge's key.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Languages the model and the judge are asked in.")
    ] = None,
    most: Annotated[int | None, typer.Option(min=3, help="Replies of each dimension.")] = None,
) -> None:
    """Say how far our measures, and a judge, agree with what people think of characters' replies.

    The rank correlation with the human scores of CharacterBench, dimension by dimension, each with
    its 95% interval. What does not correlate is no measure of quality.
    """
    with friendly():
        import json

        from finetune import provenance
        from finetune.evaluate import agreement as agreeing

        replies = agreeing.first(agreeing.read(folder), most)
        named = _judge(judge, judge_model, judge_key) if judge != "none" else None
        with _bars() as tell:
            found, own = asyncio.run(_agree(replies, model, judge, named, language or ["en"], tell))
        out.mkdir(parents=True, exist_ok=True)
        about = {"model": Path(model).name, "judge": judge, "judge_agrees_with_itself": own}
        made = {"revision": provenance.revision(), "machine": provenance.machine()}
        told = {**about, **made, "correlations": agreeing.told(found)}
        (out / "agreement.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        tables = [
            f"### English\n\n{agreeing.table(found, 'en')}\n",
            f"### Chinese\n\n{agreeing.table(found, 'zh')}\n",
        ]
        (out / "agreement.md").write_text("\n".join(tables), encoding="utf-8")
        print("\n".join(tables))
        if own is not None:
            print(f"the judge agreed with itself in {own:.0%} of what it was asked")
        print(out / "agreement.md")


async def _agree(
    replies: "list[Judged]",
    model: str,
    judge: str,
    named: "Judge | None",
    languages: Any,
    tell: "Tell",
) -> "tuple[list[Agreement], float | None]":
    from finetune.evaluate import agreement as agreeing
    from finetune.evaluate.subjects import opened
    from npcserver.config import load
    from npcserver.judging import ServedJudge

    if model == "none":
        return await agreeing.run(replies, None, named, languages, tell)
    settings = load({"engine": "openvino", "model": model})
    async with opened(settings, {}, seed=0) as subject:
        if judge == "served" and subject.engine is not None:
            named = ServedJudge(subject.engine, "served")
        return await agreeing.run(replies, subject.likelihood, named, languages, tell)
