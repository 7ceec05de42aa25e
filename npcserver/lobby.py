"""Which instances are live, which sessions go on, and who is connected: all bounded.

Instances are made when first joined, from their journal, and put away when nobody has been there
for a while. Knows nothing of frames; sockets are known by how to close them.
"""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from npcserver import rewriting
from npcserver.admission import Admission
from npcserver.bounds import Bucket
from npcserver.config import Settings
from npcserver.engines.base import Engine, Sampling
from npcserver.errors import Closed, Rejected
from npcserver.floor import Rules
from npcserver.hosting import Sender
from npcserver.journal import Entry, Store
from npcserver.journal_writer import JournalWriter
from npcserver.library import LoadedScene
from npcserver.protocol import Ack, Limits, PlayerInfo, Resume, SessionStarted, TurnDone
from npcserver.scene import LiveScene
from npcserver.session import Session

log = logging.getLogger(__name__)

REMEMBERED_PLAYERS = 10_000
FREQUENCY_PENALTY = 0.4
"""Enough to break a loop, too little to keep a character from saying `the` twice."""
Evict = Callable[[], None]
"""Tells a connection that a newer one took its player's place."""


@dataclass(frozen=True)
class Erasure:
    """Where a player was erased, and how many entries changed; None: the scene is not served."""

    scene: str
    instance: str
    entries: int | None


@dataclass
class _Seat:
    """A player's session and, while one is open, how to close its connection."""

    session: Session
    scene: LiveScene
    evict: Evict | None = None
    expiry: asyncio.TimerHandle | None = None


