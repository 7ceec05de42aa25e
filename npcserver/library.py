"""Scenes and characters from files, validated, with errors that name file, line and field.

A scene is a folder: `scene.yaml`, one file a character in `characters/`, perhaps dialogues and
lorebooks. The JSON Schemas for editors are made from the same models (`json_schemas`). Knows
nothing of live scenes or engines.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema

from npcserver import dialogues, documents, lorebook, plotting, relevance
from npcserver.answers import Answers
from npcserver.dialogues import Written
from npcserver.documents import Document, validate
from npcserver.documents import known as _known
from npcserver.errors import SceneError
from npcserver.lorebook import Lorebook
from npcserver.sheets import Action, Character, Deed, Example, Scene, argument_options, deed_faults


@dataclass(frozen=True)
class LoadedScene:
    """A scene with its characters, by id; the folder's name is the scene's id."""

    id: str
    scene: Scene
    characters: dict[str, Character]
    folder: Path
    lore: Mapping[str, tuple[Lorebook, ...]] = field(default_factory=dict)
    """Each character's lorebooks, the scene's first."""
    dialogues: Sequence[Written] = ()
    beginnings: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    """How each character's dialogues begin: examples beside those on the sheet."""

    @cached_property
    def answers(self) -> Mapping[str, Answers]:
        """Everything that may be recalled for a line said to a character, the sheet's first."""
        return {
            npc: Answers([*sheet.examples, *self.beginnings.get(npc, ())], sheet.lines)
            for npc, sheet in self.characters.items()
        }

    @cached_property
    def concerns(self) -> Mapping[str, frozenset[str]]:
        """The terms of what each character is, knows, wants and is asked about."""
        return {
            npc: frozenset().union(*map(relevance.meaning, _of_concern(sheet)))
            for npc, sheet in self.characters.items()
        }

    @cached_property
    def anybodys_concern(self) -> frozenset[str]:
        """The terms that are any character's concern."""
        return frozenset().union(*self.concerns.values())


def _of_concern(sheet: Character) -> Sequence[str]:
    asked = (example.line for example in sheet.examples)
    return (sheet.about, *sheet.knows, *sheet.wants, *asked)


def load_scenes(folder: Path) -> dict[str, LoadedScene]:
    """Every scene below `folder`, by id.

    Raises:
        SceneError: with every fault found, one a line.
    """
    folders = sorted(path.parent for path in folder.glob("*/scene.yaml"))
    if not folders:
        raise SceneError(f"{folder}: no scenes here; a scene is a folder that holds a scene.yaml")
    scenes, faults = {}, []
    for path in folders:
        try:
            scenes[path.name] = load_scene(path)
        except SceneError as error:
            faults.append(error.message)
    if faults:
        raise SceneError("\n".join(faults))
    return scenes


def load_scene(folder: Path) -> LoadedScene:
    """One scene from its folder.

    Raises:
        SceneError: with every fault found, one a line.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", folder.name):
        raise SceneError(
            f"{folder}:1: folder: name a scene's folder in small letters, digits, _ and -"
        )
    document = documents.read(folder / "scene.yaml")
    scene = validate(document, Scene)
    characters: dict[str, tuple[Document, Character]] = {}
    files = [document]
    for path in sorted((folder / "characters").glob("*.yaml")):
        files.append(documents.read(path))
        if character := validate(files[-1], Character):
            characters[path.stem] = (files[-1], character)
    if scene is not None:
        _check_scene(document, scene, folder)
        for each, character in characters.values():
            _check_character(each, character, scene)
    books: dict[str, tuple[Lorebook, ...]] = {}
    if scene is not None and not any(each.faults for each in files):
        _check_circles(document, scene, [sheet for _, sheet in characters.values()])
        plotting.check(document, scene, characters)
        books = _lore(folder, document, scene, characters, files)
    faults = [fault for each in files for fault in each.faults]
    if faults or scene is None:
        raise SceneError("\n".join(str(fault) for fault in faults))
    cast = {member.character: characters[member.character][1] for member in scene.cast}
    written, wrong = dialogues.read(folder / "dialogues", scene, cast)
    if wrong:
        raise SceneError("\n".join(wrong))
    begun = {npc: dialogues.beginnings(written, npc) for npc in cast}
    loaded = LoadedScene(folder.name, scene, cast, folder, books, written, begun)
    loaded.anybodys_concern  # noqa: B018  found now, not when somebody waits for an answer
    return loaded


def _lore(
    folder: Path,
    document: Document,
    scene: Scene,
    characters: Mapping[str, tuple[Document, Character]],
    files: list[Document],
) -> dict[str, tuple[Lorebook, ...]]:
    """Each character's lorebooks; the files read are added to `files`, for their faults."""
    read: dict[str, Lorebook | None] = {}

    def books(where: Document, names: Sequence[str]) -> list[Lorebook]:
        for index, name in enumerate(names):
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                where.fault(("lore", index), "lies outside the scene's folder; copy it there")
            elif name not in read:
                is_json = path.suffix.lower() == ".json"
                files.append(documents.read_json(path) if is_json else documents.read(path))
                files[-1].data = lorebook.book_in(files[-1].data)
                read[name] = validate(files[-1], Lorebook)
        return [book for name in names if (book := read.get(name))]

    shared = books(document, scene.lore)
    return {npc: (*shared, *books(where, sheet.lore)) for npc, (where, sheet) in characters.items()}


