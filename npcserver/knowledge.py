"""Who may know what, and since when: the facts that a character's prompts may hold.

What a character may not know is not here for them, so it cannot come out. Knows no prompts and no
engines, and does no I/O.
"""

from collections.abc import Iterator

from npcserver.library import LoadedScene
from npcserver.plot import When
from npcserver.sheets import Character, Fact
from npcserver.state import SceneState
from npcserver.story import Situation


def situation(state: SceneState, npc: str, number: int, player: str = "") -> Situation:
    """A character's situation when `player` says or does happening `number`."""
    body = state.bodies.get(player)
    return Situation(npc, player, body.place if body else "", number)


def unmet(state: SceneState, when: When | None, at: Situation) -> str | None:
    """What keeps a condition from holding, in words; None where it holds."""
    return state.story.unmet(when, at, state.witnessed)


def shared(loaded: LoadedScene, npc: str) -> Iterator[Fact]:
    """The scene's facts that are a character's to know, now or later."""
    places = {member.place for member in loaded.scene.cast if member.character == npc}
    circles = {npc, *loaded.characters[npc].factions, *places}
    for fact in loaded.scene.facts:
        if not fact.known_by or circles & set(fact.known_by):
            yield fact


def known(
    loaded: LoadedScene, state: SceneState, npc: str, number: int, player: str = ""
) -> tuple[str, ...]:
    """What a character may tell `player` when happening `number` occurs, their own facts first.

    A fact that becomes known with an event is known to whoever perceived the event, from then on;
    so what was recalled for an older line stays as it was.
    """
    sheet, at = loaded.characters[npc], situation(state, npc, number, player)
    learned = (
        fact.fact
        for fact in shared(loaded, npc)
        if is_known(state, npc, fact, number) and unmet(state, fact.when, at) is None
    )
    unlocked = (
        secret.fact
        for secret in sheet.hides
        if not isinstance(secret, str) and unmet(state, secret.when, at) is None
    )
    return (*sheet.knows, *learned, *unlocked)


def is_known(state: SceneState, npc: str, fact: Fact, number: int) -> bool:
    """Whether a fact that is a character's to know is known by happening `number`."""
    if fact.after is None:
        return True
    since = state.witnessed.get((npc, fact.after))
    return since is not None and since < number


def withheld(
    loaded: LoadedScene, state: SceneState, npc: str, number: int, player: str = ""
) -> Iterator[tuple[str, str]]:
    """What a character may not tell `player` then, each with the reason."""
    at = situation(state, npc, number, player)
    for secret in loaded.characters[npc].hides:
        if isinstance(secret, str):
            yield secret, "hidden"
        elif why := unmet(state, secret.when, at):
            yield secret.fact, f"hidden: {why}"
    theirs = list(shared(loaded, npc))
    for fact in loaded.scene.facts:
        if fact not in theirs:
            yield fact.fact, f"known by {', '.join(fact.known_by)} only"
        elif not is_known(state, npc, fact, number):
            yield fact.fact, f"event {fact.after} has not happened, or they did not perceive it"
        elif why := unmet(state, fact.when, at):
            yield fact.fact, why


def gated(loaded: LoadedScene, npc: str) -> Iterator[tuple[str, When | None]]:
    """What a character tells some only, and when; secrets without a condition are for nobody."""
    for secret in loaded.characters[npc].hides:
        yield (secret, None) if isinstance(secret, str) else (secret.fact, secret.when)
    yield from ((fact.fact, fact.when) for fact in shared(loaded, npc) if fact.when)


def wanted(loaded: LoadedScene, state: SceneState, npc: str, number: int) -> str | None:
    """What a character wants in the beat that opened last of those that say so."""
    wants = [
        (state.story.opened[name], beat.wants[npc])
        for name, beat in loaded.scene.beats.items()
        if npc in beat.wants and state.story.is_open(name, number)
    ]
    return sorted(wants, key=lambda each: each[0])[-1][1] if wants else None


def open_facts(loaded: LoadedScene) -> Iterator[str]:
    """Everything written about a scene that is no secret."""
    scene = loaded.scene
    yield scene.about
    for place in scene.places.values():
        yield f"{place.name}. {place.about}"
    for prop in scene.props.values():
        yield f"{prop.name}. {prop.about or ''}"
    for event in scene.events.values():
        yield event.words
    yield from (fact.fact for fact in scene.facts if not (fact.known_by or fact.after or fact.when))
    for character in loaded.characters.values():
        yield from open_sheet(character)


def open_sheet(character: Character) -> Iterator[str]:
    """Everything told on a character's sheet that is no secret; examples are not told but said."""
    yield f"{character.name}, {', '.join(character.aliases)}"
    yield from (character.about, character.voice)
    yield from (*character.wants, *character.knows, *character.brief)
