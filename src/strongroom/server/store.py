"""The store of S3, opened: the only place that names its concrete database, blobs and source of keys.

`initialise` makes or opens it before any worker exists, `open_store` opens it in each process. A key is made with a new
store only; what is missing or damaged is refused in one sentence, with what to do about it.
"""

import asyncio
import os
import secrets
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from strongroom.blobs.local import LocalBlobs
from strongroom.config import Settings
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Connection, Unavailable
from strongroom.database.migrations import SchemaTooNew, SchemaTooOld, migrate, migrations_of, require_newest
from strongroom.database.private_file import make_private_directory
from strongroom.database.sqlite import SqliteDatabase, read_once
from strongroom.identity.files import initialise_identities
from strongroom.identity.records import IdentityError
from strongroom.keys.aws_kms import AwsKms
from strongroom.keys.bucket_keys import KmsBucketKeys
from strongroom.keys.judged import JudgedKeyService, People
from strongroom.keys.keyring import Keyring, primary_store_key
from strongroom.keys.rotation import (
    Rotation,
    RotationRunning,
    finish_rotation,
    record_given_keys,
    rotation_lock,
)
from strongroom.keys.store_keys import (
    VARIABLES,
    GenerateSealed,
    LoadStoreKeys,
    StoreKeyError,
    StoreKeys,
    create_key_file,
    load_credentials,
    load_environment,
    load_key_files,
)
from strongroom.observe import log
from strongroom.s3.storage import Storage
from strongroom.server.key_service import key_endpoint, store_key_service
from strongroom.server.paths import Paths, StartError

