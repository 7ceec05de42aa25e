"""A scene whose characters also speak unasked: three of them and three players, for long."""

import pytest

from npcserver.engines.scripted import ScriptedEngine
from npcserver.journal import Store
from npcserver.protocol import PlayerSaid, TurnDone, TurnStarted
from npcserver.state import SceneState
from tests.clock import run
from tests.play import (
    EXCHANGES,
    LIVING,
    OWN_LINES,
    check_answers,
    check_budget,
    check_exchanges,
    check_floor,
    play_on,
)
from tests.stage import Player, live


@pytest.mark.parametrize("seed", [1, 2])
def test_five_hundred_turns_of_three_characters_and_three_players(seed: int) -> None:
    store = Store(":memory:")

    async def main() -> None:
        engine = ScriptedEngine({"quay": LIVING}, pace_s=0.05)
        async with live(store, engine, loaded=LIVING) as scene:
            players = [await Player(scene, who, host=True).join() for who in ("kit", "lee", "rue")]
            await play_on(players, seed, turns=500)
            await scene.floor.quiet()
            folded = SceneState(LIVING)
            for entry in store.entries("quay", "main"):
                folded.apply(entry)
            assert folded == scene.state

    run(main)
    entries = store.entries("quay", "main")
    check_floor(entries)
    lengths = check_exchanges(entries, EXCHANGES, LIVING)
    assert min(lengths[length] for length in range(1, EXCHANGES + 1)) > 3
    reasons = {e.fact.reason for e in entries if isinstance(e.fact, TurnDone)}
    assert "a player spoke" in reasons, "nobody ever spoke into an exchange"
    assert check_budget(entries, OWN_LINES) > 10
    turns = check_answers(entries, longest_ms=30_000)
    assert min(turns[npc] for npc in LIVING.characters) > 20, "a character starves"
    answered = {
        e.fact.to[0] for e in entries if isinstance(e.fact, TurnStarted) and len(e.fact.to) == 1
    }
    assert {"kit", "lee", "rue"} <= answered
    assert sum(isinstance(e.fact, PlayerSaid) for e in entries) > 200
