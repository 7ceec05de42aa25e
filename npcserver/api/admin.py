"""`/v1/admin/model`: which model is served, and another one in its place.

For role admin. Nobody is disconnected: turns under way end on the model they began on.
"""

import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from npcserver import access
from npcserver.api.characters import ApiError
from npcserver.config import Settings
from npcserver.errors import Closed, ModelError, Rejected
from npcserver.served import Served

Name = Annotated[str, Field(min_length=1, max_length=4096)]


class Wanted(BaseModel):
    """What to serve: by default the model of now, without an adapter."""

    model_config = ConfigDict(extra="forbid")

    model: Name | None = None
    adapter: Name | None = None


def router(served: Served, settings: Settings) -> APIRouter:
    """The routes, for what is served."""
    routes = APIRouter()

    @routes.get("/v1/admin/model")
    async def tell(request: Request) -> dict[str, Any]:
        """What is served now."""
        _admit(request, settings)
        status = served.engine.status()
        return {
            **_named(served),
            "engine": status.engine,
            "ready": status.ready,
            "history_lines": served.history(),
        }

    @routes.post("/v1/admin/model")
    async def use(body: Wanted, request: Request) -> dict[str, Any]:
        """Serve another model, or the same with another adapter."""
        _admit(request, settings)
        begun = time.perf_counter()
        try:
            await served.use(body.model, Path(body.adapter) if body.adapter else None)
        except ModelError as error:
            raise ApiError(400, error.code, error.message) from error
        except Rejected as error:
            raise ApiError(409, error.code, error.message) from error
        took_ms = round(1000 * (time.perf_counter() - begun))
        return {**_named(served), "took_ms": took_ms}

    return routes


def _named(served: Served) -> dict[str, str | None]:
    now = served.now
    return {"model": now.model, "adapter": str(now.adapter) if now.adapter else None}


def _admit(request: Request, settings: Settings) -> None:
    """Admins only, and of all scenes, since a model speaks in all of them."""
    try:
        visitor = access.admit(request.headers, settings, "*")
    except Closed as closed:
        raise ApiError(401, closed.code, closed.message) from closed
    if not visitor.admin:
        raise ApiError(403, "not_admin", "this needs a token with the role admin")
