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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

from npcserver import knowledge, relevance
from npcserver.engines.base import Message, Prompt
from npcserver.library import LoadedScene
from npcserver.sheets import (
    Action,
    Character,
    Example,
    Place,
    Prop,
    argument_options,
    target_ids,
)
from npcserver.state import Happening, SceneState, deed_words

PROMPT_VERSION = 4
"""Goes up with every change to what a prompt says, so that a model tuned on another is refused."""
SHOWN_EXAMPLES = 3
"""Examples that every prompt of a character shows; the first ones in the file."""
RECALLED_FACTS = 1
BLOCK = 8
"""History goes in blocks of this many happenings, so that the prefix changes rarely."""
FUNCTION_WORDS = 0.2
"""What `who`, `you` and the like weigh when an example's line is compared with a player's."""
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


@dataclass(frozen=True)
class Deed:
    """One thing a character could do now, wholly decided; `words` is how the prompt says it."""

    action: str
    target: str | None
    args: dict[str, Any]
    words: str


def estimate_tokens(text: str) -> int:
    """A high estimate: English runs at about 4 characters a token, Chinese at 1 or less."""
    plain = sum(char.isascii() for char in text)
    return plain // 3 + 2 * (len(text) - plain) + 4


def recall_examples(character: Character, line: str) -> list[Example]:
    """The examples that fit a line, best first: those put alike, then those about the same."""
    line = _without_names(character, line)
    asked = [example.line for example in character.examples]
    whole = [f"{example.line} {example.reply}" for example in character.examples]
    alike = relevance.rank(line, asked, function_words=FUNCTION_WORDS)
    order = dict.fromkeys([*alike, *relevance.rank(line, whole)])
    return [character.examples[index] for index in order]


def _without_names(character: Character, line: str) -> str:
    """A line without the names of whom it is said to, who need not be reminded of themselves."""
    names = {character.name, *character.name.split(), *character.aliases}
    for name in sorted(names, key=len, reverse=True):
        edge = r"\b" if name.isascii() else ""
        line = re.sub(edge + re.escape(name) + edge, " ", line, flags=re.IGNORECASE)
    return line


class PromptBuilder:
    """Builds the prompts of one character of one scene."""

    def __init__(self, loaded: LoadedScene, npc: str, budget: int, history: int = 0) -> None:
        """One character's prompts.

        Args:
            budget: the longest prompt, in estimated tokens.
            history: past happenings it may hold, beside the line that is answered.
        """
        self.loaded = loaded
        self.npc = npc
        self.character: Character = loaded.characters[npc]
        self.wording = WORDING[loaded.scene.language]
        self._budget = budget
        self.history = history
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
        messages = (*self.persona, *_merged(self._history(state, line)))
        return Prompt(messages, self.character.name, self.loaded.id, self.npc)

    def draft(self, state: SceneState, name: str, text: str) -> Prompt:
        """The prompt that a line which `name` is still typing would make."""
        everyone = frozenset(state.bodies)
        line = Happening(state.number + 1, "", name, text, True, (), "talk", everyone, 0)
        blocks = [*self._history(state), self._make_block(line, self._known(state, line))]
        messages = (*self.persona, *_merged(blocks))
        return Prompt(messages, self.character.name, self.loaded.id, self.npc)

    def tokens(self, prompt: Prompt) -> int:
        """A high estimate of a prompt's tokens."""
        return _cost(prompt.messages)

    def opened(self) -> Prompt:
        """The part that never changes, alone."""
        return Prompt(self.persona, "", self.loaded.id, self.npc)

    def foreseen(self) -> Iterator[Prompt]:
        """How prompts go on from there with the first line of a conversation: with any example."""
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
        for name in self.character.actions:
            action = self.loaded.scene.actions[name]
            for target in self._targets(state, action, asker):
                for args in _argument_choices(action):
                    words = deed_words(state, name, target, args)
                    found.append(Deed(name, target, args, words))
        return found[:MAX_DEEDS]

    def _targets(self, state: SceneState, action: Action, asker: str) -> list[str | None]:
        if action.target == "none":
            return [None]
        if action.target == "player":
            return [asker] if asker in state.bodies else []
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
        return knowledge.known(self.loaded, state, self.npc, past.number)

    def _make_block(self, past: Happening, known: tuple[str, ...]) -> _Block:
        """A happening as the character perceived it. Args: known: what they knew then."""
        if past.speaker == self.npc:
            return (Message("assistant", self._own(past)),)
        if not past.spoken:
            who = f"{past.name} " if past.name else ""
            return (Message("user", f"[{who}{past.text}]"),)
        line = f"{past.name}{self.wording.colon}{self.wording.space}{past.text}"
        example, recalled = self.recalled(past.text, known)
        return (
            *(self._primed(example) if example else ()),
            Message("user", "\n".join([line, *(f"[{fact}]" for fact in recalled)])),
        )

    def recalled(self, text: str, facts: Sequence[str]) -> tuple[Example | None, list[str]]:
        """The example that fits a line best, and which of the facts belong to it."""
        about = _without_names(self.character, text)
        ranked = relevance.rank(about, facts)[:RECALLED_FACTS]
        return next(iter(recall_examples(self.character, text)), None), [facts[i] for i in ranked]

    def _own(self, past: Happening) -> str:
        return self._answer(past.emotion or self.character.resting, past.deed, past.text)

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

    def _history(self, state: SceneState, line: int | None = None) -> list[_Block]:
        """What the character perceived, oldest first; what `line` names comes last.

        The newest that fit the budget. The cut stands at a multiple of BLOCK, so that it, and with
        it the prompt's prefix, moves only every so often.
        """
        blocks: list[tuple[int, _Block]] = []
        # The line first: what was said since it came must not push it out.
        last = [
            self._block(past, self._known(state, past))
            for past in state.happenings
            if past.number == line and self.npc in past.heard_by
        ]
        spare = self._budget - _cost(self.persona) - sum(_cost(block) for block in last)
        cut = 0
        for past in reversed(state.happenings):
            if self.npc not in past.heard_by or past.number == line:
                continue
            block = self._block(past, self._known(state, past))
            spare -= _cost(block)
            if spare >= 0 and len(blocks) < self.history:
                blocks.append((past.number, block))
            else:
                cut = (past.number // BLOCK + 1) * BLOCK
                break
        return [block for number, block in reversed(blocks) if number >= cut] + last


def _cost(messages: Sequence[Message]) -> int:
    """A high estimate of their tokens."""
    return sum(estimate_tokens(message.text) for message in messages)


def _merged(blocks: Sequence[_Block]) -> Iterator[Message]:
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
