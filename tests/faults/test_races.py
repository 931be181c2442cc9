"""Two requests on one object at the same moment, in one process or in two."""

import asyncio
import base64
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from strongroom.aws.errors import S3Error
from strongroom.crypto.errors import IntegrityError
from strongroom.s3 import cleanup
from strongroom.s3.verification import Damage, verify
from tests.calls import Begun, Worker, at_once, customer, with_workers

MIB = 1 << 20
K0, K1, K2 = (bytes([number]) * 16 + bytes(range(16)) for number in range(3))


def codes(results) -> list[str]:
    return sorted(each.code if isinstance(each, S3Error) else "ok" for each in results)


async def sound(worker: Worker) -> None:
    """Every blob that a row claims has its file, and nothing but claimed blobs will stay."""
    claimed = {row[0] for row in await worker.rows("SELECT blob_id FROM blobs WHERE delete_after_us IS NULL")}
    assert claimed <= worker.blobs()
    await cleanup.collect(worker.storage, worker.store.blobs.remove_abandoned, age=0.0)
    await cleanup.collect(worker.storage, worker.store.blobs.remove_abandoned, age=0.0)
    assert claimed == worker.blobs()


# --- multipart uploads


def test_two_completes_at_once_get_the_same_answer(tmp_path) -> None:
    """A client whose first Complete timed out sends it again while the first one is still at work."""

    async def work(one: Worker, two: Worker) -> None:
        upload, listed = await one.upload("key", bytes(5 * MIB), b"end")
        answers = await at_once(tmp_path, (one, two), one.complete(upload, listed), two.complete(upload, listed))
        assert answers[0] == answers[1]
        assert len(await one.get("key")) == 5 * MIB + 3
        await sound(one)

    with_workers(tmp_path, work, count=2, deletion_grace=0.0)


