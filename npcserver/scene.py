"""One live scene: an actor with a mailbox, and the only writer of its state.

Commands come in, become facts, are journaled, and only then shown to those who perceive them.
Turns run beside the mailbox (floor.py) and send their parts through it, so that a scene never waits
for an engine. Journal, engine and clock are passed in; it knows nothing of sockets and shares
nothing with other scenes.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

import jsonschema

from npcserver import director, hearing, hosting, story
from npcserver.engines.base import Engine
from npcserver.errors import Rejected
from npcserver.floor import Floor, Rules
from npcserver.happening import Body
from npcserver.hosting import Sender
from npcserver.initiative import Initiative
from npcserver.journal import Batch, Entry, Fact, Journal, TurnHeardBy, TurnRated
from npcserver.library import LoadedScene
from npcserver.mailbox import Mailbox
from npcserver.protocol import (
    ActionResult,
    ClientMessage,
    PlayerAct,
    PlayerActed,
    PlayerInfo,
    PlayerJoined,
    PlayerLeft,
    PlayerMove,
    PlayerMoved,
    PlayerSaid,
    PlayerSay,
    PlayerTyping,
    SceneChanged,
    SceneEvent,
    SceneLock,
    SceneRestore,
    SceneSave,
    SceneSet,
    SceneUnlock,
    ServerMessage,
    TurnCancel,
    TurnDone,
    TurnHeard,
    TurnRate,
)
from npcserver.state import SceneState
from npcserver.views import person_view, snapshot

Listener = Callable[[ServerMessage], None]
Result = TypeVar("Result")


class LiveScene:
    """One instance of a scene."""

    def __init__(
        self,
        loaded: LoadedScene,
        instance: str,
        *,
        engine: Engine,
        journal: Journal,
        rules: Rules,
        wall_ms: Callable[[], int],
        on_turn: Callable[[TurnDone], None] = lambda done: None,
    ) -> None:
        """One instance, not started yet.

        Args:
            wall_ms: the time of day, in Unix milliseconds.
            on_turn: told of every turn that ended.
        """
        self.loaded = loaded
        self.instance = instance
        self.state = SceneState(loaded)
        self._journal = journal
        self.now_ms = wall_ms
        self._on_turn = on_turn
        self._listeners: dict[str, Listener] = {}
        self._mailbox = Mailbox(f"{loaded.id}/{instance}")
        self._seed = rules.sampling.seed
        self.floor = Floor(self, engine, rules)
        self.initiative = Initiative(self, self.floor, self._seed)

    # ---- life ------------------------------------------------------------------------------

    def load(self, entries: Iterable[Entry]) -> None:
        """Stand where the instance's journal ends. A long one takes seconds; a thread may do it."""
        for entry in entries:
            self.state.apply(entry)
        self.state.memories.prepare()

    async def start(self, speech: Mapping[str, str] = {}) -> None:
        """Begin to act.

        Args:
            speech: what was said in turns that a crash cut; they are closed as interrupted.
        """
        self._mailbox.open()
        for turn_id, turn in list(self.state.open_turns.items()):
            done = TurnDone(
                turn_id=turn_id,
                npc=turn.started.npc,
                status="interrupted",
                text=speech.get(turn_id, ""),
                reason="the server was stopped",
            )
            await self.record(done, turn.audience)
        # Whoever was here when the server stopped has to come in again.
        for player in self.state.players:
            await self.record(PlayerLeft(player=player.id), frozenset())

    async def close(self) -> None:
        """End every turn as interrupted, then stop. Whoever still asks for something is refused."""
        self.initiative.stop()
        await self._mailbox.close(lambda: self.floor.stop_all("the scene is closing"))

    async def call(self, handler: Callable[[], Awaitable[Result]]) -> Result:
        """Run a handler as the scene's writer, after everything that came before it.

        Raises:
            Rejected: the scene is closed; nothing happened.
        """
        return await self._mailbox.call(handler)

    # ---- facts -----------------------------------------------------------------------------

    async def record(
        self,
        fact: Fact,
        audience: frozenset[str],
        sender: Sender | None = None,
        message_id: str | None = None,
    ) -> None:
        """Journal a fact, take it into the state, and show it to its audience."""
        session_id = sender.session_id if sender else None
        entry = Entry(fact, self.now_ms(), audience, session_id, message_id)
        await self._journal.commit(Batch(self.loaded.id, self.instance, [entry]))
        before = self.state.pace.locked_by
        self.state.apply(entry)
        self.initiative.note(fact)
        if isinstance(fact, ServerMessage):
            if isinstance(fact, PlayerSaid | PlayerMoved | PlayerActed):
                audience -= {fact.player}  # they know: the ack said so
            self.show(fact, audience)
        if told := hosting.lock_changed(before, self.state.pace.locked_by, fact):
            self.show(told, self.state.bodies)
        if isinstance(fact, TurnDone):
            self._on_turn(fact)

    async def record_speech(self, turn_id: str, delta: str) -> None:
        """Make words durable before they are shown."""
        batch = Batch(self.loaded.id, self.instance, speech=[(turn_id, delta)])
        await self._journal.commit(batch)

    def show(self, message: ServerMessage, audience: Iterable[str]) -> None:
        """Send a message to those of the audience who listen."""
        for player in audience:
            if listener := self._listeners.get(player):
                listener(message)

    # ---- what clients ask ------------------------------------------------------------------

    async def join(self, player: PlayerInfo, listener: Listener, sender: Sender) -> None:
        """A player comes in (or comes back); first they get a snapshot, then what happens.

        Raises:
            Rejected: the id is a character's.
        """

        async def handler() -> None:
            if player.id in self.loaded.characters:
                raise Rejected(f"{player.id!r} is a character; choose another player id", "taken")
            if player.name.casefold() in {npc.name.casefold() for npc in self.state.npcs}:
                raise Rejected(f"{player.name!r} is a character; choose another name", "taken")
            comes = player.id not in self.state.bodies
            if comes:
                entrance = self.loaded.scene.places[self.loaded.scene.entrance]
                body = Body(
                    player.id,
                    player.name,
                    self.loaded.scene.entrance,
                    entrance.position,
                    npc=False,
                    about=player.about,
                )
                everyone = frozenset(self.state.bodies)
                await self.record(PlayerJoined(player=person_view(body)), everyone, sender)
            self._listeners[player.id] = listener
            listener(snapshot(self.state, player.id))
            if comes:
                self.initiative.meet(player.id)

        await self.call(handler)

    async def leave(self, player: str) -> None:
        """A player is gone for good: their turns stop, and the others see it."""

        async def handler() -> None:
            self._listeners.pop(player, None)
            if player in self.state.bodies:
                await self.floor.stop_of(player, "the player left")
                self.floor.forget(player)
                await self.record(PlayerLeft(player=player), frozenset(self.state.bodies))

        await self.call(handler)

    def tell_all(self) -> None:
        """Show everybody the scene anew."""
        for player, listener in self._listeners.items():
            listener(snapshot(self.state, player))

    @property
    def is_empty(self) -> bool:
        """Nobody listens."""
        return not self._listeners

    async def submit(self, sender: Sender, message: ClientMessage) -> None:
        """Act on a message. Returns once what it did is durable.

        Raises:
            Rejected: nothing happened, and why.
            JournalError: nothing happened, since it could not be written down.
        """
        if isinstance(message, PlayerTyping):
            self.floor.warm(sender.player, message.text)
            return
        await self.call(lambda: self._handle(sender, message))

    async def _handle(self, sender: Sender, message: ClientMessage) -> None:
        if sender.player not in self.state.bodies:
            raise Rejected("you are no longer in this scene; connect again", "not_here")
        match message:
            case PlayerSay():
                await self._say(sender, message)
            case PlayerMove():
                await self._move(sender, message)
            case PlayerAct():
                await self._do(sender, message)
            case SceneEvent():
                await self._event(sender, message)
            case SceneSet():
                changed = story.flag_changed(self.loaded.scene, message, host=sender.host)
                await self.record(changed, frozenset(), sender, message.id)  # it may be a secret
            case TurnCancel():
                await self._cancel(sender, message)
            case TurnHeard():
                await self._heard(sender, message)
            case TurnRate():
                await self._rate(sender, message)
            case ActionResult():
                await self._result(sender, message)
            case SceneSave() | SceneRestore() | SceneLock() | SceneUnlock():
                await hosting.obey(self, sender, message)
            case _:
                raise Rejected("this cannot be asked of a scene", "not_supported")

    async def _say(self, sender: Sender, say: PlayerSay) -> None:
        to = tuple(dict.fromkeys(say.to))
        for who in to:
            self._require(who, self.state.bodies, "nobody here has the id")
        if say.volume == "whisper" and not to:
            near = director.whispered_to(self.state, sender.player)
            if near is None:
                raise Rejected("nobody is near enough to whisper to", "nobody_near")
            to = (near,)
        heard_by = hearing.listeners(self.state, sender.player, say.volume, to)
        said = PlayerSaid(
            line_id=say.id or f"l{self.state.number + 1}",
            player=sender.player,
            name=self.state.bodies[sender.player].name,
            text=say.text,
            to=list(to),
            volume=say.volume,
        )
        await self.floor.hush(sender.player, heard_by)
        await self.record(said, heard_by, sender, say.id)
        choice = director.choose(
            self.state, sender.player, say.text, to, heard_by, say.looking_at, self._seed
        )
        await self.floor.answer(
            choice, sender.player, said.line_id, say.volume, deadline_ms=say.deadline_ms
        )

    async def _move(self, sender: Sender, move: PlayerMove) -> None:
        if move.place is not None:
            self._require(move.place, self.loaded.scene.places, "there is no place")
            place, position = move.place, self.loaded.scene.places[move.place].position
        else:
            assert move.position is not None
            place, position = hearing.place_at(self.state, move.position), move.position
        moved = PlayerMoved(player=sender.player, place=place, position=position)
        await self.record(moved, frozenset(self.state.bodies), sender, move.id)
        await self.floor.walked(sender.player)

    async def _do(self, sender: Sender, act: PlayerAct) -> None:
        if act.target is not None:
            scene = self.loaded.scene
            known = {**self.state.bodies, **scene.props, **scene.places}
            self._require(act.target, known, "nobody and nothing here has the id")
        acted = PlayerActed(
            player=sender.player, action=act.action, target=act.target, args=act.args
        )
        seen_by = hearing.witnesses(self.state, self.state.bodies[sender.player].place)
        await self.record(acted, seen_by, sender, act.id)
        if act.target in self.loaded.characters and act.target in seen_by:
            choice = director.about(self.state, str(act.target), "act")
            await self.floor.answer(choice, sender.player, act.id, "talk")

    async def _event(self, sender: Sender, event: SceneEvent) -> None:
        if not sender.host:
            raise Rejected("only a token of role host may tell the scene of events", "not_allowed")
        self._require(event.name, self.loaded.scene.events, "the scene declares no event")
        schema = self.loaded.scene.events[event.name].schema_of_args()
        for fault in jsonschema.Draft202012Validator(schema).iter_errors(event.args):
            raise Rejected(f"args.{fault.json_path[2:]}: {fault.message}", "bad_args")
        for who in event.seen_by or []:
            self._require(who, self.state.bodies, "nobody here has the id")
        audience = frozenset(self.state.bodies if event.seen_by is None else event.seen_by)
        changed = SceneChanged(what="event", name=event.name, args=event.args)
        await self.record(changed, audience, sender, event.id)
        self.initiative.react(audience)

    async def _cancel(self, sender: Sender, cancel: TurnCancel) -> None:
        if cancel.turn_id is None:
            await self.floor.cancel(sender.player)
            return
        turn = self.floor.find(cancel.turn_id)
        if turn is None:
            raise Rejected(f"no turn {cancel.turn_id!r} is under way", "turn_over")
        if not turn.is_for(sender.player) and not sender.host:
            raise Rejected("this turn is not addressed to you", "not_allowed")
        await self.floor.stop(turn, "the player spoke over it")

    async def _heard(self, sender: Sender, heard: TurnHeard) -> None:
        fact = TurnHeardBy(turn_id=heard.turn_id, player=sender.player, chars=heard.chars)
        await self.record(fact, frozenset(), sender, heard.id)

    async def _rate(self, sender: Sender, rate: TurnRate) -> None:
        past = self.state.happenings
        if not any(p.turn_id == rate.turn_id and sender.player in p.heard_by for p in past):
            raise Rejected(f"you heard no turn {rate.turn_id!r}", "no_such_turn")
        fact = TurnRated(turn_id=rate.turn_id, player=sender.player, rating=rate.rating)
        await self.record(fact, frozenset(), sender, rate.id)

    async def _result(self, sender: Sender, result: ActionResult) -> None:
        doing = self.state.actions.get(result.action_id)
        if doing is None or not (sender.host or sender.player in doing.seen_by):
            raise Rejected(
                f"no action {result.action_id!r} that you perceived waits for a result",
                "no_such_action",
            )
        npc, to = doing.started.npc, doing.started.to
        await self.record(result, doing.seen_by.intersection(self.state.bodies), sender, result.id)
        asker = sender.player if sender.player in doing.seen_by else next(iter(to), "")
        near = hearing.witnesses(self.state, self.state.bodies[npc].place)
        near = near.difference(self.loaded.characters)
        if result.status != "done" and asker in near and not self.floor.is_held_by(npc):
            choice = director.about(self.state, npc, "result")
            await self.floor.answer(choice, asker, result.id, doing.started.volume)

    def _require(self, name: str, known: Iterable[str], fault: str) -> None:
        if name not in known:
            raise Rejected(f"{fault} {name!r}; there are {', '.join(known)}", "unknown_id")
