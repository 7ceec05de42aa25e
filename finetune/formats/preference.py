"""Pairs of replies, of which one was liked: one JSON object a line, for a character of a scene.

    {"scene": "low_crossing", "npc": "hessa", "line": "Take me across.",
     "liked": "Count the strands first.", "disliked": "Sure, hop in."}

`player` names who says the line, `emotion` what the character shows, where that is known.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from finetune.formats.base import Faults, Read, Reader, json_lines, validated
from finetune.formats.scenes import stage_of
from finetune.records import PLAYER, Conversation, Name, Rating, Stage, Turn, Words
from npcserver.errors import SceneError
from npcserver.fields import Id
from npcserver.library import load_scene
from npcserver.prompt import WORDING


class _Pair(BaseModel):
    model_config = ConfigDict(extra="forbid")

    scene: str
    npc: Id
    line: Words
    liked: Words
    disliked: Words
    player: Name | None = None
    emotion: Id | None = None


def reader(scenes: Path) -> Reader:
    """The reader of pairs for the scenes in a folder."""

    def read(path: Path, faults: Faults) -> Read:
        stages: dict[str, Stage | None] = {}
        for source, value in json_lines(path, faults):
            pair = validated(_Pair, value, source, faults)
            if pair is None:
                continue
            if pair.scene not in stages:
                stages[pair.scene] = _stage(scenes / pair.scene, faults, source)
            stage = stages[pair.scene]
            if stage is not None:
                yield from _conversations(pair, stage, source, faults)

    return read


def _stage(folder: Path, faults: Faults, source: str) -> Stage | None:
    try:
        return stage_of(load_scene(folder))
    except SceneError as error:
        faults.add(source, f"scene: {error.message}")
        return None


def _conversations(
    pair: _Pair, stage: Stage, source: str, faults: Faults
) -> Iterator[Conversation]:
    if pair.npc not in stage.characters:
        faults.add(source, f"npc: there is no {pair.npc!r} in {pair.scene}")
        return
    if pair.emotion is not None and pair.emotion not in stage.scene.emotions:
        faults.add(source, f"emotion: one of {', '.join(stage.scene.emotions)} is wanted")
        return
    name = pair.player or WORDING[stage.scene.language].stranger
    asked = Turn(speaker=PLAYER, name=name, text=pair.line, source=source)
    rated: tuple[tuple[str, Rating], ...] = ((pair.liked, "good"), (pair.disliked, "bad"))
    for text, rating in rated:
        answer = Turn(
            speaker=pair.npc,
            name=stage.characters[pair.npc].name,
            text=text,
            emotion=pair.emotion,
            rating=rating,
            source=source,
        )
        yield Conversation(
            stage=stage,
            turns=[asked, answer],
            dataset="preference",
            source=f"{source} {rating}",
        )
