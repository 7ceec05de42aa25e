"""The turns of one live scene: who waits, who speaks, and how each turn ends.

Each turn is a task of its own; within earshot one speaks at a time and the others wait in order.
Whatever a turn produces goes through the scene's mailbox, so that the scene stays the only writer.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from npcserver import casting, director, hearing, telling
from npcserver.admission import Admission, Late
from npcserver.drafts import Drafts
from npcserver.engines.base import Engine, Sampling
from npcserver.errors import EngineError, NpcError
from npcserver.journal import JournalError, TurnHeardBy
from npcserver.prompt import PromptBuilder
from npcserver.protocol import Because, TurnStatus, Volume
from npcserver.telling import Writer
from npcserver.turn import Intent, Part, Sentence, Words, play
from npcserver.waiting import Turn, Turns, reach, reply_volume

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """The bounds of a turn.

    Args:
        turn_s: seconds after which a turn is stopped, waiting included.
        waiting: turns that may wait for one character.
        prompt_tokens: the longest prompt.
        recall: tokens of what a line may recall that is older than its prompt; asked anew, too.
        recite: whether a line that a writer answered is answered in the writer's words.
        history: past happenings a prompt may hold; asked anew, as models change.
        admission: the way to the engine, one for all scenes.
    """

    turn_s: float = 30.0
    waiting: int = 4
    prompt_tokens: int = 1200
    recall: Callable[[], int] = lambda: 0
    recite: bool = False
    history: Callable[[], int] = lambda: 0
    sampling: Sampling = field(default_factory=Sampling)
    admission: Admission = field(default_factory=lambda: Admission(lambda: None))


class Floor:
    """Runs a scene's turns. Its coroutines but `quiet` are called by the scene's writer only."""

    def __init__(self, scene: Writer, engine: Engine, rules: Rules) -> None:
        self._scene = scene
        self._engine = engine
        self._rules = rules
        self._turns = Turns()
        self._drafts = Drafts(engine, self._builder)
        self._builders = {
            npc: PromptBuilder(scene.loaded, npc, rules.prompt_tokens)
            for npc in scene.loaded.characters
        }

    # ---- asked by the scene ----------------------------------------------------------------

    async def answer(
        self,
        choice: director.Choice,
        asker: str,
        reply_to: str | None,
        volume: Volume,
        deadline_ms: int | None = None,
    ) -> None:
        """Let those chosen answer the newest happening, one after the other."""
        if not choice.npcs:
            turn = self._new_turn(choice.silent, asker, reply_to, volume, deadline_ms)
            turn.because = choice.because
            await self._stay_silent(turn, choice.reason)
        for npc in choice.npcs:
            turn = self._new_turn(npc, asker, reply_to, volume, deadline_ms)
            turn.because, turn.open = choice.because, choice.open
            if sum(other.npc == npc for other in self._turns) > self._rules.waiting:
                await self._stay_silent(turn, "too many are waiting for an answer")
                continue
            self._queue(turn)

    def volunteer(
        self,
        npc: str,
        because: Because,
        asker: str = "",
        reply_to: str | None = None,
        *,
        depth: int = 0,
        given: str = "",
    ) -> bool:
        """Let a character speak unasked about the newest happening, if nobody is to speak there.

        Args:
            asker: the player or the character it is said to.
            given: words to say; without any, they are found.
        """
        turn = self._new_turn(npc, asker, reply_to, "talk", None)
        turn.because, turn.depth, turn.given = because, depth, given
        state = self._scene.state
        if self._turns.ahead_of(turn, state) or self._drafts.typing() & reach(turn, state):
            return False
        self._queue(turn)
        return True

    async def hush(self, player: str, heard_by: frozenset[str]) -> None:
        """A player speaks: who hears it and spoke unasked stops, and who was about to, does not."""
        self._drafts.said(player)
        for turn in [turn for turn in self._turns if turn.unasked and turn.npc in heard_by]:
            if turn.turn_id:
                await self.stop(turn, "a player spoke")
            else:
                self._drop(turn)

    async def walked(self, player: str) -> None:
        """A player stands elsewhere now: what is out of their earshot, they hear no further."""
        for turn in [turn for turn in self._turns if player in turn.audience]:
            if player in hearing.listeners(
                self._scene.state, turn.npc, turn.volume, tuple(turn.to)
            ):
                continue
            if turn.asker == player:
                await self.stop(turn, "the player walked away")
                continue
            heard = TurnHeardBy(turn_id=turn.turn_id, player=player, chars=len(turn.text))
            await self._scene.record(heard, frozenset())
            self._scene.show(telling.done(turn, "interrupted", "out of earshot"), {player})
            turn.audience -= {player}

    async def quiet(self) -> None:
        """Wait until nobody has the floor and nobody waits for it."""
        while self._turns:
            await self._turns[0].over.wait()

    @property
    def is_busy(self) -> bool:
        """Somebody has the floor, or waits for it."""
        return bool(self._turns)

    def is_held_by(self, npc: str) -> bool:
        """Whether a character speaks or is about to."""
        return any(turn.npc == npc for turn in self._turns)

    def find(self, turn_id: str) -> Turn | None:
        """The turn under way with this id."""
        return next((turn for turn in self._turns if turn.turn_id == turn_id), None)

    async def stop(self, turn: Turn, reason: str) -> None:
        """Interrupt a turn now; what was said until now stands."""
        if turn.task is not None:
            turn.task.cancel()
        await self._end(turn, "interrupted", reason)

    async def stop_of(self, player: str, reason: str) -> None:
        """Interrupt every turn that answers this player."""
        for turn in [turn for turn in self._turns if turn.asker == player]:
            await self.stop(turn, reason)

    async def cancel(self, player: str) -> None:
        """A player wants quiet: who answers them stops, and who speaks to them unasked."""
        for turn in [turn for turn in self._turns if turn.is_for(player)]:
            await self.stop(turn, "the player spoke over it")

    async def stop_all(self, reason: str) -> None:
        """Interrupt every turn."""
        self._drafts.forget_all()
        for turn in list(self._turns):
            await self.stop(turn, reason)

    def warm(self, player: str, draft: str) -> None:
        """Take note of what a player is typing, so that its answer comes sooner."""
        self._drafts.follow(self._scene.state, player, draft)

    def forget(self, player: str) -> None:
        """Drop what a player who is gone was typing."""
        self._drafts.forget(player)

    def forget_past(self) -> None:
        """Drop what was kept of how past happenings are written."""
        for builder in self._builders.values():
            builder.forget_past()

    def _builder(self, npc: str) -> PromptBuilder:
        builder = self._builders[npc]
        builder.history, builder.recall = self._rules.history(), self._rules.recall()
        return builder

    # ---- a turn ----------------------------------------------------------------------------

    def _new_turn(
        self,
        npc: str,
        asker: str,
        reply_to: str | None,
        volume: Volume,
        deadline_ms: int | None,
    ) -> Turn:
        now = asyncio.get_running_loop().time()
        allowed = self._rules.turn_s
        if deadline_ms is not None:
            allowed = min(allowed, deadline_ms / 1000)
        return Turn(npc, asker, self._scene.state.number, reply_to, volume, now, allowed)

    def _queue(self, turn: Turn) -> None:
        self._turns.append(turn)
        turn.task = asyncio.create_task(self._run(turn))

    def _drop(self, turn: Turn) -> None:
        """Forget a turn that nobody was told of."""
        if turn.task is not None:
            turn.task.cancel()
        self._leave(turn)

    def _leave(self, turn: Turn) -> None:
        """A turn is over: it holds the floor no more, and whoever waits for it goes on."""
        turn.over.set()
        if turn in self._turns:
            self._turns.remove(turn)

    async def _run(self, turn: Turn) -> None:
        """The turn's task: wait for the floor, play, end. Interrupting it is `stop`'s business."""
        status: TurnStatus
        try:
            status, reason = await self._play_in_time(turn)
        except (EngineError, JournalError) as error:
            status, reason = "failed", error.message
        except Exception as error:  # a fault in one turn must not hold the floor for ever
            log.exception("a turn of %s failed", turn.npc)
            status, reason = "failed", f"internal error: {type(error).__name__}"
        try:
            await self._scene.call(lambda: self._end(turn, status, reason))
        except NpcError as error:
            log.error("the end of a turn of %s was not written down: %s", turn.npc, error.message)
            self._leave(turn)

    async def _play_in_time(self, turn: Turn) -> tuple[TurnStatus, str | None]:
        """Wait for the floor and play; how it ends, and why."""
        try:
            async with asyncio.timeout_at(turn.deadline):
                if turn.open:
                    await self._cast(turn)
                while ahead := self._turns.ahead_of(turn, self._scene.state):
                    await ahead.over.wait()
                await self._play(turn)
            if not turn.text and (brief := self._brief(turn)):
                await self._scene.call(lambda: self._say(turn, brief))
        except (TimeoutError, Late) as error:
            if not turn.text:
                why = error.message if isinstance(error, Late) else "no answer came in time"
                await self._scene.call(lambda: self._be_brief(turn, why))
            return "timeout", "the answer took longer than allowed"
        return ("completed", None) if turn.text else ("silent", "nothing to say")

    async def _cast(self, turn: Turn) -> None:
        """Let the model choose who takes the turn, where the scene says so and the rules do not."""
        state = self._scene.state
        if not state.loaded.scene.director.ask_model or not (line := state.happening(turn.line)):
            return
        asked = casting.prompt(state, line, turn.open)
        tokens = self._builder(turn.npc).tokens(asked)
        try:
            async with self._rules.admission.admitted(tokens, turn.deadline):
                odds = await casting.cast(self._engine, state, asked, turn.open)
        except EngineError:
            return  # whoever the rules put first answers
        turn.npc, turn.because = max(odds, key=odds.__getitem__), "model"
        turn.odds = telling.rounded(odds)

    async def _be_brief(self, turn: Turn, why: str) -> None:
        """There is no time for an answer: say a line the author wrote for that, or stay silent."""
        waits = not turn.turn_id and self._turns.talking_over(turn, self._scene.state)
        if waits or not (brief := self._brief(turn)):
            await self._end(turn, "silent", why)
            return
        await self._say(turn, brief)
        await self._end(turn, "completed", f"an authored line: {why}")

    def _brief(self, turn: Turn) -> str:
        return "" if turn.unasked else self._builders[turn.npc].character.brief_for(turn.line)

    async def _say(self, turn: Turn, line: str) -> None:
        """Say an author's line, word for word."""
        await self._begin(turn)
        await self._take(turn, Words(line))
        await self._take(turn, Sentence(0, len(line)))

    async def _play(self, turn: Turn) -> None:
        if turn.given:
            await self._take_floor(turn)
            await self._scene.call(lambda: self._say(turn, turn.given))
            return
        builder, state = self._builder(turn.npc), self._scene.state
        prompt = builder.build(state, turn.line)
        tokens = builder.tokens(prompt) + self._rules.sampling.max_tokens
        async with self._rules.admission.admitted(tokens, turn.deadline):
            await self._take_floor(turn)
            foreseen = await self._drafts.intent(turn.asker, prompt)
            await self._speak(turn, builder, foreseen)

    async def _speak(self, turn: Turn, builder: PromptBuilder, foreseen: Intent | None) -> None:
        loop = asyncio.get_running_loop()
        sampling = replace(self._rules.sampling, seed=self._rules.sampling.seed + turn.line)
        parts = play(
            builder,
            self._scene.state,
            self._engine,
            line=turn.line,
            asker=turn.asker,
            sampling=sampling,
            foreseen=foreseen,
            recite=self._rules.recite,
            is_late=lambda: loop.time() > turn.wrap_up_at,
        )
        async with aclosing(parts):  # type: ignore[type-var]
            async for part in parts:
                await self._scene.call(lambda part=part: self._take(turn, part))  # type: ignore[misc]

    async def _take_floor(self, turn: Turn) -> None:
        """Begin, unless somebody has come into earshot of who speaks meanwhile: then wait on."""

        async def begin() -> Turn | None:
            other = self._turns.talking_over(turn, self._scene.state)
            if other is None:
                await self._begin(turn)
            return other

        while other := await self._scene.call(begin):
            await other.over.wait()

    async def _begin(self, turn: Turn) -> None:
        if turn.over.is_set() or turn.turn_id:
            return
        state = self._scene.state
        turn.begun_at = asyncio.get_running_loop().time()
        turn.audience, turn.volume = reach(turn, state), reply_volume(turn, state)
        await self._start(turn)

    async def _start(self, turn: Turn) -> None:
        turn_id = f"t{self._scene.state.turns + 1}"
        await self._scene.record(telling.started(turn, turn_id), turn.audience)
        turn.turn_id = turn_id  # only now: what is not written down has not begun

    async def _take(self, turn: Turn, part: Part) -> None:
        """Take in one part of a turn, unless the turn was stopped meanwhile."""
        if turn.over.is_set():
            return
        if isinstance(part, Words) and turn.first_word_at is None:
            self._rules.admission.first_word(turn.begun_at)
        await telling.take(self._scene, turn, part)

    async def _stay_silent(self, turn: Turn, reason: str) -> None:
        """Tell whoever asked, and nobody else, that there will be no answer."""
        turn.begun_at, turn.audience = turn.asked_at, frozenset(turn.to)
        await self._start(turn)
        await self._end(turn, "silent", reason)

    async def _end(self, turn: Turn, status: TurnStatus, reason: str | None) -> None:
        """End a turn, once. Whatever fails, it holds the floor no more, and its asker is told."""
        if turn.over.is_set():
            return
        if not turn.turn_id and turn.unasked:
            self._drop(turn)
            return
        try:
            if not turn.turn_id:
                turn.begun_at, turn.audience = turn.asked_at, frozenset(turn.to)
                await self._start(turn)
        except NpcError:
            # No `t` and number: the next turn that is written down has that.
            turn.turn_id = f"unwritten-{uuid.uuid4().hex}"
            self._scene.show(telling.started(turn, turn.turn_id), turn.audience)
            self._scene.show(telling.done(turn, status, reason), turn.audience)
            raise
        finally:
            self._leave(turn)
        done = telling.done(turn, status, reason)
        try:
            await self._scene.record(done, turn.audience)
        except NpcError:
            # It cannot be written down, but whoever waits for it is still told.
            self._scene.show(done, turn.audience)
            raise
        if status == "completed" and turn.text:
            self._go_on(turn)

    def _go_on(self, turn: Turn) -> None:
        """Another character may go on after a line that was just said."""
        state, seed = self._scene.state, self._rules.sampling.seed
        said = state.happenings[-1]
        if choice := director.reply(state, said, turn.depth, seed):
            because, depth = choice.because, turn.depth + 1
            self.volunteer(choice.npcs[0], because, turn.npc, turn.turn_id, depth=depth)
