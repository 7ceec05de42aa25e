"""More training from the same words, their meaning kept.

A copy of a conversation has another player's name, a history that begins later, and now and then
lacks a turn in between: what is answered and how stays as it was. Knows no files.
"""

import random
from collections.abc import Callable, Sequence

from finetune.examples import conversations
from finetune.formats.names import CJK, NAMES, renaming
from finetune.records import Record, Stage, Turn
from npcserver.prompt import WORDING

FORGET = 0.2
"""Chance that a copy lacks one of the turns before."""
CHINESE_NAMES = tuple(
    """
    予澄 云岫 亦舟 听澜 如笙 子衿 念安 怀瑾 思渺 慕青 承砚 星阑
    望舒 洛笙 清越 疏桐 知微 若溪 砚秋 霁月
    """.split()
)


def augmented(
    records: Sequence[Record], stages: dict[str, Stage], copies: int, seed: int
) -> list[Record]:
    """The records, and `copies` changed ones of each; fewer where no more can be changed."""
    made = list(records)
    for conversation in conversations(records):
        first, seen = conversation[0], [_content(conversation)]
        for copy in range(1, copies + 1):
            draw = random.Random(f"{seed} {first.conversation} {first.character} {copy}")
            changed = _changed(conversation, stages[first.stage], draw)
            if (content := _content(changed)) not in seen:
                seen.append(content)
                name = f"{first.conversation}+{copy}"
                made += [each.model_copy(update={"conversation": name}) for each in changed]
    return made


def _content(conversation: Sequence[Record]) -> list[tuple[str, str, list[Turn]]]:
    """What a model would read of it."""
    return [(record.asker, record.line, record.history) for record in conversation]


def _changed(conversation: Sequence[Record], stage: Stage, draw: random.Random) -> list[Record]:
    names = _names(conversation, stage, draw)
    kept = _remembered(conversation, draw)
    told_apart = {old: new for old, new in names.items() if _is_told_apart(old)}
    rename = renaming(told_apart, exactly=True)
    return [
        record.model_copy(
            update={
                "history": [
                    _renamed(turn, names, rename) for turn in record.history if _key(turn) in kept
                ],
                "asker": names.get(record.asker, record.asker),
                "line": rename(record.line),
                "reply": rename(record.reply),
            }
        )
        for record in conversation
    ]


def _names(conversation: Sequence[Record], stage: Stage, draw: random.Random) -> dict[str, str]:
    """Another name for each player, which nobody there has."""
    cast = {sheet.name for sheet in stage.characters.values()}
    askers = {record.asker for record in conversation}
    others = {turn.name for record in conversation for turn in record.history}
    invented = CHINESE_NAMES if stage.scene.language == "zh" else NAMES
    free = [name for name in invented if name not in cast | askers | others]
    players = sorted(askers - cast)[: len(free)]
    return dict(zip(players, draw.sample(free, len(players)), strict=True))


def _remembered(conversation: Sequence[Record], draw: random.Random) -> set[tuple[str, str]]:
    """The turns a copy still has, the same in all its prompts, so that each extends the last."""
    heard = dict.fromkeys(_key(turn) for record in conversation for turn in record.history)
    begins = draw.randint(0, len(heard))
    return {key for key in list(heard)[begins:] if draw.random() >= FORGET}


def _key(turn: Turn) -> tuple[str, str]:
    return turn.speaker, turn.text


def _renamed(turn: Turn, names: dict[str, str], rename: Callable[[str], str]) -> Turn:
    name = names.get(turn.name, turn.name)
    return turn.model_copy(update={"name": name, "text": rename(turn.text)})


def _is_told_apart(name: str) -> bool:
    """Whether a name in a text is surely one: no word as `Stranger`, no single Chinese sign."""
    words = {wording.stranger for wording in WORDING.values()}
    return name not in words and not (len(name) == 1 and CJK.search(name))
