"""The turns of one live scene: who waits, who speaks, and how each turn ends.

Each turn is a task of its own; a character holds one turn at a time and the others wait in order.
Whatever a turn produces goes through the scene's mailbox, so that the scene stays the only writer.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from npcserver import director, hearing
from npcserver.admission import Admission, Late
from npcserver.drafts import Drafts
from npcserver.engines.base import Engine, Sampling, Usage
from npcserver.errors import EngineError, NpcError
from npcserver.journal import Fact, JournalError
from npcserver.library import LoadedScene
from npcserver.prompt import PromptBuilder
from npcserver.protocol import (
    ServerMessage,
    TimingBody,
    TurnAction,
    TurnDone,
    TurnEmotion,
    TurnSentence,
    TurnStarted,
    TurnStatus,
    TurnText,
    UsageBody,
    Volume,
)
from npcserver.state import SceneState
from npcserver.turn import Authored, Doing, Feeling, Intent, Part, Sentence, Spoken, Words, play

WRAP_UP = 0.6
"""After this share of the time allowed a turn goes no further than its sentence."""


class Writer(Protocol):
    """The scene, as far as its turns need it."""

    state: SceneState
    loaded: LoadedScene

    async def call(self, handler: Callable[[], Awaitable[Any]]) -> Any:
        """Run a handler as the scene's writer."""

    async def record(self, fact: Fact, audience: frozenset[str]) -> None:
        """Journal a fact, take it into the state, and show it."""

    async def record_speech(self, turn_id: str, delta: str) -> None:
        """Make words durable before they are shown."""

    def show(self, message: ServerMessage, audience: Iterable[str]) -> None:
        """Send a message to those of the audience who listen."""


@dataclass(frozen=True)
class Rules:
    """The bounds of a turn.

    Args:
        turn_s: seconds after which a turn is stopped, waiting included.
        waiting: turns that may wait for one character.
        prompt_tokens: the longest prompt.
        history: past happenings a prompt may hold; asked anew for each prompt, since another
            model may have been brought in.
        admission: the way to the engine, one for all scenes.
    """

    turn_s: float = 30.0
    waiting: int = 4
    prompt_tokens: int = 1200
    history: Callable[[], int] = lambda: 0
    sampling: Sampling = field(default_factory=Sampling)
    admission: Admission = field(default_factory=lambda: Admission(lambda: None))


@dataclass(eq=False)
class Turn:
    """One answer, from being asked for to being done. Times are the loop's, in seconds."""

    npc: str
    asker: str
    line: int
    reply_to: str | None
    volume: Volume
    asked_at: float
    deadline: float
    wrap_up_at: float
    """From then on a turn ends with the sentence it is in."""
    after: "Turn | None" = None
    task: asyncio.Task[None] | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    turn_id: str = ""
    audience: frozenset[str] = frozenset()
    begun_at: float = 0.0
    first_word_at: float | None = None
    text: str = ""
    sentences: int = 0
    authored: str | None = None
    usage: Usage = field(default_factory=Usage)


