"""The end of the audit log, as the key service knows it: kept sealed here, so that a log whose tail was cut shows.

It is written far more often than anything else, once for every group of audit records, so it is a row of its own that no
page of revisions covers. An older copy of it is told by the events that it claims to be pending, or, as the whole file's,
by the log.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Connection, Row, Value
from strongroom.kms.commits import Statement, checked, execute, head_place
from strongroom.kms.root import OpenRoot

if TYPE_CHECKING:
    from strongroom.kms.opening import Opened

_PUT = "UPDATE heads SET revision = ?, root_version = ?, sealed = ? WHERE name = 'audit' AND revision < ?"


class AuditHead(Struct, frozen=True, kw_only=True, array_like=True):
    """The end of the audit log as the key service last knew it. `hash`: of its last record."""

    sequence: int
    hash: bytes
    state_revision: int


class AuditState(Struct, frozen=True, kw_only=True, array_like=True):
    """`events_through`: every event up to this number is in the audit log."""

    head: AuditHead | None = None
    events_through: int = 0


async def keep_audit(held: "Opened", audit: AuditState) -> None:
    """Durable on return. Of several at a time the last one called counts. Raises Unavailable, IntegrityError."""
    held.audit = audit  # at once, as the revision: whoever seals it anew meanwhile must not bring back the one before
    held.audit_revision += 1
    revision, version = held.audit_revision, held.root.current.version
    sealed = held.root.seal_record(msgspec.msgpack.encode(audit), head_place("audit", revision, version))
    put = Statement(_PUT, (revision, version, sealed, revision), "the audit head")

    def write(tx: Connection) -> None:
        execute(tx, [put])
        tx.execute("DELETE FROM events WHERE number <= ?", (audit.events_through,))

    await held.database.transact(write)


def audit_head_in(root: OpenRoot, read: Callable[[str, Sequence[Value]], list[Row]]) -> AuditHead | None:
    """What a copy of the database knows, by `read`. Raises IntegrityError."""
    rows = read("SELECT revision, root_version, sealed FROM heads WHERE name = 'audit'", ())
    if len(rows) != 1:
        raise IntegrityError("the head of the audit is missing")
    revision, root_version, sealed = checked(rows[0], (int, int, bytes))
    plaintext = root.open_record(sealed, head_place("audit", revision, root_version))
    return msgspec.msgpack.decode(plaintext, type=AuditState).head
