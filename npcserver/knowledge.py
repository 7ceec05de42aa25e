"""Who may know what, and since when: the facts that a character's prompts may hold.

What a character may not know is not here for them, so it cannot come out. Knows no prompts and no
engines, and does no I/O.
"""

from collections.abc import Iterator

from npcserver.library import LoadedScene
from npcserver.sheets import Fact
from npcserver.state import SceneState


def shared(loaded: LoadedScene, npc: str) -> Iterator[Fact]:
    """The scene's facts that are a character's to know, now or later."""
    circles = {npc, *loaded.characters[npc].factions}
    for fact in loaded.scene.facts:
        if not fact.known_by or circles & set(fact.known_by):
            yield fact


def known(loaded: LoadedScene, state: SceneState, npc: str, number: int) -> tuple[str, ...]:
    """What a character knows when happening `number` occurs, their own facts first.

    A fact that becomes known with an event is known to whoever perceived the event, from then on;
    so what was recalled for an older line stays as it was.
    """
    own = loaded.characters[npc].knows
    learned = (fact.fact for fact in shared(loaded, npc) if is_known(state, npc, fact, number))
    return (*own, *learned)


def is_known(state: SceneState, npc: str, fact: Fact, number: int) -> bool:
    """Whether a fact that is a character's to know is known by happening `number`."""
    if fact.after is None:
        return True
    since = state.witnessed.get((npc, fact.after))
    return since is not None and since < number
