"""Cobblestone-256: one message of any size, encrypted in segments, opened whole or by range.

https://c2sp.org/chunked-encryption, version 1, with SHA-512 and AES-256-GCM. Key, base nonce and commitment of a
message come from HKDF-Expand over a fresh salt and the caller's context; a segment is 16 KiB of plaintext and a tag,
the last one always shorter, and that is what ends a message. (The specification says "chunk"; aws-chunked and HTTP own
that word here.)

Writer and reader are fed blocks of any length and do no input or output. Nobody hands in a salt or a nonce. This module
does not know what a message holds, where it is kept, or who owns the key.
"""

from dataclasses import dataclass
from hmac import compare_digest
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from strongroom.crypto.errors import IntegrityError, KeyMismatch

KEY_SIZE = 32
SEGMENT_SIZE = 16 * 1024  # plaintext bytes
TAG_SIZE = 16
HEADER_SIZE = 56  # salt, commitment
MAX_SEGMENTS = 2**38
MAX_SIZE = MAX_SEGMENTS * SEGMENT_SIZE - 1  # plaintext bytes: 4 PiB - 1

_SALT_SIZE = 24
_NONCE_SIZE = 12
_COMMITMENT_SIZE = 32
_SEALED_SEGMENT_SIZE = SEGMENT_SIZE + TAG_SIZE
_INFO = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"

Block = bytes | bytearray | memoryview


