"""What a scenario's step expected against what came of it, and what no turn may ever show.

Plain comparisons of values: knows nothing of how a scenario is played, or of judges.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jsonschema

from npcserver import knowledge, slips
from npcserver.client import Message
from npcserver.library import LoadedScene
from npcserver.plot import EXAMPLE
from npcserver.rehearsal import Heard
from npcserver.scenarios import Expected, Step, Watch, says
from npcserver.sheets import target_ids


def compare(expected: Expected, heard: Heard) -> Iterator[str]:
    """Everything in which a turn is not as expected; what a judge is to say is left to one."""
    if expected.npc not in (None, heard.npc):
        yield f"{expected.npc} was to answer, not {heard.npc}"
    if heard.status != expected.status:
        reason = f" ({heard.reason})" if heard.reason else ""
        yield f"the turn ended {heard.status}{reason}, not {expected.status}"
    if expected.reason and not says(heard.reason, expected.reason):
        yield f"the reason does not say {expected.reason!r} but {heard.reason!r}"
    for words in expected.says:
        if not says(heard.text, words):
            yield f"does not say {words!r}"
    for words in expected.says_not:
        if says(heard.text, words):
            yield f"says {words!r}"
    if expected.emotion and heard.emotion not in expected.emotion:
        yield f"looks {heard.emotion or 'no way'}, not {' or '.join(expected.emotion)}"
    line = "none" if heard.authored.startswith(EXAMPLE) else heard.authored
    if expected.authored not in (None, line):
        yield f"the writer's line is {line}, not {expected.authored}"
    yield from _compare_action(expected, heard)
    yield from _compare_numbers(expected, heard)


def _compare_action(expected: Expected, heard: Heard) -> Iterator[str]:
    if expected.action and heard.action not in expected.action:
        yield f"does {heard.action}, not {' or '.join(expected.action)}"
    if expected.target not in (None, heard.target):
        yield f"does it to {heard.target}, not {expected.target}"
    for name, value in expected.args.items():
        if heard.args.get(name) != value:
            yield f"does it with {name} {heard.args.get(name)!r}, not {value!r}"


def _compare_numbers(expected: Expected, heard: Heard) -> Iterator[str]:
    for name, bounds in expected.chances.items():
        chance = heard.actions.get(name, heard.emotions.get(name, 0.0))
        if not bounds.above <= chance <= bounds.below:
            yield f"{name} has probability {chance:.2f}, not {bounds.above} to {bounds.below}"
    if expected.first_word_ms is not None and heard.first_word_ms > expected.first_word_ms:
        yield f"the first word took {heard.first_word_ms} ms, not {expected.first_word_ms}"
    if expected.total_ms is not None and heard.total_ms > expected.total_ms:
        yield f"the turn took {heard.total_ms} ms, not {expected.total_ms}"


def compare_turns(expected: Sequence[Expected], heard: Sequence[Heard]) -> Iterator[str]:
    """The same for all turns that followed a step."""
    if len(heard) != len(expected):
        yield f"{len(heard)} turns came, not {len(expected)}"
    for one, other in zip(expected, heard, strict=False):
        yield from compare(one, other)


def compare_audience(
    expected: Sequence[Expected], heard: Sequence[Heard], told: Mapping[str, Sequence[Heard]]
) -> Iterator[str]:
    """Who was told of turns and should not have been, or the other way."""
    for one, turn in zip(expected, heard, strict=False):
        for player in one.heard_by:
            if turn not in told[player]:
                yield f"{player} was not told of {turn.npc}'s turn"
        for player in one.unheard_by:
            if turn in told[player]:
                yield f"{player} was told of {turn.npc}'s turn"


def compare_messages(
    step: Step, told: Sequence[Message], everyone: Iterable[Sequence[Message]]
) -> Iterator[str]:
    """Messages that were to come in order, and those that were not to come at all."""
    rest = iter(told)
    for wanted in step.messages:
        if not any(_holds(message, wanted) for message in rest):
            yield f"no message {wanted} came, or not in this order"
            break
    for unwanted in step.no_messages:
        if any(_holds(message, unwanted) for messages in everyone for message in messages):
            yield f"a message {unwanted} came"


def _holds(message: Any, wanted: Any) -> bool:
    """Whether a message has at least the wanted fields."""
    if isinstance(wanted, dict):
        return isinstance(message, dict) and all(
            name in message and _holds(message[name], value) for name, value in wanted.items()
        )
    return bool(message == wanted)


# ---- what is always watched for ------------------------------------------------------------------


class Watcher:
    """Reads every turn of a scenario, in order, and says what none of them may show."""

    def __init__(self, loaded: LoadedScene, watched: Iterable[Watch]) -> None:
        self._loaded = loaded
        self._watched = list(watched)
        self._events: set[str] = set()
        self._said: dict[str, list[str]] = {}
        self._lines: list[str] = []
        self._facts = list(knowledge.open_facts(loaded))
        self._written = [*self._facts, *_examples(loaded)]

    def line(self, text: str) -> None:
        """A player said this: whoever repeats it tells no secret, and makes no number up."""
        self._lines.append(text)

    def event(self, name: str) -> None:
        """Something happened; what comes to be known with it is no secret any more."""
        self._events.add(name)

    def turn(self, heard: Heard) -> Iterator[str]:
        """What is wrong with a turn."""
        signs: dict[Watch, Callable[[Heard], str | None]] = {
            "secrets": self._secret,
            "actions": self._action,
            "loops": self._loop,
            "marks": lambda heard: _told("shows a mark", slips.marks(heard.text)),
            "speakers": self._speaker,
            "character": lambda heard: _told("falls out of character", _broken(heard.text)),
            "language": self._language,
            "numbers": self._number,
        }
        for watch in self._watched:
            if told := signs[watch](heard):
                yield f"{watch}: {heard.npc} {told}"
        self._said.setdefault(heard.npc, []).append(heard.text)

    def _secret(self, heard: Heard) -> str | None:
        for npc, character in self._loaded.characters.items():
            for secret in character.hides:
                if not isinstance(secret, str):
                    continue  # it may be unlocked, and what unlocks it is not seen from here
                if slips.tells(heard.text, secret, self._facts, self._lines):
                    return f"tells what {npc} hides: {secret}"
        own = {fact.fact for fact in knowledge.shared(self._loaded, heard.npc)}
        for fact in self._loaded.scene.facts:
            if fact.when is not None:
                continue
            may = fact.fact in own and (fact.after is None or fact.after in self._events)
            if not may and slips.tells(heard.text, fact.fact, self._facts, self._lines):
                return f"tells what they cannot know: {fact.fact}"
        return None

    def _action(self, heard: Heard) -> str | None:
        if heard.action == "none":
            return None
        scene = self._loaded.scene
        action = scene.actions.get(heard.action)
        if action is None or heard.action not in self._loaded.characters[heard.npc].actions:
            return f"does {heard.action}, which is not theirs to do"
        is_aimed = action.target in ("prop", "place", "npc")
        if is_aimed and heard.target not in target_ids(action, scene):
            return f"does {heard.action} to {heard.target}, which it is not for"
        for fault in jsonschema.Draft202012Validator(action.schema_of_args()).iter_errors(
            heard.args
        ):
            return f"does {heard.action} with {fault.message}"
        return None

    def _loop(self, heard: Heard) -> str | None:
        return _told("says again", slips.loops(heard.text, self._said.get(heard.npc, [])))

    def _speaker(self, heard: Heard) -> str | None:
        others = [c.name for npc, c in self._loaded.characters.items() if npc != heard.npc]
        return _told("speaks for", slips.speaks_for(heard.text, others))

    def _language(self, heard: Heard) -> str | None:
        language = self._loaded.scene.language
        return _told(f"does not speak {language}", slips.other_language(heard.text, language))

    def _number(self, heard: Heard) -> str | None:
        found = slips.made_up_numbers(heard.text, [*self._written, *self._lines])
        return _told("makes up", ", ".join(found))


def _broken(text: str) -> str | None:
    return slips.as_a_model(text) or slips.refused(text)


def _told(what: str, found: str | None) -> str | None:
    return f"{what}: {found}" if found else None


def _examples(loaded: LoadedScene) -> Iterator[str]:
    for character in loaded.characters.values():
        yield from (f"{example.line} {example.reply}" for example in character.examples)
