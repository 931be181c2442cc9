"""Listings as operations: long ones, odd markers, and what happens beside them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from strongroom.aws.errors import S3Error
from strongroom.keys.rotation import rotate_bucket_secrets
from strongroom.metadata.objects import list_latest, put_delete_marker
from strongroom.metadata.records import ListedVersion, OpenBucket
from strongroom.s3.list_objects import fill
from strongroom.s3.listing import Fold, Seek
from tests.calls import Worker, with_workers


async def hide(worker: Worker, count: int) -> None:
    """So many delete markers without an object below them."""
    bucket = await worker.storage.keyring.open_bucket("bucket")
    assert bucket

    def put(tx) -> None:
        for number in range(count):
            given = {"now_us": 1, "delete_after_us": 1, "check": lambda _newest: None}
            put_delete_marker(tx, bucket, f"key{number:06}", **given)  # type: ignore[arg-type]

    await worker.store.database.transact(put)


def test_a_long_listing_lets_others_have_their_turn(tmp_path) -> None:
    async def work(worker: Worker) -> None:
        await hide(worker, 5000)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        for operation in ("ListObjects", "ListObjectsV2"):
            task, turns = asyncio.ensure_future(others()), 0
            assert (await worker(operation))["IsTruncated"] is False
            task.cancel()
            assert turns >= 5

    with_workers(tmp_path, work, versioning="Enabled")


async def listed_while(worker: Worker, happens: Callable[[], Awaitable[object]]) -> list[str]:
    """The keys of the bucket, read two at a time, something happening after each read."""
    bucket = await worker.storage.keyring.open_bucket("bucket")
    assert bucket
    fold: Fold[ListedVersion] = Fold(max_keys=1000)

    async def fetch(bucket: OpenBucket, seek: Seek[ListedVersion], limit: int) -> list[ListedVersion]:
        place = {"lower": seek.lower, "inclusive": seek.inclusive, "below": fold.below}
        rows = await list_latest(worker.storage.database, bucket, limit=limit, **place)  # type: ignore[arg-type]
        await happens()
        return rows

    await fill(worker.storage, bucket, fold, fetch, step=2)
    return [version.key for version in fold.contents]


def test_a_listing_during_which_secrets_are_rotated_opens_every_row(tmp_path) -> None:
    """However long it takes, and whatever is written meanwhile under secrets that it did not begin with."""

    async def work(worker: Worker) -> None:
        keys = [f"key{number}" for number in range(9)]
        for key in keys:
            await worker.put(key)

        async def rotate() -> None:
            await rotate_bucket_secrets(replace(worker.store.rotation, pause=0), lambda _done, _all: None)
            for key in keys:
                await worker.put(key)

        assert await listed_while(worker, rotate) == keys

    with_workers(tmp_path, work)


@pytest.mark.parametrize("again", [False, True], ids=["", "and is made again"])
def test_a_listing_of_a_bucket_that_goes_in_the_middle_of_it(tmp_path, again) -> None:
    async def work(worker: Worker) -> None:
        keys = [f"key{number}" for number in range(9)]
        for key in keys:
            await worker.put(key)

        async def remove() -> None:
            for key in keys:
                await worker("DeleteObject", Key=key)
            await worker("DeleteBucket")
            if again:
                await worker("CreateBucket")

        with pytest.raises(S3Error, match="NoSuchBucket"):
            await listed_while(worker, remove)

    with_workers(tmp_path, work)


@pytest.mark.parametrize("marker", ["0" * 32, "7" + "f" * 31, "8" + "0" * 31, "f" * 32])
def test_any_version_id_may_be_a_marker(tmp_path, marker) -> None:
    """Also those of sequences that no row has and no database could hold."""

    async def work(worker: Worker) -> None:
        version_id = (await worker.put("key"))["VersionId"]
        await worker.put("later")
        listing = worker("ListObjectVersions", KeyMarker="key", VersionIdMarker=marker)
        if marker[0] < "8":  # of a sequence beyond 2^63
            with pytest.raises(S3Error, match="InvalidArgument"):
                await listing
        else:
            assert [each["Key"] for each in (await listing)["Versions"]][-1] == "later"
        for operation in ("GetObject", "GetObjectTagging"):
            with pytest.raises(S3Error, match="InvalidArgument" if marker[0] < "8" else "NoSuchVersion"):
                await worker(operation, Key="key", VersionId=marker)
        assert await worker.get("key", VersionId=version_id) == b"content"

    with_workers(tmp_path, work, versioning="Enabled")


@pytest.mark.parametrize("page", [1, 2, 3, 7])
def test_pages_of_versions_put_together_are_the_whole(tmp_path, page) -> None:
    """Null versions among others, markers, and versions that were removed where a page ended."""

    async def work(worker: Worker) -> None:
        await worker.put("a/one", b"null")
        await worker.put("b", b"null")
        await worker("PutBucketVersioning", VersioningConfiguration={"Status": "Enabled"})
        for key in ("a/one", "a/two", "b", "b", "c/d"):
            await worker.put(key)
        await worker("DeleteObject", Key="b")
        await worker("PutBucketVersioning", VersioningConfiguration={"Status": "Suspended"})
        await worker.put("b", b"null again")
        for delimiter in ("", "/"):
            whole = await worker("ListObjectVersions", Delimiter=delimiter)
            expected = [(each["Key"], each["VersionId"], each["IsLatest"]) for each in entries(whole)]
            prefixes = [each["Prefix"] for each in whole["CommonPrefixes"]]
            found, found_prefixes = [], []
            marker: dict[str, Any] = {}
            while True:
                part = await worker("ListObjectVersions", Delimiter=delimiter, MaxKeys=page, **marker)
                found += [(each["Key"], each["VersionId"], each["IsLatest"]) for each in entries(part)]
                found_prefixes += [each["Prefix"] for each in part["CommonPrefixes"]]
                assert len(entries(part)) + len(part["CommonPrefixes"]) <= page
                if not part["IsTruncated"]:
                    break
                marker = {"KeyMarker": part["NextKeyMarker"]}
                if "NextVersionIdMarker" in part:
                    marker["VersionIdMarker"] = part["NextVersionIdMarker"]
            assert (sorted(found), found_prefixes) == (sorted(expected), prefixes)

    with_workers(tmp_path, work)


def entries(listed: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*listed["Versions"], *listed["DeleteMarkers"]]


def test_a_page_of_nothing_is_not_truncated(tmp_path) -> None:
    """Or a client would ask for the next one for ever."""

    async def work(worker: Worker) -> None:
        await worker.put("key")
        upload, _ = await worker.upload("key", b"part")
        for operation in ("ListObjects", "ListObjectsV2", "ListObjectVersions"):
            assert (await worker(operation, MaxKeys=0))["IsTruncated"] is False
        assert (await worker("ListMultipartUploads", MaxUploads=0))["IsTruncated"] is False
        assert (await worker("ListParts", MaxParts=0, **upload))["IsTruncated"] is False

    with_workers(tmp_path, work)
