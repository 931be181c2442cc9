"""The key service put together: its store, its memory, its log and its people, and what is answered on which listener.

Everything is checked against everything before the first call is answered: each record under the root, all of them
together under their head, and the store against the log. A store that was put back, or a log that was cut, is refused
with what to do about it.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from strongroom.audit.chain import Head
from strongroom.audit.checkpoint import Signer
from strongroom.audit.event import service_event
from strongroom.audit.log import AuditLog, AuditUnavailable
from strongroom.audit.opening import AuditLogCut, StateRolledBack, find_problems
from strongroom.aws.kms_model import load_kms_model
from strongroom.config import Settings
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Unavailable
from strongroom.database.migrations import SchemaTooNew
from strongroom.database.private_file import make_private_directory
from strongroom.database.sqlite import SqliteDatabase
from strongroom.edge.asgi import application
from strongroom.edge.http1 import Application
from strongroom.edge.json_flow import JsonService, Refusal
from strongroom.identity.files import require_key
from strongroom.identity.keys import SERVICE_ACCESS_KEY_ID, service_credentials
from strongroom.identity.root import load_root
from strongroom.identity.store import Identity, IdentityStore, service_identity
from strongroom.kms import clock
from strongroom.kms.admin import Admin
from strongroom.kms.admin_asgi import application as admin_application
from strongroom.kms.audit_head import AuditHead
from strongroom.kms.call import Kms
from strongroom.kms.clock import Moment
from strongroom.kms.creation import KmsStoreError
from strongroom.kms.recording import administration_event, refusal_event
from strongroom.kms.refusal_limit import RefusalLimit
from strongroom.kms.service import KeyService
from strongroom.kms.slots import SlotError
from strongroom.kms.state import State
from strongroom.kms.store import KmsStore, can_be_disabled
from strongroom.observe import log as server_log
from strongroom.server.identities import open_identities
from strongroom.server.paths import Paths, StartError

_THREADS = 2  # for RSA keys
_LOG_NAME = "strongroom-kms"
AskPassphrase = Callable[[Sequence[str]], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenKeyService:
    """A key service, opened by the only process that may have it open."""

    service: KeyService
    kms: Kms
    store: KmsStore
    record: AuditLog
    identities: IdentityStore
    service_identity: Identity
    _identity_database: SqliteDatabase
    _threads: ThreadPoolExecutor

    async def close(self) -> None:
        await self.service.finish()
        await self.record.close()
        await self.store.close()
        await self._identity_database.close()
        self._threads.shutdown()


async def open_key_service(
    settings: Settings,
    data_dir: Path,
    *,
    ask_passphrase: AskPassphrase | None = None,
    now: Callable[[], Moment] = clock.now,
) -> OpenKeyService:
    """The key service in `data_dir`, made where there is none. Raises StartError."""
    paths = Paths(data_dir)
    root_user = load_root(data_dir, os.environ, settings.account_id)
    identities, identity_database = await open_identities(data_dir, root_user, make=True)
    try:
        may_create = not any(paths.audit.glob("*.jsonl"))
        store = await _open_store(settings, paths, ask_passphrase, may_create=may_create, now=now)
    except BaseException:
        await identity_database.close()
        raise
    try:
        kms, record = await _opened(settings, paths, store, identities, now=now)
    except BaseException:
        await store.close()
        await identity_database.close()
        raise
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="rsa")
    return OpenKeyService(
        service=KeyService(kms, store, record, identities=identities, threads=threads),
        kms=kms,
        store=store,
        record=record,
        identities=identities,
        service_identity=service_identity(service_credentials(require_key(paths.identity)), settings.account_id),
        _identity_database=identity_database,
        _threads=threads,
    )


async def _open_store(
    settings: Settings,
    paths: Paths,
    ask_passphrase: AskPassphrase | None,
    *,
    may_create: bool,
    now: Callable[[], Moment],
) -> KmsStore:
    """Raises StartError."""
    try:
        make_private_directory(paths.kms)
        return await KmsStore.open(
            paths.kms,
            settings.account_id,
            settings.region,
            environ=os.environ,
            now_us=lambda: now().us,
            ask_passphrase=ask_passphrase,
            may_create=may_create,
        )
    except (KmsStoreError, SlotError, IntegrityError, SchemaTooNew, Unavailable, OSError) as error:
        raise _cannot_open(paths, error) from error


async def _opened(
    settings: Settings, paths: Paths, store: KmsStore, identities: IdentityStore, *, now: Callable[[], Moment]
) -> tuple[Kms, AuditLog]:
    """The state and the log, held against each other. Raises StartError."""
    for warning in store.warnings:
        server_log.warning("A key was given that opens nothing", reason=warning)
    try:
        state = State(await store.load())
        kms = Kms(
            region=settings.region,
            account_id=settings.account_id,
            state=state,
            root=store.root,
            principal_exists=identities.principal_exists,
            unique_id=lambda arn: identities.person(arn).user_id,
            clock=now,
        )
        record = await _open_log(settings, paths, store)
    except (AuditLogCut, StateRolledBack) as error:
        raise StartError(
            f"The key service in {paths.kms} does not start: {error}. If you have put an older copy back on purpose:"
            f" strongroom kms accept-restore --data-dir {paths.data_dir}"
        ) from error
    except (IntegrityError, AuditUnavailable, Unavailable, OSError) as error:
        raise _cannot_open(paths, error) from error
    try:
        await _write_what_waits(store, record)
    except BaseException as error:
        await record.close()
        if isinstance(error, (AuditUnavailable, IntegrityError, Unavailable)):
            raise StartError(f"The audit log in {paths.audit} can't be written: {error}") from error
        raise
    return kms, record


async def _open_log(settings: Settings, paths: Paths, store: KmsStore, *, accepted: bool = False) -> AuditLog:
    """Raises as `AuditLog.open`."""
    return await AuditLog.open(
        paths.audit,
        head=_head(store.audit_head()),
        keep_head=partial(_keep_head, store),
        signer=await _signer(store),
        state_revision=lambda: store.state_revision,
        region=settings.region,
        account_id=settings.account_id,
        accepted=accepted,
    )


async def _signer(store: KmsStore) -> Signer:
    return Signer(await store.audit_signing_key(), _LOG_NAME)


def _cannot_open(paths: Paths, error: Exception) -> StartError:
    why: object = error
    if isinstance(error, OSError) and error.filename is not None:
        why = f"{error.filename}: {error.strerror}"
    return StartError(f"The key service in {paths.kms} can't be opened: {why}")


async def _write_what_waits(store: KmsStore, record: AuditLog) -> None:
    """Events of changes that were made durable before a crash, and whose record was not."""
    for number, event in await store.pending_events():
        if event.get("eventID") not in record.recovered:
            await record.append(event)
        store.forget_events(number)


def _head(kept: AuditHead | None) -> Head | None:
    return None if kept is None else Head(kept.sequence, kept.hash, kept.state_revision)


async def _keep_head(store: KmsStore, head: Head) -> None:
    await store.keep_audit_head(AuditHead(sequence=head.sequence, hash=head.hash, state_revision=head.state_revision))


# --- going on from an older copy


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRestore:
    """`found`: what had been wrong, in words. `disabled`: ids of keys that came back disabled. `lost`: of keys that this
    copy does not have.
    """

    found: str
    disabled: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


async def accept_restore(
    settings: Settings,
    data_dir: Path,
    *,
    ask_passphrase: AskPassphrase | None = None,
    now: Callable[[], Moment] = clock.now,
) -> AcceptedRestore | None:
    """Let the key service start again on an older copy, or on a log that was cut; None where nothing is wrong. The service
    must be stopped. Put on record; cut short at any moment, it can be done again. Raises StartError.
    """
    paths = Paths(data_dir)
    store = await _open_store(settings, paths, ask_passphrase, may_create=False, now=now)
    try:
        make_private_directory(paths.audit)
        return await _accept(settings, paths, store, now().us)
    except (IntegrityError, AuditUnavailable, Unavailable, OSError) as error:
        raise _cannot_open(paths, error) from error
    finally:
        await store.close()


async def _accept(settings: Settings, paths: Paths, store: KmsStore, now_us: int) -> AcceptedRestore | None:
    """What the store has missed is made good first, with the event that tells of it: were this cut short after the log
    had accepted it, the next start would find nothing amiss, and keys that were changed in force as before.
    """
    keys = State(await store.load()).keys
    problems = await asyncio.to_thread(
        find_problems,
        paths.audit,
        (await _signer(store)).verifier,
        kept=_head(store.audit_head()),
        state_revision=store.state_revision,
    )
    if not problems:
        return None
    rolled_back = [problem for problem in problems if isinstance(problem, StateRolledBack)]
    arns = {arn for problem in rolled_back for change in problem.changes for arn in change.key_arns}
    changed = sorted(arn.rpartition("/")[2] for arn in arns)
    accepted = AcceptedRestore(
        found=". ".join(str(problem) for problem in problems),
        disabled=tuple(key_id for key_id in changed if key_id in keys and can_be_disabled(keys[key_id])),
        lost=tuple(key_id for key_id in changed if key_id not in keys),
    )
    event = service_event(
        name="AcceptRestore",
        region=settings.region,
        account_id=settings.account_id,
        time_us=now_us,
        details=asdict(accepted),
        key_arns=sorted(arns),
    )
    revision = max((problem.state_revision for problem in rolled_back), default=0)
    await store.accept_restore(accepted.disabled, after_revision=revision, events=[event])
    record = await _open_log(settings, paths, store, accepted=True)
    try:
        await _write_what_waits(store, record)
    finally:
        await record.close()
    return accepted


# --- what is served


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsApplication:
    """`asgi`: for clients of AWS KMS. `internal_asgi`: for S3. `admin_asgi`: for the commands that tend slots and root.
    `maintain` never returns.
    """

    asgi: Application
    internal_asgi: Application
    admin_asgi: Application
    maintain: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]


async def build_kms(
    settings: Settings, data_dir: Path, *, ask_passphrase: AskPassphrase | None = None
) -> KmsApplication:
    """What the process of the key service serves. Raises StartError."""
    opened = await open_key_service(settings, data_dir, ask_passphrase=ask_passphrase)

    async def maintain() -> None:
        await asyncio.gather(opened.service.maintain(), opened.record.run_checkpoints())

    return KmsApplication(
        asgi=application(_json_service(settings, opened, internal=False)),
        internal_asgi=application(_json_service(settings, opened, internal=True)),
        admin_asgi=admin_application(_admin(opened)),
        maintain=maintain,
        close=opened.close,
    )


def _admin(opened: OpenKeyService) -> Admin:
    return Admin(
        store=opened.store,
        environ=os.environ,
        now_us=lambda: opened.kms.clock().us,
        apply=opened.kms.state.apply,
        make_event=partial(administration_event, opened.kms),
        recorded=opened.service.record_pending,
    )


def _json_service(settings: Settings, opened: OpenKeyService, *, internal: bool) -> JsonService:
    limit = RefusalLimit(time.monotonic)

    def find(access_key_id: str) -> Identity | None:
        return (
            opened.service_identity if access_key_id == SERVICE_ACCESS_KEY_ID else opened.identities.find(access_key_id)
        )

    async def refused(refusal: Refusal) -> None:
        left_out = 0 if refusal.is_verified else limit.admit()
        if left_out is not None:
            event = refusal_event(
                opened.kms,
                refusal.operation,
                refusal.error,
                refusal.caller,
                is_verified=refusal.is_verified,
                left_out=left_out,
            )
            await opened.service.refused(event)

    async def ready() -> bool:
        return True

    return JsonService(
        name="kms",
        model=load_kms_model(),
        answer=opened.service.answer,
        refused=refused,
        find_identity=find,
        region=settings.region,
        internal=internal,
        service_access_key_id=SERVICE_ACCESS_KEY_ID,
        stall_timeout=settings.stall_timeout,
        trusted_proxies=settings.trusted_proxies,
        ready=ready,
        now=lambda: datetime.now(UTC),
    )
