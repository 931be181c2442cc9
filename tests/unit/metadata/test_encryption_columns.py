"""Rows of every encryption: they come back as they were, under every clear column that they have, and under no other."""

from dataclasses import replace
from secrets import token_bytes
from typing import Any

import msgspec
import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.sealing import open_object_key, seal_object_key
from strongroom.metadata.bucket_keys import BucketKeyGone, KmsBucketKey, insert_bucket_key
from strongroom.metadata.buckets import insert_secret, update_bucket
from strongroom.metadata.encryption_columns import Columns, SealedKeys, joined, split
from strongroom.metadata.objects import get_version, put_version, update_version
from strongroom.metadata.records import (
    Attributes,
    Completion,
    Dsse,
    Encryption,
    ObjectVersion,
    OpenBucket,
    SseC,
    SseKms,
    SseKmsBucketKey,
    SseS3,
    Upload,
)
from strongroom.metadata.rows import _VersionRest, open_upload, open_version, seal_upload, seal_version
from strongroom.metadata.uploads import create_upload, find_upload, finish_upload

ARN = "arn:aws:kms:us-east-1:000000000000:key/134f2428-cec1-4b25-a1ae-9048164dba47"
PAIRS = (("a", "1"), ("ü", "☃"))
INNER = SseKms(key_arn=ARN, material_id=bytes(32), context=PAIRS, ciphertext_blob=b"blob")
BUCKET_KEY_ID = bytes(range(16))
ENCRYPTIONS: dict[str, tuple[int, Encryption]] = {
    "SSE-S3": (1, SseS3(sealed_key=b"sealed")),
    "SSE-C": (2, SseC(sealed_key=b"sealed")),
    "SSE-KMS": (3, INNER),
    "SSE-KMS without a material": (3, replace(INNER, material_id=None, context=())),
    "bucket key": (4, SseKmsBucketKey(key_arn=ARN, bucket_key_id=BUCKET_KEY_ID, sealed_key=b"sealed")),
    "DSSE": (5, Dsse(inner=INNER, sealed_key=b"outer")),
}
TIMES: dict[str, Any] = {"now_us": 1_700_000_000_000_000, "delete_after_us": 1_700_000_000_000_100}
each = pytest.mark.parametrize(("mode", "encryption"), ENCRYPTIONS.values(), ids=ENCRYPTIONS)


def version_of(bucket: OpenBucket, encryption: Encryption) -> ObjectVersion:
    return ObjectVersion(
        key="key",
        sequence=7,
        version_id="null",
        object_id=bytes(range(16)),
        is_delete_marker=False,
        size=0,
        last_modified_us=5,
        revision=1,
        secret_version=bucket.version,
        etag=bytes(16),
        encryption=encryption,
    )


def upload_of(bucket: OpenBucket, encryption: Encryption) -> Upload:
    return Upload(
        key="key",
        upload_id="upload",
        object_id=bytes(range(16)),
        initiated_us=5,
        revision=1,
        secret_version=bucket.version,
        encryption=encryption,
        attributes=Attributes(),
    )


@each
def test_the_two_halves_are_one(mode, encryption):
    columns, keys = split(encryption)
    assert columns.mode == mode
    assert joined(columns, keys) == encryption


@pytest.mark.parametrize(
    "columns",
    [
        Columns(6),
        Columns(0, ARN),
        Columns(1, ARN),
        Columns(2, None, bytes(32)),
        Columns(1, None, None, BUCKET_KEY_ID),
        Columns(3),
        Columns(3, ARN, None, BUCKET_KEY_ID),
        Columns(4, ARN),
        Columns(4, ARN, bytes(32), BUCKET_KEY_ID),
        Columns(4, None, None, BUCKET_KEY_ID),
        Columns(5),
        Columns(5, ARN, None, BUCKET_KEY_ID),
    ],
)
def test_columns_that_nobody_writes(columns):
    with pytest.raises(IntegrityError):
        joined(columns, SealedKeys(b"sealed"))


@each
def test_a_version_and_an_upload_come_back(with_index, mode, encryption):
    async def work(index) -> None:
        bucket = await index.bucket()
        version, upload = version_of(bucket, encryption), upload_of(bucket, encryption)
        row = seal_version(bucket, version)
        assert row[7] == mode
        assert open_version(bucket, row) == version
        assert open_upload(bucket, seal_upload(bucket, upload)) == upload
        for secret in (b"blob", b"sealed", b"outer", "☃".encode()):
            assert secret not in b"".join(value for value in row if isinstance(value, bytes))

    with_index(work)


@each
def test_every_column_of_it_is_bound(with_index, mode, encryption):
    async def work(index) -> None:
        bucket = await index.bucket()
        rows: list[tuple[list[Any], Any, tuple[int, int]]] = [
            (list(seal_version(bucket, version_of(bucket, encryption))), open_version, (7, 9)),
            (list(seal_upload(bucket, upload_of(bucket, encryption))), open_upload, (6, 7)),
        ]
        for row, opened, first in rows:
            place, arn = first
            changes: list[tuple[int, Any]] = [(place, other) for other in range(6) if other != mode]
            changes += [
                (arn, ARN[:-1]),
                (arn + 1, token_bytes(32)),
                (arn + 2, token_bytes(16)),
                (arn, 5),
                (arn + 1, "x"),
            ]
            changes += [(arn + offset, None) for offset in range(3) if row[arn + offset] is not None]
            for column, value in changes:
                damaged = (*row[:column], value, *row[column + 1 :])
                with pytest.raises(IntegrityError):
                    opened(bucket, damaged)

    with_index(work)


