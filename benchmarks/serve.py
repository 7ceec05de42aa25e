"""How fast the server is through its sockets: against the engine alone and llama.cpp's server.

    python benchmarks/serve.py --out benchmarks/results/serve.json          # everything, 15 minutes
    python benchmarks/serve.py --parts words --talkers 32 --pairs 1 --out /tmp/quick.json

words       replies of one length, no decisions: the server, the engine alone, and llama.cpp in
            turns, on the same prompts. Tells tokens a second and first words.
decisions   the same server with all it does, replies as long as they get, no pauses
pauses      players who wait 3 to 6 s between lines: first word with all decisions; and again
            with `player.typing` a second before the line
together    everybody speaks in the same instant; the engine alone gets the same prompts
idle        8 talkers, alone and beside 2,000 players who only listen

Each part starts a server of its own on a free port. Nothing else should run on the machine.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from load import Cast, Manner, Turn, crowd, line, summary, talk
from rivals import Outcome, Work, engine_alone, in_a_process, llama_cpp

from npcserver import models
from npcserver.config import Settings
from npcserver.engines.render import script
from npcserver.happening import Body, Happening
from npcserver.library import LoadedScene, load_scenes
from npcserver.lobby import FREQUENCY_PENALTY
from npcserver.prompt import PromptBuilder
from npcserver.state import SceneState

HERE = Path(__file__).parent
TOKENS = 64
CHUNK = 256
PAUSE = (3.0, 6.0)
TYPING_S = 1.0
IDLE_PAIRS = 2
PARTS = ("words", "decisions", "pauses", "together", "idle")


# ---- the server ----------------------------------------------------------------------------------


@contextmanager
def server(*, words_only: bool = False) -> Iterator[tuple[str, int]]:
    """A server of its own: its WebSocket URL, and its process id."""
    with tempfile.TemporaryDirectory() as data:
        command = [str(Path(sys.executable).with_name("npcserver")), "serve"]
        if words_only:
            command = [sys.executable, str(HERE / "words_only.py"), "--tokens", str(TOKENS)]
        command += ["--port", "0", "--data", data, "--scenes", str(HERE.parent / "scenes")]
        limits = {
            "NPCSERVER_CONNECTIONS_PER_ADDRESS": "9999",
            "NPCSERVER_INSTANCES": "999",
            "NPCSERVER_WRITTEN_ANSWERS": "false",  # the model is measured, not a look-up
        }
        process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, text=True, env=os.environ | limits
        )
        try:
            assert process.stdout
            told = next(
                found for text in process.stdout if (found := re.search(r"http://\S+", text))
            )
            url = told[0].rstrip("/")
            while not httpx.get(f"{url}/readyz", trust_env=False).json()["warm"]:
                time.sleep(0.2)
            yield url.replace("http", "ws", 1), process.pid
        finally:
            process.terminate()
            process.wait()


def resident_bytes(pid: int) -> int:
    """Memory of the server's own process, without the engine's."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return 1024 * int(found[1])


# ---- who talks to whom, and the prompts that makes -----------------------------------------------


@cache
def staged() -> dict[str, LoadedScene]:
    """The shipped scenes that the embedded model speaks."""
    scenes = load_scenes(HERE.parent / "scenes")
    return {name: each for name, each in scenes.items() if each.scene.language == "en"}


def cast(size: int) -> list[Cast]:
    """As many to talk to as there are talkers, every character in turn."""
    everybody = [
        Cast(scene.id, npc, next(m.place for m in scene.scene.cast if m.character == npc))
        for scene in staged().values()
        for npc in scene.characters
    ]
    return [everybody[number % len(everybody)] for number in range(size)]


