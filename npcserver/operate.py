"""What an operator asks of a running server: `npcserver models use`, `npcserver erase`."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from npcserver.client import is_here, unreachable
from npcserver.errors import NpcError

TIMEOUT = httpx.Timeout(10.0, read=None)
"""Merging an adapter takes as long as the model is large."""


def use_model(url: str, token: str | None, model: str | None, adapter: str | None) -> Any:
    """Let a server serve another model; what it answers.

    Args:
        model: by name, or a folder; None: the one it serves now.
        adapter: a folder on the server's machine; None: what the model comes with, `none`: none.

    Raises:
        NpcError: there is no server, or it refused, and why.
    """
    if is_here(url):
        model, adapter = _whole_path(model), _whole_path(adapter)
    return _ask(url, token, "POST", "/v1/admin/model", json={"model": model, "adapter": adapter})


def erase_player(
    url: str, token: str | None, player: str, scene: str | None, instance: str | None
) -> Any:
    """Let a server erase a player for good; where it did.

    Args:
        scene, instance: only there; None: everywhere.

    Raises:
        NpcError: there is no server, or it refused, and why.
    """
    where = {"scene": scene, "instance": instance}
    params = {name: value for name, value in where.items() if value is not None}
    return _ask(url, token, "DELETE", f"/v1/admin/players/{quote(player, '')}", params=params)


def _ask(url: str, token: str | None, method: str, path: str, **request: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(trust_env=not is_here(url), timeout=TIMEOUT, headers=headers) as http:
            answer = http.request(method, f"{url.rstrip('/')}{path}", **request)
            told = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise unreachable(url, error) from None
    if answer.is_error:
        fault = told.get("error", {}) if isinstance(told, dict) else {}
        message = fault.get("message", f"{url} answered {answer.status_code}; is it an npcserver?")
        raise NpcError(message, fault.get("code"))
    return told


def _whole_path(name: str | None) -> str | None:
    """A folder's whole path, since the server may run in another one; a mere name stays."""
    return str(Path(name).absolute()) if name and Path(name).is_dir() else name
