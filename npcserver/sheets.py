"""What a scene's files hold, as typed values. Editors get JSON Schemas of the same models.

Knows nothing of files or YAML (library.py does), nor of live scenes.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Protocol

import jsonschema
from pydantic import BaseModel, ConfigDict, Field

from npcserver.fields import Face, Flag, Id, Number, Position, Short, Text
from npcserver.plot import Beat, Line, Move, Secret, When

MAX_ARG_OPTIONS = 24
"""More choices than this for one argument cannot be scored in a turn's time."""


class _Strict(BaseModel):
    # Editors complete and explain fields by what is written under them here.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Place(_Strict):
    """Somewhere to stand. Units are metres; y is up."""

    name: Short
    """How people call it."""
    about: Text
    """What one sees there; whoever stands there has it in their prompt."""
    position: Position
    """Its middle: x, y, z."""
    size: tuple[Annotated[Number, Field(gt=0)], Annotated[Number, Field(gt=0)]]
    """Its width (x) and depth (z)."""
    earshot: Annotated[Number, Field(gt=0)] = 10.0
    """How far a talking voice carries here; a shout carries four times as far."""


class Prop(_Strict):
    """A thing in a place that actions can be done to."""

    name: Short
    """How people call it."""
    place: Id
    """Where it is."""
    position: Position | None = None
    """Where exactly: x, y, z in metres; without it, in the middle of its place."""
    about: Text | None = None
    """What it looks like, for clients to show."""


class Emotion(_Strict):
    """A feeling a character can show."""

    word: Annotated[str, Field(min_length=1, max_length=20, pattern=r"^[^\s();:,]+$")]
    """How the prompt says it; a common single word works best."""
    face: Face
    """The VRM expression that shows it."""


class Action(_Strict):
    """Something a character can do besides talking."""

    words: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^();:,]+$")]
    """How the prompt says it, as in `(angry; refuses service to Kit)`. `{target}` and an argument's
    name in braces stand for what is chosen; without `{target}` the target comes last."""
    target: Literal["none", "player", "npc", "prop", "place"] = "none"
    """What it is done to; `player` is whoever is answered."""
    targets: list[Id] = []
    """Only these props, places or characters; empty means any."""
    args: dict[str, Any] = {}
    """A JSON Schema `properties` map. Each must be an enum, a boolean, or a small integer range."""
    requires: When | None = None
    """It can be done only while this holds."""

    def phrase(self, target: str | None, args: dict[str, Any]) -> str:
        """The action in words, with what was chosen: `gives bread to Kit`."""
        words = self.words
        if target is not None and "{target}" not in words:
            words += " {target}"
        for name, value in (*args.items(), ("target", target)):
            words = words.replace(f"{{{name}}}", str(value))
        return words

    def schema_of_args(self) -> dict[str, Any]:
        """The whole JSON Schema that an action's `args` fulfil."""
        return {
            "type": "object",
            "properties": self.args,
            "required": list(self.args),
            "additionalProperties": False,
        }


class Event(_Strict):
    """Something the world can tell the scene."""

    words: Text
    """How characters perceive it; an argument's name in braces stands for its value."""
    args: dict[str, Any] = {}
    """A JSON Schema `properties` map of what it is told with."""
    required: list[str] = []
    """Arguments that must be told."""
    sets: dict[Id, Flag] = {}
    """Flags it sets; a text `{argument}` is that argument's value."""

    def schema_of_args(self) -> dict[str, Any]:
        """The whole JSON Schema that an event's `args` fulfil."""
        return {
            "type": "object",
            "properties": self.args,
            "required": self.required,
            "additionalProperties": False,
        }

    def phrase(self, args: dict[str, Any]) -> str:
        """The event in words, with its arguments."""
        words = self.words
        for name, value in args.items():
            words = words.replace(f"{{{name}}}", str(value))
        return words


