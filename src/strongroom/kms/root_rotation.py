"""Rotation of the root key, in transactions that any next start can finish.

The first transaction brings the new root into force: it is sealed in every slot in the place of the old one, and the old
one is sealed under the new. Then page by page every record and every material is sealed anew, the events, the audit
head. The last one removes the old root. Killed anywhere, the file opens: by the slots, through the new root, to the old
one for as long as something hangs on it.

The head of the state, always sealed under the root in force, says whether there is a root of before. So nobody brings one
back into force who kept its row: whoever knows that root could seal records under it as they please.

Every slot's key must be given, passphrases too. If slot keys were kept, sealed under the root, whoever opens an old copy
of kms.db with a removed slot would have the keys of all the slots that are left, and with them the new root.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import msgspec

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.secret_key import SecretKey
from strongroom.database.database import Connection
from strongroom.kms.audit_head import keep_audit
from strongroom.kms.commits import (
    Event,
    SealedRecord,
    Statement,
    checked,
    event_place,
    execute,
    open_record,
    prepare,
    put_page,
    root_place,
)
from strongroom.kms.opening import Opened, read_record, read_sealed
from strongroom.kms.records import Key, Material
from strongroom.kms.revisions import shown
from strongroom.kms.root import RootVersion
from strongroom.kms.slot_rows import slot_write, update_slot
from strongroom.kms.slots import Given, Slot, sealed_slot, slot_key
from strongroom.kms.state import Change, Put

Progress = Callable[[int, int], None]
"""Called with the number of records done and of all."""
Apply = Callable[[Sequence[Change]], None]

_AT_ONCE = 500  # records in a transaction, about
_A_TURN = 16  # records between two chances for others: some milliseconds
_TABLES = ("records", "revisions", "heads", "events")


async def rotate(held: Opened, given: Given, events: Sequence[Event], apply: Apply, progress: Progress) -> int:
    """The version that is in force then. A rotation that was cut short is finished, and no new one begun. Raises
    SlotError, IntegrityError, Unavailable.
    """
    if held.root.previous is None:
        await _bring_into_force(held, given, events)
    await finish(held, apply, progress)
    return held.root.current.version


async def _bring_into_force(held: Opened, given: Given, events: Sequence[Event]) -> None:
    new = RootVersion(held.root.current.version + 1, SecretKey(secrets.token_bytes(32)))
    with ExitStack() as wiped:
        keys: dict[bytes, SecretKey] = {}
        for slot in held.slots.values():  # in a thread: Argon2id takes seconds
            keys[slot.slot_id] = wiped.enter_context(await asyncio.to_thread(slot_key, slot, given))
        slots = [
            sealed_slot(slot, keys[slot.slot_id], new.key, new.version, store_id=held.root.store_id)
            for slot in held.slots.values()
        ]
    held.root.coming = new
    try:
        await _commit_root(held, new, slots, events)
    except BaseException:
        held.root.coming = None
        new.zero()
        raise
    held.root.replace_current(new)
    held.slots = {slot.slot_id: slot for slot in slots}


async def _commit_root(held: Opened, new: RootVersion, slots: Sequence[Slot], events: Sequence[Event]) -> None:
    old = held.root.current
    writes = [slot_write(slot) for slot in slots]
    commit = prepare(held.ledger, held.root, writes, events, root_version=new.version, previous_root=old.version)
    sealed_old = held.root.seal_record(bytes(old.key.material), root_place(old.version, new.version))
    keep_old = Statement(
        "UPDATE roots SET sealed = ? WHERE version = ? AND sealed IS NULL", (sealed_old, old.version), "the root key"
    )
    put_new = Statement(
        "INSERT INTO roots (version, fingerprint, sealed) VALUES (?, ?, NULL)",
        (new.version, new.fingerprint),
        "the root key",
    )

    def write(tx: Connection) -> None:
        commit.write(tx)
        execute(tx, [keep_old, put_new, *(update_slot(slot) for slot in slots)])

    await held.database.transact(write)
    held.ledger.keep(commit)


async def finish(held: Opened, apply: Apply, progress: Progress) -> None:
    """Seal anew what is under the previous root, and forget that one. Nothing to do, mostly. Raises IntegrityError,
    Unavailable.
    """
    if held.root.previous is None:
        return
    total, done = held.ledger.revisions.count(), 0
    for numbers in _batches(held):
        done += await _reseal_pages(held, numbers, apply)
        progress(done, total)
    await _reseal_events(held)
    await keep_audit(held, held.audit)
    await _remove_previous(held, held.root.previous)
    held.root.forget_previous()


def _batches(held: Opened) -> list[list[int]]:
    """The pages that there are, as many together as make a batch."""
    batches: list[list[int]] = [[]]
    size = 0
    for number, page in enumerate(held.ledger.revisions.pages):
        if held.ledger.head.pages[number]:
            batches[-1].append(number)
            size += len(page)
            if size >= _AT_ONCE:
                batches.append([])
                size = 0
    return [batch for batch in batches if batch]


async def _reseal_pages(held: Opened, numbers: Sequence[int], apply: Apply) -> int:
    version = held.root.current.version
    statements: list[Statement] = []
    changes: list[Change] = []
    count = 0
    for number in numbers:
        page = held.ledger.revisions.pages[number]
        count += len(page)
        for turn, name in enumerate(page):
            if turn % _A_TURN == 0:  # decrypts go on meanwhile, on this event loop
                await asyncio.sleep(0)
            record = await read_sealed(held, name)
            if record.place.root_version != version:
                statements.append(_reseal(held, record, await _resealed_plaintext(held, record, changes)))
        statements.append(put_page(held.root, number, page, version, held.ledger.head.pages[number]))
    await held.database.transact(lambda tx: execute(tx, statements))
    apply(changes)
    return count


async def _resealed_plaintext(held: Opened, record: SealedRecord, changes: list[Change]) -> bytes:
    plaintext = open_record(held.root, record)
    if record.name[0] != "material":
        return plaintext
    material = msgspec.msgpack.decode(plaintext, type=Material)
    key = msgspec.msgpack.decode(await read_record(held, ("key", material.key_id)), type=Key)
    material = msgspec.structs.replace(material, sealed=held.root.reseal_material(key, material))
    changes.append(Put(material))
    return msgspec.msgpack.encode(material)


def _reseal(held: Opened, record: SealedRecord, plaintext: bytes) -> Statement:
    place = replace(record.place, root_version=held.root.current.version)
    return Statement(
        "UPDATE records SET root_version = ?, sealed = ? WHERE kind = ? AND record_id = ? AND revision = ?",
        (place.root_version, held.root.seal_record(plaintext, place), *record.name, place.revision),
        shown(record.name),
    )


async def _reseal_events(held: Opened) -> None:
    version = held.root.current.version
    rows = await held.database.read(
        "SELECT number, root_version, sealed FROM events WHERE root_version <> ?", (version,)
    )
    sealed = []
    for row in rows:
        number, before, message = checked(row, (int, int, bytes))
        plaintext = held.root.open_record(message, event_place(number, before))
        sealed.append((version, held.root.seal_record(plaintext, event_place(number, version)), number))

    def write(tx: Connection) -> None:
        for params in sealed:  # one that the audit log has got meanwhile is gone, and stays so
            tx.execute("UPDATE events SET root_version = ?, sealed = ? WHERE number = ?", params)

    if sealed:
        await held.database.transact(write)


async def _remove_previous(held: Opened, previous: RootVersion) -> None:
    version = held.root.current.version
    commit = prepare(held.ledger, held.root, [])

    def write(tx: Connection) -> None:
        commit.write(tx)
        for table in _TABLES:
            left = tx.execute(f"SELECT COUNT(*) FROM {table} WHERE root_version <> ?", (version,))  # noqa: S608
            if left != [(0,)]:
                raise IntegrityError(f"kms.db was changed by somebody else: {table} under another root were put back")
        execute(tx, [Statement("DELETE FROM roots WHERE version = ?", (previous.version,), "the root key")])

    await held.database.transact(write)
    held.ledger.keep(commit)
