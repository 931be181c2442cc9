"""How much memory a worker takes while more than its memory goes through it, either way, and many ways at once.

`FULL_MEMORY_TEST=1` in the environment makes the object 5 GiB, the most that one PUT may have, and the 32 concurrent
uploads 100 MiB each, as the promise reads; without it both are smaller, and as telling.
"""

import os
import re
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, repeat
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

pytestmark = pytest.mark.timeout(1200 if FULL else 120)


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
    send(server, server.head("PUT", target, headers=given, payload="UNSIGNED-PAYLOAD"), repeat(BLOCK, mebibytes), tls)


def upload_in_chunks(server: Server, target: str, mebibytes: int) -> None:
    """As SDKs send what they read from a file: aws-chunked, here in chunks of a mebibyte."""
    chunk, end = b"%x\r\n%s\r\n" % (MIB, BLOCK), b"0\r\n\r\n"
    given = {
        "content-encoding": "aws-chunked",
        "content-length": str(mebibytes * len(chunk) + len(end)),
        "x-amz-decoded-content-length": str(mebibytes * MIB),
    }
    head = server.head("PUT", target, headers=given, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    send(server, head, chain(repeat(chunk, mebibytes), [end]))


def send(server: Server, head: bytes, blocks: Iterable[bytes], tls: bool = False) -> None:
    with server.connect(tls=tls, timeout=600) as connection:
        connection.sendall(head)
        for block in blocks:
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


def test_a_worker_stays_small_with_chunks_and_with_tls_and_a_customers_key(server):
    upload_in_chunks(server, "/bucket/chunked", STREAM_MIB // 4)
    assert download(server, "/bucket/chunked") == STREAM_MIB // 4 * MIB
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


def test_a_worker_stays_small_while_nobody_reads_what_it_sends(server):
    upload(server, "/bucket/large", 64)
    before = peak(server)
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(CONCURRENT)]
        for connection in connections:
            connection.sendall(server.head("GET", "/bucket/large"))
        for connection in connections:
            assert connection.recv(1) == b"H"
        assert server.send("HEAD", "/bucket/large").status == 200  # and others are served
        assert peak(server) - before < CONCURRENT * 4 * MIB
