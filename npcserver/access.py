"""Who may come in: origin and token, for sockets and for HTTP alike."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from npcserver import tokens
from npcserver.config import Settings
from npcserver.errors import Closed


@dataclass(frozen=True)
class Visitor:
    """Who somebody's token says they are; in an open server, anybody, host and admin as well."""

    player: str | None
    host: bool
    admin: bool


def admit(
    headers: Mapping[str, str], settings: Settings, scene: str, offered: str | None = None
) -> Visitor:
    """Check origin and token.

    Args:
        headers: of the request, names in small letters.
        offered: a token that came another way than in `authorization`.

    Raises:
        Closed: they may not, with close code 1008.
    """
    _check_origin(headers, settings)
    if settings.secret is None:
        return Visitor(None, host=True, admin=True)
    scheme, _, value = headers.get("authorization", "").partition(" ")
    token = value.strip() if scheme.lower() == "bearer" else offered
    if not token:
        how = "`Authorization: Bearer …` or the subprotocol `token.…`"
        raise Closed(f"a token is needed: {how}", 1008, "no_token")
    claims = tokens.verify(settings.secret.get_secret_value(), token, time.time())
    if claims.scene not in ("*", scene):
        raise Closed(f"the token is for scene {claims.scene!r}", 1008, "wrong_scene")
    return Visitor(claims.sub, claims.role in ("host", "admin"), claims.role == "admin")


def _check_origin(headers: Mapping[str, str], settings: Settings) -> None:
    """A page of another origin may not use a player's browser to talk to this server."""
    host = headers.get("host", "")
    if settings.is_open and not _is_local(host):
        raise Closed("an open server answers to local names only", 1008, "bad_host")
    origin = headers.get("origin")
    if origin is None or origin in settings.allowed_origins or "*" in settings.allowed_origins:
        return
    if urlsplit(origin).netloc != host:
        fault = f"pages of {origin[:80]} may not connect; see the setting allowed_origins"
        raise Closed(fault, 1008, "bad_origin")


def _is_local(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    with contextlib.suppress(ValueError):
        return ip_address(name).is_loopback
    return name == "localhost"
