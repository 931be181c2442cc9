"""The matrix: every encryption, every way to write, every size about a border; each object written once, read all ways."""

import random
import re
import secrets
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.harness import Reply, Server
from tests.matrix.verbs import MIB, VERBS, Mode, Stored, checksum_headers, encryption_echo, place

SEGMENT = 16384
# 16312 and 32680 plaintext bytes make inner messages of 16384 and 32768: borders of the outer layer's segments.
SIZES = [0, 1, 13, 16311, 16312, 16313, 16383, 16384, 16385, 32680, 5 * MIB - 1, 5 * MIB + 1, 20 * MIB]

# The same bytes in every run, and no two blocks of them alike.
DATA = random.Random(20).randbytes(20 * MIB)


@pytest.fixture(params=SIZES)
def body(request: pytest.FixtureRequest) -> bytes:
    return DATA[: request.param]


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_written_is_read(server: Server, bucket: str, verb: str, mode: Mode, body: bytes) -> None:
    stored = VERBS[verb](server, bucket, "an/object", body, mode)
    target = place(bucket, "an/object")

    check_whole(server, target, stored, tls=verb == "put-over-tls")
    for wanted in [*ranges(stored), *(ranges_across_layers(stored) if mode.dsse else [])]:
        check_range(server, target, stored, wanted)
    check_parts(server, target, stored)
    check_keys(server, target, stored)
    check_listed(server, bucket, stored)


def check_whole(server: Server, target: str, stored: Stored, *, tls: bool) -> None:
    for method in ("GET", "HEAD"):
        reply = server.send(method, target, headers=stored.mode.headers, tls=tls)
        check_described(reply, stored)
        assert reply.status == 200
        assert reply.headers["content-length"] == str(len(stored.body))
        assert checksum_headers(reply) == {}  # only where it is asked for
        if method == "GET":
            assert reply.body == stored.body
        if method == "HEAD" or len(stored.body) <= SEGMENT:
            asked = server.send(method, target, headers={**stored.mode.headers, "x-amz-checksum-mode": "ENABLED"})
            assert checksum_headers(asked) == stored.checksums


def check_described(reply: Reply, stored: Stored) -> None:
    assert reply.complete
    assert encryption_echo(reply) == stored.mode.echo
    assert reply.headers["etag"] == stored.etag
    assert reply.headers["accept-ranges"] == "bytes"


def ranges(stored: Stored) -> Iterator[str]:
    """Every edge of segments and parts, and of the object."""
    size = len(stored.body)
    edges = {0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, size - 1, size}
    border = 0
    for _, part_size in stored.parts:
        border += part_size
        edges |= {border - 1, border, border + 1}
    inside = sorted(edge for edge in edges if 0 <= edge <= size)
    yield from (f"bytes={first}-{last}" for first, last in pairwise(inside) if last - first <= 6 * MIB)
    yield from (f"bytes={edge}-{edge}" for edge in inside)
    yield from (f"bytes={edge}-" for edge in inside if size - edge <= SEGMENT or size <= 5 * MIB)
    yield from (f"bytes=-{length}" for length in (1, SEGMENT, SEGMENT + 1, size, size + 1) if length <= 6 * MIB)
    yield f"bytes={max(size - 2, 0)}-{size + 1000}"


def ranges_across_layers(stored: Stored) -> Iterator[str]:
    """About every plaintext offset whose place in the inner message is a border of the outer one's segments."""
    size = len(stored.body)
    for outer in range(SEGMENT, min(size, 8 * SEGMENT) + SEGMENT, SEGMENT):
        inner = outer - 56
        offset = inner // (SEGMENT + 16) * SEGMENT + min(inner % (SEGMENT + 16), SEGMENT)
        for edge in (offset - 1, offset, offset + 1):
            if 0 <= edge < size:
                yield f"bytes={edge}-{edge}"
                yield f"bytes={max(edge - 3, 0)}-{min(edge + 3, size - 1)}"


def check_range(server: Server, target: str, stored: Stored, wanted: str) -> None:
    reply = server.send("GET", target, headers={**stored.mode.headers, "range": wanted})
    size = len(stored.body)
    match = re.fullmatch("bytes=(\\d*)-(\\d*)", wanted)
    assert match is not None
    if match[1]:
        first, last = int(match[1]), min(int(match[2]) if match[2] else size - 1, size - 1)
    else:
        first, last = max(size - int(match[2]), 0), size - 1
    if not match[1] and (size == 0 and match[2] != "0"):
        assert reply.status == 200  # of nothing, no last bytes can be told
        return
    if first >= size:
        assert (reply.status, reply.code) == (416, "InvalidRange"), wanted
        assert reply.element("ActualObjectSize") == str(size)
        return
    check_described(reply, stored)
    assert reply.status == 206, wanted
    assert reply.headers["content-range"] == f"bytes {first}-{last}/{size}"
    assert reply.headers["content-length"] == str(last - first + 1)
    assert reply.body == stored.body[first : last + 1], wanted


def check_parts(server: Server, target: str, stored: Stored) -> None:
    """`partNumber`: the parts as they were numbered; what was not uploaded in parts is its own part 1."""
    parts = stored.parts or [(1, len(stored.body))]
    offset = 0
    for number, size in parts:
        for method in ("GET", "HEAD"):
            reply = server.send(method, f"{target}?partNumber={number}", headers=stored.mode.headers)
            check_described(reply, stored)
            assert reply.headers.get("x-amz-mp-parts-count") == (str(len(parts)) if stored.parts else None)
            assert reply.headers["content-length"] == str(size)
            assert reply.status == (206 if size else 200)
            if size:
                assert reply.headers["content-range"] == f"bytes {offset}-{offset + size - 1}/{len(stored.body)}"
            if method == "GET":
                assert reply.body == stored.body[offset : offset + size]
        offset += size
    for absent in {number + 1 for number, _ in parts} - {number for number, _ in parts}:
        reply = server.send("GET", f"{target}?partNumber={absent}", headers=stored.mode.headers)
        assert (reply.status, reply.code) == (416, "InvalidPartNumber")
        assert reply.element("ActualPartCount") == str(len(parts))


def check_keys(server: Server, target: str, stored: Stored) -> None:
    """The key that is needed and no other, for the whole and for a HEAD."""
    other = Mode(secrets.token_bytes(32))
    if stored.mode.key is None:
        assert server.send("GET", target, headers=other.headers).status == 400
        return
    assert server.send("GET", target, headers=other.headers).status == 403
    assert server.send("HEAD", target, headers=other.headers).status == 403
    assert server.send("GET", target).status == 400


def check_listed(server: Server, bucket: str, stored: Stored) -> None:
    """A listing shows plaintext sizes and the ETag that reads show."""
    reply = server.send("GET", f"/{bucket}?list-type=2&prefix=an/object&delimiter=.")  # a copy's source folds away
    assert reply.element("Size") == str(len(stored.body))
    assert reply.element("ETag").replace("&quot;", '"') == stored.etag
