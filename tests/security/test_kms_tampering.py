"""The key service's database in the hands of somebody who may write to it and has no key.

Every column of every table changed, every row removed, moved or put back in an older copy, alone or with others: the
next start refuses, and says which record it is. Only the whole file of an earlier time passes here, which the audit log
finds out.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.kms.audit_head import AuditHead
from strongroom.kms.creation import KmsStoreError
from strongroom.kms.slots import PASSPHRASE_VARIABLE, SlotError
from strongroom.kms.state import Put, Remove
from tests.unit.kms.kms_stores import PHRASE, QUICK, add_keys, commit, new_alias, opened
from tests.unit.kms.test_store import with_passphrase

TABLES = ("kms", "roots", "slots", "records", "revisions", "heads", "events")
REFUSALS = (IntegrityError, SlotError, KmsStoreError)
EVENTS: list[dict[str, Any]] = [{"eventID": str(number)} for number in range(3)]


async def _make(directory: Path) -> None:
    """`older.db`: from before the first key was disabled, an alias moved and another removed, events were written and
    forgotten, and a slot was removed. `kms.db`: from after.
    """
    async with opened(directory) as store:
        first, second = await add_keys(store, 2)
        recovery = await with_passphrase(store)
        await commit(store, Put(new_alias(first, "alias/moves")), events=EVENTS[:1])
        await store.keep_audit_head(AuditHead(sequence=1, hash=bytes.fromhex("00") * 32, state_revision=1))
    shutil.copy(directory / "kms.db", directory / "older.db")
    async with opened(directory) as store:
        disabled = msgspec.structs.replace(first, enabled=False, policy="changed")
        await commit(store, Put(disabled), Put(new_alias(second, "alias/moves")), Remove("alias", "alias/1"))
        await commit(store, events=EVENTS[1:])
        store.forget_events(2)
        await store.keep_audit_head(
            AuditHead(sequence=2, hash=bytes.fromhex("11") * 32, state_revision=store.state_revision)
        )
        await store.remove_slot(recovery.slot_id)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "kms"
    asyncio.run(_make(directory))
    with closing(sqlite3.connect(directory / "kms.db", isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema = ON")  # whoever may write may drop constraints too
        database.execute("UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table'")
    asyncio.run(_look(directory))
    return directory


@pytest.fixture
def directory(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "kms")
    return tmp_path / "kms"


@pytest.fixture
def database(directory: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(directory / "kms.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("ATTACH ? AS older", (str(directory / "older.db"),))
        yield connection


async def _look(directory: Path) -> None:
    async with opened(directory) as store:
        await store.load()
        await store.pending_events()


def refuse(directory: Path, told: str = ".") -> None:
    with pytest.raises(REFUSALS, match=told):
        asyncio.run(_look(directory))


def tamper(database: sqlite3.Connection, *statements: str) -> None:
    for statement in statements:
        assert database.execute(statement).rowcount > 0, statement


def columns() -> list[tuple[str, str]]:
    folder = Path(__file__).resolve().parents[2] / "src/strongroom/database/migrations/kms"
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript((folder / "0001_initial.sql").read_text())
        return [
            (table, row[1]) for table in TABLES for row in connection.execute(f"PRAGMA table_info({table})").fetchall()
        ]


def test_every_table_is_looked_at(made: Path) -> None:
    with closing(sqlite3.connect(made / "kms.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    assert {name for (name,) in tables} == {*TABLES, "schema"}


def _changed(value: object) -> list[object]:
    match value:
        case int():
            return [value + 1, value - 1, -1, 2**40, f"{value}x", None]
        case None:
            return [b"", b"x", 7, "x"]
        case bytes():
            flipped = value[:-1] + bytes([value[-1] ^ 1]) if value else b"\0"
            return [flipped, value + b"\0", b"", bytes(len(value)), None, 7]
        case _:
            return [f"{value}x", "", str(value).encode(), None, 7]


@pytest.mark.parametrize(("table", "column"), columns(), ids=lambda name: name)
def test_every_column_of_every_row(directory: Path, database: sqlite3.Connection, table: str, column: str) -> None:
    """Changed to a neighbouring value, to nothing, and to a value of another type."""
    tried = 0
    rows = database.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
    assert rows
    per_row = 6 if len(rows) < 8 else 2
    for rowid, value in rows:
        for other in [other for other in _changed(value) if other != value][:per_row]:
            try:
                database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (other, rowid))
            except sqlite3.IntegrityError:  # a constraint that is left
                continue
            tried += 1
            refuse(directory)
            database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, rowid))
    assert tried
    asyncio.run(_look(directory))


@pytest.mark.parametrize("table", TABLES)
def test_every_row_removed(directory: Path, database: sqlite3.Connection, table: str) -> None:
    database.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM main.{table}")
    for number in range(database.execute("SELECT COUNT(*) FROM kept").fetchone()[0]):
        row = f"(SELECT rowid FROM main.{table} ORDER BY rowid LIMIT 1 OFFSET {number})"
        tamper(database, f"DELETE FROM main.{table} WHERE rowid = {row}")
        refuse(directory)
        database.execute(f"DELETE FROM main.{table}")
        database.execute(f"INSERT INTO main.{table} SELECT * FROM kept")
    asyncio.run(_look(directory))


# --- what the refusals say


def test_an_older_copy_of_one_record_is_told_by_name(directory: Path, database: sqlite3.Connection) -> None:
    """A key that was disabled and whose policy was changed, as it was before."""
    tamper(
        database,
        "INSERT OR REPLACE INTO records SELECT o.* FROM older.records o JOIN records r USING (kind, record_id)"
        " WHERE o.kind = 'key' AND o.revision <> r.revision",
    )
    ((key_id,),) = database.execute(
        "SELECT record_id FROM records WHERE kind = 'key' AND revision = 2 LIMIT 1"
    ).fetchall()[:1]
    refuse(directory, r"the record key [0-9a-f-]{36} is an older copy \(revision 2, and 5 is current\)")
    assert key_id


def test_an_older_copy_that_claims_the_current_revision_is_told_by_name(
    directory: Path, database: sqlite3.Connection
) -> None:
    tamper(
        database,
        "UPDATE records SET sealed = o.sealed FROM older.records o WHERE o.kind = records.kind"
        " AND o.record_id = records.record_id AND o.kind = 'key' AND o.revision <> records.revision",
    )
    refuse(directory, "the record key [0-9a-f-]{36} was damaged or edited")


def test_a_record_that_was_removed_and_put_back_is_told_by_name(directory: Path, database: sqlite3.Connection) -> None:
    tamper(database, "INSERT INTO records SELECT * FROM older.records WHERE record_id = 'alias/1'")
    refuse(directory, "the record alias alias/1 was added")


def test_a_missing_record_is_told_by_name(directory: Path, database: sqlite3.Connection) -> None:
    tamper(database, "DELETE FROM records WHERE record_id = 'alias/moves'")
    refuse(directory, "the record alias alias/moves is missing")


def test_two_records_exchanged(directory: Path, database: sqlite3.Connection) -> None:
    """Of one kind and one commit, so that only their names differ."""
    tamper(
        database,
        "UPDATE records SET sealed = (SELECT o.sealed FROM older.records o WHERE o.kind = 'material' AND o.record_id <> records.record_id)"
        " WHERE kind = 'material'",
    )
    refuse(directory, "the record material [0-9a-f]{64} was damaged or edited")


def test_a_slot_that_was_removed_and_put_back(directory: Path, database: sqlite3.Connection) -> None:
    """Its key still opens the root, which was not rotated; but it is no slot any more."""
    tamper(database, "INSERT INTO slots SELECT * FROM older.slots WHERE name = 'recovery'")
    refuse(directory, "the unseal slot 'recovery' was added to kms.db, or put back after it was removed")
    tamper(database, "INSERT INTO records SELECT * FROM older.records o WHERE kind = 'slot' AND revision = 3")
    refuse(directory, "the unseal slot 'recovery' was added|the record slot [0-9a-f]{32} was added")


def test_argon2_parameters_are_not_to_be_weakened(tmp_path: Path) -> None:
    async def make() -> None:
        async with opened(tmp_path / "kms") as store:
            await with_passphrase(store)

    asyncio.run(make())
    from strongroom.kms.slots import encode_source

    for weaker in (msgspec.structs.replace(QUICK, memory_kib=8), msgspec.structs.replace(QUICK, iterations=2)):
        with closing(sqlite3.connect(tmp_path / "kms" / "kms.db", isolation_level=None)) as database:
            database.execute("UPDATE slots SET parameters = ? WHERE name = 'recovery'", (encode_source(weaker),))
        refuse(tmp_path / "kms", "the unseal slot 'recovery' was edited")
    (tmp_path / "kms" / "root.key").unlink()

    async def look() -> None:
        async with opened(tmp_path / "kms", environ={PASSPHRASE_VARIABLE: PHRASE}):
            pass

    with pytest.raises(SlotError, match="passphrase is wrong"):
        asyncio.run(look())


@pytest.mark.parametrize("names", ["'state'", "'audit'", "'state', 'audit'"])
def test_older_heads(directory: Path, database: sqlite3.Connection, names: str) -> None:
    tamper(database, f"INSERT OR REPLACE INTO heads SELECT * FROM older.heads WHERE name IN ({names})")
    refuse(directory)


def test_the_state_of_before_beside_the_audit_head_of_now(directory: Path, database: sqlite3.Connection) -> None:
    for table in ("slots", "records", "revisions", "events"):
        database.execute(f"DELETE FROM {table}")
        tamper(database, f"INSERT INTO {table} SELECT * FROM older.{table}")
    tamper(database, "INSERT OR REPLACE INTO heads SELECT * FROM older.heads WHERE name = 'state'")
    refuse(directory, "is an older copy|older than the audit head")


def test_older_pages_of_revisions(directory: Path, database: sqlite3.Connection) -> None:
    tamper(
        database,
        "INSERT OR REPLACE INTO revisions SELECT o.* FROM older.revisions o JOIN revisions r USING (page) WHERE o.revision <> r.revision",
    )
    refuse(directory, "page [0-9]+ of the revisions is an older copy")


def test_older_pages_with_their_records(directory: Path, database: sqlite3.Connection) -> None:
    tamper(
        database,
        "INSERT OR REPLACE INTO revisions SELECT o.* FROM older.revisions o JOIN revisions r USING (page) WHERE o.revision <> r.revision",
        "INSERT OR REPLACE INTO records SELECT * FROM older.records",
    )
    refuse(directory, "page [0-9]+ of the revisions is an older copy")


def test_an_event_that_the_log_must_still_get_is_not_to_be_lost(directory: Path, database: sqlite3.Connection) -> None:
    tamper(database, "DELETE FROM events")
    refuse(directory, "an event was removed")


def test_the_root_of_another_time(directory: Path, database: sqlite3.Connection) -> None:
    """Rows of slots and roots from before a rotation, under everything of after it."""

    async def rotate() -> None:
        from strongroom.kms.slots import Given

        async with opened(directory) as store:
            await store.rotate_root(Given(directory=directory, environ={}), apply=lambda _: None)

    shutil.copy(directory / "kms.db", directory / "before.db")
    asyncio.run(rotate())
    database.execute("ATTACH ? AS before", (str(directory / "before.db"),))
    tamper(database, "DELETE FROM slots", "INSERT INTO slots SELECT * FROM before.slots")
    refuse(directory, "slot 'default' .* holds root key [0-9a-f]{32} .* is not the root key of this kms.db")
    tamper(database, "DELETE FROM roots", "INSERT INTO roots SELECT * FROM before.roots")
    refuse(directory, "version 2 of the root key, which is not in force")


def test_the_whole_file_of_an_earlier_time_opens_and_shows_it(directory: Path) -> None:
    """What the audit log compares: revision and head are those of that time."""

    async def look() -> tuple[int, AuditHead | None]:
        async with opened(directory) as store:
            await store.load()
            return store.state_revision, store.audit_head()

    now = asyncio.run(look())
    shutil.copy(directory / "older.db", directory / "kms.db")
    before = asyncio.run(look())
    assert before[0] < now[0]
    assert before[1] != now[1]


def test_text_that_is_none_and_a_file_that_is_no_database(directory: Path, database: sqlite3.Connection) -> None:
    tamper(database, "UPDATE records SET record_id = CAST(x'ff' AS TEXT) WHERE record_id = 'alias/moves'")
    refuse(directory, "kms.db is damaged")
    database.close()
    (directory / "kms.db").write_bytes(b"no database" * 1000)
    refuse(directory, "kms.db is damaged .*: restore it from a backup")


def test_nothing_of_a_record_is_readable_but_its_name(made: Path) -> None:
    content = (made / "kms.db").read_bytes()
    for secret in (b"arn:aws:iam", b"ENCRYPT_DECRYPT", b"SYMMETRIC", b"changed", b"eventID", PHRASE.encode()):
        assert secret not in content
    assert b"alias/moves" in content
