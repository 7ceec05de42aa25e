"""Conversation → records: one for each reply of a character to somebody's words."""

import hashlib
from collections.abc import Iterator

from finetune.records import Conversation, Dropped, Record, Turn

MAX_HISTORY = 40
"""Turns a record carries; a prompt holds fewer."""


def records(conversation: Conversation) -> Iterator[Record | Dropped]:
    """The replies of a conversation, in order."""
    stage, name = conversation.stage.id, _name(conversation)
    for at, turn in enumerate(conversation.turns):
        if turn.speaker not in conversation.stage.characters or not turn.spoken:
            continue
        asked = _asked(conversation.turns, at)
        if asked is None:
            yield Dropped(source=turn.source, reason="answers nobody")
            continue
        line = conversation.turns[asked]
        before = [each for i, each in enumerate(conversation.turns[:at]) if i != asked]
        yield Record(
            stage=stage,
            character=turn.speaker,
            conversation=name,
            history=before[-MAX_HISTORY:],
            asker=line.name,
            line=line.text,
            emotion=turn.emotion,
            action=turn.action,
            reply=turn.text,
            rating=turn.rating,
            hidden=conversation.hidden,
            dataset=conversation.dataset,
            source=turn.source or conversation.source,
        )


def _name(conversation: Conversation) -> str:
    """The same for the same words, so that they are never in two parts, whoever says them."""
    words = "\n".join(turn.text for turn in conversation.turns)
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _asked(turns: list[Turn], at: int) -> int | None:
    """The line that turn number `at` answers: the last words before it, if somebody else's."""
    for index in range(at - 1, -1, -1):
        if turns[index].spoken:
            return index if turns[index].speaker != turns[at].speaker else None
    return None
