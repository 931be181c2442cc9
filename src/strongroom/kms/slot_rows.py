"""Unseal slots as rows: once in clear, since they are read before the root is open, and once as a record, which says
whether the clear ones are those that were written.
"""

import msgspec

from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Connection, Row
from strongroom.kms.commits import Statement, Write, checked
from strongroom.kms.slots import Slot, decode_source, encode_source

_COLUMNS = "slot_id, name, parameters, created_us, fingerprint, root_version, sealed, kind"
_TYPES = (bytes, str, bytes, int, bytes, int, bytes, str)
SELECT_SLOTS = f"SELECT {_COLUMNS} FROM slots ORDER BY name"  # noqa: S608
_INSERT = f"INSERT INTO slots ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


def slot_write(slot: Slot) -> Write:
    return Write(name=("slot", slot.slot_id.hex()), plaintext=msgspec.msgpack.encode(slot))


def insert_slot(tx: Connection, slot: Slot) -> None:
    tx.execute(
        _INSERT,
        (
            slot.slot_id,
            slot.name,
            encode_source(slot.source),
            slot.created_us,
            slot.fingerprint,
            slot.root_version,
            slot.sealed,
            slot.kind,
        ),
    )


def slot_of(row: Row) -> Slot:
    """Raises IntegrityError."""
    slot_id, name, parameters, created_us, fingerprint, root_version, sealed, kind = checked(row, _TYPES)
    slot = Slot(
        slot_id=slot_id,
        name=name,
        source=decode_source(parameters),
        created_us=created_us,
        fingerprint=fingerprint,
        root_version=root_version,
        sealed=sealed,
    )
    if slot.kind != kind or not 0 < root_version < 2**32:
        raise IntegrityError(f"the unseal slot {name!r} was edited in kms.db")
    return slot


def update_slot(slot: Slot) -> Statement:
    """Its new root in the place of the one before."""
    return Statement(
        "UPDATE slots SET root_version = ?, sealed = ? WHERE slot_id = ? AND root_version < ?",
        (slot.root_version, slot.sealed, slot.slot_id, slot.root_version),
        slot.shown,
    )
