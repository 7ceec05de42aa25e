"""Who answers a line, who goes on after another's, and who speaks of their own accord.

Rules only, no model and no I/O: where several might answer, `open` names them, and the floor may
ask the model. When nobody answers, it says why. Chances are drawn from the journal's position and
a seed, so the same play always goes the same way.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from npcserver import relevance
from npcserver.happening import Body, Happening
from npcserver.hearing import distance, listeners
from npcserver.library import LoadedScene
from npcserver.pace import OWN_ACCORD
from npcserver.protocol import Because
from npcserver.state import SceneState

MOST_NAMED = 2
"""At most this many characters answer a line that names them."""
FARNESS = 0.5
"""What standing at the end of earshot takes off a character's interest, which is 0 to 1."""
MOST_UNANSWERED = 3
"""Silences that characters break before a player does something again."""
TALKED_OF = 8
"""So many happenings back, `she` still means whoever was named then."""
LOCKED = "the game plays a scripted scene"
ARTICLES = {"a", "an", "the"}
ADJECTIVES = frozenset(
    """bad big black blind blue brave brown cold dark dead dear fair fat fine first golden good gray
    great green grey happy holy kind last little lone long lost mad new nice old poor quiet red
    silent silver small sweet tall thin white wild wise young""".split()
)
_BOTH = re.compile(
    r"\b(?:you two|you both|both of you|the two of you)\b|你们(?:俩|两|二)|(?:二|两)位",
    re.IGNORECASE,
)
_ANYONE = re.compile(
    r"^\W*(?:(?:can|could|does|has|is|will|would) )?(?:everybody|everyone|anybody|anyone)\b"
    r"|\b(?:all of you|you all)\b|, (?:everybody|everyone|all)\W*$|^(?:大家|各位|诸位|有人)|你们都",
    re.IGNORECASE,
)
_THIRD = re.compile(
    r"\b(?:and|about|let|ask|does|did|can|will|would) (?:she|he|her|him)\b"
    r"|[她他](?:呢|怎么|愿|肯|会|说|想|觉得)|[让问][她他]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Choice:
    """Who answers, in order; if nobody, `silent` is the character to report and `reason` why.

    Args:
        because: why it is they, also where they only stay silent.
        open: all who might answer as well, the likeliest first.
    """

    npcs: tuple[str, ...]
    silent: str = ""
    reason: str = ""
    because: Because = "addressed"
    open: tuple[str, ...] = ()


def choose(
    state: SceneState,
    player: str,
    text: str,
    to: tuple[str, ...],
    heard_by: frozenset[str],
    looking_at: str | None = None,
    seed: int = 0,
) -> Choice:
    """Pick who answers `player`'s line, heard by `heard_by`."""
    here = by_distance(state, player)
    if state.pace.locked_by:
        return _nobody(here[0], LOCKED)
    hearing = [npc for npc in here if npc.id in heard_by]
    addressed = [npc for npc in here if npc.id in to]
    if to and not addressed:
        return _nobody(here[0], "addressed to a player")
    if addressed:
        answering = [npc.id for who in to for npc in hearing if npc.id == who]
        if not answering:
            return Choice((), addressed[0].id, "out of earshot")
        return Choice(tuple(dict.fromkeys(answering)))
    if not hearing:
        return _nobody(here[0], "nobody is in earshot")
    ids = [npc.id for npc in hearing]
    named = _named(state, text, ids)
    if looking_at not in (None, player) and not (named and _called(state, text, named[0])):
        if looking_at in ids:
            return Choice((looking_at,), because="gaze")
        if looking_at in state.bodies and looking_at not in state.loaded.characters:
            return _nobody(here[0], "said to a player who was looked at")
    if named:
        return Choice(tuple(named[:MOST_NAMED]), because="named")
    attended = state.attention.get(player)
    if meant := _meant(state, player, text, ids, attended):
        return Choice(meant, because="pronoun")
    if attended in ids and not _ANYONE.search(text):
        return Choice((str(attended),), because="attention")
    return _anyone(state, player, text, hearing, seed)


def about(state: SceneState, npc: str, because: Because) -> Choice:
    """Let a character answer what was done to them, or what came of what they did."""
    if state.pace.locked_by:
        return Choice((), npc, LOCKED, because)
    return Choice((npc,), because=because)


def whispered_to(state: SceneState, player: str) -> str | None:
    """A whisper to nobody in particular is meant for whom one talks with, else the nearest."""
    near = listeners(state, player, "talk", ())
    npcs = [npc.id for npc in by_distance(state, player) if npc.id in near]
    attended = state.attention.get(player)
    return attended if attended in npcs else next(iter(npcs), None)


def reply(state: SceneState, said: Happening, depth: int, seed: int) -> Choice | None:
    """Who of the other characters goes on after a character's line; most often nobody.

    Args:
        depth: lines that characters said to each other before this one.
    """
    direction, players = state.loaded.scene.director, {body.id for body in state.players}
    if state.pace.locked_by or depth >= direction.exchanges or not players & said.heard_by:
        return None
    others = [npc.id for npc in by_distance(state, said.speaker) if npc.id in said.heard_by]
    if named := _named(state, said.text, others):
        return Choice((named[0],), because="exchange")
    for npc in others:
        sheet = state.loaded.characters[npc]
        partner = npc in said.to
        # Who is spoken to may answer; a bystander breaks in only on what is mostly their concern.
        concern = 1.0 if partner else max(0.0, 2 * interest(state.loaded, npc, said.text) - 1)
        chance = sheet.talkativeness * concern
        rests = state.pace.rests(npc, said.at_ms, direction.cooldown_s) and not partner
        if not rests and draw(state, seed, "reply", npc) < chance:
            return Choice((npc,), because="exchange")
    return None


def unprompted(
    state: SceneState, because: Because, seen_by: Iterable[str], words: str, now_ms: int, seed: int
) -> str | None:
    """Who says something of their own accord; most often nobody.

    Args:
        because: what gives occasion, one of OWN_ACCORD.
        seen_by: who perceives it, and
        words: what that is, in words.
        now_ms: Unix milliseconds.
    """
    assert because in OWN_ACCORD
    direction, pace = state.loaded.scene.director, state.pace
    if pace.locked_by or len(pace.recent(now_ms)) >= direction.own_lines:
        return None
    if because == "silence" and pace.unanswered >= MOST_UNANSWERED:
        return None
    seen, players = set(seen_by), {body.id for body in state.players}
    able = [
        npc.id
        for npc in state.npcs
        if npc.id in seen
        and players & listeners(state, npc.id, "talk", ())
        and not pace.rests(npc.id, now_ms, direction.cooldown_s)
    ]
    # Whoever cares most, then whoever has been silent longest: so everybody gets their turn.
    sheets = state.loaded.characters
    able.sort(
        key=lambda npc: (
            because == "arrival" and not sheets[npc].greets,
            -interest(state.loaded, npc, words),
            pace.spoke.get(npc, -1),
        )
    )
    willing = (npc for npc in able if _would(state, npc, words, seed))
    return next(willing, None)


def interest(loaded: LoadedScene, npc: str, text: str) -> float:
    """How much of what anybody in the cast has to do with in a text is this character's, 0 to 1."""
    wanted = relevance.meaning(text)
    known = wanted & loaded.anybodys_concern
    return len(wanted & loaded.concerns[npc]) / len(known) if known else 0.0


def draw(state: SceneState, seed: int, *what: str) -> float:
    """A number from 0 up to 1 that hangs on nothing but the journal's position and the seed."""
    where = f"{seed}/{state.loaded.id}/{state.number}/{state.turns}/{'/'.join(what)}"
    return int.from_bytes(hashlib.sha256(where.encode()).digest()[:8]) / 2**64


def by_distance(state: SceneState, who: str) -> list[Body]:
    """The other characters, those in the same place first, then the nearest."""
    body = state.bodies[who]
    return sorted(
        (npc for npc in state.npcs if npc.id != who),
        key=lambda npc: (npc.place != body.place, distance(npc.position, body.position)),
    )


def _nobody(nearest: Body, reason: str) -> Choice:
    return Choice((), nearest.id, reason, "nearest")


def _anyone(state: SceneState, player: str, text: str, hearing: list[Body], seed: int) -> Choice:
    """A line for nobody in particular: whoever it concerns, and is near, if they care to answer."""
    body, places = state.bodies[player], state.loaded.scene.places

    def pull(npc: Body) -> float:
        far = distance(npc.position, body.position) / places[body.place].earshot
        return interest(state.loaded, npc.id, text) - FARNESS * far

    ranked = sorted(hearing, key=pull, reverse=True)
    willing = [npc.id for npc in ranked if _would(state, npc.id, text, seed)]
    if not willing:
        return _nobody(hearing[0], "nobody felt spoken to")
    because: Because = "nearest" if willing[0] == hearing[0].id else "interest"
    return Choice((willing[0],), because=because, open=tuple(willing) if willing[1:] else ())


def _would(state: SceneState, npc: str, text: str, seed: int) -> bool:
    """Whether a character cares to speak about something that was not put to them."""
    talkative = state.loaded.characters[npc].talkativeness
    chance = talkative + (1 - talkative) * interest(state.loaded, npc, text)
    return draw(state, seed, "speak", npc) < chance


def _meant(
    state: SceneState, player: str, text: str, ids: Sequence[str], attended: str | None
) -> tuple[str, ...]:
    """Whom pronouns mean: `you two`, or `she` for whoever was talked of last."""
    if _BOTH.search(text) and len(ids) > 1:
        talking = _last_speakers(state, player, ids)
        return tuple(dict.fromkeys([*talking, *ids]))[:MOST_NAMED]
    if _THIRD.search(text):
        for past in list(reversed(state.happenings))[:TALKED_OF]:
            if past.spoken and player in past.heard_by:
                others = [npc for npc in ids if npc not in (past.speaker, attended)]
                if named := _named(state, past.text, others):
                    return (named[-1],)
    return ()


def _last_speakers(state: SceneState, player: str, ids: Sequence[str]) -> Iterable[str]:
    """Those of some characters whom a player heard lately, the last one first."""
    past = reversed(state.happenings)
    return (each.speaker for each in past if each.speaker in ids and player in each.heard_by)


def _names(state: SceneState, npc: str) -> Iterable[str]:
    """What a character is called, as patterns."""
    character = state.loaded.characters[npc]
    first = character.name.split()[0]
    yield _word(character.name)
    if first == character.name or first.lower() in ARTICLES:
        pass
    elif _everyday(first):
        yield f"(?-i:{_word(first)})"  # `Old` may be Old Marta; `old` is not
    else:
        yield _word(first)
    yield from map(_word, character.aliases)


def _word(name: str) -> str:
    # \b means nothing between Chinese characters, so only Latin names get it.
    edge = r"\b" if name.isascii() else ""
    return edge + re.escape(name) + edge


def _everyday(word: str) -> bool:
    """Whether a word that begins a name stands in many a line that names nobody."""
    return word.lower() in ADJECTIVES or (word.isascii() and not relevance.meaning(word))


def _named(state: SceneState, text: str, ids: Sequence[str]) -> list[str]:
    """The characters named in a line, in the order of their naming."""
    found = []
    for npc in ids:
        matches = (re.search(name, text, re.IGNORECASE) for name in _names(state, npc))
        if match := next(filter(None, matches), None):
            found.append((match.start(), npc))
    return [npc for _, npc in sorted(found)]


def _called(state: SceneState, text: str, npc: str) -> bool:
    """Whether a line calls a character, not only speaks of them: `Bo, come here.`"""
    first, last = r"^\W*(?:hey |you, )?{}\s*[,，!！:：?？]", r"[,，]\s*{}\W*$"
    names = "|".join(_names(state, npc))
    return any(
        re.search(where.format(f"(?:{names})"), text, re.IGNORECASE) for where in (first, last)
    )