def work(
    people: Sequence[Cast], turns: int, *, together: bool = False, tokens: int = TOKENS
) -> Work:
    """The prompts that the server makes of these players' lines."""
    builders = {
        each: PromptBuilder(staged()[each.scene], each.npc, Settings().prompt_tokens)
        for each in set(people)
    }
    return Work(
        [script(builder.opened()) for builder in builders.values()],
        [script(each) for builder in builders.values() for each in builder.foreseen()],
        [prompt(builders[each], number, 90) for number, each in enumerate(people)],
        [
            [prompt(builders[each], number, turn) for turn in range(turns)]
            for number, each in enumerate(people)
        ],
        tokens,
        together,
    )


def prompt(builder: PromptBuilder, talker: int, turn: int) -> str:
    """What the model reads to answer a talker's line, slots filled."""
    state = SceneState(builder.loaded)
    npc = state.bodies[builder.npc]
    player = Body(f"p{talker}", f"Player{talker}", npc.place, npc.position, npc=False)
    state.bodies[player.id] = player
    heard_by = frozenset({npc.id, player.id})
    said = line(talker, turn)
    state.happenings.append(
        Happening(1, player.id, player.name, said, True, (npc.id,), "talk", heard_by, 0)
    )
    opening = builder.opening(builder.character.resting, None)
    return script(builder.build(state, 1).then(opening))


def drawing() -> dict[str, Any]:
    """Words are drawn as the server draws them."""
    return {
        "do_sample": True,
        "temperature": Settings().temperature,
        "top_p": 0.9,
        "frequency_penalty": FREQUENCY_PENALTY,
    }


# ---- the parts -----------------------------------------------------------------------------------


def run_words(
    talkers: Sequence[int], pairs: int, turns: int, *, peer: bool
) -> list[dict[str, Any]]:
    """Server, engine alone and llama.cpp in turns, on the same prompts."""
    folder = models.resolve("embedded")
    rows = []
    for size in talkers:
        people = cast(size)
        for pair in range(pairs):
            with server(words_only=True) as (url, _):
                asyncio.run(talk(url, people, Manner(1), seed=100 + pair))
                ours = summary(asyncio.run(talk(url, people, Manner(turns), seed=pair)))
            given = work(people, turns)
            alone = in_a_process(engine_alone, folder, given, drawing(), CHUNK)
            row = {
                "talkers": size,
                "pair": pair,
                "server": ours,
                "engine": outcome(alone),
                "server_to_engine": round(float(ours["tokens_per_s"]) / alone.tokens_per_s, 3),
            }
            if peer and pair == 0:
                few = work(people, 1)
                llama = in_a_process(llama_cpp, folder / models.GGUF_FILE, few, drawing())
                row["llama_cpp"] = outcome(llama)
                row["server_to_llama_cpp"] = round(
                    float(ours["tokens_per_s"]) / llama.tokens_per_s, 2
                )
            rows.append(tell(row))
    return rows


def run_decisions(talkers: Sequence[int], turns: int) -> list[dict[str, Any]]:
    """Everything the server does, players who never pause."""
    rows = []
    for size in talkers:
        with server() as (url, _):
            asyncio.run(talk(url, cast(size), Manner(1), seed=100))
            told = summary(asyncio.run(talk(url, cast(size), Manner(turns))))
        rows.append(tell({"talkers": size, **told}))
    return rows


def run_pauses(talkers: Sequence[int], turns: int) -> list[dict[str, Any]]:
    """Players who take their time, without and with `player.typing`."""
    rows = []
    for size in talkers:
        for typing in (None, TYPING_S):
            with server() as (url, _):
                asyncio.run(talk(url, cast(size), Manner(1), seed=100))
                told = summary(asyncio.run(talk(url, cast(size), Manner(turns, PAUSE, typing))))
            rows.append(tell({"talkers": size, "typing": typing is not None, **told}))
    return rows


