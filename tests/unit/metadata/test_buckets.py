from dataclasses import replace
from secrets import token_bytes

import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.metadata import buckets, uploads
from strongroom.metadata.buckets import BucketNotEmpty, StaleBucket
from strongroom.metadata.objects import put_delete_marker, remove_version
from strongroom.metadata.records import Attributes, BucketConfig, Completion, OpenBucket, Part, SseS3, Upload

TAGGED = BucketConfig(owner_account="000000000000", tags=(("a", "b"),))
NOW = {"now_us": 1, "delete_after_us": 100}


def anything(_newest) -> None:
    pass


async def add_secret(index, bucket: OpenBucket, version: int) -> OpenBucket:
    """The bucket with a secret of that version announced and taken into use."""
    ((store_key,),) = await index.rows("SELECT value FROM store")
    fresh = index.keyring.new_secret(bucket.bucket_id, version, store_key)

    def use(tx) -> None:
        buckets.insert_secret(tx, bucket.bucket_id, version, store_key, fresh.sealed)
        buckets.update_bucket(tx, bucket, config=bucket.config, secret=(version, fresh.keys))

    await index.do(use)
    opened = await index.keyring.open_bucket(bucket.bucket.name)
    assert opened.version == version
    return opened  # type: ignore[no-any-return]


async def open_upload(index, bucket: OpenBucket, key: str = "key", *, with_part: bool = True) -> Upload:
    upload = Upload(
        key=key,
        upload_id=uploads.new_upload_id(1),
        object_id=token_bytes(16),
        initiated_us=1,
        revision=1,
        secret_version=bucket.version,
        encryption=SseS3(sealed_key=b"sealed"),
        attributes=Attributes(),
    )
    await index.do(uploads.create_upload, bucket, upload)
    if with_part:
        part = Part(
            part_number=1,
            size=1,
            etag=bytes(16),
            modified_us=1,
            blob_id=token_bytes(16),
            header=bytes(56),
            stored_crc64nvme=bytes(8),
        )
        await index.do(uploads.put_part, bucket, upload, part, delete_after_us=1)
    return upload


