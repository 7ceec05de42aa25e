"""What a client is shown of a scene: the state as wire messages, per player.

What a player did not hear is not in their view.
"""

from npcserver.happening import Body
from npcserver.protocol import (
    NpcView,
    PersonView,
    PlaceView,
    PropView,
    SaidView,
    SceneSnapshot,
)
from npcserver.state import SceneState

RECENT = 50
"""Lines of the past that a snapshot holds."""


def snapshot(state: SceneState, player: str) -> SceneSnapshot:
    """The scene as `player` perceives it."""
    scene = state.loaded.scene
    return SceneSnapshot(
        scene=state.loaded.id,
        name=scene.name,
        language=scene.language,
        places=[
            PlaceView(id=key, name=p.name, position=p.position, size=p.size, earshot=p.earshot)
            for key, p in scene.places.items()
        ],
        npcs=[npc_view(state, npc) for npc in state.npcs],
        players=[person_view(body) for body in state.players],
        props=[
            PropView(
                id=key,
                name=prop.name,
                place=prop.place,
                position=prop.position or scene.places[prop.place].position,
            )
            for key, prop in scene.props.items()
        ],
        emotions={key: emotion.face for key, emotion in scene.emotions.items()},
        actions=list(scene.actions),
        recent=recent(state, player),
        locked=state.pace.locked_by or None,
    )


def npc_view(state: SceneState, npc: Body) -> NpcView:
    """A character where they stand."""
    return NpcView(
        id=npc.id,
        name=npc.name,
        place=npc.place,
        position=npc.position,
        emotion=npc.emotion,
        face=state.loaded.scene.emotions[npc.emotion].face,
        glyph=state.loaded.characters[npc.id].glyph,
    )


def person_view(body: Body) -> PersonView:
    """A player where they stand."""
    return PersonView(
        id=body.id, name=body.name, about=body.about, place=body.place, position=body.position
    )


def recent(state: SceneState, player: str) -> list[SaidView]:
    """The last lines that `player` heard."""
    heard = [
        past
        for past in state.happenings
        if past.spoken and player in past.heard_by and past.heard_as(player)
    ]
    return [
        SaidView(
            speaker=past.speaker,
            name=past.name,
            text=past.heard_as(player),
            to=list(past.to),
            volume=past.volume,
            turn_id=past.turn_id,
            status=past.status,
            at_ms=past.at_ms,
        )
        for past in heard[-RECENT:]
    ]
