from collections.abc import Callable
from dataclasses import replace
from secrets import token_bytes
from typing import Any

import msgspec
import pytest
from hypothesis import given as for_any
from hypothesis import strategies as st

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.sealing import open_object_key, seal_object_key
from strongroom.metadata import deletions, objects
from strongroom.metadata.buckets import insert_secret, update_bucket
from strongroom.metadata.objects import StaleVersion, new_version_id, sequence_of
from strongroom.metadata.records import NULL_VERSION, Attributes, ObjectVersion, OpenBucket, Part, SseS3

NOW = 1_700_000_000_000_000
OBJECT_KEY = token_bytes(32)
TIMES = {"now_us": NOW, "delete_after_us": NOW + 100}


class RefusedError(Exception):
    pass


def anything(_newest: ObjectVersion | None) -> None:
    pass


def nothing(_newest: ObjectVersion | None) -> None:
    raise RefusedError


def new_part(number: int = 0, size: int = 10) -> Part:
    return Part(
        part_number=number,
        size=size,
        etag=token_bytes(16),
        modified_us=5,
        blob_id=token_bytes(16),
        header=bytes(56),
        stored_crc64nvme=bytes(8),
    )


def new_object(bucket: OpenBucket, key: str = "key", **given: Any) -> ObjectVersion:
    object_id, part = token_bytes(16), new_part()
    keys = bucket.keys[bucket.version]
    ids: dict[str, Any] = {"bucket_id": bucket.bucket_id, "object_id": object_id, "version": bucket.version}
    defaults: dict[str, Any] = {
        "key": key,
        "sequence": 0,
        "version_id": "",
        "object_id": object_id,
        "is_delete_marker": False,
        "size": part.size,
        "last_modified_us": 0,
        "revision": 1,
        "secret_version": bucket.version,
        "etag": part.etag,
        "encryption": SseS3(sealed_key=seal_object_key(keys.wrap_key, OBJECT_KEY, **ids)),
        "attributes": Attributes(user_metadata={"a": "b"}),
        "parts": (part,),
    }
    return ObjectVersion(**{**defaults, **given})


async def put(index, bucket, key: str = "key", check: Callable[..., None] = anything, **given: Any) -> ObjectVersion:
    """A new object, its blobs claimed in the transaction that makes it."""
    new = new_object(bucket, key, **{name: value for name, value in given.items() if name not in ("pages", "now_us")})
    pages = given.get("pages", ())

    def step(tx) -> ObjectVersion:
        for part in [*new.parts, *(part for page in pages for part in page)]:
            deletions.claim(tx, part.blob_id, new.object_id)
        times = {**TIMES, "now_us": given.get("now_us", NOW)}
        return objects.put_version(tx, bucket, new, pages=pages, check=check, **times)

    made: ObjectVersion = await index.database.transact(step)
    return made


async def delete(index, bucket, key: str = "key") -> ObjectVersion:
    made: ObjectVersion = await index.do(objects.put_delete_marker, bucket, key, check=anything, **TIMES)
    return made


async def in_use(index) -> set[bytes]:
    return {row[0] for row in await index.rows("SELECT blob_id FROM blobs WHERE delete_after_us IS NULL")}


def blobs(*versions: ObjectVersion) -> set[bytes]:
    return {part.blob_id for version in versions for part in version.parts}


# --- one key


