"""Record → the ids a model is trained on, through the prompt builder that serves.

A reply is decided and spoken in up to three requests: the emotion, the action, the words. Each
makes a span: the ids the server would send, and the ids that should follow. Spans that extend each
other are woven into one sequence, so that what they share is computed once. Knows no files and no
model.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from finetune.records import NONE, PLAYER, Act, Record, Stage, Turn
from npcserver.engines.base import Prompt
from npcserver.engines.render import Template, Tokenizer, neutral, prompt_ids, prompt_text
from npcserver.happening import Body, Happening
from npcserver.library import LoadedScene
from npcserver.prompt import Deed, PromptBuilder
from npcserver.sheets import Character, Place, Prop
from npcserver.state import SceneState

Slot = Literal["emotion", "action", "words"]
Ids = list[int]


@dataclass(frozen=True)
class Shape:
    """How prompts are cut; serving must cut them alike.

    Args:
        history_lines: past happenings a prompt holds.
        prompt_tokens: the longest prompt, in estimated tokens.
    """

    history_lines: int
    prompt_tokens: int


@dataclass(frozen=True)
class Span:
    """What a request sends (`before`), and what should follow (`ids`)."""

    slot: Slot
    before: Ids
    ids: Ids


@dataclass
class Example:
    """A sequence with its trained tokens.

    Args:
        ids: (T,)
        slots: (T,) what each token is trained as; None where it is only read.
        trunk: so many leading tokens are the character's own and shared by all its examples.
        sources: the records it was made of.
    """

    ids: Ids
    slots: list[Slot | None]
    trunk: int
    sources: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[int, ...]:
        """What examples that share a trunk have in common."""
        return tuple(self.ids[: self.trunk])


class Misfit(Exception):
    """A record that cannot be made into a prompt as it stands; the message says why."""


class Staging:
    """Makes spans of the records of some stages."""

    def __init__(
        self, stages: Iterable[Stage], shape: Shape, template: Template, tokenizer: Tokenizer
    ) -> None:
        """Args: template, tokenizer: those of the model that is trained."""
        self._stages = {stage.id: stage.loaded() for stage in stages}
        self._shape = shape
        self._template = template
        self._tokenizer = tokenizer
        self._builder = lru_cache(maxsize=4096)(self._make_builder)
        self._persona = lru_cache(maxsize=4096)(self._persona_ids)

    def _make_builder(self, stage: str, npc: str, hidden: tuple[str, ...]) -> PromptBuilder:
        loaded = hiding(self._stages[stage], npc, hidden)
        return PromptBuilder(loaded, npc, self._shape.prompt_tokens, self._shape.history_lines)

    def builder(self, record: Record) -> PromptBuilder:
        """The prompt builder of a record's character."""
        return self._builder(record.stage, record.character, tuple(record.hidden))

    def _persona_ids(self, stage: str, npc: str, hidden: tuple[str, ...]) -> Ids:
        """The ids of the part of the prompt that never changes."""
        opened = self._builder(stage, npc, hidden).opened()
        return prompt_ids(opened, self._template, self._tokenizer)

    def spans(self, record: Record) -> Iterator[Span]:
        """What the server would ask for this reply, and what it should get.

        Raises:
            Misfit: the scene does not allow what the record says was done.
        """
        builder = self.builder(record)
        staged = stage_record(builder, record)
        prompt, feeling = staged.prompt, builder.emotion_slot(staged.emotion)
        opening, _ = builder.emotions()
        if record.emotion is not None:
            yield self._span("emotion", prompt.then(opening), feeling)
        if record.action is not None and staged.can_act:
            yield from self._action(builder, prompt.then(opening + feeling), staged.deed)
        opened = prompt.then(builder.opening(staged.emotion, staged.deed))
        span = self._span("words", opened, builder.said(record.reply))
        yield Span("words", span.before, span.ids + self._tokenizer.encode(self._template.end))

    def _action(self, builder: PromptBuilder, felt: Prompt, deed: Deed | None) -> Iterator[Span]:
        """Whether anything is done; then, what."""
        refrain, act = builder.acting()
        yield self._span("action", felt, act if deed else refrain)
        if deed:
            yield self._span("action", felt.then(act), builder.deed_options([deed])[0])

    def text(self, prompt: Prompt) -> str:
        """A prompt as the text that becomes its ids."""
        return prompt_text(prompt, self._template, self._tokenizer)

    def _span(self, slot: Slot, prompt: Prompt, text: str) -> Span:
        before = prompt_ids(prompt, self._template, self._tokenizer)
        return Span(slot, before, self._tokenizer.encode(neutral(text, self._tokenizer.specials)))

    def examples(self, conversation: Sequence[Record], longest: int) -> tuple[list[Example], int]:
        """A conversation's records, in order, as few sequences; and how many spans were too long.

        Args:
            longest: tokens a sequence may have.
        """
        made: list[Example] = []
        too_long = 0
        for record in conversation:
            trunk = self._persona(record.stage, record.character, tuple(record.hidden))
            for span in self.spans(record):
                if len(span.before) + len(span.ids) > longest:
                    too_long += 1
                    continue
                weave(made, span, trunk, record.source)
        return made, too_long


