"""Another model is brought in, over HTTP, while players talk."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from npcserver import conversion, models, tokens
from npcserver.cli import app
from npcserver.config import Settings
from npcserver.engines import host
from npcserver.engines.base import EngineStatus, Piece, Prompt, Sampling
from npcserver.engines.scripted import ScriptedEngine
from npcserver.errors import ModelError, Rejected
from npcserver.served import Served
from tests.adapters import write_adapter, write_model
from tests.server import PATIENCE_S, client, serving
from tests.stage import QUAY

SECRET = "a secret of at least thirty-two characters"


class Fake(ScriptedEngine):
    """An engine that speaks its model's name; `Wait.` makes it wait for `go` in between."""

    made: dict[str, "Fake"] = {}  # noqa: RUF012

    def __init__(self, folder: Path, cache_gb: int, name: str | None = None) -> None:
        super().__init__({"quay": QUAY})
        self.name = name or folder.name
        self.prompts: list[Prompt] = []
        self.go = asyncio.Event()
        self.starting = asyncio.Event()
        self.may_start = asyncio.Event()
        if self.name != "slow":
            self.may_start.set()
        self.made[self.name] = self

    async def start(self) -> None:
        self.starting.set()
        self.loop = asyncio.get_running_loop()
        await self.may_start.wait()
        if self.name == "torn":
            raise ModelError("the model is torn; mend it")

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        self.prompts.append(prompt)
        yield Piece(f" This is {self.name}")
        if "Wait." in prompt.messages[-1].text:
            await self.go.wait()
        async for piece in super().generate(prompt, Sampling(max_tokens=0)):
            yield Piece(", still.", piece.usage, piece.finish)

    def release(self) -> None:
        """Let it go on, from another thread."""
        self.loop.call_soon_threadsafe(self.go.set)

    def status(self) -> EngineStatus:
        return EngineStatus("fake", self.name, ready=True, restarts=len(self.name))


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Fake]]:
    """The engines made, by model."""

    def convert(source: Path, target: Path, adapter: Path | None = None) -> Path:
        target.mkdir()
        (target / models.IR_FILE).touch()
        return target

    for name in [name for name in os.environ if name.startswith("NPCSERVER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NPCSERVER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(host, "openvino", Fake)
    monkeypatch.setattr(conversion, "convert", convert)
    monkeypatch.chdir(tmp_path)
    yield Fake.made
    Fake.made.clear()


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return write_model(tmp_path / "first")


def running(tmp_path: Path, model: Path, **settings: Any) -> Any:
    return serving(tmp_path, engine="openvino", model=str(model), **settings)


def use(address: str, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    url = f"http://{address}/v1/admin/model"
    return httpx.post(url, json=body, headers=headers, timeout=PATIENCE_S)


def told(address: str, path: str = "/v1/admin/model") -> Any:
    return httpx.get(f"http://{address}{path}").json()


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["message"]


def test_a_connection_stays_open_across_a_swap(
    tmp_path: Path, first: Path, fakes: dict[str, Fake]
) -> None:
    second = write_model(tmp_path / "second", history_lines=100)

    async def main(address: str) -> None:
        async with client(address, "kit") as kit, client(address, "lou") as lou:
            await kit.send("player.say", text="Hello.", to=["ada"])
            assert (await kit.until("turn.done"))["text"] == "This is first, still."
            await lou.send("player.move", place="shed")  # out of earshot, nobody waits for Ada

            await kit.send("player.say", text="Wait.", to=["ada"])
            await kit.until("turn.text")
            answer = await asyncio.to_thread(use, address, model=str(second))
            assert answer.status_code == 200, answer.text
            assert answer.json().keys() == {"model", "adapter", "took_ms"}
            assert answer.json()["model"] == str(second)

            await lou.send("player.say", text="Hello.", to=["cy"])
            done = await lou.until("turn.done", npc="cy")
            assert done["text"] == "This is second, still."
            fakes["first"].release()
            done = await kit.until("turn.done", npc="ada")
            assert (done["status"], done["text"]) == ("completed", "This is first, still.")

            await kit.send("player.say", text="Hello again.", to=["ada"])
            done = await kit.until("turn.done", npc="ada")
            assert done["text"] == "This is second, still."
            read = "\n".join(message.text for message in fakes["second"].prompts[-1].messages)
            assert "Kit: Wait." in read, "a live scene's prompts hold what the new model is used to"

    with running(tmp_path, first) as address:
        assert told(address)["model"] == str(first)
        assert told(address)["history_lines"] == 0
        asyncio.run(main(address))
        assert told(address) == {
            "model": str(second),
            "adapter": None,
            "engine": "fake",
            "ready": True,
            "history_lines": 100,
        }
        assert told(address, "/readyz")["model"] == "second"
        metrics = httpx.get(f"http://{address}/metrics").text
        assert f"npcserver_engine_restarts {len('second')}.0" in metrics


def test_an_adapter_comes_and_goes(tmp_path: Path, first: Path) -> None:
    adapter = write_adapter(tmp_path / "harbour", b"first")
    with running(tmp_path, first) as address:
        answer = use(address, adapter=str(adapter)).json()
        assert (answer["model"], answer["adapter"]) == (str(first), str(adapter))
        assert told(address, "/readyz")["model"] == "first+harbour"
        assert told(address)["history_lines"] == 8
        assert use(address, adapter=None).json()["adapter"] is None
        assert told(address, "/readyz")["model"] == "first"


def test_a_server_starts_with_an_adapter(tmp_path: Path, first: Path) -> None:
    adapter = write_adapter(tmp_path / "harbour", b"first")
    with running(tmp_path, first, adapter=adapter, history_lines=2) as address:
        assert told(address)["adapter"] == str(adapter)
        assert told(address)["history_lines"] == 2


def test_what_cannot_be_served_is_told_and_changes_nothing(tmp_path: Path, first: Path) -> None:
    torn = write_model(tmp_path / "torn")
    other = write_adapter(tmp_path / "other", b"of another base")
    with running(tmp_path, first) as address:
        assert refusal(use(address, model=str(torn))) == (
            400,
            "bad_model",
            "the model is torn; mend it",
        )
        status, code, message = refusal(use(address, adapter=str(tmp_path)))
        assert (status, code) == (400, "bad_model")
        assert "has no adapter_config.json" in message
        assert "train it again" in refusal(use(address, adapter=str(other)))[2]
        assert "neither one of" in refusal(use(address, model="no such model"))[2]
        assert refusal(use(address, models="first"))[0] == 422
        assert refusal(use(address, model=""))[0] == 422
        assert told(address, "/readyz")["model"] == "first"


def test_a_server_that_plays_by_script_has_no_model(tmp_path: Path, first: Path) -> None:
    with serving(tmp_path) as address:
        assert "--engine auto" in refusal(use(address, model=str(first)))[2]
        assert told(address)["model"] is None


def test_only_admins_of_all_scenes_may(tmp_path: Path, first: Path) -> None:
    def bearer(role: Any, scene: str = "*") -> dict[str, str]:
        token = tokens.issue(SECRET, player="kit", role=role, scene=scene, hours=1)
        return {"authorization": f"Bearer {token}"}

    with running(tmp_path, first, secret=SECRET) as address:
        assert refusal(use(address))[:2] == (401, "no_token")
        assert refusal(use(address, bearer("player")))[:2] == (403, "not_admin")
        assert refusal(use(address, bearer("host")))[:2] == (403, "not_admin")
        assert refusal(use(address, bearer("admin", "quay")))[:2] == (401, "wrong_scene")
        url = f"http://{address}/v1/admin/model"
        assert refusal(httpx.get(url, headers=bearer("host")))[:2] == (403, "not_admin")
        assert use(address, bearer("admin")).status_code == 200
        assert httpx.get(url, headers=bearer("admin")).json()["model"] == str(first)
        page = {**bearer("admin"), "origin": "https://evil.example"}
        assert refusal(use(address, page))[:2] == (401, "bad_origin")


def test_pages_of_others_may_not_use_an_open_server(tmp_path: Path, first: Path) -> None:
    with running(tmp_path, first) as address:
        assert refusal(use(address, {"origin": "https://evil.example"}))[:2] == (401, "bad_origin")
        assert refusal(use(address, {"host": "evil.example"}))[:2] == (401, "bad_host")


def test_one_at_a_time(
    tmp_path: Path, first: Path, fakes: dict[str, Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = write_model(tmp_path / "slow")
    made = threading.Event()

    def openvino(folder: Path, *arguments: Any) -> Fake:
        engine = Fake(folder, *arguments)
        if engine.name == "slow":
            made.set()
        return engine

    monkeypatch.setattr(host, "openvino", openvino)

    async def main() -> None:
        settings = Settings(engine="openvino", model=str(first))
        served = Served(settings, {"quay": QUAY})
        await served.engine.start()
        waiting = asyncio.create_task(served.use(str(slow), None))
        assert await asyncio.to_thread(made.wait, PATIENCE_S)
        await fakes["slow"].starting.wait()
        with pytest.raises(Rejected, match="try again"):
            await served.use(str(first), None)
        assert served.now.model == str(first)
        fakes["slow"].may_start.set()
        assert (await waiting).model == served.now.model == str(slow)
        await served.close()

    asyncio.run(main())


# ---- from the command line ----------------------------------------------------------------------


def run(address: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", "use", "--url", f"http://{address}", *arguments])


def test_the_command_line_asks_for_it(tmp_path: Path, first: Path) -> None:
    write_adapter(tmp_path / "harbour", b"first")
    with running(tmp_path, first, secret=SECRET) as address:
        refused = run(address, "--adapter", "harbour")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert refused.stderr.startswith("npcserver: a token is needed")
        token = tokens.issue(SECRET, player="op", role="admin", scene="*", hours=1)
        done = run(address, "--adapter", "harbour", "--token", token)
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith(f"{first} with {tmp_path / 'harbour'}, after ")
        assert run(address, "--token", token).stdout.startswith(f"{first}, after ")
        missing = run(address, "--adapter", "nowhere", "--token", token)
        assert missing.exit_code == 2
        assert "the adapter nowhere has no adapter_config.json" in missing.stderr


def test_where_there_is_no_server() -> None:
    assert "npcserver serve" in run("127.0.0.1:1").stderr
