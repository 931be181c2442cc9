"""The keyring: opens buckets, which means their rows and every version of their secrets, under the store keys.

A bucket is read from the index for every request, so that its settings are never older than the last commit of any
worker; only the work of unsealing is remembered, and only for rows that are byte for byte the ones unsealed before.
Workers follow a rotation of the store key by reading the keys again when rows name others than they hold: a new key is
found, and a retired one opens nothing any more. A key service may have to be asked for one, and may hang: so keys are
read beside the event loop, once for all who wait for them.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import cast

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.rows import RowSealer
from strongroom.crypto.sealing import bucket_secret_message, open_bucket_secret, row_key, seal_bucket_secret, wrap_key
from strongroom.database.database import Connection, Database, Row
from strongroom.keys.single_flight import FreshFlight
from strongroom.keys.store_keys import LoadStoreKeys, StoreKeyError, StoreKeyId, StoreKeys, StoreKeyUnavailable
from strongroom.metadata import buckets
from strongroom.metadata.records import Bucket, BucketConfig, BucketKeys, OpenBucket
from strongroom.metadata.rows import open_bucket

_REMEMBERED = 1024
_AT_ONCE = 50
_PRIMARY = "SELECT value FROM store WHERE name = 'primary_store_key_id'"


class _StalePrimary(Exception):
    """The store key was rotated between sealing and commit."""


async def primary_store_key(database: Database) -> StoreKeyId:
    """The id of the store key in force. Raises IntegrityError."""
    match await database.read(_PRIMARY):
        case [(bytes() as identity,)]:
            return identity
        case _:
            raise IntegrityError("the index names no store key, or one that cannot have been written")


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A fresh bucket secret, sealed and opened."""

    version: int
    store_key_id: StoreKeyId
    sealed: bytes
    keys: BucketKeys


