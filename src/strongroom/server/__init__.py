"""The composition root: the only place that names concrete stores and sources of keys, and puts them together.

`initialise` makes or opens a store before any worker exists, `prove` shows that it encrypts, `build` puts together what
one worker serves.
"""

import asyncio
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast

from strongroom.aws.model import load_s3_model
from strongroom.blobs.local import KEEP_FREE_BYTES, LocalBlobs
from strongroom.config import Settings
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Connection, Unavailable
from strongroom.database.migrations import SchemaTooNew, SchemaTooOld, migrate, migrations_of, require_newest
from strongroom.database.private_file import make_private_directory
from strongroom.database.sqlite import RESERVE_BYTES, SqliteDatabase, read_once
from strongroom.edge.asgi import application
from strongroom.edge.local_client import LocalAnswer, request
from strongroom.edge.rest_flow import Edge
from strongroom.edge.service import FindIdentity, Service
from strongroom.identity.files import initialise_identities, open_identity_store
from strongroom.identity.policy import account_root
from strongroom.identity.records import IdentityError
from strongroom.identity.root import Credentials, Principal, RootUser, load_root
from strongroom.identity.store import Identity, IdentityStore
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
    OpenSealed,
    StoreKeyError,
    StoreKeys,
    create_key_file,
    load_credentials,
    load_environment,
    load_key_files,
)
from strongroom.observe import log
from strongroom.s3 import cleanup
from strongroom.s3.members import check_members
from strongroom.s3.service import check_target, handlers, rules
from strongroom.s3.storage import Storage
from strongroom.server.key_service import key_endpoint, store_key_service
from strongroom.server.paths import INDEX_FILE as INDEX_FILE
from strongroom.server.paths import Paths as Paths
from strongroom.server.paths import StartError as StartError

