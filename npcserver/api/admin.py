"""What admins ask: another model, why a turn came out so, and that a player be erased.

For role admin. Nobody is disconnected: turns under way end on the model they began on.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from npcserver import access
from npcserver.api.characters import ApiError
from npcserver.config import Settings
from npcserver.errors import Closed, ModelError, Rejected
from npcserver.explaining import Explanation, explain
from npcserver.journal import JournalError
from npcserver.library import LoadedScene
from npcserver.protocol import is_id
from npcserver.served import Served
from npcserver.surprise import surprise

Name = Annotated[str, Field(min_length=1, max_length=4096)]


class Wanted(BaseModel):
    """What to serve: by default the model of now, with the adapter it comes with."""

    model_config = ConfigDict(extra="forbid")

    model: Name | None = None
    adapter: Name | None = None


def router(served: Served, scenes: Mapping[str, LoadedScene], settings: Settings) -> APIRouter:
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

    @routes.get("/v1/admin/turns/{turn_id}")
    async def why(
        turn_id: str, scene: str, request: Request, instance: str = "main"
    ) -> Explanation:
        """Everything that a turn hung on."""
        _admit(request, settings)
        if scene not in scenes:
            raise ApiError(404, "no_such_scene", f"there is no scene {scene[:40]!r}")
        entries = await request.app.state.lobby.entries(scene, instance)
        found = await asyncio.to_thread(
            explain,
            scenes[scene],
            entries,
            turn_id,
            settings.prompt_tokens,
            served.history(),
            served.recall(),
        )
        if found is None:
            where = f"{scene}/{instance[:40]}"
            raise ApiError(404, "no_such_turn", f"{where} has no turn {turn_id[:40]!r}")
        found.surprise = await surprise(served.engine, scenes[scene], found)
        return found

    @routes.delete("/v1/admin/players/{player}")
    async def erase(
        player: str, request: Request, scene: str | None = None, instance: str | None = None
    ) -> dict[str, Any]:
        """Erase a player for good, everywhere, in a scene, or in an instance of it."""
        _admit(request, settings)
        if not is_id(player):
            raise ApiError(400, "bad_id", "an id is 1 to 64 letters (a to z), digits, _ . and -")
        try:
            found = await request.app.state.lobby.erase(player, scene, instance)
        except Rejected as error:
            raise ApiError(409, error.code, error.message) from error
        except Closed as closed:
            raise ApiError(503, closed.code, closed.message) from closed
        except JournalError as error:
            raise ApiError(503, error.code, error.message) from error
        there = [asdict(each) for each in found if each.entries is not None]
        elsewhere = [f"{each.scene}/{each.instance}" for each in found if each.entries is None]
        return {"erased": there, "not_served": elsewhere}

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
