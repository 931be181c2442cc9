"""SqliteDatabase on bad days: durability, failing fsyncs, a full disk, other processes, SIGKILL."""

import asyncio
import random
import re
import signal
import sqlite3
import time
from contextlib import closing

import pytest

from strongroom.database.database import Unavailable
from strongroom.database.sqlite import SqliteDatabase
from tests.faults.children import on_small_disk, run, start, traced

PRELUDE = """
import asyncio, os, sqlite3, shutil, signal, sys
from contextlib import closing
from pathlib import Path
from strongroom.database.database import DatabaseFull, Unavailable
from strongroom.database.sqlite import SqliteDatabase

def put(key, value=b""):
    return lambda connection: connection.execute("INSERT INTO pairs VALUES (?, ?)", (key, value))

def delete(key):
    return lambda connection: connection.execute("DELETE FROM pairs WHERE key = ? RETURNING key", (key,))
"""


@pytest.fixture
def path(tmp_path):
    """A database with the table `pairs`, closed."""
    path = tmp_path / "index.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE pairs (key TEXT PRIMARY KEY, value BLOB)")
    return path


def keys_of(path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [key for (key,) in connection.execute("SELECT key FROM pairs ORDER BY key")]


def test_a_commit_is_on_disk_before_the_answer(tmp_path, path):
    script = (
        PRELUDE
        + """
async def main(path):
    database = SqliteDatabase.open(path)
    for key in ("first", "second"):
        await database.transact(put(key))
        os.write(1, b"committed " + key.encode())
    await database.close()

asyncio.run(main(sys.argv[1]))
"""
    )
    trace = tmp_path / "trace"
    run(script, path, under=traced(trace, "-e", "trace=pwrite64,fsync,fdatasync,write"))
    events = []
    for line in trace.read_text().splitlines():
        if answered := re.search(r"write\(1<.*\"committed (\w+)", line):
            events.append(answered[1])
        elif file_call := re.search(rf"(pwrite64|fsync|fdatasync)\(\d+<{path}-wal>", line):
            events.append("write" if file_call[1] == "pwrite64" else "fsync")
    for answer in ("first", "second"):
        before = events[: events.index(answer)]
        assert "write" in before
        assert before[-1] == "fsync"
        del events[: len(before) + 1]


FAILING_SYNC = (
    PRELUDE
    + """
async def main(path, crashed):
    database = SqliteDatabase.open(path)
    try:
        await database.transact(put("lost"))
    except Unavailable:
        pass
    else:
        raise AssertionError("it claims to be committed")
    assert await database.read("SELECT * FROM pairs") == []
    for name in (path, path + "-wal"):
        shutil.copy(name, crashed)
    await database.transact(put("kept"))
    assert await database.read("SELECT key FROM pairs") == [("kept",)]
    await database.close()

asyncio.run(main(*sys.argv[1:]))
"""
)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_commit_whose_fsync_failed_never_happened_not_even_after_a_crash(tmp_path, path, failing):
    """1: of the WAL's new header, 2: of the frames, which by then stand whole in the file."""
    crashed, trace = tmp_path / "crashed", tmp_path / "trace"
    crashed.mkdir()
    only_wal = ["--trace-path", f"{path}-wal"]
    inject = f"inject=fdatasync:error=EIO:when={failing}"
    run(FAILING_SYNC, path, crashed, under=traced(trace, *only_wal, "-e", "trace=fdatasync", "-e", inject))
    assert "EIO" in trace.read_text()
    assert keys_of(path) == ["kept"]
    assert keys_of(crashed / path.name) == []


def test_a_failed_fsync_of_a_checkpoint_loses_nothing(tmp_path, path):
    script = (
        PRELUDE
        + """
async def main(path):
    database = SqliteDatabase.open(path)
    for number in range(10):
        await database.transact(put(f"{number}", bytes(1 << 20)))
    await database.close()

asyncio.run(main(sys.argv[1]))
"""
    )
    trace = tmp_path / "trace"
    only_database = ["--trace-path", str(path)]
    inject = "inject=fdatasync:error=EIO:when=1..2"
    run(script, path, under=traced(trace, *only_database, "-e", "trace=fdatasync", "-e", inject))
    assert trace.read_text().count("EIO") == 2
    assert keys_of(path) == [f"{number}" for number in range(10)]


FULL_DISK = (
    PRELUDE
    + """
async def refused(database, function):
    try:
        await database.transact(function)
    except DatabaseFull:
        return True
    return False

async def main(directory):
    path = Path(directory, "index.db")
    database = SqliteDatabase.open(path, reserve_bytes=8 << 20)
    table = "CREATE TABLE pairs (key TEXT PRIMARY KEY, value BLOB)"
    await database.transact(lambda connection: connection.execute(table))

    stored = 0
    while not await refused(database, put(f"{stored:04}", os.urandom(100_000))):
        stored += 1
    assert stored > 50
    with open(Path(directory, "filler"), "wb", buffering=0) as filler:  # and now another program takes the rest
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass

    everything = [(f"{number:04}",) for number in range(stored)]
    assert await database.read("SELECT key FROM pairs ORDER BY key") == everything
    assert await refused(database, put("more", os.urandom(100_000)))

    another = SqliteDatabase.open(path, reserve_bytes=8 << 20)
    reserve, given_up, added = Path(directory, "index.db.reserve"), 0, 0
    for number in range(stored):
        user = (database, another)[number % 2]
        assert await user.transact(delete(f"{number:04}"), frees_space=True) == [(f"{number:04}",)]
        given_up += reserve.stat().st_size == 0
        while not await refused(user, put(f"more {added:04}", os.urandom(50_000))):  # others take what became free
            added += 1
    assert given_up
    expected = [(f"more {number:04}",) for number in range(added)]
    assert await database.read("SELECT key FROM pairs ORDER BY key") == expected

    Path(directory, "filler").unlink()
    await database.transact(put("last"))
    assert reserve.stat().st_size == 8 << 20
    await another.close()
    await database.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT key FROM pairs ORDER BY key").fetchall() == [("last",), *expected]

asyncio.run(main(sys.argv[1]))
"""
)


def test_a_full_disk_refuses_what_adds_and_lets_read_and_delete_and_recovers_by_itself(tmp_path):
    run(FULL_DISK, tmp_path / "disk", under=on_small_disk(tmp_path / "disk", "32m"))


def test_one_transaction_that_does_not_fit_spoils_no_other_of_its_group(tmp_path):
    script = (
        PRELUDE
        + """
async def main(directory):
    database = SqliteDatabase.open(Path(directory, "index.db"), reserve_bytes=1 << 20)
    table = "CREATE TABLE pairs (key TEXT PRIMARY KEY, value BLOB)"
    await database.transact(lambda connection: connection.execute(table))
    sizes = [10, 1000, 64 << 20, 1000, 10]
    work = (database.transact(put(f"{number}", bytes(size))) for number, size in enumerate(sizes))
    results = await asyncio.gather(*work, return_exceptions=True)
    assert [type(result) for result in results] == [list, list, DatabaseFull, list, list], results
    assert await database.read("SELECT key FROM pairs ORDER BY key") == [("0",), ("1",), ("3",), ("4",)]
    await database.close()

asyncio.run(main(sys.argv[1]))
"""
    )
    run(script, tmp_path / "disk", under=on_small_disk(tmp_path / "disk", "16m"))


def test_a_start_on_a_full_disk_can_read_and_delete(tmp_path):
    script = (
        PRELUDE
        + """
async def main(directory):
    path = Path(directory, "index.db")
    database = SqliteDatabase.open(path)
    table = "CREATE TABLE pairs (key TEXT PRIMARY KEY, value BLOB)"
    await database.transact(lambda connection: connection.execute(table))
    await database.transact(put("key", bytes(100_000)))
    await database.close()
    with open(Path(directory, "filler"), "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass
    database = SqliteDatabase.open(path)
    assert await database.read("SELECT key FROM pairs") == [("key",)]
    assert await database.transact(delete("key"), frees_space=True) == [("key",)]
    await database.close()

asyncio.run(main(sys.argv[1]))
"""
    )
    run(script, tmp_path / "disk", under=on_small_disk(tmp_path / "disk", "16m"))


COUNT = (
    PRELUDE
    + """
def increment(connection):
    ((value,),) = connection.execute("SELECT value FROM pairs WHERE key = 'count'")
    connection.execute("UPDATE pairs SET value = ? WHERE key = 'count'", (value + 1,))

async def main(path):
    database = SqliteDatabase.open(path, busy_timeout=30)
    for _ in range(50):
        await asyncio.gather(*(database.transact(increment) for _ in range(4)))
    await database.close()

asyncio.run(main(sys.argv[1]))
"""
)


def test_processes_that_write_at_once_lose_no_update(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO pairs VALUES ('count', 0)")
    processes = [start(COUNT, path) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0, 0]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM pairs WHERE key = 'count'").fetchall() == [(600,)]


STOP_INSIDE = (
    PRELUDE
    + """
def stop(connection):
    connection.execute("INSERT INTO pairs VALUES ('stopped', x'')")
    os.write(1, b"stopping")
    os.kill(os.getpid(), signal.SIGSTOP)

async def main(path):
    database = SqliteDatabase.open(path)
    await database.transact(stop)
    await database.close()

asyncio.run(main(sys.argv[1]))
"""
)


@pytest.mark.parametrize("then", [signal.SIGCONT, signal.SIGKILL])
def test_a_process_that_is_stopped_in_a_transaction_makes_others_unavailable_not_hang(path, then):
    async def main() -> None:
        database = SqliteDatabase.open(path, busy_timeout=0.2)
        process = start(STOP_INSIDE, path)
        try:
            assert process.stdout is not None
            assert process.stdout.read(8) == b"stopping"
            assert await database.read("SELECT * FROM pairs") == []
            with pytest.raises(Unavailable):
                await database.transact(lambda connection: connection.execute("DELETE FROM pairs"))
            process.send_signal(then)
            process.wait(timeout=20)
        finally:
            process.kill()
            process.communicate()
        expected = [("stopped",)] if then is signal.SIGCONT else []
        assert await database.read("SELECT key FROM pairs") == expected
        await database.close()

    asyncio.run(main())


WRITE_FOR_EVER = (
    PRELUDE
    + """
def add(key):
    def function(connection):
        connection.execute("INSERT INTO pairs VALUES (?, ?)", ("one " + key, os.urandom(9000)))
        connection.execute("INSERT INTO pairs VALUES (?, ?)", ("two " + key, os.urandom(20)))
    return function

async def writer(database):
    while True:
        key = os.urandom(8).hex()
        await database.transact(add(key))
        os.write(1, key.encode())

async def main(path):
    database = SqliteDatabase.open(path)
    await asyncio.gather(*(writer(database) for _ in range(8)))

asyncio.run(main(sys.argv[1]))
"""
)


def test_after_sigkill_every_acknowledged_transaction_is_there_and_none_is_half_there(path):
    acknowledged = set()
    for _ in range(8):
        processes = [start(WRITE_FOR_EVER, path) for _ in range(2)]
        beginnings = [process.stdout.read(16) for process in processes]  # type: ignore[union-attr]
        time.sleep(random.uniform(0, 0.15))
        for process in processes:
            process.kill()
        for process, beginning in zip(processes, beginnings, strict=True):
            output = beginning + process.communicate()[0]
            assert len(output) % 16 == 0
            acknowledged |= {output[at : at + 16].decode() for at in range(0, len(output), 16)}
        keys = set(keys_of(path))
        ones = {key.removeprefix("one ") for key in keys if key.startswith("one ")}
        twos = {key.removeprefix("two ") for key in keys if key.startswith("two ")}
        assert ones == twos
        assert acknowledged <= ones
    assert len(acknowledged) > 50
