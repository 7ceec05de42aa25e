"""Signed tokens: who a client is, what it may do, in which scene, until when.

JSON Web Tokens (RFC 7519), HS256 only, so that a game's own backend can make them with any library.
Knows nothing of sockets.
"""

import time
from typing import Any, Literal

import jwt
from pydantic import BaseModel, ConfigDict, ValidationError

from npcserver.errors import Closed
from npcserver.protocol import Id

ALGORITHM = "HS256"
MAX_CHARS = 4096
"""Longer than any token this server signs; longer ones are not even looked at."""
Role = Literal["player", "host", "admin"]


class Claims(BaseModel):
    """What a token says.

    Args:
        sub: the player's id.
        role: `host` and `admin` may speak for the world.
        scene: the scene's id, or `*` for all.
        exp: when it ends, in Unix seconds.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    sub: Id
    role: Role
    scene: str
    exp: int


def issue(
    secret: str, *, player: str, role: Role, scene: str, hours: float, now: float | None = None
) -> str:
    """Sign a token that ends `hours` after `now`.

    Raises:
        ValidationError: pydantic's; the player's id or the role is not one.
    """
    begin = time.time() if now is None else now
    claims = Claims(sub=player, role=role, scene=scene, exp=int(begin + 3600 * hours))
    return jwt.encode(claims.model_dump(), secret, algorithm=ALGORITHM)


def verify(secret: str, token: str, now: float | None = None) -> Claims:
    """What a token says, once its signature and its time have been checked. No leeway is given.

    Raises:
        Closed: with close code 1008; `token_expired` or `bad_token`.
    """
    claims = _signed(secret, token)
    if claims.exp <= (time.time() if now is None else now):
        raise Closed("the token has expired; get a new one", 1008, "token_expired")
    return claims


def _signed(secret: str, token: str) -> Claims:
    if len(token) > MAX_CHARS or not token.isascii():
        raise _bad()
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            # The time is checked by `verify`, against the clock it is given.
            options={"require": list(Claims.model_fields), "verify_exp": False},
        )
        return Claims.model_validate(claims)
    except (jwt.InvalidTokenError, ValidationError):
        raise _bad() from None


def _bad() -> Closed:
    return Closed(
        "the token is not one that this server's secret signed, with sub, role, scene and exp",
        1008,
        "bad_token",
    )
