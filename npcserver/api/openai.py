"""`/v1/models` and `/v1/chat/completions`: a character as a model of OpenAI's API.

Stateless: what was said comes with the request; nothing is journaled, and no live scene hears it.
"""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from secrets import token_hex
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from npcserver.api.characters import ApiError, find, names
from npcserver.config import Settings
from npcserver.engines.base import Engine, Sampling, Usage
from npcserver.errors import EngineError
from npcserver.journal import Entry
from npcserver.library import LoadedScene
from npcserver.prompt import PromptBuilder
from npcserver.protocol import (
    Line,
    PersonView,
    PlayerJoined,
    PlayerSaid,
    TurnDone,
    TurnStarted,
)
from npcserver.state import SceneState
from npcserver.turn import Doing, Feeling, Part, Spoken, Words, play

PLAYER = "player"


class ChatMessage(BaseModel):
    """One message; system messages are passed over, since the character has its own."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Line


class ChatRequest(BaseModel):
    """What of OpenAI's request counts here; other fields are passed over."""

    model: Annotated[str, Field(max_length=200)]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=200)]
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1024)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None


def router(
    scenes: Mapping[str, LoadedScene],
    engine: Engine,
    settings: Settings,
    history: Callable[[], int],
) -> APIRouter:
    """The routes, for these scenes.

    Args:
        history: past happenings a prompt may hold now.
    """
    routes = APIRouter()

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        """Every character, as a model."""
        data = [{"id": n, "object": "model", "owned_by": "npcserver"} for n in names(scenes)]
        return {"object": "list", "data": data}

    @routes.post("/v1/chat/completions", response_model=None)
    async def complete(body: ChatRequest, request: Request) -> dict[str, Any] | StreamingResponse:
        """The character's answer to the last user message."""
        builder = find(request, scenes, settings, body.model, history())
        if body.messages[-1].role != "user":
            raise ApiError(400, "last_message", "the last message must be a user's", "messages")
        parts = _answer(builder, engine, _sampling(body, settings), body)
        reply = _Reply(body.model)
        if body.stream:
            return StreamingResponse(reply.stream(parts), media_type="text/event-stream")
        async for part in parts:
            reply.take(part)
        return reply.whole()

    return routes


def _sampling(body: ChatRequest, settings: Settings) -> Sampling:
    return Sampling(
        max_tokens=body.max_tokens or settings.reply_tokens,
        temperature=settings.temperature if body.temperature is None else body.temperature,
        top_p=body.top_p or 0.9,
        seed=settings.seed if body.seed is None else body.seed,
    )


def _answer(
    builder: PromptBuilder, engine: Engine, sampling: Sampling, body: ChatRequest
) -> AsyncIterator[Part]:
    state = _replayed(builder, body.messages)
    return play(builder, state, engine, line=state.number, asker=PLAYER, sampling=sampling)


def _replayed(builder: PromptBuilder, messages: list[ChatMessage]) -> SceneState:
    """A scene in which the messages have just been said, face to face."""
    state = SceneState(builder.loaded)
    npc = state.bodies[builder.npc]
    who = PersonView(id=PLAYER, name="Player", place=npc.place, position=npc.position)
    both = frozenset({PLAYER, npc.id})
    state.apply(Entry(PlayerJoined(player=who), 0))
    for number, message in enumerate(messages):
        text = message.content
        turn = f"t{number}"
        if message.role == "user":
            said = PlayerSaid(
                line_id=turn, player=PLAYER, name=who.name, text=text, to=[npc.id], volume="talk"
            )
            state.apply(Entry(said, 0, both))
        elif message.role == "assistant":
            started = TurnStarted(turn_id=turn, npc=npc.id, to=[PLAYER], volume="talk")
            done = TurnDone(turn_id=turn, npc=npc.id, status="completed", text=text)
            state.apply(Entry(started, 0, both))
            state.apply(Entry(done, 0, both))
    return state


class _Reply:
    """A reply in the making, and its two shapes."""

    def __init__(self, model: str) -> None:
        self._head = {
            "id": f"chatcmpl-{token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }
        self._text = ""
        self._usage = Usage()
        self._npc: dict[str, Any] = {}

    def take(self, part: Part) -> dict[str, Any] | None:
        """Take in a part; return what of it belongs into a chunk's delta."""
        match part:
            case Feeling():
                self._npc["emotion"] = part.emotion
                return {"role": "assistant", "content": "", "npc": {"emotion": part.emotion}}
            case Doing():
                action = {"name": part.action, "target": part.target, "args": part.args}
                self._npc["action"] = action
                return {"npc": {"action": action}}
            case Words(delta):
                self._text += delta
                return {"content": delta}
            case Spoken(usage):
                self._usage = usage
        return None

    def whole(self) -> dict[str, Any]:
        """A `chat.completion`; emotion and action stand under `npc`."""
        message = {"role": "assistant", "content": self._text, "npc": self._npc}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {
            "prompt_tokens": self._usage.prompt_tokens,
            "completion_tokens": self._usage.completion_tokens,
            "total_tokens": self._usage.prompt_tokens + self._usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self._usage.cached_tokens},
        }
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": usage}

    async def stream(self, parts: AsyncIterator[Part]) -> AsyncIterator[str]:
        """Server-sent `chat.completion.chunk`s, closed by `[DONE]`."""
        try:
            async with aclosing(parts):  # type: ignore[type-var]
                async for part in parts:
                    if (delta := self.take(part)) is not None:
                        yield self._chunk(delta, None)
        except EngineError as error:
            yield _event({"error": {"message": error.message, "code": error.code}})
        else:
            yield self._chunk({}, "stop")
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], finish: str | None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [choice]})


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