def test_a_change_holds_only_over_what_was_read(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        await index.do(buckets.check_unchanged, bucket)
        await index.do(buckets.update_bucket, bucket, config=TAGGED)
        changed = await index.keyring.open_bucket("bucket")
        assert (changed.config, changed.bucket.revision) == (TAGGED, 2)
        await index.do(buckets.check_unchanged, changed)
        for stale, given in (
            (buckets.check_unchanged, {}),
            (buckets.update_bucket, {"config": TAGGED}),
            (buckets.delete_bucket, {"delete_after_us": 1}),
        ):
            with pytest.raises(StaleBucket):
                await index.do(stale, bucket, **given)
        assert await index.keyring.open_bucket("bucket")

    with_index(work)


def test_a_bucket_made_again_is_another_one(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        await index.do(buckets.delete_bucket, bucket, delete_after_us=1)
        with pytest.raises(StaleBucket):
            await index.do(buckets.check_unchanged, bucket)
        again = await index.bucket()
        assert again.bucket_id != bucket.bucket_id
        with pytest.raises(StaleBucket):
            await index.do(buckets.check_unchanged, bucket)

    with_index(work)


def test_a_bucket_that_holds_anything_stays(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket(versioning="Enabled")
        marker = await index.do(put_delete_marker, bucket, "key", check=anything, **NOW)
        with pytest.raises(BucketNotEmpty):
            await index.do(buckets.delete_bucket, bucket, delete_after_us=1)
        await index.do(remove_version, bucket, marker, delete_after_us=1)
        await index.do(buckets.delete_bucket, bucket, delete_after_us=1)
        assert await index.keyring.open_bucket("bucket") is None

    with_index(work)


def test_a_bucket_takes_its_uploads_and_secrets_with_it_and_nobody_elses(with_index) -> None:
    async def work(index) -> None:
        bucket, other = await index.bucket(), await index.bucket("other")
        await open_upload(index, bucket)
        done = await open_upload(index, bucket, "done", with_part=False)
        completion = Completion(version_id="null", etag="x", parts=())
        await index.do(uploads.finish_upload, bucket, done, completion, unused=[], now_us=1, delete_after_us=1)
        kept = await open_upload(index, other)
        await index.do(buckets.delete_bucket, bucket, delete_after_us=100)
        for table in ("buckets", "bucket_secrets", "uploads", "upload_parts"):
            assert await index.rows(f"SELECT DISTINCT bucket_id FROM {table}") == [(other.bucket_id,)]
        assert await index.rows("SELECT object_id FROM blobs WHERE delete_after_us IS NULL") == [(kept.object_id,)]
        assert await index.rows("SELECT count(*) FROM blobs WHERE delete_after_us = 100") == [(1,)]

    with_index(work)


def test_an_object_of_a_completed_upload_is_not_doomed_by_it(with_index) -> None:
    """Both have one object id; the upload's row stays for a day, and may go at any time."""

    async def work(index) -> None:
        bucket = await index.bucket()
        upload = await open_upload(index, bucket)
        completion = Completion(version_id="null", etag="x", parts=())
        await index.do(uploads.finish_upload, bucket, upload, completion, unused=[], now_us=1, delete_after_us=1)
        await index.do(uploads.forget_finished, now_us=10**18, limit=9)
        assert await index.rows("SELECT 1 FROM uploads") == []
        assert await index.rows("SELECT delete_after_us FROM blobs") == [(None,)]

    with_index(work)


# --- secrets


async def versions(index) -> list[int]:
    return [row[0] for row in await index.rows("SELECT version FROM bucket_secrets ORDER BY 1")]


def test_a_secret_is_retired_when_no_row_of_any_kind_names_it(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        upload = await open_upload(index, bucket, with_part=False)  # names 1
        bucket = await add_secret(index, bucket, 2)
        part = Part(
            part_number=1,
            size=1,
            etag=bytes(16),
            modified_us=1,
            blob_id=token_bytes(16),
            header=bytes(56),
            stored_crc64nvme=bytes(8),
        )
        await index.do(uploads.put_part, bucket, upload, part, delete_after_us=1)  # names 2
        bucket = await add_secret(index, bucket, 3)
        await index.do(put_delete_marker, bucket, "marker", check=anything, **NOW)  # names 3
        bucket = await add_secret(index, bucket, 4)
        await index.do(
            lambda tx: tx.execute(
                "INSERT INTO object_parts VALUES (?, ?, 0, 4, 1, x'00')", (bucket.bucket_id, bytes(16))
            )
        )
        bucket = await add_secret(index, bucket, 5)
        bucket = await add_secret(index, bucket, 6)

        async def retire() -> list[int]:
            await index.do(buckets.retire_secrets, bucket.bucket_id, current=6)
            return await versions(index)

        assert await retire() == [1, 2, 3, 4, 6]
        await index.do(lambda tx: tx.execute("DELETE FROM object_parts"))
        assert await retire() == [1, 2, 3, 6]
        completion = Completion(version_id="null", etag="x", parts=())
        await index.do(uploads.finish_upload, bucket, upload, completion, unused=[], now_us=1, delete_after_us=1)
        assert await retire() == [3, 6]  # the completed upload names 6
        await index.do(lambda tx: tx.execute("DELETE FROM object_versions"))
        assert await retire() == [6]
        bucket = await index.keyring.open_bucket("bucket")
        assert await uploads.get_upload(index.database, bucket, "key", upload.upload_id)

    with_index(work)


def test_secrets_of_other_buckets_are_not_retired(with_index) -> None:
    async def work(index) -> None:
        one, other = await index.bucket(), await index.bucket("other")
        one, other = await add_secret(index, one, 2), await add_secret(index, other, 2)
        await index.do(buckets.retire_secrets, one.bucket_id, current=2)
        assert await versions(index) == [1, 2, 2]

    with_index(work)


def test_what_a_retired_secret_sealed_opens_no_more(with_index) -> None:
    """A row brought back from an old copy of the index."""

    async def work(index) -> None:
        bucket = await index.bucket()
        await open_upload(index, bucket, with_part=False)
        (row,) = await index.rows("SELECT * FROM uploads")
        await index.do(lambda tx: tx.execute("DELETE FROM uploads"))
        bucket = await add_secret(index, bucket, 2)
        await index.do(buckets.retire_secrets, bucket.bucket_id, current=2)
        marks = ", ".join("?" * len(row))
        await index.do(lambda tx: tx.execute(f"INSERT INTO uploads VALUES ({marks})", row))
        bucket = await index.keyring.open_bucket("bucket")
        with pytest.raises(IntegrityError, match="version 1 of its bucket's secret, which does not exist"):
            await uploads.get_upload(index.database, bucket, "key", row[2])

    with_index(work)


def test_a_secret_cannot_be_replaced(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        before = await index.rows("SELECT * FROM bucket_secrets")
        with pytest.raises(Exception, match="UNIQUE"):
            await index.do(buckets.insert_secret, bucket.bucket_id, 1, bytes(16), b"another")
        assert await index.rows("SELECT * FROM bucket_secrets") == before
        taken = replace(bucket.bucket, bucket_id=token_bytes(16))
        assert not await index.do(
            buckets.insert_bucket, taken, bucket.keys[1], store_key_id=bytes(16), sealed_secret=b"x"
        )
        assert await index.rows("SELECT * FROM bucket_secrets") == before

    with_index(work)
