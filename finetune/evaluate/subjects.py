"""Making the subject that a command asks for: an engine of ours, a control, or a running server."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from finetune.errors import RunError
from finetune.evaluate.controls import Control, Parrot, Reference, random_weights
from finetune.evaluate.likelihood import Likelihood, ServedLikelihood
from finetune.evaluate.subject import Subject, here
from npcserver import models
from npcserver.admission import Admission
from npcserver.config import Settings
from npcserver.engines import choice, sources
from npcserver.floor import Rules
from npcserver.library import LoadedScene
from npcserver.lobby import rules
from npcserver.prompt import PROMPT_VERSION
from npcserver.rehearsal import There

PATIENCE_S = 10.0


@asynccontextmanager
async def opened(
    settings: Settings,
    scenes: Mapping[str, LoadedScene],
    seed: int,
    control: Control | None = None,
    *,
    likely: bool = True,
) -> AsyncIterator[Subject]:
    """A subject in this process, started.

    Args:
        likely: it will be asked how likely it finds texts, where it can tell.

    Raises:
        ModelError: the model is missing, or the adapter does not fit.
        EngineError: it does not start.
    """
    if control in ("parrot", "reference"):
        speaker = Parrot() if control == "parrot" else Reference()
        key = speaker if isinstance(speaker, Reference) else None
        bounds = rules(settings, lambda: settings.history_lines or 0, Admission(lambda: None))
        yield here({"name": control, "control": control}, speaker, bounds, seed, key=key)
        return
    if control == "random":
        settings = _random(settings, seed)
    chosen = choice.choose(settings, scenes)
    about = _about(settings, chosen, control)
    likelihood = _likelihood(settings) if likely else None
    await chosen.engine.start()
    try:
        bounds = rules(settings, lambda: chosen.history, Admission(lambda: None))
        shuffled = control == "shuffled"
        yield here(about, chosen.engine, bounds, seed, likelihood=likelihood, shuffled=shuffled)
    finally:
        await chosen.engine.close()


def _random(settings: Settings, seed: int) -> Settings:
    """The same settings, for a model of that shape that was never trained."""
    base = models.resolve(settings.model)
    folder = models.cache_folder() / "random" / f"{base.name}-{seed}"
    if not (folder / "config.json").exists():
        random_weights(base, folder, seed)
        template = models.facts(base).get("template")
        told = {"template": template} if template else {}
        (folder / models.ABOUT_FILE).write_text(json.dumps(told), encoding="utf-8")
    return settings.model_copy(update={"model": str(folder), "adapter": None})


def _about(settings: Settings, chosen: choice.Choice, control: Control | None) -> dict[str, Any]:
    kind = choice.engine_of(settings)
    told: dict[str, Any] = {"name": _name(settings, control), "engine": kind}
    if control:
        told["control"] = control
    if kind == "openvino":
        folder = models.resolve(settings.model, choice.adapter_of(settings), PROMPT_VERSION)
        told["sha256"] = models.digest_of(sorted(folder.glob("openvino_model.*")))
    elif kind == "transformers":
        source = sources.find(settings.model, choice.adapter_of(settings), PROMPT_VERSION)
        folders = [Path(source.place), *([source.adapter] if source.adapter else [])]
        files = [path for folder in folders for path in sources.weights(folder)]
        told["sha256"] = models.digest_of(files) if files else source.name
    if chosen.scripted:
        told["by_script"] = list(chosen.scripted)
    return told


def _name(settings: Settings, control: Control | None) -> str:
    """What the report calls it: no folders of this machine but their last parts."""
    if control == "random":
        return "random weights"
    model = Path(settings.model).name if settings.engine != "scripted" else "scripted"
    adapter = choice.adapter_of(settings)
    with_adapter = f" + {'/'.join(adapter.resolve().parts[-2:])}" if adapter else ""
    return f"{model}{with_adapter}{' (shuffled)' if control else ''}"


def _likelihood(settings: Settings) -> Likelihood | None:
    if choice.engine_of(settings) != "openvino":
        return None
    return ServedLikelihood(
        models.resolve(settings.model, choice.adapter_of(settings), PROMPT_VERSION)
    )


def there(url: str, token: Callable[[str], str | None]) -> Subject:
    """A running server. Raises RunError if none answers."""
    base = url.rstrip("/").replace("ws", "http", 1) if url.startswith("ws") else url.rstrip("/")
    try:
        told = httpx.get(f"{base}/readyz", timeout=PATIENCE_S).json()
    except (httpx.HTTPError, ValueError) as error:
        raise RunError(f"no npcserver answers at {url} ({error}); start one first") from None
    about = {"name": f"a server with {told['model']}", "engine": told["engine"]}
    return Subject(about, There(url, token), Rules())
