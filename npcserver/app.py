"""The web application: routes, start and stop."""

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI, HTTPException, Response, WebSocket
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from npcserver import __version__, connection, metrics
from npcserver.api import admin, characters, openai, systemone
from npcserver.config import Settings
from npcserver.engines.base import Sampling
from npcserver.journal import Store
from npcserver.library import LoadedScene, load_scenes
from npcserver.lobby import Lobby
from npcserver.prompt import PromptBuilder
from npcserver.served import Served
from npcserver.state import SceneState

log = logging.getLogger(__name__)

PLAYGROUND = Path(__file__).parent / "playground"


@dataclass(frozen=True)
class Startup:
    """How starting went, in milliseconds: until ready, and to the first word of a warm-up line."""

    ready_ms: int
    first_word_ms: int
    scenes: tuple[str, ...]
    scripted: tuple[str, ...] = ()
    """Scenes played by script, since the model does not speak their language."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What the engine says of itself."""


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings; everything is loaded when it starts.

    Raises:
        SceneError: a scene's files are wrong.
        ModelError: the model is missing, or the adapter does not fit.
    """
    scenes = load_scenes(settings.scenes)
    served = Served(settings, scenes)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        begun = time.perf_counter()
        store = Store(settings.data / "journal.db")
        await served.engine.start()
        ready_ms = _since(begun)
        first_word_ms = await _first_word(served, scenes, settings)
        lobby = Lobby(scenes, served.engine, store, settings, served.history, served.recall)
        app.state.lobby = lobby
        app.state.startup = Startup(
            ready_ms,
            first_word_ms,
            tuple(scenes),
            served.now.scripted,
            served.engine.status().details,
        )
        metrics.watch(lobby)
        served.warm()
        try:
            yield
        finally:
            await lobby.close()
            await served.close()
            store.close()

    app = FastAPI(title="npcserver", version=__version__, lifespan=lifespan)
    app.state.settings = settings
    _add_routes(app, scenes, served, is_open=settings.is_open)
    app.include_router(openai.router(scenes, served.engine, settings, served.history))
    app.include_router(systemone.router(scenes, served.engine, settings))
    app.include_router(admin.router(served, scenes, settings))
    characters.answer_errors(app)
    _add_playground(app)
    return app


def _add_routes(
    app: FastAPI, scenes: Mapping[str, LoadedScene], served: Served, *, is_open: bool
) -> None:
    @app.websocket("/v1/scenes/{scene}/ws")
    async def play(socket: WebSocket, scene: str, instance: str = "main") -> None:
        await connection.serve(socket, app.state.lobby, scene, instance)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process is up."""
        return {"status": "ok", "version": __version__}

    @app.get("/readyz")
    async def readyz(response: Response) -> dict[str, object]:
        """The model is loaded and can answer; `warm`: all it can compute beforehand, it has."""
        status = served.engine.status()
        response.status_code = 200 if status.ready else 503
        told = {
            "ready": status.ready,
            "engine": status.engine,
            "model": status.model,
            "warm": served.is_warm,
        }
        # The details name servers: with a secret set, strangers may ask here.
        return told | ({"details": status.details} if is_open and status.details else {})

    @app.get("/metrics")
    async def scrape() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/scenes")
    async def list_scenes() -> dict[str, object]:
        """Every scene, with its cast."""
        return {"scenes": [_describe(scene) for scene in scenes.values()]}

    @app.get("/v1/scenes/{scene}")
    async def one_scene(scene: str) -> dict[str, object]:
        """One scene: places, props, emotions, actions and events with their schemas."""
        if scene not in scenes:
            raise HTTPException(404, f"there is no scene {scene[:40]!r}; see /v1/scenes")
        return _describe(scenes[scene], whole=True)


def _describe(loaded: LoadedScene, *, whole: bool = False) -> dict[str, object]:
    scene = loaded.scene
    described: dict[str, object] = {
        "id": loaded.id,
        "name": scene.name,
        "language": scene.language,
        "about": scene.about,
        "npcs": [
            {"id": npc, "name": character.name} for npc, character in loaded.characters.items()
        ],
    }
    if whole:
        data = scene.model_dump(include={"places", "props", "emotions", "actions", "events"})
        described |= data
    return described


def _add_playground(app: FastAPI) -> None:
    csp = "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'"

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        headers = {"Content-Security-Policy": csp, "X-Content-Type-Options": "nosniff"}
        return FileResponse(PLAYGROUND / "index.html", headers=headers)

    app.mount("/playground", StaticFiles(directory=PLAYGROUND), name="playground")


async def _first_word(served: Served, scenes: Mapping[str, LoadedScene], settings: Settings) -> int:
    """Milliseconds to the first word of a line nobody hears."""
    scripted = served.now.scripted
    loaded = next((s for s in scenes.values() if s.id not in scripted), None)
    loaded = loaded or next(iter(scenes.values()))
    builder = PromptBuilder(loaded, next(iter(loaded.characters)), settings.prompt_tokens)
    prompt = builder.draft(SceneState(loaded), builder.wording.stranger, "Hello.")
    begun = time.perf_counter()
    pieces = served.engine.generate(prompt, Sampling(max_tokens=4))
    async for piece in pieces:
        if piece.text.strip():
            break
    await pieces.aclose()
    return _since(begun)


def _since(begun: float) -> int:
    return round(1000 * (time.perf_counter() - begun))
