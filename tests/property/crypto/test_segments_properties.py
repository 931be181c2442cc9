"""Properties of one message: how it is cut into blocks does not matter, any range is the slice, and no changed byte gets through."""

import os
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.segments import (
    HEADER_SIZE,
    SegmentReader,
    SegmentWriter,
    ciphertext_size,
    open_sealed,
    plaintext_size,
    seal,
    span,
    whole,
)

KEY = bytes(range(32))
CONTEXT = b"context"
PLAINTEXT = os.urandom(70_000)
MAX = len(PLAINTEXT)

boundaries = st.sampled_from([0, 1, 16383, 16384, 16385, 32768, 49152, 49153, 65536, MAX])
sizes = boundaries | st.integers(0, MAX)
cuts = st.lists(boundaries | st.integers(0, MAX + 1000), max_size=8)


def blocks(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:stop] for start, stop in pairwise(edges)]


@settings(deadline=None)
@given(st.integers(0, 2**52 - 1))
def test_sizes__are_inverse_of_each_other(size: int) -> None:
    assert plaintext_size(ciphertext_size(size)) == size


@settings(deadline=None)
@given(sizes, cuts)
def test_writer__gives_the_same_bytes_for_any_split(size: int, cuts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("strongroom.crypto.segments.urandom", bytes)
        expected = seal(KEY, CONTEXT, PLAINTEXT[:size])
        writer = SegmentWriter(KEY, CONTEXT)
    written = [writer.feed(block) for block in blocks(PLAINTEXT[:size], cuts)]
    assert b"".join(written) + writer.finish() == expected
    assert len(expected) == ciphertext_size(size)


@settings(deadline=None)
@given(sizes, cuts)
def test_reader__gives_the_same_bytes_for_any_split(size: int, cuts: list[int]) -> None:
    message = seal(KEY, CONTEXT, PLAINTEXT[:size])
    reader = SegmentReader(KEY, CONTEXT, message[:HEADER_SIZE], size, whole(size))
    read = [reader.feed(block) for block in blocks(message, cuts)]
    assert b"".join(read) + reader.finish() == PLAINTEXT[:size]


@settings(deadline=None)
@given(sizes.filter(bool), st.data(), cuts)
def test_span__any_range_is_the_slice(size: int, data: st.DataObject, cuts: list[int]) -> None:
    offsets = st.integers(0, size - 1) | boundaries.filter(lambda offset: offset < size) | st.just(size - 1)
    first, last = sorted((data.draw(offsets), data.draw(offsets)))
    message = seal(KEY, CONTEXT, PLAINTEXT[:size])
    part = span(size, first, last)
    reader = SegmentReader(KEY, CONTEXT, message[:HEADER_SIZE], size, part)
    read = [reader.feed(block) for block in blocks(message[part.start : part.stop], cuts)]
    assert b"".join(read) + reader.finish() == PLAINTEXT[first : last + 1]
    assert part.stop - part.start <= (last - first) + 2 * 16400 + HEADER_SIZE + 16 * 6


@settings(deadline=None)
@given(sizes, st.data(), cuts)
def test_damage__is_an_error_before_the_first_wrong_byte(size: int, data: st.DataObject, cuts: list[int]) -> None:
    message = seal(KEY, CONTEXT, PLAINTEXT[:size])
    damaged = data.draw(_damaged(message))
    with pytest.raises(IntegrityError):
        open_sealed(KEY, CONTEXT, damaged)
    reader = SegmentReader(KEY, CONTEXT, message[:HEADER_SIZE], size, whole(size))
    output = b""
    try:
        for block in blocks(damaged, cuts):
            output += reader.feed(block)
        output += reader.finish()
    except IntegrityError:
        assert PLAINTEXT[:size].startswith(output)
        assert len(output) < size or size == 0  # never a full body with a damaged end behind it
    else:
        pytest.fail("damage was read to its end")


def _damaged(message: bytes) -> st.SearchStrategy[bytes]:
    """`message` with a bit flipped, bytes cut out, or bytes inserted anywhere."""
    offsets = st.integers(0, len(message) - 1) | st.sampled_from([0, 24, 55, 56, len(message) - 16, len(message) - 1])
    flip = st.builds(
        lambda at, bit: message[:at] + bytes([message[at] ^ 1 << bit]) + message[at + 1 :], offsets, st.integers(0, 7)
    )
    cut = st.builds(
        lambda at, length: message[:at] + message[at + length :],
        offsets,
        st.sampled_from([1, 16, 16400]) | st.integers(1),
    )
    grow = st.builds(
        lambda at, more: message[:at] + more + message[at:],
        offsets | st.just(len(message)),
        st.binary(min_size=1, max_size=40) | st.just(bytes(16400)),
    ).filter(lambda grown: len(grown) != len(message))
    return flip | cut | grow


@settings(deadline=None)
@given(st.binary(max_size=300))
@example(b"")
def test_garbage__is_an_integrity_error_and_nothing_else(garbage: bytes) -> None:
    with pytest.raises(IntegrityError):
        open_sealed(KEY, CONTEXT, garbage)
