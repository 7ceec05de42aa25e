"""ShareGPT: `{"conversations": [{"from", "value"}]}`, a list of them as JSON, or one a line.

What anybody feels or does is not known.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from finetune.formats import chat
from finetune.formats.base import Faults, Read, json_lines, json_list, validated

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
HEAD_BYTES = 4096


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    by: Literal[tuple(ROLES)] = Field(alias="from")  # type: ignore[valid-type]
    value: chat.Outside


class _Talk(BaseModel):
    model_config = ConfigDict(extra="ignore")

    conversations: list[_Said] = Field(min_length=1)
    system: chat.Outside | None = None
    character: str | None = Field(None, max_length=60)


def read(path: Path, faults: Faults) -> Read:
    """Read a JSON or JSON Lines file."""
    entries = json_list(path, faults) if _is_list(path) else json_lines(path, faults)
    for source, value in entries:
        talk = validated(_Talk, value, source, faults)
        if talk is None:
            continue
        messages = [
            chat.Message(role=ROLES[said.by], content=said.value) for said in talk.conversations
        ]
        if talk.system:
            messages.insert(0, chat.Message(role="system", content=talk.system))
        yield from chat.converse(messages, talk.character, "sharegpt", source, faults)


def _is_list(path: Path) -> bool:
    """Whether a file begins as a JSON list, after a byte order mark and blanks."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(HEAD_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