def ciphertext_size(n: int) -> int:
    """Bytes of the message that holds `n` plaintext bytes. Raises ValueError where there is none (negative, above 4 PiB
    - 1).
    """
    if not 0 <= n <= MAX_SIZE:
        raise ValueError(f"no message holds {n} bytes")
    return HEADER_SIZE + n + TAG_SIZE * (n // SEGMENT_SIZE + 1)


def plaintext_size(c: int) -> int:
    """Plaintext bytes in a message of `c` bytes. Raises ValueError where no message has that length."""
    full_segments, last = divmod(c - HEADER_SIZE, _SEALED_SEGMENT_SIZE)
    if last < TAG_SIZE or not 0 <= full_segments < MAX_SEGMENTS:
        raise ValueError(f"no message has {c} bytes")
    return full_segments * SEGMENT_SIZE + last - TAG_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where a plaintext range lies in a message: what to read, and what to keep of it.

    `start`, `stop`: ciphertext offsets, half open, of whole segments; 0 where the header is read too. `first_segment`:
    number of the first segment read. `skip`: plaintext bytes of it before the range. `length`: plaintext bytes of the
    range.
    """

    start: int
    stop: int
    first_segment: int
    skip: int
    length: int


def span(size: int, first: int, last: int) -> Span:
    """The span of plaintext offsets `first`..`last` (inclusive) of a message of `size` plaintext bytes.

    A range that reaches the end takes in the last segment even where that is empty: only it authenticates the length,
    which the specification demands of offsets counted from the end. Raises ValueError unless 0 <= first <= last < size.
    """
    if not 0 <= first <= last < size:
        raise ValueError(f"no bytes {first}-{last} in a message of {size}")
    first_segment, skip = divmod(first, SEGMENT_SIZE)
    last_segment = (size if last == size - 1 else last) // SEGMENT_SIZE
    return Span(
        start=_offset(first_segment) if first_segment else 0,
        stop=min(_offset(last_segment + 1), ciphertext_size(size)),
        first_segment=first_segment,
        skip=skip,
        length=last - first + 1,
    )


def whole(size: int) -> Span:
    """The span of a whole message of `size` plaintext bytes, empty ones included."""
    return Span(start=0, stop=ciphertext_size(size), first_segment=0, skip=0, length=size)


def _offset(segment: int) -> int:
    """The ciphertext offset of a segment."""
    return HEADER_SIZE + segment * _SEALED_SEGMENT_SIZE


def seal(key: bytes | bytearray, context: bytes, plaintext: bytes | bytearray) -> bytes:
    """A whole message, at once. `key`: 32 uniformly random bytes."""
    salt = urandom(_SALT_SIZE)
    aead, base_nonce, commitment = _message_keys(key, salt, context)
    starts = range(0, len(plaintext) + 1, SEGMENT_SIZE)  # + 1: full segments are followed by an empty one
    segments = [
        aead.encrypt(_nonce(base_nonce, segment), plaintext[start : start + SEGMENT_SIZE], None)
        for segment, start in enumerate(starts)
    ]
    return b"".join((salt, commitment, *segments))


def open_sealed(key: bytes | bytearray, context: bytes, message: bytes) -> bytes:
    """The plaintext of a whole message. Raises KeyMismatch (wrong key or context), else IntegrityError."""
    aead, base_nonce = _committed_keys(key, context, message[:HEADER_SIZE])
    try:
        plaintext_size(len(message))
        starts = range(HEADER_SIZE, len(message), _SEALED_SEGMENT_SIZE)
        segments = [
            aead.decrypt(_nonce(base_nonce, segment), message[start : start + _SEALED_SEGMENT_SIZE], None)
            for segment, start in enumerate(starts)
        ]
    except (ValueError, InvalidTag):
        raise IntegrityError("the message does not authenticate") from None
    return b"".join(segments)


class SegmentWriter:
    """Encrypts one message. The first output, of `feed` or of `finish`, begins with `header`."""

    __slots__ = ("_aead", "_base_nonce", "_cutter", "_finished", "_scratch", "_segments", "_unsent", "header")

    def __init__(self, key: bytes, context: bytes) -> None:
        """`key`: 32 uniformly random bytes. Raises ValueError for any other length."""
        salt = urandom(_SALT_SIZE)
        self._aead, self._base_nonce, commitment = _message_keys(key, salt, context)
        self.header = salt + commitment
        self._unsent = self.header
        self._segments = 0
        self._cutter = _Cutter(SEGMENT_SIZE)
        self._scratch = _Scratch()
        self._finished = False

    def feed(self, data: Block) -> bytes:
        """Ciphertext of the segments that `data` (plaintext) completes; often empty for small blocks."""
        if self._finished:
            raise RuntimeError("the message is finished")
        return self._encrypt(self._cutter.cut(data))

    def finish(self) -> bytes:
        """The last, short segment. Nothing can be fed afterwards."""
        if self._finished:
            raise RuntimeError("the message is finished")
        self._finished = True
        return self._encrypt([self._cutter.rest])

    def _encrypt(self, pieces: list[Block]) -> bytes:
        if not pieces:
            return b""
        # Counted before the first byte is encrypted, so that no exception in between can make a nonce serve twice.
        first = self._segments
        self._segments += len(pieces)
        if self._segments > MAX_SEGMENTS:
            raise ValueError("the message exceeds 2^38 segments")
        end = len(self._unsent)
        scratch = self._scratch.take(end + sum(map(len, pieces)) + TAG_SIZE * len(pieces))
        scratch[:end] = self._unsent
        self._unsent = b""
        for segment, piece in enumerate(pieces, first):
            start, end = end, end + len(piece) + TAG_SIZE
            self._aead.encrypt_into(_nonce(self._base_nonce, segment), piece, None, scratch[start:end])
        return bytes(scratch[:end])


class SegmentReader:
    """Decrypts a span of one message and yields authenticated plaintext only, trimmed to the span.

    The last segment that holds plaintext of the span, and an empty one behind it, are kept back until `finish` has seen
    that the ciphertext ends where it must. So a client who counts to Content-Length never takes a damaged end for a
    clean one.
    """

    __slots__ = (
        "_aead",
        "_base_nonce",
        "_cutter",
        "_early",
        "_header",
        "_left",
        "_length",
        "_scratch",
        "_segment",
        "_skip",
        "_sound",
        "_tail",
    )

    def __init__(self, key: bytes, context: bytes, header: bytes, size: int, span: Span) -> None:
        """`header`: the message's first 56 bytes, from an authenticated place. `size`: plaintext bytes of the message.

        Raises KeyMismatch where the commitment in `header` is not that of key and context, IntegrityError for a header
        of another length, ValueError for a key that has not 32 bytes or a span that is none of such a message.
        """
        self._aead, self._base_nonce = _committed_keys(key, context, header)
        if not span.start < span.stop <= ciphertext_size(size):
            raise ValueError(f"no such span in a message of {size} bytes")
        self._header = header if span.start == 0 else b""  # what is still to be compared of it
        self._left = span.stop - span.start - len(self._header)  # ciphertext bytes of segments still to come
        kept_back = max(span.skip + span.length - 1, 0) // SEGMENT_SIZE  # counted from the first segment
        self._early = kept_back * _SEALED_SEGMENT_SIZE  # ciphertext bytes of the segments in front of it
        self._segment = span.first_segment
        self._skip, self._length = span.skip, span.length
        self._cutter = _Cutter(_SEALED_SEGMENT_SIZE)
        self._tail = bytearray()
        self._scratch = _Scratch()
        self._sound = True

    def feed(self, ciphertext: Block) -> bytes:
        """The plaintext that `ciphertext` completes; often empty. In blocks of any length, from `span.start` on.

        Raises IntegrityError for a segment that does not authenticate, another header, or bytes beyond `span.stop`;
        then always.
        """
        self._begin()
        view = self._compare_header(memoryview(ciphertext))
        if len(view) > self._left:
            raise IntegrityError("the message goes on behind its end")
        self._left -= len(view)
        early = view[: self._early]
        self._early -= len(early)
        self._tail += view[len(early) :]
        plaintext = self._decrypt(self._cutter.cut(early))
        self._sound = True
        return plaintext

    def finish(self) -> bytes:
        """The rest of the plaintext, now that the end is known. Raises IntegrityError, for a cut message too."""
        self._begin()
        if self._header or self._left:
            raise IntegrityError("the message is cut")
        pieces: list[Block] = [self._tail[:_SEALED_SEGMENT_SIZE]]
        if len(self._tail) > _SEALED_SEGMENT_SIZE:
            pieces.append(self._tail[_SEALED_SEGMENT_SIZE:])
        return self._decrypt(pieces)

    def _begin(self) -> None:
        """Unsound until the call has come to its end: after a failure nothing more is ever opened."""
        if not self._sound:
            raise IntegrityError("the message has ended or failed already")
        self._sound = False

    def _compare_header(self, view: memoryview) -> memoryview:
        length = min(len(self._header), len(view))
        if view[:length] != self._header[:length]:  # not secret: it lies in clear in front of the ciphertext
            raise IntegrityError("the header is another message's")
        self._header = self._header[length:]
        return view[length:]

    def _decrypt(self, pieces: list[Block]) -> bytes:
        if not pieces:
            return b""
        scratch = self._scratch.take(sum(map(len, pieces)))
        end = 0
        for piece in pieces:
            start, end = end, end + len(piece) - TAG_SIZE
            try:
                self._aead.decrypt_into(_nonce(self._base_nonce, self._segment), piece, None, scratch[start:end])
            except InvalidTag:
                raise IntegrityError(f"segment {self._segment} does not authenticate") from None
            self._segment += 1
        plaintext = bytes(scratch[self._skip : min(end, self._skip + self._length)])
        self._skip = 0  # it lay in the first segment
        self._length -= len(plaintext)
        return plaintext


def _message_keys(key: bytes | bytearray, salt: bytes, context: bytes) -> tuple[AESGCM, int, bytes]:
    """The cipher, base nonce and commitment of one message ("Key derivation")."""
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key has {KEY_SIZE} bytes")
    length = KEY_SIZE + _NONCE_SIZE + _COMMITMENT_SIZE
    keys = HKDFExpand(SHA512(), length, _INFO + salt + context).derive(key)
    cipher_key, base_nonce, commitment = keys[:KEY_SIZE], keys[KEY_SIZE:-_COMMITMENT_SIZE], keys[-_COMMITMENT_SIZE:]
    return AESGCM(cipher_key), int.from_bytes(base_nonce, "big"), commitment


def _committed_keys(key: bytes | bytearray, context: bytes, header: bytes) -> tuple[AESGCM, int]:
    """The cipher and base nonce of a message whose header commits to this key and context: the first thing to check."""
    if len(header) != HEADER_SIZE:
        raise IntegrityError("the header is cut")
    aead, base_nonce, commitment = _message_keys(key, header[:_SALT_SIZE], context)
    if not compare_digest(commitment, header[_SALT_SIZE:]):
        raise KeyMismatch("the key commitment does not match")
    return aead, base_nonce


def _nonce(base_nonce: int, segment: int) -> bytes:
    """Never repeats within a message; key and base nonce are the message's own ("AEAD usage")."""
    return (base_nonce ^ segment).to_bytes(_NONCE_SIZE, "big")


class _Cutter:
    """Cuts a stream into pieces of `size` bytes, whatever blocks it comes in; copies what straddles two."""

    __slots__ = ("_size", "rest")

    def __init__(self, size: int) -> None:
        self._size = size
        self.rest = bytearray()  # the incomplete piece

    def cut(self, block: Block) -> list[Block]:
        """The pieces that `block` completes. They are views of it: to be used before the caller gets it back."""
        view = memoryview(block)
        pieces: list[Block] = []
        if self.rest:
            missing = self._size - len(self.rest)
            self.rest += view[:missing]
            if len(self.rest) < self._size:
                return pieces
            pieces.append(self.rest)
            self.rest = bytearray()
            view = view[missing:]
        whole_pieces = len(view) - len(view) % self._size
        pieces += [view[start : start + self._size] for start in range(0, whole_pieces, self._size)]
        self.rest += view[whole_pieces:]
        return pieces


class _Scratch:
    """One buffer that serves every block of a message: allocating it anew costs several times what AES does."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def take(self, size: int) -> memoryview:
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        return memoryview(self._buffer)
