"""Which engine runs: by name, or what fits the model and each scene's language."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npcserver import models
from npcserver.config import DEFAULT_MODEL, MAX_HISTORY, Settings
from npcserver.engines import host, sources
from npcserver.engines.base import Decision, Engine, EngineStatus, Piece, Prompt, Sampling, score
from npcserver.engines.remote import RemoteEngine
from npcserver.engines.scripted import ScriptedEngine
from npcserver.errors import ModelError
from npcserver.library import LoadedScene
from npcserver.prompt import PROMPT_VERSION

SCRIPTED_PACE_S = 0.04
"""About how fast a model on two cores speaks, so that clients are built for real pacing."""
RECALL_TOKENS = 120
"""What a line may recall where nothing else is said."""


@dataclass(frozen=True)
class Choice:
    """An engine, not started yet, and what it was made from.

    Args:
        model: as it was asked for; None where everything is played by script.
        scripted: the scenes played by script, since the model does not speak their language.
        history: past happenings a prompt holds.
        recall: what a line may recall of what is older, in tokens.
    """

    engine: Engine
    model: str | None = None
    adapter: Path | None = None
    scripted: tuple[str, ...] = ()
    history: int = 0
    recall: int = 0


def choose(settings: Settings, scenes: Mapping[str, LoadedScene]) -> Choice:
    """The engine these settings ask for. Merging a new adapter takes seconds.

    With `auto`, scenes in a language that the model does not speak are played by script.

    Raises:
        ModelError: the model is missing, or the adapter does not fit.
    """
    kind = engine_of(settings)
    if kind == "scripted":
        script = ScriptedEngine(scenes, SCRIPTED_PACE_S)
        return Choice(
            script, history=history_lines(settings, {}), recall=recall_tokens(settings, {})
        )
    if kind == "remote":
        return _remote(settings)
    engine, told = _transformers(settings) if kind == "transformers" else _openvino(settings)
    history, recall = history_lines(settings, told), recall_tokens(settings, told)
    scripted = _unspoken(settings, scenes, told.get("languages", ()))
    if scripted:
        script = ScriptedEngine(scenes, SCRIPTED_PACE_S)
        engine = TwoEngines(engine, script, frozenset(scripted))
    return Choice(engine, settings.model, adapter_of(settings), scripted, history, recall)


def adapter_of(settings: Settings) -> Path | None:
    """The adapter that is served: as set, else what the model comes with, if it is served here."""
    if settings.engine in ("scripted", "remote"):
        return None
    return models.worn(settings.model, settings.adapter)


def _remote(settings: Settings) -> Choice:
    """Somebody else's servers. What languages their model speaks is not known: it plays all."""
    if settings.adapter not in (None, models.NO_ADAPTER):
        raise ModelError(
            "adapter: a remote server must load it itself; start that server with the adapter, or "
            "with the model that `finetune export` wrote, and leave --adapter out here"
        )
    key = settings.remote_key
    engine = RemoteEngine(
        settings.remote_urls,
        key=key.get_secret_value() if key else None,
        model=None if settings.model == DEFAULT_MODEL else settings.model,
        template=settings.remote_template,
    )
    history, recall = history_lines(settings, {}), recall_tokens(settings, {})
    return Choice(engine, settings.model, history=history, recall=recall)


def engine_of(settings: Settings) -> str:
    """An engine by name: as set, or what `auto` comes to on this machine."""
    if settings.engine != "auto":
        return settings.engine
    return "transformers" if sources.suits(settings.model) else "openvino"


def _openvino(settings: Settings) -> tuple[Engine, dict[str, Any]]:
    folder = models.resolve(settings.model, adapter_of(settings), PROMPT_VERSION)
    told = models.facts(folder)
    return host.openvino(folder, settings.cache_gb, told.get("name")), told


def _transformers(settings: Settings) -> tuple[Engine, dict[str, Any]]:
    source = sources.find(settings.model, adapter_of(settings), PROMPT_VERSION)
    return host.transformers(source, settings.cache_gb), source.told


def history_lines(settings: Settings, told: Mapping[str, Any]) -> int:
    """Past happenings a prompt holds: as set, else as the model was tuned with, else none.

    Args:
        told: the model's `model.json`.

    Raises:
        ModelError: what the model says is not a number of lines.
    """
    if settings.history_lines is not None:
        return settings.history_lines
    lines = told.get("history_lines", 0)
    if not isinstance(lines, int) or not 0 <= lines <= MAX_HISTORY:
        raise ModelError(
            f"{models.ABOUT_FILE}: history_lines is {lines!r}, not a number up to {MAX_HISTORY}; "
            "correct it, or set history_lines"
        )
    return lines


def recall_tokens(settings: Settings, told: Mapping[str, Any]) -> int:
    """What a line may recall: as set, else nothing where a model was tuned on prompts without it.

    Args:
        told: the model's `model.json`.
    """
    if settings.recall_tokens is not None:
        return settings.recall_tokens
    return 0 if "history_lines" in told else RECALL_TOKENS


def _unspoken(
    settings: Settings, scenes: Mapping[str, LoadedScene], spoken: Sequence[str]
) -> tuple[str, ...]:
    """The scenes that `auto` plays by script, since the model does not speak their language."""
    if settings.engine != "auto" or not spoken:
        return ()
    return tuple(s.id for s in scenes.values() if s.scene.language not in spoken)


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

    async def score(self, prompt: Prompt, text: str) -> list[tuple[str, float]] | None:
        """The pieces of `text` and the log-probability of each; None where it cannot tell."""
        return await score(self._of(prompt), prompt, text)

    async def warm(self, prompt: Prompt) -> None:
        """Compute `prompt` now."""
        await self._of(prompt).warm(prompt)

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The number of the model's tokens of each text."""
        return await self._model.count(texts)

    def status(self) -> EngineStatus:
        """What the model is doing now."""
        return self._model.status()
