"""What the documents show works, and says what the code says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from npcserver import cli, reference
from npcserver.config import Settings, load
from npcserver.library import load_scenes
from npcserver.protocol import CLIENT_MESSAGES, SERVER_MESSAGES, types
from tests.server import serving

ROOT = Path(__file__).parent.parent
READMES = ["README.md", "README.zh-CN.md"]
PAGES = [*READMES, "CHANGELOG.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every npcserver command line that a page shows."""
    lines = (line for page in PAGES for block in blocks(page, "bash") for line in block.split("\n"))
    return sorted({line for line in lines if line.startswith(".venv/bin/npcserver ")})


@pytest.mark.parametrize("name", reference.pages())
def test_the_tables_say_what_the_models_say(name: str) -> None:
    page = text(f"docs/{name}")
    assert reference.updated(page, reference.pages()[name]) == page, "run: make docs"


def test_every_setting_and_message_has_its_entry() -> None:
    table = reference.settings_table()
    for name, field in Settings.model_fields.items():
        assert f"| `{name}` | `NPCSERVER_{name.upper()}` |" in table
        assert field.description
    tables = reference.protocol_tables()
    for name in [*types(CLIENT_MESSAGES), *types(SERVER_MESSAGES)]:
        assert f"### `{name}`" in tables


@pytest.mark.parametrize("page", READMES)
def test_the_client_in_the_readme_talks(page: str, tmp_path: Path) -> None:
    (client,) = blocks(page, "python")
    assert "npcserver" not in client, "it needs no package of ours"
    with serving(tmp_path, scenes=ROOT / "scenes") as address:
        script = client.replace("127.0.0.1:8000", address)
        assert script != client
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
        )
    assert "'turn.emotion'" in run.stdout
    assert "'turn.text'" in run.stdout


@pytest.mark.parametrize("page", READMES)
def test_the_scene_in_the_readme_loads(page: str, tmp_path: Path) -> None:
    for block in blocks(page, "yaml"):
        name = block.split("\n", 1)[0].removeprefix("# ")
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block, encoding="utf-8")
    assert list(load_scenes(tmp_path / "my_scenes")) == ["lighthouse"]
    told = CliRunner().invoke(cli.app, ["scenes", "check", str(tmp_path / "my_scenes")])
    assert told.exit_code == 0
    assert told.output.startswith("lighthouse: The lighthouse (en): 1 characters")


def test_the_settings_file_in_the_docs_is_one(tmp_path: Path) -> None:
    (block,) = blocks("docs/settings.md", "toml")
    path = tmp_path / "npcserver.toml"
    path.write_text(block, encoding="utf-8")
    assert load({}, path).port == 9000


def test_both_readmes_show_the_same_code() -> None:
    one, other = (re.findall(r"```(?:python|yaml)\n.*?```", text(p), re.DOTALL) for p in READMES)
    assert one == other
    assert len(re.findall("^## ", text(READMES[0]), re.MULTILINE)) == len(
        re.findall("^## ", text(READMES[1]), re.MULTILINE)
    )


@pytest.mark.parametrize("line", commands())
def test_the_commands_shown_exist(line: str) -> None:
    command = typer.main.get_command(cli.app)
    arguments = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    command.make_context("npcserver", arguments)  # raises for an option there is not


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text(page)):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


def test_constraints_fit_every_machine() -> None:
    for line in text("constraints.txt").splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line
