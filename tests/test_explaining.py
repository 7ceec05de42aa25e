"""Why a turn came out so: found again in the journal, and the very prompt that was sent."""

import asyncio
import math
import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from npcserver import tokens
from npcserver.engines.base import Piece, Prompt, Sampling
from npcserver.engines.scripted import ScriptedEngine
from npcserver.explaining import explain
from npcserver.floor import Rules
from npcserver.journal import Store
from npcserver.protocol import TurnStarted
from npcserver.surprise import surprise
from tests.clock import run
from tests.server import client, serving
from tests.stage import QUAY, Player, directed, live

SECRET = "a secret of at least thirty-two characters"


class Remembering(ScriptedEngine):
    """Keeps every prompt that words were asked for."""

    prompts: list[Prompt]

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        self.prompts.append(prompt)
        async for piece in super().generate(prompt, sampling):
            yield piece


def test_the_prompt_is_the_one_that_was_sent() -> None:
    async def main() -> None:
        store, engine = Store(":memory:"), Remembering({"quay": QUAY})
        engine.prompts = []
        rules = Rules(history=lambda: 6)
        async with live(store, engine, rules) as scene:
            kit = await Player(scene, "kit", host=True).join()
            for number, line in enumerate(["Hello.", "Ring the bell.", "When is the tide?"], 1):
                await kit.say(line, to=["ada"], id=f"m{number}")
                await kit.until("turn.done", number)
        for number, line in enumerate(["Hello.", "Ring the bell.", "When is the tide?"], 1):
            entries = store.entries("quay", "main")
            told = explain(QUAY, entries, f"t{number}", rules.prompt_tokens, 6)
            assert told is not None
            sent = [
                prompt
                for prompt in engine.prompts
                if [m.text for m in prompt.messages] == [block.text for block in told.prompt]
            ]
            assert sent, line
            assert told.opening in {prompt.opening for prompt in sent}
            assert told.line == line
            assert told.status == "completed"

    run(main)


def test_what_was_decided_recalled_and_withheld() -> None:
    async def main() -> None:
        store = Store(":memory:")
        async with live(store) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await kit.say("Ring the bell, when the tide turns.", to=["ada"])
            await kit.until("turn.done")
        told = explain(QUAY, store.entries("quay", "main"), "t1", 1200, 0)
        assert told is not None
        assert told.example == ("Ring the bell.", "Cover your ears.")
        assert told.facts == ["The tide turns at noon."]
        assert [(each.fact, each.why) for each in told.withheld] == [
            ("Ada sold the lighthouse lamp.", "hidden")
        ]
        assert "lamp" not in "".join(block.text for block in told.prompt)
        assert (told.emotion, told.action) == ("happy", "ring")
        assert told.emotions["happy"] > 0.8
        assert told.actions["ring"] > told.actions["none"]
        assert told.opening == "Ada Finch (looking happy; rings the bell):"
        assert explain(QUAY, store.entries("quay", "main"), "t9", 1200, 0) is None

    run(main)


def test_what_was_remembered_and_why() -> None:
    async def main() -> None:
        store, engine = Store(":memory:"), Remembering({"quay": QUAY})
        engine.prompts = []
        rules = Rules(history=lambda: 2, recall=lambda: 120)
        lines = ["My silver ring fell into the well.", "Hello.", "You are a fool.", "Hello."]
        async with live(store, engine, rules) as scene:
            kit = await Player(scene, "kit", host=True).join()
            for number, line in enumerate([*lines, "Did that silver ring turn up?"], 1):
                await kit.say(line, to=["ada"], id=f"m{number}")
                await kit.until("turn.done", number)
        entries = store.entries("quay", "main")
        told = explain(QUAY, entries, "t5", rules.prompt_tokens, 2, rules.recall())
        assert told is not None
        (memory,) = told.memories
        assert memory.text == "Earlier, Kit said to Ada Finch: My silver ring fell into the well."
        assert (memory.why, memory.source, memory.told_by) == ("about", "heard", "Kit")
        assert memory.place == "the quay"
        assert 0 < memory.relevance <= 1
        assert 0 < memory.recency < 1
        assert 0 < memory.importance < 1
        assert f"[{memory.text}]" in told.prompt[-1].text
        assert [m.text for m in engine.prompts[-1].messages] == [
            block.text for block in told.prompt
        ]
        first = explain(QUAY, entries, "t1", rules.prompt_tokens, 2, rules.recall())
        assert first is not None
        assert first.memories == []

    run(main)