def test_a_row_of_before_there_were_key_services_opens(with_index):
    """Fields are appended with defaults: what ends early is an older row."""
    old = msgspec.msgpack.encode([b"sealed", [{}, {}, "STANDARD", []], b"", [], []])
    rest = msgspec.msgpack.decode(old, type=_VersionRest)
    assert (rest.sealed_key, rest.context, rest.outer_key) == (b"sealed", (), b"")


def test_an_update_changes_the_clear_columns_too(with_index):
    async def work(index) -> None:
        bucket = await index.bucket()
        await index.do(insert_bucket_key, bucket, bucket_key(BUCKET_KEY_ID))
        for mode, encryption in ENCRYPTIONS.values():
            put = await index.do(
                put_version, bucket, version_of(bucket, ENCRYPTIONS["SSE-C"][1]), check=ignored, **TIMES
            )
            await index.do(update_version, bucket, put, replace(put, encryption=encryption))
            stored = await get_version(index.database, bucket, "key")
            assert stored
            assert stored.encryption == encryption
            assert (await index.rows("SELECT mode FROM object_versions"))[0][0] == mode

    with_index(work)


def ignored(_newest: ObjectVersion | None) -> None:
    pass


def bucket_key(bucket_key_id: bytes) -> KmsBucketKey:
    return KmsBucketKey(
        bucket_key_id=bucket_key_id, key_arn=ARN, material_id=bytes(32), created_us=0, ciphertext_blob=b"b", context={}
    )


def test_the_outer_key_of_dsse_follows_the_newest_secret(with_index):
    async def work(index) -> None:
        bucket = await index.bucket()
        outer = token_bytes(32)
        ids: dict[str, Any] = {"bucket_id": bucket.bucket_id, "object_id": bytes(range(16)), "layer": 1}
        sealed = seal_object_key(bucket.keys[1].wrap_key, outer, version=1, **ids)
        await index.do(
            put_version, bucket, version_of(bucket, Dsse(inner=INNER, sealed_key=sealed)), check=ignored, **TIMES
        )
        [(primary,)] = await index.rows("SELECT value FROM store WHERE name = 'primary_store_key_id'")
        fresh = index.keyring.new_secret(bucket.bucket_id, 2, primary)

        def rotate(tx) -> None:
            insert_secret(tx, bucket.bucket_id, 2, primary, fresh.sealed)
            update_bucket(tx, bucket, config=bucket.config, secret=(2, fresh.keys))

        await index.database.transact(rotate)
        bucket = await index.keyring.open_bucket("bucket")
        version = await get_version(index.database, bucket, "key")
        changed = await index.do(update_version, bucket, version, version)
        assert changed.secret_version == 2
        assert changed.encryption.inner == INNER
        assert open_object_key(bucket.keys[2].wrap_key, changed.encryption.sealed_key, version=2, **ids) == outer

    with_index(work)


@pytest.mark.parametrize("write", ["put", "update", "upload"])
def test_nothing_names_a_bucket_key_that_is_not_there(with_index, write):
    encryption = ENCRYPTIONS["bucket key"][1]

    async def work(index) -> None:
        bucket = await index.bucket()
        before = await index.do(
            put_version, bucket, version_of(bucket, ENCRYPTIONS["SSE-C"][1]), check=ignored, **TIMES
        )

        def step(tx) -> None:
            match write:
                case "put":
                    put_version(tx, bucket, version_of(bucket, encryption), check=ignored, **TIMES)
                case "update":
                    update_version(tx, bucket, before, replace(before, encryption=encryption))
                case _:
                    create_upload(tx, bucket, upload_of(bucket, encryption))

        with pytest.raises(BucketKeyGone):
            await index.database.transact(step)
        await index.do(insert_bucket_key, bucket, bucket_key(BUCKET_KEY_ID))
        await index.database.transact(step)

    with_index(work)


@each
def test_a_completed_upload_tells_its_encryption_and_opens_nothing(with_index, mode, encryption):
    async def work(index) -> None:
        bucket = await index.bucket()
        await index.do(insert_bucket_key, bucket, bucket_key(BUCKET_KEY_ID))
        upload = upload_of(bucket, encryption)
        await index.do(create_upload, bucket, upload)
        completion = Completion(version_id="null", etag='"x-1"', parts=())
        await index.do(finish_upload, bucket, upload, completion, unused=[], **TIMES)
        done = await index.do(find_upload, bucket, "key", "upload")
        (row,) = await index.rows("SELECT mode, key_arn FROM uploads")
        assert row == (mode, ARN if mode > 2 else None)
        assert (split(done.encryption)[0].mode, split(done.encryption)[1]) == (mode, SealedKeys())

    with_index(work)
