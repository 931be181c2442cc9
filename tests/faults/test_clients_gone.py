"""Clients that stall or go away in the middle: nothing half is visible, and nothing of them is kept."""

import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness import Server, read_reply, running, unique_bucket, wait_until
from tests.wire import UNSIGNED_TRAILER

STALL_TIMEOUT = 1.0
SETTINGS = {"STRONGROOM_STALL_TIMEOUT": f"{STALL_TIMEOUT}"}
SIZE = 20 << 20
PARTIAL = 3 << 20  # beyond what stays in buffers: a temporary file exists


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("clients"), environment=SETTINGS) as started:
        yield started
        assert " ERROR " not in started.log.read_text()


@pytest.fixture
def bucket(server: Server) -> str:
    name = unique_bucket()
    assert server.send("PUT", f"/{name}").status == 200
    assert server.send("PUT", f"/{name}/old", body=b"old content").status == 200
    return name


Begin = Callable[[Server, str], tuple[bytes, bytes]]


def put(server: Server, bucket: str) -> tuple[bytes, bytes]:
    headers = {"content-length": str(SIZE)}
    return server.head("PUT", f"/{bucket}/old", headers=headers, payload="UNSIGNED-PAYLOAD"), bytes(PARTIAL)


def put_in_chunks(server: Server, bucket: str) -> tuple[bytes, bytes]:
    headers = {
        "content-encoding": "aws-chunked",
        "content-length": str(SIZE + 1000),
        "x-amz-decoded-content-length": str(SIZE),
    }
    head = server.head("PUT", f"/{bucket}/old", headers=headers, payload=UNSIGNED_TRAILER)
    return head, b"%x\r\n" % SIZE + bytes(PARTIAL)


def put_part(server: Server, bucket: str) -> tuple[bytes, bytes]:
    upload_id = server.send("POST", f"/{bucket}/new?uploads=").element("UploadId")
    target = f"/{bucket}/new?partNumber=1&uploadId={upload_id}"
    return server.head("PUT", target, headers={"content-length": str(SIZE)}, payload="UNSIGNED-PAYLOAD"), bytes(PARTIAL)


def put_nothing(server: Server, bucket: str) -> tuple[bytes, bytes]:
    return put(server, bucket)[0], b""


def put_document(server: Server, bucket: str) -> tuple[bytes, bytes]:
    document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    return server.head("PUT", f"/{bucket}?versioning=", body=document), document[:20]


VERBS = [put, put_in_chunks, put_part, put_nothing, put_document]


@pytest.mark.parametrize("begin", VERBS)
def test_a_client_that_stalls_is_told_so_and_nothing_is_stored(server, bucket, begin):
    head, body = begin(server, bucket)
    with server.connect() as connection:
        connection.sendall(head + body)
        started = time.monotonic()
        reply = read_reply(connection, "PUT")
        assert (reply.status, reply.code) == (400, "RequestTimeout")
        assert STALL_TIMEOUT * 0.9 < time.monotonic() - started < STALL_TIMEOUT + 5
        assert reply.headers["connection"] == "close"
    nothing_is_left(server, bucket)


def test_a_client_that_is_slow_but_not_stalled_is_served(server, bucket):
    with server.connect() as connection:
        connection.sendall(server.head("PUT", f"/{bucket}/slow", body=b"content"))
        for byte in b"content":
            time.sleep(STALL_TIMEOUT / 4)  # less than the timeout each, more in all
            connection.sendall(bytes([byte]))
        assert read_reply(connection, "PUT").status == 200
    assert server.send("GET", f"/{bucket}/slow").body == b"content"


def closes(connection: socket.socket) -> None:
    connection.close()


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def sends_no_more(connection: socket.socket) -> None:
    """It would still read an answer; whether it gets one, only that it is no success counts."""
    connection.shutdown(socket.SHUT_WR)
    answer = b""
    while more := connection.recv(65536):
        answer += more
    assert not answer.startswith(b"HTTP/1.1 2")


@pytest.mark.parametrize("goes", [closes, resets, sends_no_more])
@pytest.mark.parametrize("begin", VERBS)
def test_a_client_that_goes_in_mid_upload_leaves_nothing(server, bucket, begin, goes):
    head, body = begin(server, bucket)
    with server.connect() as connection:
        connection.sendall(head + body)
        if len(body) > PARTIAL // 2:
            wait_until(lambda: temporary_files(server))
        goes(connection)
    wait_until(lambda: not temporary_files(server))
    nothing_is_left(server, bucket)


@pytest.mark.parametrize("goes", [closes, resets])
def test_clients_that_go_in_mid_download_leave_nothing_open(server, bucket, goes):
    content = os.urandom(SIZE)
    assert server.send("PUT", f"/{bucket}/large", body=content).status == 200
    for _ in range(20):
        with server.connect() as connection:
            connection.sendall(server.head("GET", f"/{bucket}/large"))
            assert connection.recv(1 << 16)
            goes(connection)
    wait_until(lambda: not connections(server) and not open_blobs(server))
    assert server.send("GET", f"/{bucket}/large").body == content


def test_a_client_that_reads_nothing_of_its_answer_is_cut(server, bucket):
    assert server.send("PUT", f"/{bucket}/large", body=bytes(SIZE)).status == 200
    with server.connect() as connection:
        connection.sendall(server.head("GET", f"/{bucket}/large"))
        wait_until(lambda: connections(server))
        wait_until(lambda: not connections(server) and not open_blobs(server))
        with suppress(ConnectionError):
            assert not read_reply(connection).complete


def nothing_is_left(server: Server, bucket: str) -> None:
    """The bucket is as it was, no upload has a part, no blob lies about."""
    assert server.send("GET", f"/{bucket}/old").body == b"old content"
    assert server.send("GET", f"/{bucket}?list-type=2").element("KeyCount") == "1"
    assert server.send("GET", f"/{bucket}?versioning=").element("Status") == ""
    for upload_id in re.findall(rb"<UploadId>(.*?)</UploadId>", server.send("GET", f"/{bucket}?uploads=").body):
        assert b"<Part>" not in server.send("GET", f"/{bucket}/new?uploadId={upload_id.decode()}").body
    assert not temporary_files(server)


def temporary_files(server: Server) -> list[Path]:
    return list((server.data_dir / "s3" / "blobs" / "tmp").iterdir())


def connections(server: Server) -> list[str]:
    """Those that the server has not closed, by the kernel's table (proc_net_tcp(5): 01 established, 08 close wait)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [
        state for _, local, _, state, *_ in lines if local.endswith(f":{server.port:04X}") and state in ("01", "08")
    ]


def open_blobs(server: Server) -> list[str]:
    """Blobs that a worker has open, as far as it can be seen: a process that holds keys shows it to root only."""
    found = []
    for pid in server.workers() if os.geteuid() == 0 else []:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found.append(str(descriptor.readlink()))
    return [path for path in found if re.search("/s3/blobs/.*/", path)]
