"""What a scene's files hold, as typed values. Editors get JSON Schemas of the same models.

Knows nothing of files or YAML (library.py does), nor of live scenes.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Text = Annotated[str, Field(min_length=1, max_length=600)]
Short = Annotated[str, Field(min_length=1, max_length=160)]
Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Position = tuple[Number, Number, Number]
Face = Literal["neutral", "happy", "angry", "sad", "relaxed", "surprised"]

MAX_ARG_OPTIONS = 24
"""More choices than this for one argument cannot be scored in a turn's time."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Place(_Strict):
    """Somewhere to stand. Units are metres; y is up; `size` is width (x) and depth (z)."""

    name: Short
    about: Text
    position: Position
    size: tuple[Annotated[Number, Field(gt=0)], Annotated[Number, Field(gt=0)]]
    earshot: Annotated[Number, Field(gt=0)] = 10.0
    """How far a talking voice carries here; a shout carries four times as far."""


class Prop(_Strict):
    """A thing in a place that actions can be done to."""

    name: Short
    place: Id
    position: Position | None = None
    about: Text | None = None


class Emotion(_Strict):
    """A feeling a character can show. `word` is how the prompt says it, `face` a VRM preset."""

    word: Annotated[str, Field(min_length=1, max_length=20, pattern=r"^[^\s();:,]+$")]
    face: Face


class Action(_Strict):
    """Something a character can do besides talking.

    `words` is how the prompt says it, as in `(angry; refuses service to Kit)`. `{target}` and the
    name of an argument in braces stand for what is chosen; where `{target}` is not written it comes
    last.
    """

    words: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^();:,]+$")]
    target: Literal["none", "player", "npc", "prop", "place"] = "none"
    targets: list[Id] = []
    """Only these props, places or characters; empty means any."""
    args: dict[str, Any] = {}
    """A JSON Schema `properties` map. Each must be an enum, a boolean, or a small integer range."""

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
    """Something the world can tell the scene.

    `words` is how characters perceive it; an argument's name in braces stands for its value.
    """

    words: Text
    args: dict[str, Any] = {}
    required: list[str] = []

    def phrase(self, args: dict[str, Any]) -> str:
        """The event in words, with its arguments."""
        words = self.words
        for name, value in args.items():
            words = words.replace(f"{{{name}}}", str(value))
        return words


class Fact(_Strict):
    """Something that only some know, or that becomes known when something happens.

    Args:
        known_by: ids of characters, and names of factions; empty means everybody.
        after: the event with which whoever perceives it comes to know.
    """

    fact: Text
    known_by: list[Id] = []
    after: Id | None = None


class CastMember(_Strict):
    """Which character stands where."""

    character: Id
    place: Id
    position: Position | None = None


class Scene(_Strict):
    """`scene.yaml`: the places, things, feelings, deeds and people of a scene."""

    name: Short
    language: Literal["en", "zh"]
    about: Text
    entrance: Id
    places: Annotated[dict[Id, Place], Field(min_length=1, max_length=64)]
    props: Annotated[dict[Id, Prop], Field(max_length=128)] = {}
    emotions: Annotated[dict[Id, Emotion], Field(min_length=2, max_length=16)]
    actions: Annotated[dict[Id, Action], Field(max_length=24)] = {}
    events: Annotated[dict[Id, Event], Field(max_length=64)] = {}
    facts: Annotated[list[Fact], Field(max_length=256)] = []
    cast: Annotated[list[CastMember], Field(min_length=1, max_length=32)]


class Example(_Strict):
    """What somebody says to the character, and what the character answers."""

    line: Text
    reply: Text
    emotion: Id
    action: Id | None = None
    target: str | None = None
    args: dict[str, Any] = {}


class Character(_Strict):
    """`characters/<id>.yaml`: who somebody is, and how they speak."""

    name: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^();:,\n]+$")]
    aliases: list[Short] = []
    factions: list[Id] = []
    """Whom they belong to; the scene's facts may be known by a faction."""
    glyph: Annotated[str, Field(min_length=1, max_length=4)] = "🙂"
    """A character or emoji that stands for them where no picture is."""
    about: Text
    voice: Text
    wants: list[Text] = []
    knows: list[Text] = []
    hides: list[Text] = []
    """Secrets. They never enter a prompt."""
    resting: Id
    """The emotion they wear when nothing happens."""
    actions: list[Id] = []
    examples: Annotated[list[Example], Field(min_length=3)]
    brief: Annotated[list[Text], Field(max_length=8)] = []
    """What they say, word for word, when there is no time for an answer."""


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