def test_two_different_completes_at_once_make_one_object(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        upload, listed = await one.upload("key", bytes(5 * MIB), b"end")
        results = await at_once(tmp_path, (one, two), one.complete(upload, listed), two.complete(upload, listed[1:]))
        assert codes(results) == ["NoSuchUpload", "ok"]
        await one.get("key")
        await sound(one)

    with_workers(tmp_path, work, count=2, deletion_grace=0.0)


def test_a_repeated_complete_is_no_conflict_with_the_object_that_it_made(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        upload, listed = await one.upload("key", b"only")
        first, second = (worker.complete(upload, listed, IfNoneMatch="*") for worker in (one, two))
        answers = await at_once(tmp_path, (one, two), first, second)
        assert answers[0] == answers[1]

    with_workers(tmp_path, work, count=2)


def test_a_part_that_comes_after_its_upload_was_completed_or_aborted_leaves_nothing(tmp_path) -> None:
    async def work(worker: Worker) -> None:
        for operation in ("CompleteMultipartUpload", "AbortMultipartUpload"):
            upload, listed = await worker.upload("key", b"only")
            arrived, go_on = asyncio.Event(), asyncio.Event()

            async def slow() -> AsyncIterator[bytes]:
                yield b"first "
                arrived.set()  # noqa: B023
                await go_on.wait()  # noqa: B023
                yield b"second"

            part = asyncio.ensure_future(worker("UploadPart", **upload, PartNumber=1, body=slow(), size=12))
            await arrived.wait()
            given: dict[str, Any] = {"MultipartUpload": {"Parts": listed}} if operation[0] == "C" else {}
            await worker(operation, **upload, **given)
            go_on.set()
            with pytest.raises(S3Error, match="NoSuchUpload"):
                await part
        assert await worker.get("key") == b"only"
        claimed = {row[0] for row in await worker.rows("SELECT blob_id FROM blobs")}
        assert worker.blobs() <= claimed
        await sound(worker)

    with_workers(tmp_path, work, deletion_grace=0.0)


def test_attempts_at_one_part_at_once_leave_one(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        upload, _ = await one.upload("key")
        results = await at_once(
            tmp_path,
            (one, two),
            *(
                worker("UploadPart", **upload, PartNumber=1, body=f"attempt {number}".encode())
                for number, worker in enumerate((one, two, one, two))
            ),
        )
        (part,) = (await one("ListParts", **upload))["Parts"]
        winner = next(number for number, result in enumerate(results) if result["ETag"] == part["ETag"])
        await two.complete(upload, [{"PartNumber": 1, "ETag": part["ETag"]}])
        assert await one.get("key") == f"attempt {winner}".encode()
        await sound(one)

    with_workers(tmp_path, work, count=2, deletion_grace=0.0)


def test_a_complete_at_the_moment_of_an_abort_ends_whole_or_not_at_all(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        for turn in (0, 1):
            upload, listed = await one.upload(f"key{turn}", b"only")
            both = [one.complete(upload, listed), two("AbortMultipartUpload", **upload)]
            results = await at_once(tmp_path, (one, two), *(both if turn else reversed(both)))
            assert codes(results) == ["NoSuchUpload", "ok"]
            completed = not isinstance(results[0 if turn else 1], S3Error)
            assert (await one("ListObjectsV2", Prefix=f"key{turn}"))["KeyCount"] == completed
            await sound(one)

    with_workers(tmp_path, work, count=2, deletion_grace=0.0)


# --- conditions


def test_of_many_writers_that_want_to_be_the_first_one_is(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        puts = [worker.put("key", f"{n}".encode(), IfNoneMatch="*") for n, worker in enumerate((one, two) * 4)]
        results = await at_once(tmp_path, (one, two), *puts)
        assert codes(results) == ["PreconditionFailed"] * 7 + ["ok"]
        winner = next(n for n, result in enumerate(results) if not isinstance(result, S3Error))
        assert await one.get("key") == f"{winner}".encode()
        assert len(one.blobs()) == 1  # what was refused is gone at once
        await sound(one)

    with_workers(tmp_path, work, count=2, deletion_grace=0.0)


def test_of_two_writers_over_the_same_etag_one_wins(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        etag = (await one.put("key"))["ETag"]
        results = await at_once(
            tmp_path,
            (one, two),
            one.put("key", b"1", IfMatch=etag),
            two.put("key", b"2", IfMatch=etag),
            two("DeleteObject", Key="key", IfMatch=etag),
        )
        assert codes(results) == ["PreconditionFailed", "PreconditionFailed", "ok"] or codes(results) == [
            "NoSuchKey",
            "NoSuchKey",
            "ok",
        ]
        await sound(one)

    with_workers(tmp_path, work, count=2, deletion_grace=0.0)


# --- reads of what goes meanwhile


@dataclass
class Overtaken(Begun):
    """A database in which another process does `meanwhile` between a version's row and the pages of its parts, once."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def read(self, sql: str, params: Any = ()) -> Any:
        if "page BETWEEN" in sql and (meanwhile := self.meanwhile):
            self.meanwhile = None
            await meanwhile()
        return await super().read(sql, params)


OLD, NEW = [b"o" * 5 * MIB, b"old"], [b"n" * 5 * MIB, b"newer"]


async def make(worker: Worker, key: str, parts: list[bytes]) -> None:
    declared = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "COMPOSITE"}
    upload, listed = await worker.upload(key, **declared)
    for number, part in enumerate(parts, start=1):
        checksum = base64.b64encode(zlib.crc32(part).to_bytes(4, "big")).decode()
        sending = worker.sending(x_amz_checksum_crc32=checksum)
        answer = await sending("UploadPart", **upload, PartNumber=number, body=part)
        listed.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum})
    await worker.complete(upload, listed)


async def get(worker: Worker) -> None:
    assert await worker.get("key") == b"".join(NEW)


async def get_the_end(worker: Worker) -> None:
    assert await worker.get("key", Range="bytes=-7") == b"".join(NEW)[-7:]


async def get_a_part(worker: Worker) -> None:
    assert await worker.get("key", PartNumber=2) == NEW[1]


async def head_a_part(worker: Worker) -> None:
    assert (await worker("HeadObject", Key="key", PartNumber=2))["ContentLength"] == len(NEW[1])


async def attributes(worker: Worker) -> None:
    told = await worker("GetObjectAttributes", Key="key", ObjectAttributes=["ObjectParts"])
    assert [part["Size"] for part in told["ObjectParts"]["Parts"]] == [len(part) for part in NEW]


async def copy(worker: Worker) -> None:
    await worker("CopyObject", Key="copy", CopySource="bucket/key")
    assert await worker.get("copy") == b"".join(NEW)


async def copy_a_part(worker: Worker) -> None:
    upload, _ = await worker.upload("copy")
    copied = await worker("UploadPartCopy", **upload, PartNumber=1, CopySource="bucket/key")
    await worker.complete(upload, [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}])
    assert await worker.get("copy") == b"".join(NEW)


@pytest.mark.parametrize("read", [get, get_the_end, get_a_part, head_a_part, attributes, copy, copy_a_part])
def test_a_read_of_an_upload_s_object_that_is_replaced_or_deleted_meanwhile_is_of_what_is_there_then(
    tmp_path, read
) -> None:
    """No damage, for nothing is missing that anybody still names."""

    async def work(one: Worker, two: Worker) -> None:
        def overtaken(meanwhile: Callable[[], Awaitable[object]]) -> Worker:
            database = Overtaken(one.database, meanwhile=meanwhile)
            return replace(one, storage=replace(one.storage, database=database))

        await make(one, "key", OLD)
        await read(overtaken(lambda: make(two, "key", NEW)))
        with pytest.raises(S3Error, match="NoSuchKey"):
            await read(overtaken(lambda: two("DeleteObject", Key="key")))

    with_workers(tmp_path, work, count=2)


def test_verify_finds_nothing_wrong_with_what_is_deleted_under_its_eyes(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        await make(one, "key", OLD)
        database = Overtaken(one.database, meanwhile=lambda: two("DeleteObject", Key="key"))
        found = [finding async for finding in verify(replace(one.storage, database=database))]
        assert database.meanwhile is None
        assert not [finding for finding in found if isinstance(finding, Damage)]

    with_workers(tmp_path, work, count=2)


def test_pages_that_are_missing_while_their_version_is_there_are_damage(tmp_path) -> None:
    async def work(worker: Worker) -> None:
        await make(worker, "key", OLD)
        await worker.store.database.transact(lambda tx: tx.execute("DELETE FROM object_parts"))
        with pytest.raises(IntegrityError, match="a page of parts is missing"):
            await worker.get("key")

    with_workers(tmp_path, work)


# --- copies of an object over itself


def copy_over_itself(worker: Worker, old: bytes, new: bytes, **given):
    both = {**customer(old, "CopySource"), **customer(new)}
    return worker("CopyObject", Key="key", CopySource="bucket/key", **both, **given)


def test_two_changes_of_a_customers_key_at_once_are_one(tmp_path) -> None:
    """The second was asked to change a row that is no longer there: its sealed key is of the past."""

    async def work(one: Worker, two: Worker) -> None:
        await one.put("key", **customer(K0))
        results = await at_once(tmp_path, (one, two), copy_over_itself(one, K0, K1), copy_over_itself(two, K0, K2))
        assert codes(results) == ["OperationAborted", "ok"]
        winner = K1 if not isinstance(results[0], S3Error) else K2
        assert await one.get("key", **customer(winner)) == b"content"
        await sound(one)

    with_workers(tmp_path, work, count=2, deletion_grace=0.0)


def test_a_change_of_a_customers_key_keeps_the_tags_that_came_first(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        await one.put("key", **customer(K0))
        tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
        results = await at_once(
            tmp_path, (one, two), one("PutObjectTagging", Key="key", Tagging=tags), copy_over_itself(two, K0, K1)
        )
        if codes(results) == ["ok", "ok"]:
            assert (await one("GetObjectTagging", Key="key"))["TagSet"] == tags["TagSet"]

    with_workers(tmp_path, work, count=2)


# --- buckets


def test_nothing_is_written_into_a_bucket_that_was_deleted_and_made_again(tmp_path) -> None:
    async def work(worker: Worker) -> None:
        for again in (False, True):
            arrived, go_on = asyncio.Event(), asyncio.Event()

            async def slow() -> AsyncIterator[bytes]:
                yield b"content"
                arrived.set()  # noqa: B023
                await go_on.wait()  # noqa: B023

            put = asyncio.ensure_future(worker("PutObject", Key="key", body=slow(), size=7))
            await arrived.wait()
            await worker("DeleteBucket")
            if again:
                await worker("CreateBucket")
            go_on.set()
            with pytest.raises(S3Error, match="NoSuchBucket"):
                await put
            if not again:
                await worker("CreateBucket")
        assert (await worker("ListObjectsV2"))["KeyCount"] == 0
        await sound(worker)
        assert not worker.blobs()

    with_workers(tmp_path, work, deletion_grace=0.0)


def test_a_bucket_is_deleted_with_its_uploads_or_not_at_all(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        upload, listed = await one.upload("key", b"only")
        results = await at_once(tmp_path, (one, two), one("DeleteBucket"), two.complete(upload, listed))
        assert codes(results) in (["NoSuchBucket", "ok"], ["BucketNotEmpty", "ok"])
        if isinstance(results[1], S3Error):
            assert await one.rows("SELECT 1 FROM uploads UNION ALL SELECT 1 FROM upload_parts") == []
        else:
            assert await one.get("key") == b"only"
        await sound(one)

    with_workers(tmp_path, work, count=2, deletion_grace=0.0)


def test_versioning_that_is_enabled_during_an_upload_counts(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        await one.put("key", b"before")
        results = await at_once(
            tmp_path,
            (one, two),
            two("PutBucketVersioning", VersioningConfiguration={"Status": "Enabled"}),
            one.put("key", b"after"),
        )
        assert codes(results) == ["ok", "ok"]
        versions = (await one("ListObjectVersions"))["Versions"]
        if len(versions) == 2:
            assert versions[1]["VersionId"] == "null"
            assert results[1]["VersionId"] == versions[0]["VersionId"]
        await sound(one)

    with_workers(tmp_path, work, count=2, deletion_grace=0.0)


# --- the collector of orphans


def test_a_blob_whose_commit_is_under_way_is_lost_to_the_collector_only_as_a_whole(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        results = await at_once(
            tmp_path,
            (one, two),
            cleanup.condemn_orphans(two.storage, age=-60.0),
            *(one.put(f"key{number}") for number in range(8)),
        )
        await cleanup.delete_due(two.storage)
        for number, result in enumerate(results[1:]):
            if isinstance(result, S3Error):
                assert result.code == "SlowDown"
                with pytest.raises(S3Error, match="NoSuchKey"):
                    await one.get(f"key{number}")
            else:
                assert await one.get(f"key{number}") == b"content"
        await sound(one)

    with_workers(tmp_path, work, count=2, deletion_grace=0.0)


# --- the clock


def test_a_clock_that_goes_back_makes_no_old_version_the_newest(tmp_path) -> None:
    ticks = iter(range(2_000_000_000_000_000, 0, -1_000_000_000))

    async def work(worker: Worker) -> None:
        for number in range(5):
            await worker.put("key", f"{number}".encode())
            assert await worker.get("key") == f"{number}".encode()
        listed = (await worker("ListObjectVersions"))["Versions"]
        assert [each["IsLatest"] for each in listed] == [True] + [False] * 4
        contents = [await worker.get("key", VersionId=each["VersionId"]) for each in listed]
        assert contents == [b"4", b"3", b"2", b"1", b"0"]

    with_workers(tmp_path, work, versioning="Enabled", now_us=lambda: next(ticks))


def test_many_writes_in_one_microsecond_are_many_versions(tmp_path) -> None:
    async def work(one: Worker, two: Worker) -> None:
        await at_once(
            tmp_path, (one, two), *(worker.put("key", f"{n}".encode()) for n, worker in enumerate((one, two) * 5))
        )
        listed = (await one("ListObjectVersions"))["Versions"]
        assert len({each["VersionId"] for each in listed}) == 10
        assert [each["IsLatest"] for each in listed] == [True] + [False] * 9
        first = (await one("ListObjectVersions", MaxKeys=3))["Versions"]
        assert first == listed[:3]

    with_workers(tmp_path, work, count=2, versioning="Enabled", now_us=lambda: 1_700_000_000_000_000)
