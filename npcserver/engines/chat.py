"""A model's own chat template, as the texts it puts between messages.

Such templates are programs, and each library runs them by an interpreter of its own. Ours only ever
needs one shape of conversation: perhaps a system message, then players and character by turns. So a
template writes one conversation of marks, what stands between the marks is kept, and another
conversation shows whether that is all there is to it. Serving and training then write prompts
alike, and need no interpreter.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from npcserver.engines.base import Message, Prompt
from npcserver.engines.render import Template, template

Chat = list[dict[str, str]]
Apply = Callable[[Chat], str]
"""Writes a conversation and the beginning of the reply. Raises whatever it likes."""

MARKS = ("Marka", "Markb", "Markc", "Markd", "Marke", "Markf")
ROLES = ("user", "assistant", "user")
LONGER = ("user", "assistant", "user", "assistant", "user")


def learned(apply: Apply, specials: Sequence[str]) -> dict[str, Any] | None:
    """What `model.json` says of a template, for `render.template`; None if it is of another kind.

    Args:
        specials: texts that are one special token each; one of them ends a reply.
    """
    try:
        steps = _steps(apply)
        found = {"steps": steps, "end": _end(steps["assistant user"], specials)}
        fits = _written_by(apply, LONGER) == _written(template(found), LONGER)
    except Exception:
        return None
    return found if fits else None


def _steps(apply: Apply) -> dict[str, str]:
    """What stands before each message, by the role before it and its own."""
    start, opened, answered, opening = _between(_written_by(apply, ROLES))
    steps = {
        "start user": start,
        "user assistant": opened,
        "assistant user": answered,
        "user opening": opening,
    }
    try:
        led, system, *_ = _between(_written_by(apply, ("system", *ROLES)))
    except Exception:
        # It becomes the beginning of what is said first.
        return steps | {"start system": start, "system user": "\n\n"}
    return steps | {"start system": led, "system user": system}


def _between(text: str) -> list[str]:
    """The texts before, between and after the marks."""
    parts = re.split("|".join(MARKS), text)
    if len(parts) < len(ROLES) + 1:
        raise ValueError("a message was left out")
    return parts


def _chat(roles: Sequence[str]) -> list[Message]:
    return [Message(role, mark) for role, mark in zip(roles, MARKS, strict=False)]  # type: ignore[arg-type]


def _written_by(apply: Apply, roles: Sequence[str]) -> str:
    return apply([{"role": each.role, "content": each.text} for each in _chat(roles)])


def _written(own: Template, roles: Sequence[str]) -> str:
    """The same by the steps. What opens the reply is a mark that is taken away."""
    return own.text(Prompt(tuple(_chat(roles)), "\0")).removesuffix("\0")


def _end(after: str, specials: Sequence[str]) -> str:
    """The special token that ends a reply: the first behind one."""
    places = {after.find(special): special for special in specials if special in after}
    return places[min(places)] if places else specials[0]


def of_transformers(tokenizer: Any, specials: Sequence[str]) -> dict[str, Any] | str:
    """The template of a tokenizer of transformers; a transcript where it has none of ours."""

    def apply(chat: Chat) -> str:
        return str(
            tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        )

    own = learned(apply, specials) if tokenizer.chat_template else None
    return own or "script"


def of_openvino(tokenizer: Any, specials: Sequence[str]) -> dict[str, Any] | str:
    """The template of a tokenizer of OpenVINO GenAI; a transcript where it has none of ours."""

    def apply(chat: Chat) -> str:
        return str(
            tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, extra_context={"enable_thinking": False}
            )
        )

    own = learned(apply, specials) if tokenizer.chat_template else None
    return own or "script"
