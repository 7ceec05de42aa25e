"""Which of a character's written lines fit what a player says, and what they are weighed against.

Rules only: what was asked is matched as examples are recalled, conditions must hold, and nobody
hears a line twice. The model's scores choose among what fits (turn.py). Does no I/O.
"""

import hashlib

from npcserver import knowledge, relevance
from npcserver.plot import EXAMPLE, Line
from npcserver.prompt import SHOWN_EXAMPLES, Deed, PromptBuilder
from npcserver.sheets import Example
from npcserver.state import SceneState, deed_words
from npcserver.story import Situation

MOST_WEIGHED = 6
"""At most this many lines are weighed in a turn."""


def fitting(builder: PromptBuilder, state: SceneState, number: int, asker: str) -> list[Line]:
    """The lines that may be said to a player in answer to happening `number`, best first.

    A line fits that is asked for in words more like the player's than those of any example. Lines
    that are `always` said come before all others.
    """
    asked, body = state.happening(number), state.bodies.get(asker)
    if asked is None or body is None or body.npc:
        return []
    at = knowledge.situation(state, builder.npc, number, asker)
    possible = [line for line in builder.character.lines if _may_say(builder, state, line, at)]
    if not possible:
        return []
    about = builder.about(asked.text) if asked.spoken else ""
    fits = [line for line in builder.answers.lines(about) if line in possible]
    fits += [line for line in possible if not line.asked]
    return sorted(fits, key=lambda line: not line.always)[:MOST_WEIGHED]


def answered(builder: PromptBuilder, state: SceneState, number: int, asker: str) -> Line | None:
    """What a writer had the character answer to the very line that a player says now.

    An example's reply, then, that the player has not heard yet, whose deed can be done, and which
    is about nothing that an event may have changed since the scene began.
    """
    asked, body = state.happening(number), state.bodies.get(asker)
    if asked is None or not asked.spoken or body is None or body.npc:
        return None
    written = builder.answered(asked.text)
    if not written:
        return None
    changed, deeds = _changed(builder, state), builder.deeds(state, asker)

    def fits(line: Line) -> bool:
        return (
            not state.story.has_heard(asker, line.id)
            and not relevance.meaning(line.says) & changed
            and _can_do(line, state, deeds, asker)
        )

    return next(filter(fits, map(_as_line, written)), None)


def _changed(builder: PromptBuilder, state: SceneState) -> frozenset[str]:
    """The terms of the events that the character witnessed."""
    events = builder.loaded.scene.events
    seen = (event for npc, event in state.witnessed if npc == builder.npc and event in events)
    return frozenset().union(*(relevance.meaning(events[event].words) for event in seen))


def _can_do(line: Line, state: SceneState, deeds: list[Deed], asker: str) -> bool:
    deed = deed_of(state, line, asker)
    return deed is None or deed in deeds


def _as_line(example: Example) -> Line:
    digest = hashlib.sha256(example.reply.encode()).hexdigest()
    return Line.model_construct(
        id=f"{EXAMPLE}{digest[:12]}",
        says=example.reply,
        emotion=example.emotion,
        action=example.action,
        target=example.target,
        args=example.args,
    )


def _may_say(builder: PromptBuilder, state: SceneState, line: Line, at: Situation) -> bool:
    if state.story.has_heard(at.player, line.id):
        return False
    requires = builder.loaded.scene.actions[line.action].requires if line.action else None
    return not (knowledge.unmet(state, line.when, at) or knowledge.unmet(state, requires, at))


def stand_in(builder: PromptBuilder, state: SceneState, number: int) -> str:
    """What stands for words of the character's own when lines are weighed for a happening.

    It is a reply to something like the player's line that the prompt doesn't show, so that neither
    side has been read before.
    """
    examples = builder.answers.examples
    asked = state.happening(number)
    recalled = builder.examples(asked.text if asked else "")
    shown = [*examples[:SHOWN_EXAMPLES], *recalled[:1]]
    hidden = [example for example in (*recalled, *examples) if example not in shown]
    return (hidden or examples)[0].reply


def deed_of(state: SceneState, line: Line, asker: str) -> Deed | None:
    """What is done with a line, if anything."""
    if line.action is None:
        return None
    is_asker = state.loaded.scene.actions[line.action].target == "player"
    target = asker if is_asker else line.target
    words = deed_words(state, line.action, target, line.args)
    return Deed(line.action, target, line.args, words)
