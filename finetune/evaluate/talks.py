"""Talking with a character: lines said one after the other in a new instance, and the answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetune.evaluate.controls import shuffled
from finetune.evaluate.outcomes import Line, noted
from finetune.evaluate.subject import Subject
from npcserver import slips
from npcserver.errors import EngineError, Rejected
from npcserver.library import LoadedScene
from npcserver.rehearsal import Heard, turns
from npcserver.sheets import Direction

PLAYER = "kit"
NAME = "Kit"
NOTHING = Heard(npc="", status="silent", text="", reason="somebody else answered")


@dataclass(frozen=True)
class Said:
    """A line, and the answer to it."""

    line: str
    heard: Heard


async def talk(
    subject: Subject, loaded: LoadedScene, npc: str, lines: Sequence[str], name: str = NAME
) -> list[Said]:
    """Say lines to a character, each when the last one is answered.

    A line that the server refuses is answered by nothing.

    Raises:
        EngineError: an answer failed; what was said until then is worth nothing.
    """
    played = _asked_only(shuffled(loaded) if subject.shuffled else loaded)
    place = next(member.place for member in loaded.scene.cast if member.character == npc)
    said = []
    async with subject.stage.open(played) as rehearsal:
        await rehearsal.join(PLAYER, name)
        await rehearsal.send(PLAYER, "player.move", place=place)
        await rehearsal.settle()  # on a server they may be greeted
        for line in lines:
            before = len(rehearsal.heard(PLAYER))
            try:
                await rehearsal.send(PLAYER, "player.say", text=line, to=[npc])
                await rehearsal.settle()
            except Rejected as error:
                said.append(Said(line, Heard(npc, "refused", "", error.message)))
                continue
            answers = [each for each in turns(rehearsal.heard(PLAYER)[before:]) if each.npc == npc]
            heard = answers[0] if answers else NOTHING
            if heard.status == "failed":
                raise EngineError(f"{npc} did not answer: {heard.reason}")
            said.append(Said(line, heard))
    return said


def _asked_only(loaded: LoadedScene) -> LoadedScene:
    """A scene where nobody speaks unasked: what is measured are answers."""
    return replace(loaded, scene=loaded.scene.model_copy(update={"director": Direction()}))


def transcript(
    loaded: LoadedScene, npc: str, said: Sequence[Said], signs: Sequence[list[str]] = ()
) -> list[Line]:
    """A talk as lines. Args: signs: what is wrong with each answer."""
    name, lines = loaded.characters[npc].name, []
    for at, each in enumerate(said):
        lines.append(Line(who=NAME, text=each.line))
        told = each.heard.text or f"[{each.heard.status}: {each.heard.reason}]"
        wrong = signs[at] if at < len(signs) else []
        lines.append(Line(who=name, text=told, note=noted(each.heard), signs=wrong))
    return lines


def out_of_character(loaded: LoadedScene, npc: str, text: str) -> list[str]:
    """Everything in which words fall out of the character who says them."""
    others = [sheet.name for other, sheet in loaded.characters.items() if other != npc]
    found = {
        "speaks as a model": slips.as_a_model(text),
        "refuses like an assistant": slips.refused(text),
        "shows a mark": slips.marks(text),
        "speaks for": slips.speaks_for(text, [*others, NAME]),
    }
    return [f"{what}: {sign}" for what, sign in found.items() if sign]