class Fact(_Strict):
    """Something that only some know, or that becomes known when something happens."""

    fact: Text
    """A whole sentence, as it stands in prompts."""
    known_by: list[Id] = []
    """Ids of characters, names of factions, and ids of places, for whoever of the cast begins
    there; empty means everybody."""
    after: Id | None = None
    """The event with which whoever perceives it comes to know."""
    when: When | None = None
    """Known only while this holds."""
    id: Id | None = None
    """A name, for conditions that ask whether it was told."""


class Direction(_Strict):
    """How freely characters speak where no player asked them to."""

    exchanges: Annotated[int, Field(ge=0, le=8)] = 0
    """How many lines characters may say to each other after one of them spoke; 0 is none. They stop
    when a player speaks."""
    own_lines: Annotated[int, Field(ge=0, le=12)] = 0
    """How many lines a minute characters may say of their own accord: after events, to whoever
    comes in, in a long silence; 0 is none."""
    silence_s: Annotated[float, Field(ge=5, le=3600)] = 60.0
    """Seconds of silence after which somebody says something."""
    cooldown_s: Annotated[float, Field(ge=0, le=3600)] = 15.0
    """Seconds for which a character who spoke unasked leaves speaking unasked to others."""
    ask_model: bool = False
    """Whether the model chooses who answers a line that is for nobody in particular; otherwise
    whoever it concerns most, and stands nearest."""


class CastMember(_Strict):
    """Which character stands where."""

    character: Id
    """The name of a file in `characters/`, without its ending."""
    place: Id
    """Where they begin."""
    position: Position | None = None
    """Where exactly: x, y, z in metres; without it, in the middle of the place."""


class Scene(_Strict):
    """`scene.yaml`: the places, things, feelings, deeds and people of a scene."""

    name: Short
    """The scene's title."""
    language: Literal["en", "zh"]
    """What is spoken, and what prompts are written in."""
    about: Text
    """What everybody knows is going on; it begins every prompt."""
    entrance: Id
    """The place where players come in."""
    places: Annotated[dict[Id, Place], Field(min_length=1, max_length=64)]
    """Where one can be, by id."""
    props: Annotated[dict[Id, Prop], Field(max_length=128)] = {}
    """Things, by id."""
    emotions: Annotated[dict[Id, Emotion], Field(min_length=2, max_length=16)]
    """What characters can feel, by id."""
    actions: Annotated[dict[Id, Action], Field(max_length=24)] = {}
    """What characters can do, by id; each character's file says which are theirs."""
    events: Annotated[dict[Id, Event], Field(max_length=64)] = {}
    """What the game can tell the scene, by id."""
    facts: Annotated[list[Fact], Field(max_length=256)] = []
    """What is not everybody's to know, or not from the beginning."""
    director: Direction = Direction()
    """Whether characters speak unasked, and who answers where several might."""
    flags: Annotated[dict[Id, Flag], Field(max_length=128)] = {}
    """What the game keeps, and its first value. Events and `scene.set` change it."""
    beats: Annotated[dict[Id, Beat], Field(max_length=64)] = {}
    """The story's stretches, by id."""
    moves: Annotated[list[Move], Field(max_length=64)] = []
    """What moves the characters' trust in players, familiarity and debt."""
    lore: list[Short] = []
    """Lorebooks for everybody: files beside this one."""
    cast: Annotated[list[CastMember], Field(min_length=1, max_length=32)]
    """Who is in the scene, and where."""


class Example(_Strict):
    """What somebody says to the character, and what the character answers."""

    line: Text
    """What is said, put as most people would."""
    reply: Text
    """What the character answers, in one line."""
    emotion: Id
    """What they feel."""
    action: Id | None = None
    """What they do; one of their own."""
    target: str | None = None
    """The prop, place or character it is done to; never written for `player`."""
    args: dict[str, Any] = {}
    """The action's arguments."""


