"""Who answers a line: whoever it is addressed to, else whoever is named, attended to, or nearest.

Rules only, no model and no I/O. When nobody answers, it says why.
"""

import re
from dataclasses import dataclass

from npcserver.hearing import distance
from npcserver.state import Body, SceneState

MOST_NAMED = 2
"""At most this many characters answer a line that names them."""


@dataclass(frozen=True)
class Choice:
    """Who answers, in order; if nobody, `silent` is the character to report and `reason` why."""

    npcs: tuple[str, ...]
    silent: str = ""
    reason: str = ""


def choose(
    state: SceneState, player: str, text: str, to: tuple[str, ...], heard_by: frozenset[str]
) -> Choice:
    """Pick who answers `player`'s line, heard by `heard_by`."""
    here = by_distance(state, player)
    hearing = [npc for npc in here if npc.id in heard_by]
    addressed = [npc for npc in here if npc.id in to]
    if to and not addressed:
        return Choice((), here[0].id, "addressed to a player")
    if addressed:
        answering = [npc.id for who in to for npc in hearing if npc.id == who]
        if not answering:
            return Choice((), addressed[0].id, "out of earshot")
        return Choice(tuple(dict.fromkeys(answering)))
    if not hearing:
        return Choice((), here[0].id, "nobody is in earshot")
    if named := _named(state, text, hearing):
        return Choice(tuple(named[:MOST_NAMED]))
    attended = state.attention.get(player)
    if attended in {npc.id for npc in hearing}:
        return Choice((str(attended),))
    return Choice((hearing[0].id,))


def by_distance(state: SceneState, player: str) -> list[Body]:
    """The characters, those in the player's place first, then the nearest."""
    body = state.bodies[player]
    return sorted(
        state.npcs,
        key=lambda npc: (npc.place != body.place, distance(npc.position, body.position)),
    )


def _named(state: SceneState, text: str, hearing: list[Body]) -> list[str]:
    """The characters named in a line, in the order of their naming."""
    found = []
    for npc in hearing:
        character = state.loaded.characters[npc.id]
        first = character.name.split()[0]
        for name in (character.name, first, *character.aliases):
            # \b means nothing between Chinese characters, so only Latin names get it.
            edge = r"\b" if name.isascii() else ""
            if match := re.search(edge + re.escape(name) + edge, text, re.IGNORECASE):
                found.append((match.start(), npc.id))
                break
    return [npc_id for _, npc_id in sorted(found)]
