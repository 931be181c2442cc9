import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from strongroom.blobs.store import BlobId
from strongroom.database.database import Connection
from strongroom.keys.rotation import rotate_bucket_secrets
from strongroom.metadata.bucket_keys import KmsBucketKey, insert_bucket_key
from strongroom.metadata.objects import get_version, remove_version, update_version
from strongroom.metadata.uploads import abort_upload, get_upload
from strongroom.s3 import cleanup
from strongroom.s3.verification import Checked, Damage, Finding, verify
from strongroom.server.paths import Paths
from strongroom.server.store import OpenStore
from tests.stored import PLAIN, VERSIONED, copied, make_store, with_store


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def data_dir(sound, tmp_path) -> Path:
    return copied(sound, tmp_path / "data")


def found(data_dir: Path, **arguments) -> list[Finding]:
    async def work(store: OpenStore) -> list[Finding]:
        return [finding async for finding in verify(store.storage, **arguments)]

    return with_store(data_dir, work)


def damages(data_dir: Path, **arguments) -> list[Damage]:
    return [finding for finding in found(data_dir, **arguments) if isinstance(finding, Damage)]


@contextmanager
def index(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """The index as somebody sees it who has the disk and no key."""
    with closing(sqlite3.connect(Paths(data_dir).index)) as connection, connection:
        yield connection


def blob_of(data_dir: Path, key: str, part: int = 0) -> Path:
    """The file of a part; for `pending`, of the SSE-S3 upload."""

    async def work(store: OpenStore) -> bytes:
        bucket = await store.storage.keyring.open_bucket(PLAIN)
        assert bucket
        version = await get_version(store.database, bucket, key)
        assert version
        return version.parts[part].blob_id

    name = with_store(data_dir, work).hex()
    return Paths(data_dir).blobs / name[:2] / name


def blobs_of_object(data_dir: Path, where: str) -> list[Path]:
    """Files by the clear columns alone: `where` selects object ids from uploads or versions."""
    with index(data_dir) as connection:
        rows = connection.execute(f"SELECT blob_id FROM blobs WHERE object_id IN ({where})").fetchall()
    return [Paths(data_dir).blobs / row[0].hex()[:2] / row[0].hex() for row in rows]


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


# --- what is sound


def test_everything_is_counted_and_nothing_is_changed(data_dir) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in Paths(data_dir).blobs.rglob("*") if path.is_file()}

    before, seen = state(), list[int]()
    findings = found(data_dir, progress=seen.append)
    assert not [finding for finding in findings if isinstance(finding, Damage)]
    counts = Counter(finding.kind for finding in findings if isinstance(finding, Checked))
    assert counts == {
        "bucket": 2,
        "version": 8,
        "delete marker": 1,
        "upload": 3,  # the completed one, which is kept for a day, too
        "blob": 9,
        "blob without key": 4,
    }
    assert sum(finding.size for finding in findings if isinstance(finding, Checked)) == 5 * 2**20 + 20_000 + 302_000
    assert sum(seen) == pytest.approx(5 * 2**20 + 322_000, abs=100)
    assert state() == before


def test_one_bucket_alone(data_dir) -> None:
    findings = found(data_dir, only=VERSIONED)
    assert Counter(finding.kind for finding in findings if isinstance(finding, Checked)) == {
        "bucket": 1,
        "version": 2,
        "delete marker": 1,
        "blob": 2,
    }
    assert found(data_dir, only="no-such-bucket") == []


def test_bucket_keys_are_opened_too(data_dir) -> None:
    async def insert(store: OpenStore) -> bytes:
        bucket = await store.storage.keyring.open_bucket(VERSIONED)
        assert bucket
        for number in (1, 2):
            key = KmsBucketKey(
                bucket_key_id=bytes([number]) * 16,
                key_arn="arn",
                material_id=None,
                created_us=1,
                ciphertext_blob=b"blob",
                context={},
            )
            await store.database.transact(partial(insert_bucket_key, bucket=bucket, key=key))
        return bucket.bucket_id

    with_store(data_dir, insert)
    findings = found(data_dir, only=VERSIONED)
    assert findings.count(Checked(kind="bucket key")) == 2
    with index(data_dir) as connection:
        connection.execute("UPDATE bucket_keys SET key_arn = 'another' WHERE bucket_key_id = ?", (bytes([2]) * 16,))
    (damage,) = damages(data_dir)
    assert (damage.bucket, damage.problem) == (VERSIONED, f"bucket key {'02' * 16}: the row does not authenticate")


