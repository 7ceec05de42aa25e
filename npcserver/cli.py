"""The command line. What a command needs is imported inside it, so that `--help` is instant.

Every error this project raises on purpose ends here as a sentence on stderr and exit code 2.
"""
# ruff: noqa: E402, PLC0415

import time

BEGUN = time.perf_counter()
"""Taken before anything slow is imported: readiness is told from here."""

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npcserver import __version__, scene_commands
from npcserver.commands import FAILED, EngineName, examples, friendly
from npcserver.errors import SettingError

if TYPE_CHECKING:
    from npcserver.app import Startup
    from npcserver.config import Settings


class Role(StrEnum):
    """What the bearer of a token may do."""

    player = "player"
    host = "host"
    admin = "admin"


app = typer.Typer(
    name="npcserver",
    help="An open server that gives the characters of a virtual scene a voice of their own.",
    epilog=examples(
        "npcserver models pull",
        "npcserver serve",
        "npcserver chat --scene hollin_pass --npc joyce",
    ),
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="Fetch models, and list those this server knows by name.")
app.add_typer(scene_commands.app, name="scenes", no_args_is_help=True)
app.add_typer(models_app, name="models", no_args_is_help=True)


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """What comes before every command."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command(
    epilog=examples(
        "npcserver serve",
        "npcserver serve --engine scripted --scenes my/scenes",
        "npcserver serve --adapter runs/harbour/best",
        "npcserver serve --engine remote --remote-url http://127.0.0.1:8080/v1",
        "NPCSERVER_SECRET=$(openssl rand -hex 32) npcserver serve --host 0.0.0.0",
    )
)
def serve(
    scenes: Annotated[Path | None, typer.Option(help="Folder of scenes.")] = None,
    model: Annotated[str | None, typer.Option(help="Model by name, or a folder.")] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(help="Folder of a fine-tuned adapter; `none`: the model as it is."),
    ] = None,
    engine: Annotated[
        EngineName | None, typer.Option(help="`scripted` needs no model: it plays example lines.")
    ] = None,
    remote_url: Annotated[
        list[str] | None,
        typer.Option(help="Base URL of a server for --engine remote; may be given again."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the journal.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).")] = None,
    pull: Annotated[
        bool, typer.Option("--pull", help="Fetch the model first, if missing.")
    ] = False,
) -> None:
    """Serve scenes to game clients, and a page to play in at [bold]/[/bold].

    Settings come from a file ([bold]npcserver.toml[/bold] here, or --config), then the environment
    ([bold]NPCSERVER_*[/bold]), then these flags; the later wins. docs/settings.md lists them all.
    """
    with friendly():
        from npcserver import models, serving
        from npcserver.config import load
        from npcserver.engines import choice

        flags = {
            "scenes": scenes,
            "model": model,
            "adapter": adapter,
            "engine": engine and engine.value,
            "remote_urls": remote_url or None,
            "host": host,
            "port": port,
            "data": data,
        }
        settings = load(flags, config)
        if pull and settings.engine not in {EngineName.scripted, EngineName.remote}:
            _pull(settings.model)
        is_new = settings.adapter is not None or settings.model not in models.KNOWN
        is_new |= choice.adapter_of(settings) is not None and models.is_here(settings.model)
        if is_new and choice.engine_of(settings) == EngineName.openvino:
            _make_ready(settings)

        def announce(url: str, startup: "Startup", ready_s: float) -> None:
            print(_welcome(settings, url, startup, ready_s), flush=True)

        serving.run(settings, announce, BEGUN)


def _make_ready(settings: "Settings") -> None:
    """Convert the model, merge the adapter, and show that it is done. Raises ModelError."""
    from rich.console import Console

    from npcserver import models
    from npcserver.engines import choice
    from npcserver.prompt import PROMPT_VERSION

    with Console(stderr=True).status("making the model ready; a new one is converted once"):
        models.resolve(settings.model, choice.adapter_of(settings), PROMPT_VERSION)


def _welcome(settings: "Settings", url: str, startup: "Startup", ready_s: float) -> str:
    """What is printed once, when the server is ready."""
    if settings.is_open:
        access = "no secret is set: this machine only, and everyone here is admin"
    else:
        access = "by token (npcserver token --help)"
    scripted = ", ".join(startup.scripted)
    by_script = [f"  by script   {scripted} (the model does not speak its language)"]
    return "\n".join(
        [
            f"npcserver {__version__} is ready: {url}",
            f"  scenes      {', '.join(startup.scenes)}",
            *(by_script if scripted else []),
            *(f"  {name:<12}{what}" for name, what in startup.details.items()),
            f"  access      {access}",
            f"  ready       {ready_s:.1f} s after the start",
            f"  first word  {startup.first_word_ms} ms after a warm-up line",
        ]
    )


@app.command(
    epilog=examples(
        "npcserver chat",
        "npcserver chat --scene hollin_pass --npc joyce --player Robin",
        'npcserver chat --npc joyce --once "Is the road open?"',
    )
)
def chat(
    url: Annotated[str, typer.Option(help="Where the server is.")] = "ws://127.0.0.1:8000",
    scene: Annotated[str | None, typer.Option(help="Scene's id; the first, if none.")] = None,
    npc: Annotated[str | None, typer.Option(help="Whom to talk to, by id.")] = None,
    player: Annotated[str | None, typer.Option(help="Your name; a guest's, if none.")] = None,
    instance: Annotated[str, typer.Option(help="Which party's copy of the scene.")] = "main",
    token: Annotated[
        str | None, typer.Option(envvar="NPCSERVER_TOKEN", help="Token, where one is needed.")
    ] = None,
    once: Annotated[
        str | None, typer.Option(help="Say one line, print the reply's words, and exit.")
    ] = None,
) -> None:
    """Talk with the characters of a running server.

    Type to speak; [bold]/whisper[/bold] TEXT, [bold]/stop[/bold], [bold]/move[/bold] PLACE and
    [bold]/quit[/bold] do what they say. With --once the exit code is 1 when no full reply came.
    """
    with friendly():
        from rich.console import Console

        from npcserver.chat import Visit, say_once, talk

        visit = Visit(url, scene, npc, player, instance, token)
        if once is None:
            asyncio.run(talk(visit, Console()))
            return
        done = asyncio.run(say_once(visit, once))
        print(done["text"])
        if done["status"] != "completed":
            why = done.get("reason") or "no reason was given"
            print(f"npcserver: the turn ended {done['status']}: {why}", file=sys.stderr)
            raise typer.Exit(FAILED)


@app.command(
    epilog=examples(
        "npcserver token --player robin --role player --scene hollin_pass --hours 8",
        "npcserver token --player backend --role host",
    )
)
def token(
    player: Annotated[str, typer.Option(help="The player's id.")],
    role: Annotated[Role, typer.Option(help="host and admin may tell the scene of events.")] = (
        Role.player
    ),
    scene: Annotated[str, typer.Option(help="A scene's id, or * for all.")] = "*",
    hours: Annotated[float, typer.Option(min=0.01, max=8784, help="How long it is good.")] = 24,
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).")] = None,
) -> None:
    """Sign a token with the server's secret ([bold]NPCSERVER_SECRET[/bold]), and print it."""
    with friendly():
        from npcserver import tokens
        from npcserver.config import load
        from npcserver.protocol import is_id

        secret = load({"host": "127.0.0.1"}, config).secret
        if secret is None:
            raise SettingError("secret: none is set; set NPCSERVER_SECRET as the server has it")
        if not is_id(player):
            raise SettingError("--player: an id is 1 to 64 letters (a to z), digits, _ . and -")
        key = secret.get_secret_value()
        print(tokens.issue(key, player=player, role=role.value, scene=scene, hours=hours))


