import asyncio
import secrets
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.database.migrations import migrate, migrations_of
from strongroom.database.sqlite import SqliteDatabase
from strongroom.keys.keyring import Keyring, primary_store_key
from strongroom.keys.store_keys import StoreKeyError, StoreKeyId, StoreKeys, StoreKeyUnavailable, store_key_id
from strongroom.metadata.buckets import check_unchanged, update_bucket
from strongroom.metadata.records import BucketConfig
from tests.calls import writers_wait

T = TypeVar("T")
CONFIG = BucketConfig(owner_account="000000000000")
STORE_ID = secrets.token_bytes(16)


@dataclass
class Keys:
    """The store keys that there are, as a directory of files would give them."""

    given: dict[StoreKeyId, bytes] = field(default_factory=dict)

    def make(self) -> StoreKeyId:
        key = secrets.token_bytes(32)
        self.given[store_key_id(key)] = key
        return store_key_id(key)

    def load(self) -> StoreKeys:
        return dict(self.given)


def with_keyrings(path: Path, work: Callable[..., Awaitable[T]], *, count: int = 1) -> T:
    """`work` with keys, of which the first is in force, and so many keyrings, as in so many processes."""

    async def run() -> T:
        migrate(path / "index.db", migrations_of("index"))
        databases = [SqliteDatabase.open(path / "index.db") for _ in range(count)]
        keys = Keys()
        primary = keys.make()
        await databases[0].transact(
            lambda tx: tx.execute("INSERT INTO store VALUES ('primary_store_key_id', ?)", (primary,))
        )
        rings = [Keyring(each, store_id=STORE_ID, load=keys.load, now_us=lambda: 1_000_000) for each in databases]
        try:
            return await work(databases[0], keys, *rings)
        finally:
            for database in databases:
                await database.close()

    return asyncio.run(run())


def test_a_bucket_that_was_made_opens_everywhere(tmp_path) -> None:
    async def work(_database, _keys, one, two) -> None:
        assert await two.open_bucket("bucket") is None
        assert await one.create_bucket("bucket", CONFIG)
        assert not await two.create_bucket("bucket", CONFIG)
        opened = await two.open_bucket("bucket")
        assert (opened.bucket.name, opened.config, opened.version, set(opened.keys)) == ("bucket", CONFIG, 1, {1})
        assert opened.bucket.created_us == 1_000_000
        mine = await one.open_bucket("bucket")
        assert mine.bucket == opened.bucket
        assert mine.keys[1].wrap_key == opened.keys[1].wrap_key
        await one.create_bucket("other", CONFIG)
        assert (await one.open_bucket("other")).keys[1].wrap_key != mine.keys[1].wrap_key

    with_keyrings(tmp_path, work, count=2)


def test_of_two_makers_of_one_bucket_one_makes_it(tmp_path) -> None:
    async def work(database, _keys, *rings) -> None:
        made = await asyncio.gather(*(ring.create_bucket("bucket", CONFIG) for ring in rings for _ in range(5)))
        assert sorted(made) == [False] * 9 + [True]
        assert await database.read("SELECT count(*) FROM bucket_secrets") == [(1,)]

    with_keyrings(tmp_path, work, count=2)


def test_an_unchanged_bucket_is_unsealed_once_and_a_changed_one_again(tmp_path) -> None:
    async def work(database, _keys, one, two) -> None:
        await one.create_bucket("bucket", CONFIG)
        first = await two.open_bucket("bucket")
        assert await two.open_bucket("bucket") is first
        tagged = BucketConfig(owner_account="000000000000", tags=(("a", "b"),))
        await database.transact(lambda tx: update_bucket(tx, first, config=tagged))
        changed = await two.open_bucket("bucket")
        assert (changed.config, changed.bucket.revision) == (tagged, 2)
        await database.transact(lambda tx: check_unchanged(tx, changed))
        await database.transact(lambda tx: tx.execute("DELETE FROM buckets"))
        assert await two.open_bucket("bucket") is None

    with_keyrings(tmp_path, work, count=2)


def test_a_page_of_buckets(tmp_path) -> None:
    async def work(_database, _keys, ring) -> None:
        names = ["a", "ab", "abc", "b", "ba"]
        for name in reversed(names):
            await ring.create_bucket(name, CONFIG)

        async def listed(**given) -> list[str]:
            return [opened.bucket.name for opened in await ring.list_buckets(**given)]

        assert await listed(limit=9) == names
        assert await listed(limit=2) == names[:2]
        assert await listed(limit=9, after="ab") == names[2:]
        assert await listed(limit=9, prefix="ab", prefix_below="ac") == ["ab", "abc"]
        assert await listed(limit=9, prefix="ab", prefix_below="ac", after="ab") == ["abc"]
        assert await listed(limit=9, after="z") == []

    with_keyrings(tmp_path, work)


