"""Who comes in, is erased and is put away at the same moment: nobody waits for ever."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from npcserver.config import Settings
from npcserver.engines.scripted import ScriptedEngine
from npcserver.errors import Rejected
from npcserver.hosting import Sender
from npcserver.journal import Entry, Store
from npcserver.lobby import Lobby
from npcserver.protocol import PlayerInfo, PlayerSaid, Resume, parse
from npcserver.scene import LiveScene
from npcserver.session import Session
from npcserver.state import SceneState
from tests.clock import run
from tests.stage import QUAY, Player, live

LONGEST_S = 20.0
"""Nothing here takes so long; what does, hangs."""


class HeldStore(Store):
    """A store that rewrites a journal when it is let, and says when it is about to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.rewriting = threading.Event()
        self.may_rewrite = threading.Event()

    def replace(self, *args: Any) -> None:
        self.rewriting.set()
        assert self.may_rewrite.wait(LONGEST_S)
        super().replace(*args)


@asynccontextmanager
async def open_lobby(store: Store) -> AsyncIterator[Lobby]:
    settings = Settings(engine="scripted")
    lobby = Lobby({"quay": QUAY}, ScriptedEngine({"quay": QUAY}), store, settings, lambda: 4)
    async with asyncio.timeout(LONGEST_S):
        try:
            yield lobby
        finally:
            await lobby.close()


async def enter(
    lobby: Lobby,
    player: str,
    resume: Resume | None = None,
    evict: Callable[[], None] = lambda: None,
) -> tuple[Session, LiveScene]:
    who = PlayerInfo(id=player, name=player.title())
    session, scene, _ = await lobby.enter("quay", "main", who, resume, False, evict)
    return session, scene


async def say(session: Session, scene: LiveScene, text: str) -> None:
    line = parse(json.dumps({"type": "player.say", "text": text, "to": ["ada"]}))
    await scene.submit(Sender(session.player.id, session.id), line)


async def begin_erasing(lobby: Lobby, store: HeldStore, player: str) -> asyncio.Task[Any]:
    """An erasure that is in the middle of it."""
    erasing = asyncio.create_task(lobby.erase(player, None, None))
    assert await asyncio.to_thread(store.rewriting.wait, LONGEST_S)
    return erasing


@pytest.mark.parametrize("who", ["kit", "lou"])
@pytest.mark.parametrize("resumes", [True, False])
def test_who_comes_in_while_somebody_is_erased_can_speak(
    tmp_path: Path, who: str, resumes: bool
) -> None:
    async def main() -> None:
        store = HeldStore(tmp_path / "journal.db")
        async with open_lobby(store) as lobby:
            session, scene = await enter(lobby, "kit")
            await say(session, scene, "I am here.")
            erasing = await begin_erasing(lobby, store, "kit")
            resume = Resume(session_id=session.id, after_seq=0) if resumes else None
            entering = asyncio.create_task(enter(lobby, who, resume))
            for _ in range(10):
                await asyncio.sleep(0)
            store.may_rewrite.set()
            await erasing
            session, scene = await entering
            assert who in scene.state.bodies
            await say(session, scene, "I am back.")
        facts = [entry.fact for entry in store.entries("quay", "main")]
        said = [(fact.player, fact.text) for fact in facts if isinstance(fact, PlayerSaid)]
        assert said == [(who, "I am back.")]

    asyncio.run(main())


def test_two_are_erased_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        store = HeldStore(tmp_path / "journal.db")
        async with open_lobby(store) as lobby:
            for player in ("kit", "lou"):
                await say(*await enter(lobby, player), f"I am {player}.")
            first = await begin_erasing(lobby, store, "kit")
            second = asyncio.create_task(lobby.erase("lou", None, None))
            store.may_rewrite.set()
            assert [found.instance for found in await first + await second] == ["main", "main"]
        assert not store.instances_of("kit") + store.instances_of("lou")

    asyncio.run(main())


def test_who_resumes_and_is_no_longer_there_comes_in_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_lobby(Store(tmp_path / "journal.db")) as lobby:
            session, scene = await enter(lobby, "kit")
            await scene.leave("kit")
            back, scene = await enter(lobby, "kit", Resume(session_id=session.id, after_seq=0))
            assert back is not session
            await say(back, scene, "I am back.")

    asyncio.run(main())


def test_a_closed_scene_refuses_and_answers_everybody_who_waits() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            waiting = [asyncio.create_task(kit.say("Hello.")) for _ in range(600)]
            closing = asyncio.create_task(scene.close())
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            await closing
            assert {type(answer) for answer in answers} <= {type(None), Rejected}
            with pytest.raises(Rejected) as refused:
                await kit.say("Hello.")
            assert refused.value.code == "not_here"

    run(main)


def test_a_journal_is_folded_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    apply = SceneState.apply

    def noted(state: SceneState, entry: Entry) -> None:
        threads.append(threading.get_ident())
        apply(state, entry)

    async def main() -> None:
        store = Store(tmp_path / "journal.db")
        async with open_lobby(store) as lobby:
            await say(*await enter(lobby, "kit"), "I am here.")
        journaled = len(store.entries("quay", "main"))
        monkeypatch.setattr(SceneState, "apply", noted)
        async with open_lobby(store) as lobby:
            await enter(lobby, "lou")
        assert threading.get_ident() not in threads[:journaled]
        assert set(threads[journaled:]) == {threading.get_ident()}, "what happens now is the loop's"

    asyncio.run(main())