@models_app.command("pull", epilog=examples("npcserver models pull"))
def models_pull(
    name: Annotated[str, typer.Argument(help="A model's name.")] = "embedded",
) -> None:
    """Fetch a model, check it, and make it ready to load. Does nothing when it is there already."""
    with friendly():
        from npcserver import models

        folder = _pull(name)
        if own := models.worn(name, None):  # merged now, so that the first start is a quick one
            folder = models.resolve(name, own)
        print(f"{name}: {folder}")


def _pull(name: str) -> Path:
    """Fetch a model, showing how far it is. Raises ModelError."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from npcserver import models

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=1.0)
        return models.pull(
            name, lambda step, done: bar.update(task, description=step, completed=done)
        )


@models_app.command(
    "use",
    epilog=examples(
        "npcserver models use --adapter runs/harbour/best",
        "npcserver models use --model embedded",
    ),
)
def models_use(
    adapter: Annotated[
        str | None,
        typer.Option(
            help="Folder of an adapter, on the server's machine; `none`: the model as it is."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model by name, or a folder; the one of now, if none.")
    ] = None,
    url: Annotated[str, typer.Option(help="Where the server is.")] = "http://127.0.0.1:8000",
    token: Annotated[
        str | None, typer.Option(envvar="NPCSERVER_TOKEN", help="Token of role admin.")
    ] = None,
) -> None:
    """Let a running server serve another model, or the same with another adapter or none.

    Nobody is disconnected. Returns once new lines are answered by the new model.
    """
    with friendly():
        from npcserver.operate import use_model

        told = use_model(url, token, model, adapter)
        with_adapter = f" with {told['adapter']}" if told["adapter"] else ""
        print(f"{told['model']}{with_adapter}, after {told['took_ms'] / 1000:.1f} s")


@models_app.command("list")
def models_list() -> None:
    """List the models known by name, and what was converted or merged here."""
    with friendly():
        from rich.console import Console
        from rich.table import Table

        from npcserver import inventory

        table = Table("name", "languages", "licence", "here", "about", box=None)
        for model in inventory.list_models():
            here = f"{model.size_bytes / 1e6:.0f} MB" if model.present else "no"
            table.add_row(model.name, ", ".join(model.languages), model.licence, here, model.about)
        Console().print(table)


@models_app.command("clean")
def models_clean() -> None:
    """Delete converted and merged models; each is made again. Not while a server starts."""
    with friendly():
        from npcserver import inventory

        for model in inventory.clean():
            print(f"{model.name}: {model.size_bytes / 1e6:.0f} MB, {model.about}")


@app.command(hidden=True)
def docs(
    out: Annotated[Path, typer.Option(help="The project's docs folder.")] = Path("docs"),
) -> None:
    """Bring the generated tables of docs/ up to date."""
    with friendly():
        from npcserver import reference

        for path in reference.write(out):
            print(path)