class Character(_Strict):
    """`characters/<id>.yaml`: who somebody is, and how they speak."""

    name: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^();:,\n]+$")]
    """What they are called, here and in prompts."""
    aliases: list[Short] = []
    """What else people call them; a line that names them so is for them."""
    factions: list[Id] = []
    """Whom they belong to; the scene's facts may be known by a faction."""
    glyph: Annotated[str, Field(min_length=1, max_length=4)] = "🙂"
    """A character or emoji that stands for them where no picture is."""
    about: Text
    """Who they are and what moves them now."""
    voice: Text
    """How they speak: length, rhythm, what they say again and again."""
    wants: list[Text] = []
    """What they are after, as whole sentences."""
    knows: list[Text] = []
    """What they can tell, as whole sentences; the one that fits a line is recalled for it."""
    hides: list[Text | Secret] = []
    """Secrets. They never enter a prompt, unless a condition is written that unlocks them."""
    resting: Id
    """The emotion they wear when nothing happens."""
    actions: list[Id] = []
    """Which of the scene's actions are theirs."""
    examples: Annotated[list[Example], Field(min_length=3)]
    """How they answer; the first three stand in every prompt, and the one that fits a line."""
    brief: Annotated[list[Text], Field(max_length=8)] = []
    """What they say, word for word, when there is no time for an answer, or none was found."""
    greets: Annotated[list[Text], Field(max_length=8)] = []
    """What they say, word for word, to somebody who comes in; without any they find words."""
    talkativeness: Annotated[float, Field(ge=0, le=1)] = 1.0
    """How readily they answer what is said to nobody in particular: 1 always, 0 only as far as it
    is about something on this sheet."""
    lines: Annotated[list[Line], Field(max_length=128)] = []
    """Lines written for moments of the story."""
    lore: list[Short] = []
    """Lorebooks of theirs: files beside `scene.yaml`."""

    def brief_for(self, line: int) -> str:
        """One of the `brief` lines, another for each number; empty where there are none."""
        return self.brief[line % len(self.brief)] if self.brief else ""

    @property
    def secrets(self) -> list[str]:
        """Every secret's text, unlocked or not."""
        return [each if isinstance(each, str) else each.fact for each in self.hides]


def argument_options(schema: dict[str, Any]) -> list[Any]:
    """The values an action's argument may take, in order.

    Raises:
        ValueError: the schema allows too many to score, or is not one that can be listed.
    """
    if "enum" in schema:
        options = list(schema["enum"])
    elif schema.get("type") == "boolean":
        options = [True, False]
    elif schema.get("type") == "integer" and {"minimum", "maximum"} <= schema.keys():
        options = list(range(schema["minimum"], schema["maximum"] + 1))
    else:
        raise ValueError("use an enum, a boolean, or an integer with minimum and maximum")
    if not 1 <= len(options) <= MAX_ARG_OPTIONS:
        raise ValueError(f"allows {len(options)} values; 1 to {MAX_ARG_OPTIONS} can be scored")
    return options


def target_ids(action: Action, scene: Scene) -> list[str]:
    """The ids an action may be aimed at, players left out (they come and go)."""
    every: dict[str, list[str]] = {
        "prop": list(scene.props),
        "place": list(scene.places),
        "npc": [member.character for member in scene.cast],
    }
    return action.targets or every.get(action.target, [])


class Deed(Protocol):
    """What goes along with a written reply."""

    @property
    def action(self) -> str | None:
        """One of the scene's actions."""

    @property
    def target(self) -> str | None:
        """Whom or what it is done to."""

    @property
    def args(self) -> dict[str, Any]:
        """The action's arguments."""


def deed_faults(deed: Deed, sheet: Character, scene: Scene) -> Iterator[tuple[str, str]]:
    """What is wrong with what goes along with a written reply: the field, and what to do."""
    if deed.action is None:
        if deed.target is not None or deed.args:
            yield "action", "is missing; a target or args belong to an action"
        return
    if deed.action not in sheet.actions:
        allowed = ", ".join(sheet.actions) or "none"
        yield "action", f"not one of the character's actions ({allowed})"
        return
    action = scene.actions.get(deed.action)
    if action is None:
        return
    if action.target in ("none", "player"):
        if deed.target is not None:
            yield "target", f"a target of kind {action.target} is not written"
    elif deed.target not in target_ids(action, scene):
        yield "target", f"is not a declared {action.target} for this action"
    for error in jsonschema.Draft202012Validator(action.schema_of_args()).iter_errors(deed.args):
        yield "args", error.message
