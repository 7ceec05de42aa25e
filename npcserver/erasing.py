"""A scene's journal without a player: what they were, said and did is gone from it for good.

Their own entries, and the turns that answered them, become `erased` entries that hold nothing but
how far the scene went on counting, which beats of the story stand, and which written line was said,
and who else heard it; so numbers and turn ids stay what they are, and the scene is still the fold
of its journal. From what others said their name and its parts are taken out, and saves are named
otherwise. What others told of them in other words cannot be found.
Knows no files and no live scenes.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from pydantic import ValidationError

from npcserver import relevance
from npcserver.journal import Entry, Erased, Fact, fact_of
from npcserver.library import LoadedScene
from npcserver.protocol import (
    PlayerActed,
    PlayerJoined,
    PlayerSaid,
    SceneChanged,
    TurnAction,
    TurnDone,
    TurnStarted,
)
from npcserver.state import SceneState
from npcserver.story import SOMEBODY, Story

_PARTS = re.compile(r"[\s\-]+")
SOMEONE = {"en": "someone", "zh": "某人"}
TEXTS = {"text", "reason", "detail", "about", "args", "words"}
"""Fields that hold words; a name is looked for in them, and nowhere else."""
ERASED_ID = "someone"
"""Stands for a player in the ids of saves."""
LONGEST_SAVE = 60
IDS = {"to", "target", "player", "players", "seen_by"}
"""Fields that hold ids of people."""


@dataclass(frozen=True)
class Rewritten:
    """What changes in a journal.

    Args:
        entries: the changed ones, by their place.
        speech: what was said in turns that never ended; it is all there is then.
    """

    entries: dict[int, Entry]
    speech: dict[str, str]


@dataclass
class _Sought:
    """What is a player's, as far as the journal was read."""

    player: str
    names: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    turns: set[str] = field(default_factory=set)
    actions: set[str] = field(default_factory=set)
    saves: set[str] = field(default_factory=set)

    def note(self, entry: Entry) -> bool:
        """Whether an entry is the player's own. After a restore a turn's id may come again."""
        fact = entry.fact
        match fact:
            case TurnStarted(turn_id=turn, to=to):
                (self.turns.add if self.player in to else self.turns.discard)(turn)
            case TurnAction(turn_id=turn, action_id=action):
                (self.actions.add if turn in self.turns else self.actions.discard)(action)
            case SceneChanged(what="saved", name=str(save)):
                self.saves.add(save)
        who = getattr(fact, "player", None)
        own = self.player == getattr(who, "id", who)
        if own and isinstance(fact, PlayerJoined):
            self.names.add(fact.player.name)
        elif own and isinstance(fact, PlayerSaid):
            self.names.add(fact.name)
        if own and entry.session_id:
            self.sessions.add(entry.session_id)
        answered = getattr(fact, "turn_id", None) in self.turns
        return own or answered or getattr(fact, "action_id", None) in self.actions


def without(
    loaded: LoadedScene, entries: Sequence[Entry], speech: Mapping[str, str], player: str
) -> Rewritten:
    """What must change in an instance's journal, so that nothing of a player is left."""
    sought, state = _Sought(player), SceneState(loaded)
    gone: dict[int, tuple[Erased, Story]] = {}
    said: dict[str, tuple[int, str, int]] = {}
    heard_by: dict[int, set[str]] = {}
    for at, entry in enumerate(entries):
        number, turns = state.number, state.turns
        state.apply(entry)
        if sought.note(entry):
            told = Erased(happenings=state.number - number, turns=state.turns - turns)
            gone[at] = told, state.story
            match entry.fact:
                case TurnStarted(turn_id=turn):
                    said.pop(turn, None)
                case TurnDone(turn_id=turn) as done if done.said_whole:
                    said[turn] = at, done.said_whole, number
            if begun := said.get(getattr(entry.fact, "turn_id", "")):  # `turn.heard` may come later
                place, line, since = begun
                heard = state.story.said.get(line, {})
                heard_by[place] = {who for who in heard if heard[who] == since}
                told = gone[place][0].model_copy(update={"said": line if heard_by[place] else None})
                gone[place] = told, gone[place][1]
    names = {name for name in sought.names if _names_somebody(name)}
    parts = {part for name in names for part in _PARTS.split(name)} - _own_words(loaded)
    parts = {part for part in parts if len(part) > 1 and _names_somebody(part)}
    unnamed = _replacer(names, parts, player, SOMEONE[loaded.scene.language])
    renamed = _renamed(sought.saves, player, parts)
    changed, state = {}, SceneState(loaded)
    for at, entry in enumerate(entries):
        if at in gone:
            told = _standing(*gone[at], state.story)
            others = heard_by.get(at, set()) - {player, SOMEBODY}
            new = Entry(told, entry.at_ms, frozenset(others))
        else:
            new = _cleared(entry, sought, unnamed, renamed)
        if new != entry:
            changed[at] = new
        state.apply(new)
    kept = {turn: unnamed(text) for turn, text in speech.items() if turn not in sought.turns}
    return Rewritten(changed, kept)


