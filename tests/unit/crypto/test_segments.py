"""strongroom.crypto.segments: sizes, spans, misuse, and the attacks that key commitment and segment numbers answer."""

import os

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from strongroom.crypto.errors import IntegrityError, KeyMismatch
from strongroom.crypto.segments import (
    HEADER_SIZE,
    MAX_SIZE,
    SEGMENT_SIZE,
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

KEY = bytes(range(32))
CONTEXT = b"context"
SEALED = SEGMENT_SIZE + 16
EDGES = [0, 1, 13, 16383, 16384, 16385, 32767, 32768, 32769, 100_000]


def read(message: bytes, size: int, part: Span, *, block: int = 2**20, header: bytes | None = None) -> bytes:
    reader = SegmentReader(KEY, CONTEXT, message[:HEADER_SIZE] if header is None else header, size, part)
    stored = message[part.start : part.stop]
    output = b"".join(reader.feed(stored[at : at + block]) for at in range(0, len(stored), block))
    return output + reader.finish()


# --- sizes


@pytest.mark.parametrize(
    ("n", "c"), [(0, 72), (1, 73), (16383, 16455), (16384, 16472), (16385, 16473), (32768, 32872), (MAX_SIZE, None)]
)
def test_ciphertext_size(n: int, c: int | None) -> None:
    assert ciphertext_size(n) == (c or 56 + n + 16 * 2**38)
    assert plaintext_size(ciphertext_size(n)) == n


@pytest.mark.parametrize("n", [-1, MAX_SIZE + 1])
def test_ciphertext_size__refuses_what_no_message_holds(n: int) -> None:
    with pytest.raises(ValueError, match="no message"):
        ciphertext_size(n)


@pytest.mark.parametrize("segments", [0, 1, 2, 1000])
@pytest.mark.parametrize("rest", range(16))
def test_plaintext_size__refuses_lengths_between_two_messages(segments: int, rest: int) -> None:
    with pytest.raises(ValueError, match="no message"):
        plaintext_size(HEADER_SIZE + segments * SEALED + rest)


@pytest.mark.parametrize("c", [-1, 0, 16, 55, 56, ciphertext_size(MAX_SIZE) + 1, HEADER_SIZE + 2**38 * SEALED + 16])
def test_plaintext_size__refuses_what_is_too_short_or_too_long(c: int) -> None:
    with pytest.raises(ValueError, match="no message"):
        plaintext_size(c)


# --- spans


def test_span__is_of_whole_segments_and_begins_with_the_header_only_at_the_first() -> None:
    size = 3 * SEGMENT_SIZE
    assert span(size, 5, 6) == Span(start=0, stop=56 + SEALED, first_segment=0, skip=5, length=2)
    assert span(size, 16384, 32767) == Span(
        start=56 + SEALED, stop=56 + 2 * SEALED, first_segment=1, skip=0, length=16384
    )
    assert span(size, 16383, 16384) == Span(start=0, stop=56 + 2 * SEALED, first_segment=0, skip=16383, length=2)


def test_span__that_reaches_the_end_takes_in_the_segment_that_authenticates_the_length() -> None:
    size = 2 * SEGMENT_SIZE
    assert span(size, size - 1, size - 1).stop == ciphertext_size(size) == 56 + 2 * SEALED + 16
    assert span(size, size - 2, size - 2).stop == 56 + 2 * SEALED


@pytest.mark.parametrize(("first", "last"), [(-1, 0), (2, 1), (0, 10), (10, 10)])
def test_span__refuses_what_is_not_in_the_message(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="no bytes"):
        span(10, first, last)


def test_span__of_an_empty_message_is_only_the_whole() -> None:
    assert whole(0) == Span(start=0, stop=72, first_segment=0, skip=0, length=0)
    with pytest.raises(ValueError, match="no bytes"):
        span(0, 0, 0)


# --- writing


def test_writer__begins_with_its_header_and_never_repeats_itself() -> None:
    writers = [SegmentWriter(KEY, CONTEXT) for _ in range(2)]
    messages = [writer.feed(b"same") + writer.finish() for writer in writers]
    assert [message[:HEADER_SIZE] for message in messages] == [writer.header for writer in writers]
    assert messages[0][:24] != messages[1][:24]
    assert messages[0][HEADER_SIZE:] != messages[1][HEADER_SIZE:]


def test_writer__cannot_go_on_after_its_end() -> None:
    writer = SegmentWriter(KEY, CONTEXT)
    writer.finish()
    with pytest.raises(RuntimeError):
        writer.feed(b"more")
    with pytest.raises(RuntimeError):
        writer.finish()


def test_writer__keeps_no_view_of_what_it_is_fed() -> None:
    block = bytearray(b"a" * 20_000)
    writer = SegmentWriter(KEY, CONTEXT)
    message = writer.feed(memoryview(block))
    block[:] = b"b" * 20_000
    message += writer.finish()
    assert open_sealed(KEY, CONTEXT, message) == b"a" * 20_000


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_keys__have_32_bytes(size: int) -> None:
    message = seal(KEY, CONTEXT, b"")
    with pytest.raises(ValueError, match="32 bytes"):
        SegmentWriter(bytes(size), CONTEXT)
    with pytest.raises(ValueError, match="32 bytes"):
        seal(bytes(size), CONTEXT, b"")
    with pytest.raises(ValueError, match="32 bytes"):
        open_sealed(bytes(size), CONTEXT, message)


def test_repr__shows_no_key() -> None:
    writer = SegmentWriter(KEY, CONTEXT)
    reader = SegmentReader(KEY, CONTEXT, writer.header, 0, whole(0))
    assert "object at 0x" in repr(writer)
    assert "object at 0x" in repr(reader)


# --- reading


@pytest.mark.parametrize("size", EDGES)
def test_reader__keeps_the_last_plaintext_back_until_the_end_has_been_seen(size: int) -> None:
    plaintext = os.urandom(size)
    message = seal(KEY, CONTEXT, plaintext)
    reader = SegmentReader(KEY, CONTEXT, message[:HEADER_SIZE], size, whole(size))
    early = reader.feed(message)
    assert early == plaintext[: max(size - 1, 0) // SEGMENT_SIZE * SEGMENT_SIZE]
    assert early + reader.finish() == plaintext


@pytest.mark.parametrize(("key", "context"), [(bytes(32), CONTEXT), (KEY, b"other"), (KEY, b"")])
def test_another_key_or_context__is_a_mismatch_at_once(key: bytes, context: bytes) -> None:
    message = seal(KEY, CONTEXT, b"plaintext")
    with pytest.raises(KeyMismatch):
        SegmentReader(key, context, message[:HEADER_SIZE], 9, whole(9))
    with pytest.raises(KeyMismatch):
        open_sealed(key, context, message)


@pytest.mark.parametrize("offset", [0, 23, 24, 55])
def test_changed_salt_or_commitment__is_a_mismatch(offset: int) -> None:
    message = bytearray(seal(KEY, CONTEXT, b"plaintext"))
    message[offset] ^= 1
    with pytest.raises(KeyMismatch):
        open_sealed(KEY, CONTEXT, bytes(message))


@pytest.mark.parametrize("length", [0, 24, 55, 57])
def test_header_of_another_length__is_an_integrity_error(length: int) -> None:
    with pytest.raises(IntegrityError):
        SegmentReader(KEY, CONTEXT, (seal(KEY, CONTEXT, b"") + b"?")[:length], 0, whole(0))


def test_span_of_a_longer_message__is_refused() -> None:
    message = seal(KEY, CONTEXT, b"ten bytes.")
    with pytest.raises(ValueError, match="no such span"):
        SegmentReader(KEY, CONTEXT, message[:HEADER_SIZE], 10, whole(11))


@pytest.mark.parametrize("block", [1, 55, 57, 2**20])
def test_blob_of_another_message__is_seen_by_its_header(block: int) -> None:
    """The header comes from the row, the bytes from the blob: whoever swaps blobs under one key is found out by the first 56 bytes."""
    ours, theirs = seal(KEY, CONTEXT, b"ours"), seal(KEY, CONTEXT, b"them")
    with pytest.raises(IntegrityError, match="another message"):
        read(theirs, 4, whole(4), block=block, header=ours[:HEADER_SIZE])


@pytest.mark.parametrize("size", EDGES)
def test_another_size_than_the_message_has__never_ends_well(size: int) -> None:
    message = seal(KEY, CONTEXT, bytes(size))
    for other in {size - 1, size + 1, size - SEGMENT_SIZE, size + SEGMENT_SIZE, 0} - {size}:
        if other >= 0:
            with pytest.raises(IntegrityError):
                read(message[: ciphertext_size(other)], other, whole(other))


def test_failure__is_final() -> None:
    plaintext = bytes(4 * SEGMENT_SIZE)
    message = bytearray(seal(KEY, CONTEXT, plaintext))
    message[HEADER_SIZE + SEALED] ^= 1
    reader = SegmentReader(KEY, CONTEXT, bytes(message[:HEADER_SIZE]), len(plaintext), whole(len(plaintext)))
    first, damaged, sound = (message[at : at + SEALED] for at in range(HEADER_SIZE, HEADER_SIZE + 3 * SEALED, SEALED))
    assert reader.feed(message[:HEADER_SIZE] + first) == bytes(SEGMENT_SIZE)
    with pytest.raises(IntegrityError, match="segment 1 "):
        reader.feed(damaged)
    with pytest.raises(IntegrityError):
        reader.feed(sound)
    with pytest.raises(IntegrityError):
        reader.finish()


REARRANGED = {  # a0 a1 a2 a3: the segments of the message, b0 b1 b2 b3: those of another one under the same key
    "swapped": "a1 a0 a2 a3",
    "duplicated in place": "a0 a0 a2 a3",
    "duplicated and longer": "a0 a0 a1 a2 a3",
    "last one repeated": "a0 a1 a2 a3 a3",
    "first one missing": "a1 a2 a3",
    "middle one missing": "a0 a2 a3",
    "last one missing": "a0 a1 a2",
    "last one early": "a0 a3",
    "one of another message": "a0 b1 a2 a3",
    "the end of another message": "a0 a1 a2 b3",
    "all of another message": "b0 b1 b2 b3",
    "nothing": "",
}


@pytest.mark.parametrize("order", REARRANGED.values(), ids=REARRANGED)
@pytest.mark.parametrize("size", [3 * SEGMENT_SIZE, 3 * SEGMENT_SIZE + 5])
def test_rearranged_segments__never_open(order: str, size: int) -> None:
    plaintext = os.urandom(size)
    message, other = seal(KEY, CONTEXT, plaintext), seal(KEY, CONTEXT, os.urandom(size))
    segments = _segments("a", message) | _segments("b", other)
    stored = message[:HEADER_SIZE] + b"".join(segments[name] for name in order.split())
    with pytest.raises(IntegrityError):
        open_sealed(KEY, CONTEXT, stored)
    reader = SegmentReader(KEY, CONTEXT, message[:HEADER_SIZE], size, whole(size))
    assert plaintext.startswith(_read_until_it_fails(reader, stored))


def _segments(name: str, message: bytes) -> dict[str, bytes]:
    starts = range(HEADER_SIZE, len(message), SEALED)
    return {f"{name}{number}": message[at : at + SEALED] for number, at in enumerate(starts)}


def _read_until_it_fails(reader: SegmentReader, stored: bytes) -> bytes:
    output = b""
    try:
        for at in range(0, len(stored), 777):
            output += reader.feed(stored[at : at + 777])
        output += reader.finish()
    except IntegrityError:
        return output
    pytest.fail("a damaged message was read to its end")


# --- key commitment


def test_two_key_ciphertext__opens_under_one_key_only() -> None:
    """AES-GCM commits to no key: here is a segment that authenticates under the keys of two messages. The commitment tells them apart."""
    salt, keys = os.urandom(24), (bytes(32), b"\xff" * 32)
    derived = [_derived(key, salt) for key in keys]
    segment = _segment_for_two_keys(*[(secret[:32], secret[32:44]) for secret in derived])
    for secret in derived:
        assert len(AESGCM(secret[:32]).decrypt(secret[32:44], segment, None)) == 16
    with pytest.raises(InvalidTag):
        AESGCM(KEY).decrypt(derived[0][32:44], segment, None)

    for own, other in ((0, 1), (1, 0)):
        message = salt + derived[own][44:] + segment
        assert len(open_sealed(keys[own], CONTEXT, message)) == 16
        with pytest.raises(KeyMismatch):
            open_sealed(keys[other], CONTEXT, message)
        with pytest.raises(KeyMismatch):
            SegmentReader(keys[other], CONTEXT, message[:HEADER_SIZE], 16, whole(16))


def _derived(key: bytes, salt: bytes) -> bytes:
    return HKDFExpand(SHA512(), 76, b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + CONTEXT).derive(key)


def _segment_for_two_keys(one: tuple[bytes, bytes], two: tuple[bytes, bytes]) -> bytes:
    """One block C and its tag T with T = (C*H^2 + L*H + P) for the H and P of both: one linear equation in GF(2^128) (SP 800-38D)."""
    (h1, p1), (h2, p2) = (_gcm_secrets(*pair) for pair in (one, two))
    lengths = 128  # of no additional data and one block, in bits
    block = _times(_times(lengths, h1 ^ h2) ^ p1 ^ p2, _inverse(_times(h1, h1) ^ _times(h2, h2)))
    tag = _times(_times(block, h1) ^ lengths, h1) ^ p1
    return block.to_bytes(16) + tag.to_bytes(16)


def _gcm_secrets(key: bytes, nonce: bytes) -> tuple[int, int]:
    block_cipher = Cipher(AES(key), ECB()).encryptor()
    return int.from_bytes(block_cipher.update(bytes(16))), int.from_bytes(block_cipher.update(nonce + b"\0\0\0\1"))


def _times(x: int, y: int) -> int:
    """SP 800-38D, 6.3: the leftmost bit is the coefficient of 1."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def _inverse(x: int) -> int:
    """x^(2^128 - 2)."""
    power, square = 1 << 127, x
    for _ in range(127):
        square = _times(square, square)
        power = _times(power, square)
    return power
