"""Talking with characters in a terminal: what `npcserver chat` shows and reads.

An ordinary client of the wire protocol; it knows no more of the server than a game does.
"""

import asyncio
import os
import re
import secrets
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from urllib.parse import urlsplit, urlunsplit

import httpx
import jwt
from rich.console import Console

from npcserver.client import Client, Message, connect, is_here, unreachable
from npcserver.errors import NpcError

HELP = "/whisper TEXT · /stop · /move PLACE · /quit — everything else is said"
NOT_AN_ID = re.compile(r"[^A-Za-z0-9_.\-]+")


@dataclass(frozen=True)
class Visit:
    """Who goes where.

    Args:
        scene: the scene's id; None for the first that the server has.
        npc: whom to talk to; None leaves it to the scene who answers.
        player: the player's name; None for a guest.
    """

    url: str
    scene: str | None = None
    npc: str | None = None
    player: str | None = None
    instance: str = "main"
    token: str | None = None

    def identity(self) -> tuple[str, str]:
        """The player's id and name. A token is good for one id, which it holds."""
        if self.token:
            with suppress(jwt.InvalidTokenError, KeyError):
                unverified = jwt.decode(self.token, options={"verify_signature": False})
                return str(unverified["sub"]), self.player or str(unverified["sub"])
        if self.player is None:
            return f"guest-{secrets.token_hex(4)}", "Guest"
        player_id = NOT_AN_ID.sub("-", self.player).strip("-")[:64]
        return player_id or f"player-{secrets.token_hex(4)}", self.player


async def say_once(visit: Visit, line: str) -> Message:
    """Say one line; the `turn.done` that answers it.

    Raises:
        NpcError: there is no server, no such scene or character, or it refused the line.
    """
    player, name = visit.identity()
    scene = visit.scene or (await _scenes(visit))[0]
    async with connect(
        visit.url, scene, player=player, name=name, instance=visit.instance, token=visit.token
    ) as client:
        await _approach(client, visit.npc)
        line_id = await client.say(line, to=_to(visit))
        return await client.reply(line_id)


