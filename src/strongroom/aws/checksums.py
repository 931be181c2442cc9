"""S3's ten checksum algorithms: their names on the wire, their values, how parts combine, and what a request promises.

Strategy: one table of algorithms from the official model; `expected` turns the headers of a request into a promise;
`Digests` is fed the plaintext block by block and `check` holds it against the promise. Digests are the raw bytes of the
wire's base64 (CRC and xxHash big-endian, as the AWS SDKs send them).

Rules: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html. This module knows no
request body, no object and no upload; whether an operation takes a checksum at all is its handler's matter.
"""

import base64
import binascii
import hashlib
import hmac
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from awscrt import checksums as crt

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers

ChecksumType = Literal["FULL_OBJECT", "COMPOSITE"]

_PREFIX = "x-amz-checksum-"
# Headers below the prefix that carry no value of a digest.
_NOT_DIGESTS = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"})


@dataclass(frozen=True, slots=True)
class Algorithm:
    """`digest_size`: bytes. `full_object`, `composite`: the types that a multipart upload may have with it."""

    name: str
    digest_size: int
    full_object: bool
    composite: bool

    @property
    def header(self) -> str:
        return _PREFIX + self.name.lower()

    @property
    def default_type(self) -> ChecksumType:
        return "COMPOSITE" if self.composite else "FULL_OBJECT"


# Only a CRC of the whole follows from the CRCs of its parts, so only a CRC can be FULL_OBJECT in a multipart upload.
ALGORITHMS: Mapping[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("CRC32", 4, full_object=True, composite=True),
        Algorithm("CRC32C", 4, full_object=True, composite=True),
        Algorithm("CRC64NVME", 8, full_object=True, composite=False),
        Algorithm("MD5", 16, full_object=False, composite=True),
        Algorithm("SHA1", 20, full_object=False, composite=True),
        Algorithm("SHA256", 32, full_object=False, composite=True),
        Algorithm("SHA512", 64, full_object=False, composite=True),
        Algorithm("XXHASH128", 16, full_object=False, composite=True),
        Algorithm("XXHASH3", 8, full_object=False, composite=True),
        Algorithm("XXHASH64", 8, full_object=False, composite=True),
    )
}
_BY_HEADER = {algorithm.header: algorithm for algorithm in ALGORITHMS.values()}


class Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    """A checksum function of (data, previous value), in the shape of a hash."""

    def __init__(self, function: Callable[[bytes, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


class _XxHash:
    """awscrt's xxHash, in the shape of a hash."""

    def __init__(self, new: Callable[[], crt.XXHash]) -> None:
        self._hash = new()

    def update(self, data: bytes, /) -> None:
        self._hash.update(data)

    def digest(self) -> bytes:
        value: bytes = self._hash.finalize()
        return value


_HASHERS: Mapping[str, Callable[[], Hasher]] = {
    "CRC32": partial(_Crc, zlib.crc32, 4),  # faster than awscrt's
    "CRC32C": partial(_Crc, crt.crc32c, 4),
    "CRC64NVME": partial(_Crc, crt.crc64nvme, 8),
    "MD5": partial(hashlib.md5, usedforsecurity=False),
    "SHA1": partial(hashlib.sha1, usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "XXHASH128": partial(_XxHash, crt.XXHash.new_xxhash3_128),
    "XXHASH3": partial(_XxHash, crt.XXHash.new_xxhash3_64),
    "XXHASH64": partial(_XxHash, crt.XXHash.new_xxhash64),
}
_COMBINE: Mapping[str, Callable[[int, int, int], int]] = {
    "CRC32": crt.combine_crc32,
    "CRC32C": crt.combine_crc32c,
    "CRC64NVME": crt.combine_crc64nvme,
}


def hasher(name: str) -> Hasher:
    return _HASHERS[name]()


def combine(name: str, parts: Iterable[tuple[bytes, int]]) -> bytes:
    """The FULL_OBJECT value of parts, each (digest, size in plaintext bytes). `name`: a CRC."""
    join = _COMBINE[name]
    value = 0
    for digest, size in parts:
        value = join(value, int.from_bytes(digest, "big"), size)
    return value.to_bytes(ALGORITHMS[name].digest_size, "big")


def composite(name: str, digests: Iterable[bytes]) -> bytes:
    """The COMPOSITE value of parts: the checksum of their digests. The wire adds "-N"; that is not part of it."""
    whole = hasher(name)
    for digest in digests:
        whole.update(digest)
    return whole.digest()


def encode_value(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def parse_algorithm(name: str) -> Algorithm:
    """An algorithm as a client names it. Raises S3Error for one that S3 has not."""
    algorithm = ALGORITHMS.get(name.upper())
    if algorithm is None:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
            f"[{', '.join(ALGORITHMS)}]",
        )
    return algorithm


def parse_type(algorithm: Algorithm, value: str | None) -> ChecksumType:
    """The x-amz-checksum-type of a multipart upload, or the algorithm's default. Raises S3Error."""
    if value is None:
        return algorithm.default_type
    if value == "FULL_OBJECT" and algorithm.full_object:
        return "FULL_OBJECT"
    if value == "COMPOSITE" and algorithm.composite:
        return "COMPOSITE"
    if value in ("FULL_OBJECT", "COMPOSITE"):
        message = f"The {value} checksum type cannot be used with the {algorithm.name.lower()} checksum algorithm."
        raise S3Error("InvalidRequest", message)
    raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")


def parse_value(algorithm: Algorithm, value: str, *, where: str = "header") -> bytes:
    """A digest from its base64. `where`: "header" or "trailing header", for the message. Raises S3Error."""
    digest = _decode(value)
    if digest is None or len(digest) != algorithm.digest_size:
        raise S3Error("InvalidRequest", f"Value for {algorithm.header} {where} is invalid.")
    return digest


def _decode(value: str) -> bytes | None:
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    # One text for one value: b64decode passes over stray bits and surplus padding.
    return digest if encode_value(digest) == value.strip() else None


# --- What a request promises


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the plaintext of a body must turn out to be.

    `algorithm` without `value`: the value comes as a trailer if `in_trailer`, else the client only named the algorithm.
    """

    algorithm: Algorithm | None = None
    value: bytes | None = None
    in_trailer: bool = False
    content_md5: bytes | None = None

    @property
    def names(self) -> frozenset[str]:
        """The algorithms that `Digests` must compute for `check`."""
        names = {self.algorithm.name} if self.algorithm is not None else set()
        return frozenset(names | {"MD5"} if self.content_md5 is not None else names)


def expected(headers: Headers) -> Expected:
    """Read x-amz-checksum-*, x-amz-sdk-checksum-algorithm, x-amz-trailer and Content-MD5. Raises S3Error."""
    content_md5 = _content_md5(headers)
    given = [(name, value) for name, value in headers if name.startswith(_PREFIX) and name not in _NOT_DIGESTS]
    trailers = trailer_names(headers)
    if not all(name.startswith(_PREFIX) for name in trailers):
        raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    names = [*(name for name, _ in given), *trailers]
    if len(names) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    named = headers.get("x-amz-sdk-checksum-algorithm")
    requested = parse_algorithm(named) if named is not None else None
    if not names:
        if requested is not None:
            raise S3Error(
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer"
                " headers were found.",
            )
        return Expected(content_md5=content_md5)
    algorithm = parse_algorithm(names[0].removeprefix(_PREFIX))
    if requested is not None and requested is not algorithm:
        raise _mismatch(requested)
    return Expected(
        algorithm=algorithm,
        value=parse_value(algorithm, given[0][1]) if given else None,
        in_trailer=bool(trailers),
        content_md5=content_md5,
    )


def trailer_names(headers: Headers) -> tuple[str, ...]:
    """The names that x-amz-trailer announces, in lower case, repetitions kept."""
    names = (headers.get("x-amz-trailer") or "").lower().split(",")
    return tuple(name.strip() for name in names if name.strip())


def _content_md5(headers: Headers) -> bytes | None:
    value = headers.get("content-md5")
    if value is None:
        return None
    digest = _decode(value)
    if digest is None or len(digest) != 16:
        raise S3Error("InvalidDigest", headers=None, **{"Content-MD5": value})
    return digest


# --- Keeping the promise


class Digests:
    """The checksums of one plaintext, computed together in one pass."""

    def __init__(self, names: Iterable[str] = (), *, md5: bool = False) -> None:
        """`names`: of algorithms; `md5`: for the ETag or Content-MD5 (one MD5 serves both)."""
        wanted = {*names, "MD5"} if md5 else {*names}
        self._hashers = {name: hasher(name) for name in sorted(wanted)}

    def update(self, block: bytes) -> None:
        for each in self._hashers.values():
            each.update(block)

    def value(self, name: str) -> bytes:
        """The digest so far by one of the algorithms asked for."""
        return self._hashers[name].digest()

    @property
    def md5(self) -> bytes:
        return self.value("MD5")

    def check(self, promise: Expected, trailers: Mapping[str, str] | None = None, *, show_digests: bool) -> None:
        """Raise S3Error (BadDigest, or InvalidRequest for a malformed trailer) unless the promise is kept.

        `show_digests`: whether the error may name the MD5 of the plaintext. False under a customer's or a KMS key: the MD5
        would let whoever reads the answer or a log confirm a guess of a plaintext that only the key's owner may know.
        """
        if promise.content_md5 is not None and not hmac.compare_digest(self.md5, promise.content_md5):
            if not show_digests:
                raise S3Error("BadDigest")
            raise S3Error(
                "BadDigest",
                ExpectedDigest=encode_value(promise.content_md5),
                CalculatedDigest=encode_value(self.md5),
            )
        value = promise.value
        if promise.algorithm is None:
            return
        if promise.in_trailer:
            text = (trailers or {}).get(promise.algorithm.header)
            if text is None:
                raise S3Error("MalformedTrailerError")
            value = parse_value(promise.algorithm, text, where="trailing header")
        if value is not None and not hmac.compare_digest(self.value(promise.algorithm.name), value):
            raise _mismatch(promise.algorithm)


def _mismatch(algorithm: Algorithm) -> S3Error:
    return S3Error("BadDigest", f"The {algorithm.name} you specified did not match the calculated checksum.")
