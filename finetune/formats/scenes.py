"""A scene of ours: the examples of its characters, and the dialogues beside it.

How dialogues are written says `npcserver.dialogues`.
"""

from pathlib import Path

from ruamel.yaml import YAML

from finetune.formats.base import Faults, Read
from finetune.records import NONE, PLAYER, Act, Conversation, Persona, Stage, Turn
from npcserver.dialogues import Dialogue, Line, Written, speaker
from npcserver.errors import SceneError
from npcserver.library import LoadedScene, load_scene
from npcserver.prompt import WORDING
from npcserver.sheets import Example


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
    for written in loaded.dialogues:
        yield _converse(loaded, stage, written)


def _example_lines(file: Path) -> list[int]:
    """The lines on which a sheet's examples begin."""
    examples = YAML().load(file.read_text(encoding="utf-8"))["examples"]
    return [examples.lc.item(at)[0] + 1 for at in range(len(examples))]


def stage_of(loaded: LoadedScene) -> Stage:
    """A scene of ours as a stage. Secrets stay behind: no prompt needs them."""
    sheets = {
        npc: Persona(**dict(sheet) | {"hides": []}) for npc, sheet in loaded.characters.items()
    }
    begun = {npc: list(examples) for npc, examples in loaded.beginnings.items() if examples}
    return Stage(scene=loaded.scene, characters=sheets, beginnings=begun)


def _example(loaded: LoadedScene, npc: str, example: Example, source: str) -> list[Turn]:
    asked = Turn(
        speaker=PLAYER,
        name=WORDING[loaded.scene.language].stranger,
        text=example.line,
        source=source,
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


def _converse(loaded: LoadedScene, stage: Stage, written: Written) -> Conversation:
    dialogue, source = written.dialogue, written.source
    player = dialogue.player or WORDING[loaded.scene.language].stranger
    turns = [_turn(loaded, dialogue, player, line, source) for line in dialogue.turns]
    return Conversation(
        stage=stage,
        turns=turns,
        dataset="dialogue",
        source=source,
        hidden=dialogue.wordings,
    )


def _turn(loaded: LoadedScene, dialogue: Dialogue, player: str, line: Line, source: str) -> Turn:
    if line.happens:
        return Turn(text=line.happens, spoken=False, source=source)
    if line.says:
        by = line.by or player
        who = speaker(loaded.characters, by) or PLAYER
        return Turn(speaker=who, name=by, text=line.says, source=source)
    assert line.reply
    act = Act(name=line.action, target=line.target, args=line.args) if line.action else NONE
    return Turn(
        speaker=dialogue.npc,
        name=loaded.characters[dialogue.npc].name,
        text=line.reply,
        emotion=line.emotion,
        action=act,
        source=source,
    )
