"""What a scene's files say of its story: conditions, beats, authored lines, what moves relations.

One small condition (`When`) is used everywhere. Values only: story.py says what holds when.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from npcserver.fields import Flag, Id, Level, Text

EXAMPLE = "example_"
"""How the ids begin of what is said word for word and is an example's reply, no line of a story."""


class _Strict(BaseModel):
    # Editors complete and explain fields by what is written under them here.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Bounds(_Strict):
    """How much of something there must be."""

    at_least: Level | None = None
    """No less than this."""
    at_most: Level | None = None
    """No more than this."""

    def fault(self, value: int) -> str | None:
        """What is wrong with a value, in words."""
        if self.at_least is not None and value < self.at_least:
            return f"is {value}, needs at least {self.at_least}"
        if self.at_most is not None and value > self.at_most:
            return f"is {value}, may be at most {self.at_most}"
        return None


class When(_Strict):
    """A condition. All that is given must hold; there are no others, and no expressions."""

    beat: Id | None = None
    """This beat is open."""
    before: Id | None = None
    """This beat was never open yet."""
    past: Id | None = None
    """This beat was open and is closed."""
    after: Id | None = None
    """This event has happened, and the character perceived it."""
    said: Id | None = None
    """This authored line has been said, to anybody."""
    told: Id | None = None
    """The scene's fact of this `id` has been told, by a player or a character, and this character
    heard it; a line tells it that holds most of its words. What was whispered counts among those
    who heard the whisper."""
    trust: Bounds | None = None
    """The character's trust in the player, -100 to 100."""
    familiarity: Bounds | None = None
    """How well the character knows the player, 0 to 100."""
    debt: Bounds | None = None
    """What the character owes the player, -100 to 100; below 0, the player owes."""
    flags: dict[Id, Flag] = {}
    """What the game keeps has these values."""
    place: Id | None = None
    """The player is in this place."""
    who: Id | None = None
    """Whose trust, familiarity or debt is meant, where it is not plain: in beats and facts."""


class Secret(_Strict):
    """Something hidden that a condition unlocks."""

    fact: Text
    """A whole sentence. Before the condition holds it is in no prompt."""
    when: When
    """Since when the character may tell it, and to whom."""


class Beat(_Strict):
    """A stretch of the story: it opens, changes what is known, wanted or said, and may close."""

    when: When | None = None
    """It opens once this holds for any player; without it, it is open from the beginning."""
    until: When | None = None
    """It closes for good once this holds; without it, it stays open."""
    wants: dict[Id, Text] = {}
    """What characters want while it is open, by character, as whole sentences."""


class Move(_Strict):
    """What moves a character's relation to a player. Exactly one of the first four is its cause."""

    talk: list[Text] = []
    """The player says something like this."""
    deed: str | None = None
    """The player does this (`player.act`)."""
    event: Id | None = None
    """This event happens."""
    action: Id | None = None
    """The character does this to the player, and the game says that it is done."""
    player: str | None = None
    """The event's argument that holds the player's id; without it, every player who perceives
    it."""
    of: list[Id] = []
    """Characters and factions whose relation moves. Without it whoever it was said or done to,
    and if nobody was, everybody who perceived it."""
    trust: Level = 0
    """By how much trust moves."""
    familiarity: Level = 0
    """By how much familiarity moves."""
    debt: Level = 0
    """By how much the character comes to owe the player more."""


class Line(_Strict):
    """What a writer wants said, word for word, where it fits. No player hears it twice."""

    id: Id
    """Its name; `turn.done` tells it."""
    asked: list[Text] = []
    """What one might say to be answered so, in a few wordings; empty means anything."""
    when: When | None = None
    """It can be said only while this holds."""
    says: Text
    """The words."""
    emotion: Id | None = None
    """What they feel; without it, the model decides."""
    action: Id | None = None
    """What they do; one of their own."""
    target: str | None = None
    """The prop, place or character it is done to; never written for `player`."""
    args: dict[str, Any] = {}
    """The action's arguments."""
    always: bool = False
    """Said wherever it can be; otherwise the model chooses between it and words of its own."""
