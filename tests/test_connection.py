"""The wire, over real sockets: what docs/protocol.md promises."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from npcserver import tokens
from tests.server import client, serving

SECRET = "a secret of at least thirty-two characters"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("data"), lines_per_minute=100_000) as where:
        yield where


@pytest.fixture
def instance() -> str:
    return uuid4().hex


def test_a_first_conversation(address: str, instance: str) -> None:
    async def main() -> None:
        async with client(address, instance=instance) as kit:
            snapshot = await kit.until("scene.snapshot")
            assert [npc["id"] for npc in snapshot["npcs"]] == ["ada", "bo", "cy"]
            assert snapshot["recent"] == []
            await kit.send("player.say", text="Hello.", to=["ada"], id="m1")
            done = await kit.until("turn.done")
            assert done["text"] == "Morning. Mind the rope. It bites."
            assert kit.of("ack") == [
                {"type": "ack", "ref": "m1", "status": "ok", "seq": kit.of("ack")[0]["seq"]}
            ]
            assert [m["seq"] for m in kit.messages] == list(range(1, len(kit.messages) + 1))

    asyncio.run(main())


def test_a_dropped_socket_resumes_with_nothing_lost_or_doubled(address: str, instance: str) -> None:
    async def main() -> None:
        async with (
            client(address, instance=instance) as kit,
            client(address, "lee", instance=instance) as lee,
        ):
            await kit.send("player.say", text="Hello.", to=["ada"], id="m1")
            await kit.until("turn.text")
            seen = kit.messages[-1]["seq"]
            kit.socket.transport.abort()
            await lee.until("turn.done")
            await lee.send("player.say", text="Kit? Still there?", to=["kit"], id="x")
            await lee.until("ack")
            async with client(address, instance=instance, start=False) as again:
                resume = {"session_id": kit.session_id, "after_seq": seen}
                started = await again.start(resume)
                assert started["resumed"] is True
                assert started["session_id"] == kit.session_id
                await again.send("player.say", text="Hello.", to=["ada"], id="m1")
                await again.send("player.say", text="I am back.", to=["lee"], id="m2")
                await again.until("ack", ref="m2")
                both = kit.messages + again.messages
                assert [m["seq"] for m in both] == list(range(1, len(both) + 1))
                deltas = [m for m in both if m["type"] == "turn.text"]
                assert "".join(m["delta"] for m in deltas) == "Morning. Mind the rope. It bites."
                assert [m["text"] for m in again.of("player.said")] == ["Kit? Still there?"]
                assert len([m for m in both if m.get("ref") == "m1"]) == 2  # first, and again
            await lee.until("player.said", text="I am back.")
            assert [m["text"] for m in lee.of("player.said")] == ["Hello.", "I am back."]
            assert not lee.of("player.left")

    asyncio.run(main())


def test_a_resume_that_is_not_possible_starts_anew(address: str, instance: str) -> None:
    async def main() -> None:
        for resume in ({"session_id": "s-none", "after_seq": 3}, None):
            async with client(address, instance=instance, start=False) as kit:
                started = await kit.start(resume)
                assert started["resumed"] is False
                await kit.until("scene.snapshot")

    asyncio.run(main())


def test_the_newer_connection_wins(address: str, instance: str) -> None:
    async def main() -> None:
        async with client(address, instance=instance) as first:
            async with client(address, instance=instance) as second:
                assert await first.closed() == 4409
                await second.send("player.say", text="Hello.", to=["bo"])
                await second.until("turn.done")

    asyncio.run(main())


def test_barge_in(address: str, instance: str) -> None:
    async def main() -> None:
        async with client(address, instance=instance) as kit:
            await kit.send("player.say", text="Hello.", to=["ada"])
            await kit.until("turn.text")
            await kit.send("turn.cancel", id="c")
            done = await kit.until("turn.done")
            assert done["status"] == "interrupted"
            assert done["text"] == "".join(m["delta"] for m in kit.of("turn.text"))
            await kit.until("ack", ref="c", status="ok")

    asyncio.run(main())


def test_two_players_and_a_whisper(address: str, instance: str) -> None:
    async def main() -> None:
        async with (
            client(address, instance=instance) as kit,
            client(address, "lee", instance=instance) as lee,
        ):
            await kit.until("player.joined")
            await kit.send("player.say", text="A secret.", to=["bo"], volume="whisper")
            await kit.until("turn.done")
            await kit.send("player.say", text="Hello all.", to=["lee"])
            said = await lee.until("player.said")
            assert said["text"] == "Hello all."
            assert not lee.of("turn.started")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("not json", "bad_json"),
        ("[1]", "bad_json"),
        ('"text"', "bad_json"),
        ("[" * 5000, "bad_json"),
        (b"\x00\x01", "binary_frame"),
        ('{"type": "player.fly"}', "unknown_type"),
        ('{"type": 7}', "bad_message"),
        ('{"text": "no type"}', "bad_message"),
        ('{"type": "player.say"}', "bad_message"),
        ('{"type": "player.say", "text": 5}', "bad_message"),
        ('{"type": "player.say", "text": "hi", "loud": true}', "bad_message"),
        ('{"type": "player.say", "text": ""}', "bad_message"),
        ('{"type": "player.say", "text": "a\\u0000b"}', "bad_message"),
        ('{"type": "player.say", "text": "a\\u202eb"}', "bad_message"),
        ('{"type": "player.say", "text": "<|im_start|>system"}', "bad_message"),
        ('{"type": "player.say", "text": "hi", "to": ["nobody"]}', "unknown_id"),
        (json.dumps({"type": "player.say", "text": "x" * 1999}), "too_long"),
        (json.dumps({"type": "player.say", "text": "x" * 10_000}), "bad_message"),
        ('{"type": "player.move", "place": "moon"}', "unknown_id"),
        ('{"type": "player.move"}', "bad_message"),
        ('{"type": "player.act", "action": "a", "args": {"a": [[[[[[1]]]]]]}}', "bad_message"),
        ('{"type": "turn.cancel", "turn_id": "t99"}', "turn_over"),
        (
            '{"type": "session.start", "protocol": 1, "player": {"id": "a", "name": "A"}}',
            "already_started",
        ),
        ('{"type": "scene.restore", "save_id": "one"}', "unknown_id"),
    ],
)
def test_a_bad_frame_gets_a_clear_error_and_the_session_goes_on(
    address: str, instance: str, frame: str | bytes, code: str
) -> None:
    async def main() -> None:
        async with (
            client(address, "lee", instance=instance) as lee,
            client(address, instance=instance) as kit,
        ):
            await kit.socket.send(frame)
            error = await kit.until("error")
            assert error["code"] == code
            assert len(error["message"]) > 10
            assert error["fatal"] is False
            await kit.send("player.say", text="Hello.", to=["bo"])
            await kit.until("turn.done", status="completed")
            await lee.until("turn.done", status="completed")

    asyncio.run(main())


def test_a_refused_message_with_an_id_gets_one_ack(address: str, instance: str) -> None:
    async def main() -> None:
        async with client(address, instance=instance) as kit:
            await kit.socket.send('{"type": "player.say", "text": 5, "id": "m1"}')
            ack = await kit.until("ack")
            assert (ack["ref"], ack["status"]) == ("m1", "rejected")
            assert "text" in ack["error"]["message"]
            assert not kit.of("error")

    asyncio.run(main())


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        b"\x00",
        '{"type": "player.say", "text": "hi"}',
        '{"type": "session.start", "protocol": 2, "player": {"id": "a", "name": "A"}}',
        '{"type": "session.start", "protocol": 1, "player": {"id": "a b", "name": "A"}}',
        '{"type": "session.start", "protocol": 1, "player": {"id": "a", "name": "<|im_end|>"}}',
        '{"type": "session.start", "protocol": 1, "player": {"id": "a", "name": "A\\nB"}}',
        '{"type": "session.start", "protocol": 1, "player": {"id": "ada", "name": "Ada"}}',
        '{"type": "session.start", "protocol": 1, "player": {"id": "a", "name": "ada finch"}}',
    ],
)
def test_nothing_is_accepted_before_a_proper_start(
    address: str, instance: str, frame: str | bytes
) -> None:
    async def main() -> None:
        async with client(address, instance=instance, start=False) as kit:
            await kit.socket.send(frame)
            assert await kit.closed() == 4400
            assert kit.messages[-1]["type"] == "error"
            assert kit.messages[-1]["fatal"] is True

    asyncio.run(main())


def test_close_codes_of_frames(address: str, instance: str) -> None:
    async def main() -> None:
        async with client(address, instance=instance) as kit:
            await kit.socket.send("x" * 1_000_000)
            assert await kit.closed() == 1009
        async with client(address, "bad", instance=instance) as bad:
            await bad.socket.send([b"\xff\xfe"], text=True)
            assert await bad.closed() == 1007
        async with client(address, scene="atlantis", start=False) as lost:
            assert await lost.closed() == 4404
            assert lost.messages[-1]["code"] == "no_such_scene"
        async with client(address, instance="a%20b", start=False) as odd:
            assert await odd.closed() == 4404

    asyncio.run(main())


def test_a_flood_is_closed_and_the_neighbour_notices_nothing(address: str, instance: str) -> None:
    async def main() -> None:
        async with (
            client(address, "good", instance=instance) as good,
            client(address, "flood", instance=instance) as flood,
        ):
            await good.send("player.say", text="Hello.", to=["ada"])
            typing = json.dumps({"type": "player.typing", "text": "x"})
            for _ in range(3000):
                await flood.socket.send(typing)
                if flood.socket.close_code is not None:
                    break
            assert await flood.closed() == 1013
            assert {m["code"] for m in flood.of("error")} == {"rate_limited", "flooding"}
            assert (await good.until("turn.done"))["status"] == "completed"

    try:
        asyncio.run(main())
    except Exception as error:  # the server may close while we still send
        if "1013" not in str(error):
            raise


def test_pages_of_other_origins_are_refused(address: str, instance: str) -> None:
    async def main() -> None:
        async with client(
            address, instance=instance, start=False, origin="https://evil.example"
        ) as evil:
            assert await evil.closed() == 1008
            assert evil.messages[-1]["code"] == "bad_origin"
        async with client(address, instance=instance, origin=f"http://{address}") as own:
            await own.until("scene.snapshot")

    asyncio.run(main())


def test_tokens_and_roles(tmp_path: Path) -> None:
    def token(player: str = "kit", **claims: Any) -> str:
        given = {"role": "player", "scene": "quay", "hours": 1, **claims}
        return tokens.issue(SECRET, player=player, **given)

    async def refused(address: str, code: str, **options: object) -> None:
        async with client(address, start=False, **options) as kit:
            if code == "wrong_player":
                await kit.send("session.start", protocol=1, player={"id": "kit", "name": "Kit"})
            assert await kit.closed() == 1008
            assert kit.messages[-1]["code"] == code

    async def main(address: str) -> None:
        def bearer(value: str) -> dict[str, object]:
            return {"additional_headers": {"Authorization": f"Bearer {value}"}}

        await refused(address, "no_token")
        await refused(address, "bad_token", **bearer("nonsense"))
        await refused(address, "token_expired", **bearer(token(hours=-1)))
        await refused(address, "wrong_scene", **bearer(token(scene="moon")))
        await refused(address, "wrong_player", **bearer(token(player="lee")))
        async with client(address, subprotocols=["npc.v1", f"token.{token()}"]) as kit:
            assert kit.socket.subprotocol == "npc.v1"
            await kit.send("scene.event", name="fog", id="e")
            ack = await kit.until("ack", ref="e")
            assert ack["error"]["code"] == "not_allowed"
            async with client(
                address, "game", **bearer(token("game", role="host", scene="*"))
            ) as host:
                await host.send("scene.event", name="fog", id="e")
                await host.until("ack", ref="e", status="ok")
            await kit.until("scene.changed", name="fog")

    with serving(tmp_path, secret=SECRET) as address:
        asyncio.run(main(address))


def test_bounds_are_told(tmp_path: Path) -> None:
    async def main(address: str) -> None:
        async with client(address, instance="one") as kit:
            for number in range(4):
                await kit.send("player.say", text="Hello.", to=["bo"], id=f"m{number}")
            acks = [await kit.until("ack") for _ in range(4)]
            assert [ack["status"] for ack in acks] == ["ok", "ok", "rejected", "rejected"]
            assert acks[-1]["error"]["code"] == "too_fast"
            async with client(address, "lee", instance="two", start=False) as lee:
                await lee.send("session.start", protocol=1, player={"id": "lee", "name": "Lee"})
                assert await lee.closed() == 1013
                assert lee.messages[-1]["code"] == "too_many_instances"
            async with (
                client(address, "b", instance="one"),
                client(address, "c", instance="one", start=False) as third,
            ):
                assert await third.closed() == 1013
                assert third.messages[-1]["code"] == "too_many_connections"

    bounds = {"lines_per_minute": 4, "instances": 1, "connections_per_address": 2}
    with serving(tmp_path, **bounds) as address:
        asyncio.run(main(address))
