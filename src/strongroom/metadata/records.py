"""The records of the index as values: what a bucket, an object version, a part and an upload are.

Clear fields are the columns that SQL orders, counts or looks up; everything else lives in the sealed part of its row.
The `Struct`s are sealed as they stand: as MessagePack arrays, in the order of their fields, so a field may be appended
with a default and never moved (docs/object-format.md, "Rows"). These types know no SQL and no key. `Encryption` has no
"plaintext" member: an unencrypted object cannot be written down.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from strongroom.crypto.rows import RowSealer

FORMAT = 1
NULL_VERSION = "null"  # S3's version id of what is written while versioning is off; it binds nothing

Versioning = Literal["", "Enabled", "Suspended"]
ChecksumType = Literal["", "FULL_OBJECT", "COMPOSITE"]
Tags = tuple[tuple[str, str], ...]


class DefaultEncryption(Struct, frozen=True, kw_only=True, array_like=True):
    """A rule that somebody put, as put: `kms_key_id` is kept to the letter."""

    algorithm: str  # AES256 | aws:kms | aws:kms:dsse
    kms_key_id: str = ""
    bucket_key_enabled: bool = False


class BucketConfig(Struct, frozen=True, kw_only=True, array_like=True):
    """The sealed part of a bucket row."""

    owner_account: str
    location: str = ""  # the LocationConstraint given, "" for us-east-1
    versioning: Versioning = ""
    encryption: DefaultEncryption | None = None  # None: never put (S3 tells that apart from a put AES256)
    blocks_sse_c: bool = False
    block_was_put: bool = False  # somebody chose; the default of new buckets has no say any more
    tags: Tags = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One row of `buckets`. `secret_version`: the bucket secret that seals this row and everything written now."""

    bucket_id: bytes
    name: str
    created_us: int
    secret_version: int
    revision: int
    config: BucketConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketKeys:
    """What one version of a bucket's secret gives: the sealer of rows and the key that wraps object keys."""

    rows: RowSealer
    wrap_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBucket:
    """A bucket as read from the index just now, with the keys of every version of its secret."""

    bucket: Bucket
    keys: Mapping[int, BucketKeys] = field(repr=False)

    @property
    def bucket_id(self) -> bytes:
        return self.bucket.bucket_id

    @property
    def config(self) -> BucketConfig:
        return self.bucket.config

    @property
    def version(self) -> int:
        """The version of the secret under which everything is sealed now."""
        return self.bucket.secret_version


@dataclass(frozen=True, slots=True, kw_only=True)
class SseS3:
    """`sealed_key`: the object key under the wrap key of the bucket secret that the row names."""

    sealed_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SseC:
    """`sealed_key`: the object key under a key derived from the customer's. Nothing else of that key is kept."""

    sealed_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SseKms:
    """The object key is a data key of the KMS key `key_arn`, kept as the KMS sealed it. `context`: the client's pairs
    of the encryption context, sorted; the KMS wants them again, beside what S3 adds. `material_id`: 32 raw bytes, None
    where the KMS did not tell.
    """

    key_arn: str
    material_id: bytes | None
    context: Tags = field(repr=False)
    ciphertext_blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SseKmsBucketKey:
    """`sealed_key`: the object key under a bucket key, whose own row tells the material and the context."""

    key_arn: str
    bucket_key_id: bytes
    sealed_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dsse:
    """Two layers. `inner`: as SSE-KMS keeps its key; `sealed_key`: the outer layer's, kept as SSE-S3 keeps its own."""

    inner: SseKms
    sealed_key: bytes = field(repr=False)


Encryption = SseS3 | SseC | SseKms | SseKmsBucketKey | Dsse
KmsEncryption = SseKms | SseKmsBucketKey | Dsse
"""Those whose objects nobody opens without a key service."""


class Part(Struct, frozen=True, kw_only=True, array_like=True):
    """One encrypted message: one blob. A single PUT is one part with number 0.

    `size`: plaintext bytes. `etag`: 16 raw bytes. `header`: the message's first 56 bytes, so that a range needs no
    second read; with two layers (DSSE) the outer message's and then the inner one's. `stored_crc64nvme`: of the
    ciphertext, so that damage shows without a key. `checksums`: the sealed values of this part, b"" where none is kept.
    """

    part_number: int
    size: int
    etag: bytes
    modified_us: int
    blob_id: bytes
    header: bytes
    stored_crc64nvme: bytes
    checksums: bytes = b""


class Attributes(Struct, frozen=True, kw_only=True, array_like=True):
    """What the client says of an object beside its bytes. All of it is sealed."""

    content_headers: dict[str, str] = {}
    user_metadata: dict[str, str] = {}
    storage_class: str = "STANDARD"
    tags: Tags = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVersion:
    """One row of `object_versions`.

    `parts` holds the only part of a single PUT, or nothing where `pages` says how many plaintext bytes each page of
    `object_parts` covers. `part_count`: 0 for a single PUT, else N of the ETag's `-N`. `checksums`: the sealed
    whole-object values.
    """

    key: str
    sequence: int
    version_id: str
    object_id: bytes
    is_delete_marker: bool
    size: int
    last_modified_us: int
    revision: int
    secret_version: int
    etag: bytes = b""
    part_count: int = 0
    checksum_algorithm: str = ""
    checksum_type: ChecksumType = ""
    encryption: Encryption | None = None  # None for a delete marker only
    attributes: Attributes = field(default_factory=Attributes)
    checksums: bytes = b""
    parts: tuple[Part, ...] = ()
    pages: tuple[int, ...] = ()

    @property
    def quoted_etag(self) -> str:
        return quoted_etag(self.etag, self.part_count)


def quoted_etag(etag: bytes, part_count: int = 0) -> str:
    return f'"{etag.hex()}-{part_count}"' if part_count else f'"{etag.hex()}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVersion:
    """What LIST shows: the clear columns and the head of the sealed part."""

    key: str
    sequence: int
    version_id: str
    is_delete_marker: bool
    size: int
    last_modified_us: int
    etag: str
    storage_class: str
    checksum_algorithm: str
    checksum_type: ChecksumType


class Completion(Struct, frozen=True, kw_only=True, array_like=True):
    """What a completed upload was completed with and became, kept so that a repeated Complete gets the same answer."""

    version_id: str
    etag: str
    parts: tuple[tuple[int, bytes], ...]  # (part number, ETag)
    checksum_algorithm: str = ""
    checksum_type: ChecksumType = ""
    checksum: str = ""  # where only the object's key may tell it (all but SSE-S3), it stands with the object alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One row of `uploads`. The object key is fixed here, for all parts, and so is everything the object will say of
    itself.
    """

    key: str
    upload_id: str
    object_id: bytes
    initiated_us: int
    revision: int
    secret_version: int
    encryption: Encryption
    attributes: Attributes
    checksum_algorithm: str = ""  # "" where the client declared none
    checksum_type: ChecksumType = ""
    completion: Completion | None = None
    finished_us: int | None = None
