import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from strongroom import config
from strongroom.blobs.local_files import held, open_tree
from strongroom.metadata import deletions
from strongroom.metadata.bucket_keys import UNUSED_KEPT_US, KmsBucketKey, insert_bucket_key
from strongroom.metadata.records import BucketConfig
from strongroom.s3.cleanup import Collected, collect
from strongroom.server.paths import Paths
from strongroom.server.store import OpenStore, initialise
from tests.stored import with_store


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    initialise(directory, config.load(directory, environ={}))
    with_store(directory, lambda store: store.storage.keyring.list_buckets(limit=1))
    return directory


def orphan(data_dir: Path, *, size: int = 100, age: float = 0.0) -> Path:
    """A blob that no row ever named, as a crash between the file and the commit leaves it."""
    name = os.urandom(16).hex()
    path = Paths(data_dir).blobs / name[:2] / name
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def collected(data_dir: Path, *, age: float = 0.0, grace: float = 0.0) -> Collected:
    async def work(store: OpenStore) -> Collected:
        storage = replace(store.storage, deletion_grace=grace)
        return await collect(storage, store.blobs.remove_abandoned, age=age)

    return with_store(data_dir, work)


def test_an_orphan_goes_after_its_grace_and_not_before(data_dir) -> None:
    path = orphan(data_dir)
    assert collected(data_dir, grace=0.3) == Collected(orphans=1, orphan_bytes=100, temporary=0, deleted=0, waiting=1)
    assert path.exists()
    deadline = time.monotonic() + 10
    while path.exists():
        assert time.monotonic() < deadline
        told = collected(data_dir, grace=0.3)
        assert told.orphans == 0
    assert (told.deleted, told.waiting) == (1, 0)


def test_a_young_blob_is_let_alone(data_dir) -> None:
    young, old = orphan(data_dir, age=50), orphan(data_dir, age=70)
    assert collected(data_dir, age=60).deleted == 1
    assert young.exists()
    assert not old.exists()


def test_many_orphans_are_collected_in_batches(data_dir) -> None:
    paths = [orphan(data_dir, size=1) for _ in range(1234)]
    told = collected(data_dir)
    assert (told.orphans, told.orphan_bytes, told.deleted, told.waiting) == (1234, 1234, 1234, 0)
    assert not any(path.exists() for path in paths)


def test_a_late_commit_of_a_condemned_blob_fails_even_after_it_is_gone(data_dir) -> None:
    blob_id = bytes.fromhex(orphan(data_dir).name)
    collected(data_dir)

    async def claim(store: OpenStore) -> None:
        with pytest.raises(deletions.BlobCondemned):
            await store.database.transact(lambda tx: deletions.claim(tx, blob_id, bytes(16)))

    with_store(data_dir, claim)


def test_a_claimed_blob_is_no_orphan(data_dir) -> None:
    path = orphan(data_dir)

    async def claim(store: OpenStore) -> None:
        await store.database.transact(lambda tx: deletions.claim(tx, bytes.fromhex(path.name), bytes(16)))

    with_store(data_dir, claim)
    assert collected(data_dir) == Collected(orphans=0, orphan_bytes=0, temporary=0, deleted=0, waiting=0)
    assert path.exists()


def test_files_that_are_no_blobs_are_not_touched(data_dir) -> None:
    stranger = Paths(data_dir).blobs / "ab" / "README"
    stranger.write_text("mine")
    assert collected(data_dir).orphans == 0
    assert stranger.exists()


def test_while_a_backup_holds_the_blobs_they_wait(data_dir) -> None:
    path = orphan(data_dir)
    tree = open_tree(str(Paths(data_dir).blobs))
    with held(tree):
        told = collected(data_dir)
        assert (told.orphans, told.deleted, told.waiting) == (1, 0, 1)
    tree.close()
    assert path.exists()
    assert collected(data_dir).deleted == 1
    assert not path.exists()


def test_a_bucket_key_that_nothing_named_for_a_day_goes(data_dir) -> None:
    async def work(store: OpenStore) -> list[object]:
        await store.storage.keyring.create_bucket("bucket", BucketConfig(owner_account="000000000000"))
        bucket = await store.storage.keyring.open_bucket("bucket")
        assert bucket
        for number, age in ((1, 0), (2, UNUSED_KEPT_US)):
            key = KmsBucketKey(
                bucket_key_id=bytes([number]) * 16,
                key_arn="arn",
                material_id=None,
                created_us=store.storage.now_us() - age,
                ciphertext_blob=b"blob",
                context={},
            )
            await store.database.transact(partial(insert_bucket_key, bucket=bucket, key=key))
        await collect(store.storage, store.blobs.remove_abandoned)
        return [row[0] for row in await store.database.read("SELECT bucket_key_id FROM bucket_keys")]

    assert with_store(data_dir, work) == [b"\x01" * 16]