def test_a_long_list_of_buckets_lets_others_have_their_turn(tmp_path) -> None:
    async def work(_database, _keys, ring) -> None:
        await asyncio.gather(*(ring.create_bucket(f"bucket-{number}", CONFIG) for number in range(500)))
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(others())
        assert len(await ring.list_buckets(limit=1000)) == 500
        task.cancel()
        assert turns >= 5

    with_keyrings(tmp_path, work)


def test_a_key_that_came_later_is_found_and_a_missing_one_is_named(tmp_path) -> None:
    async def work(database, keys, one, two) -> None:
        new = keys.make()
        await database.transact(lambda tx: tx.execute("UPDATE store SET value = ?", (new,)))
        await one.create_bucket("bucket", CONFIG)
        opened = await two.open_bucket("bucket")
        del keys.given[new]
        assert await two.open_bucket("bucket") is opened  # what was unsealed goes on
        for method in (one.open_bucket("bucket"), one.list_buckets(limit=9)):
            with pytest.raises(StoreKeyError, match=f"store key {new.hex()} is named by the index"):
                await method

    with_keyrings(tmp_path, work, count=2)


def test_a_store_key_is_not_held_longer_than_it_is_given(tmp_path) -> None:
    async def work(database, keys, ring) -> None:
        old = await primary_store_key(database)
        await ring.create_bucket("one", CONFIG)
        (row,) = await database.read("SELECT version, store_key_id, sealed FROM bucket_secrets")
        new = keys.make()
        bucket = await ring.open_bucket("one")
        await ring.hold(new)
        sealed = ring.reseal_secret(row, bucket.bucket_id, new)
        await database.transact(
            lambda tx: tx.execute("UPDATE bucket_secrets SET store_key_id = ?, sealed = ?", (new, sealed))
        )
        del keys.given[old]
        again = await ring.open_bucket("one")
        assert again.keys[1].wrap_key == bucket.keys[1].wrap_key
        with pytest.raises(StoreKeyError, match=f"store key {old.hex()} is named by the index"):
            ring.new_secret(bucket.bucket_id, 2, old)

    with_keyrings(tmp_path, work)


def test_a_bucket_that_is_made_while_the_store_key_is_rotated_is_under_the_new_one(tmp_path) -> None:
    """The key in force is looked up before the secret is sealed, and again where the bucket is committed."""

    async def work(database, keys, ring) -> None:
        new = keys.make()
        rotating = database.transact(lambda tx: tx.execute("UPDATE store SET value = ?", (new,)))
        with writers_wait(tmp_path / "index.db"):
            work = asyncio.gather(rotating, ring.create_bucket("bucket", CONFIG))
            await asyncio.sleep(0)
        assert (await work)[1]
        assert await database.read("SELECT store_key_id FROM bucket_secrets") == [(new,)]
        assert await ring.open_bucket("bucket")

    with_keyrings(tmp_path, work)


@pytest.mark.parametrize("call", ["open", "list", "create"])
def test_while_keys_are_read_anew_others_go_on_and_what_changes_is_seen(tmp_path, call) -> None:
    """A key service may have to be asked for them, and may hang."""

    async def work(database, keys, one, two) -> None:
        loop = asyncio.get_running_loop()
        await one.create_bucket("quiet", CONFIG)
        quiet = await two.open_bucket("quiet")
        new = keys.make()
        await database.transact(lambda tx: tx.execute("UPDATE store SET value = ?", (new,)))
        await one.create_bucket("bucket", CONFIG)

        async def meanwhile() -> None:
            assert await two.open_bucket("quiet") is quiet
            bucket = await one.open_bucket("bucket")
            changed = BucketConfig(owner_account="000000000000", versioning="Enabled")
            await database.transact(lambda tx: update_bucket(tx, bucket, config=changed))

        loads: list[bool] = []

        def slow() -> StoreKeys:
            if not loads:
                loads.append(True)
                asyncio.run_coroutine_threadsafe(meanwhile(), loop).result(5)
            return dict(keys.given)

        two._load = slow
        match call:
            case "open":
                assert (await two.open_bucket("bucket")).config.versioning == "Enabled"
            case "list":
                assert [each.bucket.name for each in await two.list_buckets(limit=9)] == ["bucket", "quiet"]
            case _:
                assert await two.create_bucket("another", CONFIG)
        assert loads

    with_keyrings(tmp_path, work, count=2)


