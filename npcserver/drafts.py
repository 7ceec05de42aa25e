"""What players are typing: their answers are decided before the lines are said.

A draft never enters history and is shown to nobody. Knows nothing of sockets or turns under way.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from npcserver import director, hearing
from npcserver.engines.base import Engine, Prompt
from npcserver.errors import EngineError
from npcserver.prompt import PromptBuilder
from npcserver.state import SceneState
from npcserver.turn import Intent, intend

BUSY = 8
"""With this many requests under way, drafts are left alone: answers come first."""


@dataclass
class _Draft:
    """A line so far, and what will be done about it. Args: typed_on: what it has become since."""

    prompt: Prompt
    task: asyncio.Task[Intent]
    typed_on: str | None = None


class Drafts:
    """The drafts of one scene's players, the newest of each."""

    def __init__(self, engine: Engine, builder: Callable[[str], PromptBuilder]) -> None:
        """Args: builder: the prompt builder of a character, by id."""
        self._engine = engine
        self._builder = builder
        self._drafts: dict[str, _Draft] = {}

    def follow(self, state: SceneState, player: str, text: str) -> None:
        """Decide what whoever would answer `text` would do, after the draft that is at it now."""
        draft = self._drafts.get(player)
        if draft is not None and not draft.task.done():
            draft.typed_on = text
            return
        if player not in state.bodies or not text or self._engine.status().running >= BUSY:
            return
        heard_by = hearing.listeners(state, player, "talk", ())
        choice = director.choose(state, player, text, (), heard_by)
        if not choice.npcs:
            return
        builder = self._builder(choice.npcs[0])
        prompt = builder.draft(state, state.bodies[player].name, text, player)
        task = asyncio.create_task(intend(builder, state, self._engine, prompt, player))
        self._drafts[player] = new = _Draft(prompt, task)
        task.add_done_callback(lambda _: self._decided(state, player, new))

    def _decided(self, state: SceneState, player: str, draft: _Draft) -> None:
        if not draft.task.cancelled():
            draft.task.exception()  # one that failed costs time later, nothing else
        if draft.typed_on is not None and self._drafts.get(player) is draft:
            self.follow(state, player, draft.typed_on)

    async def intent(self, player: str, prompt: Prompt) -> Intent | None:
        """What was decided about a line that is said now, if it was typed just so."""
        draft = self._drafts.pop(player, None)
        if draft is None:
            return None
        if draft.prompt != prompt:
            draft.task.cancel()
            return None
        try:
            return await draft.task
        except EngineError:
            return None

    def forget(self, player: str) -> None:
        """The player is gone."""
        if draft := self._drafts.pop(player, None):
            draft.task.cancel()

    def forget_all(self) -> None:
        """The scene ends."""
        for player in list(self._drafts):
            self.forget(player)
