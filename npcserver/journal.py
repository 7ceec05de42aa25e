"""The append-only record of every scene. Everything durable derives from it.

An entry is a fact and who perceived it. Speech under way is kept beside the facts, so that a turn
cut by a crash can still be closed with what was really said; it goes when the turn's `turn.done`
is written. Knows nothing of live scenes or sockets.

SQLite in WAL mode: what was committed survives the death of the process at any moment.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from npcserver.errors import NpcError
from npcserver.protocol import (
    ActionResult,
    PlayerActed,
    PlayerJoined,
    PlayerLeft,
    PlayerMoved,
    PlayerSaid,
    SceneChanged,
    TurnAction,
    TurnDone,
    TurnEmotion,
    TurnStarted,
)


class TurnHeardBy(BaseModel):
    """How much of a turn a player has really heard."""

    model_config = ConfigDict(frozen=True)
    type: Literal["turn.heard"] = "turn.heard"
    turn_id: str
    player: str
    chars: int


class TurnRated(BaseModel):
    """What a player thought of a turn."""

    model_config = ConfigDict(frozen=True)
    type: Literal["turn.rated"] = "turn.rated"
    turn_id: str
    player: str
    rating: Literal["good", "bad", "none"]


class Cue(BaseModel):
    """Something only characters perceive, that one of them may speak about: who comes in, silence.

    Args:
        words: how their prompts say it.
    """

    model_config = ConfigDict(frozen=True)
    type: Literal["scene.cue"] = "scene.cue"
    words: str


Fact = (
    PlayerJoined
    | PlayerLeft
    | PlayerSaid
    | PlayerMoved
    | PlayerActed
    | SceneChanged
    | TurnStarted
    | TurnEmotion
    | TurnAction
    | TurnDone
    | TurnHeardBy
    | TurnRated
    | ActionResult
    | Cue
)
_FACT: TypeAdapter[Fact] = TypeAdapter(Annotated[Fact, Field(discriminator="type")])


@dataclass(frozen=True)
class Entry:
    """A fact, when it happened (Unix milliseconds), and who perceived it.

    Args:
        session_id: the session whose message caused it, and
        message_id: that message's `id`; together they act once, even across a restart.
    """

    fact: Fact
    at_ms: int
    audience: frozenset[str] = frozenset()
    session_id: str | None = None
    message_id: str | None = None


@dataclass(frozen=True)
class Batch:
    """What is written in one go: entries, and words just spoken as (turn_id, delta)."""

    scene: str
    instance: str
    entries: Sequence[Entry] = ()
    speech: Sequence[tuple[str, str]] = ()


class JournalError(NpcError):
    """The journal could not be written; what was asked did not happen."""

    code = "journal_failed"


class Journal(Protocol):
    """Where a scene writes. Returns once the batch is durable; raises JournalError if it is not."""

    async def commit(self, batch: Batch) -> None:
        """Write a batch, all or nothing."""


MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "0001_entries",
        """
        CREATE TABLE entries (
            id INTEGER PRIMARY KEY,
            scene TEXT NOT NULL,
            instance TEXT NOT NULL,
            at_ms INTEGER NOT NULL,
            fact TEXT NOT NULL,
            audience TEXT NOT NULL,
            session_id TEXT,
            message_id TEXT
        ) STRICT;
        CREATE INDEX entries_by_instance ON entries (scene, instance, id);
        CREATE UNIQUE INDEX entries_by_message ON entries (session_id, message_id)
            WHERE message_id IS NOT NULL;
        CREATE TABLE speech (
            scene TEXT NOT NULL,
            instance TEXT NOT NULL,
            turn_id TEXT NOT NULL,
            text TEXT NOT NULL,
            PRIMARY KEY (scene, instance, turn_id)
        ) STRICT;
        """,
    ),
)
"""Append-only: a schema that shipped is never edited, only followed by the next one."""


class Store:
    """The journal's file. Safe to use from several threads, one at a time."""

    def __init__(self, path: Path | str) -> None:
        """Open or create the file and bring its schema up to date.

        Raises:
            JournalError: the file cannot be opened, or was written by a newer version.
        """
        self._lock = threading.Lock()
        try:
            if path != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA busy_timeout = 5000")
            self._migrate()
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{path}: cannot be opened: {error}") from error

    def _migrate(self) -> None:
        self._db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY) STRICT")
        done = _migrations(self._db)
        for name, script in MIGRATIONS:
            if name not in done:
                insert = f"INSERT INTO migrations VALUES ('{name}');"  # noqa: S608 - our own name
                self._db.executescript(f"BEGIN;{script}{insert}COMMIT;")

    def write(self, batches: Sequence[Batch]) -> None:
        """Write batches in one transaction, all or nothing. Raises sqlite3.Error."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for batch in batches:
                    self._write(batch)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _write(self, batch: Batch) -> None:
        where = (batch.scene, batch.instance)
        for turn_id, delta in batch.speech:
            self._db.execute(
                "INSERT INTO speech VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET text = text || excluded.text",
                (*where, turn_id, delta),
            )
        for entry in batch.entries:
            self._db.execute(
                "INSERT INTO entries (scene, instance, at_ms, fact, audience, session_id,"
                " message_id) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *where,
                    entry.at_ms,
                    entry.fact.model_dump_json(),
                    " ".join(sorted(entry.audience)),
                    entry.session_id,
                    entry.message_id,
                ),
            )
            if isinstance(entry.fact, TurnDone):
                self._db.execute(
                    "DELETE FROM speech WHERE scene = ? AND instance = ? AND turn_id = ?",
                    (*where, entry.fact.turn_id),
                )

    def entries(self, scene: str, instance: str) -> list[Entry]:
        """Every entry of an instance, oldest first."""
        rows = self._read(
            "SELECT fact, at_ms, audience, session_id, message_id FROM entries"
            " WHERE scene = ? AND instance = ? ORDER BY id",
            (scene, instance),
        )
        return [_entry(*row) for row in rows]

    def speech(self, scene: str, instance: str) -> dict[str, str]:
        """What was said so far in turns that never ended, by turn."""
        rows = self._read(
            "SELECT turn_id, text FROM speech WHERE scene = ? AND instance = ?", (scene, instance)
        )
        return dict(rows)

    def acted_on(self, session_id: str) -> set[str]:
        """The ids of a session's messages that were acted on."""
        rows = self._read(
            "SELECT message_id FROM entries WHERE session_id = ? AND message_id IS NOT NULL",
            (session_id,),
        )
        return {message_id for (message_id,) in rows}

    def _read(self, query: str, values: tuple[str, ...]) -> list[Any]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Recording:
    """A journal's file, to be read only; unless a server has it open, none is made beside it.

    Any of its methods raises sqlite3.Error or UnicodeError where the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            JournalError: it is no journal, or was written by a newer version.
        """
        log = path.with_name(f"{path.name}-wal")
        beside = "" if log.exists() and log.stat().st_size else "&immutable=1"
        self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{beside}", uri=True)
        try:
            tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
            if not {"entries", "migrations"} <= tables:
                raise JournalError("is no journal of npcserver")
            _migrations(self._db)
        except BaseException:
            self.close()
            raise

    def instances(self) -> list[tuple[str, str, int]]:
        """Scene, instance and the first row of each, oldest first."""
        query = "SELECT scene, instance, MIN(id) FROM entries GROUP BY scene, instance ORDER BY 3"
        return self._db.execute(query).fetchall()

    def entries(self, scene: str, instance: str) -> Iterator[tuple[int, Entry | ValidationError]]:
        """Every row of an instance, oldest first: its number, and its entry or why it has none."""
        query = "SELECT id, fact, at_ms, audience FROM entries WHERE scene = ? AND instance = ?"
        for row, *held in self._db.execute(f"{query} ORDER BY id", (scene, instance)):
            try:
                yield row, _entry(*held)
            except ValidationError as error:
                yield row, error

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _migrations(db: sqlite3.Connection) -> set[str]:
    """The names of those that were done. Raises JournalError if there are newer ones among them."""
    done = {str(name) for (name,) in db.execute("SELECT name FROM migrations")}
    if unknown := done - {name for name, _ in MIGRATIONS}:
        raise JournalError(f"the journal was written by a newer version ({max(unknown)})")
    return done


