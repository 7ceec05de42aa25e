"""The append-only record of every scene. Everything durable derives from it.

An entry is a fact and who perceived it. Speech under way is kept beside the facts, so that a turn
cut by a crash can still be closed with what was really said; it goes when the turn's `turn.done`
is written. Knows nothing of live scenes or sockets.

SQLite in WAL mode: what was committed survives the death of the process at any moment.
"""

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


class Erased(BaseModel):
    """What stood here was a player's own and was erased; others go on counting as before.

    Args:
        happenings, turns: by how much the scene's counts rose with it.
        opened, closed: beats of the story that had come by then and would not have without it.
        said: the written line that was said with it; the entry's audience are the others who heard.
    """

    model_config = ConfigDict(frozen=True)
    type: Literal["erased"] = "erased"
    happenings: int = 0
    turns: int = 0
    opened: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    said: str | None = None


class Cue(BaseModel):
    """Something only characters perceive, that one of them may speak about: who comes in, silence.

    Args:
        words: how their prompts say it.
        player: who comes in.
    """

    model_config = ConfigDict(frozen=True)
    type: Literal["scene.cue"] = "scene.cue"
    words: str
    player: str | None = None


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
    | Erased
    | Cue
)
_FACT: TypeAdapter[Fact] = TypeAdapter(Annotated[Fact, Field(discriminator="type")])


def fact_of(told: Any) -> Fact:
    """A fact from its fields. Raises ValidationError."""
    return _FACT.validate_python(told)


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
                (*where, entry.at_ms, *_columns(entry)),
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

    def instances_of(self, player: str) -> list[tuple[str, str]]:
        """The scenes and instances whose entries may be about a player, or known to them."""
        query = (
            "SELECT DISTINCT scene, instance FROM entries"
            " WHERE instr(fact, ?) OR instr(' ' || audience || ' ', ?) ORDER BY scene, instance"
        )
        return [(str(s), str(i)) for s, i in self._read(query, (f'"{player}"', f" {player} "))]

    def replace(
        self, scene: str, instance: str, entries: Mapping[int, Entry], speech: Mapping[str, str]
    ) -> None:
        """Put other entries in the place of some. Until `scrub` the file keeps traces of the old.

        Args:
            entries: by their place among the instance's entries, from 0.
            speech: what was said in turns that never ended; it is all there is then.

        Raises:
            JournalError: nothing was replaced.
        """
        where = (scene, instance)
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                rows = self._db.execute(
                    "SELECT id FROM entries WHERE scene = ? AND instance = ? ORDER BY id", where
                ).fetchall()
                self._db.executemany(
                    "UPDATE entries SET fact = ?, audience = ?, session_id = ?, message_id = ?"
                    " WHERE id = ?",
                    [(*_columns(entry), *rows[at]) for at, entry in entries.items()],
                )
                self._db.execute("DELETE FROM speech WHERE scene = ? AND instance = ?", where)
                self._db.executemany(
                    "INSERT INTO speech VALUES (?, ?, ?, ?)",
                    [(*where, *said) for said in speech.items()],
                )
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise JournalError(f"the journal could not be rewritten: {error}") from error

    def scrub(self) -> None:
        """Write the file anew, without what was replaced or deleted, and empty its log.

        Raises:
            JournalError: it could not be done now.
        """
        with self._lock:
            try:
                self._db.execute("VACUUM")
                busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.Error as error:
                raise JournalError(f"the journal could not be written anew: {error}") from error
        if busy:
            raise JournalError("another process reads the journal; let it end, and ask again")

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


def _columns(entry: Entry) -> tuple[str, str, str | None, str | None]:
    """An entry's fact, audience, session and message, as its row has them."""
    audience = " ".join(sorted(entry.audience))
    return entry.fact.model_dump_json(), audience, entry.session_id, entry.message_id


def _entry(
    fact: str, at_ms: int, audience: str, session: str | None = None, message: str | None = None
) -> Entry:
    """An entry as its row has it. Raises ValidationError."""
    return Entry(
        _FACT.validate_json(fact), at_ms, frozenset(str(audience).split()), session, message
    )
