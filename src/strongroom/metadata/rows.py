"""Sealed rows: the one place that turns records into rows and rows into records.

Every row but the deletion queue's is sealed with XAES-256-GCM under the row key of its bucket's secret. All its clear
columns are in the associated data, with the identity and the revision of the row, so a row that somebody edited, moved
or mixed does not open: that is an IntegrityError, never an absent row and never another answer. Labels and field order:
docs/object-format.md, "Rows". This module reads no database.
"""

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from msgspec import Struct

from strongroom.crypto.context import ctx, text, u8, u32, u64
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.rows import RowSealer
from strongroom.crypto.sealing import seal_row
from strongroom.database.database import Row, Value
from strongroom.metadata.encryption_columns import Columns, SealedKeys, joined, split
from strongroom.metadata.records import (
    FORMAT,
    Attributes,
    Bucket,
    BucketConfig,
    ChecksumType,
    Completion,
    ListedVersion,
    ObjectVersion,
    OpenBucket,
    Part,
    Tags,
    Upload,
    quoted_etag,
)
from strongroom.metadata.sealed_row import associated_data, open_sealed, row_key_of

OBJECT, DELETE_MARKER = 0, 1
OPEN, COMPLETED = 0, 1

BUCKET_COLUMNS = "bucket_id, name, created_us, secret_version, revision, sealed"
VERSION_COLUMNS = (
    "key, sequence, version_id, object_id, kind, size, last_modified_us, mode, format, key_arn, material_id, bucket_key_id,"
    " secret_version, retain_until_us, lock_mode, legal_hold, revision, sealed"
)
UPLOAD_COLUMNS = (
    "key, upload_id, object_id, initiated_us, state, finished_us, mode, key_arn, material_id, bucket_key_id, secret_version, revision,"
    " sealed"
)
PART_COLUMNS = "part_number, size, modified_us, secret_version, revision, sealed"
PAGE_COLUMNS = "page, secret_version, revision, sealed"

_encode = msgspec.msgpack.Encoder().encode


class _VersionHead(Struct, frozen=True, array_like=True):
    """What LIST shows; the first of the two values in a version's sealed plaintext, after its length as u16."""

    etag: bytes
    part_count: int
    storage_class: str
    checksum_algorithm: str
    checksum_type: ChecksumType


class _VersionRest(Struct, frozen=True, array_like=True):
    sealed_key: bytes
    attributes: Attributes
    checksums: bytes
    parts: tuple[Part, ...]
    pages: tuple[int, ...]
    context: Tags = ()
    outer_key: bytes = b""


class _UploadBody(Struct, frozen=True, array_like=True):
    sealed_key: bytes
    attributes: Attributes
    checksum_algorithm: str
    checksum_type: ChecksumType
    completion: Completion | None
    context: Tags = ()
    outer_key: bytes = b""


_decode_head = msgspec.msgpack.Decoder(_VersionHead).decode
_decode_rest = msgspec.msgpack.Decoder(_VersionRest).decode
_decode_upload = msgspec.msgpack.Decoder(_UploadBody).decode
_decode_part = msgspec.msgpack.Decoder(Part).decode
_decode_page = msgspec.msgpack.Decoder(tuple[Part, ...]).decode
_decode_config = msgspec.msgpack.Decoder(BucketConfig).decode


# --- buckets


def _bucket_ad(bucket_id: bytes, name: str, created_us: int, version: int, revision: int) -> bytes:
    return ctx("row/bucket", u32(version), bucket_id, text(name), u64(created_us), u64(revision))


def seal_bucket(sealer: RowSealer, bucket: Bucket) -> tuple[Value, ...]:
    """The row (BUCKET_COLUMNS) of `bucket`, sealed by the row key of its `secret_version`."""
    clear = (bucket.bucket_id, bucket.name, bucket.created_us, bucket.secret_version, bucket.revision)
    return (*clear, seal_row(sealer, bucket.secret_version, _bucket_ad(*clear), _encode(bucket.config)))


def open_bucket(sealer: RowSealer, row: Row) -> Bucket:
    """The bucket of a row (BUCKET_COLUMNS). Raises IntegrityError."""
    bucket_id, name, created_us, version, revision, sealed = cast("tuple[bytes, str, int, int, int, bytes]", row)
    config = _decode_config(
        open_sealed(
            sealer, version, associated_data(_bucket_ad, bucket_id, name, created_us, version, revision), sealed
        )
    )
    return Bucket(
        bucket_id=bucket_id, name=name, created_us=created_us, secret_version=version, revision=revision, config=config
    )


# --- object versions


