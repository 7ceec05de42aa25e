"""More training from the same words, their meaning kept.

A copy of a conversation has another player's name, a history that begins later, and now and then
lacks an exchange in between: what is answered and how stays as it was. Knows no files.
"""

import random
import re
from collections.abc import Sequence

from finetune.examples import conversations
from finetune.formats.names import NAMES
from finetune.records import Record, Stage, Turn

FORGET = 0.2
"""Chance that a copy's prompt lacks one of the turns before."""


def augmented(
    records: Sequence[Record], stages: dict[str, Stage], copies: int, seed: int
) -> list[Record]:
    """The records, and `copies` changed ones of each."""
    made = list(records)
    for conversation in conversations(records):
        for copy in range(1, copies + 1):
            first = conversation[0]
            draw = random.Random(f"{seed} {first.conversation} {first.character} {copy}")
            cast = {sheet.name for sheet in stages[first.stage].characters.values()}
            begins = draw.randint(0, len(conversation[-1].history))
            names = {
                name: draw.choice(NAMES)
                for name in sorted({record.asker for record in conversation} - cast)
            }
            made += [_changed(record, begins, names, draw, copy) for record in conversation]
    return made


def _changed(
    record: Record, begins: int, names: dict[str, str], draw: random.Random, copy: int
) -> Record:
    history = [turn for turn in record.history[begins:] if draw.random() >= FORGET]
    return record.model_copy(
        update={
            "conversation": f"{record.conversation}+{copy}",
            "history": [_renamed(turn, names) for turn in history],
            "asker": names.get(record.asker, record.asker),
            "line": rename(record.line, names),
            "reply": rename(record.reply, names),
        }
    )


def _renamed(turn: Turn, names: dict[str, str]) -> Turn:
    name = names.get(turn.name, turn.name)
    return turn.model_copy(update={"name": name, "text": rename(turn.text, names)})


def rename(text: str, names: dict[str, str]) -> str:
    """A text with people's names replaced, where they stand as words of their own."""
    for old, new in names.items():
        edge = r"\b" if old.isascii() else ""
        text = re.sub(edge + re.escape(old) + edge, lambda _, new=new: new, text)  # type: ignore[misc]
    return text