class Lobby:
    """Everybody's way into the scenes."""

    def __init__(
        self,
        scenes: Mapping[str, LoadedScene],
        engine: Engine,
        store: Store,
        settings: Settings,
        history: Callable[[], int],
        recall: Callable[[], int] = lambda: 0,
    ) -> None:
        """Where everybody comes in.

        Args:
            history: past happenings a prompt may hold now.
            recall: what a line may recall now of what is older, in tokens.
        """
        self.scenes = scenes
        self.engine = engine
        self.settings = settings
        self.admission = Admission(lambda: engine.status().cache_tokens)
        self._history, self._recall = history, recall
        self._store = store
        self._journal = JournalWriter(store)
        self._live: dict[tuple[str, str], LiveScene] = {}
        self._making: dict[tuple[str, str], asyncio.Task[LiveScene]] = {}
        self._putting_away: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._seats: dict[tuple[str, str, str], _Seat] = {}
        self._lines: OrderedDict[str, Bucket] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_turn: Callable[[TurnDone], None] = lambda done: None
        self.per_address: Counter[str] = Counter()
        self.per_player: Counter[str] = Counter()

    @property
    def limits(self) -> Limits:
        """What a client is told of the bounds."""
        return Limits(**{name: getattr(self.settings, name) for name in Limits.model_fields})

    @property
    def instances(self) -> int:
        """Live instances now."""
        return len(self._live)

    @property
    def connections(self) -> int:
        """Open connections now."""
        return sum(seat.evict is not None for seat in self._seats.values())

    async def close(self) -> None:
        """End every scene and write what waits."""
        for seat in self._seats.values():
            if seat.expiry is not None:
                seat.expiry.cancel()
        for handle in self._putting_away.values():
            handle.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(scene.close() for scene in self._live.values()))
        self._journal.close()

    async def entries(self, scene_id: str, instance: str) -> list[Entry]:
        """The journal of an instance, live or not."""
        return await asyncio.to_thread(self._store.entries, scene_id, instance)

    async def erase(self, player: str, scene_id: str | None, instance: str | None) -> list[Erasure]:
        """Erase a player for good, from everywhere or from a scene or an instance of it.

        Whoever is connected as that player is sent away.

        Raises:
            Rejected: the id is a character's there.
            Closed: too many instances are live to bring in one more.
            JournalError: the journal could not be rewritten.
        """
        for name, loaded in self.scenes.items():
            if scene_id in (None, name) and player in loaded.characters:
                raise Rejected(
                    f"{player!r} is a character of {name}; to erase a player who is called so"
                    " elsewhere, name the scene",
                    "is_character",
                )
        found = []
        for where in await asyncio.to_thread(self._store.instances_of, player):
            if scene_id in (None, where[0]) and instance in (None, where[1]):
                async with self._alone(*where):
                    found.append(await self._erase(player, *where))
        self._lines.pop(player, None)
        # Also where nothing was found: it may have been cut short the last time.
        await asyncio.to_thread(self._store.scrub)
        return found

    async def _erase(self, player: str, scene_id: str, instance: str) -> Erasure:
        if scene_id not in self.scenes:
            return Erasure(scene_id, instance, None)
        scene = await self._scene(scene_id, instance)
        seat = self._seats.pop((scene_id, instance, player), None)
        if seat is not None:
            self._unseat(seat)
        count = await rewriting.erase(scene, self._store, player)
        log.info("a player was erased from %s/%s: %d entries", scene_id, instance, count)
        await self._close_if_empty((scene_id, instance))
        return Erasure(scene_id, instance, count)

    # ---- sessions --------------------------------------------------------------------------

    async def enter(
        self,
        scene_id: str,
        instance: str,
        player: PlayerInfo,
        resume: Resume | None,
        host: bool,
        evict: Evict,
    ) -> tuple[Session, LiveScene, int]:
        """Open a session, or go on with one.

        Args:
            evict: called when a newer connection of the same player takes over.

        Returns:
            The session, its scene, and the `seq` after which to send.

        Raises:
            Closed: no such scene, or too many live instances.
        """
        async with self._alone(scene_id, instance):
            scene = await self._scene(scene_id, instance)
            key = (scene_id, instance, player.id)
            seat = self._seats.get(key)
            if seat is not None:
                self._unseat(seat)
            # A resumed session does not join again, so its player must stand there still.
            there = player.id in scene.state.bodies
            if seat and resume and there and _can_resume(seat, resume):
                seat.evict = evict
                seat.session.rewind(resume.after_seq, self._started(seat.session, resumed=True))
                return seat.session, scene, resume.after_seq
            session = Session(
                player, scene_id, instance, self.settings.resume_messages, self._bucket(player.id)
            )
            if resume is not None:
                await self._recall_acts(session, resume.session_id)
            self._seats[key] = _Seat(session, scene, evict)
            await self._welcome(session, scene, host)
            return session, scene, 0

    async def _welcome(self, session: Session, scene: LiveScene, host: bool) -> None:
        sender = Sender(session.player.id, session.id, host)

        session.push(self._started(session, resumed=False))
        try:
            await scene.join(session.player, session.push, sender)
        except BaseException:
            self._seats.pop((session.scene, session.instance, session.player.id), None)
            raise

    def leave(self, session: Session, evict: Evict) -> None:
        """The session's connection is gone; it can be resumed for a while."""
        key = (session.scene, session.instance, session.player.id)
        seat = self._seats.get(key)
        if seat is None or seat.session is not session or seat.evict != evict:
            return
        seat.evict = None
        session.detach()
        loop = asyncio.get_running_loop()
        seat.expiry = loop.call_later(
            self.settings.resume_seconds, lambda: self._spawn(self._expire(key, seat))
        )

    def _unseat(self, seat: _Seat) -> None:
        if seat.expiry is not None:
            seat.expiry.cancel()
            seat.expiry = None
        if seat.evict is not None:
            seat.evict()
            seat.evict = None

    async def _expire(self, key: tuple[str, str, str], seat: _Seat) -> None:
        where = key[:2]
        async with self._alone(*where):
            if self._seats.get(key) is not seat or seat.evict is not None:
                return
            del self._seats[key]
            await seat.scene.leave(seat.session.player.id)
        if seat.scene.is_empty:
            self._putting_away[where] = asyncio.get_running_loop().call_later(
                self.settings.instance_idle_seconds,
                lambda: self._spawn(self._put_away(where)),
            )

    def _started(self, session: Session, *, resumed: bool) -> SessionStarted:
        return SessionStarted(
            session_id=session.id,
            player_id=session.player.id,
            scene=session.scene,
            instance=session.instance,
            limits=self.limits,
            resumed=resumed,
        )

    async def _recall_acts(self, session: Session, old_session: str) -> None:
        """After a restart the old session is gone, but what it asked must still act once."""
        acted = await asyncio.to_thread(self._store.acted_on, old_session)
        for message_id in acted:
            session.remember(Ack(ref=message_id, status="ok"))

    def _bucket(self, player: str) -> Bucket:
        """How many lines a player may say; one bucket a player, whatever their sessions."""
        per_minute = self.settings.lines_per_minute
        bucket = self._lines.pop(player, None) or Bucket(per_minute / 60, per_minute / 2)
        self._lines[player] = bucket
        while len(self._lines) > REMEMBERED_PLAYERS:
            self._lines.popitem(last=False)
        return bucket

    # ---- instances -------------------------------------------------------------------------

    def _alone(self, scene_id: str, instance: str) -> asyncio.Lock:
        """Held by whoever comes into an instance, leaves it, erases from it or puts it away.

        None of them may find the scene that another is about to close.
        """
        return self._locks.setdefault((scene_id, instance), asyncio.Lock())

    async def _scene(self, scene_id: str, instance: str) -> LiveScene:
        key = (scene_id, instance)
        if handle := self._putting_away.pop(key, None):
            handle.cancel()
        if key in self._live:
            return self._live[key]
        if key not in self._making:
            if len(self._live) + len(self._making) >= self.settings.instances:
                raise Closed(
                    f"{self.settings.instances} instances are live already (setting `instances`)",
                    1013,
                    "too_many_instances",
                )
            task = asyncio.create_task(self._make(scene_id, instance))
            self._making[key] = task
            task.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(self._making[key])

    async def _make(self, scene_id: str, instance: str) -> LiveScene:
        scene = LiveScene(
            self.scenes[scene_id],
            instance,
            engine=self.engine,
            journal=self._journal,
            rules=rules(self.settings, self._history, self._recall, self.admission),
            wall_ms=_wall_ms,
            on_turn=lambda done: self.on_turn(done),
        )
        entries = await asyncio.to_thread(self._store.entries, scene_id, instance)
        speech = await asyncio.to_thread(self._store.speech, scene_id, instance)
        await asyncio.to_thread(scene.load, entries)
        await scene.start(speech)
        self._live[(scene_id, instance)] = scene
        return scene

    async def _put_away(self, key: tuple[str, str]) -> None:
        self._putting_away.pop(key, None)
        async with self._alone(*key):
            await self._close_if_empty(key)

    async def _close_if_empty(self, key: tuple[str, str]) -> None:
        scene = self._live.get(key)
        if scene is not None and scene.is_empty:
            del self._live[key]
            await scene.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def rules(
    settings: Settings,
    history: Callable[[], int],
    recall: Callable[[], int],
    admission: Admission,
) -> Rules:
    """The bounds of a turn, as they are set."""
    return Rules(
        turn_s=settings.turn_seconds,
        waiting=settings.waiting_turns,
        prompt_tokens=settings.prompt_tokens,
        recall=recall,
        recite=settings.written_answers,
        history=history,
        sampling=Sampling(
            max_tokens=settings.reply_tokens,
            temperature=settings.temperature,
            frequency_penalty=FREQUENCY_PENALTY,
            seed=settings.seed,
        ),
        admission=admission,
    )


def _can_resume(seat: _Seat, resume: Resume) -> bool:
    same = seat.session.id == resume.session_id
    return same and seat.session.can_resume(resume.after_seq)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