# --- blobs


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def blank(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("spoil", [remove, cut, lengthen, blank, *(partial(flip, offset=at) for at in (0, 30, 56, -1))])
@pytest.mark.parametrize("key", ["one", "ssec", "empty"])
def test_a_damaged_blob_is_found_and_named(data_dir, key, spoil) -> None:
    path = blob_of(data_dir, key)
    spoil(path)
    (damage,) = damages(data_dir)
    assert (damage.bucket, damage.key, damage.version_id, damage.part) == (PLAIN, key, "null", 0)
    assert path.name in damage.problem


@pytest.mark.parametrize(("first", "second"), [("one", "two"), ("ssec", "ssec-two")])
def test_two_blobs_of_one_length_that_were_swapped_are_two_damages(data_dir, first, second) -> None:
    one, two = blob_of(data_dir, first), blob_of(data_dir, second)
    content_of_one = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content_of_one)
    assert {damage.key for damage in damages(data_dir)} == {first, second}


def test_each_part_of_a_multipart_object_is_read(data_dir) -> None:
    small, large = sorted(
        blobs_of_object(data_dir, "SELECT object_id FROM object_versions WHERE key = 'parts'"),
        key=lambda path: path.stat().st_size,
    )
    flip(large, 3 * 2**20)
    (damage,) = damages(data_dir)
    assert (damage.key, damage.part) == ("parts", 1)
    flip(small, 100)
    assert [damage.part for damage in damages(data_dir)] == [1, 3]


@pytest.mark.parametrize("mode", [1, 2])
def test_pending_parts_are_read(data_dir, mode) -> None:
    first, _ = blobs_of_object(data_dir, f"SELECT object_id FROM uploads WHERE state = 0 AND mode = {mode}")
    flip(first, 20_000)
    (damage,) = damages(data_dir)
    assert (damage.bucket, damage.key, damage.version_id) == (PLAIN, "pending", "")
    assert damage.upload_id
    assert damage.part in (2, 9)


def test_a_blob_that_cannot_be_read_is_damage_and_not_the_end(data_dir) -> None:
    path = blob_of(data_dir, "one")
    path.unlink()
    path.mkdir()  # reading it fails with an error of the system
    assert [damage.key for damage in damages(data_dir)] == ["one"]


# --- rows


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("UPDATE object_versions SET size = size + 1 WHERE key = 'one'", "one"),
        ("UPDATE object_versions SET mode = 2 WHERE key = 'one'", "one"),
        ("UPDATE object_versions SET key = CAST(key AS BLOB) WHERE key = 'one'", "b'one'"),
        ("UPDATE object_versions SET secret_version = 7 WHERE key = 'one'", "one"),
        ("UPDATE object_versions SET sealed = x'00' WHERE key = 'ssec'", "ssec"),
        ("UPDATE object_versions SET kind = 0 WHERE kind = 1", "key"),
        ("UPDATE object_parts SET revision = 2", "parts"),
        ("UPDATE uploads SET initiated_us = 1 WHERE state = 1", "parts"),
        ("UPDATE uploads SET upload_id = CAST(upload_id AS BLOB) WHERE state = 1", "parts"),
        ("UPDATE uploads SET mode = 1 WHERE state = 0 AND mode = 2", "pending"),
        ("UPDATE upload_parts SET size = 1 WHERE part_number = 9 AND size = (SELECT max(size) FROM upload_parts)", "pending"),
        (
            "INSERT INTO object_parts SELECT bucket_id, object_id, 1, secret_version, revision, sealed FROM object_parts",
            "parts",
        ),
    ],
)  # fmt: skip
def test_a_changed_row_is_found_and_named(data_dir, change, key) -> None:
    with index(data_dir) as connection:
        assert connection.execute(change).rowcount
    assert {damage.key for damage in damages(data_dir)} == {key}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DELETE FROM object_versions WHERE key = 'one'", "blobs of the object"),
        ("DELETE FROM object_versions WHERE key = 'parts'", "pages of parts of the object"),
        ("DELETE FROM uploads WHERE state = 0 AND mode = 1", "pending parts of the object"),
        ("DELETE FROM buckets WHERE name = 'plain'", "bucket with id"),
    ],
)
def test_a_row_that_was_taken_out_is_missed(data_dir, change, told) -> None:
    with index(data_dir) as connection:
        assert connection.execute(change).rowcount == 1
    assert told in " ".join(damage.problem for damage in damages(data_dir))


