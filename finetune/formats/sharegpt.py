"""ShareGPT: `{"conversations": [{"from", "value"}]}`, a list of them as JSON, or one a line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from finetune.formats import chat
from finetune.formats.base import Faults, Read, json_file, json_lines, text_of, validated

ROLES: dict[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "tool": "tool",
    "function_call": "tool",
    "observation": "tool",
}


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    by: Literal[tuple(ROLES)] = Field(alias="from")  # type: ignore[valid-type]
    value: str


class _Talk(BaseModel):
    model_config = ConfigDict(extra="ignore")

    conversations: list[_Said] = Field(min_length=1)
    system: str | None = None
    character: str | None = Field(None, max_length=60)


def read(path: Path, faults: Faults) -> Read:
    """Read a JSON or JSON Lines file."""
    for source, value in _entries(path, faults):
        talk = validated(_Talk, value, source, faults)
        if talk is None:
            continue
        messages = [
            chat.Message(role=ROLES[said.by], content=said.value) for said in talk.conversations
        ]
        if talk.system:
            messages.insert(0, chat.Message(role="system", content=talk.system))
        yield chat.converse(messages, talk.character, "sharegpt", source, faults)


def _entries(path: Path, faults: Faults) -> Iterator[tuple[str, Any]]:
    """Each conversation with the place it stands at; in a JSON list, that of the list."""
    if path.suffix.lower() == ".jsonl" or text_of(path, Faults()).lstrip()[:1] == "{":
        yield from json_lines(path, faults)
        return
    whole = json_file(path, faults)
    if whole is None:
        return
    if not isinstance(whole, list):
        faults.add(f"{path}:1", "is no list of conversations")
        return
    for number, value in enumerate(whole, 1):
        if isinstance(value, dict):
            yield f"{path}:1 entry {number}", value
        else:
            faults.add(f"{path}:1", f"entry {number}: is no object")
