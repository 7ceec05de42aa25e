"""Replies that somebody wrote and the model has not seen: how likely it finds them, and what it
says in their place.

A record is played up to its line in a scene's state, and answered by the server's own turn.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from finetune.evaluate import texts
from finetune.evaluate.cases import Case, Suite
from finetune.evaluate.controls import shuffled_stage
from finetune.evaluate.measures import OUTSIDE, REFERENCE
from finetune.evaluate.outcomes import Line, Outcome
from finetune.evaluate.subject import Subject
from finetune.examples import Misfit, Staged, asker_id, hiding, stage_record, state_before
from finetune.records import NONE, Record, Stage
from npcserver.engines.base import Engine
from npcserver.prompt import PromptBuilder
from npcserver.turn import Doing, Feeling, Words, play

OTHERS = 19
SHOWN_HISTORY = 6


@dataclass(frozen=True)
class Answer:
    """What a subject did with a line."""

    text: str
    emotion: str
    chances: Mapping[str, float]
    doing: Doing | None


class Held:
    """Records to measure with, on their stages."""

    def __init__(self, stages: Mapping[str, Stage], records: Sequence[Record]) -> None:
        self.stages = stages
        self.records = records

    def others(self, record: Record, seed: int) -> list[str]:
        """OTHERS replies to other lines, drawn by the seed; fewer where there are fewer."""
        pool = sorted({each.reply for each in self.records} - {record.reply})
        drawn = random.Random(f"{seed} {record.source} {record.line}")
        return drawn.sample(pool, min(OTHERS, len(pool)))


def suite(subject: Subject, held: Held, seed: int, name: str = REFERENCE) -> Suite:
    """The cases of some records. Args: name: REFERENCE, or OUTSIDE for data we did not write."""
    if subject.engine is None:
        return Suite(name, skipped="needs the model in this process; leave --url out")
    if subject.engine.status().engine == "scripted":
        return Suite(name, skipped="a script knows the lines of its own scenes only")
    if not held.records:
        return Suite(name, skipped="the data holds no replies to measure with")
    return Suite(name, list(_cases(subject, subject.engine, held, seed, name)))


def _cases(subject: Subject, engine: Engine, held: Held, seed: int, name: str) -> Iterator[Case]:
    asking = _Asking(subject, engine, held)
    for at, record in enumerate(held.records):
        others = held.others(record, seed) if name == REFERENCE and subject.likelihood else []
        plain = record.model_dump(mode="json", exclude={"source"})
        yield Case(
            f"{name}/{at}",
            {"suite": name, "case": at, "record": plain, "others": others},
            lambda at=at, record=record, others=others: asking.run(name, at, record, others),  # type: ignore[misc]
        )


class _Asking:
    def __init__(self, subject: Subject, engine: Engine, held: Held) -> None:
        self._subject = subject
        self._engine = engine
        self._stages = held.stages
        self._builder = lru_cache(maxsize=1024)(self._make_builder)

    def _make_builder(self, stage: str, npc: str, hidden: tuple[str, ...]) -> PromptBuilder:
        staged = self._stages[stage]
        if self._subject.shuffled:
            staged = shuffled_stage(staged, list(self._stages.values()))
        loaded = hiding(staged.loaded(), npc, hidden)
        rules = self._subject.rules
        return PromptBuilder(loaded, npc, rules.prompt_tokens, rules.history())

    async def run(self, name: str, at: int, record: Record, others: Sequence[str]) -> Outcome:
        builder = self._builder(record.stage, record.character, tuple(record.hidden))
        try:
            staged = stage_record(builder, record)
        except Misfit as error:
            return self._outcome(name, at, record, [Line(who="", text=str(error))], {}, {})
        answer = await self._answer(builder, record, staged)
        tallies = dict(_wording(name, builder, record, answer))
        tallies |= dict(self._likelihood(builder, record, staged, others))
        pairs = {}
        if record.emotion is not None and name == REFERENCE:
            pairs["emotion"] = [(record.emotion, answer.emotion)]
        if record.action is not None and staged.can_act:
            wanted, given = _action(record.action), answer.doing.action if answer.doing else NONE
            tallies |= dict(_acting(name, record, answer))
            if name == REFERENCE:
                pairs["action"] = [(wanted, given)]
        return self._outcome(name, at, record, list(_talk(builder, record, answer)), tallies, pairs)

    def _outcome(
        self,
        name: str,
        at: int,
        record: Record,
        talk: list[Line],
        tallies: dict[str, list[float]],
        pairs: dict[str, list[tuple[str, str]]],
    ) -> Outcome:
        return Outcome(
            suite=name,
            case=f"{name}/{at}",
            cluster=record.conversation,
            scene=self._stages[record.stage].scene.name,
            npc=record.character,
            talk=talk,
            wanted=record.reply,
            tallies=tallies,
            pairs=pairs,
        )

    async def _answer(self, builder: PromptBuilder, record: Record, staged: Staged) -> Answer:
        if self._subject.key is not None:
            opening = builder.opening(staged.emotion, staged.deed)
            self._subject.key.answer = builder.character.name + opening + builder.said(record.reply)
        words, feeling, doing = "", None, None
        async for part in play(
            builder,
            state_before(builder, record),
            self._engine,
            line=len(record.history) + 1,
            asker=asker_id(builder, record),
            sampling=self._subject.rules.sampling,
        ):
            match part:
                case Feeling():
                    feeling = part
                case Doing():
                    doing = part
                case Words(delta):
                    words += delta
        assert feeling is not None
        return Answer(words, feeling.emotion, feeling.probabilities, doing)

    def _likelihood(
        self, builder: PromptBuilder, record: Record, staged: Staged, others: Sequence[str]
    ) -> Iterator[tuple[str, list[float]]]:
        if self._subject.likelihood is None or not others:
            return
        opened = staged.prompt.then(builder.opening(staged.emotion, staged.deed))
        said = [builder.said(text) for text in (record.reply, *others)]
        true, *rest = self._subject.likelihood.scores(opened, said)
        right = self._subject.likelihood.right(opened, said[0])
        yield "perplexity", [-sum(true), len(true)]
        yield "token_accuracy", [sum(right), len(right)]
        mean = sum(true) / len(true)
        rank = 1 + sum(sum(each) / len(each) >= mean for each in rest)
        yield "hits@1", [float(rank == 1), 1]
        yield "recall@5", [float(rank <= 5), 1]
        yield "mrr", [1 / rank, 1]


def _wording(
    name: str, builder: PromptBuilder, record: Record, answer: Answer
) -> Iterator[tuple[str, list[float]]]:
    if name == OUTSIDE:
        yield "outside_chrf", [texts.chrf(answer.text, record.reply), 1]
        yield "outside_f1", [texts.f1(answer.text, record.reply), 1]
        return
    yield "chrf", [texts.chrf(answer.text, record.reply), 1]
    yield "f1", [texts.f1(answer.text, record.reply), 1]
    yield "rouge_l", [texts.rouge_l(answer.text, record.reply), 1]
    yield "bleu", [texts.bleu(answer.text, record.reply), 1]
    prompt = builder.build(state_before(builder, record), len(record.history) + 1)
    read = "\n".join(message.text for message in prompt.messages)
    yield "copied", [texts.copied_share(answer.text, read), 1]


def _acting(name: str, record: Record, answer: Answer) -> Iterator[tuple[str, list[float]]]:
    """Whether the right thing was done; doing nothing is never found, only missed."""
    assert record.action is not None
    wanted = None if record.action == NONE else record.action
    given = answer.doing
    hit = bool(wanted and given and wanted.name == given.action)
    sums = [float(hit), float(bool(given) and not hit), float(bool(wanted) and not hit)]
    yield ("function_f1" if name == OUTSIDE else "action_f1"), sums
    if name == OUTSIDE:
        return
    if given:
        yield "action_precision", [float(hit), 1]
    if wanted:
        yield "action_recall", [float(hit), 1]
    if wanted and given and hit:
        target = wanted.target in (None, given.target)
        yield "arguments_exact", [float(target and wanted.args == given.args), 1]


def _action(action: Any) -> str:
    return NONE if action == NONE else str(action.name)


def _talk(builder: PromptBuilder, record: Record, answer: Answer) -> Iterator[Line]:
    for past in record.history[-SHOWN_HISTORY:]:
        yield Line(who=past.name, text=past.text)
    yield Line(who=record.asker, text=record.line)
    shown = f"{answer.emotion}{f'; {answer.doing.action}' if answer.doing else ''}"
    wanted = "" if record.emotion in (None, answer.emotion) else f" (written: {record.emotion})"
    yield Line(who=builder.character.name, text=answer.text, note=shown + wanted)
