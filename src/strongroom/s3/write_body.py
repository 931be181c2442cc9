"""The one loop through which every plaintext byte goes on its way in: hashed, encrypted, and written as ciphertext.

PUT, POST, UploadPart and both copies come through here. The plaintext exists in blocks of a quarter of a megabyte and
nowhere on disk. Whatever the source or a check raises reaches the blob store inside the loop, which then drops what it
has.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from strongroom.aws.checksums import Digests, Expected, hasher
from strongroom.identity.call import Body
from strongroom.metadata.records import Part
from strongroom.s3.messages import writer_for
from strongroom.s3.object_keys import ObjectKey
from strongroom.s3.storage import Storage

BLOCK = 256 * 1024  # several copies of it, in clear and sealed, are what an upload holds
_HASH_INLINE = 64 * 1024  # a smaller block is hashed sooner than another thread wakes up


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """`part`: as the index keeps it, without checksums. `values`: the digests asked for, by algorithm."""

    part: Part
    values: Mapping[str, bytes]


async def write_body(
    storage: Storage,
    body: Body,
    key: ObjectKey,
    *,
    part_number: int,
    promise: Expected,
    keep: frozenset[str],
) -> Written:
    """Encrypt `body` into a new durable blob.

    `part_number`: 0 for a single PUT. `keep`: the checksum algorithms wanted. The ETag is the plaintext's MD5 under
    SSE-S3; else it is random, since an MD5 of what somebody else's key protects must not be kept. Raises S3Error,
    StorageUnavailable.
    """
    shows_md5 = key.shows_md5
    writer = writer_for(key, part_number)
    digests = Digests(keep | promise.names, md5=shows_md5)
    stored = hasher("CRC64NVME")
    size = 0

    async def ciphertext() -> AsyncGenerator[bytes, None]:
        nonlocal size
        async with aclosing(_hashed(storage, body.chunks, digests)) as blocks:
            async for block, hashed in blocks:
                size += len(block)
                sealed = writer.feed(block)
                stored.update(sealed)
                await hashed
                yield sealed
        digests.check(promise, body.trailers(), show_digests=shows_md5)
        sealed = writer.finish()
        stored.update(sealed)
        yield sealed

    # The store may stop in the middle (disk full): close what feeds it then and not some day.
    async with aclosing(ciphertext()) as chunks:
        blob = await storage.blobs.write(chunks)
    assert body.size in (None, size)
    part = Part(
        part_number=part_number,
        size=size,
        etag=digests.md5 if shows_md5 else secrets.token_bytes(16),
        modified_us=storage.now_us(),
        blob_id=blob.blob_id,
        header=writer.header,
        stored_crc64nvme=stored.digest(),
    )
    return Written(part=part, values={name: digests.value(name) for name in keep})


async def _hashed(
    storage: Storage, chunks: AsyncIterator[bytes], digests: Digests
) -> AsyncGenerator[tuple[bytes, "asyncio.Future[None]"], None]:
    """Blocks of about `BLOCK` bytes, each with the future of its hashing, so that hashing and encrypting overlap."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    done.set_result(None)
    async with aclosing(_regrouped(chunks)) as blocks:
        async for block in blocks:
            if len(block) < _HASH_INLINE:
                digests.update(block)
                yield block, done
            else:
                yield block, loop.run_in_executor(storage.hashing, digests.update, block)


async def _regrouped(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    held: list[bytes] = []
    size = 0
    async for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= BLOCK:
            block = held[0] if len(held) == 1 else b"".join(held)
            held, size = [], 0  # before `block` is used, or both would stay in memory meanwhile
            yield block
    if size:
        yield held[0] if len(held) == 1 else b"".join(held)
