"""docs/finetune.md: its finetune commands run, with a model small enough for a test."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from finetune import cli, reference
from finetune.config import Recipe, load
from finetune.formats.registry import FORMATS, PLAYED, READERS
from npcserver.reference import updated
from tests import tiny
from tests.test_tune import fresh  # noqa: F401 - a fixture

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / reference.PAGE


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every finetune command line of the page, in order."""
    lines = (line for block in blocks("bash") for line in block.splitlines())
    return [line for line in lines if line.startswith(".venv/bin/finetune ")]


def shown() -> list[str]:
    """Those of every page."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    lines = (line for page in pages for line in page.read_text(encoding="utf-8").splitlines())
    return sorted({line for line in lines if line.startswith(".venv/bin/finetune ")})


def test_the_table_says_what_a_recipe_may_hold() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert updated(page, reference.recipe_table()) == page, "run: make docs"
    for name, field in Recipe.model_fields.items():
        assert f"| `{name}`" in page or f"| `{name}." in page
        assert field.description or f"| `{name}." in page


def test_the_table_says_what_is_measured() -> None:
    page = (ROOT / "docs" / reference.MEASURES_PAGE).read_text(encoding="utf-8")
    assert updated(page, reference.measures_table()) == page, "run: make docs"


def test_every_format_is_told_on_the_page_and_in_the_help() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert {name for name in FORMATS if f"| `{name}` |" not in page} == set()
    told = (cli.prepare.__doc__ or "").split("Formats: ")[1].split(". ")[0]
    assert [name.strip() for name in told.split(",")] == [*READERS, *PLAYED]


@pytest.mark.parametrize("line", shown())
def test_the_commands_shown_exist(line: str) -> None:
    command = typer.main.get_command(cli.app)
    name, *arguments = shlex.split(line)[1:]
    command.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


def test_the_walk_runs_from_lines_to_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty folder, with the test scene as one's own and a tiny model for the embedded."""
    monkeypatch.chdir(tmp_path)
    tiny.scene(tmp_path / "scenes")
    (line,) = blocks("json")
    (tmp_path / "scenes" / "quay" / "dialogues" / "mine.jsonl").write_text(line)
    message = [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Aye."}]
    (tmp_path / "talk.jsonl").write_text(json.dumps({"messages": message}))
    corpus = "\n".join(path.read_text() for path in sorted(tmp_path.rglob("*.yaml")))
    (tmp_path / "stories.txt").write_text(corpus)
    (tmp_path / "recipe.yaml").write_text(blocks("yaml")[0])
    for command in commands():
        arguments = shlex.split(command)[1:]
        if "journal:journal.db" in arguments or "--preference" in arguments:
            continue  # played in tests/test_preference.py
        if arguments[0] == "scratch":
            arguments += ["--vocabulary", "450", "--layers", "2", "--width", "64", "--steps", "5"]
        elif arguments[0] in ("train", "view"):
            arguments += [] if "--model" in arguments else ["--model", str(made(tmp_path))]
            arguments += ["--max-steps", "2", "--cpu"] if arguments[0] == "train" else []
        done = CliRunner().invoke(cli.app, arguments)
        assert done.exit_code == 0, f"{command}\n{done.output}"
    assert (tmp_path / "models" / "first" / "openvino_model.xml").exists()
    assert (tmp_path / "runs" / "first" / "index.html").exists()
    assert (tmp_path / "data" / "more" / "index.html").exists()


def made(folder: Path) -> Path:
    """The tiny model, made once."""
    return folder / "tiny" if (folder / "tiny").exists() else tiny.model(folder, folder / "scenes")


def test_the_recipe_shown_is_one(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(blocks("yaml")[0])
    recipe = load(path, {})
    assert recipe.lora.rank == 32
    assert recipe.optimizer.learning_rate == 2e-4


def run_python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_help_imports_no_torch() -> None:
    done = run_python("import sys; import finetune.cli; print('torch' in sys.modules)")
    assert done.stdout == "False\n"


def test_without_the_extra_it_says_what_to_install() -> None:
    script = "import sys; sys.modules['torch'] = None; from finetune.cli import app; app()"
    command = script.replace("app()", "app(['train', '--data', 'd', '--out', 'o'])")
    done = run_python(command)
    assert done.returncode == 2, done.stderr
    assert "pip install 'npcserver[finetune]'" in done.stderr
