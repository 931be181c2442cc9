"""A server whose data directory is on a disk that fills up: first by uploads, then to the last byte by somebody else."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.children import small_disk
from tests.harness import Reply, Server, new_server

MIB = 1 << 20
ROOT = {"STRONGROOM_ROOT_ACCESS_KEY_ID": "operator", "STRONGROOM_ROOT_SECRET_ACCESS_KEY": "secret-of-the-operator"}


@dataclass(frozen=True)
class Disk:
    """`inside`: where it is for this process, which does not see the mount."""

    server: Server
    inside: Path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    server = new_server(tmp_path, "--workers", "2", environment={**ROOT, "STRONGROOM_DELETION_GRACE": "0"})
    with small_disk(server.data_dir, "128m") as (enter, inside):
        server.under = tuple(enter)
        server.start()
        yield Disk(server, inside)
        server.stop()


def body(number: int) -> bytes:
    return number.to_bytes(4, "big") * (MIB // 4)


def put(server: Server, key: str, content: bytes) -> Reply:
    return server.send("PUT", f"/bucket/{key}", body=content)


def test_a_full_disk_refuses_uploads_and_nothing_else_and_recovers_by_itself(disk):
    server = disk.server
    workers = server.workers()
    server.send("PUT", "/bucket")
    stored = fill_by_uploads(server)
    assert len(stored) > 30
    check(server, stored)
    with (disk.inside / "filler").open("wb", buffering=0) as filler:
        fill(filler)
        check(server, stored)
        everything_answers(server)
        refuses_uploads(server)
        check(server, stored)
        free_space(server, stored)
    assert server.send("PUT", "/another-bucket").status == 200
    assert server.workers() == workers
    assert " ERROR " not in server.log.read_text()


def refuses_uploads(server: Server) -> None:
    for reply in (
        put(server, "small", b"x"),
        put(server, "large", bytes(20 * MIB)),
        server.send("PUT", "/bucket/copy", headers={"x-amz-copy-source": "/bucket/0"}),
        server.send("PUT", "/another-bucket"),
        server.send("POST", "/bucket/large?uploads="),
    ):
        assert (reply.status, reply.code) == (503, "ServiceUnavailable")


def free_space(server: Server, stored: dict[str, bytes]) -> None:
    """Delete most of `stored`: space comes back without anybody's help."""
    for key in list(stored)[5:]:
        assert server.send("DELETE", f"/bucket/{key}").status == 204
        del stored[key]
    check(server, stored)
    end = time.monotonic() + 30
    while put(server, "again", body(7)).status == 503:  # until the deletion queue was worked off
        assert time.monotonic() < end
        time.sleep(0.1)
    stored["again"] = body(7)
    check(server, stored)


def fill_by_uploads(server: Server) -> dict[str, bytes]:
    stored = dict[str, bytes]()
    while (reply := put(server, f"{len(stored)}", body(len(stored)))).status == 200:
        stored[f"{len(stored)}"] = body(len(stored))
    assert (reply.status, reply.code) == (503, "ServiceUnavailable")
    return stored


def fill(filler) -> None:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass


def check(server: Server, stored: dict[str, bytes]) -> None:
    """A listing shows `stored` and nothing else, and GET finds it."""
    assert server.send("GET", "/bucket?list-type=2").body.count(b"<Key>") == len(stored)
    for key, content in stored.items():
        reply = server.send("GET", f"/bucket/{key}")
        assert (reply.status, reply.body) == (200, content)


def everything_answers(server: Server) -> None:
    """Operations that no worker has counted yet, so that each needs a place among the figures."""
    queries = ("location", "versioning", "encryption", "tagging", "versions", "uploads", "acl", "policy", "cors")
    for query in queries:
        for _ in range(8):  # on both workers
            reply = server.send("GET", f"/bucket?{query}=")
            assert reply.status in (200, 404, 501)
