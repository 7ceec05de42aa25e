"""What a character's model reads: one builder for serving, training and evaluation alike.

A prompt is a transcript. First what never changes (who the character is, how they answer people),
then what happened as the character perceived it, then the character's name with the slots that
the engine decides, then the words:

    Kit: Can you take me across tonight?
    [The east rope is fraying.]
    Hessa (looking worried; shakes her head): Not on that rope.

A slot's words come after a space, since there most words are a single token: options are compared
where their tokens part, and a first letter would stand for every word that begins with it.

Within a conversation each prompt extends the last one: what is recalled for a line depends on that
line alone, and when the budget overflows, old lines go in blocks. A secret (`hides`) never enters.
Knows nothing of engines or sockets, and does no I/O.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import product
from typing import Any

from npcserver import knowledge, notes, relevance
from npcserver.discretion import Discretion, MayShow
from npcserver.engines.base import Message, Prompt
from npcserver.happening import Happening
from npcserver.library import LoadedScene
from npcserver.memory import Recalled
from npcserver.notes import Notes
from npcserver.sheets import (
    Action,
    Character,
    Example,
    Place,
    Prop,
    argument_options,
    target_ids,
)
from npcserver.state import SceneState, deed_words
from npcserver.window import Bounds, Shown, estimate_tokens, shown

PROMPT_VERSION = 4
"""Goes up with every change to what a prompt says, so that a model tuned on another is refused."""
SHOWN_EXAMPLES = 3
"""Examples that every prompt of a character shows; the first ones in the file."""
RECALLED_FACTS = 1
MAX_DEEDS = 32
"""At most this many things to do are scored in a turn."""


@dataclass(frozen=True)
class Wording:
    """The prompt's own words and marks in one language; `space` is what parts two words."""

    stranger: str
    voice: str
    wants: str
    open: str
    space: str
    then: str
    close: str
    colon: str


WORDING = {
    "en": Wording(
        "Stranger", "How {} speaks: ", "What {} wants: ", " (looking", " ", ";", "):", ":"
    ),
    "zh": Wording("来客", "{}说话的样子：", "{}想要的：", "（", "", "；", "）：", "："),
}


_Block = tuple[Message, ...]
_Known = Callable[[Happening], tuple[str, ...]]


@dataclass(frozen=True)
class Deed:
    """One thing a character could do now, wholly decided; `words` is how the prompt says it."""

    action: str
    target: str | None
    args: dict[str, Any]
    words: str


@dataclass(frozen=True)
class Reading:
    """What a character reads before an answer, and what the line that is answered brought up.

    Args:
        memories: what it brought to mind, and
        beside: what else stands beside it.
    """

    prompt: Prompt
    memories: tuple[Recalled, ...]
    beside: Notes


def _without_names(character: Character, line: str) -> str:
    """A line without the names of whom it is said to, who need not be reminded of themselves."""
    names = {character.name, *character.name.split(), *character.aliases}
    for name in sorted(names, key=len, reverse=True):
        edge = r"\b" if name.isascii() else ""
        line = re.sub(edge + re.escape(name) + edge, " ", line, flags=re.IGNORECASE)
    return line


