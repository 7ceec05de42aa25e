"""What stands beside a player's line in a prompt, besides what is recalled: lore, and a want.

Depends on the line, on what was said before it and on the story then, so that it stays as it was
when the prompt is built again; what was said before counts as far as whoever hears the answer may
know of it. Knows no prompts and no engines, and does no I/O.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from npcserver import knowledge
from npcserver.discretion import MayShow
from npcserver.happening import Happening
from npcserver.library import LoadedScene
from npcserver.lorebook import Entry
from npcserver.state import SceneState


@dataclass(frozen=True)
class Notes:
    """Sentences before and after the facts recalled for a line."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


NONE = Notes()


def beside(
    loaded: LoadedScene,
    state: SceneState,
    npc: str,
    line: Happening,
    may_show: MayShow,
    tokens: Callable[[str], int],
) -> Notes:
    """What stands beside a line that a character answers.

    Args:
        may_show: what may bring something up, in a prompt whose answer somebody hears.
        tokens: a high estimate of a text's tokens.
    """
    before: list[str] = []
    after: list[str] = []
    for book in loaded.lore.get(npc, ()):
        earlier = (
            past.heard_as(npc)
            for past in reversed(state.happenings)
            if past.number < line.number
            and past.spoken
            and npc in past.heard_by
            and not (past.volume == "whisper" and line.speaker not in past.heard_by)
            and may_show(past)
        )
        lines = [line.heard_as(npc), *islice(filter(None, earlier), book.scan_depth - 1)]
        for entry in book.told(lines[::-1], tokens):
            put = before if entry.position == "before_char" else after
            put.append(_filled(entry, loaded.characters[npc].name, line.name))
    if want := knowledge.wanted(loaded, state, npc, line.number):
        after.append(want)
    return Notes(tuple(before), tuple(after)) if before or after else NONE


def _filled(entry: Entry, char: str, user: str) -> str:
    """An entry as one line, with its macros filled in."""
    text = " ".join(entry.content.split())
    return text.replace("{{char}}", char).replace("{{user}}", user)
