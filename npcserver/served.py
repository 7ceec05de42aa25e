"""What is served now, and how another model is brought in while everybody stays connected."""

import asyncio
import logging
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from npcserver.config import Settings
from npcserver.engines import choice
from npcserver.engines.choice import Choice
from npcserver.engines.swap import SwappableEngine
from npcserver.errors import EngineError, ModelError, Rejected
from npcserver.library import LoadedScene
from npcserver.prompt import PromptBuilder

log = logging.getLogger(__name__)


class Served:
    """The model in use, its engine, and the way to another."""

    def __init__(self, settings: Settings, scenes: Mapping[str, LoadedScene]) -> None:
        """What the settings ask for, not started yet.

        Raises:
            ModelError: the model is missing, or the adapter does not fit.
        """
        self._settings = settings
        self._scenes = scenes
        self.now: Choice = choice.choose(settings, scenes)
        self.engine = SwappableEngine(self.now.engine)
        self._changing = asyncio.Lock()
        self._warming: asyncio.Task[None] | None = None

    def history(self) -> int:
        """Past happenings a prompt may hold now."""
        return self.now.history

    def recall(self) -> int:
        """What a line may recall now, in tokens."""
        return self.now.recall

    async def use(self, model: str | None, adapter: Path | None) -> Choice:
        """Serve another model from now on; turns under way end on the old one.

        Args:
            model: by name, or a folder; None: the one that is served now.
            adapter: None: what the model comes with; `none`: the model as it is.

        Raises:
            ModelError: it cannot be had or does not load; what was served stays.
            EngineError: the server is stopping.
            Rejected: another is being brought in just now.
        """
        if self._settings.engine == "scripted":
            raise ModelError(
                "this server plays by script and has no model; start it with --engine auto"
            )
        if self._changing.locked():
            raise Rejected("another model is being brought in; try again when it is there", "busy")
        async with self._changing:
            wanted = {"model": model or self.now.model, "adapter": adapter}
            settings = self._settings.model_copy(update=wanted)
            new = await asyncio.to_thread(choice.choose, settings, self._scenes)
            await self.engine.use(new.engine)
            self.now = new
            await self._stop_warming()
        self.warm()
        return new

    def warm(self) -> None:
        """Begin to compute, beside everything else, the part of every prompt that never changes."""
        self._warming = asyncio.create_task(self._warm(), name="warming every character")

    @property
    def is_warm(self) -> bool:
        """All that can be computed before anybody speaks has been."""
        return self._warming is not None and self._warming.done()

    async def close(self) -> None:
        """Free everything."""
        await self._stop_warming()
        await self.engine.close()

    async def _warm(self) -> None:
        """Who everybody is, first; then every example that a first line may recall."""
        builders = [
            PromptBuilder(loaded, npc, self._settings.prompt_tokens)
            for loaded in self._scenes.values()
            for npc in loaded.characters
        ]
        for builder in builders:
            await asyncio.to_thread(builder.answers.lay_out)
        openings = (builder.opened() for builder in builders)
        # Somebody else's server may have few places, and keep few prompts.
        ours = self.engine.status().cache_tokens is not None
        foreseen = (each for builder in builders if ours for each in builder.foreseen())
        for prompt in chain(openings, foreseen):
            try:
                await self.engine.warm(prompt)
            except EngineError as error:  # it costs time later, nothing else
                log.warning("%s could not be warmed: %s", prompt.speaker, error.message)

    async def _stop_warming(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
