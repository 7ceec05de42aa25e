"""Where a result comes from: the code's revision, the versions, the machine. Knows no models."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl", "numpy")


def revision() -> str:
    """The git revision of this code, `+changes` where files differ from it.

    Without git, or without a repository around it, it is the package's version.
    """
    here = Path(__file__).parent
    told = [_git(here, "rev-parse", "HEAD"), _git(here, "status", "--porcelain", "--", ".")]
    if told[0] is None:
        return f"npcserver {_version('npcserver')}"
    return told[0] + ("+changes" if told[1] else "")


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def versions() -> dict[str, str]:
    """The versions of what computes."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def machine() -> dict[str, str | int]:
    """What it was computed on; no names of hosts or people."""
    told: dict[str, str | int] = {"system": platform.system(), "cpus": os.cpu_count() or 1}
    told["processor"] = _processor()
    if torch.cuda.is_available():
        told["gpu"] = torch.cuda.get_device_name()
        told["gpus"] = torch.cuda.device_count()
    return told


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