_HASHING_THREADS = 2
FILE_SOURCES = frozenset({"keyfile", "kms"})
"""Of the store key: files in DIR/s3/keys, in clear or sealed by a key service."""
_PROOF_SPACE = KEEP_FREE_BYTES + RESERVE_BYTES + (8 << 20)  # bytes: what a store holds back, and what the proof's takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What one worker serves. `maintain` never returns; one worker runs it."""

    asgi: Callable[..., Awaitable[None]]
    maintain: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a start has shown: an object of `object_bytes` was stored as `stored_bytes` in which nothing of it can be
    found.
    """

    object_bytes: int
    stored_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStore:
    """A store opened by one process. `database` and `blobs` are the concrete ones, for what only those can."""

    storage: Storage
    database: SqliteDatabase
    blobs: LocalBlobs
    load: LoadStoreKeys
    key_directory: Path | None
    generate_sealed: GenerateSealed | None
    store_keys: tuple[GenerateSealed, OpenSealed]
    kms: AwsKms

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
        await self.kms.close()
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


async def open_identities(
    data_dir: Path, root: RootUser, *, make: bool = False
) -> tuple[IdentityStore, SqliteDatabase]:
    """The users, and the database to be closed in the end. `make`: where there is none. Raises StartError."""
    try:
        if make:
            await initialise_identities(Paths(data_dir).identity)
        opened = await open_identity_store(Paths(data_dir).identity)
        try:
            return IdentityStore(opened.database, opened.sealing, root), opened.database
        except BaseException:
            await opened.database.close()
            raise
    except IdentityError as error:
        raise StartError(f"The users in {data_dir} can't be read: {error}") from error


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
        rows = await database.read("SELECT value FROM store WHERE name = 'store_id'")
        if not rows:
            raise StartError(f"{paths.index} was never initialised")
        await _require_primary_key(database, load, _where_keys_come_from(paths, settings))
        store_id = rows[0][0]
        if not isinstance(store_id, bytes):
            raise StartError(f"{paths.index} is damaged: its id cannot have been written")
        keyring = Keyring(database, store_id=store_id, load=load, now_us=_now_us)
    except (StoreKeyError, IntegrityError, Unavailable) as error:
        await database.close()
        raise StartError(f"The store in {data_dir} can't be opened: {error}") from error
    blobs, kms = LocalBlobs(paths.blobs), AwsKms(endpoint)
    provider = _provider(settings, kms, people)
    storage = Storage(
        database=database,
        blobs=blobs,
        keyring=keyring,
        kms=provider,
        bucket_keys=KmsBucketKeys(database, keyring, provider, now_us=_now_us, window=settings.bucket_key_window),
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
        store_keys=store_key_service(settings, paths),
        kms=kms,
    )


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


async def build(settings: Settings, data_dir: Path) -> Application:
    """What one worker serves. Raises StartError."""
    root = load_root(data_dir, os.environ, settings.account_id)
    identities, identity_database = await open_identities(data_dir, root)
    store = await open_store(data_dir, settings, people=identities)

    async def close() -> None:
        await store.close()
        await identity_database.close()

    return Application(
        asgi=application(_edge(settings, store, identities.find)),
        maintain=partial(cleanup.maintain, store.storage, store.blobs.remove_abandoned),
        close=close,
    )


def _edge(settings: Settings, store: OpenStore, find_identity: FindIdentity) -> Edge:
    service = Service(
        name="s3",
        model=load_s3_model(),
        handlers=handlers(store.storage),
        check_members=check_members,
        rules=rules(store.storage),
        check_target=partial(check_target, store.storage),
        domains=settings.domain,
        region=settings.region,
    )
    return Edge(
        service=service,
        find_identity=find_identity,
        account_id=settings.account_id,
        stall_timeout=settings.stall_timeout,
        trusted_proxies=settings.trusted_proxies,
        ready=partial(_ready, store),
        now=_now,
    )


async def _ready(store: OpenStore) -> bool:
    """Whether the index answers."""
    try:
        return bool(await store.database.read("SELECT 1 FROM store LIMIT 1"))
    except Unavailable:
        return False


def _now() -> datetime:
    return datetime.now(UTC)


def _now_us() -> int:
    return time.time_ns() // 1000


# --- the proof at the start


def prove(settings: Settings, data_dir: Path) -> Proof | None:
    """Store an object with this store's keys and settings in a store made for it, and look for it in the raw bytes.
    None where the disk is too full for that: a server has to start there, for deleting is the way out. Raises
    StartError.

    The store made for it goes away again, so that no bucket of ours ever shows among the user's.
    """
    directory = data_dir / "run" / "proof"
    shutil.rmtree(directory, ignore_errors=True)
    if shutil.disk_usage(data_dir).free < _PROOF_SPACE:
        return None
    started = time.perf_counter()
    try:
        make_private_directory(directory)
        make_private_directory(directory / "s3")
        if settings.store_key_source in FILE_SOURCES:
            shutil.copytree(Paths(data_dir).keys, Paths(directory).keys)
        initialise(directory, settings, home=data_dir)
        size, stored = asyncio.run(_prove(settings, directory, data_dir))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Proof(object_bytes=size, stored_bytes=stored, seconds=time.perf_counter() - started)


async def _prove(settings: Settings, directory: Path, home: Path) -> tuple[int, int]:
    """Bytes of the object, and of its blob."""
    marker = secrets.token_hex(32)
    content = (marker * 64).encode()
    root = Identity(
        credentials=Credentials(access_key_id="proof", secret_access_key=secrets.token_hex(20)),
        principal=Principal(account_id=settings.account_id, arn=account_root(settings.account_id)),
        user_id=settings.account_id,
        is_root=True,
    )
    store = await open_store(directory, settings, home=home)
    try:
        send = partial(
            request,
            application(_edge(settings, store, lambda _: root)),
            credentials=root.credentials,
            region=settings.region,
        )
        key = "/proof/object"
        await _expect(200, send("PUT", "/proof", now=_now()))
        await _expect(200, send("PUT", key, now=_now(), body=content, headers={"x-amz-meta-marker": marker}))
        # Before the store is closed: a closed index has no write-ahead log left to look into.
        stored = _search(directory, marker.encode())
        if await _expect(200, send("GET", key, now=_now())) != content:
            raise StartError("An object was stored and came back different: refusing to start.")
        await _expect(204, send("DELETE", key, now=_now()))
    finally:
        await store.close()
    return len(content), stored


async def _expect(status: int, answer: Awaitable[LocalAnswer]) -> bytes:
    got = await answer
    if got.status != status:
        raise StartError(
            f"The store does not work; a first object was answered {got.status}: {got.body.decode(errors='replace')}"
        )
    return got.body


def _search(directory: Path, marker: bytes) -> int:
    """Look for `marker` in every file below `directory`; the size of the only blob. Raises StartError."""
    for path in directory.rglob("*"):
        if path.is_file() and marker in path.read_bytes():
            raise StartError(f"A stored object is readable in {path.relative_to(directory)}: refusing to start.")
    return sum(path.stat().st_size for path in Paths(directory).blobs.glob("??/*"))
