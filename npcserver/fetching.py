"""A file from the web, once: fetched, checked, kept by its address.

Knows nothing of models.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import httpx

from npcserver.errors import ModelError

CHUNK = 2**20
LOCAL = ("localhost", "127.0.0.1", "::1")
Progress = Callable[[float], None]
"""Told the share that has come, 0 to 1."""


def is_url(name: str) -> bool:
    """Whether a name is an address on the web."""
    return urlsplit(name).scheme in ("http", "https")


def fetch(url: str, folder: Path, progress: Progress = lambda done: None) -> Path:
    """The file at an address; fetched if it never was.

    Args:
        url: https, or http to this machine; `#sha256=…` behind it is what the file must be.
        folder: where files are kept.

    Raises:
        ModelError: it cannot be had, or is not what it should be.
    """
    address, wanted = urldefrag(url)
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in LOCAL:
        raise ModelError(f"{address}: only https is fetched; http is not protected")
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    target = folder / f"{name}-{Path(parts.path).name}"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    try:
        got = _stream(address, part, progress)
    except (httpx.HTTPError, OSError) as error:
        part.unlink(missing_ok=True)
        raise ModelError(
            f"{address} could not be fetched: {error or type(error).__name__}"
        ) from None
    if wanted and wanted != f"sha256={got}":
        part.unlink()
        raise ModelError(f"{address} has the sha256 {got}, not what `#{wanted}` says")
    part.rename(target)
    return target


def _stream(address: str, part: Path, progress: Progress) -> str:
    """Write a file as it comes; return its sha256."""
    digest, come = hashlib.sha256(), 0
    with (
        httpx.stream("GET", address, follow_redirects=True, timeout=60.0) as response,
        part.open("wb") as file,
    ):
        response.raise_for_status()
        size = int(response.headers.get("content-length", 0))
        for data in response.iter_bytes(CHUNK):
            file.write(data)
            digest.update(data)
            come += len(data)
            progress(come / size if size else 0.0)
    return digest.hexdigest()
