"""One commit of the key service's database: the rows that it writes, sealed, with the pages of revisions, the head and
the events that go with them.

A commit is prepared in memory, written in one transaction, and only then kept. It finds the database as the last one
left it, row by row, or writes nothing: whoever edits the file of a running service is found out here. This module knows
no key of a client; what a record says is bytes to it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.kms_sealing import RecordPlace
from strongroom.database.database import Connection, Row, Value
from strongroom.kms.revisions import Head, Name, Page, Revisions, encode_page, shown
from strongroom.kms.root import OpenRoot

Event = Mapping[str, Any]
"""In CloudTrail's field names; of JSON's types."""

_UPDATE_RECORD = (
    "UPDATE records SET key_id = ?, revision = ?, root_version = ?, sealed = ?"
    " WHERE kind = ? AND record_id = ? AND revision = ?"
)
_INSERT_RECORD = (
    "INSERT INTO records (key_id, revision, root_version, sealed, kind, record_id) VALUES (?, ?, ?, ?, ?, ?)"
)
_PUT_PAGE = (
    "INSERT INTO revisions (page, revision, root_version, sealed) VALUES (?, ?, ?, ?) ON CONFLICT (page)"
    " DO UPDATE SET revision = excluded.revision, root_version = excluded.root_version, sealed = excluded.sealed"
)


@dataclass(slots=True)
class Ledger:
    """What the last commit left: all that the next one is made from."""

    state_revision: int
    head: Head
    revisions: Revisions

    def keep(self, commit: "Commit") -> None:
        """After `commit` is durable."""
        self.state_revision = commit.state_revision
        self.head = commit.head
        self.revisions.keep(commit.pages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One record to be written, or removed where `plaintext` is None. `key_id`: b"" where it goes with no key."""

    name: Name
    key_id: bytes = b""
    plaintext: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """`write`: for `Database.transact`; may be run again."""

    state_revision: int
    head: Head
    pages: Mapping[int, Page]
    write: Callable[[Connection], None]


