"""The journal: real SQLite, a real thread, all or nothing."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from npcserver.journal import (
    MIGRATIONS,
    Batch,
    Entry,
    JournalError,
    Recording,
    Store,
)
from npcserver.journal_writer import JournalWriter
from npcserver.protocol import PlayerLeft, TurnDone


def left(player: str, message_id: str | None = None) -> Entry:
    return Entry(PlayerLeft(player=player), 1, frozenset({"ada", "bo"}), "s-1", message_id)


def done(turn_id: str, text: str) -> Entry:
    return Entry(TurnDone(turn_id=turn_id, npc="ada", status="completed", text=text), 2)


def test_entries_come_back_as_they_were(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.db")
    entries = [left("kit", "m1"), done("t1", "茶 🍵 and tea")]
    store.write([Batch("quay", "main", entries), Batch("quay", "two", [left("lee")])])
    store.close()
    again = Store(tmp_path / "journal.db")
    assert again.entries("quay", "main") == entries
    assert again.entries("quay", "two") == [left("lee")]
    assert again.entries("quay", "three") == []
    assert again.acted_on("s-1") == {"m1"}


def test_a_recording_is_read_while_it_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.db")
    store.write([Batch("quay", "main", [left("kit", "m1")]), Batch("hill", "main", [left("lee")])])
    recording = Recording(tmp_path / "journal.db")
    assert recording.instances() == [("quay", "main", 1), ("hill", "main", 2)]
    store.write([Batch("quay", "main", [done("t1", "Aye.")])])
    bare = replace(left("kit"), session_id=None)
    assert list(recording.entries("quay", "main")) == [(1, bare), (3, done("t1", "Aye."))]
    recording.close()
    store.close()


def test_speech_grows_until_the_turn_is_done() -> None:
    store = Store(":memory:")
    store.write([Batch("quay", "main", speech=[("t1", "Mind "), ("t1", "the rope.")])])
    assert store.speech("quay", "main") == {"t1": "Mind the rope."}
    assert store.speech("quay", "two") == {}
    store.write([Batch("quay", "main", [done("t1", "Mind the rope.")])])
    assert store.speech("quay", "main") == {}


def test_one_bad_batch_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    async def main() -> None:
        store = Store(tmp_path / "journal.db")
        writer = JournalWriter(store)
        batches = [
            Batch("quay", "main", [left("a", "m1")]),
            Batch("quay", "main", [left("b"), left("c", "m1")]),  # the same message again
            Batch("quay", "main", [left("d", "m2")]),
        ]
        results = await asyncio.gather(
            *(writer.commit(batch) for batch in batches), return_exceptions=True
        )
        assert [type(result) for result in results] == [type(None), JournalError, type(None)]
        facts = [entry.fact for entry in store.entries("quay", "main")]
        assert facts == [PlayerLeft(player="a"), PlayerLeft(player="d")]
        writer.close()

    asyncio.run(main())


def test_many_writers_keep_their_order(tmp_path: Path) -> None:
    async def main() -> None:
        store = Store(tmp_path / "journal.db")
        writer = JournalWriter(store)

        async def write(instance: str) -> None:
            for number in range(50):
                await writer.commit(Batch("quay", instance, [left(f"p{number}")]))

        await asyncio.gather(*(write(f"i{number}") for number in range(8)))
        for number in range(8):
            facts = [entry.fact for entry in store.entries("quay", f"i{number}")]
            assert facts == [PlayerLeft(player=f"p{n}") for n in range(50)]
        writer.close()

    asyncio.run(main())


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO migrations VALUES ('9999_future')")
    db.close()
    with pytest.raises(JournalError, match="9999_future"):
        Store(path)


def test_a_file_that_is_no_journal_is_told(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_text("this is not a database " * 100)
    with pytest.raises(JournalError, match=r"journal\.db: cannot be opened"):
        Store(path)


def test_migrations_are_named_once_and_in_order() -> None:
    names = [name for name, _ in MIGRATIONS]
    assert names == sorted(set(names))
