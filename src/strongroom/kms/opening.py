"""Opening the key service's database: made where there is positively none, opened by an unseal slot, and authenticated
as far as everything else hangs on it.

    DIR/kms/open.lock     held (flock) by the one process that works here, for as long as it lives
    DIR/kms/kms.db        exists only whole: it is made under another name and renamed
    DIR/kms/root.key      the key file of the first slot, likewise

Only a file that is not there counts as absent. Whatever can't be read, a database without its key or a key without its
database, is refused and never given a new root: that would be every object lost.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.secret_key import SecretKey
from strongroom.database.database import Row
from strongroom.database.migrations import migrate, migrations_of
from strongroom.database.private_file import make_private_directory
from strongroom.database.sqlite import RESERVE_BYTES, SqliteDatabase
from strongroom.kms import slots
from strongroom.kms.audit_head import AuditState
from strongroom.kms.commits import (
    SELECT_RECORD,
    Ledger,
    SealedRecord,
    checked,
    head_place,
    open_record,
    page_place,
    root_place,
    sealed_record,
)
from strongroom.kms.creation import (
    DATABASE_FILE,
    LASTING_SECRET,
    First,
    KmsStoreError,
    absent,
    create,
    finish,
)
from strongroom.kms.revisions import PAGES, Head, Name, Page, Revisions, decode_page, shown
from strongroom.kms.root import OpenRoot, RootVersion
from strongroom.kms.slot_rows import SELECT_SLOTS, slot_of
from strongroom.kms.slots import Given, Slot, SlotError

T = TypeVar("T", bound=Struct)


class KmsInUse(KmsStoreError):
    """Another process works on this directory."""


@dataclass(slots=True, kw_only=True)
class Opened:
    """An authenticated database, but for its records. `lock`: a descriptor, to be closed at last."""

    directory: Path
    database: SqliteDatabase
    lock: int
    root: OpenRoot
    ledger: Ledger
    audit: AuditState
    audit_revision: int
    slots: dict[bytes, Slot]
    opened_by: Slot
    warnings: tuple[str, ...]


@contextmanager
def told_as_damage() -> Iterator[None]:
    """What SQLite can't read, and no waiting mends, is damage like any other. Raises IntegrityError."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise IntegrityError(f"{DATABASE_FILE} is damaged ({error}): restore it from a backup") from error