def test_what_was_put_comes_back(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        assert await objects.get_version(index.database, bucket, "key") is None
        version = await put(index, bucket)
        assert (version.version_id, version.sequence, version.last_modified_us) == (NULL_VERSION, NOW, NOW)
        for version_id in (None, NULL_VERSION):
            assert await objects.get_version(index.database, bucket, "key", version_id) == version
            assert await index.do(objects.find, bucket, "key", version_id) == version
        other = await index.bucket("other")
        assert await objects.get_version(index.database, other, "key") is None

    with_index(work)


def test_without_versioning_there_is_one_and_its_blob_goes_with_it(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        versions = [await put(index, bucket) for _ in range(3)]
        assert await index.rows("SELECT object_id FROM object_versions") == [(versions[2].object_id,)]
        assert await in_use(index) == blobs(versions[2])
        assert await index.rows("SELECT DISTINCT delete_after_us FROM blobs ORDER BY 1") == [(None,), (NOW + 100,)]
        await index.do(objects.remove_version, bucket, versions[2], delete_after_us=1)
        assert await index.rows("SELECT 1 FROM object_versions") == []
        assert await in_use(index) == set()

    with_index(work)


def test_with_versioning_every_version_stays(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket(versioning="Enabled")
        first, second = await put(index, bucket), await put(index, bucket)
        marker = await delete(index, bucket)
        third = await put(index, bucket)
        assert [each.sequence for each in (first, second, marker, third)] == [NOW, NOW + 1, NOW + 2, NOW + 3]
        assert await objects.get_version(index.database, bucket, "key") == third
        for version in (first, second, marker, third):
            assert await objects.get_version(index.database, bucket, "key", version.version_id) == version
            assert sequence_of(version.version_id) == version.sequence
        assert await in_use(index) == blobs(first, second, third)
        await index.do(objects.remove_version, bucket, third, delete_after_us=1)
        newest = await objects.get_version(index.database, bucket, "key")
        assert newest == marker
        assert newest
        assert (newest.is_delete_marker, newest.encryption, newest.size) == (True, None, 0)

    with_index(work)


def test_suspended_versioning_replaces_the_null_version_wherever_it_stands(with_index) -> None:
    async def work(index) -> None:
        plain = await index.bucket()
        null = await put(index, plain)
        enabled = replace(plain, bucket=replace(plain.bucket, config=replaced(plain, "Enabled")))
        suspended = replace(plain, bucket=replace(plain.bucket, config=replaced(plain, "Suspended")))
        version = await put(index, enabled)
        marker = await delete(index, suspended)
        assert marker.version_id == NULL_VERSION
        assert await index.do(objects.find, plain, "key", NULL_VERSION) == marker
        assert await in_use(index) == blobs(version)
        again = await put(index, suspended)
        assert await objects.get_version(index.database, plain, "key") == again
        assert await index.rows("SELECT count(*) FROM object_versions") == [(2,)]
        assert await in_use(index) == blobs(version, again)
        assert null.object_id not in (again.object_id, marker.object_id)

    with_index(work)


def replaced(bucket: OpenBucket, versioning: str) -> Any:
    return msgspec.structs.replace(bucket.config, versioning=versioning)


def test_a_clock_that_goes_back_does_not_reorder(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket(versioning="Enabled")
        await put(index, bucket, now_us=NOW)
        late = await put(index, bucket, now_us=NOW - 10**9)
        assert (late.sequence, late.last_modified_us) == (NOW + 1, NOW - 10**9)
        assert await objects.get_version(index.database, bucket, "key") == late

    with_index(work)


def test_a_condition_sees_the_newest_version_and_undoes_everything(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket(versioning="Enabled")
        seen: list[ObjectVersion | None] = []
        first = await put(index, bucket, check=seen.append)
        marker = await delete(index, bucket)
        third = await put(index, bucket, check=seen.append)
        assert seen == [None, marker]
        before = await index.rows("SELECT * FROM object_versions"), await in_use(index)
        with pytest.raises(RefusedError):
            await put(index, bucket, check=nothing)
        with pytest.raises(RefusedError):
            await index.do(objects.put_delete_marker, bucket, "key", check=nothing, **TIMES)
        assert (await index.rows("SELECT * FROM object_versions"), await in_use(index)) == before
        assert await in_use(index) == blobs(first, third)

    with_index(work)


def test_a_row_that_takes_over_an_object_keeps_its_blob(with_index) -> None:
    """A copy over itself that only seals the object's key anew."""

    async def work(index) -> None:
        bucket = await index.bucket()
        version = await put(index, bucket)
        again = replace(version, etag=bytes(16))
        done = await index.do(objects.put_version, bucket, again, check=anything, **TIMES)
        assert done == replace(again, sequence=NOW + 1)
        assert await objects.get_version(index.database, bucket, "key") == done
        assert await in_use(index) == blobs(version)
        await index.do(objects.remove_version, bucket, done, delete_after_us=1)
        assert await in_use(index) == set()

    with_index(work)


# --- compare and swap


def test_an_update_keeps_the_place_and_counts(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        version = await put(index, bucket)
        tagged = replace(version, attributes=Attributes(tags=(("a", "b"),)))
        done = await index.do(objects.update_version, bucket, version, tagged)
        assert done == replace(tagged, revision=2)
        assert await objects.get_version(index.database, bucket, "key") == done
        for stale in (objects.update_version, objects.remove_version):
            given = {"new": tagged} if stale is objects.update_version else {"delete_after_us": 1}
            with pytest.raises(StaleVersion):
                await index.do(stale, bucket, version, **given)
        assert await objects.get_version(index.database, bucket, "key") == done
        assert await in_use(index) == blobs(version)

    with_index(work)


def test_an_update_seals_row_and_object_key_under_the_newest_secret(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        version = await put(index, bucket)
        ((store_key,),) = await index.rows("SELECT value FROM store")
        fresh = index.keyring.new_secret(bucket.bucket_id, 2, store_key)

        def rotate(tx) -> None:
            insert_secret(tx, bucket.bucket_id, 2, store_key, fresh.sealed)
            update_bucket(tx, bucket, config=bucket.config, secret=(2, fresh.keys))

        await index.do(rotate)
        now = await index.keyring.open_bucket("bucket")
        assert await objects.get_version(index.database, now, "key") == version
        done = await index.do(objects.update_version, now, version, version)
        assert (done.secret_version, done.revision) == (2, 2)
        assert done.encryption.sealed_key != version.encryption.sealed_key  # type: ignore[union-attr]
        opened = open_object_key(
            now.keys[2].wrap_key,
            done.encryption.sealed_key,
            bucket_id=now.bucket_id,
            object_id=done.object_id,
            version=2,
        )
        assert opened == OBJECT_KEY
        with pytest.raises(IntegrityError):
            await objects.get_version(index.database, bucket, "key")

    with_index(work)


# --- pages of parts


def test_pages_come_back_and_go_with_their_object(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        pages = [[new_part(1, 5), new_part(2, 6)], [new_part(3, 7)], [new_part(9, 0)]]
        given: dict[str, Any] = {"parts": (), "part_count": 4, "size": 18, "pages": pages}
        version = replace(await put(index, bucket, **given), pages=(11, 7, 0))
        assert await objects.read_pages(index.database, bucket, version, 0, 2) == [p for page in pages for p in page]
        assert await objects.read_pages(index.database, bucket, version, 1, 1) == pages[1]
        for wrong in ((11, 8, 0), (11, 7, 0, 1)):
            with pytest.raises(IntegrityError):
                await objects.read_pages(index.database, bucket, replace(version, pages=wrong), 0, len(wrong) - 1)
        assert await in_use(index) == {part.blob_id for page in pages for part in page}
        await index.do(objects.remove_version, bucket, version, delete_after_us=1)
        assert await index.rows("SELECT 1 FROM object_parts") == []
        assert await in_use(index) == set()

    with_index(work)


def test_a_page_that_is_missing_is_damage(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket()
        version = await put(index, bucket, parts=(), part_count=2, size=2, pages=[[new_part(1, 1)], [new_part(2, 1)]])
        version = replace(version, pages=(1, 1))
        await index.do(lambda tx: tx.execute("DELETE FROM object_parts WHERE page = 0"))
        with pytest.raises(IntegrityError, match="missing"):
            await objects.read_pages(index.database, bucket, version, 0, 1)
        assert await objects.read_pages(index.database, bucket, version, 1, 1)

    with_index(work)


# --- listing

KEYS = ["a", "a/b", "b", "b\U0001f600", "b\uffff", "c"]


def test_keys_are_listed_in_the_order_of_their_bytes(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket(versioning="Enabled")
        for key in reversed(KEYS):
            await put(index, bucket, key)
            await put(index, bucket, key)
        await delete(index, bucket, "b")

        async def latest(**given: Any) -> list[str]:
            place = {"lower": "", "inclusive": True, "below": None, "limit": 99, **given}
            found = await objects.list_latest(index.database, bucket, **place)
            assert [each.is_delete_marker for each in found] == [each.key == "b" for each in found]
            return [each.key for each in found]

        in_order = sorted(KEYS, key=str.encode)
        assert await latest() == in_order
        assert await latest(limit=2) == in_order[:2]
        assert await latest(lower="a/b") == in_order[1:]
        assert await latest(lower="a/b", inclusive=False) == in_order[2:]
        assert await latest(below="b") == ["a", "a/b"]

    with_index(work)


def test_versions_are_listed_newest_first_and_go_on_inside_a_key(with_index) -> None:
    async def work(index) -> None:
        bucket = await index.bucket(versioning="Enabled")
        made = {key: [await put(index, bucket, key) for _ in range(3)][::-1] for key in ("a", "b", "c")}
        whole = [version.version_id for key in "abc" for version in made[key]]

        async def listed(**given: Any) -> list[str]:
            place = {"lower": "", "inclusive": True, "before_sequence": None, "below": None, "limit": 99, **given}
            return [each.version_id for each in await objects.list_versions(index.database, bucket, **place)]

        assert await listed() == whole
        for at in range(9):
            version = made["abc"[at // 3]][at % 3]
            place = {"lower": version.key, "before_sequence": version.sequence}
            assert await listed(**place) == whole[at + 1 :]
            for limit in (1, 2, 3, 4):
                assert await listed(**place, limit=limit) == whole[at + 1 : at + 1 + limit]
        assert await objects.newest_sequence(index.database, bucket, "a") == made["a"][0].sequence
        assert await objects.newest_sequence(index.database, bucket, "none") is None

    with_index(work)


# --- version ids


@for_any(st.integers(0, 2**63 - 1))
def test_a_version_id_holds_its_sequence(sequence) -> None:
    assert sequence_of(new_version_id(sequence)) == sequence


@for_any(st.lists(st.integers(0, 2**63 - 1), unique=True))
def test_version_ids_sort_newest_first(sequences) -> None:
    ids = sorted(map(new_version_id, sequences))
    assert [sequence_of(each) for each in ids] == sorted(sequences, reverse=True)


@pytest.mark.parametrize("text", ["", "null", "f" * 31, "f" * 33, "F" * 32, "0x" + "f" * 30, "+" + "f" * 31, "١" * 32])
def test_what_was_never_a_version_id_has_no_sequence(text) -> None:
    assert sequence_of(text) is None


@pytest.mark.parametrize("text", ["0" * 32, "7" + "f" * 31])
def test_a_sequence_that_no_row_can_have_is_none(text) -> None:
    """It would not fit into SQLite's integers."""
    assert sequence_of(text) is None
