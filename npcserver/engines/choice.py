"""Which engine runs: by name, or the one that fits the model and the machine."""

from collections.abc import Mapping

from npcserver import models
from npcserver.config import Settings
from npcserver.engines import host
from npcserver.engines.base import Engine
from npcserver.engines.scripted import ScriptedEngine
from npcserver.library import LoadedScene

SCRIPTED_PACE_S = 0.04
"""About how fast a model on two cores speaks, so that clients are built for real pacing."""


def make(settings: Settings, scenes: Mapping[str, LoadedScene]) -> Engine:
    """The engine these settings ask for, not started yet.

    Raises:
        ModelError: the model is missing.
    """
    if settings.engine == "scripted":
        return ScriptedEngine(scenes, SCRIPTED_PACE_S)
    return host.openvino(models.resolve(settings.model), settings.cache_gb)