def _version_ad(bucket_id: bytes, clear: Sequence[Any]) -> bytes:
    """`clear`: VERSION_COLUMNS without `sealed`."""
    (
        key,
        sequence,
        version_id,
        object_id,
        kind,
        size,
        last_modified_us,
        mode,
        form,
        key_arn,
        material_id,
        bucket_key_id,
        version,
        retain_until_us,
        lock_mode,
        legal_hold,
        revision,
    ) = clear
    return ctx(
        "row/version",
        u32(version),
        bucket_id,
        text(key),
        u64(sequence),
        text(version_id),
        object_id,
        u8(kind),
        u64(size),
        u64(last_modified_us),
        u8(mode),
        u8(form),
        text(key_arn),
        material_id or b"",
        bucket_key_id or b"",
        b"" if retain_until_us is None else u64(retain_until_us),
        u8(lock_mode),
        u8(legal_hold),
        u64(revision),
    )


def seal_version(bucket: OpenBucket, record: ObjectVersion) -> tuple[Value, ...]:
    """The row (VERSION_COLUMNS) of `record`, sealed under the bucket's current secret, which must be the record's."""
    version = record.secret_version
    head = _encode(
        _VersionHead(
            record.etag,
            record.part_count,
            record.attributes.storage_class,
            record.checksum_algorithm,
            record.checksum_type,
        )
    )
    columns, keys = split(record.encryption)
    rest = _encode(
        _VersionRest(
            keys.sealed_key,
            record.attributes,
            record.checksums,
            record.parts,
            record.pages,
            keys.context,
            keys.outer_key,
        )
    )
    clear = (
        record.key,
        record.sequence,
        record.version_id,
        record.object_id,
        DELETE_MARKER if record.is_delete_marker else OBJECT,
        record.size,
        record.last_modified_us,
        columns.mode,
        FORMAT,
        columns.key_arn,
        columns.material_id,
        columns.bucket_key_id,
        version,
        None,
        0,
        0,
        record.revision,
    )
    plaintext = len(head).to_bytes(2, "big") + head + rest
    return (*clear, seal_row(bucket.keys[version].rows, version, _version_ad(bucket.bucket_id, clear), plaintext))


def _open_version(bucket: OpenBucket, row: Row) -> tuple[bytes, bytes]:
    """Head and rest of the sealed plaintext of a row (VERSION_COLUMNS). Raises IntegrityError."""
    version = cast("int", row[12])
    plaintext = open_sealed(
        row_key_of(bucket, version),
        version,
        associated_data(_version_ad, bucket.bucket_id, row[:-1]),
        cast("bytes", row[-1]),
    )
    split = 2 + int.from_bytes(plaintext[:2], "big")
    return plaintext[2:split], plaintext[split:]


def open_version(bucket: OpenBucket, row: Row) -> ObjectVersion:
    """The version of a row (VERSION_COLUMNS). Raises IntegrityError."""
    head_bytes, rest_bytes = _open_version(bucket, row)
    head, rest = _decode_head(head_bytes), _decode_rest(rest_bytes)
    columns = cast("tuple[Any, ...]", row)
    return ObjectVersion(
        key=columns[0],
        sequence=columns[1],
        version_id=columns[2],
        object_id=columns[3],
        is_delete_marker=columns[4] == DELETE_MARKER,
        size=columns[5],
        last_modified_us=columns[6],
        revision=columns[16],
        secret_version=columns[12],
        etag=head.etag,
        part_count=head.part_count,
        checksum_algorithm=head.checksum_algorithm,
        checksum_type=head.checksum_type,
        encryption=joined(
            Columns(columns[7], *columns[9:12]), SealedKeys(rest.sealed_key, rest.context, rest.outer_key)
        ),
        attributes=rest.attributes,
        checksums=rest.checksums,
        parts=rest.parts,
        pages=rest.pages,
    )


def open_listed(bucket: OpenBucket, row: Row) -> ListedVersion:
    """What LIST shows of a row (VERSION_COLUMNS): authenticated like any other, only its head decoded. Raises
    IntegrityError.
    """
    head = _decode_head(_open_version(bucket, row)[0])
    columns = cast("tuple[Any, ...]", row)
    return ListedVersion(
        key=columns[0],
        sequence=columns[1],
        version_id=columns[2],
        is_delete_marker=columns[4] == DELETE_MARKER,
        size=columns[5],
        last_modified_us=columns[6],
        etag=quoted_etag(head.etag, head.part_count),
        storage_class=head.storage_class,
        checksum_algorithm=head.checksum_algorithm,
        checksum_type=head.checksum_type,
    )


# --- the parts of a multipart object, in pages


def _page_ad(bucket_id: bytes, object_id: bytes, page: int, version: int, revision: int) -> bytes:
    return ctx("row/parts", u32(version), bucket_id, object_id, u32(page), u64(revision))


