"""SqliteDatabase: transactions, visibility, files, the bounded WAL, backup."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from strongroom.database.database import Connection, Unavailable
from strongroom.database.sqlite import SqliteDatabase, backup
from strongroom.database.sqlite_writer import WAL_BOUND


class RefusedError(Exception):
    pass


@asynccontextmanager
async def opened(path: Path, **settings) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase.open(path, **settings)
    try:
        await database.transact(create_table)
        yield database
    finally:
        await database.close()


def create_table(connection: Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS pairs (key TEXT PRIMARY KEY, value BLOB NOT NULL)")


def put(key: str, value: bytes = b""):
    def function(connection: Connection) -> int:
        connection.execute("INSERT INTO pairs VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, value))
        return connection.changed

    return function


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  it is the file system's state, which sets no Event
            await asyncio.sleep(0.01)


def test_a_result_comes_back_and_the_reader_sees_the_commit(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "index.db") as database:
            assert await database.transact(put("a", b"1")) == 1
            assert await database.transact(put("a", b"2")) == 0
            assert await database.read("SELECT key, value FROM pairs") == [("a", b"1")]
            assert database.read_sync("SELECT count(*) FROM pairs WHERE key = ?", ("a",)) == [(1,)]

    asyncio.run(main())


def test_changed_counts_the_rows_of_a_write_with_returning_and_ignores_reads(tmp_path):
    def function(connection: Connection):
        rows = connection.execute("INSERT INTO pairs VALUES ('a', x''), ('b', x'') RETURNING key")
        inserted = connection.changed
        connection.execute("SELECT * FROM pairs")
        return rows, inserted, connection.changed

    async def main() -> None:
        async with opened(tmp_path / "index.db") as database:
            assert await database.transact(function) == ([("a",), ("b",)], 2, 2)

    asyncio.run(main())


def test_what_one_function_raises_undoes_only_its_own_changes(tmp_path):
    def refuse(connection: Connection) -> None:
        put("refused")(connection)
        raise RefusedError

    async def main() -> None:
        async with opened(tmp_path / "index.db") as database:
            functions = [put("before"), refuse, put("after")]
            results = await asyncio.gather(*map(database.transact, functions), return_exceptions=True)
            assert [type(result) for result in results] == [int, RefusedError, int]
            assert await database.read("SELECT key FROM pairs ORDER BY key") == [("after",), ("before",)]

    asyncio.run(main())


def test_an_error_of_the_sql_reaches_the_caller_as_it_is(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "index.db") as database:
            with pytest.raises(sqlite3.OperationalError, match="no such table"):
                await database.transact(lambda connection: connection.execute("SELECT * FROM absent"))
            with pytest.raises(sqlite3.OperationalError, match="no such table"):
                await database.read("SELECT * FROM absent")
            with pytest.raises(sqlite3.IntegrityError):
                await database.transact(lambda connection: connection.execute("INSERT INTO pairs VALUES ('a', NULL)"))
            assert await database.transact(put("a")) == 1

    asyncio.run(main())


def test_a_function_that_ends_the_transaction_itself_changes_nothing_and_harms_nobody(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "index.db") as database:
            with pytest.raises(Unavailable):
                await database.transact(lambda connection: connection.execute("ROLLBACK"))
            assert await database.transact(put("a")) == 1

    asyncio.run(main())


def test_waiting_transactions_share_a_commit(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "index.db") as database:
            first, wal = await database.version(), tmp_path / "index.db-wal"
            before = wal.stat().st_size
            await asyncio.gather(*(database.transact(put(str(number))) for number in range(200)))
            assert await database.read("SELECT count(*) FROM pairs") == [(200,)]
            assert wal.stat().st_size - before < 200 * 4096  # a commit of its own for each would be two pages each
            assert await database.version() != first

    asyncio.run(main())


def test_the_version_changes_with_the_commits_of_anybody_and_only_with_those(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "index.db") as ours, opened(tmp_path / "index.db") as theirs:
            first = await ours.version()
            await ours.read("SELECT * FROM pairs")
            assert await ours.version() == first
            await theirs.transact(put("a"))
            second = await ours.version()
            assert second != first
            await ours.transact(put("b"))
            assert await ours.version() != second

    asyncio.run(main())


def test_text_is_ordered_by_its_utf8_bytes_and_kept_exactly(tmp_path):
    keys = ["a\x00b", "a", "\uffff", "\U00010000", "é", "e\u0301", "Z", "z", "a/../b", " a "]

    async def main() -> None:
        async with opened(tmp_path / "index.db") as database:
            for key in keys:
                assert await database.transact(put(key)) == 1
            found = [key for (key,) in await database.read("SELECT key FROM pairs ORDER BY key")]
            assert found == sorted(keys, key=str.encode)
            after = await database.read("SELECT key FROM pairs WHERE key > ? ORDER BY key", ("\uffff",))
            assert after == [("\U00010000",)]

    asyncio.run(main())


def test_a_caller_that_gives_up_does_not_disturb_the_others(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "index.db") as database:
            task = asyncio.create_task(database.transact(put("cancelled")))
            await asyncio.sleep(0)
            task.cancel()
            assert await database.transact(put("next")) == 1
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_close_finishes_what_waits_and_leaves_one_file(tmp_path):
    path = tmp_path / "index.db"

    async def main() -> None:
        database = SqliteDatabase.open(path, reserve_bytes=0)
        await database.transact(create_table)
        waiting = [asyncio.create_task(database.transact(put(str(number)))) for number in range(50)]
        await asyncio.sleep(0)
        await database.close()
        await database.close()
        assert await asyncio.gather(*waiting) == [1] * 50
        with pytest.raises(Unavailable):
            await database.transact(put("late"))
        with pytest.raises(Unavailable):
            await database.read("SELECT 1")

    asyncio.run(main())
    assert {file.name for file in tmp_path.iterdir()} == {"index.db", "index.db.lock", "index.db.reserve"}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM pairs").fetchall() == [(50,)]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_every_file_is_private_whatever_the_umask(tmp_path, umask):
    async def main() -> None:
        async with opened(tmp_path / "index.db") as database:
            await database.transact(put("a"))
            await asyncio.to_thread(backup, tmp_path / "index.db", tmp_path / "copy.db")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
            assert {"index.db", "index.db-wal", "index.db-shm", "index.db.reserve", "copy.db"} <= set(modes)
            assert set(modes.values()) == {0o600}, modes

    previous = os.umask(umask)
    try:
        asyncio.run(main())
    finally:
        os.umask(previous)


def test_a_file_with_other_rights_is_made_private(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "index.db"):
            pass
        (tmp_path / "index.db").chmod(0o644)
        async with opened(tmp_path / "index.db"):
            assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}

    asyncio.run(main())


@pytest.mark.parametrize("name", ["index.db", "index.db.lock", "index.db.reserve"])
def test_a_symlink_is_not_followed(tmp_path, name):
    target = tmp_path / "target"
    (tmp_path / name).symlink_to(target)
    with pytest.raises(OSError, match=r"File exists|symbolic links"):
        SqliteDatabase.open(tmp_path / "index.db")
    assert not target.exists()


def test_the_settings_hold_on_both_connections(tmp_path):
    def settings(connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "secure_delete", "temp_store", "wal_autocheckpoint", "mmap_size")
        return {name: connection.execute(f"PRAGMA {name}")[0][0] for name in names}

    expected = {
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
        "temp_store": 2,
        "wal_autocheckpoint": 0,
        "mmap_size": 0,
    }

    async def main() -> None:
        async with opened(tmp_path / "index.db") as database:
            assert await database.transact(settings) == expected
            assert {name: database.read_sync(f"PRAGMA {name}")[0][0] for name in expected} == expected

    asyncio.run(main())


def test_a_deleted_value_is_gone_from_the_database_file(tmp_path):
    secret = os.urandom(64)

    async def main() -> None:
        async with opened(tmp_path / "index.db") as database:
            await database.transact(put("a", secret))
        assert secret in (tmp_path / "index.db").read_bytes()
        async with opened(tmp_path / "index.db") as database:
            await database.transact(lambda connection: connection.execute("DELETE FROM pairs"))

    asyncio.run(main())
    assert all(secret not in file.read_bytes() for file in tmp_path.iterdir())


def test_the_wal_stays_bounded_under_steady_load_and_is_emptied_when_idle(tmp_path):
    wal = tmp_path / "index.db-wal"

    async def main() -> None:
        async with opened(tmp_path / "index.db") as ours, opened(tmp_path / "index.db") as theirs:
            longest = 0
            for turn in range(30):
                writes = [
                    database.transact(put(f"{turn}/{number}/{name}", bytes(8000)))
                    for number in range(40)
                    for name, database in (("ours", ours), ("theirs", theirs))
                ]
                await asyncio.gather(*writes)
                assert await ours.read("SELECT count(*) FROM pairs") == [((turn + 1) * 80,)]
                longest = max(longest, wal.stat().st_size)
            assert (tmp_path / "index.db").stat().st_size > 2 * WAL_BOUND  # so there was enough to outgrow it
            assert longest < 2 * WAL_BOUND
            await until(lambda: wal.stat().st_size == 0)

    asyncio.run(main())


def test_a_long_reader_delays_the_checkpoint_and_does_not_stop_writing(tmp_path):
    path, wal = tmp_path / "index.db", tmp_path / "index.db-wal"

    async def main() -> None:
        async with opened(path) as database:
            with closing(sqlite3.connect(path, isolation_level=None)) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT * FROM pairs").fetchall()
                for number in range(2 * WAL_BOUND // 500_000):
                    await database.transact(put(str(number), bytes(500_000)))
                assert wal.stat().st_size > WAL_BOUND
                reader.execute("ROLLBACK")
            for number in range(2 * WAL_BOUND // 500_000):
                await database.transact(put(f"more/{number}", bytes(500_000)))
            assert wal.stat().st_size < 2 * WAL_BOUND

    asyncio.run(main())


def test_a_stranger_that_holds_the_lock_makes_a_transaction_unavailable_and_no_read(tmp_path):
    path = tmp_path / "index.db"

    async def main() -> None:
        async with opened(path, busy_timeout=0.2) as database:
            with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
                stranger.execute("BEGIN IMMEDIATE")
                with pytest.raises(Unavailable):
                    await database.transact(put("a"))
                assert await database.read("SELECT * FROM pairs") == []
                stranger.execute("ROLLBACK")
            assert await database.transact(put("a")) == 1

    asyncio.run(main())


def test_backup_is_one_moment_of_a_database_that_goes_on_changing(tmp_path):
    """Every transaction adds one row to each of two tables, so a copy with unequal tables is torn."""
    path, copy = tmp_path / "index.db", tmp_path / "copy.db"
    progress = []

    def add(connection: Connection) -> None:
        connection.execute("INSERT INTO ones VALUES (zeroblob(5000))")
        connection.execute("INSERT INTO others VALUES (zeroblob(5000))")

    async def main() -> None:
        async with opened(path) as database:
            await database.transact(lambda connection: connection.execute("CREATE TABLE ones (value BLOB)"))
            await database.transact(lambda connection: connection.execute("CREATE TABLE others (value BLOB)"))
            await asyncio.gather(*(database.transact(add) for _ in range(1000)))
            done = asyncio.create_task(asyncio.to_thread(backup, path, copy, lambda *step: progress.append(step)))
            while not done.done():
                await database.transact(add)
            await done

    asyncio.run(main())
    assert len(progress) > 1
    assert progress[-1][0] == 0
    assert not copy.with_name("copy.db-wal").exists()
    with closing(sqlite3.connect(copy)) as connection:
        (counts,) = connection.execute("SELECT (SELECT count(*) FROM ones), (SELECT count(*) FROM others)").fetchall()
        assert counts[0] == counts[1] >= 1000
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_backup_never_writes_over_a_file_and_never_invents_a_source(tmp_path):
    with pytest.raises(FileNotFoundError):
        backup(tmp_path / "index.db", tmp_path / "copy.db")
    sqlite3.connect(tmp_path / "index.db").close()
    (tmp_path / "index.db").touch()
    (tmp_path / "copy.db").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        backup(tmp_path / "index.db", tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_bytes() == b"precious"
