"""Who speaks next, where several might: the model's own guess, as a typed decision.

Asked of a neutral prompt that shows what everybody knows: the scene, who is there, and the line.
Knows no turns, and does no I/O but to ask the engine it is given.
"""

from collections.abc import Sequence

from npcserver.engines.base import Engine, Message, Prompt
from npcserver.happening import Happening
from npcserver.prompt import WORDING
from npcserver.state import SceneState


def prompt(state: SceneState, line: Happening, npcs: Sequence[str]) -> Prompt:
    """A transcript up to the name of whoever speaks next."""
    loaded, wording = state.loaded, WORDING[state.loaded.scene.language]
    sheets = [loaded.characters[npc] for npc in npcs]
    about = "\n".join([loaded.scene.about, *(f"{each.name}: {each.about}" for each in sheets)])
    said = f"{line.name}{wording.colon}{wording.space}{line.text}"
    return Prompt((Message("system", about), Message("user", said)), scene=loaded.id)


async def cast(
    engine: Engine, state: SceneState, asked: Prompt, npcs: Sequence[str]
) -> dict[str, float]:
    """The probability of each character to be the next who speaks.

    Args:
        asked: the prompt for a line.

    Raises:
        EngineError: the engine could not decide.
    """
    names = [state.loaded.characters[npc].name for npc in npcs]
    decision = await engine.decide(asked, names)
    return dict(zip(npcs, decision.probabilities, strict=True))
