"""Dialogues that a writer puts beside a scene, and how they begin.

`dialogues/*.jsonl` holds one conversation a line, with one character (`npc`) in it:

    {"npc": "hessa", "player": "Kit", "turns": [
      {"says": "Can you take me across tonight?"},
      {"reply": "Not on that rope.", "emotion": "worried", "action": "shake_head"},
      {"happens": "The east rope snaps."},
      {"says": "What was that?", "by": "Ferdi"},
      {"reply": "Our way home.", "emotion": "sad"}]}

How one begins is an example like those on the sheet, recalled when a player says something alike:
the first line, or what its `also` lists as other wordings. `finetune` learns from all of it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from npcserver.fields import Id
from npcserver.sheets import Character, Example, Scene, deed_faults

Words = Annotated[str, Field(min_length=1, max_length=4000)]
Name = Annotated[str, Field(min_length=1, max_length=60)]


class Line(BaseModel):
    """One turn, as a writer writes it: exactly one of `says`, `happens` and `reply`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    says: Words | None = None
    also: list[Words] = Field(default=[], max_length=32)
    by: Name | None = None
    happens: Words | None = None
    reply: Words | None = None
    emotion: Id | None = None
    action: Id | None = None
    target: str | None = None
    args: dict[str, Any] = {}


class Dialogue(BaseModel):
    """One conversation with a character."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    npc: Id
    player: Name | None = None
    turns: list[Line] = Field(min_length=2)

    @property
    def wordings(self) -> list[str]:
        """In which words it begins; none where what it begins with makes no sense by itself."""
        line, reply = self.turns[0], self.turns[1].reply
        if line.says is None or line.by is not None or reply is None:
            return []
        if self.player is not None and self.player in reply:
            return []
        return [line.says, *line.also]

    @property
    def beginnings(self) -> list[Example]:
        """How it begins, as an example for each of its wordings."""
        answer = self.turns[1]
        if answer.reply is None or answer.emotion is None:
            return []
        first = Example.model_construct(
            line="",
            reply=answer.reply,
            emotion=answer.emotion,
            action=answer.action,
            target=answer.target,
            args=answer.args,
        )
        return [first.model_copy(update={"line": line}) for line in self.wordings]


class Written(NamedTuple):
    """A dialogue, and the file and line where it stands."""

    source: str
    dialogue: Dialogue


def read(
    folder: Path, scene: Scene, characters: Mapping[str, Character]
) -> tuple[list[Written], list[str]]:
    """The dialogues in a folder, and what is wrong with the others, as `file:line: what`."""
    found: list[Written] = []
    faults: list[str] = []
    for file in sorted(folder.glob("*.jsonl")):
        try:
            lines = file.read_text(encoding="utf-8-sig").split("\n")
        except UnicodeDecodeError:
            faults.append(f"{file}:1: is not UTF-8; save the file as UTF-8")
            continue
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            told = _read(line, scene, characters)
            if isinstance(told, Dialogue):
                found.append(Written(f"{file}:{number}", told))
            else:
                faults.append(f"{file}:{number}: {told}")
    return found, faults


def beginnings(dialogues: Sequence[Written], npc: str) -> list[Example]:
    """How a character's dialogues begin, as examples."""
    own = (each.dialogue for each in dialogues if each.dialogue.npc == npc)
    return [example for dialogue in own for example in dialogue.beginnings]


def speaker(characters: Mapping[str, Character], name: str) -> str | None:
    """The id of a character of that name; None for a player's."""
    return next((npc for npc, sheet in characters.items() if sheet.name == name), None)


def _read(line: str, scene: Scene, characters: Mapping[str, Character]) -> Dialogue | str:
    """A line as a dialogue that the scene can play, or what is wrong with it."""
    told = _parsed(line)
    if isinstance(told, str):
        return told
    return next(_wrong(told, scene, characters), None) or told


def _parsed(line: str) -> Dialogue | str:
    """A line as a dialogue, or what is wrong with it."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {error}"
    if not isinstance(value, dict):
        return f"is a JSON {type(value).__name__}; one object a line is wanted"
    try:
        return Dialogue.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _wrong(dialogue: Dialogue, scene: Scene, characters: Mapping[str, Character]) -> Iterator[str]:
    """What the scene does not allow."""
    npc = dialogue.npc
    if npc not in characters:
        yield f"npc: there is no {npc!r} in the cast"
        return
    if all(line.reply is None for line in dialogue.turns):
        yield f"turns: {npc} says nothing; a reply is wanted"
    if dialogue.player == characters[npc].name:
        yield f"player: {dialogue.player} is the character; name somebody else"
    for number, line in enumerate(dialogue.turns):
        for wrong in _wrong_line(line, scene, characters[npc]):
            yield f"turns.{number}: {wrong}"


def _wrong_line(line: Line, scene: Scene, sheet: Character) -> Iterator[str]:
    if sum(text is not None for text in (line.says, line.happens, line.reply)) != 1:
        yield "has exactly one of says, happens and reply"
        return
    if line.also and line.says is None:
        yield "also: is for other wordings of what somebody says"
    if line.by is not None and (line.says is None or line.by == sheet.name):
        yield "by: says who else says the words"
    if line.reply is None:
        if line.emotion or line.action or line.target or line.args:
            yield "only a reply has an emotion or action"
        return
    if line.emotion not in scene.emotions:
        yield f"emotion: one of {', '.join(scene.emotions)} is wanted"
    for where, wrong in deed_faults(line, sheet, scene):
        yield f"{where}: {wrong}"
