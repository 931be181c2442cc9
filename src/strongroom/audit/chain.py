"""The chain of the audit log: one record a line, each bound to all that came before it. Pure.

    {"sequence":7,"previousHash":"<hex>","hash":"<hex>","stateRevision":3,"event":{...}}

    hash = SHA-256(ctx("audit/record", sequence u64, previous hash, state revision u64, the event's bytes as they stand))

A line has exactly this form, so that its bytes follow from its fields: no byte of it can change without another hash,
and nobody needs to serialise JSON in the same way to check it. Record 1 follows the hash of 64 zeros. What the event says
is none of this module's business; docs/operations/audit.md describes the format for others.
"""

import hashlib
import re
from dataclasses import dataclass

from strongroom.crypto.context import ctx, u64

_LABEL = "audit/record"
_LINE = re.compile(
    rb'\{"sequence":([1-9][0-9]{0,18}),"previousHash":"([0-9a-f]{64})","hash":"([0-9a-f]{64})",'
    rb'"stateRevision":(0|[1-9][0-9]{0,18}),"event":(\{.*\})\}\n'
)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record of a log: all that is needed to go on from it, and to know it again."""

    sequence: int
    hash: bytes
    state_revision: int


GENESIS = Head(0, bytes.fromhex("00" * 32), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A line as it was read. `event`: its bytes, JSON."""

    sequence: int
    previous_hash: bytes
    hash: bytes
    state_revision: int
    event: bytes

    @property
    def head(self) -> Head:
        return Head(self.sequence, self.hash, self.state_revision)


class BadRecord(Exception):
    """A line is no record, or not the one that was written. The text says which, and is meant for people."""


def chained(head: Head, event: bytes, state_revision: int) -> tuple[bytes, Head]:
    """The line of the record after `head`, its newline included, and the head that it makes.

    `event`: a JSON object in ASCII without a line end, as `event.encode` makes it.
    """
    sequence = head.sequence + 1
    digest = _hash(sequence, head.hash, state_revision, event)
    line = b'{"sequence":%d,"previousHash":"%b","hash":"%b","stateRevision":%d,"event":%b}\n' % (
        sequence,
        head.hash.hex().encode(),
        digest.hex().encode(),
        state_revision,
        event,
    )
    return line, Head(sequence, digest, state_revision)


def parse(line: bytes) -> Record:
    """The record of a line with its newline. Raises BadRecord, also where its own hash is not that of the rest."""
    if (match := _LINE.fullmatch(line)) is None:
        raise BadRecord("the line is not a record")
    sequence, previous, digest, revision, event = match.groups()
    record = Record(
        sequence=int(sequence),
        previous_hash=bytes.fromhex(previous.decode()),
        hash=bytes.fromhex(digest.decode()),
        state_revision=int(revision),
        event=event,
    )
    if _hash(record.sequence, record.previous_hash, record.state_revision, event) != record.hash:
        raise BadRecord(f"record {record.sequence} was changed: its hash is not that of its content")
    return record


def check_follows(record: Record, head: Head) -> None:
    """Raises BadRecord where `record` is not the one after `head`."""
    expected = head.sequence + 1
    if record.sequence > expected:
        missing = (
            f"record {expected} is"
            if record.sequence == expected + 1
            else f"records {expected} to {record.sequence - 1} are"
        )
        raise BadRecord(f"{missing} missing: record {record.sequence} comes instead")
    if record.sequence < expected:
        raise BadRecord(f"record {record.sequence} stands where record {expected} belongs")
    if record.previous_hash != head.hash:
        raise BadRecord(
            f"record {record.sequence} was written after another record {head.sequence} than the one before it"
        )


def _hash(sequence: int, previous_hash: bytes, state_revision: int, event: bytes) -> bytes:
    return hashlib.sha256(ctx(_LABEL, u64(sequence), previous_hash, u64(state_revision), event)).digest()
