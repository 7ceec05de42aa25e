"""The real program, killed in the middle of a turn."""

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from npcserver.journal import Store
from npcserver.library import load_scene
from npcserver.state import SceneState
from npcserver.views import recent
from tests.server import SCENES, client


@contextmanager
def program(data: Path, engine: str = "scripted") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`npcserver serve` as a process; yields its `host:port` once it is ready."""
    command = [str(Path(sys.executable).parent / "npcserver"), "serve", "--engine", engine]
    command += ["--scenes", str(SCENES), "--data", str(data), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        told = next(line for line in process.stdout if "http://" in line)
        found = re.search(r"http://([\d.:]+)", told)
        assert found
        yield found[1], process
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def test_kill_9_in_mid_turn_loses_nothing(tmp_path: Path) -> None:
    async def before(address: str, process: subprocess.Popen[str]) -> tuple[str, str]:
        async with client(address) as kit:
            await kit.send("player.say", text="Ring the bell.", to=["ada"], id="m1")
            await kit.until("turn.done")
            await kit.send("player.say", text="Hello.", to=["ada"], id="m2")
            await kit.until("ack", ref="m2")
            while len([m for m in kit.of("turn.text") if m["turn_id"] == "t2"]) < 3:
                await kit.until("turn.text")
            process.send_signal(signal.SIGKILL)
            await kit.closed()
            said = "".join(m["delta"] for m in kit.of("turn.text") if m["turn_id"] == "t2")
            return said, kit.session_id

    async def after(address: str, said: str, session_id: str) -> None:
        async with client(address, start=False) as kit:
            started = await kit.start({"session_id": session_id, "after_seq": 5})
            assert started["resumed"] is False
            recent = (await kit.until("scene.snapshot"))["recent"]
            assert [line["text"] for line in recent[:3]] == [
                "Ring the bell.",
                "Cover your ears.",
                "Hello.",
            ]
            assert recent[3]["status"] == "interrupted"
            assert recent[3]["text"].startswith(said)
            assert "Morning. Mind the rope. It bites.".startswith(recent[3]["text"])
            # Sent again, since its sender cannot know whether it arrived: acknowledged, not said.
            await kit.send("player.say", text="Hello.", to=["ada"], id="m2")
            await kit.until("ack", ref="m2", status="ok")
            await kit.send("player.say", text="Give me a herring.", to=["ada"], id="m3")
            started = await kit.until("turn.started")
            assert started["in_reply_to"] == "m3"
            assert started["turn_id"] == "t3"
            await kit.until("turn.done", status="completed")

    with program(tmp_path) as (address, process):
        said, session_id = asyncio.run(before(address, process))
    with program(tmp_path) as (address, _):
        asyncio.run(after(address, said, session_id))


def test_a_hundred_kills_at_any_moment_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.killed", str(tmp_path), "100", "6"]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kills) == 100
    assert sum(kill["cut"] for kill in kills) > 10, "they were hardly ever killed in mid-word"


def test_the_program_killed_at_any_moment_stands_where_its_journal_ends(tmp_path: Path) -> None:
    draw, quay = random.Random(6), load_scene(SCENES / "quay")

    def folded() -> SceneState:
        store, state = Store(tmp_path / "journal.db"), SceneState(quay)
        for entry in store.entries("quay", "main"):
            state.apply(entry)
        store.close()
        return state

    async def play(address: str, process: subprocess.Popen[str]) -> None:
        async with client(address) as kit, client(address, "lee") as lee:
            told = (await kit.until("scene.snapshot"))["recent"]
            assert told == [said.model_dump() for said in recent(folded(), "kit")]
            for number in range(draw.randrange(1, 6)):
                await draw.choice([kit, lee]).send("player.say", text="Hello.", id=f"m{number}")
                await asyncio.sleep(draw.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
            await kit.closed()

    for _ in range(3):
        with program(tmp_path) as (address, process):
            asyncio.run(play(address, process))
    assert len(folded().happenings) > 3


def engine_of(process: subprocess.Popen[str]) -> int:
    """The process that computes for a server."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (engine,) = (
        int(pid)
        for pid in children
        if b"npcserver.engines" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    return engine


@pytest.mark.model
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the engine in /proc")
def test_when_the_engine_is_killed_its_turn_fails_and_the_next_is_answered(tmp_path: Path) -> None:
    async def main(address: str, process: subprocess.Popen[str]) -> None:
        async with client(address) as kit:
            await kit.send("player.say", text="When does the tide turn?", to=["ada"])
            await kit.until("turn.started")
            os.kill(engine_of(process), signal.SIGKILL)
            done = await kit.until("turn.done")
            assert done["status"] == "failed"
            assert "started again" in done["reason"]
            await kit.send("player.say", text="Hello.", to=["ada"])
            done = await kit.until("turn.done")
            assert done["status"] == "completed"
            assert done["text"]

    with program(tmp_path, "openvino") as (address, process):
        asyncio.run(main(address, process))
