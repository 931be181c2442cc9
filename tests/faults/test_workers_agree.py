"""What one worker has answered is what every other worker knows: the settings of buckets, and their existence."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.harness import Reply, Server, customer_key_headers, read_reply, running, unique_bucket

WORKERS = 4
ROUNDS = 13  # so that each change is looked at 52 times


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("workers"), "--workers", str(WORKERS)) as started:
        yield started


@pytest.fixture
def workers(server: Server) -> Iterator[list[socket.socket]]:
    """A connection to each worker."""
    with ExitStack() as stack:
        yield [connect_to(server, pid, stack) for pid in server.workers()]


def connect_to(server: Server, pid: int, stack: ExitStack) -> socket.socket:
    """Whoever accepts first has a connection, so the others are stopped meanwhile."""
    others = [each for each in server.workers() if each != pid]
    try:
        for each in others:
            os.kill(each, signal.SIGSTOP)
        connection = stack.enter_context(server.connect())
        assert ask(server, connection, "GET", "/").status == 200
    finally:
        for each in others:
            os.kill(each, signal.SIGCONT)
    return connection


def ask(
    server: Server,
    connection: socket.socket,
    method: str,
    target: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> Reply:
    connection.sendall(server.head(method, target, body=body, headers=headers) + body)
    return read_reply(connection, method)


def versioning(status: str) -> bytes:
    return f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()


def encryption(*blocked: str) -> bytes:
    types = "".join(f"<EncryptionType>{each}</EncryptionType>" for each in blocked or ("NONE",))
    return (
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256"
        "</SSEAlgorithm></ApplyServerSideEncryptionByDefault>"
        f"<BlockedEncryptionTypes>{types}</BlockedEncryptionTypes></Rule></ServerSideEncryptionConfiguration>"
    ).encode()


def test_a_change_of_a_bucket_is_seen_by_every_worker_at_once(server, workers):
    """In turn: by the worker that made it, and by each of the others on a connection that was open before."""
    bucket = unique_bucket()
    changes: list[tuple[str, str, bytes, Callable[[socket.socket], bool]]] = [
        ("PUT", f"/{bucket}", b"", lambda worker: ask(server, worker, "HEAD", f"/{bucket}").status == 200),
        ("PUT", f"/{bucket}?versioning=", versioning("Enabled"), lambda worker: has_version(server, worker, bucket)),
        (
            "PUT",
            f"/{bucket}?versioning=",
            versioning("Suspended"),
            lambda worker: not has_version(server, worker, bucket),
        ),
        ("PUT", f"/{bucket}?encryption=", encryption("SSE-C"), lambda worker: blocks_sse_c(server, worker, bucket)),
        ("PUT", f"/{bucket}?encryption=", encryption(), lambda worker: not blocks_sse_c(server, worker, bucket)),
        ("DELETE", f"/{bucket}", b"", lambda worker: ask(server, worker, "HEAD", f"/{bucket}").status == 404),
    ]
    for number in range(ROUNDS):
        maker = workers[number % WORKERS]
        for method, target, body, is_seen in changes:
            if method == "DELETE":
                empty(server, bucket)
            assert ask(server, maker, method, target, body).status in (200, 204)
            for worker in workers:
                assert is_seen(worker), f"{method} {target} in round {number}"


def has_version(server: Server, worker: socket.socket, bucket: str) -> bool:
    reply = ask(server, worker, "PUT", f"/{bucket}/key", b"content")
    assert reply.status == 200
    return reply.headers.get("x-amz-version-id", "null") != "null"


def blocks_sse_c(server: Server, worker: socket.socket, bucket: str) -> bool:
    reply = ask(server, worker, "PUT", f"/{bucket}/sse-c", headers=customer_key_headers(bytes(32)))
    assert reply.status in (200, 403)
    return reply.status == 403


def empty(server: Server, bucket: str) -> None:
    s3 = server.s3()
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for each in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            s3.delete_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])


def test_a_change_is_seen_on_fresh_connections_too(server):
    bucket = unique_bucket()
    assert server.send("PUT", f"/{bucket}").status == 200
    assert {server.send("HEAD", f"/{bucket}").status for _ in range(50)} == {200}
    for status in ("Enabled", "Suspended"):
        assert server.send("PUT", f"/{bucket}?versioning=", body=versioning(status)).status == 200
        replies = [server.send("GET", f"/{bucket}?versioning=") for _ in range(50)]
        assert {reply.element("Status") for reply in replies} == {status}
    assert server.send("DELETE", f"/{bucket}").status == 204
    assert {server.send("HEAD", f"/{bucket}").status for _ in range(50)} == {404}


def test_an_object_is_seen_by_every_worker_at_once(server, workers):
    bucket = unique_bucket()
    assert server.send("PUT", f"/{bucket}").status == 200
    for number in range(ROUNDS):
        content = f"content {number}".encode()
        assert ask(server, workers[number % WORKERS], "PUT", f"/{bucket}/key", content).status == 200
        for worker in workers:
            assert ask(server, worker, "GET", f"/{bucket}/key").body == content
            assert ask(server, worker, "GET", f"/{bucket}?list-type=2").element("KeyCount") == "1"
        assert ask(server, workers[(number + 1) % WORKERS], "DELETE", f"/{bucket}/key").status == 204
        for worker in workers:
            assert ask(server, worker, "GET", f"/{bucket}/key").status == 404
            assert ask(server, worker, "GET", f"/{bucket}?list-type=2").element("KeyCount") == "0"
