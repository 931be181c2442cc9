"""The way out: plaintext of any range of an object, authenticated before it leaves.

An object is one message, or one per part. A range touches the parts that it overlaps and of each the whole segments
that it overlaps; only what authenticated is yielded. The first block is read before the answer begins, so that damage
which shows there is an error document; damage that shows later must abort the connection, which is the edge's business.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from strongroom.blobs.store import BlobId, BlobMissing
from strongroom.crypto.errors import IntegrityError, KeyMismatch
from strongroom.metadata.objects import PAGE_PARTS, read_pages
from strongroom.metadata.records import ObjectVersion, OpenBucket, Part
from strongroom.s3.messages import reading
from strongroom.s3.object_keys import ObjectKey
from strongroom.s3.storage import Storage

_AT_ONCE = 256 * 1024  # plaintext bytes up to which an answer is one piece


@dataclass(frozen=True, slots=True)
class Slice:
    """Plaintext offsets `first`..`last` (inclusive) of one part; of an empty part 0..-1."""

    part: Part
    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


async def all_parts(storage: Storage, bucket: OpenBucket, version: ObjectVersion) -> list[Part]:
    """Every part of an object in order. Raises as `read_pages`."""
    if version.pages:
        return await read_pages(storage.database, bucket, version, 0, len(version.pages) - 1)
    return list(version.parts)


async def slices(storage: Storage, bucket: OpenBucket, version: ObjectVersion, first: int, last: int) -> list[Slice]:
    """What of which part makes up the plaintext offsets `first`..`last` (inclusive; 0..-1 for an empty object). Raises
    as `read_pages`.

    To be asked before a key service is: that may take its time, in which the rows go, while the bytes wait for readers.
    """
    offset = 0
    if version.pages and last >= first:
        ends = _ends(list(version.pages))
        first_page = next(page for page, end in enumerate(ends) if first < end)
        last_page = next(page for page, end in enumerate(ends) if last < end)
        offset = ends[first_page] - version.pages[first_page]
        parts = await read_pages(storage.database, bucket, version, first_page, last_page)
    else:
        parts = await all_parts(storage, bucket, version)
    if last < first:
        return [Slice(part, 0, -1) for part in parts]
    found = []
    for part in parts:
        begin, end = max(first - offset, 0), min(last - offset, part.size - 1)
        if begin <= end:
            found.append(Slice(part, begin, end))
        offset += part.size
    if sum(piece.length for piece in found) != last - first + 1:
        raise IntegrityError("the parts of an object do not add up to its size")
    return found


def pages_of(parts: list[Part]) -> list[list[Part]]:
    """A multipart object's parts as the pages in which they are sealed."""
    return [parts[start : start + PAGE_PARTS] for start in range(0, len(parts), PAGE_PARTS)]


def plaintext(storage: Storage, key: ObjectKey, pieces: list[Slice]) -> AsyncGenerator[bytes, None]:
    """The plaintext of `pieces` in blocks. Raises IntegrityError, StorageUnavailable before the first byte that would
    be wrong.
    """

    async def blocks() -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            async with aclosing(_part_plaintext(storage, key, piece)) as part:
                async for block in part:
                    yield block

    return blocks()


async def primed(blocks: AsyncGenerator[bytes, None], size: int) -> bytes | AsyncIterator[bytes]:
    """The same bytes after the first block was read: whole, where `size` (plaintext bytes) is small, else as an
    iterator to be closed.
    """
    if size <= _AT_ONCE:
        async with aclosing(blocks):
            return b"".join([block async for block in blocks])

    async def begun() -> AsyncGenerator[bytes, None]:
        async with aclosing(blocks):
            first = await anext(blocks)
            yield b""
            yield first
            async for block in blocks:
                yield block

    answer = begun()
    await anext(answer)  # one that was never begun would not close `blocks` when it is closed
    return answer


async def _part_plaintext(storage: Storage, key: ObjectKey, piece: Slice) -> AsyncGenerator[bytes, None]:
    part, blob_id = piece.part, BlobId(piece.part.blob_id)
    try:
        wanted = reading(key, part, piece.first, piece.last)
        reader = wanted.reader
        async with aclosing(storage.blobs.read(blob_id, wanted.start, wanted.stop, size=wanted.size)) as stored:
            async for ciphertext in stored:
                if block := reader.feed(ciphertext):
                    yield block
        if block := reader.finish():
            yield block
    except BlobMissing as error:
        raise IntegrityError(f"a part is damaged: {error}") from error
    except KeyMismatch as error:
        # The object's key opened; a part that it does not fit is another object's.
        raise IntegrityError(f"blob {blob_id.hex()} is not this object's") from error


def _ends(sizes: list[int]) -> list[int]:
    ends, total = [], 0
    for size in sizes:
        total += size
        ends.append(total)
    return ends