def seal_page(bucket: OpenBucket, object_id: bytes, page: int, parts: Sequence[Part]) -> tuple[Value, ...]:
    """The row (PAGE_COLUMNS) of one page. Pages never change: their revision is 1."""
    version, revision = bucket.version, 1
    ad = _page_ad(bucket.bucket_id, object_id, page, version, revision)
    return page, version, revision, seal_row(bucket.keys[version].rows, version, ad, _encode(parts))


def open_page(bucket: OpenBucket, object_id: bytes, row: Row) -> tuple[Part, ...]:
    """The parts of a row (PAGE_COLUMNS). Raises IntegrityError."""
    page, version, revision, sealed = cast("tuple[int, int, int, bytes]", row)
    ad = associated_data(_page_ad, bucket.bucket_id, object_id, page, version, revision)
    return _decode_page(open_sealed(row_key_of(bucket, version), version, ad, sealed))


# --- uploads and their parts


def _upload_ad(bucket_id: bytes, clear: Sequence[Any]) -> bytes:
    """`clear`: UPLOAD_COLUMNS without `sealed`."""
    (
        key,
        upload_id,
        object_id,
        initiated_us,
        state,
        finished_us,
        mode,
        key_arn,
        material_id,
        bucket_key_id,
        version,
        revision,
    ) = clear
    return ctx(
        "row/upload",
        u32(version),
        bucket_id,
        text(key),
        text(upload_id),
        object_id,
        u64(initiated_us),
        u8(state),
        b"" if finished_us is None else u64(finished_us),
        u8(mode),
        text(key_arn),
        material_id or b"",
        bucket_key_id or b"",
        u64(revision),
    )


def seal_upload(bucket: OpenBucket, upload: Upload) -> tuple[Value, ...]:
    """The row (UPLOAD_COLUMNS) of `upload`, sealed under the secret version that it names."""
    version = upload.secret_version
    columns, keys = split(upload.encryption)
    body = _UploadBody(
        keys.sealed_key,
        upload.attributes,
        upload.checksum_algorithm,
        upload.checksum_type,
        upload.completion,
        keys.context,
        keys.outer_key,
    )
    clear = (
        upload.key,
        upload.upload_id,
        upload.object_id,
        upload.initiated_us,
        COMPLETED if upload.completion else OPEN,
        upload.finished_us,
        *columns,
        version,
        upload.revision,
    )
    return (*clear, seal_row(bucket.keys[version].rows, version, _upload_ad(bucket.bucket_id, clear), _encode(body)))


def open_upload(bucket: OpenBucket, row: Row) -> Upload:
    """The upload of a row (UPLOAD_COLUMNS). Raises IntegrityError."""
    columns = cast("tuple[Any, ...]", row)
    version = columns[10]
    ad = associated_data(_upload_ad, bucket.bucket_id, columns[:-1])
    body = _decode_upload(open_sealed(row_key_of(bucket, version), version, ad, columns[-1]))
    encryption = joined(Columns(*columns[6:10]), SealedKeys(body.sealed_key, body.context, body.outer_key))
    if encryption is None:
        raise IntegrityError
    return Upload(
        key=columns[0],
        upload_id=columns[1],
        object_id=columns[2],
        initiated_us=columns[3],
        revision=columns[11],
        secret_version=version,
        encryption=encryption,
        attributes=body.attributes,
        checksum_algorithm=body.checksum_algorithm,
        checksum_type=body.checksum_type,
        completion=body.completion,
        finished_us=columns[5],
    )


def _part_ad(
    bucket_id: bytes, object_id: bytes, part_number: int, size: int, modified_us: int, version: int, revision: int
) -> bytes:
    return ctx(
        "row/part",
        u32(version),
        bucket_id,
        object_id,
        u32(part_number),
        u64(size),
        u64(modified_us),
        u64(revision),
    )


def seal_part(bucket: OpenBucket, object_id: bytes, part: Part, revision: int) -> tuple[Value, ...]:
    """The row (PART_COLUMNS) of a pending part."""
    version = bucket.version
    clear = (part.part_number, part.size, part.modified_us, version, revision)
    ad = _part_ad(bucket.bucket_id, object_id, *clear)
    return (*clear, seal_row(bucket.keys[version].rows, version, ad, _encode(part)))


def open_part(bucket: OpenBucket, object_id: bytes, row: Row) -> Part:
    """The pending part of a row (PART_COLUMNS). Raises IntegrityError."""
    part_number, size, modified_us, version, revision, sealed = cast("tuple[int, int, int, int, int, bytes]", row)
    ad = associated_data(_part_ad, bucket.bucket_id, object_id, part_number, size, modified_us, version, revision)
    return _decode_part(open_sealed(row_key_of(bucket, version), version, ad, sealed))
