"""How surprised the model is by what a character said, piece by piece.

Asked anew of the engine that is served now, like the prompt is built anew: nothing of it is stored.
"""

import asyncio
import math

from npcserver.engines.base import Engine, Message, Prompt, score
from npcserver.errors import EngineError
from npcserver.explaining import Explanation, Said
from npcserver.library import LoadedScene
from npcserver.prompt import PromptBuilder

SECONDS = 20.0
"""How long an explanation waits for it."""


async def surprise(engine: Engine, loaded: LoadedScene, told: Explanation) -> list[Said] | None:
    """The pieces of what was said, and how likely each was after all before it.

    None where the words are not the model's, or the engine cannot tell.
    """
    builder = PromptBuilder(loaded, told.npc, 0)
    if not _improvised(told, builder) or not engine.status().ready:
        return None
    blocks = tuple(Message(block.role, block.text) for block in told.prompt)
    prompt = Prompt(blocks, told.opening, loaded.id, told.npc)
    try:
        async with asyncio.timeout(SECONDS):
            scores = await score(engine, prompt, builder.said(told.text))
    except (EngineError, TimeoutError):
        return None
    return _said(scores, told.text) if scores else None


def _improvised(told: Explanation, builder: PromptBuilder) -> bool:
    """The words are the model's own; a given line comes without a feeling decided."""
    of_a_writer = told.authored is not None or told.text in builder.character.brief
    return bool(told.text and told.prompt and told.emotions) and not of_a_writer


def _said(scores: list[tuple[str, float]], text: str) -> list[Said] | None:
    """The pieces without the space before the first; None if they are not the text."""
    pieces = [Said(text=piece, probability=min(1.0, math.exp(log))) for piece, log in scores]
    pieces[0].text = pieces[0].text.removeprefix(" ")
    return pieces if "".join(piece.text for piece in pieces) == text else None
