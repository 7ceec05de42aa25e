"""Playing a scenario: its steps in a rehearsal, what came of each, and what was not as expected."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npcserver import judging
from npcserver.errors import Rejected
from npcserver.expectations import Watcher, compare_audience, compare_messages, compare_turns
from npcserver.judging import Judge
from npcserver.rehearsal import Heard, Rehearsal, Stage, turns
from npcserver.scenarios import LoadedScenario, Scenario, Step

BELIEVED = 0.5
"""A judged statement holds when a judge thinks it likelier than not."""


@dataclass(frozen=True)
class Finding:
    """Something that was not as expected."""

    file: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


@dataclass
class Played:
    """A scenario that was played.

    Args:
        transcript: what was done and said, line by line.
        unjudged: statements that nobody was there to judge.
    """

    scenario: LoadedScenario
    findings: list[Finding] = field(default_factory=list)
    transcript: list[str] = field(default_factory=list)
    turns: list[Heard] = field(default_factory=list)
    unjudged: int = 0

    @property
    def passed(self) -> bool:
        """Everything was as expected."""
        return not self.findings


async def play(loaded: LoadedScenario, stage: Stage, judge: Judge | None = None) -> Played:
    """Play a scenario to its end, whatever goes wrong on the way.

    Raises:
        NpcError: it could not be played: the server is gone, or the judge.
    """
    played = Played(loaded)
    watcher = Watcher(loaded.scene, loaded.scenario.watch)
    async with stage.open(loaded.scene) as rehearsal:
        for player, name in loaded.scenario.first.items():
            await rehearsal.join(player, name)
        for at, step in enumerate(loaded.scenario.steps):
            taken = _Taken(loaded, rehearsal, step, played, watcher)
            for what in [what async for what in taken.play(judge)]:
                played.findings.append(Finding(loaded.file, loaded.lines[at], what))
    return played


class _Taken:
    """One step, taken."""

    def __init__(
        self,
        loaded: LoadedScenario,
        rehearsal: Rehearsal,
        step: Step,
        played: Played,
        watcher: Watcher,
    ) -> None:
        self._scenario: Scenario = loaded.scenario
        self._loaded = loaded
        self._rehearsal = rehearsal
        self._step = step
        self._played = played
        self._watcher = watcher
        self._by = step.by or step.join or next(iter(loaded.scenario.players))

    async def play(self, judge: Judge | None) -> Any:
        """Take the step; yields what is not as expected."""
        heard = self._rehearsal.heard
        before = {player: len(heard(player)) for player in self._scenario.players}
        self._played.transcript += self._told()
        if self._step.say:
            self._watcher.line(self._step.say)
        if self._step.event:
            self._watcher.event(self._step.event)
        try:
            await self._send()
        except Rejected as error:
            yield f"the server refuses it: {error.message}"
            return
        await self._rehearsal.settle()
        new = {player: heard(player)[at:] for player, at in before.items()}
        told = {player: list(turns(messages)) for player, messages in new.items()}
        came = told[self._by]
        self._played.turns += came
        for turn in came:
            self._played.transcript += list(transcribed(self._loaded, turn))
            for what in self._watcher.turn(turn):
                yield what
        for what in compare_messages(self._step, new[self._by], new.values()):
            yield what
        if self._step.expect is not None:
            for what in compare_turns(self._step.expect, came):
                yield what
            for what in compare_audience(self._step.expect, came, told):
                yield what
            async for what in self._judged(judge, came):
                yield what

    async def _send(self) -> None:
        step, send = self._step, self._rehearsal.send
        if step.say:
            fields: dict[str, Any] = {"text": step.say, "to": step.to, "volume": step.volume}
            if step.deadline_ms is not None:
                fields["deadline_ms"] = step.deadline_ms
            if step.looking_at is not None:
                fields["looking_at"] = step.looking_at
            await send(self._by, "player.say", **fields)
        elif step.event:
            seen = {} if step.seen_by is None else {"seen_by": step.seen_by}
            await send(self._by, "scene.event", name=step.event, args=step.args, **seen)
        elif step.set:
            for name, value in step.set.items():
                await send(self._by, "scene.set", name=name, value=value)
        elif step.move:
            await send(self._by, "player.move", place=step.move)
        elif step.act:
            aimed = {"target": step.target} if step.target else {}
            await send(self._by, "player.act", action=step.act, args=step.args, **aimed)
        elif step.result:
            await self._send_result(step)
        elif step.join:
            await self._rehearsal.join(step.join, self._scenario.players[step.join])
        elif step.wait_s:
            await self._rehearsal.wait(step.wait_s)
        elif step.lock is not None:
            await send(self._by, "scene.lock" if step.lock else "scene.unlock")
        else:
            await send(self._by, "turn.cancel")

    async def _send_result(self, step: Step) -> None:
        done = [turn.action_id for turn in self._played.turns if turn.action_id]
        if not done:
            raise Rejected("no character did anything before that could have a result")
        detail = {"detail": step.detail} if step.detail else {}
        await self._rehearsal.send(
            self._by, "action.result", action_id=done[-1], status=step.result, **detail
        )

    def _told(self) -> Iterator[str]:
        """The step, as a line of a transcript."""
        step, name = self._step, self._scenario.players[self._by]
        if step.say:
            yield f"{name}: {step.say}"
        elif step.event:
            yield f"[{self._loaded.scene.scene.events[step.event].phrase(step.args)}]"
        elif step.set:
            yield f"[{', '.join(f'{name} is {value}' for name, value in step.set.items())}]"
        elif step.move:
            yield f"[{name} goes to the {self._loaded.scene.scene.places[step.move].name}.]"
        elif step.act:
            yield f"[{name}: {step.act} {step.target or ''}]"
        elif step.result:
            yield f"[What was done last: {step.result} {step.detail or ''}]"
        elif step.join:
            yield f"[{name} comes in.]"
        elif step.wait_s:
            yield f"[{step.wait_s:g} seconds pass.]"
        elif step.lock is not None:
            yield "[A scripted scene begins.]" if step.lock else "[The scripted scene is over.]"
        else:
            yield f"[{name} speaks over it.]"

    async def _judged(self, judge: Judge | None, came: list[Heard]) -> Any:
        for expected, _ in zip(self._step.expect or [], came, strict=False):
            for statement in expected.judged:
                if judge is None:
                    self._played.unjudged += 1
                    continue
                verdict = await judging.holds(judge, "\n".join(self._played.transcript), statement)
                if verdict.probabilities[0] < BELIEVED:
                    yield (
                        f"the judge {judge.name} finds it untrue: {statement} "
                        f"(probability {verdict.probabilities[0]:.2f}, agreed with itself "
                        f"{verdict.agreement:.0%})"
                    )


def transcribed(loaded: LoadedScenario, turn: Heard) -> Iterator[str]:
    """A turn as a line of a transcript."""
    name = loaded.scene.characters[turn.npc].name
    done = f"; {turn.action}" if turn.action != "none" else ""
    if turn.text:
        yield f"{name} ({turn.emotion}{done}): {turn.text}"
    if turn.status != "completed":
        yield f"[{name}'s turn: {turn.status}, {turn.reason}]"