def test_after_a_restore_a_turn_id_is_the_newest() -> None:
    async def main() -> None:
        store = Store(":memory:")
        async with live(store) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await kit.send("scene.save", save_id="one")
            for number, line in enumerate(["Hello.", "You are a fool."], 1):
                await kit.send("scene.restore", save_id="one")
                await kit.say(line, to=["ada"])
                await kit.until("turn.done", number)
        told = explain(QUAY, store.entries("quay", "main"), "t1", 1200, 0)
        assert told is not None
        assert told.line == "You are a fool."

    run(main)


def test_a_turn_whose_line_has_no_id_is_explained_by_its_own_line() -> None:
    loaded = directed(own_lines=6, exchanges=0, silence_s=3600)

    async def main() -> None:
        store = Store(":memory:")
        async with live(store, ScriptedEngine({"quay": loaded}, pace_s=0.05), loaded=loaded) as it:
            kit = await Player(it, "kit", host=True).join()
            await kit.say("Hello.", to=["ada"])
            await kit.send("player.act", action="gives_rope", target="bo")  # waits for Ada
            await kit.send("player.act", action="dances")
            await it.floor.quiet()
            await kit.send("scene.event", name="fog")
            await it.floor.quiet()
        entries = store.entries("quay", "main")
        turns = [e.fact for e in entries if isinstance(e.fact, TurnStarted)]
        told = [explain(loaded, entries, turn.turn_id, 1200, 4) for turn in turns]
        lines = [(turn.because, each.line) for turn, each in zip(turns, told, strict=True) if each]
        assert lines == [
            ("addressed", "Hello."),
            ("act", "gives rope Bo"),
            ("event", "Fog rolls in from the sea."),
        ]
        assert all('"line"' not in turn.wire() for turn in turns), "clients are not told"
        older = [
            replace(entry, fact=entry.fact.model_copy(update={"line": None}))
            if isinstance(entry.fact, TurnStarted)
            else entry
            for entry in entries
        ]
        first = explain(loaded, older, turns[0].turn_id, 1200, 4)
        assert first is not None
        assert first.line == "Hello."

    run(main)


class Surprised(ScriptedEngine):
    """Halves every piece's odds."""

    asked: tuple[Prompt, str]

    async def score(self, prompt: Prompt, text: str) -> list[tuple[str, float]] | None:
        self.asked = prompt, text
        pieces = re.findall(r"\s*\S+", text)
        return [(piece, math.log(0.5**number)) for number, piece in enumerate(pieces, 1)]


def test_the_pieces_of_what_was_said_are_told_with_their_odds() -> None:
    async def main() -> None:
        store, engine = Store(":memory:"), Surprised({"quay": QUAY})
        async with live(store, engine) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await kit.say("Ring the bell.", to=["ada"])
            await kit.until("turn.done")
        told = explain(QUAY, store.entries("quay", "main"), "t1", 1200, 0)
        assert told is not None
        pieces = await surprise(engine, QUAY, told)
        assert pieces is not None
        assert [piece.text for piece in pieces] == ["Cover", " your", " ears."]
        assert [piece.probability for piece in pieces] == pytest.approx([0.5, 0.25, 0.125])
        assert "".join(piece.text for piece in pieces) == told.text
        prompt, text = engine.asked
        assert (prompt.opening, text) == (told.opening, " Cover your ears.")
        assert [m.text for m in prompt.messages] == [block.text for block in told.prompt]
        assert await surprise(ScriptedEngine({"quay": QUAY}), QUAY, told) is None
        assert await surprise(engine, QUAY, told.model_copy(update={"authored": "bell"})) is None

    run(main)


def test_admins_alone_are_told(tmp_path: Path) -> None:
    def token(role: str) -> dict[str, str]:
        signed = tokens.issue(SECRET, player="kit", role=role, scene="*", hours=1)
        return {"Authorization": f"Bearer {signed}"}

    async def talk(address: str) -> None:
        async with client(address, additional_headers=token("player")) as kit:
            await kit.send("player.say", text="Hello.", to=["ada"])
            await kit.until("turn.done")

    with serving(tmp_path, secret=SECRET) as address:
        asyncio.run(talk(address))
        url = f"http://{address}/v1/admin/turns/t1"
        asked = {"scene": "quay"}
        assert httpx.get(url, params=asked).status_code == 401
        assert httpx.get(url, params=asked, headers=token("player")).status_code == 403
        admin = token("admin")
        explained = httpx.get(url, params=asked, headers=admin).json()
        assert (explained["line"], explained["surprise"]) == ("Hello.", None)
        for params, code in (({"scene": "moon"}, "no_such_scene"), (asked, "no_such_turn")):
            answer = httpx.get(url.replace("t1", "t7"), params=params, headers=admin)
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == code
