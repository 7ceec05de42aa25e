"""The command line: what it prints, where, and with which exit code."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from npcserver import __version__, tokens
from npcserver.cli import app
from npcserver.engines.scripted import ScriptedEngine
from npcserver.errors import EngineError, ModelError
from tests.adapters import write_model
from tests.server import SCENES, serving

SECRET = "thirty-two characters, or some more"
HEAVY = ("torch", "transformers", "openvino_genai", "openvino", "numpy")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of this machine, and a wide terminal."""
    for name in [name for name in os.environ if name.startswith("NPCSERVER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NPCSERVER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NPCSERVER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("data")) as where:
        yield where


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(app, arguments, **options)


def once(address: str, line: str, *arguments: str) -> Result:
    return run("chat", "--url", f"ws://{address}", *arguments, "--once", line)


def refused(result: Result) -> str:
    """What a friendly refusal says: on stderr, with exit code 2 and without a traceback."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


# ---- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    ["", "serve", "chat", "token", "scenes check", "scenes schema", "models pull", "models use"],
)
def test_help_shows_an_example(command: str) -> None:
    told = run(*command.split(), "--help")
    assert told.exit_code == 0
    assert f"npcserver {command}".strip() in told.output.partition("Examples")[2]


def test_without_arguments_it_helps() -> None:
    assert "serve" in run().output
    assert run("--version").output == f"{__version__}\n"


def test_starting_up_imports_nothing_heavy(tmp_path: Path) -> None:
    script = "import sys, npcserver.cli, npcserver.app, npcserver.serving; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not set(HEAVY) & set(done.stdout.split())


# ---- serve --------------------------------------------------------------------------------------


def test_a_wrong_setting_is_told_in_a_sentence() -> None:
    assert "--port: " in refused(run("serve", "--port", "99999"))
    assert "no secret is set" in refused(run("serve", "--host", "0.0.0.0"))
    assert "no such file" in refused(run("serve", "--config", "missing.toml"))
    assert "no scenes here" in refused(run("serve", "--engine", "scripted", "--port", "0"))


def test_a_missing_model_says_how_to_get_it() -> None:
    told = refused(run("serve", "--scenes", str(SCENES), "--port", "0"))
    assert "npcserver models pull embedded" in told


def test_an_adapter_that_is_none_is_told(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    arguments = ["--model", str(model), "--adapter", "nowhere", "--scenes", str(SCENES)]
    assert "nowhere has no adapter_config.json" in refused(run("serve", *arguments))


def test_a_taken_port_is_told_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refused(run("serve", "--scenes", "missing", "--port", str(port)))
    assert f"port: cannot listen on 127.0.0.1:{port}" in told


def test_a_host_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPCSERVER_SECRET", SECRET)
    assert "host: cannot listen on" in refused(run("serve", "--host", "no.such.host.invalid"))


def test_an_engine_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(engine: ScriptedEngine) -> None:
        raise ModelError("the script is torn; mend it")

    monkeypatch.setattr(ScriptedEngine, "start", broken)
    told = refused(run("serve", "--engine", "scripted", "--scenes", str(SCENES), "--port", "0"))
    assert told == "npcserver: the script is torn; mend it\n"


def test_an_engine_that_fails_its_first_word_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(engine: ScriptedEngine, *arguments: Any) -> Any:
        raise EngineError("no words today")

    monkeypatch.setattr(ScriptedEngine, "generate", broken)
    told = refused(run("serve", "--engine", "scripted", "--scenes", str(SCENES), "--port", "0"))
    assert told == "npcserver: no words today\n"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_tells_when_it_is_ready_and_stops_on_a_signal(stop: signal.Signals) -> None:
    command = [sys.executable, "-c", "from npcserver.cli import app; app()", "serve", "--port=0"]
    command += ["--engine=scripted", f"--scenes={SCENES}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        told = [server.stdout.readline().decode().strip() for _ in range(5)]
        ready = re.fullmatch(
            rf"npcserver {re.escape(__version__)} is ready: http://(127\.0\.0\.1:\d+)/", told[0]
        )
        assert ready, told
        assert told[1] == "scenes      quay"
        assert "no secret is set: this machine only" in told[2]
        assert re.fullmatch(r"ready       \d+\.\d s after the start", told[3])
        assert re.fullmatch(r"first word  \d+ ms after a warm-up line", told[4])
        reply = once(ready[1], "Hello.", "--npc", "ada")
        assert reply.stdout == "Morning. Mind the rope. It bites.\n"
        server.send_signal(stop)
        assert server.stdout.read() == b""
        assert server.stderr.read() == b""
    assert server.returncode == (0 if stop == signal.SIGINT else -signal.SIGTERM)


# ---- chat ---------------------------------------------------------------------------------------


def test_once_prints_the_words_and_nothing_else(address: str) -> None:
    reply = once(address, "Hello.", "--scene", "quay", "--npc", "ada", "--instance", "once")
    assert (reply.exit_code, reply.stderr) == (0, "")
    assert reply.stdout == "Morning. Mind the rope. It bites.\n"


def test_once_goes_to_where_the_character_is(address: str) -> None:
    assert once(address, "Hello.", "--npc", "cy", "--instance", "far").exit_code == 0


def test_once_tells_why_no_reply_came(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(engine: ScriptedEngine, *arguments: Any) -> Any:
        raise EngineError("no words today")

    monkeypatch.setattr(ScriptedEngine, "generate", broken)
    failed = once(address, "Hello.", "--npc", "ada", "--instance", "broken")
    assert (failed.exit_code, failed.stdout) == (1, "\n")
    assert failed.stderr == "npcserver: the turn ended failed: no words today\n"


def test_whom_it_does_not_find(address: str) -> None:
    assert "there are ada, bo, cy" in refused(once(address, "Hello.", "--npc", "nobody"))


def test_lines_can_be_piped_in(address: str) -> None:
    told = run("chat", "--url", f"http://{address}", "--instance", "pipe", input="Hello.\n")
    assert told.exit_code == 0
    assert "Ada Finch (neutral): Morning. Mind the rope. It bites." in told.stdout


def test_a_line_that_is_refused_is_told(address: str) -> None:
    assert "prompt markup" in refused(once(address, "<|im_start|>", "--instance", "markup"))


def test_where_there_is_no_server_or_scene(address: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        assert "npcserver serve" in refused(once(nobody, "Hello."))
        assert "npcserver serve" in refused(once(nobody, "Hello.", "--scene", "quay"))
    assert "no scene 'moon'" in refused(once(address, "Hello.", "--scene", "moon"))
    assert "npcserver serve" in refused(run("chat", "--url", "what?", "--once", "Hello."))


def test_a_token_opens_the_door(tmp_path: Path) -> None:
    with serving(tmp_path, secret=SECRET) as guarded:
        assert "a token is needed" in refused(once(guarded, "Hello.", "--scene", "quay"))
        told = run("token", "--player", "kit", env={"NPCSERVER_SECRET": SECRET})
        token = told.stdout.strip()
        reply = once(guarded, "Hello.", "--scene", "quay", "--npc", "ada", "--token", token)
        assert reply.stdout == "Morning. Mind the rope. It bites.\n"


# ---- token --------------------------------------------------------------------------------------


def test_token_prints_a_token_and_nothing_else() -> None:
    arguments = ["--player", "kit", "--role", "host", "--scene", "quay", "--hours", "0.5"]
    told = run("token", *arguments, env={"NPCSERVER_SECRET": SECRET})
    assert (told.exit_code, told.stderr) == (0, "")
    claims = tokens.verify(SECRET, told.stdout.strip())
    assert (claims.sub, claims.role, claims.scene) == ("kit", "host", "quay")


def test_token_needs_a_secret_and_an_id() -> None:
    assert "NPCSERVER_SECRET" in refused(run("token", "--player", "kit"))
    wrong = run("token", "--player", "two words", env={"NPCSERVER_SECRET": SECRET})
    assert "--player: an id" in refused(wrong)
    assert run("token", "--player", "kit", "--role", "king").exit_code == 2
    assert run("token", "--player", "kit", "--hours", "nan").exit_code == 2


# ---- scenes and models --------------------------------------------------------------------------


def test_scenes_check_counts(tmp_path: Path) -> None:
    told = run("scenes", "check", str(SCENES))
    assert told.exit_code == 0
    counts = "3 characters, 2 places, 2 props, 3 emotions, 2 actions, 1 events, 0 scenarios"
    assert told.output == f"quay: The Quay (en): {counts}\n"
    assert run("scenes", "check", str(SCENES / "quay")).output == told.output


def test_scenes_check_tells_every_fault(tmp_path: Path) -> None:
    folder = tmp_path / "scenes" / "bad"
    folder.mkdir(parents=True)
    (folder / "scene.yaml").write_text("name: Bad\nlanguage: en\ncolour: red\n", encoding="utf-8")
    told = run("scenes", "check")
    assert told.exit_code == 1
    lines = told.output.splitlines()
    assert "scenes/bad/scene.yaml:3: colour: unknown key; remove it or correct its spelling" in (
        lines
    )
    assert all(re.match(r"scenes/bad/scene\.yaml:\d+: \S+: ", line) for line in lines)
    assert run("scenes", "check", "missing").exit_code == 1


def test_scenes_schema_writes_schemas(tmp_path: Path) -> None:
    told = run("scenes", "schema", "--out", "deep/schemas")
    assert told.exit_code == 0
    for line in told.output.splitlines():
        assert json.loads(Path(line).read_text(encoding="utf-8"))["type"] == "object"


def test_models_list_says_what_is_here() -> None:
    told = run("models", "list")
    assert told.exit_code == 0
    assert re.search(r"embedded +en +Apache-2\.0 +no ", told.output)


def test_an_unknown_model_is_told() -> None:
    assert "known are embedded" in refused(run("models", "pull", "enormous"))


def test_docs_are_written_where_they_are(tmp_path: Path) -> None:
    assert "no such page" in refused(run("docs", "--out", str(tmp_path)))
