"""Characters as models: `scene/npc` is a model's name, and its refusals have OpenAI's shape."""

from collections.abc import Mapping

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from npcserver import access
from npcserver.config import Settings
from npcserver.errors import Closed, EngineError
from npcserver.library import LoadedScene
from npcserver.prompt import PromptBuilder


class ApiError(HTTPException):
    """An error as OpenAI's clients expect it.

    Args:
        param: the field that is wrong.
    """

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(status, message)
        self.code = code
        self.param = param


def find(
    request: Request,
    scenes: Mapping[str, LoadedScene],
    settings: Settings,
    model: str,
    history: int = 0,
) -> PromptBuilder:
    """The character a model's name stands for, if the request may talk with it.

    Args:
        history: past happenings its prompts may hold.

    Raises:
        ApiError: it may not, or there is no such character.
    """
    scene, _, npc = model.partition("/")
    try:
        access.admit(request.headers, settings, scene)
    except Closed as closed:
        raise ApiError(401, closed.code, closed.message) from closed
    if scene not in scenes or npc not in scenes[scene].characters:
        fault = f"there is no model {model[:80]!r}; see /v1/models"
        raise ApiError(404, "model_not_found", fault, "model")
    return PromptBuilder(scenes[scene], npc, settings.prompt_tokens, history)


def names(scenes: Mapping[str, LoadedScene]) -> list[str]:
    """The models' names."""
    return [f"{scene}/{npc}" for scene, loaded in scenes.items() for npc in loaded.characters]


def answer_errors(app: FastAPI) -> None:
    """Give errors of the API the shape `{"error": {message, type, param, code}}`."""

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> JSONResponse:
        return _body(error.status_code, error.code, str(error.detail), error.param)

    @app.exception_handler(EngineError)
    async def engine_error(request: Request, error: EngineError) -> JSONResponse:
        return _body(503, error.code, error.message, None)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        fault = error.errors()[0]
        param = ".".join(str(part) for part in fault["loc"] if part != "body")
        return _body(422, "invalid_request", f"{param}: {fault['msg']}", param)


def _body(status: int, code: str, message: str, param: str | None) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": error}, status)
