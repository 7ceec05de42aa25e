"""Played sessions: a server's journal, and the scenes it was played in.

Each scene is folded again from its entries, as the server folds them, and every character's turns
are read with what they had perceived before. The journal is opened to be read only. Players' names
are personal data: invented ones take their place, also in texts, unless they are spelled wrongly.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finetune.formats.base import Faults, Read, Reader, explain
from finetune.formats.names import public, renaming, unused
from finetune.formats.scenes import stage_of
from finetune.records import MAX_TEXT, NONE, PLAYER, Act, Conversation, Dropped, Turn
from npcserver.errors import SceneError
from npcserver.happening import Happening
from npcserver.journal import Entry, JournalError, Recording, TurnHeardBy, TurnRated
from npcserver.library import LoadedScene, load_scene
from npcserver.protocol import (
    PlayerJoined,
    PlayerSaid,
    SceneChanged,
    TurnAction,
    TurnDone,
    TurnStarted,
)
from npcserver.state import SceneState


def reader(scenes: Path) -> Reader:
    """The reader of journals that were played in the scenes of a folder."""

    def read(path: Path, faults: Faults) -> Read:
        try:
            with closing(Recording(path)) as journal:
                yield from _instances(journal, path, scenes, faults)
        except JournalError as error:
            faults.add(f"{path}:1", error.message)
        except (sqlite3.Error, UnicodeError) as error:
            faults.add(f"{path}:1", f"cannot be read as a journal: {error}")

    return read


@dataclass
class _Played:
    """An instance's history, folded from its entries.

    Args:
        told: what happened, by its number, and the row of the journal that says so.
        lines: the numbers of players' lines, by player and the line's id.
        begun: by turn, the newest number at its start, and that of the line it answers.
        called: what players called themselves, each with the player's id.
    """

    state: SceneState
    told: dict[int, tuple[Happening, int]] = field(default_factory=dict)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)
    begun: dict[str | None, tuple[int, int]] = field(default_factory=dict)
    acts: dict[str | None, Act | None] = field(default_factory=dict)
    ratings: dict[str | None, dict[str, str]] = field(default_factory=dict)
    called: dict[str, str] = field(default_factory=dict)

    def apply(self, row: int, entry: Entry) -> None:
        """Take in an entry. Raises KeyError where the scene no longer has what it names."""
        self.state.apply(entry)
        newest = self.state.happenings[-1] if self.state.happenings else None
        if newest is not None and newest.number not in self.told:
            self.told[newest.number] = newest, row
        match entry.fact:
            case PlayerJoined(player=player):
                self.called[player.name] = player.id
            case PlayerSaid() as said:
                self.called[said.name] = said.player
                self.lines[said.player, said.line_id] = self.state.number
            case TurnStarted(turn_id=turn, in_reply_to=line, to=askers):
                asked = [self.lines.get((asker, line or ""), 0) for asker in askers]
                self.begun[turn] = self.state.number, max(asked, default=0)
            case TurnDone(npc=npc, turn_id=turn) as done if done.text:
                self.lines[npc, turn] = self.state.number
            case TurnAction() as action:
                self.acts[action.turn_id] = _act(action, self.state.loaded)
            case TurnRated() as rated:
                self.ratings.setdefault(rated.turn_id, {})[rated.player] = rated.rating
            case TurnHeardBy():
                # The fold cuts what was said to what was heard.
                for past in self.state.happenings:
                    self.told[past.number] = past, self.told[past.number][1]

    def branched(self) -> "_Played":
        """What is left of it after the scene went back to a save."""
        now = self.state.number
        begun = {turn: at for turn, at in self.begun.items() if at[0] <= now}
        return replace(
            self,
            told={number: told for number, told in self.told.items() if number <= now},
            begun=begun,
            acts={turn: act for turn, act in self.acts.items() if turn in begun},
            ratings={turn: rated for turn, rated in self.ratings.items() if turn in begun},
        )


def _instances(journal: Recording, path: Path, scenes: Path, faults: Faults) -> Read:
    found: dict[str, LoadedScene | None] = {}
    names: dict[tuple[str, str], str] = {}
    for scene, instance, first in journal.instances():
        if scene not in found:
            found[scene] = _scene(scenes, str(scene), faults)
        if (loaded := found[scene]) is None:
            yield Dropped(source=f"{path}:{first}", reason="its scene is not there")
            continue
        played, branches = _Played(SceneState(loaded)), []
        for row, entry in journal.entries(scene, instance):
            try:
                if isinstance(entry, ValidationError):
                    raise entry
                if isinstance(entry.fact, SceneChanged) and entry.fact.what == "restored":
                    branches.append(replace(played))
                    played.state.apply(entry)
                    played = played.branched()
                    continue
                played.apply(row, entry)
            except ValidationError as error:
                faults.add(f"{path}:{row}", explain(error))
            except KeyError:
                yield Dropped(source=f"{path}:{row}", reason="does not fit its scene any more")
        for player in played.called.values():
            names.setdefault((scene, player), unused({*names.values(), *public(loaded)}))
        new = {player: names[scene, player] for player in played.called.values()}
        for branch in (*branches, played):  # what they share is said twice, and left out later
            yield from _conversations(branch, new, path, f"{path}:{first}")


def _scene(scenes: Path, scene: str, faults: Faults) -> LoadedScene | None:
    folders = [file.parent for file in scenes.glob("*/scene.yaml") if file.parent.name == scene]
    try:
        return load_scene(folders[0]) if folders else None
    except SceneError as error:
        faults.found.extend(error.message.split("\n"))
        return None


def _conversations(played: _Played, new: dict[str, str], path: Path, at: str) -> Read:
    """What each character heard and said. Args: new: the names that players get, by id."""
    loaded = played.state.loaded
    own = {name.casefold() for name in public(loaded)}
    called = {name: new[id_] for name, id_ in played.called.items() if name.casefold() not in own}
    spoken, seen = renaming(called), renaming(new | called)
    stage = stage_of(loaded)
    for npc in loaded.characters:
        turns: dict[int, Turn] = {}
        for number, (past, row) in played.told.items():
            words = past.heard_as(npc)
            if npc not in past.heard_by or not words.strip():
                continue
            text = (spoken if past.spoken else seen)(words)[:MAX_TEXT]
            turn = Turn(text=text, source=f"{path}:{row}", **_told(played, past, npc, new))
            when = played.begun[past.turn_id] if past.speaker == npc else (number, 0)
            _put(turns, number, turn, *when)
        heard = list(turns.values())
        while heard and not (heard[-1].speaker == npc and heard[-1].spoken):
            heard.pop()
        if heard:
            yield Conversation(stage=stage, turns=heard, dataset="journal", source=f"{at} {npc}")


def _put(turns: dict[int, Turn], number: int, turn: Turn, begun: int, asked: int) -> None:
    """Add a turn as the served prompt had it: after the line it answers, before what came later."""
    later = {n: turns.pop(n) for n in range(begun + 1, number) if n in turns}
    turns |= {n: turns.pop(n) for n in (asked,) if n in turns}
    turns |= {number: turn} | later


def _told(played: _Played, past: Happening, npc: str, new: dict[str, str]) -> dict[str, Any]:
    """Who did it and how, for a character who perceived it."""
    if past.speaker != npc:
        # Others are only heard: what they say is learned in conversations of their own.
        name = new.get(past.speaker, past.name)
        return {"speaker": past.speaker and PLAYER, "name": name, "spoken": past.spoken}
    known = past.emotion in played.state.loaded.scene.emotions
    given = set(played.ratings.get(past.turn_id, {}).values()) - {"none"}
    return {
        "speaker": npc,
        "name": past.name,
        # What was cut short is remembered as it was, and not learned.
        "spoken": past.status == "completed" and past.heard_as(npc) == past.text,
        "emotion": past.emotion if known else None,
        "action": played.acts.get(past.turn_id, NONE),
        "rating": given.pop() if len(given) == 1 else None,
    }


def _act(done: TurnAction, loaded: LoadedScene) -> Act | None:
    """What was done; None where its target is no longer in the scene."""
    aimed = loaded.scene.actions[done.name].target
    target = None if aimed in ("none", "player") else done.target
    known = {*loaded.scene.props, *loaded.scene.places, *loaded.characters, None}
    return Act(name=done.name, target=target, args=done.args) if target in known else None
