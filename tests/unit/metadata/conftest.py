import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from strongroom.blobs.local import LocalBlobs
from strongroom.database.database import Connection
from strongroom.database.migrations import migrate, migrations_of
from strongroom.database.sqlite import SqliteDatabase
from strongroom.keys.keyring import Keyring
from strongroom.keys.store_keys import store_key_id
from strongroom.metadata.records import BucketConfig, OpenBucket, Versioning

T = TypeVar("T")


@dataclass(frozen=True)
class Index:
    """An index with one bucket, and blobs beside it."""

    database: SqliteDatabase
    blobs: LocalBlobs
    keyring: Keyring

    async def bucket(self, name: str = "bucket", *, versioning: Versioning = "") -> OpenBucket:
        """The bucket of that name, made if there is none."""
        await self.keyring.create_bucket(name, BucketConfig(owner_account="000000000000", versioning=versioning))
        opened = await self.keyring.open_bucket(name)
        assert opened
        return opened

    async def do(self, function: Callable[..., T], *args: Any, **given: Any) -> T:
        """One transaction of one step."""

        def step(tx: Connection) -> T:
            return function(tx, *args, **given)

        return await self.database.transact(step)

    async def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return await self.database.read(sql, params)


@pytest.fixture
def with_index(tmp_path: Path) -> Callable[[Callable[[Index], Awaitable[T]]], T]:
    """Runs a coroutine function on a new index."""

    def run(work: Callable[[Index], Awaitable[T]]) -> T:
        async def opened() -> T:
            migrate(tmp_path / "index.db", migrations_of("index"))
            database, blobs = SqliteDatabase.open(tmp_path / "index.db"), LocalBlobs(tmp_path / "blobs")
            key = secrets.token_bytes(32)
            await database.transact(
                lambda tx: tx.execute("INSERT INTO store VALUES ('primary_store_key_id', ?)", (store_key_id(key),))
            )
            keyring = Keyring(
                database,
                store_id=bytes(16),
                load=lambda: {store_key_id(key): key},
                now_us=lambda: 1_700_000_000_000_000,
            )
            try:
                return await work(Index(database, blobs, keyring))
            finally:
                await database.close()
                await blobs.close()

        return asyncio.run(opened())

    return run
