"""What of the past may stand in a prompt, judged by who will hear its answer.

What was whispered stands only where nobody hears the answer but those who heard the whisper. Knows
no prompts and no engines, and does no I/O.
"""

from collections.abc import Callable
from functools import cache

from npcserver import hearing
from npcserver.happening import Happening
from npcserver.memory import Memory
from npcserver.state import SceneState

Past = Happening | Memory
MayShow = Callable[[Past], bool]


def hearers(state: SceneState, npc: str, asked: Happening | None) -> frozenset[str]:
    """Whoever is answered and the players who would hear it, if a line were answered now.

    Where nobody in particular is answered, nobody in particular is among them, who heard nothing.
    """
    asker, volume = (asked.speaker, asked.volume) if asked else ("", "talk")
    volume = hearing.answer_volume(state, npc, asker, volume)
    heard_by = hearing.listeners(state, npc, volume, (asker,))
    return (heard_by - state.loaded.characters.keys()) | {asker}


def towards(state: SceneState, npc: str, asked: Happening | None) -> MayShow:
    """Tells what may be shown in the prompt with which a character answers a line."""
    heard_by = cache(lambda: hearers(state, npc, asked))

    def may_show(past: Past) -> bool:
        return past.volume != "whisper" or heard_by() <= past.heard_by

    return may_show
