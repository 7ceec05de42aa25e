"""Takes a player out of a live scene and its journal, while nothing else happens in it.

Knows the journal's file; the rules of what goes are in erasing.py.
"""

import asyncio

from npcserver import erasing, recall, relevance
from npcserver.journal import Store
from npcserver.scene import LiveScene
from npcserver.state import SceneState
from npcserver.views import snapshot


async def erase(scene: LiveScene, store: Store, player: str) -> int:
    """Erase a player, and stand where the journal ends then; how many entries changed.

    Raises:
        JournalError: it could not be rewritten.
    """
    await scene.leave(player)

    def rewrite() -> tuple[SceneState, int]:
        where = (scene.loaded.id, scene.instance)
        entries = store.entries(*where)
        new = erasing.without(scene.loaded, entries, store.speech(*where), player)
        store.replace(*where, new.entries, new.speech)
        state = SceneState(scene.loaded)
        for entry in erasing.applied(entries, new.entries):
            state.apply(entry)
        state.memories.prepare()
        return state, len(new.entries)

    async def handler() -> int:
        await scene.floor.stop_all("the scene's past is being rewritten")
        scene.state, changed = await asyncio.to_thread(rewrite)
        scene.floor.forget_past()
        recall.terms.cache_clear()
        relevance.terms.cache_clear()
        for body in scene.state.players:
            scene.show(snapshot(scene.state, body.id), [body.id])
        return changed

    return await scene.call(handler)
