"""The official vectors of c2sp.org/chunked-encryption with AES-256-GCM, each driven through every way into segments.py.

An invalid vector must fail with the right kind of error: a wrong key, salt, context or commitment is a KeyMismatch before any segment is
opened, everything else an IntegrityError, and never more plaintext than the valid prefix that the vector names.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from strongroom.crypto.errors import IntegrityError, KeyMismatch
from strongroom.crypto.segments import (
    HEADER_SIZE,
    SegmentReader,
    SegmentWriter,
    Span,
    ciphertext_size,
    open_sealed,
    plaintext_size,
    seal,
    span,
    whole,
)

FILE = Path(__file__).parents[3] / "shared/vectors/c2sp_chunked_encryption_aes_256_gcm_test.json"
COMMITMENT_FLAGS = {"WrongKey", "WrongContext"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    name: str
    key: bytes
    context: bytes
    message: bytes
    valid: bool
    flags: frozenset[str]
    size: int  # plaintext bytes of the valid prefix
    sha512: str


def _vectors() -> list[Vector]:
    if not FILE.exists():
        return []
    (group,) = json.loads(FILE.read_text())["testGroups"]
    return [
        Vector(
            name=f"{test['tcId']}-{test['comment']}",
            key=bytes.fromhex(test["key"]),
            context=bytes.fromhex(test["ctx"]),
            message=zlib.decompress(bytes.fromhex(test["ct"])),
            valid=test["result"] == "valid",
            flags=frozenset(test["flags"]),
            size=test.get("msgLength", 0),
            sha512=test.get("msgSha512", hashlib.sha512().hexdigest()),
        )
        for test in group["tests"]
    ]


VECTORS = _vectors()
VALID = [vector for vector in VECTORS if vector.valid]
INVALID = [vector for vector in VECTORS if not vector.valid]
HEADER_FAILURES = [vector for vector in INVALID if "HeaderFailure" in vector.flags]


def _each(vectors: list[Vector]) -> pytest.MarkDecorator:
    if not vectors:
        absent = pytest.param(
            None, marks=pytest.mark.skip(reason="the official vectors (../shared/vectors) are not here")
        )
        return pytest.mark.parametrize("vector", [absent])
    return pytest.mark.parametrize("vector", vectors, ids=[vector.name for vector in vectors])


def _blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def _read(vector: Vector, part: Span, size: int, block: int) -> bytes:
    reader = SegmentReader(vector.key, vector.context, vector.message[:HEADER_SIZE], size, part)
    fed = b"".join(reader.feed(data) for data in _blocks(vector.message[part.start : part.stop], block))
    return fed + reader.finish()


def _plaintext(vector: Vector) -> bytes:
    plaintext = open_sealed(vector.key, vector.context, vector.message)
    assert len(plaintext) == vector.size
    assert hashlib.sha512(plaintext).hexdigest() == vector.sha512
    return plaintext


@_each(VALID)
def test_valid__opens_at_once(vector: Vector) -> None:
    assert plaintext_size(len(vector.message)) == vector.size
    assert ciphertext_size(vector.size) == len(vector.message)
    _plaintext(vector)


@_each(VALID)
@pytest.mark.parametrize("block", [13, 56, 16384, 16400, 16401, 524288])
def test_valid__opens_from_blocks_of_any_length(vector: Vector, block: int) -> None:
    if len(vector.message) > 10**6 and block < 16384:
        block += 4096  # millions of bytes in steps of 13 prove no more
    assert _read(vector, whole(vector.size), vector.size, block) == _plaintext(vector)


@_each(VALID)
def test_valid__every_edge_of_every_range_is_the_slice(vector: Vector) -> None:
    plaintext = _plaintext(vector)
    last = vector.size - 1
    edges = {e for e in (0, 1, 16383, 16384, 16385, 32767, 32768, last - 16384, last - 1, last) if 0 <= e <= last}
    for first in edges:
        for end in (edge for edge in edges if edge >= first):
            part = span(vector.size, first, end)
            assert _read(vector, part, vector.size, 40000) == plaintext[first : end + 1]


@_each(VALID)
def test_valid__is_what_we_write_with_that_salt(vector: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    plaintext = _plaintext(vector)
    monkeypatch.setattr("strongroom.crypto.segments.urandom", lambda size: vector.message[:size])
    writer = SegmentWriter(vector.key, vector.context)
    written = b"".join(writer.feed(data) for data in _blocks(plaintext, 100_000)) + writer.finish()
    assert writer.header == vector.message[:HEADER_SIZE]
    assert written == vector.message
    assert seal(vector.key, vector.context, plaintext) == vector.message


def _expected_error(vector: Vector) -> type[Exception]:
    if "InvalidKeySize" in vector.flags:
        return ValueError
    header_was_changed = {"ModifiedCiphertext", "HeaderFailure"} <= vector.flags
    return KeyMismatch if header_was_changed or vector.flags & COMMITMENT_FLAGS else IntegrityError


@_each(INVALID)
def test_invalid__does_not_open_at_once(vector: Vector) -> None:
    with pytest.raises(_expected_error(vector)) as caught:
        open_sealed(vector.key, vector.context, vector.message)
    assert isinstance(caught.value, KeyMismatch) is (_expected_error(vector) is KeyMismatch)


@_each(HEADER_FAILURES)
def test_invalid_header__is_refused_before_any_segment(vector: Vector) -> None:
    with pytest.raises(_expected_error(vector)):
        SegmentReader(vector.key, vector.context, vector.message[:HEADER_SIZE], 7, whole(7))


@_each([vector for vector in INVALID if vector not in HEADER_FAILURES])
@pytest.mark.parametrize("block", [13, 16384, 16400, 524288])
def test_invalid_body__yields_no_more_than_the_valid_prefix_and_then_fails_for_ever(vector: Vector, block: int) -> None:
    size = _nearest_size(len(vector.message))
    reader = SegmentReader(vector.key, vector.context, vector.message[:HEADER_SIZE], size, whole(size))
    output = _read_until_it_fails(reader, _blocks(vector.message, block))
    for again in (reader.finish, lambda: reader.feed(b"")):
        with pytest.raises(IntegrityError):
            again()
    assert len(output) <= vector.size
    if len(output) == vector.size:
        assert hashlib.sha512(output).hexdigest() == vector.sha512


def _read_until_it_fails(reader: SegmentReader, blocks: Iterator[bytes]) -> bytes:
    output = b""
    try:
        for block in blocks:
            output += reader.feed(block)
        output += reader.finish()
    except IntegrityError:
        return output
    pytest.fail("an invalid message was read to its end")


def _nearest_size(length: int) -> int:
    """Plaintext bytes of a message of `length` bytes, or of the next longer one that there can be."""
    while True:
        try:
            return plaintext_size(length)
        except ValueError:
            length += 1
