"""Properties of two layers: any split gives the same bytes, any range is the slice, and neither layer lets a change through."""

import os
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strongroom.crypto.errors import IntegrityError, KeyMismatch
from strongroom.crypto.layers import (
    LAYERED_HEADER_SIZE,
    LayeredReader,
    LayeredWriter,
    layered_size,
    layered_span,
    split_header,
)
from strongroom.crypto.segments import (
    HEADER_SIZE,
    SegmentReader,
    SegmentWriter,
    ciphertext_size,
    open_sealed,
    seal,
    span,
    whole,
)

INNER_KEY, OUTER_KEY = bytes(range(32)), bytes(range(32, 64))
INNER, OUTER = b"inner", b"outer"
PLAINTEXT = os.urandom(120_000)

# 16312 and 32680 make inner messages of 16384 and 32768 bytes, which is where the outer layer begins a segment.
BORDERS = [0, 1, 16311, 16312, 16313, 16383, 16384, 16385, 32679, 32680, 32681, 32768, 49048, 65536, 120_000]
sizes = st.sampled_from(BORDERS) | st.integers(0, len(PLAINTEXT))
offsets = st.sampled_from(BORDERS) | st.integers(0, len(PLAINTEXT))
cuts = st.lists(st.integers(0, 140_000), max_size=8)


def blocks(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:stop] for start, stop in pairwise(edges)]


def write(data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """The outer message, and the header of both."""
    writer = LayeredWriter(SegmentWriter(INNER_KEY, INNER), SegmentWriter(OUTER_KEY, OUTER))
    return b"".join(writer.feed(block) for block in blocks(data, cuts)) + writer.finish(), writer.header


def read(message: bytes, header: bytes, size: int, first: int, last: int, cuts: list[int]) -> bytes:
    outer_header, inner_header = split_header(header)
    wanted = span(size, first, last) if first <= last else whole(size)
    around = layered_span(size, wanted)
    reader = LayeredReader(
        SegmentReader(INNER_KEY, INNER, inner_header, size, wanted),
        SegmentReader(OUTER_KEY, OUTER, outer_header, ciphertext_size(size), around),
    )
    got = [reader.feed(block) for block in blocks(message[around.start : around.stop], cuts)]
    return b"".join(got) + reader.finish()


@settings(deadline=None)
@given(sizes, cuts)
def test_a_message_in_a_message_for_any_split(size: int, cuts: list[int]) -> None:
    message, header = write(PLAINTEXT[:size], cuts)
    assert len(message) == layered_size(size) == ciphertext_size(ciphertext_size(size))
    inner = open_sealed(OUTER_KEY, OUTER, message)
    assert header == message[:HEADER_SIZE] + inner[:HEADER_SIZE]
    assert len(header) == LAYERED_HEADER_SIZE
    assert open_sealed(INNER_KEY, INNER, inner) == PLAINTEXT[:size]


@settings(deadline=None)
@given(sizes, cuts)
@example(0, [])
def test_the_whole_comes_back_for_any_split(size: int, cuts: list[int]) -> None:
    message, header = write(PLAINTEXT[:size], [])
    assert read(message, header, size, 0, size - 1, cuts) == PLAINTEXT[:size]


@settings(deadline=None, max_examples=300)
@given(sizes.filter(bool), offsets, offsets, cuts)
def test_any_range_is_the_slice(size: int, one: int, other: int, cuts: list[int]) -> None:
    first, last = sorted((min(one, size - 1), min(other, size - 1)))
    message, header = write(PLAINTEXT[:size], [])
    assert read(message, header, size, first, last, cuts) == PLAINTEXT[first : last + 1]


@settings(deadline=None, max_examples=200)
@given(sizes, st.integers(0, 2**32), st.integers(0, 7))
def test_no_changed_bit_of_either_layer_gets_through(size: int, place: int, bit: int) -> None:
    def changed(message: bytes) -> bytes:
        damaged = bytearray(message)
        damaged[place % len(message)] ^= 1 << bit
        return bytes(damaged)

    message, header = write(PLAINTEXT[:size], [])
    with pytest.raises(IntegrityError):
        read(changed(message), header, size, 0, size - 1, [])
    # Somebody who has the outer key and not the inner one changes the inner message and seals it again.
    forged = seal(OUTER_KEY, OUTER, changed(open_sealed(OUTER_KEY, OUTER, message)))
    with pytest.raises(IntegrityError):
        read(forged, forged[:HEADER_SIZE] + header[HEADER_SIZE:], size, 0, size - 1, [])


@pytest.mark.parametrize("wrong", [INNER_KEY, bytes(32)])
def test_the_outer_layer_opens_under_its_key_alone(wrong: bytes) -> None:
    _, header = write(PLAINTEXT, [])
    size = ciphertext_size(len(PLAINTEXT))
    SegmentReader(OUTER_KEY, OUTER, header[:HEADER_SIZE], size, whole(size))
    with pytest.raises(KeyMismatch):
        SegmentReader(wrong, OUTER, header[:HEADER_SIZE], size, whole(size))


@pytest.mark.parametrize("wrong", [OUTER_KEY, bytes(32)])
def test_the_inner_layer_opens_under_its_key_alone(wrong: bytes) -> None:
    _, header = write(PLAINTEXT, [])
    size = len(PLAINTEXT)
    SegmentReader(INNER_KEY, INNER, header[HEADER_SIZE:], size, whole(size))
    with pytest.raises(KeyMismatch):
        SegmentReader(wrong, INNER, header[HEADER_SIZE:], size, whole(size))


def test_a_header_of_another_length_is_none() -> None:
    for length in (0, HEADER_SIZE, LAYERED_HEADER_SIZE - 1, LAYERED_HEADER_SIZE + 1):
        with pytest.raises(IntegrityError):
            split_header(bytes(length))
