"""Lines of characters' own accord: after events, to whoever comes in, in a long silence.

Only where the scene's `director` lets them. Silence is counted on the event loop's clock, which
may be a virtual one. Knows the scene only as far as it needs it; who speaks is for the director to
say.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from npcserver import director, hearing
from npcserver.errors import NpcError
from npcserver.floor import Floor
from npcserver.journal import Cue, Fact
from npcserver.protocol import (
    Because,
    PlayerActed,
    PlayerJoined,
    PlayerLeft,
    PlayerSaid,
    SceneChanged,
    TurnDone,
)
from npcserver.state import SceneState

log = logging.getLogger(__name__)

COMES = {"en": "{} comes in.", "zh": "{}来了。"}
GREETED_AFTER_S = 4.0
"""Who comes in and does nothing for so long may be greeted: who comes to ask, is answered first."""
QUIET = {"en": "Nobody has said anything for a while.", "zh": "好一会儿没有人说话。"}


class Stage(Protocol):
    """The scene, as far as whoever speaks unasked needs it."""

    state: SceneState
    now_ms: Callable[[], int]

    @property
    def is_empty(self) -> bool:
        """Nobody listens."""

    async def call(self, handler: Callable[[], Awaitable[Any]]) -> Any:
        """Run a handler as the scene's writer."""

    async def record(self, fact: Fact, audience: frozenset[str]) -> None:
        """Journal a fact, take it into the state, and show it."""


class Initiative:
    """What makes a scene's characters speak unasked. Called by the scene's writer only."""

    def __init__(self, scene: Stage, floor: Floor, seed: int) -> None:
        self._scene = scene
        self._floor = floor
        self._seed = seed
        self._direction = scene.state.loaded.scene.director
        self._language = scene.state.loaded.scene.language
        self._timer: asyncio.TimerHandle | None = None
        self._newcomers: dict[str, asyncio.TimerHandle] = {}
        self._stopped = False
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, fact: Fact) -> None:
        """Something happened: a silence begins anew, and who does something needs no greeting."""
        if isinstance(fact, PlayerSaid | PlayerActed | PlayerLeft):
            self._forget_newcomer(fact.player)
        if isinstance(fact, PlayerSaid | PlayerActed | PlayerJoined | TurnDone | SceneChanged):
            self._wait()

    def stop(self) -> None:
        """The scene ends."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for player in list(self._newcomers):
            self._forget_newcomer(player)
        for task in self._tasks:
            task.cancel()

    def react(self, seen_by: frozenset[str]) -> None:
        """The newest happening is an event; somebody who perceived it may say something."""
        words = self._scene.state.happenings[-1].text
        if npc := self._who("event", seen_by, words):
            self._floor.volunteer(npc, "event")

    def meet(self, player: str) -> None:
        """A player came in; if they do nothing for a while, somebody may greet them."""
        if self._direction.own_lines:
            loop = asyncio.get_running_loop()
            self._newcomers[player] = loop.call_later(
                GREETED_AFTER_S, self._begin, lambda: self._greet(player)
            )

    def _forget_newcomer(self, player: str) -> None:
        if timer := self._newcomers.pop(player, None):
            timer.cancel()

    async def _greet(self, player: str) -> None:
        state = self._scene.state
        if self._newcomers.pop(player, None) is None or player not in state.bodies:
            return
        body = state.bodies[player]
        words = COMES[self._language].format(body.name)
        seen_by = hearing.witnesses(state, body.place)
        if npc := self._who("arrival", seen_by, words):
            greets = state.loaded.characters[npc].greets
            given = greets[state.turns % len(greets)] if greets else ""
            cue = Cue(words=words, player=player)
            await self._scene.record(cue, seen_by.intersection(state.loaded.characters))
            self._floor.volunteer(npc, "arrival", player, given=given)

    def _begin(self, handler: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.create_task(self._try(handler))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, handler: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._scene.call(handler)
        except NpcError as error:
            log.error("nobody could speak unasked: %s", error.message)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tired = self._scene.state.pace.unanswered >= director.MOST_UNANSWERED
        if self._direction.own_lines and not tired and not self._stopped:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._direction.silence_s, self._is_silent)

    def _is_silent(self) -> None:
        if not self._scene.is_empty:
            self._begin(self._break_silence)

    async def _break_silence(self) -> None:
        state, words = self._scene.state, QUIET[self._language]
        try:
            npc = self._who("silence", frozenset(state.bodies), words)
            if npc is not None and not self._floor.is_busy:
                await self._scene.record(Cue(words=words), frozenset({npc}))
                self._floor.volunteer(npc, "silence")
        finally:
            self._wait()

    def _who(self, because: Because, seen_by: frozenset[str], words: str) -> str | None:
        if not self._direction.own_lines:
            return None
        now, state = self._scene.now_ms(), self._scene.state
        return director.unprompted(state, because, seen_by, words, now, self._seed)
