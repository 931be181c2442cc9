"""The index under a running server: locked by somebody else, wanted by a second server, written without a pause."""

import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness import STRONGROOM, Reply, Server, free_port, running, wait_until

BUSY_TIMEOUT = 5.0  # of the server's index
WAL_LIMIT = 12 << 20  # bytes: its bound, which is 4 MiB, and what one group of transactions may add beyond it


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path, environment={"STRONGROOM_DELETION_GRACE": "0"}) as started:
        assert started.send("PUT", "/bucket").status == 200
        assert started.send("PUT", "/bucket/old", body=b"old content").status == 200
        yield started


def index_of(server: Server) -> Path:
    return server.data_dir / "s3" / "index.db"


# --- others


def test_a_second_server_refuses_and_names_the_first(server):
    arguments = ["--listen", f"127.0.0.1:{free_port()}", "--listen-tls", "off", "--listen-metrics", "off"]
    arguments += ["--kms-listen", "off"]
    result = subprocess.run(
        [STRONGROOM, "serve", "--data-dir", str(server.data_dir), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert result.returncode == 1
    assert result.stderr == (
        f"strongroom: Another server (pid {server.process.pid}) uses {server.data_dir};"
        " stop it, or choose another --data-dir.\n"
    )
    assert server.send("GET", "/bucket/old").body == b"old content"
    assert server.send("PUT", "/bucket/new", body=b"new content").status == 200


def test_an_index_that_somebody_locks_is_503_for_who_writes_and_nothing_for_who_reads(server):
    writes: list[Callable[[], Reply]] = [
        lambda: server.send("PUT", "/bucket/new", body=b"new content"),
        lambda: server.send("PUT", "/bucket/old", body=b"new content"),
        lambda: server.send("DELETE", "/bucket/old"),
        lambda: server.send("PUT", "/another-bucket"),
        lambda: server.send("PUT", "/bucket/copy", headers={"x-amz-copy-source": "/bucket/old"}),
        lambda: server.send("POST", "/bucket/upload?uploads="),
    ]
    with closing(sqlite3.connect(index_of(server), isolation_level=None)) as stranger, ThreadPoolExecutor() as pool:
        stranger.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        replies = [pool.submit(write) for write in writes]
        assert server.send("GET", "/bucket/old").body == b"old content"
        assert server.send("GET", "/bucket?list-type=2").element("Key") == "old"
        assert server.send("GET", "/-/ready", sign=False).status == 200
        for reply in (each.result() for each in replies):
            assert (reply.status, reply.code) == (503, "ServiceUnavailable")
        # What came while the first of a worker waited waits for its own turn after it.
        assert BUSY_TIMEOUT * 0.9 < time.monotonic() - started < 3 * BUSY_TIMEOUT
        stranger.execute("ROLLBACK")
    assert server.send("GET", "/bucket?list-type=2").element("KeyCount") == "1"
    assert server.send("GET", "/bucket/old").body == b"old content"
    assert {write().status for write in writes} <= {200, 204, 404}
    assert " ERROR " not in server.log.read_text()


def test_a_worker_that_is_stopped_for_a_moment_costs_no_request(server):
    """It may hold the lock of the index when it stops; the other waits for it, and everything is answered."""
    stop = threading.Event()
    stopped, other = server.workers()

    def write() -> set[int]:
        statuses = set[int]()
        while not stop.is_set():
            statuses.add(server.send("PUT", "/bucket/old", body=b"old content").status)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write) for _ in range(4)]
        for _ in range(3):
            time.sleep(0.2)  # a moment among the writes
            os.kill(stopped, signal.SIGSTOP)
            time.sleep(0.3)  # of the other one's writes
            os.kill(stopped, signal.SIGCONT)
        stop.set()
        assert {status for each in writing for status in each.result()} == {200}
    assert server.workers() == [stopped, other]
    assert server.send("GET", "/bucket/old").body == b"old content"


# --- growth, and what is left of what was deleted


def test_the_write_ahead_log_stays_bounded_under_steady_load(server):
    wal = Path(f"{index_of(server)}-wal")
    stop = threading.Event()

    def write(writer: int) -> int:
        count = 0
        while not stop.is_set():
            target = f"/bucket/{writer}/{count % 100}"
            assert server.send("PUT", target, body=b"content", headers={"x-amz-meta-a": "x" * 1000}).status == 200
            count += 1
        return count

    sizes = []
    with ThreadPoolExecutor(8) as pool:
        writing = [pool.submit(write, writer) for writer in range(8)]
        end = time.monotonic() + 10
        while time.monotonic() < end:
            sizes.append(wal.stat().st_size)
            time.sleep(0.01)
        stop.set()
        written = sum(each.result() for each in writing)
    assert max(sizes) < WAL_LIMIT, f"{max(sizes):,} bytes after {written} writes"
    assert max(sizes) > 1 << 20  # there was something to bound
    wait_until(lambda: wal.stat().st_size == 0)  # and nothing is left in it when nobody writes any more


def test_nothing_of_a_deleted_row_stays_in_the_index(server):
    """Its sealed key above all: what could be read of it later would bring back what its owner deleted."""
    for number in range(50):  # so that its page stays in use
        server.send("PUT", f"/bucket/other/{number}", body=b"content")
    server.send("PUT", "/bucket/no-longer-there", body=b"content", headers={"x-amz-meta-a": "secret" * 100})
    with closing(sqlite3.connect(index_of(server))) as connection:
        ((sealed,),) = connection.execute("SELECT sealed FROM object_versions WHERE key = 'no-longer-there'")
    assert len(sealed) > 600
    files = [index_of(server), Path(f"{index_of(server)}-wal")]
    assert any(sealed[:200] in path.read_bytes() for path in files)
    assert server.send("DELETE", "/bucket/no-longer-there").status == 204
    wait_until(lambda: files[1].stat().st_size == 0)
    remains = b"".join(path.read_bytes() for path in files)
    for start in range(0, len(sealed) - 32, 32):
        assert sealed[start : start + 32] not in remains
    assert b"no-longer-there" not in remains