class Keyring:
    def __init__(self, database: Database, *, store_id: bytes, load: LoadStoreKeys, now_us: Callable[[], int]) -> None:
        """`load` reads all store keys anew, and may block. Raises StoreKeyError as it does."""
        self._database = database
        self._store_id = store_id
        self._load = load
        self._now_us = now_us
        self._store_keys: StoreKeys = load()
        self._loading = FreshFlight[StoreKeys](outage=StoreKeyUnavailable)
        self._opened: OrderedDict[str, tuple[list[Row], OpenBucket]] = OrderedDict()

    async def close(self) -> None:
        await self._loading.close()

    async def open_bucket(self, name: str) -> OpenBucket | None:
        """The bucket as of the newest commit, or None. Raises IntegrityError, StoreKeyError, Unavailable."""
        rows = await buckets.read_bucket(self._database, name)
        if not rows:
            self._opened.pop(name, None)
            return None
        remembered = self._opened.get(name)
        if remembered and remembered[0] == rows:
            return remembered[1]
        bucket = None
        try:
            if not await self._follow(rows) or await buckets.read_bucket(self._database, name) == rows:
                bucket = self._open(rows)
        except StoreKeyError:
            if await buckets.read_bucket(self._database, name) == rows:
                raise
        if bucket is None:  # it was changed, or its key retired, since the rows were read
            return await self.open_bucket(name)
        self._opened[name] = (rows, bucket)
        if len(self._opened) > _REMEMBERED:
            self._opened.popitem(last=False)
        return bucket

    async def list_buckets(
        self, *, prefix: str = "", prefix_below: str | None = None, after: str = "", limit: int
    ) -> list[OpenBucket]:
        """The first `limit` buckets after the name `after`. Raises as `open_bucket`."""
        read = partial(
            buckets.read_buckets,
            self._database,
            prefix_from=prefix,
            prefix_below=prefix_below,
            after=after,
            limit=limit,
        )
        rows = await read()
        while True:
            try:
                return await self._open_all(rows)
            except StoreKeyError:
                read_before, rows = rows, await read()
                if rows == read_before:
                    raise

    async def create_bucket(self, name: str, config: BucketConfig) -> bool:
        """Create a bucket with a first secret; False where the name is taken. Raises StoreKeyError, Unavailable."""
        bucket_id = secrets.token_bytes(16)
        while True:
            primary = await primary_store_key(self._database)
            await self.hold(primary)
            secret = self.new_secret(bucket_id, 1, primary)
            bucket = Bucket(
                bucket_id=bucket_id,
                name=name,
                created_us=self._now_us(),
                secret_version=1,
                revision=1,
                config=config,
            )

            def insert(
                tx: Connection, primary: bytes = primary, secret: NewSecret = secret, bucket: Bucket = bucket
            ) -> bool:
                if tx.execute(_PRIMARY) != [(primary,)]:
                    raise _StalePrimary
                return buckets.insert_bucket(tx, bucket, secret.keys, store_key_id=primary, sealed_secret=secret.sealed)

            try:
                return await self._database.transact(insert)
            except _StalePrimary:
                continue

    async def hold(self, store_key: StoreKeyId) -> None:
        """Have the store key of that id at hand, where it is given, for what can't wait. Raises StoreKeyError."""
        if store_key not in self._store_keys:
            await self._read_keys()

    def new_secret(self, bucket_id: bytes, version: int, store_key: StoreKeyId) -> NewSecret:
        """A fresh secret for a bucket, sealed under the store key of that id, which is held. Raises StoreKeyError."""
        secret = secrets.token_bytes(32)
        sealed = self._seal(secret, bucket_id, version, store_key)
        return NewSecret(version, store_key, sealed, _keys(secret, bucket_id, version))

    def reseal_secret(self, row: Row, bucket_id: bytes, store_key: StoreKeyId) -> bytes:
        """A secret's row (version, store_key_id, sealed) sealed anew under another store key, which is held. Raises
        IntegrityError, StoreKeyError.
        """
        version = cast("int", row[0])
        return self._seal(self._unseal(row, bucket_id), bucket_id, version, store_key)

    def _seal(self, secret: bytes, bucket_id: bytes, version: int, store_key: StoreKeyId) -> bytes:
        return seal_bucket_secret(
            self._store_key(store_key),
            secret,
            store_id=self._store_id,
            bucket_id=bucket_id,
            version=version,
            store_key_id=store_key,
        )

    def _unseal(self, row: Row, bucket_id: bytes) -> bytes:
        version, store_key, sealed = _checked(row)
        return open_bucket_secret(
            self._store_key(store_key),
            sealed,
            store_id=self._store_id,
            bucket_id=bucket_id,
            version=version,
            store_key_id=store_key,
        )

    def _open(self, rows: Sequence[Row]) -> OpenBucket:
        """A bucket from the rows of `metadata.buckets.read_bucket`."""
        bucket_row, bucket_id = rows[0][: buckets.BUCKET_WIDTH], rows[0][0]
        if not isinstance(bucket_id, bytes):
            raise IntegrityError("the row of a bucket holds what cannot have been written")
        keys = {
            cast("int", row[0]): _keys(self._unseal(row, bucket_id), bucket_id, cast("int", row[0]))
            for row in _secret_rows(rows)
        }
        current = keys.get(cast("int", bucket_row[3]))
        if current is None:
            raise IntegrityError("a bucket names a version of its secret that does not exist")
        return OpenBucket(bucket=open_bucket(current.rows, bucket_row), keys=keys)

    async def _open_all(self, rows: Sequence[Row]) -> list[OpenBucket]:
        """Ten thousand buckets take half a second to unseal, so others have their turn meanwhile."""
        await self._follow(rows)
        opened: list[OpenBucket] = []
        for _, group in groupby(rows, key=lambda row: row[0]):
            opened.append(self._open(list(group)))
            if len(opened) % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return opened

    async def _follow(self, rows: Sequence[Row]) -> bool:
        """Hold no key longer than it is given: whoever got hold of a retired one must not be able to seal with it.

        `rows`: of all the buckets that are to be opened, so that the keys are read once for them. True where they were
        read, and time has passed since the rows were. Raises IntegrityError, StoreKeyError.
        """
        named = {_checked(row)[1] for row in _secret_rows(rows)}
        if named == self._store_keys.keys():
            return False
        try:
            await self._read_keys()
        except StoreKeyError:
            if not named <= self._store_keys.keys():
                raise
        return True

    async def _read_keys(self) -> None:
        """Raises StoreKeyError."""
        self._store_keys = await self._loading.do((), partial(asyncio.to_thread, self._load))

    def _store_key(self, identity: StoreKeyId) -> bytes:
        try:
            return self._store_keys[identity]
        except KeyError:
            raise StoreKeyError(
                f"store key {identity.hex()} is named by the index, but is not among the keys given"
            ) from None


def _secret_rows(rows: Sequence[Row]) -> list[Row]:
    """(version, store_key_id, sealed) of every secret in rows of `metadata.buckets.read_bucket`."""
    return [row[buckets.BUCKET_WIDTH :] for row in rows if row[buckets.BUCKET_WIDTH] is not None]


def _checked(row: Row) -> tuple[int, StoreKeyId, bytes]:
    """A secret's row (version, store_key_id, sealed) before any key is looked for: who edited it must not read as a key
    that is missing. Raises IntegrityError.
    """
    version, store_key, sealed = row
    if not (isinstance(version, int) and isinstance(store_key, bytes) and isinstance(sealed, bytes)):
        raise IntegrityError("the row of a bucket secret holds what cannot have been written")
    bucket_secret_message(sealed, version=version, store_key_id=store_key)
    return version, store_key, sealed


def _keys(secret: bytes, bucket_id: bytes, version: int) -> BucketKeys:
    return BucketKeys(
        rows=RowSealer(row_key(secret, bucket_id, version)), wrap_key=wrap_key(secret, bucket_id, version)
    )
