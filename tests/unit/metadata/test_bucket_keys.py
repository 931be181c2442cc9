from dataclasses import replace
from secrets import token_bytes

import msgspec
import pytest

from strongroom.crypto.errors import IntegrityError, KeyMismatch, UnknownFormat
from strongroom.metadata import bucket_keys, buckets, inventory
from strongroom.metadata.bucket_keys import UNUSED_KEPT_US, BucketKeyGone, KmsBucketKey
from strongroom.metadata.records import OpenBucket
from tests.unit.metadata.test_buckets import add_secret

ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CONTEXT = {"aws:s3:arn": "arn:aws:s3:::bucket", "team": "\u00fcber"}


def new_key(**members) -> KmsBucketKey:
    given = {
        "bucket_key_id": token_bytes(16),
        "key_arn": ARN,
        "material_id": b"\xab" * 32,
        "created_us": 5,
        "ciphertext_blob": b"blob",
        "context": CONTEXT,
    }
    return KmsBucketKey(**{**given, **members})


async def stored(index, bucket: OpenBucket, **members) -> KmsBucketKey:
    key = new_key(**members)
    await index.do(bucket_keys.insert_bucket_key, bucket, key)
    return key


async def name_it(index, bucket: OpenBucket, key: KmsBucketKey, table: str = "object_versions") -> None:
    """A row that names the key, as far as SQL sees it."""
    columns = {
        "object_versions": "bucket_id, key, sequence, version_id, object_id, kind, size, last_modified_us, mode, format,"
        " bucket_key_id, secret_version, lock_mode, legal_hold, revision, sealed) VALUES (?, 'k', 1, 'v', ?, 0, 1, 1, 4, 1, ?, 1, 0, 0, 1",
        "uploads": "bucket_id, key, upload_id, object_id, initiated_us, state, mode, bucket_key_id, secret_version, revision,"
        " sealed) VALUES (?, 'k', 'u', ?, 1, 0, 4, ?, 1, 1",
    }[table]
    parameters = (bucket.bucket_id, token_bytes(16), key.bucket_key_id)
    await index.do(lambda tx: tx.execute(f"INSERT INTO {table} ({columns}, x'00')", parameters))


