"""`/v1/systemone`: typed decisions by a character, each with its probabilities.

`choice` picks one of named options, `score` places on an ordered scale, `noul` says how likely a
statement is true. Nothing is generated: the options are scored.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from npcserver.api.characters import find
from npcserver.config import Settings
from npcserver.engines.base import Engine, Message, Prompt, Usage
from npcserver.library import LoadedScene
from npcserver.prompt import PromptBuilder
from npcserver.protocol import Line

Option = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\n]+$")]


class Choice(BaseModel):
    """One of named options; `criteria` maps each to a description, or to null."""

    type: Literal["choice"]
    instructions: Line
    criteria: Annotated[dict[Option, Line | None], Field(min_length=2, max_length=32)]


class Score(BaseModel):
    """A place on a scale; `criteria` lists its levels, lowest first."""

    type: Literal["score"]
    instructions: Line
    criteria: Annotated[list[Option], Field(min_length=2, max_length=10)]


class Noul(BaseModel):
    """True or false; `criteria` may say what either means."""

    type: Literal["noul"]
    instructions: Line
    criteria: dict[Literal["true", "false"], Line] | None = None


Question = Annotated[Choice | Score | Noul, Field(discriminator="type")]


class Request_(BaseModel):  # noqa: N801 - `Request` is the web framework's
    """A state, and questions about it by name."""

    model: Annotated[str, Field(max_length=200)]
    state: Line
    questions: Annotated[dict[str, Question], Field(min_length=1, max_length=16)]


def router(scenes: Mapping[str, LoadedScene], engine: Engine, settings: Settings) -> APIRouter:
    """The route, for these scenes."""
    routes = APIRouter()

    @routes.post("/v1/systemone")
    async def decide(body: Request_, request: Request) -> dict[str, Any]:
        """What the character makes of a state."""
        builder = find(request, scenes, settings, body.model)
        answers, usage = {}, Usage()
        for name, question in body.questions.items():
            options = _options(question)
            decision = await engine.decide(_prompt(builder, body.state, question), options)
            usage += decision.usage
            answers[name] = _answer(question, options, decision.probabilities)
        counted = {"input_tokens": usage.prompt_tokens, "output_tokens": 0}
        return {"model": body.model, "answers": answers, "usage": counted}

    return routes


def _options(question: Choice | Score | Noul) -> list[str]:
    """What follows ` ` in the answer's place."""
    if isinstance(question, Noul):
        return [" true", " false"]
    return [f" {option}" for option in question.criteria]


def _prompt(builder: PromptBuilder, state: str, question: Choice | Score | Noul) -> Prompt:
    lines = [f"[{state}]", question.instructions]
    if isinstance(question, Choice | Noul):
        described = (question.criteria or {}).items()
        lines += [f"- {option}: {text}" for option, text in described if text]
    asked = Message("user", "\n".join(lines))
    opening = f"{builder.character.name}:"
    return Prompt((*builder.persona, asked), opening, builder.loaded.id, builder.npc)


def _answer(
    question: Choice | Score | Noul, options: list[str], chances: tuple[float, ...]
) -> dict[str, Any]:
    named = dict(zip((option.strip() for option in options), chances, strict=True))
    answer: dict[str, Any] = {"type": question.type}
    match question:
        case Choice():
            answer["choice"] = max(named, key=lambda option: named[option])
        case Score():
            answer["score"] = sum(level * chance for level, chance in enumerate(chances))
            answer["legend"] = {str(level): text for level, text in enumerate(named)}
            named = {str(level): chance for level, chance in enumerate(chances)}
        case Noul():
            answer["noul"] = named["true"]
    # 0 where all options are equally likely, 1 where one is certain.
    even = 1 / len(chances)
    confidence = (max(chances) - even) / (1 - even)
    return {**answer, "probabilities": named, "confidence": confidence}