def applied(entries: Iterable[Entry], changed: Mapping[int, Entry]) -> list[Entry]:
    """The journal as it is then."""
    return [changed.get(at, entry) for at, entry in enumerate(entries)]


def _standing(gone: Erased, was: Story, now: Story) -> Erased:
    """What is left of an entry: beats that came with the player stand.

    Args:
        was, now: the story up to it, with the player and without.
    """
    opened = tuple(beat for beat in was.opened if beat not in now.opened)
    closed = tuple(beat for beat in was.closed if beat not in now.closed)
    return gone.model_copy(update={"opened": opened, "closed": closed})


def _names_somebody(name: str) -> bool:
    """Whether a name is more than everyday words."""
    if relevance.terms(name):
        return bool(relevance.meaning(name))
    return any(map(str.isalnum, name))


def _own_words(loaded: LoadedScene) -> set[str]:
    """What the names of the scene's characters, places and things are made of, as one writes it."""
    scene, cast = loaded.scene, loaded.characters.values()
    names = [place.name for place in scene.places.values()]
    names += [prop.name for prop in scene.props.values()]
    names += [name for npc in cast for name in (npc.name, *npc.aliases)]
    words = {word for name in names for word in _PARTS.split(name)}
    return {form for word in words for form in (word, *_written(word))}


def _written(word: str) -> tuple[str, str]:
    """How a word looks as a name, and shouted."""
    return word[:1].upper() + word[1:], word.upper()


def _replacer(names: set[str], parts: set[str], player: str, someone: str) -> Callable[[str], str]:
    """Takes names, and their parts, out of a text.

    A part counts where it is written as a name (`Marsh`, not `marsh`), or is the player's id too.
    """
    anyhow = names | {part for part in parts if part.casefold() == player.casefold()}
    written = {form for part in parts for form in _written(part)}
    if not anyhow:
        return lambda text: text
    pattern = re.compile(f"(?i:{_any_of(anyhow)})" + (f"|{_any_of(written)}" if written else ""))
    return lambda text: pattern.sub(someone, text)


def _any_of(words: Iterable[str]) -> str:
    return "|".join(
        rf"(?<!\w){re.escape(word)}(?!\w)" if word.isascii() else re.escape(word)
        for word in sorted(words, key=lambda word: (-len(word), word))
    )


def _renamed(saves: set[str], player: str, parts: set[str]) -> dict[str, str]:
    """New ids for the saves in whose ids a player is named, by the old ones.

    A bare number, or an id of a letter or two, names nobody as a part of another.
    """
    words = {word for word in {player, *parts} if len(word) > 2 and not word.isdigit()}
    named = "|".join(map(re.escape, sorted(words, key=len, reverse=True))) or "(?!)"
    pattern = re.compile(rf"(?<![^\W_])(?:{named})(?![^\W_])", re.IGNORECASE)
    renamed: dict[str, str] = {}
    for save in sorted(saves):
        whole = save.casefold() == player.casefold()
        base = ERASED_ID if whole else pattern.sub(ERASED_ID, save)
        if base == save:
            continue
        base = new = base[:LONGEST_SAVE]
        taken = saves | set(renamed.values())
        numbers = count(2)
        while new in taken:
            new = f"{base}-{next(numbers)}"
        renamed[save] = new
    return renamed


def _cleared(
    entry: Entry,
    sought: _Sought,
    unnamed: Callable[[str], str],
    renamed: Mapping[str, str],
) -> Entry:
    """An entry of somebody else's, without the player."""
    if entry.session_id in sought.sessions:
        entry = replace(entry, session_id=None, message_id=None)
    match entry.fact:
        case SceneChanged(what="locked" | "unlocked", name=sought.player):
            # Whoever locks a scene unlocks it in leaving, and that goes as well.
            entry = replace(entry, fact=SceneChanged(what="unlocked"))
        case SceneChanged(what="saved" | "restored" as what, name=str(save)) if save in renamed:
            entry = replace(entry, fact=SceneChanged(what=what, name=renamed[save]))
    told = entry.fact.model_dump(mode="json")
    clear = {
        name: _words(value, sought.player, unnamed) if name in TEXTS else _ids(value, sought.player)
        for name, value in told.items()
        if name in TEXTS | IDS
    }
    if "args" in clear and not isinstance(entry.fact, PlayerActed):
        # What these are called, the scene says.
        clear["args"] = {
            name: _words(value, sought.player, unnamed) for name, value in told["args"].items()
        }
    fact: Fact = entry.fact
    if told | clear != told:
        try:
            fact = fact_of(told | clear)
        except ValidationError:  # without the player nothing is left that makes sense
            fact = Erased()
    return replace(entry, fact=fact, audience=entry.audience - {sought.player})


def _ids(value: Any, player: str) -> Any:
    if isinstance(value, list):
        return [each for each in value if each != player]
    return None if value == player else value


def _words(value: Any, player: str, unnamed: Callable[[str], str]) -> Any:
    match value:
        case str():
            return unnamed("" if value == player else value)
        case list():
            return [_words(each, player, unnamed) for each in value]
        case dict():
            return {
                _words(name, player, unnamed): _words(each, player, unnamed)
                for name, each in value.items()
            }
    return value
