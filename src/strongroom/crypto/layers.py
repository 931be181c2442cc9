"""Two layers of encryption around one plaintext (DSSE): a whole message is the plaintext of another one.

The inner message and the outer one are Cobblestone messages like any other, under two keys that nothing connects;
whoever lacks either key opens nothing. Both are written in one pass and read in one pass, by range too: a range of the
plaintext is a span of the inner message, and that is a range, with a span of its own, of the outer one. Both layers are
authenticated before a byte leaves.

Writer and reader are used like those of one layer. Whose keys they are is not known here.
"""

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.segments import (
    HEADER_SIZE,
    Block,
    SegmentReader,
    SegmentWriter,
    Span,
    ciphertext_size,
    span,
)

LAYERED_HEADER_SIZE = 2 * HEADER_SIZE  # the outer message's header, then the inner one's


def layered_size(n: int) -> int:
    """Bytes of the outer message around the inner one of `n` plaintext bytes. Raises ValueError as `ciphertext_size`."""
    return ciphertext_size(ciphertext_size(n))


def layered_span(size: int, inner: Span) -> Span:
    """What to read of the outer message for `inner`, a span of the inner message of `size` plaintext bytes."""
    return span(ciphertext_size(size), inner.start, inner.stop - 1)


class LayeredWriter:
    """Encrypts one plaintext twice. The first output begins with the outer message's header."""

    __slots__ = ("_inner", "_outer", "header")

    def __init__(self, inner: SegmentWriter, outer: SegmentWriter) -> None:
        """Two writers that nobody else feeds."""
        self._inner, self._outer = inner, outer
        self.header = outer.header + inner.header

    def feed(self, data: Block) -> bytes:
        """Ciphertext of the outer segments that `data` (plaintext) completes; often empty for small blocks."""
        return self._outer.feed(self._inner.feed(data))

    def finish(self) -> bytes:
        """What is left of both messages. Nothing can be fed afterwards."""
        return self._outer.feed(self._inner.finish()) + self._outer.finish()


class LayeredReader:
    """Decrypts a span of a plaintext that was encrypted twice; as `SegmentReader` it yields nothing unauthenticated."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, inner: SegmentReader, outer: SegmentReader) -> None:
        """`outer` reads the `layered_span` of the span that `inner` reads."""
        self._inner, self._outer = inner, outer

    def feed(self, ciphertext: Block) -> bytes:
        """The plaintext that `ciphertext` (of the outer message) completes. Raises IntegrityError."""
        return self._inner.feed(self._outer.feed(ciphertext))

    def finish(self) -> bytes:
        """The rest of the plaintext, now that both ends are known. Raises IntegrityError."""
        begun = self._inner.feed(self._outer.finish())
        return begun + self._inner.finish()


def split_header(header: bytes) -> tuple[bytes, bytes]:
    """The outer and the inner message's header. Raises IntegrityError."""
    if len(header) != LAYERED_HEADER_SIZE:
        raise IntegrityError("the header of two layers is cut")
    return header[:HEADER_SIZE], header[HEADER_SIZE:]
