"""Talking in a terminal, with a real server at the other end."""

import asyncio
from collections.abc import Iterator
from io import StringIO
from uuid import uuid4

import pytest
from rich.console import Console

from npcserver.chat import Transcript, Visit, talk
from npcserver.client import Message, connect
from npcserver.errors import Closed, Rejected
from tests.server import serving

HELLO = "Ada Finch (neutral): Morning. Mind the rope. It bites."


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("data")) as address:
        yield f"ws://{address}"


def told(url: str, *lines: str, npc: str | None = None) -> list[str]:
    """What the terminal shows when these lines are typed; the welcome is left out."""
    page = StringIO()
    visit = Visit(url, "quay", npc, "Kit", instance=uuid4().hex)
    asyncio.run(talk(visit, Console(file=page, width=200), lines))
    shown = page.getvalue().splitlines()
    assert shown[:2] == ["The Quay", "  Ada Finch (ada), the quay"]
    return shown[5:]


def test_a_line_and_its_answer(url: str) -> None:
    assert told(url, "Hello.\n", "\n") == [HELLO]


def test_actions_stand_before_the_words(url: str) -> None:
    (line,) = told(url, "Give me a herring.", npc="ada")
    assert line == "Ada Finch (happy): [give Kit item=herring] Take it, then. One only."


def test_whispers_moves_and_what_is_no_command(url: str) -> None:
    shown = told(url, "/whisper Hello.", "/move moon", "/dance", npc="ada")
    assert HELLO in shown
    assert any(line.startswith("there is no place 'moon'") for line in shown)
    assert any(line.startswith("/whisper TEXT") for line in shown)


def test_quit_does_not_wait(url: str) -> None:
    assert HELLO not in told(url, "Hello.", "/stop", "/quit", "Never said.")


def test_others_are_seen(url: str) -> None:
    instance = uuid4().hex
    page = StringIO()
    lines: asyncio.Queue[str] = asyncio.Queue()

    async def main() -> None:
        where = {"scene": "quay", "instance": instance}
        async with connect(url, **where, player="lee") as lee:
            visit = Visit(url, player="Kit", **where)

            async def kit() -> None:
                await talk(visit, Console(file=page, width=200), ["Hello, Lee.", "/quit"])

            task = asyncio.create_task(kit())
            async for message in lee.messages():
                lines.put_nowait(message["type"])
                if message["type"] == "player.said":
                    assert (message["player"], message["text"]) == ("Kit", "Hello, Lee.")
                    break
            await task

    asyncio.run(main())
    assert "player.joined" in [lines.get_nowait() for _ in range(lines.qsize())]


def snapshot() -> Message:
    ada = {"id": "ada", "name": "Ada", "place": "quay"}
    kit = {"id": "kit", "name": "Kit", "place": "quay"}
    return {"name": "Quay", "places": [], "npcs": [ada], "players": [kit]}


def shown(*messages: Message) -> str:
    page = StringIO()
    transcript = Transcript(Console(file=page, width=40, force_terminal=False), snapshot())
    for message in messages:
        transcript.show(message)
    return page.getvalue()


def text(turn: str, delta: str) -> Message:
    return {"type": "turn.text", "turn_id": turn, "delta": delta, "at": 0}


def begin(turn: str) -> Message:
    return {"type": "turn.started", "turn_id": turn, "npc": "ada", "to": ["kit"]}


def test_turns_that_cross_are_kept_apart() -> None:
    lines = shown(begin("t1"), begin("t2"), text("t1", "One"), text("t2", "Two"), text("t1", "!"))
    assert lines == "Ada: One\nAda: Two\nAda: !"


def test_everything_that_happens_is_told() -> None:
    lee = {"id": "lee", "name": "Lee", "place": "shed"}
    happened = shown(
        {"type": "player.joined", "player": lee},
        {"type": "player.said", "player": "lee", "name": "Lee", "text": "[bold]Ho"},
        {"type": "player.moved", "player": "lee", "place": "shed"},
        {"type": "player.acted", "player": "lee", "action": "wave", "args": {}},
        {"type": "player.left", "player": "lee"},
        {"type": "scene.changed", "what": "event", "name": "fog", "args": {}},
        {"type": "something.new"},
        {"type": "ack", "ref": "m1", "status": "ok"},
        {"type": "error", "code": "x", "message": "slow down", "fatal": False},
        begin("t1"),
        {"type": "turn.done", "turn_id": "t1", "npc": "ada", "status": "silent", "reason": "far"},
    )
    assert happened.splitlines() == [
        "(Lee comes in)",
        "Lee: [bold]Ho",
        "(Lee goes to shed)",
        "(Lee does: wave)",
        "(Lee leaves)",
        "(fog)",
        "slow down",
        "(Ada — silent: far)",
    ]


def test_what_comes_over_the_wire_does_not_steer_the_terminal() -> None:
    assert shown(begin("t1"), text("t1", "\x1b[2J\a你好\u3000\u202e")) == "Ada:  [2J 你好  "


def test_names_become_ids() -> None:
    assert Visit("", player="Robin Hood").identity() == ("Robin-Hood", "Robin Hood")
    player_id, name = Visit("", player="小明").identity()
    assert player_id.startswith("player-")
    assert name == "小明"
    assert Visit("").identity()[0] != Visit("").identity()[0]
    assert Visit("", player="Kit", token="no token").identity() == ("Kit", "Kit")


def test_the_client_tells_why_it_was_closed(url: str) -> None:
    async def main() -> None:
        async with connect(url, "quay", player="kit", instance="closing") as old:
            async with connect(url, "quay", player="kit", instance="closing"):
                with pytest.raises(Closed) as caught:
                    await old.reply("never")
                assert (caught.value.close_code, caught.value.code) == (4409, "replaced")
                with pytest.raises(Closed):
                    await old.say("Hello?")

    asyncio.run(main())


def test_the_client_tells_why_a_line_was_refused(url: str) -> None:
    async def main() -> None:
        async with connect(url, "quay", player="kit", instance="refusing") as client:
            line = await client.say("Hello.", to=["nobody"])
            with pytest.raises(Rejected, match="nobody here has the id"):
                await client.reply(line)

    asyncio.run(main())
