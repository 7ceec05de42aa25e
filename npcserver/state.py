"""What a scene is at a moment: the fold of its journal.

`apply` is the only writer. The same entries always give the same state, so a restarted scene stands
where its journal ends. Knows nothing of engines, sockets or clocks.
"""

from collections import deque
from dataclasses import dataclass, field, replace

from npcserver.happening import Body, Doing, Happening, OpenTurn
from npcserver.journal import Cue, Entry, Erased, TurnHeardBy
from npcserver.library import LoadedScene
from npcserver.memories import Memories
from npcserver.memory import Memory
from npcserver.pace import Pace
from npcserver.protocol import (
    ActionResult,
    PlayerActed,
    PlayerJoined,
    PlayerLeft,
    PlayerMoved,
    PlayerSaid,
    SceneChanged,
    TurnAction,
    TurnDone,
    TurnEmotion,
    TurnStarted,
    Volume,
)
from npcserver.story import Story, begin
from npcserver.unfolding import Around, after

REMEMBERED = 400
"""Happenings kept as they were; what is remembered of older ones is in memory.py."""


CAME_TO = {
    "en": {
        "failed": "{who} {deed}, but it fails{why}.",
        "refused": "{who} {deed}, but it is refused{why}.",
    },
    "zh": {"failed": "{who}{deed}，没有成功{why}。", "refused": "{who}{deed}，对方不要{why}。"},
}
"""What came of a deed, as a sentence."""
BECAUSE = {"en": ": {}", "zh": "：{}"}
NO_BRACKETS = str.maketrans("", "", "[](){}<>【】［］（）")
"""Prompts put happenings in brackets; what a client tells of one must not end them."""


@dataclass(frozen=True)
class Save:
    """A scene as it was at a checkpoint; turns under way are no part of it."""

    at_ms: int
    bodies: dict[str, Body]
    happenings: tuple[Happening, ...]
    actions: dict[str, Doing]
    attention: dict[str, str]
    witnessed: dict[tuple[str, str], int]
    turns: int
    number: int
    memories: Memories
    pace: Pace
    story: Story