class Floor:
    """Runs a scene's turns. Its coroutines but `quiet` are called by the scene's writer only."""

    def __init__(self, scene: Writer, engine: Engine, rules: Rules) -> None:
        self._scene = scene
        self._engine = engine
        self._rules = rules
        self._turns: list[Turn] = []
        self._speaking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
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
            await self._stay_silent(turn, choice.reason)
        previous: Turn | None = None
        for npc in choice.npcs:
            turn = self._new_turn(npc, asker, reply_to, volume, deadline_ms)
            if sum(other.npc == npc for other in self._turns) > self._rules.waiting:
                await self._stay_silent(turn, "too many are waiting for an answer")
                continue
            turn.after, previous = previous, turn
            self._turns.append(turn)
            turn.task = asyncio.create_task(self._run(turn))

    async def quiet(self) -> None:
        """Wait until nobody has the floor and nobody waits for it."""
        while self._turns:
            await self._turns[0].over.wait()

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

    def _builder(self, npc: str) -> PromptBuilder:
        builder = self._builders[npc]
        builder.history = self._rules.history()
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
        state = self._scene.state
        wrap_up_at = now + WRAP_UP * allowed
        return Turn(npc, asker, state.number, reply_to, volume, now, now + allowed, wrap_up_at)

    async def _run(self, turn: Turn) -> None:
        """The turn's task: wait for the floor, play, end. Interrupting it is `stop`'s business."""
        status: TurnStatus = "completed"
        reason = None
        try:
            async with asyncio.timeout_at(turn.deadline):
                if turn.after is not None:
                    await turn.after.over.wait()
                async with self._speaking[turn.npc]:
                    await self._play(turn)
        except (TimeoutError, Late) as error:
            status, reason = "timeout", "the answer took longer than allowed"
            if not turn.text:
                why = error.message if isinstance(error, Late) else "no answer came in time"
                await self._scene.call(lambda: self._be_brief(turn, why))
        except EngineError as error:
            status, reason = "failed", error.message
        except JournalError as error:
            status, reason = "failed", error.message
        if status == "completed" and not turn.text:
            status, reason = "silent", "nothing to say"
        await self._scene.call(lambda: self._end(turn, status, reason))

    async def _be_brief(self, turn: Turn, why: str) -> None:
        """There is no time for an answer: say a line the author wrote for that, or stay silent."""
        brief = self._builders[turn.npc].character.brief
        if not brief and not turn.turn_id:
            await self._stay_silent(turn, why)
        elif not brief:
            await self._end(turn, "silent", why)
        else:
            line = brief[turn.line % len(brief)]
            await self._begin(turn)
            await self._take(turn, Words(line))
            await self._take(turn, Sentence(0, len(line)))
            await self._end(turn, "completed", f"an authored line: {why}")

    async def _play(self, turn: Turn) -> None:
        builder, state = self._builder(turn.npc), self._scene.state
        prompt = builder.build(state, turn.line)
        tokens = builder.tokens(prompt) + self._rules.sampling.max_tokens
        async with self._rules.admission.admitted(tokens, turn.deadline):
            await self._scene.call(lambda: self._begin(turn))
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
            is_late=lambda: loop.time() > turn.wrap_up_at,
        )
        async with aclosing(parts):  # type: ignore[type-var]
            async for part in parts:
                await self._scene.call(lambda part=part: self._take(turn, part))  # type: ignore[misc]

    async def _begin(self, turn: Turn) -> None:
        if turn.over.is_set() or turn.turn_id:
            return
        state = self._scene.state
        turn.begun_at = asyncio.get_running_loop().time()
        volume = self._reply_volume(turn)
        heard_by = hearing.listeners(state, turn.npc, volume, (turn.asker,))
        turn.audience = heard_by | {turn.asker}
        turn.turn_id = f"t{state.turns + 1}"
        started = TurnStarted(
            turn_id=turn.turn_id,
            npc=turn.npc,
            in_reply_to=turn.reply_to,
            to=[turn.asker],
            volume=volume,
        )
        await self._scene.record(started, turn.audience)

    def _reply_volume(self, turn: Turn) -> Volume:
        """A whisper is answered by a whisper; whoever is out of talking range is shouted to."""
        if turn.volume == "whisper":
            return "whisper"
        near = hearing.listeners(self._scene.state, turn.npc, "talk", ())
        return "talk" if turn.asker in near else "shout"

    async def _take(self, turn: Turn, part: Part) -> None:
        """Take in one part of a turn, unless the turn was stopped meanwhile."""
        if turn.over.is_set():
            return
        match part:
            case Feeling():
                await self._feel(turn, part)
            case Doing():
                await self._do(turn, part)
            case Authored(line):
                turn.authored = line
            case Words(delta):
                await self._scene.record_speech(turn.turn_id, delta)
                if turn.first_word_at is None:
                    turn.first_word_at = asyncio.get_running_loop().time()
                    self._rules.admission.first_word(turn.begun_at)
                text = TurnText(turn_id=turn.turn_id, delta=delta, at=len(turn.text))
                turn.text += delta
                self._scene.show(text, turn.audience)
            case Sentence(start, end):
                sentence = TurnSentence(
                    turn_id=turn.turn_id, index=turn.sentences, start=start, end=end
                )
                turn.sentences += 1
                self._scene.show(sentence, turn.audience)
            case Spoken(usage):
                turn.usage = usage

    async def _feel(self, turn: Turn, feeling: Feeling) -> None:
        emotion = TurnEmotion(
            turn_id=turn.turn_id,
            emotion=feeling.emotion,
            face=self._scene.loaded.scene.emotions[feeling.emotion].face,
            intensity=round(feeling.probabilities[feeling.emotion], 3),
            at=len(turn.text),
            probabilities=_rounded(feeling.probabilities),
        )
        await self._scene.record(emotion, turn.audience)

    async def _do(self, turn: Turn, doing: Doing) -> None:
        action = TurnAction(
            turn_id=turn.turn_id,
            action_id=f"a-{turn.turn_id}",
            name=doing.action,
            target=doing.target,
            args=doing.args,
            at=len(turn.text),
            probabilities=_rounded(doing.probabilities),
        )
        await self._scene.record(action, turn.audience)

    async def _stay_silent(self, turn: Turn, reason: str) -> None:
        """Tell whoever asked, and nobody else, that there will be no answer."""
        turn.turn_id = f"t{self._scene.state.turns + 1}"
        turn.begun_at = turn.asked_at
        turn.audience = frozenset({turn.asker})
        started = TurnStarted(
            turn_id=turn.turn_id,
            npc=turn.npc,
            in_reply_to=turn.reply_to,
            to=[turn.asker],
            volume=turn.volume,
        )
        await self._scene.record(started, turn.audience)
        await self._end(turn, "silent", reason)

    async def _end(self, turn: Turn, status: TurnStatus, reason: str | None) -> None:
        if turn.over.is_set():
            return
        if not turn.turn_id:
            await self._begin(turn)
        turn.over.set()
        if turn in self._turns:
            self._turns.remove(turn)
        done = TurnDone(
            turn_id=turn.turn_id,
            npc=turn.npc,
            status=status,
            text=turn.text,
            reason=reason,
            usage=UsageBody(**vars(turn.usage)),
            timing=self._timing(turn),
            authored=turn.authored,
        )
        try:
            await self._scene.record(done, turn.audience)
        except NpcError:
            # It cannot be written down, but whoever waits for it is still told.
            self._scene.show(done, turn.audience)
            raise

    def _timing(self, turn: Turn) -> TimingBody:
        now = asyncio.get_running_loop().time()
        first = turn.first_word_at or now
        return TimingBody(
            queue_ms=round(1000 * (turn.begun_at - turn.asked_at)),
            ttft_ms=round(1000 * (first - turn.asked_at)),
            total_ms=round(1000 * (now - turn.asked_at)),
        )


def _rounded(probabilities: dict[str, float]) -> dict[str, float]:
    return {name: round(p, 4) for name, p in probabilities.items()}
