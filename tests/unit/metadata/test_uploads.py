from dataclasses import replace
from secrets import token_bytes

import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.metadata import deletions, uploads
from strongroom.metadata.buckets import insert_secret, update_bucket
from strongroom.metadata.deletions import BlobCondemned
from strongroom.metadata.records import Attributes, Completion, OpenBucket, Part, SseC, SseS3, Upload

DAY = 24 * 3600 * 1_000_000


def new_upload(bucket, key: str = "key", now_us: int = 1, **given) -> Upload:
    return Upload(
        key=key,
        upload_id=uploads.new_upload_id(now_us),
        object_id=token_bytes(16),
        initiated_us=now_us,
        revision=1,
        secret_version=bucket.version,
        attributes=Attributes(user_metadata={"a": "b"}, tags=(("c", "d"),)),
        **{"encryption": SseS3(sealed_key=b"sealed"), **given},
    )


def new_part(number: int = 1, size: int = 10) -> Part:
    return Part(
        part_number=number,
        size=size,
        etag=token_bytes(16),
        modified_us=5,
        blob_id=token_bytes(16),
        header=bytes(56),
        stored_crc64nvme=bytes(8),
        checksums=b"sealed",
    )


COMPLETION = Completion(version_id="null", etag='"x-1"', parts=((1, bytes(16)),))


async def opened(index, **given) -> tuple[OpenBucket, Upload]:
    bucket = await index.bucket()
    upload = new_upload(bucket, **given)
    await index.do(uploads.create_upload, bucket, upload)
    return bucket, upload


async def doomed(index) -> dict[bytes, int | None]:
    return dict(await index.rows("SELECT blob_id, delete_after_us FROM blobs"))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"encryption": SseC(sealed_key=b"customer"), "checksum_algorithm": "CRC32", "checksum_type": "COMPOSITE"},
        {"key": "ключ/ \U0001f600"},
    ],
)
def test_an_upload_comes_back_as_it_was(with_index, given) -> None:
    async def work(index) -> None:
        bucket, upload = await opened(index, **given)
        assert await uploads.get_upload(index.database, bucket, upload.key, upload.upload_id) == upload
        assert await index.do(uploads.find_upload, bucket, upload.key, upload.upload_id) == upload
        for key, upload_id in (("other", upload.upload_id), (upload.key, "other"), (upload.key, "")):
            assert await uploads.get_upload(index.database, bucket, key, upload_id) is None
        other = await index.bucket("other")
        assert await uploads.get_upload(index.database, other, upload.key, upload.upload_id) is None

    with_index(work)


def test_upload_ids_sort_by_time_and_are_never_the_same() -> None:
    ids = [uploads.new_upload_id(now_us) for now_us in (1, 1, 2, 1_700_000_000_000_000, 2**62)]
    assert [each[:16] for each in ids] == sorted(each[:16] for each in ids)
    assert len(set(ids)) == 5
    assert {len(each) for each in ids} == {48}


def test_a_new_attempt_at_a_part_takes_the_place_of_the_old_one(with_index) -> None:
    async def work(index) -> None:
        bucket, upload = await opened(index)
        first, second, other = new_part(1), new_part(1, size=20), new_part(10_000)
        for part in (first, other, second):
            await index.do(uploads.put_part, bucket, upload, part, delete_after_us=100)
        assert await uploads.list_parts(index.database, bucket, upload) == [second, other]
        assert await index.do(uploads.pending_parts, bucket, upload) == {1: second, 10_000: other}
        assert await doomed(index) == {first.blob_id: 100, second.blob_id: None, other.blob_id: None}
        assert await index.rows("SELECT part_number, size, revision FROM upload_parts") == [(1, 20, 2), (10_000, 10, 1)]
        assert await uploads.list_parts(index.database, bucket, upload, after=1) == [other]
        assert await uploads.list_parts(index.database, bucket, upload, limit=1) == [second]

    with_index(work)


def test_a_part_whose_blob_was_taken_for_an_orphan_does_not_replace_anything(with_index) -> None:
    async def work(index) -> None:
        bucket, upload = await opened(index)
        first, second = new_part(), new_part()
        await index.do(uploads.put_part, bucket, upload, first, delete_after_us=100)
        assert await index.do(deletions.condemn, second.blob_id, delete_after_us=1)
        with pytest.raises(BlobCondemned):
            await index.do(uploads.put_part, bucket, upload, second, delete_after_us=100)
        assert await uploads.list_parts(index.database, bucket, upload) == [first]
        assert (await doomed(index))[first.blob_id] is None

    with_index(work)