def hiding(loaded: LoadedScene, npc: str, lines: Sequence[str]) -> LoadedScene:
    """A scene in which a character has no examples for some lines."""
    sheet = loaded.characters[npc]
    shown = [example for example in sheet.examples if example.line not in lines]
    begun = [example for example in loaded.beginnings.get(npc, ()) if example.line not in lines]
    return replace(
        loaded,
        characters={**loaded.characters, npc: sheet.model_copy(update={"examples": shown})},
        beginnings={**loaded.beginnings, npc: begun},
    )


def conversations(records: Iterable[Record]) -> list[list[Record]]:
    """Records by conversation and character, in the order they were said."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        found.setdefault((record.conversation, record.character), []).append(record)
    return [sorted(each, key=lambda record: len(record.history)) for each in found.values()]


def weave(made: list[Example], span: Span, persona: Ids, source: str) -> None:
    """Extend the last sequence by a span that goes on from it, or begin another."""
    last = made[-1] if made else None
    if last is None or span.before[: len(last.ids)] != last.ids:
        made.append(last := Example([], [], _shared(span.before, persona)))
    read = span.before[len(last.ids) :]
    last.ids += read + span.ids
    last.slots += [None] * len(read) + [span.slot] * len(span.ids)
    if source not in last.sources:
        last.sources.append(source)


def _shared(ids: Ids, persona: Ids) -> int:
    """The number of leading tokens that two lists have in common."""
    pairs = zip(ids, persona, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(ids), len(persona)))


def asker_id(builder: PromptBuilder, record: Record) -> str:
    """Whose id says the line: a character's of that name, else the player's."""
    cast = builder.loaded.characters
    return next((npc for npc, sheet in cast.items() if sheet.name == record.asker), PLAYER)


@dataclass(frozen=True)
class Staged:
    """A record as the server meets it.

    Args:
        prompt: up to the character's name.
        deed: what was done, if anything.
        can_act: whether the server would ask for an action here.
    """

    prompt: Prompt
    emotion: str
    deed: Deed | None
    can_act: bool


def stage_record(builder: PromptBuilder, record: Record) -> Staged:
    """Play a record up to its line.

    Raises:
        Misfit: the scene does not allow what the record says was done.
    """
    state, asker = state_before(builder, record), asker_id(builder, record)
    emotion = record.emotion or builder.character.resting
    deeds = builder.deeds(state, asker)
    return Staged(
        builder.build(state, len(record.history) + 1),
        emotion,
        _deed(record, deeds, asker, builder),
        bool(deeds),
    )


def state_before(builder: PromptBuilder, record: Record) -> SceneState:
    """A scene in which the line of a record was just said, as its newest happening."""
    state = SceneState(builder.loaded)
    place, position = state.bodies[builder.npc].place, state.bodies[builder.npc].position
    asker = asker_id(builder, record)
    if asker not in state.bodies:
        state.bodies[asker] = Body(asker, record.asker, place, position, npc=False)
    line = Turn(speaker=asker, name=record.asker, text=record.line)
    here = frozenset(state.bodies)
    state.happenings.extend(_happenings(builder, [*record.history, line], here))
    return state


def _happenings(
    builder: PromptBuilder, turns: Sequence[Turn], here: frozenset[str]
) -> Iterator[Happening]:
    """Turns as the character perceived them, numbered from 1. Args: here: who heard them all."""
    npc, resting = builder.npc, builder.character.resting
    asker = ""
    for number, turn in enumerate(turns, 1):
        own = turn.speaker == npc
        yield Happening(
            number,
            turn.speaker,
            turn.name,
            turn.text,
            turn.spoken,
            (),
            "talk",
            here | {turn.speaker},
            0,
            emotion=(turn.emotion or resting) if own else None,
            deed=_deed_words(builder, turn.action, asker) if own else None,
        )
        asker = turn.name if turn.spoken and not own else asker


def _deed_words(
    builder: PromptBuilder, act: Act | Literal["none"] | None, asker: str
) -> str | None:
    """What was done, as the prompt says it. Args: asker: the name of who was answered."""
    if act is None or act == NONE:
        return None
    scene = builder.loaded.scene
    action = scene.actions[act.name]
    if action.target == "player":
        return action.phrase(asker, act.args)
    named: dict[str, Prop | Place | Character]
    named = {**scene.props, **scene.places, **builder.loaded.characters}
    return action.phrase(named[act.target].name if act.target else None, act.args)


def _deed(record: Record, deeds: list[Deed], asker: str, builder: PromptBuilder) -> Deed | None:
    act = record.action
    if act is None or act == NONE:
        return None
    aimed = builder.loaded.scene.actions[act.name].target
    target = asker if aimed == "player" else act.target
    for deed in deeds:
        if (deed.action, deed.target, deed.args) == (act.name, target, act.args):
            return deed
    raise Misfit(f"{act.name} cannot be done there as it is written")
