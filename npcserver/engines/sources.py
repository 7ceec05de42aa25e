"""Where the transformers engine's model comes from, and whether this machine suits it.

Imports no torch, which takes seconds: the server asks, the engine's own process loads.
"""

import functools
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npcserver import models
from npcserver.errors import ModelError

NEEDED = ("torch", "transformers", "peft")
GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
"""What the NVIDIA driver shows a process that may use a GPU, on Linux and on Windows' WSL."""
PROBE_SECONDS = 60.0


@dataclass(frozen=True)
class Source:
    """A model that torch can load, not loaded yet.

    Args:
        place: a folder, or the name of a repository on the hub, for transformers to fetch.
        name: how `status` calls it.
        told: its `model.json`, and its adapter's over it; empty for a repository on the hub.
    """

    place: str
    name: str
    told: dict[str, Any]
    adapter: Path | None = None


def weights(folder: Path) -> list[Path]:
    """The files of a folder that hold weights torch can load; none, if there are none."""
    gguf = folder / models.GGUF_FILE
    return [gguf] if gguf.exists() else sorted(folder.glob("*.safetensors"))


def find(name: str, adapter: Path | None, prompt_version: int) -> Source:
    """The model of that name, and the adapter that goes with it.

    Args:
        name: one that is known, a folder, or a repository on the hub as `owner/model`.

    Raises:
        ModelError: it is not here, torch is not, or the adapter was trained on another.
    """
    if missing := [needed for needed in NEEDED if importlib.util.find_spec(needed) is None]:
        raise ModelError(
            f"the engine `transformers` needs {', '.join(missing)}: install npcserver[finetune]"
        )
    folder = models.resolve(name) if name in models.KNOWN else Path(name)
    files = weights(folder)
    if not files and (folder.exists() or name.count("/") != 1):
        raise ModelError(
            f"model {name!r}: neither one of {', '.join(models.KNOWN)}, nor a folder with "
            f"{models.GGUF_FILE} or *.safetensors, nor a repository on the hub"
        )
    told = models.facts(folder)
    models._check_version(f"the model {name!r}", told, prompt_version)
    title = told.get("name") or (folder.resolve().name if files else name)
    place = str(folder) if files else name
    if adapter is None:
        return Source(place, title, told)
    about = _fitting(adapter, name, files, prompt_version)
    both = f"{title}+{about.get('name') or adapter.name}"
    return Source(place, both, {**told, **about}, adapter)


def _fitting(
    adapter: Path, name: str, files: Sequence[Path], prompt_version: int
) -> dict[str, Any]:
    """What an adapter's `model.json` says. Raises ModelError if it belongs to other weights."""
    told = models._adapter_facts(adapter)
    models._check_version(f"the adapter {adapter}", told, prompt_version)
    # What the hub holds is known by name only.
    if files and (base := models.digest_of(files)) != (trained := told["base"]["sha256"]):
        raise ModelError(
            f"the adapter {adapter} was trained on {told['base'].get('name', 'a model')!r} with "
            f"the hash {trained[:12]}…, and {name!r} here has {base[:12]}…: serve it with the "
            "model it was trained on, or train it again"
        )
    return told


def suits(name: str) -> bool:
    """Whether `auto` takes the transformers engine: weights it can load, and a GPU for them."""
    folder = models.cache_folder() / name if name in models.KNOWN else Path(name)
    return bool(weights(folder)) and gpu_is_here()


@functools.cache
def gpu_is_here() -> bool:
    """Whether torch is installed and can compute on a GPU.

    Without a driver's device the answer costs nothing; else a process of its own asks torch, since
    importing it here would take seconds and hundreds of megabytes.
    """
    if any(importlib.util.find_spec(needed) is None for needed in NEEDED):
        return False
    if not any(Path(device).exists() for device in GPU_DEVICES):
        return False
    asked = [sys.executable, "-c", "import torch; assert torch.cuda.is_available()"]
    try:
        return not subprocess.run(  # noqa: S603
            asked, capture_output=True, timeout=PROBE_SECONDS, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return False
