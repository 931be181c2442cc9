"""How much memory a worker takes while more than its memory goes through it, either way, and many ways at once.

`FULL_MEMORY_TEST=1` in the environment makes the object 5 GiB, the most that one PUT may have, and the 32 concurrent
uploads 100 MiB each, as the promise reads; without it both are smaller, and as telling.
"""

import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import pytest

from tests.harness import Server, customer_key_headers, read_reply, running

MIB = 1 << 20
LIMIT = 200 * MIB
FULL = "FULL_MEMORY_TEST" in os.environ
STREAM_MIB = 5 * 1024 if FULL else 1024
CONCURRENT, CONCURRENT_MIB = 32, 100 if FULL else 32
BLOCK = os.urandom(MIB)
KEY = bytes(range(32))

pytestmark = [pytest.mark.xdist_group("memory"), pytest.mark.timeout(1200 if FULL else 120)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path, "--workers", "1") as started:
        assert started.send("PUT", "/bucket").status == 200
        yield started


def peak(server: Server) -> int:
    """The most bytes that the worker ever had in memory."""
    (pid,) = server.workers()
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def upload(server: Server, target: str, mebibytes: int, *, tls: bool = False, **headers: str) -> None:
    given = {"content-length": str(mebibytes * MIB), **headers}
    with server.connect(tls=tls, timeout=600) as connection:
        connection.sendall(server.head("PUT", target, headers=given, payload="UNSIGNED-PAYLOAD"))
        for block in repeat(BLOCK, mebibytes):
            connection.sendall(block)
        reply = read_reply(connection, "PUT")
    assert reply.status == 200, reply.body


def download(server: Server, target: str, *, tls: bool = False, **headers: str) -> int:
    """How many bytes came, all of them right."""
    with server.connect(tls=tls, timeout=600) as connection:
        connection.sendall(server.head("GET", target, headers=headers))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 200 ")
        found = re.search(rb"content-length: (\d+)", head)
        assert found is not None
        return receive(connection, int(found[1]))


def receive(connection: socket.socket, size: int) -> int:
    buffer, received = bytearray(MIB), 0
    while received < size:
        filled = 0
        while filled < min(MIB, size - received):
            count = connection.recv_into(memoryview(buffer)[filled:])
            assert count, f"the connection ended after {received + filled} bytes"
            filled += count
        assert buffer[:filled] == BLOCK[:filled]
        received += filled
    return received


def test_a_worker_stays_small_while_one_large_object_goes_through_it(server):
    upload(server, "/bucket/large", STREAM_MIB)
    assert peak(server) < LIMIT
    assert download(server, "/bucket/large") == STREAM_MIB * MIB
    assert peak(server) < LIMIT


def test_a_worker_stays_small_with_tls_and_a_customers_key(server):
    key = customer_key_headers(KEY)
    upload(server, "/bucket/large", STREAM_MIB // 4, tls=True, **key)
    assert download(server, "/bucket/large", tls=True, **key) == STREAM_MIB // 4 * MIB
    assert peak(server) < LIMIT


def test_a_worker_stays_small_under_concurrent_transfers(server):
    with ThreadPoolExecutor(CONCURRENT) as pool:
        targets = [f"/bucket/{number}" for number in range(CONCURRENT)]
        list(pool.map(lambda target: upload(server, target, CONCURRENT_MIB), targets))
        assert peak(server) < LIMIT
        sizes = set(pool.map(lambda target: download(server, target), targets))
    assert sizes == {CONCURRENT_MIB * MIB}
    assert peak(server) < LIMIT


def test_a_worker_stays_small_while_readers_are_slow(server):
    """Nobody reads what is sent to 32 clients: what waits for them must not pile up."""
    upload(server, "/bucket/large", 64)
    with ThreadPoolExecutor(CONCURRENT) as pool:
        list(pool.map(lambda _: begin_to_read(server, "/bucket/large"), range(CONCURRENT)))
    assert peak(server) < LIMIT


def begin_to_read(server: Server, target: str) -> None:
    with server.connect() as connection:
        connection.sendall(server.head("GET", target))
        receive(connection, 1) if connection.recv(1) == b"" else None