def test_a_row_gives_what_was_written_and_shows_no_blob(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        for key in (await stored(index, bucket), await stored(index, bucket, material_id=None, context={})):
            assert await bucket_keys.get_bucket_key(index.database, bucket, key.bucket_key_id) == key
            assert "blob" not in repr(key).replace("ciphertext_blob", "")
        ((sealed,),) = await index.rows("SELECT sealed FROM bucket_keys LIMIT 1")
        assert b"bucket" not in sealed

    with_index(work)


def test_the_row_is_bound_as_the_format_says(with_index) -> None:
    """Written out by hand: label, fields and order are for ever."""

    async def work(index) -> None:
        bucket = await index.bucket()
        key = await stored(index, bucket)
        ((sealed,),) = await index.rows("SELECT sealed FROM bucket_keys")
        fields = [
            (1).to_bytes(4, "big"),
            bucket.bucket_id,
            key.bucket_key_id,
            ARN.encode(),
            b"\xab" * 32,
            (5).to_bytes(8, "big"),
            (1).to_bytes(8, "big"),
        ]
        label = b"strongroom/1/row/bucket-key"
        bound = bytes([len(label)]) + label + bytes([len(fields)])
        bound += b"".join(len(field).to_bytes(4, "big") + field for field in fields)
        assert sealed[:5] == b"\x01" + (1).to_bytes(4, "big")
        plaintext = bucket.keys[1].rows.open(sealed[5:], bound)
        assert msgspec.msgpack.decode(plaintext) == [b"blob", CONTEXT]

    with_index(work)


@pytest.mark.parametrize(
    "change",
    [
        "bucket_key_id = x'00'",
        "bucket_key_id = 5",
        "key_arn = key_arn || 'x'",
        "key_arn = ''",
        "key_arn = 7",
        "material_id = x'cd'",
        "material_id = NULL",
        "material_id = 'text'",
        "created_us = 6",
        "created_us = -1",
        "created_us = 'text'",
        "secret_version = 2",
        "secret_version = 9",
        "secret_version = -1",
        "secret_version = 'text'",
        "revision = 2",
        "revision = -1",
        "sealed = x''",
        "sealed = 'text'",
        "sealed = CAST(x'02' || substr(sealed, 2) AS BLOB)",
        "sealed = substr(sealed, 1, length(sealed) - 1)",
        "sealed = CAST(sealed || x'00' AS BLOB)",
        "sealed = (SELECT sealed FROM bucket_keys o WHERE o.bucket_id = bucket_keys.bucket_id AND o.key_arn = 'other')",
        "sealed = (SELECT sealed FROM bucket_keys o WHERE o.bucket_id <> bucket_keys.bucket_id)",
        "sealed = (SELECT sealed FROM buckets)",
    ],
)
def test_one_changed_column_and_the_row_does_not_open(with_index, change: str) -> None:
    async def work(index) -> None:
        bucket, neighbour = await index.bucket(), await index.bucket("neighbour")
        bucket = await add_secret(index, bucket, 2)
        key = await stored(index, replace_version(bucket, 1))
        await stored(index, bucket, key_arn="other")
        await stored(index, neighbour, bucket_key_id=key.bucket_key_id)
        where = (bucket.bucket_id, ARN)
        await index.do(
            lambda tx: tx.execute(f"UPDATE bucket_keys SET {change} WHERE bucket_id = ? AND key_arn = ?", where)
        )
        rows = await index.rows(
            f"SELECT {bucket_keys.COLUMNS} FROM bucket_keys WHERE bucket_id = ? AND key_arn <> 'other'",
            bucket.bucket_id,
        )
        assert len(rows) == 1
        with pytest.raises((IntegrityError, KeyMismatch, UnknownFormat)):
            bucket_keys.open_bucket_key(bucket, rows[0])
        await bucket_keys.get_bucket_key(index.database, neighbour, key.bucket_key_id)

    with_index(work)


def replace_version(bucket: OpenBucket, version: int) -> OpenBucket:
    """The same bucket before its newer secret was taken into use."""
    return replace(bucket, bucket=replace(bucket.bucket, secret_version=version))


def test_a_row_moved_to_another_bucket_does_not_open(with_index) -> None:
    async def work(index) -> None:
        bucket, neighbour = await index.bucket(), await index.bucket("neighbour")
        key = await stored(index, bucket)
        await index.do(lambda tx: tx.execute("UPDATE bucket_keys SET bucket_id = ?", (neighbour.bucket_id,)))
        with pytest.raises(IntegrityError):
            await bucket_keys.get_bucket_key(index.database, neighbour, key.bucket_key_id)
        with pytest.raises(IntegrityError, match="does not exist"):
            await bucket_keys.get_bucket_key(index.database, bucket, key.bucket_key_id)

    with_index(work)


def test_a_key_sealed_anew_keeps_its_name_and_goes_under_the_current_secret(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        old = await stored(index, bucket)
        bucket = await add_secret(index, bucket, 2)
        moved = replace(old, key_arn=ARN.replace("1234abcd", "ffffffff"), ciphertext_blob=b"newer", material_id=None)
        new = await index.do(bucket_keys.update_bucket_key, bucket, old, moved)
        assert new == replace(moved, revision=2)
        assert await bucket_keys.get_bucket_key(index.database, bucket, old.bucket_key_id) == new
        assert await index.rows("SELECT secret_version, revision FROM bucket_keys") == [(2, 2)]
        with pytest.raises(BucketKeyGone):
            await index.do(bucket_keys.update_bucket_key, bucket, old, moved)

    with_index(work)


def test_a_secret_that_seals_a_bucket_key_is_not_retired(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        old = await stored(index, bucket)
        bucket = await add_secret(index, bucket, 2)
        await index.do(buckets.retire_secrets, bucket.bucket_id, current=2)
        assert await index.rows("SELECT version FROM bucket_secrets ORDER BY 1") == [(1,), (2,)]
        await index.do(bucket_keys.update_bucket_key, bucket, old, old)
        await index.do(buckets.retire_secrets, bucket.bucket_id, current=2)
        assert await index.rows("SELECT version FROM bucket_secrets") == [(2,)]
        bucket = await index.keyring.open_bucket("bucket")
        assert (await bucket_keys.get_bucket_key(index.database, bucket, old.bucket_key_id)).ciphertext_blob == b"blob"

    with_index(work)


def test_a_bucket_takes_its_keys_with_it_and_nobody_elses(with_index) -> None:
    async def work(index) -> None:
        bucket, other = await index.bucket(), await index.bucket("other")
        for each in (bucket, bucket, other):
            await stored(index, each)
        await index.do(buckets.delete_bucket, bucket, delete_after_us=1)
        assert await index.rows("SELECT bucket_id FROM bucket_keys") == [(other.bucket_id,)]

    with_index(work)


# --- those that nothing names


async def collected(index, *, now_us: int) -> int:
    return sum(
        [
            await index.do(bucket_keys.remove_unused, ids)
            async for ids in bucket_keys.unused(index.database, now_us=now_us)
        ]
    )


@pytest.mark.parametrize("table", ["object_versions", "uploads"])
def test_only_what_nothing_names_goes_and_only_after_a_day(with_index, table: str) -> None:
    async def work(index) -> None:
        bucket, other = await index.bucket(), await index.bucket("other")
        named, old = await stored(index, bucket), await stored(index, bucket)
        young = await stored(index, bucket, created_us=6)
        namesake = await stored(index, other, bucket_key_id=named.bucket_key_id)
        await name_it(index, bucket, named, table)
        assert await collected(index, now_us=UNUSED_KEPT_US + 4) == 0
        assert await collected(index, now_us=UNUSED_KEPT_US + 5) == 2
        left = {(bucket.bucket_id, named.bucket_key_id), (bucket.bucket_id, young.bucket_key_id)}
        assert set(await index.rows("SELECT bucket_id, bucket_key_id FROM bucket_keys")) == left
        for gone, where in ((old, bucket), (namesake, other)):
            with pytest.raises(BucketKeyGone):
                await index.do(bucket_keys.require_bucket_key, where, gone.bucket_key_id)
        await index.do(bucket_keys.require_bucket_key, bucket, named.bucket_key_id)

    with_index(work)


def test_what_is_named_between_the_look_and_the_removal_stays(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        key = await stored(index, bucket)
        async for ids in bucket_keys.unused(index.database, now_us=10**18):
            await name_it(index, bucket, key)
            assert await index.do(bucket_keys.remove_unused, ids) == 0
        assert await index.rows("SELECT count(*) FROM bucket_keys") == [(1,)]

    with_index(work)


def test_many_are_collected_in_pages(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()

        def insert(tx) -> None:
            for _ in range(1234):
                bucket_keys.insert_bucket_key(tx, bucket, new_key())

        await index.do(insert)
        keys = [row[0] async for row in inventory.bucket_key_rows(index.database, bucket.bucket_id)]
        assert keys == sorted(keys, key=bytes)  # type: ignore[arg-type]
        assert len(keys) == 1234
        await name_it(index, bucket, new_key(bucket_key_id=keys[700]))
        assert await collected(index, now_us=10**18) == 1233
        assert await index.rows("SELECT bucket_key_id FROM bucket_keys") == [(keys[700],)]

    with_index(work)


# --- what verify looks at


def test_strays_between_tables_are_found(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        key = await stored(index, bucket)
        await name_it(index, bucket, key)
        assert await inventory.strays(index.database) == []
        await name_it(index, bucket, new_key(bucket_key_id=b"\x99" * 16), "uploads")
        await index.do(lambda tx: tx.execute("UPDATE bucket_keys SET bucket_id = x'77'"))
        found = await inventory.strays(index.database)
        assert "bucket_keys has rows of the bucket with id 77, which does not exist" in found
        assert (
            f"object_versions has rows that name the bucket key {key.bucket_key_id.hex()}, which does not exist"
            in found
        )
        assert f"uploads has rows that name the bucket key {'99' * 16}, which does not exist" in found

    with_index(work)
