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
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from strongroom.aws.kms_errors import KmsError
from strongroom.aws.kms_model import load_kms_model
from strongroom.aws.model import load_s3_model
from strongroom.blobs.local import KEEP_FREE_BYTES, LocalBlobs
from strongroom.config import Settings
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Connection, Unavailable
from strongroom.database.migrations import SchemaTooNew, SchemaTooOld, migrate, migrations_of, require_newest
from strongroom.database.private_file import make_private_directory
from strongroom.database.sqlite import RESERVE_BYTES, SqliteDatabase, read_once
from strongroom.edge.asgi import application
from strongroom.edge.json_flow import JsonService, Refusal
from strongroom.edge.local_client import LocalAnswer, request
from strongroom.edge.rest_flow import Edge
from strongroom.edge.service import FindIdentity, Service
from strongroom.identity.files import IdentityFiles, initialise_identities, open_identity_store, require_key
from strongroom.identity.keys import service_credentials
from strongroom.identity.on_behalf import SERVICE_ACCESS_KEY_ID
from strongroom.identity.policy import account_root
from strongroom.identity.records import IdentityError
from strongroom.identity.requester import Caller
from strongroom.identity.root import Credentials, Principal, RootUser, load_root
from strongroom.identity.store import Identity, IdentityStore, service_identity
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
    LoadStoreKeys,
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

INDEX_FILE = "index.db"
_HASHING_THREADS = 2
_PROOF_SPACE = KEEP_FREE_BYTES + RESERVE_BYTES + (8 << 20)  # bytes: what a store holds back, and what the proof's takes


