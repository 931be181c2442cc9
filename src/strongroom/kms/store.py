"""`KmsStore`: what the key service keeps, durable and authenticated.

Everything is read once, at the start; from then on the service's memory (`State`) is the truth, and this is written
only. Changes are made in this order, by one at a time: under `writing`, compute them out of the state, `commit` them
with the events that tell of them, apply them to the state. The store does not look into what it is given, beyond what a
root rotation must know: that a material is sealed under the root in force.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.kms_sealing import material_root_version, raw_key_id
from strongroom.database.database import Connection, Unavailable
from strongroom.database.sqlite import RESERVE_BYTES, read_copy
from strongroom.database.sqlite import backup as copy_database
from strongroom.kms import root_rotation
from strongroom.kms.audit_head import AuditHead, AuditState, audit_head_in, keep_audit
from strongroom.kms.commits import (
    SELECT_RECORDS,
    Commit,
    Event,
    Write,
    checked,
    event_place,
    open_record,
    prepare,
    sealed_record,
)
from strongroom.kms.creation import AUDIT_SECRET, DATABASE_FILE, First
from strongroom.kms.opening import Opened, opened, read_record, told_as_damage
from strongroom.kms.records import Alias, Grant, Key, LastUsage, Material, Record, identity_of
from strongroom.kms.revisions import Name, shown
from strongroom.kms.root import OpenRoot
from strongroom.kms.slot_rows import insert_slot, slot_write
from strongroom.kms.slots import Given, Slot, SlotError, Source
from strongroom.kms.state import Change, Put, Remove

T = TypeVar("T")

_RECORDS: Mapping[str, type[Record]] = {
    "key": Key,
    "material": Material,
    "alias": Alias,
    "grant": Grant,
    "usage": LastUsage,
}


class KmsStore:
    def __init__(self, held: Opened) -> None:
        self.writing = asyncio.Lock()
        self._held = held
        self._written_through = held.audit.events_through

    @classmethod
    async def open(
        cls,
        directory: Path,
        account_id: str,
        region: str,
        *,
        environ: Mapping[str, str],
        now_us: Callable[[], int],
        ask_passphrase: Callable[[Sequence[str]], str | None] | None = None,
        first_source: Source | None = None,
        may_create: bool = True,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> Self:
        """The key service's store in `directory` (DIR/kms), made where there is positively none; a root rotation that
        was cut short is finished.

        `ask_passphrase`: asks a person where nothing else opens, given the names of the slots. `first_source`: of a new
        store's first slot; None: what is given, else a key file. `may_create`: False where something shows that there
        was a store. Raises KmsStoreError, SlotError, IntegrityError, SchemaTooNew, Unavailable, OSError; each text is
        for the person who starts the service.
        """
        given = Given(directory=directory, environ=environ, ask=ask_passphrase)
        first = First(account_id=account_id, region=region, source=first_source)
        store = cls(await opened(given, first, may_create=may_create, now_us=now_us, reserve_bytes=reserve_bytes))
        try:
            async with store.writing:
                await root_rotation.finish(store._held, lambda _changes: None, lambda _done, _all: None)
        except BaseException:
            await store.close()
            raise
        return store

    @property
    def root(self) -> OpenRoot:
        return self._held.root

    @property
    def state_revision(self) -> int:
        """Counts the commits; a jump is a restore that somebody accepted."""
        return self._held.ledger.state_revision

    @property
    def last_event(self) -> int:
        """The number of the newest event that was committed."""
        return self._held.ledger.head.last_event

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(self._held.slots.values())

    @property
    def opened_by(self) -> Slot:
        """The slot that this start used."""
        return self._held.opened_by

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of the start, for the log: keys that were given and open nothing."""
        return self._held.warnings

    @property
    def directory(self) -> Path:
        return self._held.directory

    async def load(self) -> list[Record]:
        """Every record, each of them authenticated, and all of them together. Raises IntegrityError, which names the
        first record that is wrong, and Unavailable.
        """
        with told_as_damage():
            rows = [sealed_record(row) for row in await self._held.database.read(SELECT_RECORDS)]
        self._held.ledger.revisions.compare((record.name, record.place.revision) for record in rows)
        records: list[Record] = []
        for row in rows:
            plaintext = open_record(self.root, row)
            if row.name[0] in _RECORDS:
                records.append(_decoded(row.name, plaintext))
        return records

    async def commit(self, changes: Sequence[Change], events: Sequence[Event] = ()) -> int:
        """Make `changes` durable, and `events` with them; the new state revision. `writing` must be held, from before
        the changes were computed until they are applied.

        Runs to its end even if the caller is cancelled, who then does not know what came of it: nobody who commits may
        be cancelled between this and applying the changes. Raises Unavailable (nothing was changed), IntegrityError.
        """
        return await self._commit([_write_of(self.root, change) for change in changes], events)

    async def accept_restore(
        self, changed_key_ids: Iterable[str], *, after_revision: int, events: Sequence[Event]
    ) -> tuple[Change, ...]:
        """Go on from an older copy of the whole store: the keys named come back Disabled, and the state revision goes
        beyond `after_revision` (the newest that the audit log knows), so that nothing written in the time that was lost
        is ever taken for a record of now. The changes, for the state; keys that are not in this copy are passed over.

        A deletion that this copy has scheduled is called off: it may have been cancelled since, and its window may have
        passed. Managed keys stay as they are, for nobody could enable them again. Takes `writing` itself. Raises as
        `commit`.
        """
        return await _to_the_end(self._accept_restore(frozenset(changed_key_ids), after_revision, events))

    async def _accept_restore(
        self, changed_key_ids: Iterable[str], after_revision: int, events: Sequence[Event]
    ) -> tuple[Change, ...]:
        async with self.writing:
            changes = []
            for key_id in sorted(changed_key_ids):
                name: Name = ("key", key_id)
                if self._held.ledger.revisions.get(name) is None:
                    continue
                key = _decoded(name, await read_record(self._held, name))
                if isinstance(key, Key) and can_be_disabled(key):
                    back = msgspec.structs.replace(key, enabled=False, deletion_us=None, deletion_clock=None)
                    changes.append(Put(back))
            writes = [_write_of(self.root, change) for change in changes]
            await self._commit(writes, events, after_revision=after_revision)
        return tuple(changes)

    # --- events and the audit log

    async def pending_events(self) -> list[tuple[int, Event]]:
        """Events that were committed and are not known to be in the audit log, by number, in order. After a crash one
        may be in the log all the same: its eventID tells. Raises IntegrityError, also where one has been removed:
        what was done must not be left out of the log.
        """
        first, last = self._written_through + 1, self.last_event
        rows = await self._held.database.read(
            "SELECT number, root_version, sealed FROM events WHERE number > ? ORDER BY number", (self._written_through,)
        )
        found: list[tuple[int, Event]] = []
        for row in rows:
            number, root_version, sealed = checked(row, (int, int, bytes))
            plaintext = self.root.open_record(sealed, event_place(number, root_version))
            event: dict[str, Any] = msgspec.json.decode(plaintext)
            found.append((number, event))
        numbers = [number for number, _ in found]
        if numbers != list(range(first, first + len(numbers))) or first + len(numbers) <= last:
            raise IntegrityError(f"events {first} to {last} are to be written to the audit log: an event was removed")
        return found

    def forget_events(self, through: int) -> None:
        """Events up to this number are in the audit log, durably. They go with the next audit head, or at the end."""
        self._written_through = max(self._written_through, min(through, self.last_event))

    def audit_head(self) -> AuditHead | None:
        """None for a log of which nothing is known yet."""
        return self._held.audit.head

    async def keep_audit_head(self, head: AuditHead) -> None:
        """Durable on return. One small transaction: the audit log awaits it for each group of records. Raises
        Unavailable, IntegrityError.
        """
        await keep_audit(self._held, AuditState(head=head, events_through=self._written_through))

    async def audit_signing_key(self) -> bytes:
        """The seed of the Ed25519 key that signs checkpoints of the audit log: 32 bytes, not kept here."""
        return await read_record(self._held, AUDIT_SECRET)

    # --- slots and root

    async def add_slot(self, slot: Slot, events: Sequence[Event] = ()) -> None:
        """A slot in which the root in force is sealed. Takes `writing` itself. Raises SlotError where its name is taken
        or the root was rotated meanwhile, and as `commit`.
        """
        await _to_the_end(self._add_slot(slot, events))

    async def _add_slot(self, slot: Slot, events: Sequence[Event]) -> None:
        async with self.writing:
            if any(other.name == slot.name for other in self.slots):
                raise SlotError(f"there is a slot {slot.name!r} already")
            if slot.root_version != self.root.current.version:
                raise SlotError("the root key was rotated meanwhile: try again")
            await self._commit([slot_write(slot)], events, also=lambda tx: insert_slot(tx, slot))
            self._held.slots[slot.slot_id] = slot

    async def remove_slot(self, slot_id: bytes, events: Sequence[Event] = ()) -> None:
        """Takes `writing` itself. Raises SlotError where there is none or it is the last, and as `commit`."""
        await _to_the_end(self._remove_slot(slot_id, events))

    async def _remove_slot(self, slot_id: bytes, events: Sequence[Event]) -> None:
        async with self.writing:
            if slot_id not in self._held.slots:
                raise SlotError(f"there is no slot {slot_id.hex()}")
            if len(self._held.slots) == 1:
                raise SlotError("this is the last slot: without it nothing would open the root key again")
            removed = Write(name=("slot", slot_id.hex()), plaintext=None)
            await self._commit(
                [removed], events, also=lambda tx: tx.execute("DELETE FROM slots WHERE slot_id = ?", (slot_id,))
            )
            del self._held.slots[slot_id]

    async def rotate_root(
        self,
        given: Given,
        *,
        apply: Callable[[Sequence[Change]], None],
        progress: Callable[[int, int], None] = lambda _done, _all: None,
        events: Sequence[Event] = (),
    ) -> int:
        """A new root key for every slot, and everything sealed anew under it; its version. Where a rotation was cut short
        it is finished instead. Reads go on meanwhile; whoever wants to commit waits.

        `given`: must give the key of every slot, passphrases too, since no slot's key is kept. `apply`: the materials
        sealed anew, for the state, whenever some are durable. Raises SlotError (nothing was changed), and Unavailable or
        IntegrityError: then nothing more is committed until another try, or the next start, has finished it.
        """
        async with self.writing:
            return await _to_the_end(root_rotation.rotate(self._held, given, events, apply, progress))

    async def copy_to(self, destination: Path) -> AuditHead | None:
        """Copy the database as of one moment to a new file; the end of the audit log as the copy knows it. No rotation of
        the root may end meanwhile. Raises FileExistsError, OSError, Unavailable, IntegrityError.
        """
        await asyncio.to_thread(copy_database, self.directory / DATABASE_FILE, destination)
        with told_as_damage(), read_copy(destination) as read:
            return audit_head_in(self.root, read)

    async def close(self) -> None:
        held = self._held
        try:
            if self._written_through > held.audit.events_through:
                await keep_audit(held, AuditState(head=held.audit.head, events_through=self._written_through))
        except (Unavailable, IntegrityError):
            pass  # events that are kept too long are found in the log at the next start
        finally:
            await held.database.close()
            held.root.close()
            os.close(held.lock)

    async def _commit(
        self,
        writes: Sequence[Write],
        events: Sequence[Event],
        *,
        also: Callable[[Connection], object] = lambda _tx: None,
        after_revision: int = 0,
    ) -> int:
        if not self.writing.locked():
            raise RuntimeError("changes are computed and committed under `writing`")
        if self.root.previous is not None:
            raise Unavailable("a rotation of the root key was cut short: `strongroom kms rotate-root` finishes it")
        commit = prepare(self._held.ledger, self.root, writes, events, after_revision=after_revision)
        await _to_the_end(self._written(commit, also))
        return commit.state_revision

    async def _written(self, commit: Commit, also: Callable[[Connection], object]) -> None:
        def write(tx: Connection) -> None:
            commit.write(tx)
            also(tx)

        await self._held.database.transact(write)
        self._held.ledger.keep(commit)


