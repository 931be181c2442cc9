"""A request's body as the bytes that the client meant: unwrapped, counted, and held against its signature.

Whatever is wrong raises while the body is read, before its end is ever reported: so a handler that got to the end has
the whole and nothing else.
"""

import hashlib
import hmac
from collections.abc import AsyncIterator

from strongroom.aws.checksums import Digests, expected, trailer_names
from strongroom.aws.chunked import ChunkedDecoder
from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.aws.sigv4 import (
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    STREAMING_UNSIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
    SigningKey,
)
from strongroom.identity.call import Body

_CHUNKED = frozenset({STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER})


def payload_body(headers: Headers, raw: AsyncIterator[bytes], payload: str, signing: SigningKey) -> Body:
    """`raw`: the body as it stands on the wire; `payload`: the verified x-amz-content-sha256. Raises
    MissingContentLength and more.
    """
    size = _size(headers, payload)
    if payload in _CHUNKED:
        decoder = ChunkedDecoder(
            signing=signing,
            signed=payload != STREAMING_UNSIGNED_TRAILER,
            trailer_names=frozenset(trailer_names(headers)),
            trailer_signed=payload == STREAMING_SIGNED_TRAILER,
            decoded_length=size,
        )
        return Body(chunks=_decoded(raw, decoder), size=size, trailers=lambda: decoder.trailers)
    if payload == UNSIGNED_PAYLOAD:
        return Body(chunks=_counted(raw, size), size=size)
    return Body(chunks=_hashed(_counted(raw, size), payload), size=size)


async def read_document(headers: Headers, body: Body, limit: int) -> bytes:
    """A whole small body, such as an XML document; `headers` may promise its checksums.

    Raises S3Error: MaxMessageLengthExceeded before more than `limit` bytes are read, BadDigest.
    """
    if body.size is None or body.size > limit:
        raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=str(limit))
    promise = expected(headers)
    document = b"".join([chunk async for chunk in body.chunks])
    if promise.names:
        digests = Digests(promise.names)
        digests.update(document)
        digests.check(promise, body.trailers(), show_digests=True)
    return document


def _size(headers: Headers, payload: str) -> int:
    """Plaintext bytes of the body. Raises MissingContentLength, NotImplemented (plain chunked transfer: S3 has none),
    InvalidArgument.
    """
    name = "x-amz-decoded-content-length" if payload in _CHUNKED else "content-length"
    value = headers.get(name)
    if value is None:
        if payload not in _CHUNKED and "transfer-encoding" in headers:
            raise S3Error("NotImplemented", Header="Transfer-Encoding")
        raise S3Error("MissingContentLength")
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise S3Error("InvalidArgument", f"Invalid {name}", ArgumentName=name, ArgumentValue=value)
    return int(value)


async def _counted(raw: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    left = size
    async for chunk in raw:
        left -= len(chunk)
        if left < 0:
            raise S3Error("IncompleteBody")
        yield chunk
    if left:
        raise S3Error("IncompleteBody")


async def _hashed(chunks: AsyncIterator[bytes], promised: str) -> AsyncIterator[bytes]:
    digest = hashlib.sha256()
    async for chunk in chunks:
        digest.update(chunk)  # chunks are what one read of the socket gave: some 64 KiB
        yield chunk
    if not hmac.compare_digest(digest.hexdigest(), promised):
        raise S3Error(
            "XAmzContentSHA256Mismatch",
            ClientComputedContentSHA256=promised,
            S3ComputedContentSHA256=digest.hexdigest(),
        )


async def _decoded(raw: AsyncIterator[bytes], decoder: ChunkedDecoder) -> AsyncIterator[bytes]:
    async for chunk in raw:
        if decoded := decoder.feed(chunk):
            yield decoded
    decoder.finish()