class StartError(Exception):
    """The server can't start; the text is for the person who starts it."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things lie below the data directory."""

    data_dir: Path

    @property
    def s3(self) -> Path:
        return self.data_dir / "s3"

    @property
    def keys(self) -> Path:
        return self.s3 / "keys"

    @property
    def index(self) -> Path:
        return self.s3 / INDEX_FILE

    @property
    def blobs(self) -> Path:
        return self.s3 / "blobs"

    @property
    def identity(self) -> IdentityFiles:
        return IdentityFiles(self.data_dir / "identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What one worker serves. `maintain` never returns; one worker runs it."""

    asgi: Callable[..., Awaitable[None]]
    maintain: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsApplication:
    """What the KMS process serves: `asgi` to AWS clients, `internal_asgi` to the S3 service, `admin_asgi` to the commands
    that tend the root key. `maintain` never returns.
    """

    asgi: Callable[..., Awaitable[None]]
    internal_asgi: Callable[..., Awaitable[None]]
    admin_asgi: Callable[..., Awaitable[None]]
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

    @property
    def rotation(self) -> Rotation:
        return Rotation(
            database=self.database,
            keyring=self.storage.keyring,
            load=self.load,
            directory=self.key_directory,
        )

    async def close(self) -> None:
        await self.database.close()
        await self.blobs.close()
        cast("ThreadPoolExecutor", self.storage.hashing).shutdown()


def initialise(data_dir: Path, settings: Settings, *, with_users: bool = True) -> None:
    """Make the store in `data_dir` where there is none, and finish what a rotation left undone. Raises StartError.

    A key is made only with a new index or with a new store of users; one without its key is refused, never given a new
    one.
    """
    paths = Paths(data_dir)
    try:
        for directory in (data_dir, paths.s3, paths.keys):
            make_private_directory(directory)
        if not paths.index.exists() or paths.index.stat().st_size == 0:
            _refuse_blobs(paths, "is missing or empty")
        migrate(paths.index, migrations_of("index"))
        asyncio.run(_initialise(paths, settings))
        if with_users:
            asyncio.run(initialise_identities(paths.identity))
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
            primary = next(iter(_loader(paths, settings)()), None) or create_key_file(paths.keys)
            await database.transact(partial(_insert_store, primary=primary))
    finally:
        await database.close()
    store = await open_store(paths.data_dir, settings)
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
        case "keyfile":
            if os.environ.get(VARIABLES[0]):
                raise StartError(
                    f"{VARIABLES[0]} is set, but the setting store_key_source is 'keyfile':"
                    " set STRONGROOM_STORE_KEY_SOURCE=environment to use that key, or unset it."
                )
            return partial(load_key_files, paths.keys)
        case "environment":
            return partial(load_environment, os.environ)
        case "credential":
            return partial(load_credentials, os.environ)


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
    if settings.store_key_source == "keyfile":
        return f"Put the key file back into {paths.keys} from a backup."
    return f"The setting store_key_source is {settings.store_key_source!r}: give it that key again."


async def open_store(data_dir: Path, settings: Settings) -> OpenStore:
    """Open an initialised store. Raises StartError."""
    paths = Paths(data_dir)
    load = _loader(paths, settings)
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
    blobs = LocalBlobs(paths.blobs)
    storage = Storage(
        database=database,
        blobs=blobs,
        keyring=keyring,
        hashing=ThreadPoolExecutor(_HASHING_THREADS, thread_name_prefix="hashing"),
        now_us=_now_us,
        region=settings.region,
        deletion_grace=settings.deletion_grace,
        blocks_sse_c=settings.blocks_sse_c_by_default,
    )
    directory = paths.keys if settings.store_key_source == "keyfile" else None
    return OpenStore(storage=storage, database=database, blobs=blobs, load=load, key_directory=directory)


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
        if settings.store_key_source != "keyfile":
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
    store = await open_store(data_dir, settings)

    async def close() -> None:
        await store.close()
        await identity_database.close()

    return Application(
        asgi=application(_edge(settings, store, identities.find)),
        maintain=partial(cleanup.maintain, store.storage, store.blobs.remove_abandoned),
        close=close,
    )


async def build_kms(settings: Settings, data_dir: Path) -> KmsApplication:
    """What the KMS process serves. Raises StartError."""
    root = load_root(data_dir, os.environ, settings.account_id)
    files = Paths(data_dir).identity
    identities, identity_database = await open_identities(data_dir, root, make=True)
    s3_service = service_identity(service_credentials(require_key(files)), settings.account_id)

    def find(access_key_id: str) -> Identity | None:
        return s3_service if access_key_id == SERVICE_ACCESS_KEY_ID else identities.find(access_key_id)

    async def answer(_operation: str, _input: Mapping[str, Any], _caller: Caller) -> Mapping[str, Any]:
        raise KmsError("UnsupportedOperationException")

    async def refused(_refusal: Refusal) -> None:
        pass

    async def ready() -> bool:
        return True

    async def maintain() -> None:
        await asyncio.Event().wait()

    async def close() -> None:
        await identity_database.close()

    def service(*, internal: bool) -> JsonService:
        return JsonService(
            name="kms",
            model=load_kms_model(),
            answer=answer,
            refused=refused,
            find_identity=find,
            region=settings.region,
            internal=internal,
            service_access_key_id=SERVICE_ACCESS_KEY_ID,
            stall_timeout=settings.stall_timeout,
            trusted_proxies=settings.trusted_proxies,
            ready=ready,
            now=_now,
        )

    return KmsApplication(
        asgi=application(service(internal=False)),
        internal_asgi=application(service(internal=True)),
        admin_asgi=application(service(internal=True)),
        maintain=maintain,
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
        if settings.store_key_source == "keyfile":
            shutil.copytree(Paths(data_dir).keys, Paths(directory).keys)
        initialise(directory, settings, with_users=False)
        size, stored = asyncio.run(_prove(settings, directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Proof(object_bytes=size, stored_bytes=stored, seconds=time.perf_counter() - started)


async def _prove(settings: Settings, directory: Path) -> tuple[int, int]:
    """Bytes of the object, and of its blob."""
    marker = secrets.token_hex(32)
    content = (marker * 64).encode()
    root = Identity(
        credentials=Credentials(access_key_id="proof", secret_access_key=secrets.token_hex(20)),
        principal=Principal(account_id=settings.account_id, arn=account_root(settings.account_id)),
        user_id=settings.account_id,
        is_root=True,
    )
    store = await open_store(directory, settings)
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