async def talk(visit: Visit, console: Console, lines: Iterable[str] | None = None) -> None:
    """Talk until the player quits or, where input is piped, until all lines are answered.

    Args:
        lines: what the player types; without it, the terminal.

    Raises:
        NpcError: there is no server, no such scene or character, or the connection ended.
    """
    player, name = visit.identity()
    scene = visit.scene or (await _scenes(visit))[0]
    async with connect(
        visit.url, scene, player=player, name=name, instance=visit.instance, token=visit.token
    ) as client:
        transcript = Transcript(console, client.snapshot)
        transcript.welcome()
        await _approach(client, visit.npc)
        listening = asyncio.create_task(_listen(client, transcript))
        typing = asyncio.create_task(_type(client, visit, transcript, _typed(lines)))
        done, pending = await asyncio.wait({listening, typing}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()


class Transcript:
    """What is heard, as it is heard, in a terminal."""

    def __init__(self, console: Console, snapshot: Message) -> None:
        self._console = console
        self._snapshot = snapshot
        people = (*snapshot["npcs"], *snapshot["players"])
        self._names: dict[str, str] = {one["id"]: one["name"] for one in people}
        self._turns: dict[str, Message] = {}
        self._emotions: dict[str, str] = {}
        self._speaking = ""
        self.waiting: set[str] = set()
        """Lines that were said and not answered yet."""
        self.answered = asyncio.Event()

    def welcome(self) -> None:
        """Tell where one is, and who is there."""
        places = {place["id"]: place["name"] for place in self._snapshot["places"]}
        self._line(self._snapshot["name"], "bold")
        for npc in self._snapshot["npcs"]:
            where = places.get(npc["place"], npc["place"])
            self._line(f"  {npc['name']} ({npc['id']}), {where}", "dim")
        self._line(f"  {HELP}", "dim")

    def show(self, message: Message) -> None:
        """Show one message of the server."""
        match message["type"].split("."):
            case ["turn", _]:
                self._turn(message)
            case ["player", _]:
                self._player(message)
            case ["scene", "changed"]:
                self._line(f"({message.get('name') or message['what']})", "dim")
            case ["ack"] if message["status"] == "rejected":
                self._line(message["error"]["message"], "red")
                self._settle(message["ref"])
            case ["error"]:
                self._line(message["message"], "red")

    def note(self, text: str) -> None:
        """Say something that nobody in the scene said."""
        self._line(text, "dim")

    def _turn(self, message: Message) -> None:
        turn_id = message["turn_id"]
        match message["type"]:
            case "turn.started":
                self._turns[turn_id] = message
            case "turn.emotion":
                self._emotions[turn_id] = message["emotion"]
            case "turn.action":
                self._speak(turn_id)
                target = f" {message['target']}" if message.get("target") else ""
                details = "".join(f" {key}={value}" for key, value in message["args"].items())
                self._write(f"[{message['name']}{target}{details}] ", "dim italic")
            case "turn.text":
                self._speak(turn_id)
                self._write(message["delta"])
            case "turn.done":
                self._done(message)

    def _done(self, message: Message) -> None:
        started = self._turns.pop(message["turn_id"], {})
        self._emotions.pop(message["turn_id"], None)
        self._break()
        if message["status"] != "completed":
            name = self._name(message["npc"])
            why = f": {message['reason']}" if message.get("reason") else ""
            self._line(f"({name} — {message['status']}{why})", "dim")
        self._settle(started.get("in_reply_to", ""))

    def _settle(self, line_id: str) -> None:
        self.waiting.discard(line_id)
        self.answered.set()

    def _player(self, message: Message) -> None:
        who = message["player"]
        if message["type"] == "player.said":
            self._line(f"{message['name']}: {message['text']}", "cyan")
        elif message["type"] == "player.joined":
            self._names[who["id"]] = who["name"]
            self._line(f"({who['name']} comes in)", "dim")
        else:
            did = {"player.left": "leaves", "player.moved": f"goes to {message.get('place')}"}
            words = did.get(message["type"]) or f"does: {message.get('action')}"
            self._line(f"({self._name(who)} {words})", "dim")

    def _name(self, who: str) -> str:
        return self._names.get(who, who)

    def _speak(self, turn_id: str) -> None:
        """Begin the speaker's line, unless it is the one that is being written."""
        if self._speaking == turn_id:
            return
        self._break()
        self._speaking = turn_id
        self._write(self._name(self._turns.get(turn_id, {}).get("npc", "?")), "bold")
        if emotion := self._emotions.get(turn_id):
            self._write(f" ({emotion})", "dim")
        self._write(": ", "bold")

    def _break(self) -> None:
        if self._speaking:
            self._write("\n")
        self._speaking = ""

    def _line(self, text: str, style: str | None = None) -> None:
        self._break()
        self._write(text, style)
        self._write("\n")

    def _write(self, text: str, style: str | None = None) -> None:
        # What came over the wire must not steer the terminal.
        safe = "".join(char if char.isprintable() or char == "\n" else " " for char in text)
        self._console.print(
            safe, style=style, end="", markup=False, highlight=False, soft_wrap=True
        )


async def _listen(client: Client, transcript: Transcript) -> None:
    async for message in client.messages():
        transcript.show(message)


async def _type(
    client: Client, visit: Visit, transcript: Transcript, lines: "asyncio.Queue[str | None]"
) -> None:
    """Act on every line typed, until the player quits or the input ends."""
    while (line := await lines.get()) is not None:
        command, _, rest = line.strip().partition(" ")
        match command:
            case "":
                continue
            case "/quit":
                return
            case "/stop":
                await client.send("turn.cancel")
            case "/move":
                await client.send("player.move", place=rest.strip())
            case "/whisper":
                said = await client.say(rest.strip(), _to(visit), "whisper")
                transcript.waiting.add(said)
            case _ if command.startswith("/"):
                transcript.note(HELP)
            case _:
                transcript.waiting.add(await client.say(line.strip(), _to(visit)))
    while transcript.waiting:
        transcript.answered.clear()
        await transcript.answered.wait()


def _typed(lines: Iterable[str] | None) -> "asyncio.Queue[str | None]":
    """Lines as they are typed, None at the end. A thread reads, as a terminal cannot be awaited."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    source = _terminal() if lines is None else lines

    def read() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits for more
            try:
                for line in source:
                    loop.call_soon_threadsafe(queue.put_nowait, line)
            finally:
                loop.call_soon_threadsafe(queue.put_nowait, None)

    Thread(target=read, daemon=True).start()
    return queue


def _terminal() -> Iterable[str]:
    """Standard input as a file of our own: a daemon thread in sys.stdin blocks Python's way out."""
    try:
        return os.fdopen(os.dup(sys.stdin.fileno()), encoding=sys.stdin.encoding, errors="replace")
    except OSError:  # it is no file
        return sys.stdin


def _to(visit: Visit) -> list[str]:
    return [visit.npc] if visit.npc else []


async def _approach(client: Client, npc: str | None) -> None:
    """Go where the character stands, so that they hear us. Raises NpcError when nobody is it."""
    if npc is None:
        return
    cast = {one["id"]: one["place"] for one in client.snapshot["npcs"]}
    if npc not in cast:
        raise NpcError(f"--npc: nobody here is {npc!r}; there are {', '.join(cast)}", "no_such_npc")
    here = {one["id"]: one["place"] for one in client.snapshot["players"]}
    if here.get(client.player) != cast[npc]:
        await client.send("player.move", place=cast[npc])


async def _scenes(visit: Visit) -> list[str]:
    """The ids of the server's scenes. Raises NpcError when it does not answer."""
    parts = urlsplit(visit.url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    url = urlunsplit((scheme, parts.netloc, "/v1/scenes", "", ""))
    headers = {"Authorization": f"Bearer {visit.token}"} if visit.token else {}
    try:
        async with httpx.AsyncClient(trust_env=not is_here(visit.url)) as http:
            answer = (await http.get(url, headers=headers)).raise_for_status()
            return [scene["id"] for scene in answer.json()["scenes"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        raise unreachable(visit.url, error) from None
