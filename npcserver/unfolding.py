"""How the story goes on: the fold of a scene's journal into beats, flags and relations.

The same entries give the same story. Knows no prompts and does no I/O.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from npcserver import relevance
from npcserver.fields import Flag
from npcserver.happening import Happening
from npcserver.journal import Entry, Erased, TurnHeardBy
from npcserver.library import LoadedScene
from npcserver.plot import Move, When
from npcserver.protocol import (
    ActionResult,
    PlayerActed,
    PlayerSaid,
    SceneChanged,
    TurnAction,
    TurnDone,
)
from npcserver.relations import Measure, Relation, changes
from npcserver.sheets import Fact
from npcserver.story import EVERYBODY, SOMEBODY, Situation, Story, Witnessed

REMEMBERED_VALUES = 16
"""Values of a flag that are remembered, the newest ones."""
ANSWERED = 1
"""By how much familiarity grows with every answer."""
BY_ANSWERING = "answered"
"""Why it grew then."""
TOLD = 0.6
"""A line tells a fact when it holds this share of the terms that carry its meaning."""
HEARD = 0.6
"""A written line was heard by whoever heard this share of it."""
TALK_FUNCTION_WORDS = 0.2
"""What `you` and the like weigh when a line is compared with the examples of a move."""


@dataclass(frozen=True)
class Around:
    """What an entry of the journal means beside its own fields.

    Args:
        since: the last happening before it.
        players: who is here, and in which place.
        answered: whom a turn that ends here answered.
        lines: what is said here, or is heard less far than was thought; and what was said since.
        doing: the character and the action that a result here is about.
        witnessed: since when characters know of events.
    """

    since: int
    players: Mapping[str, str]
    answered: tuple[str, ...]
    lines: Sequence[Happening]
    doing: tuple[str, TurnAction] | None
    witnessed: Witnessed


def after(story: Story, entry: Entry, loaded: LoadedScene, around: Around) -> Story:
    """The story once an entry of the journal is taken in."""
    then = _Next(story, loaded, around, entry.audience)
    match entry.fact:
        case PlayerSaid() as said:
            then.tell()
            then.talk(said)
        case PlayerActed() as acted:
            then.deed(acted)
        case SceneChanged(what="event", name=str(name), args=args):
            then.event(name, args)
        case SceneChanged(what="flag", name=str(name), args=args) if name in story.flags:
            then.set_flag(name, args["value"])
        case ActionResult(status="done") if around.doing:
            then.done(*around.doing)
        case TurnDone(text=text) as done if text:
            then.tell()
            then.use_up()
            then.answer(done)
        case TurnHeardBy():
            then.tell()
            then.use_up()
        case Erased() as gone:
            then.stand(gone)
    then.settle()
    return then.story


@dataclass
class _Next:
    """A story on its way past one entry."""

    story: Story
    loaded: LoadedScene
    around: Around
    audience: frozenset[str]

    def tell(self) -> None:
        """Note the facts that a line tells, and anew where they were told since.

        What was told since may have been left out because the line had told it to everybody.
        """
        lines = self.around.lines
        for fact in self.loaded.scene.facts:
            if not lines or fact.id is None or not _tells(lines[0].text, fact):
                continue
            before = self.story.told.get(fact.id, {})
            told = {pair: since for pair, since in before.items() if since < lines[0].number - 1}
            for line in lines:
                if _tells(line.text, fact):
                    for pair in self._learn(line, fact):
                        told.setdefault(pair, line.number - 1)
            self.story = replace(self.story, told={**self.story.told, fact.id: told})

    def _learn(self, line: Happening, fact: Fact) -> Iterator[tuple[str, str]]:
        """Who learns a fact from a line, for they heard that much of it, and who may know that."""
        heard_by = {who for who in line.heard_by if _tells(line.heard_as(who), fact)}
        if heard_by:
            yield "", EVERYBODY
        for npc in heard_by & self.loaded.characters.keys():
            for who in heard_by if line.volume == "whisper" else {EVERYBODY}:
                yield npc, who

    def talk(self, said: PlayerSaid) -> None:
        """Move relations by what a player says: by the example that is most like it."""
        if found := _most_alike(said.text, self.loaded.scene.moves):
            line, move = found
            for npc in sorted(self._who(move, said.to)):
                old = self.story.relation(npc, said.player)
                new = old.talk(self.around.since, changes(move), move.talk[0], f"talk: {line}")
                self._relate(npc, said.player, old, new)

    def deed(self, acted: PlayerActed) -> None:
        """Move relations by what a player does."""
        target = [acted.target] if acted.target else []
        for move in self.loaded.scene.moves:
            if move.deed == acted.action:
                self._move(move, self._who(move, target), acted.player, f"deed: {acted.action}")

    def event(self, name: str, args: Mapping[str, object]) -> None:
        """Note an event, set its flags, and move relations by it."""
        self.story = replace(
            self.story, events={name: self.around.since, **self.story.events}
        )  # the first time counts
        scene = self.loaded.scene
        for flag, value in scene.events[name].sets.items() if name in scene.events else ():
            given = args.get(name_of) if (name_of := _argument(value)) else value
            if isinstance(given, str | int) and type(given) is type(scene.flags.get(flag)):
                self.set_flag(flag, given)
        for move in scene.moves:
            if move.event == name:
                named = args.get(move.player) if move.player else None
                players = [str(named)] if named else []
                players = players if move.player else list(self.around.players)
                for player in players:
                    if move.player or player in self.audience:
                        self._move(move, self._who(move, ()), player, f"event: {name}")

    def set_flag(self, flag: str, value: Flag) -> None:
        """Set a flag."""
        values = (*self.story.flags.get(flag, ()), (self.around.since, value))
        flags = {**self.story.flags, flag: values[-REMEMBERED_VALUES:]}
        self.story = replace(self.story, flags=flags)

    def done(self, npc: str, action: TurnAction) -> None:
        """Move a relation by what a character did to a player."""
        for move in self.loaded.scene.moves:
            if move.action == action.name and action.target:
                self._move(move, {npc}, action.target, f"action: {action.name}")

    def answer(self, done: TurnDone) -> None:
        """A character answered: they know each other better."""
        players = [who for who in self.around.answered if who in self.around.players]
        for player in players:
            self._moved(done.npc, player, {"familiarity": ANSWERED}, BY_ANSWERING)

    def use_up(self) -> None:
        """A written line was said whole; whoever heard most of it does not hear it again.

        What was said since is noted anew, as in `tell`.
        """
        lines = self.around.lines
        if not lines or (line := lines[0].authored) is None:
            return
        before = self.story.said.get(line, {})
        players = self.around.players.keys() | before.keys()
        times = [past for past in lines if past.authored == line]
        anew = {past.number - 1 for past in times}
        said = {who: since for who, since in before.items() if since not in anew}
        for past in times:
            heard_by = {who for who in players & past.heard_by if _heard_most(past, who)}
            for who in (SOMEBODY, *sorted(heard_by)) if heard_by else ():
                said.setdefault(who, past.number - 1)
        self.story = replace(self.story, said={**self.story.said, line: said})

    def stand(self, gone: Erased) -> None:
        """What somebody led to stands, though they were erased."""
        since = self.around.since
        self.story = replace(
            self.story,
            opened={**dict.fromkeys(gone.opened, since), **self.story.opened},
            closed={**dict.fromkeys(gone.closed, since), **self.story.closed},
        )
        if gone.said:
            others = sorted(self.audience & self.around.players.keys())
            before, heard = self.story.said, dict.fromkeys([SOMEBODY, *others], since)
            said = {**before, gone.said: heard | dict(before.get(gone.said, {}))}
            self.story = replace(self.story, said=said)

    def settle(self) -> None:
        """Open and close beats until nothing changes any more."""
        beats = self.loaded.scene.beats
        while True:
            story = self.story
            opened = {
                name: self.around.since
                for name, beat in beats.items()
                if name not in story.opened and self._holds(beat.when)
            }
            closed = {
                name: self.around.since
                for name, beat in beats.items()
                if name in story.opened and name not in story.closed and self._ends(beat.until)
            }
            if not opened and not closed:
                return
            self.story = replace(
                story, opened={**story.opened, **opened}, closed={**story.closed, **closed}
            )

    def _ends(self, until: When | None) -> bool:
        return until is not None and self._holds(until)

    def _holds(self, when: When | None) -> bool:
        """Whether a condition of the scene holds, for any player."""
        number, witnessed = self.around.since + 1, self.around.witnessed
        players = self.around.players or {"": ""}
        return any(
            self.story.unmet(when, Situation("", player, place, number), witnessed) is None
            for player, place in players.items()
        )

    def _who(self, move: Move, addressed: Iterable[str]) -> set[str]:
        """The characters whose relation a move moves, among those who perceived its cause."""
        cast = self.loaded.characters
        here = set(self.audience & cast.keys())
        if move.of:
            return {npc for npc in here if {npc, *cast[npc].factions} & set(move.of)}
        return here & set(addressed) or here

    def _move(self, move: Move, npcs: Iterable[str], player: str, why: str) -> None:
        for npc in sorted(npcs):
            self._moved(npc, player, changes(move), why)

    def _moved(self, npc: str, player: str, by: Mapping[Measure, int], why: str) -> None:
        old = self.story.relation(npc, player)
        self._relate(npc, player, old, old.moved(self.around.since, by, why))

    def _relate(self, npc: str, player: str, old: Relation, new: Relation) -> None:
        if new != old:
            relations = {**self.story.relations, (npc, player): new}
            self.story = replace(self.story, relations=relations)


def _most_alike(said: str, moves: Iterable[Move]) -> tuple[str, Move] | None:
    """The example that is most like a line, and its move.

    What a line denies is like nothing but an example that denies: `You are not a fool.`
    """
    examples = [(line, move) for move in moves for line in move.talk]
    plain = [each for each in examples if not relevance.denies(each[0])]
    denying = [each for each in examples if relevance.denies(each[0])]
    denied = said if relevance.denies(said) else ""
    for words, among in ((relevance.affirmed(said), plain), (denied, denying)):
        texts = [line for line, _ in among]
        for index in relevance.rank(words, texts, function_words=TALK_FUNCTION_WORDS)[:1]:
            return among[index]
    return None


def _tells(text: str, fact: Fact) -> bool:
    """Whether words hold most of what a fact says."""
    meaning = relevance.meaning(fact.fact)
    return len(meaning & relevance.terms(text)) >= TOLD * len(meaning)


def _heard_most(line: Happening, player: str) -> bool:
    """Whether a player heard most of a line's letters."""
    return len(line.heard_as(player)) >= HEARD * len(line.text)


def _argument(value: Flag) -> str | None:
    """The argument's name in `{name}`."""
    is_name = isinstance(value, str) and value.startswith("{") and value.endswith("}")
    return str(value)[1:-1] if is_name else None
