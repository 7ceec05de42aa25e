"""Whether what a scene's files say of its story fits together: every name is somebody's.

Notes faults in the documents, each with its line. Knows nothing of live scenes.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from npcserver.documents import Document, known
from npcserver.fields import Flag
from npcserver.guard import Guard
from npcserver.plot import Move, When
from npcserver.relations import changes
from npcserver.sheets import Character, Event, Scene

Where = tuple[str | int, ...]


@dataclass(frozen=True)
class _Names:
    """What conditions may name."""

    scene: Scene
    cast: frozenset[str]
    circles: frozenset[str]
    lines: frozenset[str]
    facts: frozenset[str]


def check(
    document: Document, scene: Scene, characters: Mapping[str, tuple[Document, Character]]
) -> None:
    """Note every fault in the story of a scene and its characters."""
    sheets = [sheet for _, sheet in characters.values()]
    lines = Counter(line.id for sheet in sheets for line in sheet.lines)
    facts = Counter(fact.id for fact in scene.facts if fact.id)
    cast = frozenset(member.character for member in scene.cast)
    factions = {faction for sheet in sheets for faction in sheet.factions}
    names = _Names(scene, cast, cast | factions, frozenset(lines), frozenset(facts))
    for key, beat in scene.beats.items():
        for when, part in ((beat.when, "when"), (beat.until, "until")):
            _check_when(document, ("beats", key, part), when, names, of_scene=True)
        for npc in beat.wants:
            known(document, ("beats", key, "wants"), npc, cast, "character")
    for index, fact in enumerate(scene.facts):
        _check_when(document, ("facts", index, "when"), fact.when, names)
        if fact.id and facts[fact.id] > 1:
            document.fault(("facts", index, "id"), "is another fact's too; choose another")
    for key, action in scene.actions.items():
        _check_when(document, ("actions", key, "requires"), action.requires, names)
    for key, event in scene.events.items():
        _check_sets(document, ("events", key, "sets"), event, scene)
    for index, move in enumerate(scene.moves):
        _check_move(document, ("moves", index), move, names)
    for each, sheet in characters.values():
        _check_sheet(each, sheet, names, lines)


def _check_sheet(
    document: Document, sheet: Character, names: _Names, lines: Mapping[str, int]
) -> None:
    for index, secret in enumerate(sheet.hides):
        if not isinstance(secret, str):
            _check_when(document, ("hides", index, "when"), secret.when, names)
    for index, line in enumerate(sheet.lines):
        where = ("lines", index)
        _check_when(document, (*where, "when"), line.when, names)
        if lines[line.id] > 1:
            document.fault((*where, "id"), "is another line's too; choose another")
        if line.emotion is not None:
            known(document, (*where, "emotion"), line.emotion, names.scene.emotions, "emotion")
        if line.action is None and (line.target is not None or line.args):
            document.fault((*where, "action"), "is missing; a target or args belong to an action")
        if not line.asked and line.when is None:
            document.fault((*where, "asked"), "is missing; say what asks for it, or write a `when`")
        if Guard([]).feed(line.says + "\n") != line.says:
            advice = "would not be said whole; one line, without < and without ( ) or * around it"
            document.fault((*where, "says"), advice)


def _check_when(
    document: Document,
    where: Where,
    when: When | None,
    names: _Names,
    *,
    of_scene: bool = False,
) -> None:
    """Check a condition. Args: of_scene: it is asked of no character in particular."""
    if when is None:
        return
    if not when.model_fields_set - {"who"}:
        document.fault(where, "asks for nothing; write a condition, or remove it")
    scene = names.scene
    for key, value, among, kind in (
        ("beat", when.beat, scene.beats, "beat"),
        ("before", when.before, scene.beats, "beat"),
        ("past", when.past, scene.beats, "beat"),
        ("after", when.after, scene.events, "event"),
        ("said", when.said, names.lines, "line"),
        ("told", when.told, names.facts, "fact with the id"),
        ("place", when.place, scene.places, "place"),
        ("who", when.who, names.cast, "character"),
    ):
        if value is not None:
            known(document, (*where, key), value, among, kind)
    for flag, wanted in when.flags.items():
        _check_flag(document, (*where, "flags", flag), flag, wanted, scene)
    if of_scene and (when.trust or when.familiarity or when.debt) and when.who is None:
        document.fault((*where, "who"), "is missing; say whose trust, familiarity or debt is meant")


def _check_flag(document: Document, where: Where, flag: str, value: Flag, scene: Scene) -> None:
    known(document, where, flag, scene.flags, "flag")
    if flag in scene.flags and type(value) is not (kind := type(scene.flags[flag])):
        document.fault(where, f"flag {flag} is declared as a {kind.__name__}; write one")


def _check_sets(document: Document, where: Where, event: Event, scene: Scene) -> None:
    for flag, value in event.sets.items():
        if isinstance(value, str) and value.startswith("{"):
            known(document, (*where, flag), value.strip("{}"), event.args, "argument")
            known(document, (*where, flag), flag, scene.flags, "flag")
        else:
            _check_flag(document, (*where, flag), flag, value, scene)


def _check_move(document: Document, where: Where, move: Move, names: _Names) -> None:
    causes = [name for name in ("talk", "deed", "event", "action") if getattr(move, name)]
    if len(causes) != 1:
        document.fault(where, f"has one of talk, deed, event, action; here are {len(causes)}")
    if not any(changes(move).values()):
        document.fault(where, "moves nothing; give trust, familiarity or debt")
    scene = names.scene
    if move.event is not None:
        known(document, (*where, "event"), move.event, scene.events, "event")
    if move.player is not None:
        event = scene.events.get(move.event or "")
        known(document, (*where, "player"), move.player, event.args if event else {}, "argument")
    if move.action is not None:
        mine = {key for key, action in scene.actions.items() if action.target == "player"}
        known(document, (*where, "action"), move.action, mine, "action done to a player")
    for name in move.of:
        known(document, (*where, "of"), name, names.circles, "character or faction")
