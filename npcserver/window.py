"""Which happenings a prompt shows, and what they bring to mind of what it no longer shows.

The window's old end moves in blocks, so that most prompts extend the last one. As long as it
stands, what was recalled for a line stays with it; when it moves, the prompt is another one anyhow.
Knows nothing of how a happening is written, only what it costs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from npcserver.discretion import MayShow
from npcserver.happening import Happening
from npcserver.memory import Line, Recalled
from npcserver.state import SceneState

BLOCK = 8
"""History goes in blocks of this many happenings, so that the prefix changes rarely."""
RECALLED_MEMORIES = 2
"""Memories shown after a line, at most."""
LEAST_RELEVANCE = {"en": 0.25, "zh": 0.2}
"""Less relevant ones are not shown: small talk should bring nothing to mind. Chinese lines have
more terms, most of which say little."""


def estimate_tokens(text: str) -> int:
    """A high estimate: English runs at about 4 characters a token, Chinese at 1 or less."""
    plain = sum(char.isascii() for char in text)
    return plain // 3 + 2 * (len(text) - plain) + 4


@dataclass(frozen=True)
class Shown:
    """A happening, and what it made the character remember."""

    past: Happening
    memories: tuple[Recalled, ...] = ()


@dataclass(frozen=True)
class Bounds:
    """What a window may hold.

    Args:
        spare: estimated tokens, for all of it.
        history: happenings beside the newest.
        recall: estimated tokens that may be recalled for a line.
    """

    spare: int
    history: int
    recall: int


def shown(
    state: SceneState,
    npc: str,
    asked: Happening | None,
    bounds: Bounds,
    cost: Callable[[Shown], int],
    may_show: MayShow,
) -> list[Shown]:
    """What a character perceived, oldest first; the line that is answered comes last.

    Args:
        asked: that line, or the draft of one.
        cost: what showing something takes, in estimated tokens.
        may_show: what else may be shown to whoever hears the answer.
    """
    kept: list[Happening] = []
    last = asked if asked and _perceived(npc, asked) else None
    # The line first: what was said since it came must not push it out.
    spare, cut = bounds.spare - (cost(Shown(last)) if last else 0), 0
    for past in reversed(state.happenings):
        if past == last or not _perceived(npc, past) or not may_show(past):
            continue
        spare -= cost(Shown(past))
        if spare >= 0 and len(kept) < bounds.history:
            kept.append(past)
        else:
            cut = (past.number // BLOCK + 1) * BLOCK
            break
    kept = [past for past in reversed(kept) if past.number >= cut]
    while True:
        window = [*kept, last] if last else kept
        found = _with_memories(state, npc, window, cut, bounds.recall, may_show)
        if not kept or not any(each.memories for each in found):
            return found
        if sum(map(cost, found)) <= bounds.spare:
            return found
        cut = (kept[0].number // BLOCK + 1) * BLOCK
        kept = [past for past in kept if past.number >= cut]


def _perceived(npc: str, past: Happening) -> bool:
    return npc in past.heard_by and past.heard_as(npc) != ""


def _with_memories(
    state: SceneState,
    npc: str,
    window: Sequence[Happening],
    cut: int,
    recall: int,
    may_show: MayShow,
) -> list[Shown]:
    """What others said, with what it brings to mind of what is older than all of the window."""

    def is_fit(each: Recalled) -> bool:
        memory = state.memories.items.get(each.number)  # summaries have none, and quote no whispers
        return each.relevance >= least and (memory is None or may_show(memory))

    least = LEAST_RELEVANCE[state.loaded.scene.language]
    if not window or not recall:
        return [Shown(past) for past in window]
    oldest = cut or (state.happenings[0].number if state.happenings else window[0].number)
    before = min(oldest, window[-1].number)
    seen: set[int] = set()
    found = []
    for past in window:
        notes: list[Recalled] = []
        if past.spoken and past.speaker != npc:
            line = Line(past.number, past.at_ms, past.speaker, past.heard_as(npc), past.volume)
            recalled = state.memories.recall(npc, line, before)
            notes = _chosen(list(filter(is_fit, recalled)), seen, recall)
            seen |= {note.number for note in notes}
        found.append(Shown(past, tuple(notes)))
    return found


def _chosen(recalled: Sequence[Recalled], seen: set[int], spare: int) -> list[Recalled]:
    """The best that fit, without those that stand in the window already."""
    notes: list[Recalled] = []
    for note in recalled:
        spare -= estimate_tokens(note.text)
        if spare < 0 or len(notes) == RECALLED_MEMORIES:
            break
        if note.number not in seen:
            notes.append(note)
    return notes
