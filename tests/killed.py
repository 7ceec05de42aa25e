"""Play killed again and again, and what a scene is after each restart.

    python -m tests.killed FOLDER KILLS SEED

Each time a process of its own plays in the quay as fast as it can, on a journal on disk, and is
killed with SIGKILL at a moment drawn from the seed; then the scene is started again from the
journal. Prints a line of JSON a kill; fails where something that was acknowledged or shown is gone.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from npcserver.engines.scripted import ScriptedEngine
from npcserver.journal import Store
from npcserver.protocol import PlayerSaid, ServerMessage, TurnDone, TurnText
from npcserver.scene import LiveScene
from npcserver.state import SceneState
from tests.clock import run
from tests.play import EXCHANGES, LIVING, check_exchanges, check_floor, play_on
from tests.stage import Player, live

LONGEST_S = 0.08
"""A process is killed before it has played so long."""
KILLS_AN_INSTANCE = 10
"""Then another instance begins, so that journals stay short."""


class Telling(Player):
    """A player who tells what was acknowledged and shown, the moment it is."""

    def __init__(self, scene: LiveScene, player_id: str, pipe: int) -> None:
        super().__init__(scene, player_id, host=True)
        self._pipe = pipe

    def _tell(self, *what: Any) -> None:
        os.write(self._pipe, (json.dumps(what) + "\n").encode())

    def _listen(self, message: ServerMessage) -> None:
        if isinstance(message, TurnText):
            self._tell("text", message.turn_id, message.at, message.delta)
        super()._listen(message)

    async def say(self, text: str, **fields: Any) -> None:
        await super().say(text, **fields)
        self._tell("said", fields["id"])


def play_until_killed(path: Path, instance: str, seed: int, pipe: int) -> None:
    """Play for ever."""

    async def main() -> None:
        engine = ScriptedEngine({"quay": LIVING}, pace_s=0.05)
        async with live(Store(path), engine, instance=instance, loaded=LIVING) as scene:
            names = ("kit", "lee", "rue")
            players = [await Telling(scene, who, pipe).join() for who in names]
            os.write(pipe, b"[]\n")
            await play_on(players, seed, turns=10**9)

    run(main)


def kill_once(path: Path, instance: str, seed: int) -> list[list[Any]]:
    """Let a process play, and kill it; what it told until then."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            play_until_killed(path, instance, seed, writing)
        finally:
            os._exit(1)  # nobody survives
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = [pipe.readline()]  # it plays
        pause = random.Random(seed).uniform(0, LONGEST_S)
        started = time.monotonic()
        os.set_blocking(pipe.fileno(), False)
        while time.monotonic() - started < pause:
            told.append(pipe.read() or b"")  # or it would wait for us, its pipe being full
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.set_blocking(pipe.fileno(), True)
        told.append(pipe.read())
    lines = b"".join(told).decode().split("\n")
    return [told for line in lines[:-1] if (told := json.loads(line))]


def check_restart(path: Path, instance: str, told: list[list[Any]]) -> dict[str, int]:
    """Start the scene again; its state must be the fold of its journal, with nothing lost."""
    store = Store(path)
    speech = store.speech("quay", instance)

    async def main() -> None:
        engine = ScriptedEngine({"quay": LIVING})
        async with live(store, engine, instance=instance, loaded=LIVING) as scene:
            folded = SceneState(LIVING)
            for entry in store.entries("quay", instance):
                folded.apply(entry)
            assert folded == scene.state
            assert not folded.open_turns
            assert not folded.players

    run(main)
    entries = store.entries("quay", instance)
    lines = {entry.fact.line_id for entry in entries if isinstance(entry.fact, PlayerSaid)}
    words = {e.fact.turn_id: e.fact.text for e in entries if isinstance(e.fact, TurnDone)}
    assert speech.items() <= words.items(), "words of a cut turn are gone"
    for kind, *what in told:
        if kind == "said":
            assert what[0] in lines, "an acknowledged line is gone"
        else:
            turn, at, delta = what
            assert words[turn][at : at + len(delta)] == delta, "words that were shown are gone"
    check_floor(entries)
    check_exchanges(entries, EXCHANGES, LIVING)
    store.close()
    return {"told": len(told), "entries": len(entries), "cut": len(speech)}


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill so many times."""
    for number in range(kills):
        instance = f"i{number // KILLS_AN_INSTANCE}"
        told = kill_once(folder / "journal.db", instance, seed + number)
        print(json.dumps(check_restart(folder / "journal.db", instance, told)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