def can_be_disabled(key: Key) -> bool:
    """A managed key can't: nobody could enable it again."""
    return key.manager == "CUSTOMER" and not key.service


def _write_of(root: OpenRoot, change: Change) -> Write:
    match change:
        case Remove(kind=kind, record_id=record_id):
            return Write(name=(kind, record_id), plaintext=None)
        case Put(record=record):
            if isinstance(record, Material) and record.sealed:
                version = material_root_version(record.sealed)
                if version != root.current.version:
                    raise RuntimeError(
                        f"a material is sealed under version {version} of the root, which is not in force"
                    )
            kind, record_id, key_id = identity_of(record)
            return Write(name=(kind, record_id), key_id=raw_key_id(key_id), plaintext=msgspec.msgpack.encode(record))


def _decoded(name: Name, plaintext: bytes) -> Record:
    try:
        record: Record = msgspec.msgpack.decode(plaintext, type=_RECORDS[name[0]])
    except msgspec.DecodeError:
        raise IntegrityError(f"{shown(name)} holds what this version cannot read") from None
    if identity_of(record)[:2] != name:
        raise IntegrityError(f"{shown(name)} holds another record")
    return record


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. If the caller is cancelled, `work` comes to its end all the same, and then the caller's
    cancellation goes on: memory and disk never part.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.done():
                break
            cancelled = error
        except BaseException:  # noqa: BLE001  told below
            break
    if cancelled is not None:
        task.exception()  # seen: nobody is left to be told
        raise cancelled
    return task.result()