def test_keys_are_never_read_on_the_event_loop(tmp_path) -> None:
    """Also where a key is retired while a list that needs it is being opened."""

    async def work(database, keys, ring) -> None:
        old = await primary_store_key(database)
        for number in range(200):
            await ring.create_bucket(f"bucket-{number:03}", CONFIG)
        new = keys.make()
        await ring.hold(new)
        rows = await database.read("SELECT version, store_key_id, sealed, bucket_id FROM bucket_secrets")
        rotated = [(new, ring.reseal_secret(row[:3], row[3], new), row[3]) for row in rows]

        def beside() -> StoreKeys:
            assert threading.current_thread() is not threading.main_thread()
            return dict(keys.given)

        ring._load = beside
        listing = asyncio.ensure_future(ring.list_buckets(limit=1000))
        with_old = ring._store_keys
        while ring._store_keys is with_old:  # noqa: ASYNC110 - nobody tells; then it opens bucket after bucket
            await asyncio.sleep(0)
        del keys.given[old]
        with closing(sqlite3.connect(tmp_path / "index.db")) as index, index:  # all between two turns of the list
            index.executemany("UPDATE bucket_secrets SET store_key_id = ?, sealed = ? WHERE bucket_id = ?", rotated)
        ring._store_keys = keys.load()  # as a request for another bucket would leave them
        assert not listing.done()
        assert len(await listing) == 200

    with_keyrings(tmp_path, work)


def test_a_key_service_that_hangs_is_waited_for_by_all_together(tmp_path) -> None:
    """Those whose key is held go on with it; the others hear that it is not there, and all of them after one wait."""

    async def work(database, keys, one, two) -> None:
        for number in range(5):
            await one.create_bucket(f"old{number}", CONFIG)
        new = keys.make()
        await database.transact(lambda tx: tx.execute("UPDATE store SET value = ?", (new,)))
        for number in range(5):
            await one.create_bucket(f"new{number}", CONFIG)
        await two.open_bucket("old0")
        loads: list[bool] = []

        def hangs() -> StoreKeys:
            loads.append(True)
            time.sleep(0.2)
            raise StoreKeyUnavailable("it is away")

        two._load = hangs
        two._store_keys = {identity: key for identity, key in keys.given.items() if identity != new}
        names = [f"{age}{number}" for age in ("old", "new") for number in range(5)]
        found = await asyncio.gather(*(two.open_bucket(name) for name in names), return_exceptions=True)
        assert not any(isinstance(each, BaseException) for each in found[:5])
        assert all(isinstance(each, StoreKeyUnavailable) for each in found[5:])
        assert len(loads) <= 2

    with_keyrings(tmp_path, work, count=2)


def test_an_index_without_a_store_key_in_force_is_damaged(tmp_path) -> None:
    async def work(database, _keys, ring) -> None:
        await database.transact(lambda tx: tx.execute("DELETE FROM store"))
        with pytest.raises(IntegrityError):
            await primary_store_key(database)
        with pytest.raises(IntegrityError):
            await ring.create_bucket("bucket", CONFIG)

    with_keyrings(tmp_path, work)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM bucket_secrets",
        "UPDATE bucket_secrets SET version = 2",
        "UPDATE bucket_secrets SET sealed = x'00'",
        "UPDATE buckets SET secret_version = 2",
        "UPDATE buckets SET sealed = (SELECT sealed FROM buckets WHERE name = 'other')",
        "UPDATE bucket_secrets SET sealed = (SELECT sealed FROM bucket_secrets JOIN buckets USING (bucket_id) WHERE name = 'other')",
    ],
)
def test_a_bucket_that_does_not_open_is_no_missing_bucket(tmp_path, change) -> None:
    async def work(database, keys, ring) -> None:
        for name in ("bucket", "other"):
            await ring.create_bucket(name, CONFIG)
        assert await ring.open_bucket("bucket")
        sql = change.replace("(SELECT sealed FROM buckets", "(SELECT buckets.sealed FROM buckets")
        sql = sql.replace("(SELECT sealed FROM bucket_secrets", "(SELECT bucket_secrets.sealed FROM bucket_secrets")
        await database.transact(lambda tx: tx.execute(sql))
        with pytest.raises(IntegrityError):
            await ring.open_bucket("bucket")
        with pytest.raises(IntegrityError):
            await ring.list_buckets(limit=9)

    with_keyrings(tmp_path, work)