def test_a_finished_upload_keeps_its_answer_and_no_key(with_index) -> None:
    async def work(index) -> None:
        bucket, upload = await opened(index)
        used, unused = new_part(1), new_part(2)
        for part in (used, unused):
            await index.do(uploads.put_part, bucket, upload, part, delete_after_us=100)
        await index.do(uploads.finish_upload, bucket, upload, COMPLETION, unused=[unused], now_us=7, delete_after_us=50)
        done = await uploads.get_upload(index.database, bucket, upload.key, upload.upload_id)
        sealed_away = SseS3(sealed_key=b"")
        assert done == replace(upload, completion=COMPLETION, finished_us=7, revision=2, encryption=sealed_away)
        assert await index.rows("SELECT 1 FROM upload_parts") == []
        assert await doomed(index) == {used.blob_id: None, unused.blob_id: 50}

    with_index(work)


def test_an_aborted_upload_takes_everything_with_it(with_index) -> None:
    async def work(index) -> None:
        bucket, upload = await opened(index)
        other = new_upload(bucket)
        await index.do(uploads.create_upload, bucket, other)
        kept, replaced, last = new_part(), new_part(), new_part()
        await index.do(uploads.put_part, bucket, other, kept, delete_after_us=1)
        await index.do(uploads.put_part, bucket, upload, replaced, delete_after_us=1)
        await index.do(uploads.put_part, bucket, upload, last, delete_after_us=2)
        await index.do(uploads.abort_upload, bucket, upload, delete_after_us=3)
        assert await uploads.get_upload(index.database, bucket, upload.key, upload.upload_id) is None
        assert await uploads.list_parts(index.database, bucket, other) == [kept]
        assert await doomed(index) == {kept.blob_id: None, replaced.blob_id: 2, last.blob_id: 3}

    with_index(work)


def test_finished_uploads_are_forgotten_after_a_day_in_small_steps(with_index) -> None:
    """Many at once would keep every other writer waiting."""

    async def work(index) -> None:
        bucket = await index.bucket()
        for number in range(5):
            upload = new_upload(bucket, f"key{number}")
            await index.do(uploads.create_upload, bucket, upload)
            if number:
                await index.do(
                    uploads.finish_upload, bucket, upload, COMPLETION, unused=[], now_us=number, delete_after_us=1
                )
        assert await index.do(uploads.forget_finished, now_us=DAY, limit=2) == 0
        assert [await index.do(uploads.forget_finished, now_us=DAY + 3, limit=2) for _ in range(3)] == [2, 1, 0]
        assert await index.rows("SELECT key FROM uploads ORDER BY key") == [("key0",), ("key4",)]

    with_index(work)


def test_uploads_are_listed_by_key_and_time(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        made = [new_upload(bucket, key, now_us) for key, now_us in (("a", 3), ("a", 1), ("b", 2), ("a", 2), ("c", 1))]
        for upload in made:
            await index.do(uploads.create_upload, bucket, upload)

        async def listed(**given) -> list[tuple[str, int]]:
            place = {"lower": "", "inclusive": True, "after_upload_id": None, "below": None, "limit": 9, **given}
            found = await uploads.list_uploads(index.database, bucket, **place)
            return [(upload.key, upload.initiated_us) for upload in found]

        whole = [("a", 1), ("a", 2), ("a", 3), ("b", 2), ("c", 1)]
        assert await listed() == whole
        assert await listed(limit=2) == whole[:2]
        assert await listed(lower="a", inclusive=False) == whole[3:]
        assert await listed(lower="a", after_upload_id=made[1].upload_id) == whole[1:]
        assert await listed(lower="a", after_upload_id=made[1].upload_id, limit=2) == whole[1:3]
        assert await listed(lower="a", after_upload_id=made[1].upload_id, limit=3) == whole[1:4]
        assert await listed(lower="a", after_upload_id=made[0].upload_id) == whole[3:]
        assert await listed(below="b") == whole[:3]

    with_index(work)


def test_an_upload_and_its_parts_open_under_every_secret_that_they_were_sealed_under(with_index) -> None:
    """A secret that came into use between two parts, and between them and the Complete."""

    async def work(index) -> None:
        bucket, upload = await opened(index)
        first, second = new_part(1), new_part(2)
        await index.do(uploads.put_part, bucket, upload, first, delete_after_us=1)

        def rotate(tx) -> None:
            fresh = index.keyring.new_secret(bucket.bucket_id, 2, store_key)
            insert_secret(tx, bucket.bucket_id, 2, store_key, fresh.sealed)
            update_bucket(tx, bucket, config=bucket.config, secret=(2, fresh.keys))

        ((store_key,),) = await index.rows("SELECT value FROM store")
        await index.do(rotate)
        now = await index.keyring.open_bucket("bucket")
        await index.do(uploads.put_part, now, upload, second, delete_after_us=1)
        assert await uploads.list_parts(index.database, now, upload) == [first, second]
        with pytest.raises(IntegrityError, match="version 2 of its bucket's secret, which does not exist"):
            await uploads.list_parts(index.database, bucket, upload)
        await index.do(uploads.finish_upload, now, upload, COMPLETION, unused=[], now_us=7, delete_after_us=50)
        assert await index.rows("SELECT secret_version FROM uploads") == [(2,)]

    with_index(work)