def test_a_missing_page_of_parts_is_found(data_dir) -> None:
    with index(data_dir) as connection:
        connection.execute("DELETE FROM object_parts")
    assert [damage.key for damage in damages(data_dir)] == ["parts"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE buckets SET created_us = 1 WHERE name = 'plain'",
        "UPDATE bucket_secrets SET sealed = zeroblob(200) WHERE bucket_id IN (SELECT bucket_id FROM buckets WHERE name = 'plain')",
        "UPDATE bucket_secrets SET store_key_id = zeroblob(16) WHERE bucket_id IN (SELECT bucket_id FROM buckets WHERE name = 'plain')",
    ],
)
def test_a_bucket_that_does_not_open_is_damage_and_the_next_is_looked_at(data_dir, change) -> None:
    with index(data_dir) as connection:
        assert connection.execute(change).rowcount == 1
    findings = found(data_dir)
    (damage,) = [finding for finding in findings if isinstance(finding, Damage)]
    assert (damage.bucket, damage.key) == (PLAIN, "")
    assert Checked(kind="bucket") in findings


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DELETE FROM blobs WHERE blob_id = ?", "nothing claims it"),
        ("UPDATE blobs SET delete_after_us = 1 WHERE blob_id = ?", "queued for deletion"),
        ("UPDATE blobs SET deleted_us = 1 WHERE blob_id = ?", "queued for deletion"),
        ("UPDATE blobs SET object_id = zeroblob(16) WHERE blob_id = ?", "another object"),
    ],
)
def test_a_named_blob_must_be_claimed_and_not_doomed(data_dir, change, told) -> None:
    blob_id = bytes.fromhex(blob_of(data_dir, "ssec").name)
    with index(data_dir) as connection:
        assert connection.execute(change, (blob_id,)).rowcount == 1
    (damage,) = [damage for damage in damages(data_dir) if damage.key]
    assert damage.key == "ssec"
    assert told in damage.problem


# --- beside a running server


def test_what_is_deleted_rewritten_or_aborted_meanwhile_is_no_damage(data_dir) -> None:
    """All rows of a bucket come in one page here, so that everything after the first is stale when it is judged."""

    async def work(store: OpenStore) -> list[Finding]:
        storage = replace(store.storage, deletion_grace=0)
        findings = []
        async for finding in verify(storage, only=PLAIN):
            findings.append(finding)
            if finding == Checked(kind="version"):  # key "empty", the first
                await change(store)
                await cleanup.delete_due(storage)
        return findings

    async def change(store: OpenStore) -> None:
        bucket = await store.storage.keyring.open_bucket(PLAIN)
        assert bucket
        gone = await get_version(store.database, bucket, "one")
        if gone is None:
            return
        rotation = replace(store.rotation, pause=0)
        await rotate_bucket_secrets(rotation, lambda _done, _all: None, only=PLAIN)
        bucket = await store.storage.keyring.open_bucket(PLAIN)
        assert bucket
        kept = await get_version(store.database, bucket, "two")
        uploads = await store.database.read("SELECT upload_id FROM uploads WHERE state = 0 AND mode = 1")
        upload = await get_upload(store.database, bucket, "pending", str(uploads[0][0]))
        assert kept
        assert upload

        def change(tx: Connection) -> None:
            remove_version(tx, bucket, gone, delete_after_us=0)
            update_version(tx, bucket, kept, kept)
            abort_upload(tx, bucket, upload, delete_after_us=0)

        await store.database.transact(change)

    findings = with_store(data_dir, work)
    assert not [finding for finding in findings if isinstance(finding, Damage)]
    assert Counter(finding.kind for finding in findings if isinstance(finding, Checked)) == {
        "bucket": 1,
        "version": 5,
        "upload": 2,
        "blob": 4,
        "blob without key": 4,
    }


def test_a_blob_that_goes_while_its_row_stays_is_damage_all_the_same(data_dir) -> None:
    async def work(store: OpenStore) -> list[str]:
        found = []
        async for finding in verify(store.storage, only=PLAIN):
            if finding == Checked(kind="bucket"):
                await store.blobs.delete(BlobId(bytes.fromhex(path.name)))
            if isinstance(finding, Damage):
                found.append(finding.key)
        return found

    path = blob_of(data_dir, "two")
    assert with_store(data_dir, work) == ["two"]
