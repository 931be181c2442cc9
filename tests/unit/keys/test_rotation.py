import asyncio
import base64
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from strongroom import config
from strongroom.keys.keyring import primary_store_key
from strongroom.keys.rotation import (
    Rotation,
    RotationRunning,
    finish_rotation,
    rotate_bucket_secrets,
    rotate_store_key,
    rotation_lock,
)
from strongroom.keys.store_keys import StoreKeyError, load_key_files, store_key_id
from strongroom.metadata.objects import put_delete_marker
from strongroom.metadata.records import BucketConfig
from strongroom.server.paths import Paths, StartError
from strongroom.server.store import OpenStore, initialise, open_store

T = TypeVar("T")
CONFIG = BucketConfig(owner_account="000000000000", versioning="Enabled")
NEW, OLD = "STRONGROOM_STORE_KEY", "STRONGROOM_STORE_KEY_PREVIOUS"


def silent(_done: int, _all: int) -> None:
    pass


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A store of its own with two empty buckets."""
    directory = tmp_path / "data"
    initialise(directory, config.load(directory, environ={}))

    async def make(store: OpenStore) -> None:
        for name in ("one", "two"):
            assert await store.storage.keyring.create_bucket(name, CONFIG)

    with_stores(directory, make)
    return directory


def with_stores(data_dir: Path, work: Callable[..., Awaitable[T]], *, count: int = 1, source: str = "keyfile") -> T:
    """`work` with the store opened so many times, as by so many processes; rotation does not pause."""

    async def run() -> T:
        settings = config.load(data_dir, environ={"STRONGROOM_STORE_KEY_SOURCE": source})
        stores = [await open_store(data_dir, settings) for _ in range(count)]
        try:
            return await work(*stores)
        finally:
            for store in stores:
                await store.close()

    return asyncio.run(run())


def at_once(store: OpenStore) -> Rotation:
    return replace(store.rotation, pause=0)


def test_after_a_rotation_one_new_key_is_left_and_every_secret_is_under_it(data_dir) -> None:
    async def rotate(store: OpenStore) -> bytes:
        old = await primary_store_key(store.database)
        new = await rotate_store_key(at_once(store), silent)
        assert new not in (old, b"")
        assert list(load_key_files(Paths(data_dir).keys)) == [new] == [await primary_store_key(store.database)]
        assert await store.database.read("SELECT DISTINCT store_key_id FROM bucket_secrets") == [(new,)]
        assert await store.database.read("SELECT count(*) FROM bucket_secrets") == [(2,)]
        assert not await finish_rotation(at_once(store), silent)
        return new

    first = with_stores(data_dir, rotate)
    assert with_stores(data_dir, rotate) != first


def test_another_process_follows_and_forgets_the_old_key(data_dir) -> None:
    async def work(rotating: OpenStore, serving: OpenStore) -> None:
        keyring = serving.storage.keyring
        before = await keyring.open_bucket("one")
        assert before
        old_rows = await serving.database.read("SELECT version, store_key_id, sealed FROM bucket_secrets")
        await rotate_store_key(at_once(rotating), silent)
        after = await keyring.open_bucket("one")
        assert after
        assert after.version == before.version + 1
        assert len(await keyring.list_buckets(limit=10)) == 2
        with pytest.raises(StoreKeyError, match="is named by the index, but is not among the keys given"):
            keyring.reseal_secret(old_rows[0], after.bucket_id, old_rows[0][1])  # type: ignore[arg-type]

    with_stores(data_dir, work, count=2)


def test_a_secret_is_known_to_everybody_before_anything_is_sealed_under_it(data_dir) -> None:
    """Who opened a bucket during the pause reads what is sealed after it."""

    async def work(rotating: OpenStore, serving: OpenStore) -> None:
        announced = asyncio.Event()

        def show(done: int, total: int) -> None:
            if done == total == 1:
                announced.set()

        rotation = replace(rotating.rotation, pause=0.3)
        task = asyncio.create_task(rotate_bucket_secrets(rotation, show, only="one"))
        await announced.wait()
        held = await serving.storage.keyring.open_bucket("one")
        assert held
        assert held.version == 1
        assert set(held.keys) == {1, 2}
        assert await task == 1
        assert (await serving.storage.keyring.open_bucket("one")).version == 2  # type: ignore[union-attr]

    with_stores(data_dir, work, count=2)


def test_a_secret_stays_as_long_as_a_row_names_it(data_dir) -> None:
    async def work(store: OpenStore) -> None:
        bucket = await store.storage.keyring.open_bucket("one")
        assert bucket
        now = {"now_us": 1, "delete_after_us": 1}
        await store.database.transact(
            lambda tx: put_delete_marker(tx, bucket, "key", check=lambda _newest: None, **now)
        )
        versions = "SELECT version FROM bucket_secrets s JOIN buckets b USING (bucket_id) WHERE name = 'one' ORDER BY 1"
        for _ in range(2):
            assert await rotate_bucket_secrets(at_once(store), silent, only="one") == 1
        assert await store.database.read(versions) == [(1,), (3,)]
        await store.database.transact(lambda tx: tx.execute("DELETE FROM object_versions"))
        await rotate_bucket_secrets(at_once(store), silent)
        assert await store.database.read(versions) == [(4,)]

    with_stores(data_dir, work)


def test_a_bucket_that_is_made_during_the_rotation_is_under_the_new_key(data_dir) -> None:
    async def work(rotating: OpenStore, serving: OpenStore) -> None:
        task = asyncio.create_task(rotate_store_key(replace(rotating.rotation, pause=0.2), silent))
        made = 0
        while not task.done():
            assert await serving.storage.keyring.create_bucket(f"made-{made}", CONFIG)
            made += 1
            await asyncio.sleep(0)
        new = await task
        assert made > 1
        assert await serving.database.read("SELECT DISTINCT store_key_id FROM bucket_secrets") == [(new,)]
        assert len(await serving.storage.keyring.list_buckets(limit=1000)) == 2 + made

    with_stores(data_dir, work, count=2)


def test_a_change_of_settings_during_the_rotation_is_kept(data_dir) -> None:
    async def work(rotating: OpenStore, serving: OpenStore) -> None:
        from strongroom.metadata.buckets import StaleBucket, check_unchanged, update_bucket

        task = asyncio.create_task(rotate_store_key(at_once(rotating), silent))
        done = 0
        while not task.done() or not done:
            bucket = await serving.storage.keyring.open_bucket("two")
            assert bucket
            tags = (("round", str(done + 1)),)

            def change(tx, bucket=bucket, tags=tags) -> None:
                check_unchanged(tx, bucket)
                update_bucket(tx, bucket, config=BucketConfig(owner_account="000000000000", tags=tags))

            try:
                await serving.database.transact(change)
                done += 1
            except StaleBucket:
                continue
        bucket = await serving.storage.keyring.open_bucket("two")
        assert bucket
        assert bucket.config.tags == (("round", str(done)),)
        assert bucket.version == 2

    with_stores(data_dir, work, count=2)


def test_one_rotation_at_a_time(data_dir) -> None:
    with rotation_lock(Paths(data_dir).s3), pytest.raises(RotationRunning), rotation_lock(Paths(data_dir).s3):
        pass


def test_what_a_killed_process_left_of_a_key_is_removed(data_dir) -> None:
    left = Paths(data_dir).keys / "00.new"
    left.write_bytes(b"half")
    initialise(data_dir, config.load(data_dir, environ={}))
    assert not left.exists()


def test_a_key_that_an_older_index_does_not_know_is_not_removed(data_dir) -> None:
    """Somebody puts the index of a backup in place of today's, looks at it, and puts today's back: its key is still there."""
    paths = Paths(data_dir)
    (old_key,) = paths.keys.iterdir()
    kept, index = old_key.read_bytes(), paths.index.read_bytes()

    async def rotate(store: OpenStore) -> bytes:
        return await rotate_store_key(at_once(store), silent)

    new = with_stores(data_dir, rotate)
    today = paths.index.read_bytes()
    paths.index.write_bytes(index)
    old_key.write_bytes(kept)
    old_key.chmod(0o600)
    initialise(data_dir, config.load(data_dir, environ={}))
    assert new in load_key_files(paths.keys)
    paths.index.write_bytes(today)
    initialise(data_dir, config.load(data_dir, environ={}))


# --- keys that somebody else keeps


@pytest.fixture
def keys(monkeypatch) -> Callable[..., tuple[bytes, ...]]:
    made = {name: secrets.token_bytes(32) for name in ("old", "new", "other")}

    def give(current: str, previous: str | None = None) -> tuple[bytes, ...]:
        monkeypatch.setenv(NEW, base64.b64encode(made[current]).decode())
        monkeypatch.delenv(OLD, raising=False)
        if previous:
            monkeypatch.setenv(OLD, base64.b64encode(made[previous]).decode())
        return tuple(store_key_id(made[name]) for name in (current, previous) if name)

    return give


def started(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    initialise(directory, config.load(directory, environ={"STRONGROOM_STORE_KEY_SOURCE": "environment"}))
    return directory


def test_rotation_of_a_key_from_the_environment(tmp_path, keys) -> None:
    keys("old")
    data_dir = started(tmp_path)
    new, old = keys("new", "old")
    started(tmp_path)

    async def work(store: OpenStore) -> None:
        assert await primary_store_key(store.database) == old
        await store.storage.keyring.create_bucket("one", CONFIG)
        assert await rotate_store_key(at_once(store), silent) == new
        with pytest.raises(StoreKeyError, match="is the one in force"):
            await rotate_store_key(at_once(store), silent)

    with_stores(data_dir, work, source="environment")
    keys("new")
    started(tmp_path)
    keys("old")
    with pytest.raises(StartError, match=new.hex()):
        started(tmp_path)
    assert not list(Paths(data_dir).keys.iterdir())


def test_a_key_that_the_server_was_not_started_with_does_not_come_into_force(tmp_path, keys) -> None:
    """Its workers could not open a bucket any more."""
    keys("old")
    data_dir = started(tmp_path)
    new, old = keys("new", "old")

    async def work(store: OpenStore) -> None:
        with pytest.raises(StoreKeyError, match=f"was not started with the new store key .{new.hex()}"):
            await rotate_store_key(at_once(store), silent)
        assert await primary_store_key(store.database) == old

    with_stores(data_dir, work, source="environment")


def test_a_previous_key_is_needed_until_nothing_names_it(tmp_path, keys) -> None:
    keys("old")
    started(tmp_path)
    new, old = keys("new", "old")
    data_dir = started(tmp_path)

    async def work(store: OpenStore) -> None:
        await store.storage.keyring.create_bucket("one", CONFIG)
        await store.database.transact(
            lambda tx: tx.execute("UPDATE store SET value = ? WHERE name = 'primary_store_key_id'", (new,))
        )  # and then somebody killed it

    with_stores(data_dir, work, source="environment")
    keys("new")
    with pytest.raises(StartError, match=f"store key {old.hex()} is named by the index"):
        started(tmp_path)
    keys("new", "old")
    started(tmp_path)
    keys("new")
    started(tmp_path)


def test_a_wrong_key_is_refused_by_name(tmp_path, keys) -> None:
    (old,) = keys("old")
    started(tmp_path)
    (other,) = keys("other")
    with pytest.raises(StartError, match=f"{old.hex()}, and the keys given are: {other.hex()}"):
        started(tmp_path)


def test_the_environment_is_not_written_down(tmp_path, keys) -> None:
    keys("old")
    data_dir = started(tmp_path)
    key = base64.b64decode(os.environ[NEW])
    written = [path.read_bytes() for path in data_dir.rglob("*") if path.is_file()]
    assert not [data for data in written if key in data or base64.b64encode(key) in data or key.hex().encode() in data]