def hold(directory: Path) -> int:
    """The lock of the one process. Raises KmsInUse; the kernel lets go of it when the process dies."""
    descriptor = os.open(directory / "open.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise KmsInUse(f"another process has opened {directory}: only one key service works on it at a time") from None
    return descriptor


async def opened(
    given: Given, first: First, *, may_create: bool, now_us: Callable[[], int], reserve_bytes: int = RESERVE_BYTES
) -> Opened:
    """`may_create`: whether a missing database may be made (False where something, like an audit log, shows that there
    was one). Raises KmsStoreError, SlotError, IntegrityError, SchemaTooNew, Unavailable, OSError.
    """
    directory = given.directory
    make_private_directory(directory)
    lock = hold(directory)
    database: SqliteDatabase | None = None
    try:
        path = directory / DATABASE_FILE
        if absent(path):
            await create(given, first, may_create=may_create, now_us=now_us)
        finish(directory)
        _require_content(path)
        with told_as_damage():
            migrate(path, migrations_of("kms"))
            database = SqliteDatabase.open(path, reserve_bytes=reserve_bytes)
            return await _authenticated(database, lock, given, first, now_us)
    except BaseException:
        if database is not None:
            await database.close()
        os.close(lock)
        raise


async def _authenticated(
    database: SqliteDatabase, lock: int, given: Given, first: First, now_us: Callable[[], int]
) -> Opened:
    facts = {row[0]: row[1] for row in await database.read("SELECT name, value FROM kms")}
    store_id = facts.get("store_id")
    if not isinstance(store_id, bytes):
        raise IntegrityError("kms.db names no key service")
    _require_same(facts.get("account_id"), first.account_id, "account")
    _require_same(facts.get("region"), first.region, "region")
    found = [slot_of(row) for row in await database.read(SELECT_SLOTS)]
    unsealed = slots.unseal(found, given, store_id=store_id)
    root = OpenRoot(
        store_id=store_id,
        account_id=first.account_id,
        region=first.region,
        current=RootVersion(unsealed.slot.root_version, unsealed.root),
        previous=None,
        now_us=now_us,
    )
    try:
        roots = await database.read("SELECT version, fingerprint, sealed FROM roots ORDER BY version DESC")
        _require_root(root, roots, unsealed.slot)
        state_revision, head = await _open_head(database, root, "state", Head)  # while no other root opens anything
        _open_previous(root, roots, head)
        audit_revision, audit = await _open_head(database, root, "audit", AuditState)
        _require_bound(head, first)
        ledger = Ledger(state_revision, head, await _open_pages(database, root, head))
        opened = Opened(
            directory=given.directory,
            database=database,
            lock=lock,
            root=root,
            ledger=ledger,
            audit=audit,
            audit_revision=audit_revision,
            slots={slot.slot_id: slot for slot in found},
            opened_by=unsealed.slot,
            warnings=unsealed.warnings,
        )
        await _check_slots(opened)
        await _check_events(opened)
        root.keep_lasting_secret(SecretKey(await read_record(opened, LASTING_SECRET)))
    except BaseException:
        root.close()
        raise
    return opened


def _require_content(path: Path) -> None:
    if path.stat().st_size == 0:
        raise KmsStoreError(f"{path} is empty: restore it from a backup. Nothing was changed.")


def _require_bound(head: Head, first: First) -> None:
    if (head.account_id, head.region) != (first.account_id, first.region):
        raise IntegrityError("the account or the region in kms.db was edited")


def _require_same(found: object, wanted: str, what: str) -> None:
    if found != wanted.encode():
        there = found.decode("utf-8", "replace") if isinstance(found, bytes) else "none"
        raise KmsStoreError(
            f"the key service was made for {what} {there!r}, and the settings say {wanted!r}:"
            " ciphertexts are bound to it, so set it back"
        )


def _require_root(root: OpenRoot, rows: Sequence[Row], slot: Slot) -> None:
    """Its fingerprint is that of the root in force."""
    if (root.current.version, root.current.fingerprint, None) not in rows:
        raise SlotError(
            f"{slot.shown} holds root key {root.current.fingerprint.hex()} (version {root.current.version}),"
            " which is not the root key of this kms.db: one of the two is from another time; restore both from one backup"
        )


def _open_previous(root: OpenRoot, rows: Sequence[Row], head: Head) -> None:
    """The root of before, which is there while its rotation is unfinished and never again: whoever put it back could seal
    records under it.
    """
    others = [row for row in rows if row[0] != root.current.version]
    if [row[0] for row in others] != ([head.previous_root] if head.previous_root else []):
        raise IntegrityError("a row of the root key of before was removed from kms.db or put back into it")
    for row in others:
        version, _, sealed = checked(row, (int, bytes, bytes))
        key = root.open_record(sealed, root_place(version, root.current.version))
        root.previous = RootVersion(version, SecretKey(key))


async def _open_head(database: SqliteDatabase, root: OpenRoot, name: str, kind: type[T]) -> tuple[int, T]:
    rows = await database.read("SELECT revision, root_version, sealed FROM heads WHERE name = ?", (name,))
    if len(rows) != 1:
        raise IntegrityError(f"the head of the {name} is missing")
    revision, root_version, sealed = checked(rows[0], (int, int, bytes))
    try:
        plaintext = root.open_record(sealed, head_place(name, revision, root_version))
        return revision, msgspec.msgpack.decode(plaintext, type=kind)
    except (IntegrityError, msgspec.DecodeError) as error:
        raise IntegrityError(f"the head of the {name} was damaged or edited: {error}") from error


async def _open_pages(database: SqliteDatabase, root: OpenRoot, head: Head) -> Revisions:
    pages: list[Page] = [{} for _ in range(PAGES)]
    expected = {number: revision for number, revision in enumerate(head.pages) if revision}
    for row in await database.read("SELECT page, revision, root_version, sealed FROM revisions"):
        number, revision, root_version, sealed = checked(row, (int, int, int, bytes))
        if expected.pop(number, None) != revision:
            raise IntegrityError(f"page {number} of the revisions is an older copy, or was added")
        try:
            pages[number] = decode_page(root.open_record(sealed, page_place(number, revision, root_version)))
        except IntegrityError as error:
            raise IntegrityError(f"page {number} of the revisions was damaged or edited: {error}") from error
    if expected:
        raise IntegrityError(f"page {min(expected)} of the revisions is missing")
    return Revisions(pages)


async def _check_slots(opened: Opened) -> None:
    """The clear slots are those of the records."""
    clear = {slot.slot_id.hex(): slot for slot in opened.slots.values()}
    for name in [name for page in opened.ledger.revisions.pages for name in page if name[0] == "slot"]:
        recorded = msgspec.msgpack.decode(await read_record(opened, name), type=Slot)
        slot = clear.pop(name[1], None)
        if slot != recorded:
            raise IntegrityError(f"the unseal slot {recorded.name!r} was edited or removed in kms.db")
    for slot in clear.values():
        raise IntegrityError(f"the unseal slot {slot.name!r} was added to kms.db, or put back after it was removed")


async def _check_events(opened: Opened) -> None:
    through, last = opened.audit.events_through, opened.ledger.head.last_event
    numbers = [row[0] for row in await opened.database.read("SELECT number FROM events ORDER BY number")]
    if numbers != list(range(through + 1, last + 1)):
        raise IntegrityError(
            f"events {through + 1} to {last} are to be written to the audit log, and others are there: "
            "the audit head or an event is an older copy, or an event was removed"
        )
    if opened.audit.head is not None and opened.audit.head.state_revision > opened.ledger.state_revision:
        raise IntegrityError("the state is older than the audit head beside it")


async def read_sealed(opened: Opened, name: Name) -> SealedRecord:
    """One record's row, of its current revision. Raises IntegrityError."""
    rows = [sealed_record(row) for row in await opened.database.read(SELECT_RECORD, name)]
    expected = opened.ledger.revisions.get(name)
    if expected is None or len(rows) != 1 or rows[0].place.revision != expected:
        raise IntegrityError(f"{shown(name)} is missing or an older copy")
    return rows[0]


async def read_record(opened: Opened, name: Name) -> bytes:
    """The plaintext of one record. Raises IntegrityError."""
    return open_record(opened.root, await read_sealed(opened, name))
