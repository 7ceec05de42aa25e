"""Signed tokens: who a client is, what it may do, in which scene, until when.

JSON Web Tokens (RFC 7519), HS256 only. Knows nothing of sockets.
"""

import time
from typing import Any, Literal

import jwt
from pydantic import BaseModel, ConfigDict, ValidationError

from npcserver.errors import Closed
from npcserver.protocol import Id

ALGORITHM = "HS256"
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


def issue(secret: str, *, player: str, role: Role, scene: str, hours: float) -> str:
    """Sign a token that ends in `hours`. Raises pydantic's ValidationError for a bad player id."""
    exp = int(time.time() + 3600 * hours)
    claims = Claims(sub=player, role=role, scene=scene, exp=exp)
    return jwt.encode(claims.model_dump(), secret, algorithm=ALGORITHM)


def verify(secret: str, token: str) -> Claims:
    """What a token says, once its signature and its time have been checked.

    Raises:
        Closed: with close code 1008; `token_expired` or `bad_token`.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            options={"require": ["exp", "sub", "role", "scene"]},
        )
        return Claims.model_validate(claims)
    except jwt.ExpiredSignatureError:
        raise Closed("the token has expired; get a new one", 1008, "token_expired") from None
    except (jwt.InvalidTokenError, ValidationError):
        raise Closed("the token is not one that this server signed", 1008, "bad_token") from None
