"""Prompt → text → the ids a model continues; the same for serving and training.

A model tuned for chat reads its own template, or ChatML; a small one continues a plain transcript
better than it follows markup.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from npcserver.engines.base import Message, Prompt
from npcserver.errors import ModelError


class Tokenizer(Protocol):
    """Text → ids, and the texts that stand for special tokens."""

    @property
    def specials(self) -> Sequence[str]:
        """Texts that must not be forged."""

    def encode(self, text: str) -> list[int]:
        """ids (T,)"""


@dataclass(frozen=True)
class Template:
    """How a prompt is written, and what a model writes when a reply has ended."""

    text: Callable[[Prompt], str]
    end: str


def script(prompt: Prompt) -> str:
    """A transcript: an answer follows its line directly, exchanges are parted by blank lines."""
    text, last = "", ""
    for message in prompt.messages:
        if text:
            text += "\n" if (last, message.role) == ("user", "assistant") else "\n\n"
        text += message.text
        last = message.role
    if not prompt.opening:
        return text
    return text + ("\n" if last == "user" else "\n\n") + prompt.opening


def chatml(prompt: Prompt) -> str:
    """Each message between `<|im_start|>role` and `<|im_end|>`, the last one left open."""
    blocks = [f"<|im_start|>{m.role}\n{m.text}<|im_end|>\n" for m in prompt.messages]
    return "".join(blocks) + (f"<|im_start|>assistant\n{prompt.opening}" if prompt.opening else "")


STEPS = {
    *("start system", "start user", "system user"),
    *("user assistant", "assistant user", "user opening"),
}


def stepped(steps: Mapping[str, str], prompt: Prompt) -> str:
    """A template learned from the model: what stands before each message, by the roles' order."""
    text, last = "", "start"
    for message in prompt.messages:
        # Chats have one system message, at the start.
        role = "user" if message.role == "system" and last != "start" else message.role
        text += _step(steps, last, role) + message.text
        last = role
    return text + (_step(steps, last, "opening") + prompt.opening if prompt.opening else "")


def _step(steps: Mapping[str, str], last: str, role: str) -> str:
    if last == role:
        return "\n\n"
    if (known := steps.get(f"{last} {role}")) is not None:
        return known
    return steps[f"{last} user"] + steps[f"user {role}"]  # as if somebody had said nothing


TEMPLATES = {"script": Template(script, "\n"), "chatml": Template(chatml, "<|im_end|>")}


def template(told: object) -> Template:
    """A template as `model.json` tells it: a name, or what `chat.py` learned from the model.

    Raises:
        ModelError: it is neither.
    """
    match told:
        case str() if told in TEMPLATES:
            return TEMPLATES[told]
        case {"steps": dict() as steps, "end": str() as end} if steps.keys() >= STEPS:
            if all(isinstance(text, str) for text in steps.values()):
                return Template(partial(stepped, steps), end)
    raise ModelError(
        f"model.json: template is neither one of {', '.join(TEMPLATES)} nor steps and an end; "
        "leave it out, and the model's own is taken"
    )


def neutral(text: str, specials: Sequence[str]) -> str:
    """The text with a space for every special token in it, so that none can be forged."""
    for special in specials:
        text = text.replace(special, " ")
    return text


def prompt_text(prompt: Prompt, template: Template, tokenizer: Tokenizer) -> str:
    """A prompt's text, special tokens in what people said made harmless."""
    messages = tuple(Message(m.role, neutral(m.text, tokenizer.specials)) for m in prompt.messages)
    return template.text(Prompt(messages, prompt.opening))


def prompt_ids(prompt: Prompt, template: Template, tokenizer: Tokenizer) -> list[int]:
    """The ids (T,) of a prompt."""
    return tokenizer.encode(prompt_text(prompt, template, tokenizer))


def asked_ids(
    command: Mapping[str, Any], room: int, context: int, template: Template, tokenizer: Tokenizer
) -> list[int]:
    """The ids (T,) of the prompt that a request to an engine's process brings.

    Args:
        room: tokens that are to come after it.
        context: tokens the model takes.

    Raises:
        ValueError: it does not leave that room.
    """
    messages = tuple(Message(role, text) for role, text in command["messages"])
    ids = prompt_ids(Prompt(messages, command["opening"]), template, tokenizer)
    if len(ids) + room > context:
        raise ValueError(
            f"the prompt has {len(ids)} tokens; with {room} to come, the model takes {context}"
        )
    return ids
