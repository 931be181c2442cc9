"""What an administrator does to a running key service beside the AWS API: unseal slots, rotation of the root key, and a
copy of its database.

Plain functions, JSON in and out, for kms/admin_asgi.py and for whoever else can reach the Unix socket. Each call becomes
one event in the audit log, refused ones included; what succeeds is committed together with its event. No answer and no
event holds a key or a passphrase.
"""

import asyncio
import base64
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from strongroom.aws.kms_errors import KmsError
from strongroom.crypto.secret_key import SecretKey
from strongroom.database.database import Unavailable
from strongroom.database.private_file import write_private
from strongroom.kms import slots
from strongroom.kms.audit_head import AuditHead
from strongroom.kms.commits import Event
from strongroom.kms.slots import Credential, Environment, Given, KeyFile, Kind, Passphrase, Slot, SlotError, Source
from strongroom.kms.state import Change
from strongroom.kms.store import KmsStore

Json = dict[str, Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COPY = "kms.db.copy"
OLD_COPIES = (
    "Copies of kms.db made before can still be opened with the removed slot's key, and what they hold is still in force:"
    " run `strongroom kms rotate-root`, which gives the key service another root key."
)


class MakeEvent(Protocol):
    """An AwsServiceEvent in CloudTrail's field names. `details`: its serviceEventDetails; `error`: errorMessage."""

    def __call__(self, name: str, details: Mapping[str, Any], *, error: str | None = None) -> Event: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """`environ`: of the key service's process, where slots may find their keys. `apply`: to the state in memory.
    `recorded`: returns when every event that was committed is in the audit log; raises KmsError where it can't be.
    """

    store: KmsStore
    environ: Mapping[str, str] = field(repr=False)
    now_us: Callable[[], int]
    apply: Callable[[Sequence[Change]], None]
    make_event: MakeEvent
    recorded: Callable[[], Awaitable[None]]


class NewSlot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`path`: of a key file: absolute, or a name below DIR/kms. `passphrase`; `key` (base64 of 32 random bytes): of a
    slot of the environment or a credential whose key the running service does not have.
    """

    kind: Kind
    name: str
    path: str | None = None
    passphrase: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        return f"NewSlot({self.kind}, {self.name})"


async def list_slots(admin: Admin) -> Json:
    """{"rootVersion", "slots": [...]}."""
    await _record(admin, "ListUnsealSlots", {})
    return {
        "rootVersion": admin.store.root.current.version,
        "slots": [_shown(slot, admin) for slot in sorted(admin.store.slots, key=lambda slot: slot.created_us)],
    }


async def add_slot(admin: Admin, new: NewSlot) -> Json:
    """The slot as `list_slots` shows it. Raises SlotError, Unavailable, IntegrityError."""
    details = {"slotName": new.name, "slotKind": new.kind}
    async with _recording(admin, "AddUnsealSlot", details):
        if _NAME.fullmatch(new.name) is None:
            raise SlotError("a slot's name has 1 to 64 letters, digits, . _ -, the first a letter or digit")
        if any(slot.name == new.name for slot in admin.store.slots):
            raise SlotError(f"there is a slot {new.name!r} already")
        source = _source(admin, new)
        with await asyncio.to_thread(_new_key, admin, new, source) as key:
            if _in_use(admin, key):
                raise SlotError("another slot has this very key")
            slot = _sealed(admin, new, source, key)
        await admin.store.add_slot(slot, [admin.make_event("AddUnsealSlot", {**details, "slotId": slot.slot_id.hex()})])
    await _recorded(admin)
    return _shown(slot, admin)


async def remove_slot(admin: Admin, name: str) -> Json:
    """{"removed", "note"}; by its name or its id. Raises SlotError, Unavailable, IntegrityError."""
    details: dict[str, Any] = {"slotName": name}
    async with _recording(admin, "RemoveUnsealSlot", details):
        found = [slot for slot in admin.store.slots if name in (slot.name, slot.slot_id.hex())]
        if not found:
            raise SlotError(f"there is no slot {name!r}")
        slot = found[0]
        details |= {"slotName": slot.name, "slotKind": slot.kind, "slotId": slot.slot_id.hex()}
        await admin.store.remove_slot(slot.slot_id, [admin.make_event("RemoveUnsealSlot", details)])
    await _recorded(admin)
    note = OLD_COPIES
    if isinstance(slot.source, KeyFile):
        note += f" Its key file {admin.store.directory / slot.source.path} is left: backups may need it."
    return {"removed": _shown(slot, admin), "note": note}


async def rotate_root(admin: Admin, passphrases: Mapping[str, str], progress: Callable[[int, int], None]) -> Json:
    """{"rootVersion"}. `passphrases`: by slot's name, of those that the service was not started with. Raises SlotError
    (nothing was changed), Unavailable, IntegrityError.
    """
    root = admin.store.root
    details = {"rootVersion": root.current.version + (root.previous is None)}
    given = Given(directory=admin.store.directory, environ=admin.environ, passphrases=passphrases)
    async with _recording(admin, "RotateRoot", details):
        version = await admin.store.rotate_root(
            given, apply=admin.apply, progress=progress, events=[admin.make_event("RotateRoot", details)]
        )
    await _record(admin, "RotateRootCompleted", {"rootVersion": version})
    return {"rootVersion": version}


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """`descriptor`: of a file that has no name any more, to be closed by whoever gets this. `head`: the end of the audit
    log as this copy knows it.
    """

    descriptor: int
    head: AuditHead | None


async def back_up(admin: Admin) -> Copy:
    """kms.db as of one moment, sealed as it is. Not beside a rotation. Raises Unavailable, IntegrityError."""
    await _record(admin, "BackUpKeyStore", {})
    path = admin.store.directory / _COPY
    try:
        _remove(path)  # what is left of a process that was killed
        head = await admin.store.copy_to(path)
        return Copy(descriptor=os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), head=head)
    except OSError as error:
        raise Unavailable(f"the key service can't write a copy of kms.db: {error.strerror}") from error
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    for left in path.parent.glob(f"{path.name}*"):  # SQLite's own files beside it, too
        left.unlink(missing_ok=True)


# --- events


@asynccontextmanager
async def _recording(admin: Admin, name: str, details: Mapping[str, Any]) -> AsyncIterator[None]:
    """A refusal becomes an event too."""
    try:
        yield
    except SlotError as error:
        await _record(admin, name, details, error=str(error))
        raise


async def _record(admin: Admin, name: str, details: Mapping[str, Any], *, error: str | None = None) -> None:
    """Raises Unavailable: what can't be recorded is not answered."""
    async with admin.store.writing:
        await admin.store.commit((), [admin.make_event(name, details, error=error)])
    await _recorded(admin)


async def _recorded(admin: Admin) -> None:
    """Raises Unavailable; what was done stays done, and its event waits in kms.db for the log."""
    try:
        await admin.recorded()
    except KmsError as error:
        raise Unavailable(error.reason or str(error)) from error


# --- new slots


def _source(admin: Admin, new: NewSlot) -> Source:
    match new.kind:
        case "keyfile":
            path = new.path or f"{new.name}.key"
            is_name = Path(path).name == path and not path.startswith(".")
            if not path.isprintable() or not (is_name or Path(path).is_absolute()):
                raise SlotError(f"{path!r} is neither an absolute path nor a file's name")
            source = KeyFile(path)
            if any(slot.source == source for slot in admin.store.slots):
                raise SlotError(f"the key file {path} is another slot's")
            return source
        case "passphrase":
            return slots.new_passphrase_source()
        case "environment":
            return Environment()
        case "credential":
            return Credential()


def _new_key(admin: Admin, new: NewSlot, source: Source) -> SecretKey:
    """Made, where it is a key file that is not there; else read. Raises SlotError."""
    given = Given(
        directory=admin.store.directory,
        environ=admin.environ,
        passphrases={} if new.passphrase is None else {new.name: new.passphrase},
    )
    match source:
        case KeyFile():
            return _key_file(given, source)
        case Passphrase():
            if new.passphrase is None:
                raise SlotError("a passphrase is wanted")
            slots.check_passphrase(new.passphrase)
        case Environment() | Credential():
            if new.key is not None:
                return slots.decode_key(new.key, "the request")
    return slots.read_key(source, given, new.name)


def _key_file(given: Given, source: KeyFile) -> SecretKey:
    """A file that is there already (of a try that was cut short, or made by hand) is used as it is."""
    path = given.path_of(source)
    try:
        write_private(path, base64.b64encode(secrets.token_bytes(32)) + b"\n", replace=False)
    except FileExistsError:
        pass
    except OSError as error:
        raise SlotError(f"{path} can't be made: {error.strerror}") from error
    return slots.read_key(source, given, "")


def _in_use(admin: Admin, key: SecretKey) -> bool:
    return any(slot.fingerprint == slots.slot_fingerprint(key) for slot in admin.store.slots)


def _sealed(admin: Admin, new: NewSlot, source: Source, key: SecretKey) -> Slot:
    current = admin.store.root.current
    slot = Slot(
        slot_id=secrets.token_bytes(16),
        name=new.name,
        source=source,
        created_us=admin.now_us(),
        fingerprint=b"",
        root_version=current.version,
        sealed=b"",
    )
    return slots.sealed_slot(slot, key, current.key, current.version, store_id=admin.store.root.store_id)


def _shown(slot: Slot, admin: Admin) -> Json:
    shown: Json = {
        "slotId": slot.slot_id.hex(),
        "name": slot.name,
        "kind": slot.kind,
        "created": datetime.fromtimestamp(slot.created_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fingerprint": slot.fingerprint.hex(),
        "openedThisStart": slot.slot_id == admin.store.opened_by.slot_id,
    }
    match slot.source:
        case KeyFile(path):
            shown["path"] = str(admin.store.directory / path)
        case Passphrase(memory_kib=memory, iterations=iterations, lanes=lanes):
            shown["argon2id"] = {"memoryKiB": memory, "iterations": iterations, "lanes": lanes}
    return shown
