"""`npcserver scenes`: check scenes, describe their files, play their scenarios."""
# ruff: noqa: PLC0415

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npcserver.commands import FAILED, EngineName, examples, friendly
from npcserver.errors import SceneError

if TYPE_CHECKING:
    from npcserver.config import Settings
    from npcserver.judging import Judge
    from npcserver.library import LoadedScene
    from npcserver.rehearsal import Stage
    from npcserver.scenarios import LoadedScenario
    from npcserver.trial import Played

app = typer.Typer(help="Check scenes, play their scenarios, and describe their files to editors.")

SceneFolder = Annotated[
    Path, typer.Argument(help="Folder of scenes, or of one scene.", show_default="scenes")
]


@app.command(
    "check",
    epilog=examples("npcserver scenes check", "npcserver scenes check my/scenes/harbour"),
)
def scenes_check(folder: SceneFolder = Path("scenes")) -> None:
    """Check scenes: one line each, or every fault as [bold]file:line: field: what to do[/bold].

    The exit code is 1 when there are faults.
    """
    from npcserver import scenarios

    try:
        loaded = _load(folder)
        played = {each.id: len(scenarios.load(each)) for each in loaded}
    except SceneError as error:
        print(error.message)
        raise typer.Exit(FAILED) from None
    for each in loaded:
        scene = each.scene
        counts = {
            "characters": len(each.characters),
            "places": len(scene.places),
            "props": len(scene.props),
            "emotions": len(scene.emotions),
            "actions": len(scene.actions),
            "events": len(scene.events),
            "scenarios": played[each.id],
        }
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        print(f"{each.id}: {scene.name} ({scene.language}): {told}")


def _load(folder: Path) -> "list[LoadedScene]":
    """The scene in a folder, or all scenes below it. Raises SceneError."""
    from npcserver.library import load_scene, load_scenes

    one = (folder / "scene.yaml").exists()
    return [load_scene(folder)] if one else list(load_scenes(folder).values())


@app.command("schema", epilog=examples("npcserver scenes schema --out schemas"))
def scenes_schema(
    out: Annotated[Path, typer.Option(help="Folder to write to; it is made.")] = Path("schemas"),
) -> None:
    """Write the JSON Schemas of a scene's files, for completion and checks in an editor."""
    from npcserver.library import json_schemas

    out.mkdir(parents=True, exist_ok=True)
    for name, schema in json_schemas().items():
        path = out / name
        path.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
        print(path)


@app.command(
    "test",
    epilog=examples(
        "npcserver scenes test",
        "npcserver scenes test my/scenes/harbour --engine scripted",
        "npcserver scenes test --url http://127.0.0.1:8000 --only hollin_pass/soup",
        "npcserver scenes test --judge https://host/v1 --judge-model judge-70b",
    ),
)
def scenes_test(
    folder: SceneFolder = Path("scenes"),
    only: Annotated[
        list[str] | None, typer.Option(help="A scenario, as scene/name; may be given again.")
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="What plays the characters.")] = (
        EngineName.auto
    ),
    model: Annotated[str, typer.Option(help="Model by name, or a folder.")] = "embedded",
    adapter: Annotated[
        Path | None,
        typer.Option(help="Folder of a fine-tuned adapter; `none`: the model as it is."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="A running server to play on, instead of a model here.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Base URL of an OpenAI-compatible server that judges.")
    ] = None,
    judge_model: Annotated[str, typer.Option(help="The judge's model.")] = "default",
    judge_key: Annotated[
        str | None, typer.Option(envvar="NPCSERVER_JUDGE_KEY", help="The judge's key.")
    ] = None,
    transcripts: Annotated[
        bool, typer.Option("--transcripts", help="Print what was said, also where all is well.")
    ] = False,
) -> None:
    """Play the scenarios beside scenes ([bold]scenarios/*.yaml[/bold]), and say what went wrong.

    Every fault is a line [bold]file:line: what[/bold]; the exit code is 1 when there are any. The
    scene on a server must be the one in the folder, and where that server has a secret it is needed
    here too ([bold]NPCSERVER_SECRET[/bold]). docs/scenarios.md tells how to write them.
    """
    with friendly():
        from npcserver import scenarios
        from npcserver.config import load
        from npcserver.judging import RemoteJudge
        from npcserver.rehearsal import There

        loaded = _load(folder)
        found = [s for scene in loaded for s in scenarios.load(scene) if not only or s.id in only]
        if not found:
            print(f"{folder}: no scenarios here; write one to scenarios/NAME.yaml beside a scene")
            raise typer.Exit(FAILED)
        asked = RemoteJudge(judge, judge_model, judge_key) if judge else None
        if url:
            playing = _play_all(found, There(url, signer()), asked, transcripts)
        else:
            settings = load({"engine": engine.value, "model": model, "adapter": adapter})
            playing = _play_here(settings, loaded, found, asked, transcripts)
        played = asyncio.run(playing)
        failed = sum(not each.passed for each in played)
        print(f"{len(played) - failed} of {len(played)} scenarios went as expected")
        if unjudged := sum(each.unjudged for each in played):
            print(f"{unjudged} statements were not judged; name a judge with --judge")
        if failed:
            raise typer.Exit(FAILED)


def signer() -> Callable[[str], str | None]:
    """Makes a host's token for a player, where a secret is set."""
    from npcserver import tokens
    from npcserver.config import load

    secret = load({"host": "127.0.0.1"}).secret
    if secret is None:
        return lambda player: None
    key = secret.get_secret_value()
    return lambda player: tokens.issue(key, player=player, role="host", scene="*", hours=1)


async def _play_here(
    settings: "Settings",
    loaded: Sequence["LoadedScene"],
    found: Sequence["LoadedScenario"],
    judge: "Judge | None",
    transcripts: bool,
) -> "list[Played]":
    """Play scenarios with an engine of our own."""
    from npcserver.admission import Admission
    from npcserver.engines import choice
    from npcserver.lobby import rules
    from npcserver.rehearsal import Here

    chosen = choice.choose(settings, {each.id: each for each in loaded})
    await chosen.engine.start()
    try:
        history, recall = chosen.history, chosen.recall
        bounds = rules(settings, lambda: history, lambda: recall, Admission(lambda: None))
        return await _play_all(found, Here(chosen.engine, bounds), judge, transcripts)
    finally:
        await chosen.engine.close()


async def _play_all(
    found: Sequence["LoadedScenario"], stage: "Stage", judge: "Judge | None", transcripts: bool
) -> "list[Played]":
    """Play scenarios one after the other, and print what came of each."""
    from rich.console import Console

    from npcserver import trial

    done = []
    with Console(stderr=True).status("beginning") as status:
        for each in found:
            status.update(each.id)
            played = await trial.play(each, stage, judge)
            print(f"{'ok  ' if played.passed else 'FAIL'} {each.id}: {each.scenario.about}")
            for finding in played.findings:
                print(f"     {finding}")
            if transcripts or not played.passed:
                print("\n".join(f"       {line}" for line in played.transcript))
            done.append(played)
    return done
