"""Three players who do in the quay whatever players do, and what must hold of the journal after."""

import asyncio
import random
from collections import Counter

from npcserver.errors import Rejected
from npcserver.journal import Entry, TurnHeardBy
from npcserver.library import LoadedScene
from npcserver.pace import OWN_ACCORD, UNASKED, WINDOW_MS
from npcserver.protocol import PlayerSaid, TurnDone, TurnStarted
from tests.stage import Player, directed

EXCHANGES = 3
OWN_LINES = 6
LIVING = directed(exchanges=EXCHANGES, own_lines=OWN_LINES, silence_s=12, cooldown_s=4)
LINES = [
    *("Hello.", "Ring the bell.", "Give me a herring.", "You are a fool.", "Is it late?"),
    *("Bo, how is the boat?", "Ada and Bo, good day.", "How is the net?", "You two, hello."),
    *("Can anyone mend a net?", "And she?", "What does Cy say?", "Who mends boats?"),
    *("Who rings?", "Who is loud?"),
]


async def play(player: Player, draw: random.Random, others: list[str]) -> None:
    """Do one thing, as players do."""
    ids = draw.randrange(10**9)
    try:
        match draw.random():
            case p if p < 0.5:
                await player.say(draw.choice(LINES), id=f"m{ids}")
            case p if p < 0.65:
                to = [draw.choice(["ada", "bo", "cy", *others])]
                await player.say(draw.choice(LINES), to=to, id=f"m{ids}")
            case p if p < 0.72:
                volume = draw.choice(["whisper", "shout"])
                await player.say(draw.choice(LINES), volume=volume, id=f"m{ids}")
            case p if p < 0.78:
                who = draw.choice(["ada", "bo", *others])
                await player.say(draw.choice(LINES), looking_at=who, id=f"m{ids}")
            case p if p < 0.86:
                await player.send("player.move", place=draw.choice(["quay", "quay", "shed"]))
            case p if p < 0.9:
                await player.send("player.act", action="waves", target="ada", id=f"m{ids}")
            case p if p < 0.93:
                await player.send("scene.event", name="fog")
            case p if p < 0.96:
                await player.send("player.typing", text="Hello")
            case _:
                await player.send("turn.cancel")
        if draw.random() < 0.2 and (done := player.of("turn.done")):
            chars = draw.randrange(30)
            await player.send("turn.heard", turn_id=done[-1].turn_id, chars=chars)
    except Rejected as refused:
        assert refused.code in {"nobody_near", "turn_over", "unknown_id"}, refused


async def play_on(players: list[Player], seed: int, turns: int) -> None:
    """Play until so many turns are over, sometimes all at once and sometimes after a silence."""
    draw = random.Random(seed)
    while len({done.turn_id for p in players for done in p.of("turn.done")}) < turns:
        for player in draw.sample(players, draw.choice([1, 1, 1, 2, 3])):
            await play(player, draw, [other.id for other in players if other is not player])
        await asyncio.sleep(draw.choice([0.1, 0.2, 0.3, 0.6, 1.5, 4, 30]))


def spoken(entries: list[Entry]) -> set[str]:
    """The turns in which something was said."""
    return {e.fact.turn_id for e in entries if isinstance(e.fact, TurnDone) and e.fact.text}


def check_floor(entries: list[Entry]) -> None:
    """Within earshot one speaks at a time, and nobody talks over a player."""
    aloud = spoken(entries)
    speaking: dict[str, tuple[TurnStarted, set[str]]] = {}
    for entry in entries:
        match entry.fact:
            case TurnStarted(turn_id=turn) as started if turn in aloud:
                over = [other for other, hearing in speaking.values() if hearing & entry.audience]
                assert not over, (entry, over)
                speaking[turn] = started, set(entry.audience)
            case TurnHeardBy(turn_id=turn, player=player) if (
                turn in speaking and entry.session_id is None
            ):
                speaking[turn][1].discard(player)  # they walked away
            case TurnDone(turn_id=turn):
                speaking.pop(turn, None)
            case PlayerSaid():
                for started, _ in speaking.values():
                    goes_on = started.because in UNASKED and started.npc in entry.audience
                    assert not goes_on, (entry, started)


def check_exchanges(entries: list[Entry], bound: int, loaded: LoadedScene) -> Counter[int]:
    """No exchange among characters exceeds its bound; how often each length came."""
    depth: dict[str, int] = {}
    for entry in entries:
        if isinstance(started := entry.fact, TurnStarted):
            to_npc = set(started.to) & loaded.characters.keys()
            assert bool(to_npc) == (started.because == "exchange")
            before = depth[started.in_reply_to] if started.in_reply_to and to_npc else -1
            depth[started.turn_id] = before + 1
    assert max(depth.values()) <= bound
    return Counter(depth.values())


def check_budget(entries: list[Entry], own_lines: int) -> int:
    """No minute has more lines of characters' own accord than it may; how many there were."""
    own = [
        entry.at_ms
        for entry in entries
        if isinstance(entry.fact, TurnStarted) and entry.fact.because in OWN_ACCORD
    ]
    for first, last in zip(own, own[own_lines:], strict=False):
        assert last - first >= WINDOW_MS
    return len(own)


def check_answers(entries: list[Entry], longest_ms: int) -> Counter[str]:
    """Every line of a player is answered, or told why not, in time; turns of each character."""
    asked = {e.fact.line_id: e.at_ms for e in entries if isinstance(e.fact, PlayerSaid)}
    answered, over, turns = set(), set(), Counter[str]()
    aloud = spoken(entries)
    for entry in entries:
        match entry.fact:
            case TurnStarted(in_reply_to=str(line)) as started:
                if line in asked:
                    answered.add(line)
                    assert entry.at_ms - asked[line] <= longest_ms
                turns[started.npc] += started.turn_id in aloud
            case TurnDone(turn_id=turn):
                assert turn not in over
                over.add(turn)
    assert answered == asked.keys()
    assert {e.fact.turn_id for e in entries if isinstance(e.fact, TurnStarted)} == over
    return turns
