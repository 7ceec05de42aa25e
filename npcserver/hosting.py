"""What a game's own server may do to a scene: save it, go back, and hold everybody's tongue.

Whose message it is decides; knows the scene only as far as it needs it.
"""

from dataclasses import dataclass
from typing import Protocol

from npcserver.errors import Rejected
from npcserver.floor import Floor
from npcserver.journal import Fact
from npcserver.protocol import SceneChanged, SceneLock, SceneRestore, SceneSave, SceneUnlock
from npcserver.state import SceneState

MOST_SAVES = 100


@dataclass(frozen=True)
class Sender:
    """Whose message it is.

    Args:
        host: may speak for the world (`scene.event`) and stop anybody's turn.
    """

    player: str
    session_id: str
    host: bool = False


class Hosted(Protocol):
    """The scene, as far as its host needs it."""

    state: SceneState
    floor: Floor

    async def record(
        self,
        fact: Fact,
        audience: frozenset[str],
        sender: Sender | None = None,
        message_id: str | None = None,
    ) -> None:
        """Journal a fact, take it into the state, and show it."""

    def tell_all(self) -> None:
        """Show everybody the scene anew."""


def lock_changed(before: str, now: str, fact: Fact) -> SceneChanged | None:
    """What clients are told where a lock came or went with something else: a restore, a leave.

    Args:
        before, now: who locked the scene, before a fact and since; empty: nobody.
    """
    if before == now or (isinstance(fact, SceneChanged) and fact.what in ("locked", "unlocked")):
        return None
    return SceneChanged(what="locked" if now else "unlocked", name=now or before)


async def obey(
    scene: Hosted, sender: Sender, asked: SceneSave | SceneRestore | SceneLock | SceneUnlock
) -> None:
    """Do what the host asks, as the scene's writer.

    Raises:
        Rejected: the sender is no host, there is no such save, or there are too many.
    """
    if not sender.host:
        what = asked.type.removeprefix("scene.")
        raise Rejected(f"only a token of role host may {what} the scene", "not_allowed")
    everyone, saves = frozenset(scene.state.bodies), scene.state.saves
    match asked:
        case SceneSave(save_id=name):
            if name not in saves and len(saves) >= MOST_SAVES:
                raise Rejected(f"there are {MOST_SAVES} saves; save over one", "too_many_saves")
            changed = SceneChanged(what="saved", name=name)
        case SceneRestore(save_id=name):
            if name not in saves:
                told = f"there is no save {name!r}; there are {', '.join(saves)}"
                raise Rejected(told, "unknown_id")
            await scene.floor.stop_all("the scene went back to a save")
            changed = SceneChanged(what="restored", name=name)
        case SceneLock():
            await scene.floor.stop_all("the game plays a scripted scene")
            changed = SceneChanged(what="locked", name=sender.player)
        case SceneUnlock():
            changed = SceneChanged(what="unlocked", name=sender.player)
    await scene.record(changed, everyone, sender, asked.id)
    if isinstance(asked, SceneRestore):
        scene.tell_all()
