"""Who hears whom: places with earshot, and three volumes of voice.

A whisper reaches those it is meant for, in the same place and within earshot. Talk reaches whoever
is in the same place within its earshot; a shout carries four times as far, into other places too.
"""

import math

from npcserver.happening import Body
from npcserver.protocol import Position, Volume
from npcserver.sheets import Place
from npcserver.state import SceneState

SHOUT = 4.0
"""How many times farther a shout carries than talk."""


def distance(a: Position, b: Position) -> float:
    """Metres between two positions."""
    return math.dist(a, b)


def hears(speaker: Body, listener: Body, place: Place, volume: Volume, to: tuple[str, ...]) -> bool:
    """Whether `listener` hears what `speaker` says in `place`."""
    apart = distance(speaker.position, listener.position)
    if volume == "shout":
        return apart <= SHOUT * place.earshot
    near = speaker.place == listener.place and apart <= place.earshot
    return near and (volume == "talk" or listener.id in to)


def listeners(
    state: SceneState, speaker: str, volume: Volume, to: tuple[str, ...]
) -> frozenset[str]:
    """The ids of all who hear the speaker, the speaker included."""
    body = state.bodies[speaker]
    place = state.loaded.scene.places[body.place]
    heard = {other.id for other in state.bodies.values() if hears(body, other, place, volume, to)}
    return frozenset(heard | {speaker})


def answer_volume(state: SceneState, npc: str, asker: str, volume: Volume) -> Volume:
    """A whisper is answered by a whisper; whoever is out of talking range is shouted to.

    Args:
        asker: whoever is answered, empty where nobody asked; `volume` is how they asked.
    """
    if volume == "whisper":
        return "whisper"
    return "talk" if not asker or asker in listeners(state, npc, "talk", ()) else "shout"


def witnesses(state: SceneState, place: str) -> frozenset[str]:
    """The ids of all who are in a place and see what happens there."""
    return frozenset(body.id for body in state.bodies.values() if body.place == place)


def place_at(state: SceneState, position: Position) -> str:
    """The place a position belongs to: the one it lies in, else the nearest."""

    def outside(place: Place) -> float:
        x = max(abs(position[0] - place.position[0]) - place.size[0] / 2, 0)
        z = max(abs(position[2] - place.position[2]) - place.size[1] / 2, 0)
        return math.hypot(x, z)

    places = state.loaded.scene.places
    return min(
        places, key=lambda name: (outside(places[name]), distance(position, places[name].position))
    )
