"""What of the past may stand in a prompt, judged by who will hear its answer.

What was whispered stands only where nobody hears the answer but those who heard the whisper. What a
character told some only, a secret or a fact that waits for a condition, stands where everybody who
hears the answer heard it too, or may be told it now. What players say aloud is theirs to tell.
Knows no prompts and no engines, and does no I/O.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

from npcserver import hearing, knowledge, relevance, slips
from npcserver.happening import Happening
from npcserver.library import LoadedScene
from npcserver.memory import Memory
from npcserver.plot import When
from npcserver.state import SceneState
from npcserver.unfolding import TOLD

Past = Happening | Memory
MayShow = Callable[[Past], bool]


@dataclass(frozen=True)
class Gated:
    """Something that a character tells some only.

    Args:
        when: where the character may tell it; nowhere without.
        only: the terms that nothing public holds.
    """

    npc: str
    fact: str
    when: When | None
    only: frozenset[str]

    def is_told(self, text: str) -> bool:
        """Whether a text tells it: by terms of its own, or by so many that the story goes on."""
        whole = relevance.meaning(self.fact)
        shared = len(whole & relevance.terms(text))
        return slips.is_told(self.only, text) or 0 < TOLD * len(whole) <= shared


class Discretion:
    """What one character may show of the past, to whom."""

    def __init__(self, loaded: LoadedScene, npc: str) -> None:
        self._loaded = loaded
        self._npc = npc
        self._gated = cache(self._find_gated)
        self._told = lru_cache(maxsize=1024)(self._find_told)

    def towards(self, state: SceneState, asked: Happening | None) -> MayShow:
        """Tells what may be shown in the prompt with which the character answers a line."""
        number = asked.number if asked else state.number + 1
        heard_by = cache(lambda: self._hearers(state, asked))

        def may_know(who: str, gated: Gated, past: Past) -> bool:
            if who in past.heard_by and gated in self._told(past.speaker, past.heard_as(who)):
                return True
            at = knowledge.situation(state, gated.npc, number, who)
            return gated.when is not None and not knowledge.unmet(state, gated.when, at)

        def may_show(past: Past) -> bool:
            if past.volume == "whisper" and not heard_by() <= past.heard_by:
                return False
            told = self._told(past.speaker, past.heard_as(self._npc))
            return all(may_know(who, gated, past) for gated in told for who in heard_by())

        return may_show

    def forget_past(self) -> None:
        """Drop what was kept of past lines."""
        self._told.cache_clear()

    def _hearers(self, state: SceneState, asked: Happening | None) -> frozenset[str]:
        """Whoever is answered and the players who would hear it, if a line were answered now.

        Where nobody in particular is answered, nobody is among them, by no name, and knows nothing.
        """
        asker, volume = (asked.speaker, asked.volume) if asked else ("", "talk")
        volume = hearing.answer_volume(state, self._npc, asker, volume)
        heard_by = hearing.listeners(state, self._npc, volume, (asker,))
        return (heard_by - self._loaded.characters.keys()) | {asker}

    def _find_told(self, speaker: str, text: str) -> tuple[Gated, ...]:
        """What a character's line tells of what they, or this one, tell some only."""
        if speaker not in self._loaded.characters:
            return ()
        gated = (each for npc in {speaker, self._npc} for each in self._gated(npc))
        return tuple(each for each in gated if each.is_told(text))

    def _find_gated(self, npc: str) -> tuple[Gated, ...]:
        public = list(knowledge.open_facts(self._loaded))
        return tuple(
            Gated(npc, fact, when, slips.own_terms(fact, public))
            for fact, when in knowledge.gated(self._loaded, npc)
        )