def _entry(
    fact: str, at_ms: int, audience: str, session: str | None = None, message: str | None = None
) -> Entry:
    """An entry as its row has it. Raises ValidationError."""
    return Entry(
        _FACT.validate_json(fact), at_ms, frozenset(str(audience).split()), session, message
    )


@dataclass
class _Waiting:
    batch: Batch
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None] = field(repr=False)


class JournalWriter:
    """A journal whose disk work happens on a thread of its own.

    Whatever waits when the thread looks is written in one transaction: under load, scenes share
    the cost of a commit.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    async def commit(self, batch: Batch) -> None:
        """Write a batch; returns once it is durable. Raises JournalError."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.put(_Waiting(batch, loop, done))
        await done

    def close(self) -> None:
        """Write what waits, then stop the thread. The store stays open."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        stop = False
        while not stop:
            group = [self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get())
            stop = None in group
            self._write([item for item in group if item is not None])

    def _write(self, group: list[_Waiting]) -> None:
        if not group:
            return
        try:
            self._store.write([item.batch for item in group])
        except sqlite3.Error:
            # One bad batch must not fail its neighbours: write each by itself.
            for item in group:
                self._write_alone(item)
            return
        for item in group:
            _settle(item, None)

    def _write_alone(self, item: _Waiting) -> None:
        try:
            self._store.write([item.batch])
        except sqlite3.Error as error:
            _settle(item, JournalError(f"the journal could not be written: {error}"))
        else:
            _settle(item, None)


def _settle(item: _Waiting, error: JournalError | None) -> None:
    def settle() -> None:
        if not item.done.done():
            if error is None:
                item.done.set_result(None)
            else:
                item.done.set_exception(error)

    if not item.loop.is_closed():
        item.loop.call_soon_threadsafe(settle)