def run_together(talkers: Sequence[int], turns: int) -> list[dict[str, Any]]:
    """All in the same instant, with and without what the server decides; and the engine alone."""
    rows = []
    for size in talkers:
        people, manner = cast(size), Manner(turns, together=True)
        row: dict[str, Any] = {"talkers": size}
        for name, words_only in (("words", True), ("decisions", False)):
            with server(words_only=words_only) as (url, _):
                asyncio.run(talk(url, people, Manner(1), seed=100))
                row[name] = summary(asyncio.run(talk(url, people, manner)))
        given = work(people, turns, together=True)
        alone = in_a_process(engine_alone, models.resolve("embedded"), given, drawing(), CHUNK)
        row["engine"] = outcome(alone)
        for name in ("words", "decisions"):
            row[f"{name}_to_engine"] = round(
                row[name]["first_word_ms"]["p50"] / row["engine"]["first_ms"]["p50"], 2
            )
        rows.append(tell(row))
    return rows


def run_idle(size: int, turns: int) -> dict[str, Any]:
    """Talkers alone, and beside players who only listen; by turns, for a machine's speed varies."""
    manner = Manner(turns, PAUSE)
    alone: list[Turn] = []
    beside: list[Turn] = []
    grown: list[int] = []
    with server() as (url, pid):

        async def in_a_crowd(seed: int) -> None:
            before = resident_bytes(pid)
            async with crowd_of(url, size):
                grown.append(resident_bytes(pid) - before)
                beside.extend(await talk(url, cast(8), manner, seed))

        for seed in range(IDLE_PAIRS):
            alone += asyncio.run(talk(url, cast(8), manner, 2 * seed))
            asyncio.run(in_a_crowd(2 * seed + 1))
    return tell(
        {
            "idle": size,
            "alone": summary(alone),
            "beside": summary(beside),
            "bytes_a_connection": round(grown[0] / size),  # later ones find it still allocated
        }
    )


@asynccontextmanager
async def crowd_of(url: str, size: int) -> AsyncIterator[None]:
    """Listeners, eight to an instance."""
    async with AsyncExitStack() as stack:
        await crowd(stack, url, next(iter(staged())), size, 8)
        yield


def outcome(found: Outcome) -> dict[str, Any]:
    """A rival's answers, as they are told."""
    firsts = sorted(answer.first for answer in found.answers)
    return {
        "tokens_per_s": round(found.tokens_per_s, 1),
        "first_ms": {
            "p50": round(1000 * statistics.median(firsts), 1),
            "p95": round(1000 * firsts[min(len(firsts) - 1, int(0.95 * len(firsts)))], 1),
        },
        "n": len(firsts),
    }


def tell(row: dict[str, Any]) -> dict[str, Any]:
    """Say it at once: a long run that is stopped has told what it found."""
    print(json.dumps(row), flush=True)
    return row


# ---- the run -------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What it ran on, and which revision."""
    info = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.+)", info)
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE,
    ).stdout.strip()
    return {
        "revision": revision,
        "processor": name[1] if name else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--talkers", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--turns", type=int, default=6, help="lines each talker says")
    parser.add_argument("--pairs", type=int, default=3, help="server and engine, in turns")
    parser.add_argument("--idle", type=int, default=2000, help="players who only listen")
    parser.add_argument("--no-peer", action="store_true", help="without llama.cpp's server")
    options = parser.parse_args()
    # A part that is run anew takes the place of what was found before; the others stay.
    kept = options.out.read_text(encoding="utf-8") if options.out.exists() else "{}"
    found: dict[str, Any] = {"machines": {}} | json.loads(kept)
    runs: dict[str, Callable[[], Any]] = {
        "words": lambda: run_words(
            options.talkers, options.pairs, options.turns, peer=not options.no_peer
        ),
        "decisions": lambda: run_decisions(options.talkers, options.turns),
        "pauses": lambda: run_pauses(options.talkers, options.turns),
        "together": lambda: run_together(options.talkers, options.turns),
        "idle": lambda: run_idle(options.idle, options.turns),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for part in (part for part in PARTS if part in options.parts):
        on = machine()
        found[part] = runs[part]()
        found["machines"][part] = on
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
