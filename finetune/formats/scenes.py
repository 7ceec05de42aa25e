"""A scene of ours: the examples of its characters, and the dialogues beside it.

`dialogues/*.jsonl` holds one conversation a line, with one character (`npc`) in it:

    {"npc": "hessa", "player": "Kit", "turns": [
      {"says": "Can you take me across tonight?"},
      {"reply": "Not on that rope.", "emotion": "worried", "action": "shake_head"},
      {"happens": "The east rope snaps."},
      {"says": "What was that?", "by": "Ferdi"},
      {"reply": "Our way home.", "emotion": "sad"}]}
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML

from finetune.formats.base import Faults, Read, json_lines, validated
from finetune.records import NONE, PLAYER, Act, Conversation, Name, Persona, Stage, Turn, Words
from npcserver.errors import SceneError
from npcserver.fields import Id
from npcserver.library import LoadedScene, load_scene
from npcserver.sheets import Example, target_ids

STRANGER = {"en": "Stranger", "zh": "来客"}


class _Line(BaseModel):
    """One turn, as a writer writes it: exactly one of `says`, `happens` and `reply`."""

    model_config = ConfigDict(extra="forbid")

    says: Words | None = None
    by: Name | None = None
    happens: Words | None = None
    reply: Words | None = None
    emotion: Id | None = None
    action: Id | None = None
    target: str | None = None
    args: dict[str, Any] = {}


class _Dialogue(BaseModel):
    model_config = ConfigDict(extra="forbid")

    npc: Id
    player: Name | None = None
    turns: list[_Line] = Field(min_length=2)


def read(path: Path, faults: Faults) -> Read:
    """Read a scene's folder."""
    try:
        loaded = load_scene(path)
    except SceneError as error:
        faults.found.extend(error.message.split("\n"))
        return
    stage = stage_of(loaded)
    for npc, character in loaded.characters.items():
        file = path / "characters" / f"{npc}.yaml"
        for line, example in zip(_example_lines(file), character.examples, strict=True):
            source = f"{file}:{line}"
            yield Conversation(
                stage=stage,
                turns=_example(loaded, npc, example, source),
                dataset="scene",
                source=source,
                hidden=[example.line],
            )
    for file in sorted((path / "dialogues").glob("*.jsonl")):
        for source, value in json_lines(file, faults):
            dialogue = validated(_Dialogue, value, source, faults)
            if dialogue is not None:
                yield from _converse(loaded, stage, dialogue, source, faults)


def _example_lines(file: Path) -> list[int]:
    """The lines on which a sheet's examples begin."""
    examples = YAML().load(file.read_text(encoding="utf-8"))["examples"]
    return [examples.lc.item(at)[0] + 1 for at in range(len(examples))]


def stage_of(loaded: LoadedScene) -> Stage:
    """A scene of ours as a stage. Secrets stay behind: no prompt needs them."""
    sheets = {
        npc: Persona(**dict(sheet) | {"hides": []}) for npc, sheet in loaded.characters.items()
    }
    return Stage(scene=loaded.scene, characters=sheets)


def _example(loaded: LoadedScene, npc: str, example: Example, source: str) -> list[Turn]:
    asked = Turn(
        speaker=PLAYER, name=STRANGER[loaded.scene.language], text=example.line, source=source
    )
    act = (
        Act(name=example.action, target=example.target, args=example.args)
        if example.action
        else NONE
    )
    answer = Turn(
        speaker=npc,
        name=loaded.characters[npc].name,
        text=example.reply,
        emotion=example.emotion,
        action=act,
        source=source,
    )
    return [asked, answer]


def _converse(
    loaded: LoadedScene, stage: Stage, dialogue: _Dialogue, source: str, faults: Faults
) -> Iterator[Conversation]:
    if dialogue.npc not in loaded.characters:
        faults.add(source, f"npc: there is no {dialogue.npc!r} in the cast")
        return
    player = dialogue.player or STRANGER[loaded.scene.language]
    if all(line.reply is None for line in dialogue.turns):
        faults.add(source, f"turns: {dialogue.npc} says nothing; a reply is wanted")
        return
    if _speaker(loaded, player) == dialogue.npc:
        faults.add(source, f"player: {player} is the character; name somebody else")
        return
    turns = []
    for number, line in enumerate(dialogue.turns):
        told = _fault(loaded, dialogue.npc, line)
        if told:
            faults.add(source, f"turns.{number}: {told}")
            return
        turns.append(_turn(loaded, dialogue.npc, player, line, source))
    yield Conversation(stage=stage, turns=turns, dataset="dialogue", source=source)


def _turn(loaded: LoadedScene, npc: str, player: str, line: _Line, source: str) -> Turn:
    if line.happens:
        return Turn(text=line.happens, spoken=False, source=source)
    if line.says:
        by = line.by or player
        return Turn(speaker=_speaker(loaded, by), name=by, text=line.says, source=source)
    assert line.reply
    act = Act(name=line.action, target=line.target, args=line.args) if line.action else NONE
    return Turn(
        speaker=npc,
        name=loaded.characters[npc].name,
        text=line.reply,
        emotion=line.emotion,
        action=act,
        source=source,
    )


def _speaker(loaded: LoadedScene, name: str) -> str:
    """The id of a character of that name, else a player's."""
    return next((npc for npc, sheet in loaded.characters.items() if sheet.name == name), PLAYER)


def _fault(loaded: LoadedScene, npc: str, line: _Line) -> str | None:
    """What is wrong with a turn, if anything."""
    if sum(text is not None for text in (line.says, line.happens, line.reply)) != 1:
        return "has exactly one of says, happens and reply"
    if line.by is not None and (line.says is None or _speaker(loaded, line.by) == npc):
        return "by: says who else says the words"
    if line.reply is None:
        slots = (line.emotion, line.action, line.target, line.args or None)
        return "only a reply has an emotion or action" if any(slots) else None
    if line.emotion not in loaded.scene.emotions:
        return f"emotion: one of {', '.join(loaded.scene.emotions)} is wanted"
    if line.action is None:
        aimed = line.target is not None or line.args
        return "action: is missing; a target or args belong to an action" if aimed else None
    return _action_fault(loaded, npc, line)


def _action_fault(loaded: LoadedScene, npc: str, line: _Line) -> str | None:
    assert line.action
    allowed = loaded.characters[npc].actions
    if line.action not in allowed:
        return f"action: {npc} can do {', '.join(allowed) or 'nothing'}"
    action = loaded.scene.actions[line.action]
    if action.target in ("none", "player"):
        if line.target is not None:
            return f"target: a target of kind {action.target} is not written"
    elif line.target not in target_ids(action, loaded.scene):
        return f"target: is not a declared {action.target} for this action"
    for error in jsonschema.Draft202012Validator(action.schema_of_args()).iter_errors(line.args):
        return f"args: {error.message}"
    return None