def json_schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schemas of a scene's files, for editors."""
    return {
        "scene.schema.json": Scene.model_json_schema(),
        "character.schema.json": Character.model_json_schema(),
        "lorebook.schema.json": Lorebook.model_json_schema(),
    }


def _check_scene(document: Document, scene: Scene, folder: Path) -> None:
    _known(document, ("entrance",), scene.entrance, scene.places, "place")
    for key, prop in scene.props.items():
        _known(document, ("props", key, "place"), prop.place, scene.places, "place")
    cast = [member.character for member in scene.cast]
    for index, member in enumerate(scene.cast):
        where = ("cast", index)
        _known(document, (*where, "place"), member.place, scene.places, "place")
        if not (folder / "characters" / f"{member.character}.yaml").exists():
            document.fault(
                (*where, "character"), f"there is no characters/{member.character}.yaml; add it"
            )
        if cast.index(member.character) != index:
            document.fault((*where, "character"), "is in the cast twice; remove one")
    for key, action in scene.actions.items():
        _check_action(document, ("actions", key), action, scene)
    for key, event in scene.events.items():
        for name, schema in event.args.items():
            _check_schema(document, ("events", key, "args", name), schema)
        for name in event.required:
            _known(document, ("events", key, "required"), name, event.args, "argument")
    for index, fact in enumerate(scene.facts):
        if fact.after is not None:
            _known(document, ("facts", index, "after"), fact.after, scene.events, "event")
    for path in sorted((folder / "characters").glob("*.yaml")):
        if path.stem not in cast:
            document.fault(("cast",), f"characters/{path.name} is not in the cast; add it")


def _check_circles(document: Document, scene: Scene, cast: Sequence[Character]) -> None:
    """Whoever is to know a fact must be somebody."""
    factions = {faction for sheet in cast for faction in sheet.factions}
    people = {member.character for member in scene.cast} | factions
    circles = people | scene.places.keys()
    for index, fact in enumerate(scene.facts):
        where = ("facts", index, "known_by")
        for name in fact.known_by:
            _known(document, where, name, circles, "character, faction or place")
            if name in people and name in scene.places:
                document.fault(where, f"{name!r} is a place too; call one of them otherwise")


def _check_action(document: Document, where: tuple[str, ...], action: Action, scene: Scene) -> None:
    kinds: dict[str, Any] = {
        "prop": scene.props,
        "place": scene.places,
        "npc": {member.character: member for member in scene.cast},
    }
    if action.targets and action.target not in kinds:
        document.fault((*where, "targets"), "only a prop, place or npc can be listed; remove it")
    for index, target in enumerate(action.targets):
        if action.target in kinds:
            _known(
                document, (*where, "targets", index), target, kinds[action.target], action.target
            )
    for name in re.findall(r"{(.*?)}", action.words):
        if name not in (*action.args, *(["target"] if action.target != "none" else [])):
            document.fault((*where, "words"), f"{{{name}}} is neither an argument nor the target")
    for name, schema in action.args.items():
        place = (*where, "args", name)
        if f"{{{name}}}" not in action.words:
            document.fault((*where, "words"), f"does not say the argument; write {{{name}}} in it")
        if not _check_schema(document, place, schema):
            continue
        try:
            options = argument_options(schema)
        except ValueError as error:
            document.fault(place, str(error))
            continue
        for option in options:
            if not isinstance(option, str | bool | int) or set(str(option)) & set("();:,\n"):
                document.fault(place, "values are words without ( ) ; : or , — or numbers")


def _check_schema(document: Document, where: tuple[str | int, ...], schema: Any) -> bool:
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        document.fault(where, f"is not a JSON Schema: {error.message}")
        return False
    return True


def _check_character(document: Document, character: Character, scene: Scene) -> None:
    _known(document, ("resting",), character.resting, scene.emotions, "emotion")
    for index, action in enumerate(character.actions):
        _known(document, ("actions", index), action, scene.actions, "action")
    for index, example in enumerate(character.examples):
        where = ("examples", index)
        _known(document, (*where, "emotion"), example.emotion, scene.emotions, "emotion")
        for text, key in ((example.line, "line"), (example.reply, "reply")):
            if "\n" in text.strip():
                document.fault((*where, key), "is one line; remove the line breaks")
        _check_deed(document, where, example, character, scene)
    for index, line in enumerate(character.lines):
        _check_deed(document, ("lines", index), line, character, scene)


def _check_deed(
    document: Document,
    where: tuple[str | int, ...],
    deed: Deed,
    character: Character,
    scene: Scene,
) -> None:
    for field_name, advice in deed_faults(deed, character, scene):
        document.fault((*where, field_name), advice)