_HASHING_THREADS = 2
FILE_SOURCES = frozenset({"keyfile", "kms"})
"""Of the store key: files in DIR/s3/keys, in clear or sealed by a key service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStore:
    """A store opened by one process. `database`, `blobs`, `kms` and `bucket_keys` are the concrete ones, for what only
    those can. `generate_sealed`: what makes new store keys where the settings have them in the KMS; `generate_in_kms`: the
    same wherever they are, for a move into it.
    """

    storage: Storage
    database: SqliteDatabase
    blobs: LocalBlobs
    load: LoadStoreKeys
    key_directory: Path | None
    generate_sealed: GenerateSealed | None
    generate_in_kms: GenerateSealed
    kms: AwsKms
    bucket_keys: KmsBucketKeys

    @property
    def rotation(self) -> Rotation:
        return Rotation(
            database=self.database,
            keyring=self.storage.keyring,
            load=self.load,
            directory=self.key_directory,
            generate_sealed=self.generate_sealed,
        )

    async def close(self) -> None:
        await self.bucket_keys.close()  # first: what is under way there asks the key service
        await self.kms.close()
        await self.storage.keyring.close()
        await self.database.close()
        await self.blobs.close()
        cast("ThreadPoolExecutor", self.storage.hashing).shutdown()


def initialise(data_dir: Path, settings: Settings, *, home: Path | None = None) -> None:
    """Make the store in `data_dir` where there is none, and finish what a rotation left undone. Raises StartError.

    A key is made only with a new index or with a new store of users; one without its key is refused, never given a new
    one. `home`: see `Paths`.
    """
    paths = Paths(data_dir, home)
    try:
        for directory in (data_dir, paths.s3, paths.keys):
            make_private_directory(directory)
        if not paths.index.exists() or paths.index.stat().st_size == 0:
            _refuse_blobs(paths, "is missing or empty")
        if home is None:
            asyncio.run(initialise_identities(paths.identity))
        migrate(paths.index, migrations_of("index"))
        asyncio.run(_initialise(paths, settings))
    except (StoreKeyError, IdentityError, SchemaTooNew, IntegrityError) as error:
        raise StartError(f"The store in {data_dir} can't be opened: {error}") from error
    except Unavailable as error:
        raise StartError(
            f"The store in {data_dir} can't be opened: {error}. `strongroom doctor` looks at permissions and space."
        ) from error
    except sqlite3.DatabaseError as error:  # what no waiting mends; the rest is Unavailable
        raise StartError(f"{paths.index} is damaged ({error}): restore it from a backup.") from error


def _refuse_blobs(paths: Paths, state: str) -> None:
    """Raises StartError where there are blobs: to a new index they would be orphans, and be collected."""
    if paths.blobs.exists() and any(paths.blobs.glob("??/*")):
        raise StartError(
            f"{paths.index} {state}, but {paths.blobs} holds objects. Restore the index from a backup; nothing was changed."
        )


async def _initialise(paths: Paths, settings: Settings) -> None:
    database = SqliteDatabase.open(paths.index)
    try:
        if not await database.read("SELECT 1 FROM store WHERE name = 'store_id'"):
            _refuse_blobs(paths, "is the index of no store")
            primary = next(iter(_loader(paths, settings)()), None) or create_key_file(
                paths.keys, generate_new_keys(paths, settings)
            )
            await database.transact(partial(_insert_store, primary=primary))
    finally:
        await database.close()
    store = await open_store(paths.data_dir, settings, home=paths.home)
    try:
        if store.key_directory is None:
            await record_given_keys(store.rotation)
        with rotation_lock(paths.s3):
            await finish_rotation(replace(store.rotation, pause=0.0), lambda _done, _all: None)
    except RotationRunning:
        pass  # somebody is at it
    except IntegrityError as error:  # what is damaged does not keep the rest from being served
        log.failure("A rotation of keys could not be finished", reason=str(error))
    finally:
        await store.close()


def _insert_store(tx: Connection, *, primary: bytes) -> None:
    for name, value in (("store_id", secrets.token_bytes(16)), ("primary_store_key_id", primary)):
        tx.execute("INSERT INTO store (name, value) VALUES (?, ?)", (name, value))


def _loader(paths: Paths, settings: Settings) -> LoadStoreKeys:
    """Raises StartError for a key that would not be used: whoever gives one believes that none lies on the disk."""
    match settings.store_key_source:
        case "keyfile" | "kms":
            if os.environ.get(VARIABLES[0]):
                raise StartError(
                    f"{VARIABLES[0]} is set, but the setting store_key_source is {settings.store_key_source!r}:"
                    " set STRONGROOM_STORE_KEY_SOURCE=environment to use that key, or unset it."
                )
            return partial(load_key_files, paths.keys, store_key_service(settings, paths)[1])
        case "environment":
            return partial(load_environment, os.environ)
        case "credential":
            return partial(load_credentials, os.environ)


def generate_new_keys(paths: Paths, settings: Settings) -> GenerateSealed | None:
    """What makes new store keys; None where they are key files in clear."""
    return store_key_service(settings, paths)[0] if settings.store_key_source == "kms" else None


async def _require_primary_key(database: SqliteDatabase, load: LoadStoreKeys, where: str) -> None:
    """Raises StoreKeyError where the key in force is not among those given."""
    before = None
    while (primary := await primary_store_key(database)) != before:  # else it was rotated while the keys were read
        before, keys = primary, load()
        if primary in keys:
            return
    _require_key(primary, keys, where)


def _require_key(primary: bytes, keys: StoreKeys, where: str) -> None:
    if primary in keys:
        return
    given = ", ".join(identity.hex() for identity in keys) or "none"
    raise StoreKeyError(
        f"its store key is {primary.hex()}, and the keys given are: {given}."
        f" {where} Without that key nothing in the store can be read."
    )


def _where_keys_come_from(paths: Paths, settings: Settings) -> str:
    if settings.store_key_source in FILE_SOURCES:
        return f"Put the key file back into {paths.keys} from a backup."
    return f"The setting store_key_source is {settings.store_key_source!r}: give it that key again."


async def open_store(
    data_dir: Path, settings: Settings, *, people: People | None = None, home: Path | None = None
) -> OpenStore:
    """Open an initialised store. `people`: those for whom keys will be asked; `home`: see `Paths`. Raises
    StartError.
    """
    paths = Paths(data_dir, home)
    load, endpoint = _loader(paths, settings), key_endpoint(settings, paths)
    if not paths.index.exists():
        raise StartError(f"{paths.index} does not exist: there is no store in {data_dir}")
    try:
        require_newest(paths.index, migrations_of("index"))
        database = SqliteDatabase.open(paths.index)
    except (SchemaTooNew, SchemaTooOld, Unavailable) as error:
        raise StartError(f"The store in {data_dir} can't be opened: {error}") from error
    try:
        keyring = await _keyring(database, load, paths, settings)
    except BaseException as error:
        await database.close()
        if isinstance(error, (StoreKeyError, IntegrityError, Unavailable)):
            raise StartError(f"The store in {data_dir} can't be opened: {error}") from error
        raise
    blobs, kms = LocalBlobs(paths.blobs), AwsKms(endpoint)
    provider = _provider(settings, kms, people)
    bucket_keys = KmsBucketKeys(database, keyring, provider, now_us=_now_us, window=settings.bucket_key_window)
    storage = Storage(
        database=database,
        blobs=blobs,
        keyring=keyring,
        kms=provider,
        bucket_keys=bucket_keys,
        hashing=ThreadPoolExecutor(_HASHING_THREADS, thread_name_prefix="hashing"),
        now_us=_now_us,
        region=settings.region,
        deletion_grace=settings.deletion_grace,
        blocks_sse_c=settings.blocks_sse_c_by_default,
    )
    return OpenStore(
        storage=storage,
        database=database,
        blobs=blobs,
        load=load,
        key_directory=paths.keys if settings.store_key_source in FILE_SOURCES else None,
        generate_sealed=generate_new_keys(paths, settings),
        generate_in_kms=store_key_service(settings, paths)[0],
        kms=kms,
        bucket_keys=bucket_keys,
    )


async def _keyring(database: SqliteDatabase, load: LoadStoreKeys, paths: Paths, settings: Settings) -> Keyring:
    """Raises StartError, StoreKeyError, IntegrityError, Unavailable."""
    rows = await database.read("SELECT value FROM store WHERE name = 'store_id'")
    if not rows:
        raise StartError(f"{paths.index} was never initialised")
    await _require_primary_key(database, load, _where_keys_come_from(paths, settings))
    store_id = rows[0][0]
    if not isinstance(store_id, bytes):
        raise StartError(f"{paths.index} is damaged: its id cannot have been written")
    return Keyring(database, store_id=store_id, load=load, now_us=_now_us)


def _provider(settings: Settings, kms: AwsKms, people: People | None) -> AwsKms | JudgedKeyService:
    """Amazon's key service judges this server, and leaves the people to us."""
    if settings.kms_endpoint == "own" or people is None:
        return kms
    return JudgedKeyService(kms, people=people, region=settings.region)


def look_at_store(data_dir: Path, settings: Settings) -> str:
    """What there is to say of the store, in a few words; nothing is changed. Raises StartError where index or key are
    not as they should be.
    """
    paths = Paths(data_dir)
    try:
        if not paths.index.exists() or paths.index.stat().st_size == 0:
            _refuse_blobs(paths, "is missing or empty")
            return "there is none yet: the first start makes it"
        rows = read_once(paths.index, "SELECT value FROM store WHERE name = 'primary_store_key_id'")
        if not rows:
            return "its first start did not end: the next one goes on"
        primary = cast("bytes", rows[0][0])
        if settings.store_key_source not in FILE_SOURCES:
            return (
                f"its store key {primary.hex()} comes from {settings.store_key_source!r}, which is not looked at here"
            )
        _require_key(primary, _loader(paths, settings)(), _where_keys_come_from(paths, settings))
    except (StoreKeyError, Unavailable) as error:
        raise StartError(f"The store in {data_dir} can't be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StartError(f"{paths.index} is damaged ({error}): restore it from a backup.") from error
    return f"its store key {primary.hex()} is in {paths.keys}"


def _now_us() -> int:
    return time.time_ns() // 1000
