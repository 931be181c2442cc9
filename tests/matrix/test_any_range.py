"""Property: whatever range of an object is asked for, the answer is that slice of its bytes."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPResponse
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.harness import EMPTY_SHA256, Server, sign_headers, unique_bucket
from tests.matrix.verbs import MIB, MODES, Mode, Stored, Upload, default_checksum, put

SEGMENT = 16384
DATA = random.Random(21).randbytes(11 * MIB)


@pytest.fixture(scope="module")
def objects(server: Server, modes: dict[str, Mode]) -> dict[str, tuple[str, Stored]]:
    """An object in one message and one in five parts, with borders that are none of segments."""
    bucket = unique_bucket()
    server.s3().create_bucket(Bucket=bucket)
    stored = {}
    for name, mode in modes.items():
        stored[f"single {name}"] = put(server, bucket, f"single-{name}", DATA[:100_000], mode)
        stored[f"parts {name}"] = in_parts(server, bucket, f"parts-{name}", mode)
    return {name: (f"/{bucket}/{name.replace(' ', '-')}", each) for name, each in stored.items()}


def in_parts(server: Server, bucket: str, key: str, mode: Mode) -> Stored:
    upload = Upload.begin(server, bucket, key, mode)
    borders = [0, 5 * MIB + 1, 10 * MIB + 1 + SEGMENT, len(DATA)]
    for number, (start, stop) in enumerate(pairwise(borders), start=1):
        upload.send_part(number, DATA[start:stop])
    return upload.complete(DATA, checksums=default_checksum(DATA))


offsets = st.one_of(
    st.integers(0, 12 * MIB),
    st.integers(0, 100_001),
    st.builds(
        lambda border, step: max(border + step, 0),
        st.sampled_from([SEGMENT, 2 * SEGMENT, 100_000, 5 * MIB + 1, 10 * MIB + 1 + SEGMENT, len(DATA)]),
        st.integers(-3, 3),
    ),
)
lengths = st.one_of(st.integers(1, 5), st.integers(1, 4 * SEGMENT), st.integers(1, 2 * MIB))


@pytest.mark.parametrize("name", [f"{form} {mode}" for form in ("single", "parts") for mode in MODES])
def test_any_range_is_that_slice(server: Server, objects: dict[str, tuple[str, Stored]], name: str) -> None:
    target, stored = objects[name]
    size = len(stored.body)

    with connection(server) as wire:

        @settings(max_examples=150)
        @given(first=offsets, length=lengths)
        @example(first=0, length=size)
        @example(first=size - 1, length=1)
        def between(first: int, length: int) -> None:
            response = get(server, wire, target, stored.mode, f"bytes={first}-{first + length - 1}")
            check(response, stored.body[first : first + length], first, size)

        @settings(max_examples=30)
        @given(length=lengths)
        def at_the_end(length: int) -> None:
            response = get(server, wire, target, stored.mode, f"bytes=-{length}")
            check(response, stored.body[-length:], max(size - length, 0), size)

        @settings(max_examples=30)
        @given(length=lengths)
        def open_end(length: int) -> None:
            first = max(size - length, 0)
            response = get(server, wire, target, stored.mode, f"bytes={first}-")
            check(response, stored.body[first:], first, size)

        between()
        at_the_end()
        open_end()


@contextmanager
def connection(server: Server) -> Iterator[HTTPConnection]:
    wire = HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        yield wire
    finally:
        wire.close()


def get(server: Server, wire: HTTPConnection, target: str, mode: Mode, wanted: str) -> HTTPResponse:
    headers = {"host": f"127.0.0.1:{server.port}", "range": wanted, **mode.headers}
    headers |= sign_headers(
        "GET",
        target.encode(),
        headers,
        payload=EMPTY_SHA256,
        access_key_id=server.access_key_id,
        secret=server.secret,
        now=datetime.now(UTC),
    )
    wire.request("GET", target, headers=headers)
    return wire.getresponse()


def check(response: HTTPResponse, slice: bytes, first: int, size: int) -> None:
    body = response.read()
    if first >= size:
        assert response.status == 416
        return
    assert response.status == 206
    assert body == slice
    assert response.headers["content-range"] == f"bytes {first}-{first + len(slice) - 1}/{size}"
