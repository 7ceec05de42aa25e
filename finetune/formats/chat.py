"""Chat in the shape of OpenAI's messages: one `{"messages": [...]}` a line.

The system message says who the assistant is; `name` in a message, or `character` beside the
messages, says what they are called. What anybody feels or does is not known.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from finetune.formats.base import Faults, Read, character_id, json_lines, validated
from finetune.formats.names import fitting
from finetune.records import (
    MAX_TEXT,
    MEETING,
    PLAYER,
    Conversation,
    Dropped,
    Name,
    Persona,
    Stage,
    Turn,
    language_of,
    plain_stage,
)

STRANGER = "Stranger"
COMPANION = "Companion"
NOBODY = "Somebody to talk with."
EMPTY = "empty text"

Outside = Annotated[str, Field(max_length=1_000_000)]
"""Text as others wrote it. Only where it is bounded are halves of surrogate pairs refused."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["text"]
    text: Outside


class Message(BaseModel):
    """One message; other keys of it mean nothing here."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Outside | list[_Part] | None
    name: Name | None = None

    @property
    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, list):
            return " ".join(part.text for part in self.content).strip()
        return (self.content or "").strip()


class _Chat(BaseModel):
    model_config = ConfigDict(extra="ignore")

    messages: list[Message] = Field(min_length=2)
    character: Name | None = None
    npc: Name | None = None


def read(path: Path, faults: Faults) -> Read:
    """Read a JSON Lines file."""
    for source, value in json_lines(path, faults):
        chat = validated(_Chat, value, source, faults)
        if chat is not None:
            name = chat.character or chat.npc
            yield from converse(chat.messages, name, "chat", source, faults)


def converse(
    messages: Sequence[Message], name: str | None, dataset: str, source: str, faults: Faults
) -> Read:
    """Messages as a conversation with one character; those that say nothing are left out.

    Args:
        name: the character's, where the messages do not tell.
    """
    answers = [message for message in messages if message.role == "assistant"]
    if not answers:
        faults.add(source, "messages: no assistant says anything")
        return
    told = next((message.name for message in answers if message.name), None)
    who = clean_name(told or name or COMPANION)
    npc = character_id(who)
    system = " ".join(m.text for m in messages if m.role in ("system", "developer")).strip()
    persona = Persona(name=who, about=system[:MAX_TEXT] or NOBODY, resting="calm")
    language = language_of("".join(message.text for message in answers))
    stage = plain_stage(*MEETING[language], {npc: persona}, language=language)
    yield from together(stage, list(_said(messages, npc, who, source)), dataset, source)


def _said(messages: Sequence[Message], npc: str, who: str, source: str) -> Iterator[Turn | Dropped]:
    for message in messages:
        if message.role not in ("user", "assistant"):
            continue
        if not message.text:
            yield Dropped(source=source, reason=EMPTY)
            continue
        own = message.role == "assistant"
        yield Turn(
            speaker=npc if own else PLAYER,
            name=who if own else message.name or STRANGER,
            text=message.text[:MAX_TEXT],
            source=source,
        )


def together(stage: Stage, said: Sequence[Turn | Dropped], dataset: str, source: str) -> Read:
    """What was said as one conversation, if two people said it; and what was left out."""
    dropped = [each for each in said if isinstance(each, Dropped)]
    turns = [each for each in said if isinstance(each, Turn)]
    yield from dropped
    if len({turn.speaker for turn in turns}) == 2:
        yield Conversation(stage=stage, turns=turns, dataset=dataset, source=source)
    elif not dropped:
        yield Dropped(source=source, reason="not two people talking")


def clean_name(name: str) -> str:
    """A name as a sheet allows it."""
    return fitting(name) or COMPANION
