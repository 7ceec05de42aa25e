"""CPDC 2025: shop and guild characters of a role-playing game, with reference replies.

A JSON list, one dialogue an entry. Each `turn_<n>` holds the dialogue so far, the reply that is
wanted (`gold_response`) and the functions that were called for it. What the characters feel is not
known.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finetune.formats.base import Faults, Read, character_id, identifier, json_list, validated
from finetune.formats.names import fitting
from finetune.records import (
    MAX_TEXT,
    NONE,
    PLAYER,
    Act,
    Conversation,
    Persona,
    Stage,
    Turn,
    plain_stage,
    sentences,
)
from npcserver.prompt import WORDING
from npcserver.sheets import Action

MOST_ACTIONS = 24  # what a scene may declare
Said = Field(min_length=1, max_length=MAX_TEXT)
Told = dict[str, str | int | float | None]


class _Value(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)


class _Line(_Value):
    speaker: Literal["player", "npc"]
    text: str = Said


class _Function(_Value):
    name: str = Field(min_length=1)


class _Step(_Value):
    """A reply that is wanted, with all that was said before it."""

    dialogue: list[_Line]
    gold_response: str = Said
    gold_functions: list[_Function] | None = None


class _Person(_Value):
    role: str = ""
    persona: dict[str, str]


class _Knowledge(_Value):
    knowledge_info: list[Told] = []
    general_info: str = ""


class _Entry(_Value):
    worldview: str = Field(min_length=1)
    player: _Person
    npc: _Person
    state: Told = {}
    knowledge: _Knowledge = _Knowledge()
    steps: list[_Step] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _numbered(cls, value: Any) -> Any:
        """`turn_0`, `turn_1` and so on as the list that they are."""
        if not isinstance(value, dict):
            return value
        turns = [name for name in value if re.fullmatch(r"turn_[0-9]{1,6}", name)]
        turns.sort(key=lambda name: int(name.removeprefix("turn_")))
        return {**value, "steps": [value[name] for name in turns]}


def read(path: Path, faults: Faults) -> Read:
    """Read a JSON file."""
    found = json_list(path, faults)
    entries = [
        (at, entry) for at, value in found if (entry := validated(_Entry, value, at, faults))
    ]
    actions = _actions([entry for _, entry in entries])
    for source, entry in entries:
        name = fitting(entry.npc.persona.get("name", ""))
        if not name:
            faults.add(source, "npc.persona.name: is missing")
            continue
        npc = character_id(name)
        yield Conversation(
            stage=_stage(entry, npc, name, actions),
            turns=_turns(entry, npc, name, actions, source),
            dataset="cpdc",
            source=source,
        )


def _actions(entries: list[_Entry]) -> dict[str, Action]:
    """Every function that is called in the file, as something to do; the most called come first."""
    called = Counter(
        identifier(function.name, "call")
        for entry in entries
        for step in entry.steps
        for function in step.gold_functions or []
    )
    # Without arguments: a function's parameters are open text, and an action's are a closed choice.
    return {
        name: Action(words=name.replace("_", " ")) for name, _ in called.most_common(MOST_ACTIONS)
    }


def _stage(entry: _Entry, npc: str, name: str, actions: dict[str, Action]) -> Stage:
    about = sentences(f"{name}: {entry.npc.role} {' '.join(_persona(entry.npc.persona))}")
    rest = [told for told in _persona(entry.npc.persona) if told not in about]
    sheet = Persona(
        name=name,
        about=about,
        knows=[sentences(fact) for fact in [*rest, *_facts(entry.knowledge)]],
        resting="calm",
        actions=list(actions),
    )
    now = ". ".join(str(value).strip(" .") for value in entry.state.values())
    return plain_stage(entry.worldview, f"{now}.", {npc: sheet}, actions=actions)


def _persona(persona: dict[str, str]) -> list[str]:
    """What a persona tells, a field at a time; looks come last, and are the first to be cut."""
    fields = sorted(persona.items(), key=lambda field: field[0] == "appearance")
    return [
        " ".join((text if text.endswith(".") else f"{key.capitalize()}: {text}.").split())
        for key, text in fields
        if key != "name" and text
    ]


def _facts(knowledge: _Knowledge) -> Iterator[str]:
    """What is known, a fact at a time."""
    for thing in knowledge.knowledge_info:
        if told := ". ".join(str(value).strip(" .") for value in thing.values()):
            yield f"{told}."
    for line in knowledge.general_info.split("\n"):
        if (fact := line.strip(" -*\t\r")) and not fact.startswith("#"):
            yield fact


def _turns(
    entry: _Entry, npc: str, name: str, actions: dict[str, Action], source: str
) -> list[Turn]:
    last = entry.steps[-1]
    said = [*last.dialogue, _Line(speaker="npc", text=last.gold_response)]
    # A reply stands where the dialogue before it ended.
    wanted = {len(step.dialogue): step for step in entry.steps}
    player = fitting(entry.player.persona.get("name", ""))
    player = WORDING["en"].stranger if player in ("", name) else player
    turns = []
    for at, line in enumerate(said):
        if line.speaker == "player":
            turns.append(Turn(speaker=PLAYER, name=player, text=line.text, source=source))
            continue
        step = wanted.get(at)
        act = _act(step, actions) if step and step.gold_response == line.text else None
        turns.append(Turn(speaker=npc, name=name, text=line.text, action=act, source=source))
    return turns


def _act(step: _Step, actions: dict[str, Action]) -> Act | Literal["none"] | None:
    """The first function called; None where the data does not tell, or it is not declared."""
    if step.gold_functions is None:
        return None
    if not step.gold_functions:
        return NONE
    name = identifier(step.gold_functions[0].name, "call")
    return Act(name=name) if name in actions else None
