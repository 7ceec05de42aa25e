"""Which engine runs: by name, or what fits the model and each scene's language."""

from collections.abc import AsyncGenerator, Mapping, Sequence

from npcserver import models
from npcserver.config import Settings
from npcserver.engines import host
from npcserver.engines.base import Decision, Engine, EngineStatus, Piece, Prompt, Sampling
from npcserver.engines.scripted import ScriptedEngine
from npcserver.library import LoadedScene

SCRIPTED_PACE_S = 0.04
"""About how fast a model on two cores speaks, so that clients are built for real pacing."""


def make(settings: Settings, scenes: Mapping[str, LoadedScene]) -> Engine:
    """The engine these settings ask for, not started yet.

    With `auto`, scenes in a language that the model does not speak are played by script.

    Raises:
        ModelError: the model is missing.
    """
    if settings.engine == "scripted":
        return ScriptedEngine(scenes, SCRIPTED_PACE_S)
    folder = models.resolve(settings.model)
    model = host.openvino(folder, settings.cache_gb)
    scripted = unspoken(settings, scenes)
    if not scripted:
        return model
    return TwoEngines(model, ScriptedEngine(scenes, SCRIPTED_PACE_S), frozenset(scripted))


def unspoken(settings: Settings, scenes: Mapping[str, LoadedScene]) -> list[str]:
    """The scenes that `auto` plays by script, since the model does not speak their language."""
    if settings.engine != "auto":
        return []
    spoken = models.languages(models.resolve(settings.model))
    return [s.id for s in scenes.values() if spoken and s.scene.language not in spoken]


class TwoEngines:
    """Some scenes with one engine, all others with another."""

    def __init__(self, model: Engine, script: Engine, scripted: frozenset[str]) -> None:
        """Args: scripted: the ids of the scenes that `script` plays."""
        self._model = model
        self._script = script
        self._scripted = scripted

    def _of(self, prompt: Prompt) -> Engine:
        return self._script if prompt.scene in self._scripted else self._model

    async def start(self) -> None:
        """Load the model."""
        await self._model.start()

    async def close(self) -> None:
        """Free everything."""
        await self._model.close()

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Stream the continuation of `prompt`."""
        return self._of(prompt).generate(prompt, sampling)

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        """Score each option as the very next text after `prompt`."""
        return await self._of(prompt).decide(prompt, options)

    async def warm(self, prompt: Prompt) -> None:
        """Compute `prompt` now."""
        await self._of(prompt).warm(prompt)

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The number of the model's tokens of each text."""
        return await self._model.count(texts)

    def status(self) -> EngineStatus:
        """What the model is doing now."""
        return self._model.status()