@dataclass
class SceneState:
    """Everyone's whereabouts, what happened, and what is under way."""

    loaded: LoadedScene
    bodies: dict[str, Body] = field(default_factory=dict)
    happenings: deque[Happening] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    open_turns: dict[str, OpenTurn] = field(default_factory=dict)
    actions: dict[str, Doing] = field(default_factory=dict)
    attention: dict[str, str] = field(default_factory=dict)
    """The character each player last talked with."""
    witnessed: dict[tuple[str, str], int] = field(default_factory=dict)
    """Since which happening a character knows of an event, by character and event."""
    turns: int = 0
    number: int = 0
    pace: Pace = field(default_factory=Pace)
    saves: dict[str, Save] = field(default_factory=dict)
    memories: Memories = field(init=False)
    story: Story = field(default_factory=Story)

    def __post_init__(self) -> None:
        names = {npc: character.name for npc, character in self.loaded.characters.items()}
        self.memories = Memories(self.loaded.scene.language, names)
        self.story = begin(self.loaded.scene)
        for member in self.loaded.scene.cast:
            character = self.loaded.characters[member.character]
            place = self.loaded.scene.places[member.place]
            self.bodies[member.character] = Body(
                id=member.character,
                name=character.name,
                place=member.place,
                position=member.position or place.position,
                npc=True,
                emotion=character.resting,
            )

    @property
    def npcs(self) -> list[Body]:
        """The characters, in the cast's order."""
        return [body for body in self.bodies.values() if body.npc]

    @property
    def players(self) -> list[Body]:
        """The players who are here, in order of arrival."""
        return [body for body in self.bodies.values() if not body.npc]

    def apply(self, entry: Entry) -> None:
        """Take in one entry of the journal."""
        since, (turn, doing) = self.number, self._about(entry)
        self._apply(entry)
        around = Around(
            min(since, self.number),  # a restore goes back
            players={body.id: body.place for body in self.players},
            answered=tuple(turn.to) if turn else (),
            lines=self._lines_from(entry),
            doing=(doing.started.npc, doing.action) if doing else None,
            witnessed=self.witnessed,
        )
        self.story = after(self.story, entry, self.loaded, around)

    def _about(self, entry: Entry) -> tuple[TurnStarted | None, Doing | None]:
        """How a turn that ends began, and what an action's result is about."""
        match entry.fact:
            case TurnDone(turn_id=turn_id) if turn_id in self.open_turns:
                return self.open_turns[turn_id].started, None
            case ActionResult(action_id=action_id):
                return None, self.actions.get(action_id)
        return None, None

    def _lines_from(self, entry: Entry) -> list[Happening]:
        """The line that an entry says, or of which it tells what was heard; and all said since."""
        match entry.fact:
            case PlayerSaid():
                return [self.happenings[-1]]
            case TurnDone(turn_id=turn_id) | TurnHeardBy(turn_id=turn_id):
                lines = []
                for past in reversed(self.happenings):
                    if past.spoken:
                        lines.append(past)
                    if past.turn_id == turn_id:
                        return lines[::-1]
        return []

    def _apply(self, entry: Entry) -> None:
        self.pace = self.pace.after(entry)
        match entry.fact:
            case PlayerJoined(player=player):
                self.bodies[player.id] = Body(
                    player.id, player.name, player.place, player.position, False, player.about
                )
            case PlayerLeft(player=player_id):
                self.bodies.pop(player_id, None)
                self.attention.pop(player_id, None)
                self.memories.left(player_id, self.number)
            case PlayerMoved() as moved:
                body = self.bodies[moved.player]
                self.bodies[moved.player] = replace(
                    body, place=moved.place, position=moved.position
                )
            case PlayerSaid() as said:
                self._happen(entry, said.player, said.name, said.text, said.to, said.volume)
            case PlayerActed() as acted:
                name = self.bodies[acted.player].name
                self._happen(entry, acted.player, name, self.describe_act(acted), spoken=False)
            case SceneChanged(what="event", name=str(name), args=args):
                event = self.loaded.scene.events.get(name)
                words = event.phrase(args) if event else name
                self._happen(entry, "", "", words, spoken=False)
                for npc in entry.audience & self.loaded.characters.keys():
                    self.witnessed.setdefault((npc, name), self.number)
            case SceneChanged(what="saved", name=str(name)):
                self.saves[name] = self._saved(entry.at_ms)
            case SceneChanged(what="restored", name=str(name)):
                self._restore(self.saves[name], entry.at_ms)
            case TurnStarted() as started:
                self.turns += 1
                players = [who for who in started.to if who not in self.loaded.characters]
                attended = {player: self.attention.get(player) for player in players}
                self.attention |= dict.fromkeys(players, started.npc)
                self.open_turns[started.turn_id] = OpenTurn(
                    started, entry.audience, entry.at_ms, attended=attended
                )
            case TurnEmotion() as emotion:
                turn = self.open_turns[emotion.turn_id]
                turn.emotion = emotion.emotion
                npc = turn.started.npc
                self.bodies[npc] = replace(self.bodies[npc], emotion=emotion.emotion)
            case TurnAction() as action:
                turn = self.open_turns[action.turn_id]
                turn.action = action
                self.actions[action.action_id] = Doing(turn.started, action, entry.audience)
                while len(self.actions) > REMEMBERED:
                    self.actions.pop(next(iter(self.actions)))
            case TurnDone() as done:
                self._end(entry, done)
            case TurnHeardBy() as heard:
                self._heard(heard)
            case ActionResult() as result:
                self._result(entry, result)
            case Cue(words=words):
                self._happen(entry, "", "", words, spoken=False, passing=True)
            case Erased() as gone:
                self.number += gone.happenings
                self.turns += gone.turns

    def _saved(self, at_ms: int) -> Save:
        return Save(
            at_ms,
            dict(self.bodies),
            tuple(self.happenings),
            dict(self.actions),
            dict(self.attention),
            dict(self.witnessed),
            self.turns,
            self.number,
            self.memories.copy(),
            self.pace,
            self.story,
        )

    def _restore(self, save: Save, at_ms: int) -> None:
        """Stand where the scene was saved. Who came since stays; who left since stays away."""
        here = self.bodies
        self.bodies = {npc.id: save.bodies[npc.id] for npc in self.npcs}
        self.bodies |= {
            who: save.bodies.get(who, body) for who, body in here.items() if not body.npc
        }
        self.happenings = deque(save.happenings, maxlen=REMEMBERED)
        self.open_turns, self.actions = {}, dict(save.actions)
        self.attention = {who: npc for who, npc in save.attention.items() if who in self.bodies}
        self.witnessed = dict(save.witnessed)
        # Counted on from there, so that the same play after it is the same to the letter.
        self.turns, self.number, self.story = save.turns, save.number, save.story
        self.memories.go_back(save.memories)
        # Whoever locked it then and is gone cannot unlock it.
        locked_by = save.pace.locked_by if save.pace.locked_by in self.bodies else ""
        self.pace = replace(save.pace.later(at_ms - save.at_ms), locked_by=locked_by)

    def happening(self, number: int) -> Happening | None:
        """What happened then, if it is still kept as it was."""
        return next((past for past in reversed(self.happenings) if past.number == number), None)

    def name_of(self, some_id: str) -> str:
        """The name of a person, prop or place; the id itself if there is none."""
        scene = self.loaded.scene
        for named in (
            self.bodies.get(some_id),
            scene.props.get(some_id),
            scene.places.get(some_id),
        ):
            if named is not None:
                return named.name
        return some_id

    def describe_act(self, acted: PlayerActed) -> str:
        """A player's act as a sentence: `Kit: gives bread, Hessa`."""
        words = acted.action.replace("_", " ")
        details = [str(value) for value in acted.args.values() if isinstance(value, str | int)]
        if acted.target:
            details.append(self.name_of(acted.target))
        return f"{words} {', '.join(details)}".strip()

    def _happen(
        self,
        entry: Entry,
        speaker: str,
        name: str,
        text: str,
        to: list[str] | tuple[str, ...] = (),
        volume: Volume = "talk",
        *,
        spoken: bool = True,
        passing: bool = False,
        **rest: str | None,
    ) -> None:
        self.number += 1
        past = Happening(
            self.number,
            speaker,
            name,
            text,
            spoken,
            tuple(to),
            volume,
            entry.audience,
            entry.at_ms,
            **rest,  # type: ignore[arg-type]
        )
        self.happenings.append(past)
        if not passing:  # an occasion to speak is nothing to remember
            self._remember(past)

    def _remember(self, past: Happening) -> None:
        body = self.bodies.get(past.speaker)
        place = self.loaded.scene.places[body.place].name if body else ""
        memory = Memory(
            past.number,
            past.at_ms,
            place,
            past.speaker,
            past.name,
            past.text,
            past.spoken,
            tuple(self.name_of(who) for who in past.to),
            frozenset({past.speaker, *past.to}),
            past.volume,
            past.heard_by,
            past.deed,
        )
        self.memories.add(memory, player=body is not None and not body.npc)

    def _end(self, entry: Entry, done: TurnDone) -> None:
        turn = self.open_turns.pop(done.turn_id, None)
        if turn is None:
            return
        if done.status == "silent":
            for player, npc in turn.attended.items():
                if self.attention.get(player) == done.npc:
                    self.attention.pop(player)
                    self.attention |= {player: npc} if npc else {}
        if not done.text:
            return
        # Whoever walked away while it was said heard the beginning.
        self._happen(
            replace(entry, audience=turn.audience | entry.audience),
            done.npc,
            self.bodies[done.npc].name,
            done.text,
            turn.started.to,
            turn.started.volume,
            turn_id=done.turn_id,
            status=done.status,
            emotion=turn.emotion,
            deed=self._deed(turn.action) if turn.action else None,
            authored=done.said_whole,
        )
        for player, chars in turn.heard.items():
            self._reach(-1, player, chars)

    def _deed(self, action: TurnAction) -> str:
        return deed_words(self, action.name, action.target, action.args)

    def _heard(self, heard: TurnHeardBy) -> None:
        """Note how far a line reached a player; the farthest they told of counts."""
        if turn := self.open_turns.get(heard.turn_id):
            turn.heard[heard.player] = max(heard.chars, turn.heard.get(heard.player, 0))
            return
        for index, past in enumerate(self.happenings):
            if past.turn_id == heard.turn_id:
                self._reach(index, heard.player, heard.chars)
                return

    def _reach(self, index: int, player: str, chars: int) -> None:
        """Note in a happening, and in what is remembered of it, how far it reached a player."""
        past = self.happenings[index] = self.happenings[index].reaching(
            player, chars, self.loaded.characters.keys()
        )
        self.memories.amend(past.number, past.reached)

    def _result(self, entry: Entry, result: ActionResult) -> None:
        doing = self.actions.pop(result.action_id, None)
        if doing is None or result.status == "done":
            return
        language, started = self.loaded.scene.language, doing.started
        detail = " ".join((result.detail or "").translate(NO_BRACKETS).split()).rstrip(".。")
        told = CAME_TO[language][result.status].format(
            who=self.bodies[started.npc].name,
            deed=self._deed(doing.action),
            why=BECAUSE[language].format(detail) if detail else "",
        )
        # As quietly as the deed: what came of a whispered turn is as little for others' prompts.
        self._happen(entry, "", "", told, volume=started.volume, spoken=False)


def deed_words(state: SceneState, name: str, target: str | None, args: dict[str, object]) -> str:
    """A character's action as the prompt says it: `gives bread to Kit`."""
    return state.loaded.scene.actions[name].phrase(state.name_of(target) if target else None, args)
