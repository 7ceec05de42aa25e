"""How a prompt is put to an OpenAI-compatible server, and where its answer holds the words.

Our prompts are texts to go on with, so they are sent to `/completions` as text. A server that has
none gets messages, the opening as the answer it has begun.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from npcserver.engines.base import Message, Prompt, Usage
from npcserver.engines.endpoint import Json
from npcserver.engines.fleet import Fleet
from npcserver.engines.pieces import SPECIAL
from npcserver.engines.render import Template
from npcserver.errors import EngineError


class Form(Protocol):
    """One way to write a request and to read its answer."""

    path: str
    says: str

    def write(self, prompt: Prompt, more: str = "") -> Json:
        """The part of the body that holds the prompt, and `more` as its very next text."""

    def text(self, choice: Json) -> str:
        """The words of an answer's choice, or of a piece of it."""

    def logprobs(self, number: int) -> Json:
        """The part of the body that asks for the likeliest next tokens."""


class Completing:
    """Text that the model goes on with."""

    path = "completions"
    says = "text (/v1/completions)"

    def __init__(self, template: Template) -> None:
        self.template = template

    def write(self, prompt: Prompt, more: str = "") -> Json:
        """The whole text."""
        return {"prompt": self.template.text(_neutral(prompt)) + more}

    def text(self, choice: Json) -> str:
        """A completion's text."""
        return choice.get("text") or ""

    def logprobs(self, number: int) -> Json:
        """The number alone."""
        return {"logprobs": number}


class Chatting:
    """Messages, and an answer that has begun."""

    path = "chat/completions"
    says = "messages (/v1/chat/completions)"

    def __init__(self, hints: Json) -> None:
        """Args: hints: how this server is told to go on with the last message."""
        self._hints = hints

    def write(self, prompt: Prompt, more: str = "") -> Json:
        """Every block as a message; the opening is the last one."""
        neutral = _neutral(prompt.then(more))
        messages = [{"role": m.role, "content": m.text} for m in neutral.messages]
        if not neutral.opening:
            return {"messages": messages}
        opening = {"role": "assistant", "content": neutral.opening}
        return {"messages": [*messages, opening], **self._hints}

    def text(self, choice: Json) -> str:
        """A message's content; what it thinks comes under another name and is left out."""
        said = choice.get("delta") or choice.get("message") or {}
        return said.get("content") or ""

    def logprobs(self, number: int) -> Json:
        """A switch, and the number."""
        return {"logprobs": True, "top_logprobs": number}


CONTINUING: tuple[Json, ...] = (
    {"continue_final_message": True, "add_generation_prompt": False},
    {},
)
"""What makes a chat continue its last message: vLLM and SGLang want it said, others refuse it."""


@dataclass(frozen=True)
class Talk:
    """The servers, the model there, and the form in which they are spoken to."""

    fleet: Fleet
    form: Form
    model: str | None

    async def ask(self, prompt: Prompt, /, **fields: Any) -> Json:
        """One question about a prompt. Raises EngineError."""
        return await self.fleet.ask(self.form.path, self.body(prompt, **fields))

    def body(self, prompt: Prompt, /, **fields: Any) -> Json:
        """A request's body."""
        return {**self.named(), **self.form.write(prompt), **fields}

    def named(self) -> Json:
        """The model's name, where it has one."""
        return {"model": self.model} if self.model else {}


def choices(answer: Json) -> list[Json]:
    """An answer's choices, in order. Raises EngineError when it has none."""
    listed = answer.get("choices")
    if not isinstance(listed, list) or not listed:
        raise EngineError("the server's answer has no choices")
    return sorted(listed, key=lambda each: each.get("index") or 0)


def usage(answer: Json) -> Usage | None:
    """The tokens an answer says it took; None where it does not say."""
    told = answer.get("usage")
    if not isinstance(told, dict):
        return None
    details = told.get("prompt_tokens_details") or {}
    return Usage(
        told.get("prompt_tokens") or 0,
        details.get("cached_tokens") or 0,
        told.get("completion_tokens") or 0,
    )


def _neutral(prompt: Prompt) -> Prompt:
    """What people said, with a space for everything that a model may take for a special token."""
    messages = tuple(Message(m.role, SPECIAL.sub(" ", m.text)) for m in prompt.messages)
    return Prompt(messages, SPECIAL.sub(" ", prompt.opening))