class PromptBuilder:
    """Builds the prompts of one character of one scene."""

    def __init__(
        self, loaded: LoadedScene, npc: str, budget: int, history: int = 0, recall: int = 0
    ) -> None:
        """One character's prompts.

        Args:
            budget: the longest prompt, in estimated tokens.
            history: past happenings it may hold, beside the line that is answered.
            recall: what may be recalled for a line of what is older, in estimated tokens.
        """
        self.loaded = loaded
        self.npc = npc
        self.character: Character = loaded.characters[npc]
        self.answers = loaded.answers[npc]
        self.wording = WORDING[loaded.scene.language]
        self._budget = budget
        self.recall = recall
        self.history = history
        self._discretion = Discretion(loaded, npc)
        self._block = lru_cache(maxsize=512)(self._make_block)

    @cached_property
    def persona(self) -> tuple[Message, ...]:
        """The part that never changes: the character's sheet, and the first examples."""
        scene, name = self.loaded.scene, self.character.name
        place = next(m.place for m in scene.cast if m.character == self.npc)
        sheet = [scene.about, scene.places[place].about, self.character.about]
        if self.character.voice:
            sheet.append(self.wording.voice.format(name) + self.character.voice)
        if self.character.wants:
            sheet.append(self.wording.wants.format(name) + " ".join(self.character.wants))
        messages = [Message("system", "\n".join(sheet))]
        for example in self.character.examples[:SHOWN_EXAMPLES]:
            messages += self._shown(example, self.wording.stranger)
        return tuple(messages)

    def build(self, state: SceneState, line: int) -> Prompt:
        """The prompt for answering happening number `line`, up to the character's own name."""
        return self.read(state, state.happening(line)).prompt

    def draft(self, state: SceneState, name: str, text: str, speaker: str = "") -> Prompt:
        """The prompt that a line which `name` is still typing would make.

        Args:
            speaker: their id, where they are in the scene.
        """
        everyone = frozenset(state.bodies)
        now_ms = state.happenings[-1].at_ms if state.happenings else 0
        line = Happening(state.number + 1, speaker, name, text, True, (), "talk", everyone, now_ms)
        return self.read(state, line).prompt

    def read(self, state: SceneState, asked: Happening | None) -> Reading:
        """The prompt for a line, and what was found for it.

        What stands beside a line is found once for a prompt and kept no longer, so that it is never
        older than the prompt.
        """
        may_show = self._discretion.towards(state, asked)
        known = cache(lambda past: self._known(state, past))
        beside = cache(lambda past: self._beside(state, past, may_show))

        def block(each: Shown) -> _Block:
            memories = tuple(note.text for note in each.memories)
            facts = self._tellable(each.past, asked, known)
            return self._block(each.past, facts, beside(each.past), memories)

        bounds = Bounds(self._budget - _cost(self.persona), self.history, self.recall)
        window = shown(state, self.npc, asked, bounds, lambda each: _cost(block(each)), may_show)
        messages = (*self.persona, *_merged(map(block, window)))
        prompt = Prompt(messages, self.character.name, self.loaded.id, self.npc)
        memories = next((each.memories for each in window if each.past == asked), ())
        return Reading(prompt, memories, beside(asked) if asked else notes.NONE)

    def forget_past(self) -> None:
        """Drop what was kept of how past happenings are written."""
        self._block.cache_clear()
        self._discretion.forget_past()

    def tokens(self, prompt: Prompt) -> int:
        """A high estimate of a prompt's tokens."""
        return _cost(prompt.messages)

    def opened(self) -> Prompt:
        """The part that never changes, alone."""
        return Prompt(self.persona, "", self.loaded.id, self.npc)

    def foreseen(self) -> Iterator[Prompt]:
        """How prompts may go on from there with a conversation's first line: the sheet's examples.

        How dialogues begin may be recalled too, but there are too many of them to keep.
        """
        for example in self.character.examples:
            messages = (*self.persona, *self._primed(example))
            yield Prompt(messages, "", self.loaded.id, self.npc)

    def emotions(self) -> tuple[str, list[str]]:
        """What to append before the emotion is decided, and what to decide among."""
        return self.wording.open, [
            self.emotion_slot(emotion) for emotion in self.loaded.scene.emotions
        ]

    def emotion_slot(self, emotion: str) -> str:
        """How a declared emotion is written."""
        return self.wording.space + self.loaded.scene.emotions[emotion].word

    def acting(self) -> tuple[str, str]:
        """What follows the emotion when nothing is done, and when something is."""
        return self.wording.close, self.wording.then

    def deed_options(self, deeds: list[Deed]) -> list[str]:
        """What may follow when something is done."""
        return [self.wording.space + deed.words + self.wording.close for deed in deeds]

    def opening(self, emotion: str, deed: Deed | None) -> str:
        """The decided slots, after the name: ` (looking worried; shakes her head):`."""
        return self._opening(emotion, deed.words if deed else None)

    def said(self, text: str) -> str:
        """Words as they follow the slots."""
        return self.wording.space + text

    def _opening(self, emotion: str, deed: str | None) -> str:
        return self.wording.open + self.emotion_slot(emotion) + self._action_slot(deed)

    def _action_slot(self, deed: str | None) -> str:
        doing = self.wording.then + self.wording.space + deed if deed else ""
        return doing + self.wording.close

    def deeds(self, state: SceneState, asker: str) -> list[Deed]:
        """Everything the character could do now, at most MAX_DEEDS."""
        found: list[Deed] = []
        now = knowledge.situation(state, self.npc, state.number + 1, asker)
        for name in self.character.actions:
            action = self.loaded.scene.actions[name]
            if knowledge.unmet(state, action.requires, now):
                continue
            for target in self._targets(state, action, asker):
                for args in _argument_choices(action):
                    words = deed_words(state, name, target, args)
                    found.append(Deed(name, target, args, words))
        return found[:MAX_DEEDS]

    def _targets(self, state: SceneState, action: Action, asker: str) -> list[str | None]:
        if action.target == "none":
            return [None]
        if action.target == "player":
            return [asker] if asker in state.bodies and not state.bodies[asker].npc else []
        here = state.bodies[self.npc].place
        props = self.loaded.scene.props
        return [
            target
            for target in target_ids(action, self.loaded.scene)
            if target != self.npc
            and (action.target != "prop" or props[target].place == here)
            and (action.target != "npc" or state.bodies[target].place == here)
        ]

    def _known(self, state: SceneState, past: Happening) -> tuple[str, ...]:
        return knowledge.known(self.loaded, state, self.npc, past.number, past.speaker)

    def _tellable(self, past: Happening, asked: Happening | None, known: _Known) -> tuple[str, ...]:
        """The facts that may stand beside a line in a prompt that answers another."""
        if not self._answers(past):
            return ()
        if asked and past.speaker == asked.speaker:
            return known(past)
        # What was told to somebody who may know more is not for whoever is answered now.
        tellable = frozenset(known(asked)) if asked else frozenset()
        return tuple(fact for fact in known(past) if fact in tellable)

    def _answers(self, past: Happening) -> bool:
        return past.spoken and past.speaker != self.npc

    def _beside(self, state: SceneState, past: Happening, may_show: MayShow) -> Notes:
        if not self._answers(past):
            return notes.NONE
        return notes.beside(self.loaded, state, self.npc, past, may_show, estimate_tokens)

    def about(self, text: str) -> str:
        """What a line is about, the names of the character left out."""
        return _without_names(self.character, text)

    def _make_block(
        self,
        past: Happening,
        known: tuple[str, ...],
        beside: Notes = notes.NONE,
        memories: tuple[str, ...] = (),
    ) -> _Block:
        """A happening as the character perceived it.

        Args:
            known: what they knew then, and may tell whoever is answered now.
            beside: what else is told beside the line.
            memories: what it made them remember.
        """
        if past.speaker == self.npc:
            return (Message("assistant", self._own(past)),)
        if not past.spoken:
            who = f"{past.name} " if past.name else ""
            return (Message("user", f"[{who}{past.text}]"),)
        heard = past.heard_as(self.npc)
        line = f"{past.name}{self.wording.colon}{self.wording.space}{heard}"
        example, recalled = self.recalled(heard, known)
        told = (*beside.before, *recalled, *beside.after, *memories)
        return (
            *(self._primed(example) if example else ()),
            Message("user", "\n".join([line, *(f"[{note}]" for note in told)])),
        )

    def recalled(self, text: str, facts: Sequence[str]) -> tuple[Example | None, list[str]]:
        """The example that fits a line best, and which of the facts belong to it."""
        ranked = relevance.rank(self.about(text), facts)[:RECALLED_FACTS]
        return next(iter(self.answers.like(self.about(text))), None), [facts[i] for i in ranked]

    def examples(self, text: str) -> list[Example]:
        """What fits a line, best first: the very line, then those like it."""
        found = [*self.answered(text), *self.answers.like(self.about(text))]
        return list({id(example): example for example in found}.values())

    def answered(self, text: str) -> list[Example]:
        """What a writer had the character answer to this very line."""
        return self.answers.to(text, self.about(text))

    def _own(self, past: Happening) -> str:
        return self._answer(
            past.emotion or self.character.resting, past.deed, past.heard_as(self.npc)
        )

    def _answer(self, emotion: str, deed: str | None, text: str) -> str:
        """An answer of the character's, whole. Args: deed: its words."""
        return self.character.name + self._opening(emotion, deed) + self.said(text)

    def _primed(self, example: Example) -> list[Message]:
        # Whoever asks now, a stranger asked it then: so it can be computed before anybody asks.
        return self._shown(example, self.wording.stranger)

    def _shown(self, example: Example, asker: str) -> list[Message]:
        return [
            Message("user", f"{asker}{self.wording.colon}{self.wording.space}{example.line}"),
            Message("assistant", self.example_line(example, asker)),
        ]

    def example_line(self, example: Example, asker: str) -> str:
        """An example's whole answer, to somebody named `asker`, slots included."""
        deed = self._example_deed(example, asker) if example.action else None
        return self._answer(example.emotion, deed, example.reply)

    def _example_deed(self, example: Example, asker: str) -> str:
        assert example.action
        action = self.loaded.scene.actions[example.action]
        target = example.target
        if target is not None:
            scene = self.loaded.scene
            named: dict[str, Prop | Place | Character]
            named = {**scene.props, **scene.places, **self.loaded.characters}
            target = named[target].name
        elif action.target == "player":
            target = asker
        return action.phrase(target, example.args)


def _cost(messages: Sequence[Message]) -> int:
    """A high estimate of their tokens."""
    return sum(estimate_tokens(message.text) for message in messages)


def _merged(blocks: Iterable[_Block]) -> Iterator[Message]:
    """Blocks as messages; neighbours of one role become one, as chat templates want them."""
    last: Message | None = None
    for message in (message for block in blocks for message in block):
        if last is not None and last.role == message.role:
            last = Message(last.role, f"{last.text}\n{message.text}")
            continue
        if last is not None:
            yield last
        last = message
    if last is not None:
        yield last


def _argument_choices(action: Action) -> Iterator[dict[str, Any]]:
    names = list(action.args)
    for values in product(*(argument_options(action.args[name]) for name in names)):
        yield dict(zip(names, values, strict=True))