def prepare(
    ledger: Ledger,
    root: OpenRoot,
    writes: Iterable[Write],
    events: Sequence[Event] = (),
    *,
    root_version: int | None = None,
    previous_root: int = 0,
    after_revision: int = 0,
) -> Commit:
    """`writes`: of several for one name the last counts. `root_version`: under which all is sealed, the current one
    mostly. `previous_root`: of the commit that begins a rotation of the root. `after_revision`: the commit's revision is
    to be higher than this too.
    """
    version = root_version or root.current.version
    revision = max(ledger.state_revision, after_revision) + 1
    last = {write.name: write for write in writes}
    pages = ledger.revisions.changed({name: None if w.plaintext is None else revision for name, w in last.items()})
    head = Head(
        account_id=ledger.head.account_id,
        region=ledger.head.region,
        pages=tuple(revision if number in pages else before for number, before in enumerate(ledger.head.pages)),
        last_event=ledger.head.last_event + len(events),
        previous_root=previous_root,
    )
    statements: list[Statement | None] = [_put_state_head(root, head, version, revision, ledger.state_revision)]
    statements += [_put_record(root, w, version, revision, ledger.revisions.get(w.name)) for w in last.values()]
    statements += [put_page(root, number, page, version, revision) for number, page in pages.items()]
    statements += [
        _put_event(root, number, msgspec.json.encode(event), version)
        for number, event in enumerate(events, ledger.head.last_event + 1)
    ]
    return Commit(state_revision=revision, head=head, pages=pages, write=lambda tx: execute(tx, statements))


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL that must touch exactly one row; `what` it touches, for people."""

    sql: str
    params: Sequence[Value]
    what: str


def execute(tx: Connection, statements: Iterable[Statement | None]) -> None:
    """Raises IntegrityError where a row is not there as it was left."""
    for statement in statements:
        if statement is not None:
            tx.execute(statement.sql, statement.params)
            if tx.changed != 1:
                raise IntegrityError(f"{statement.what} was changed in the database by somebody else")


def _put_record(root: OpenRoot, write: Write, version: int, revision: int, before: int | None) -> Statement | None:
    kind, record_id = write.name
    what = shown(write.name)
    if write.plaintext is None:
        remove = "DELETE FROM records WHERE kind = ? AND record_id = ? AND revision = ?"
        return None if before is None else Statement(remove, (kind, record_id, before), what)
    place = RecordPlace(kind=kind, record_id=record_id, key_id=write.key_id, revision=revision, root_version=version)
    values = (write.key_id, revision, version, root.seal_record(write.plaintext, place), kind, record_id)
    return (
        Statement(_INSERT_RECORD, values, what)
        if before is None
        else Statement(_UPDATE_RECORD, (*values, before), what)
    )


def _put_state_head(root: OpenRoot, head: Head, version: int, revision: int, before: int) -> Statement:
    place = head_place("state", revision, version)
    sealed = root.seal_record(msgspec.msgpack.encode(head), place)
    sql = "UPDATE heads SET revision = ?, root_version = ?, sealed = ? WHERE name = 'state' AND revision = ?"
    return Statement(sql, (revision, version, sealed, before), "the head of the state")


def put_page(root: OpenRoot, number: int, page: Page, version: int, revision: int) -> Statement:
    sealed = root.seal_record(encode_page(page), page_place(number, revision, version))
    return Statement(_PUT_PAGE, (number, revision, version, sealed), f"page {number} of the revisions")


def _put_event(root: OpenRoot, number: int, plaintext: bytes, version: int) -> Statement:
    sealed = root.seal_record(plaintext, event_place(number, version))
    sql = "INSERT INTO events (number, root_version, sealed) VALUES (?, ?, ?)"
    return Statement(sql, (number, version, sealed), f"event {number}")


# --- where the rows that are no records have their place


def head_place(name: str, revision: int, root_version: int) -> RecordPlace:
    return RecordPlace(kind="head", record_id=name, key_id=b"", revision=revision, root_version=root_version)


def page_place(number: int, revision: int, root_version: int) -> RecordPlace:
    return RecordPlace(
        kind="revisions", record_id=str(number), key_id=b"", revision=revision, root_version=root_version
    )


def event_place(number: int, root_version: int) -> RecordPlace:
    return RecordPlace(kind="event", record_id="", key_id=b"", revision=number, root_version=root_version)


def root_place(version: int, root_version: int) -> RecordPlace:
    """Of the previous root, sealed under the one in force."""
    return RecordPlace(kind="root", record_id="", key_id=b"", revision=version, root_version=root_version)


# --- reading rows that somebody may have edited


SELECT_RECORDS = "SELECT kind, record_id, key_id, revision, root_version, sealed FROM records"
SELECT_RECORD = f"{SELECT_RECORDS} WHERE kind = ? AND record_id = ?"


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """A row of `records`."""

    name: Name
    place: RecordPlace
    sealed: bytes


def sealed_record(row: Row) -> SealedRecord:
    """Of SELECT_RECORDS. Raises IntegrityError."""
    kind, record_id, key_id, revision, root_version, sealed = checked(row, (str, str, bytes, int, int, bytes))
    place = RecordPlace(kind=kind, record_id=record_id, key_id=key_id, revision=revision, root_version=root_version)
    return SealedRecord((kind, record_id), place, sealed)


def open_record(root: OpenRoot, record: SealedRecord) -> bytes:
    """Raises IntegrityError, which names the record."""
    try:
        return root.open_record(record.sealed, record.place)
    except IntegrityError as error:
        raise IntegrityError(f"{shown(record.name)} was damaged or edited: {error}") from error


def checked(row: Row, types: Sequence[type]) -> tuple[Any, ...]:
    """`row`, whose values SQLite does not hold to the types of their columns. Raises IntegrityError."""
    if len(row) != len(types) or not all(type(value) is wanted for value, wanted in zip(row, types, strict=True)):
        raise IntegrityError("a row of kms.db holds what cannot have been written")
    return cast("tuple[Any, ...]", row)
