"""What the log holds when it is opened, against what it must hold: only its tail is read, and nothing is changed.

Two anchors say how far it had come: the head that the key service keeps in its own database, and the newest checkpoint.
Records after the kept head are what a crash leaves: durable, but not yet acknowledged to anybody. What is wrong behind an
anchor was done by somebody; so was a database that is older than the records. The caller decides what follows from that.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from strongroom.audit.chain import GENESIS, BadRecord, Head, Record, check_follows, parse
from strongroom.audit.checkpoint import BadNote, Verifier, open_checkpoint
from strongroom.audit.event import Event, decode
from strongroom.audit.files import CHECKPOINTS, LogFile, lines, list_files, notes, opened, opened_directory

# A torn group: as much as one write may hold (log.py), and a record of the greatest size.
TORN_LIMIT = 2 << 20
# Two groups: the last one that was kept, and one after it that was not.
_WINDOW = 4 << 20
_NOTES_WINDOW = 64 << 10
_LISTED = 10


class AuditLogCut(Exception):
    """Records that were acknowledged are gone or changed. The text names the first one and is meant for people."""


@dataclass(frozen=True, slots=True)
class Change:
    """A recorded change that the database does not know."""

    sequence: int
    event_name: str
    key_arns: tuple[str, ...]


class StateRolledBack(Exception):
    """The database is older than the log. `changes`: what was recorded since, oldest first. `state_revision`: the newest
    that the log knows.
    """

    def __init__(self, text: str, changes: tuple[Change, ...], state_revision: int) -> None:
        super().__init__(text)
        self.changes = changes
        self.state_revision = state_revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`head`: what to go on from, in `file` after its `size` good bytes, or in a new file where `file` is None.

    `torn`: bytes of `file` after those. `empty`: files without a record. `recovered`: the eventIDs of the records after
    the kept head, and of the group that ends with it at least. Where there are `problems`, `head` is beyond every record
    that was ever there.
    """

    head: Head
    file: LogFile | None
    size: int
    torn: int
    empty: tuple[str, ...]
    recovered: frozenset[str]
    problems: tuple[AuditLogCut | StateRolledBack, ...]


def last_checkpoint(directory: int, verifier: Verifier) -> tuple[Head | None, int]:
    """The newest record that a checkpoint of this key names (its state revision is not known: 0), and how many bytes of
    the file of checkpoints are whole notes. Raises OSError.
    """
    try:
        with opened(CHECKPOINTS, directory) as descriptor:
            size = os.fstat(descriptor).st_size
            found = list(notes(descriptor, max(0, size - _NOTES_WINDOW), size))
    except FileNotFoundError:
        return None, 0
    newest: Head | None = None
    good = 0 if size <= _NOTES_WINDOW else size
    for note in found:
        if not note.complete:
            continue
        good = note.stop
        try:
            checkpoint = open_checkpoint(note.text, verifier)
        except BadNote:  # cut by the window, or of another key: `verify` tells of those
            continue
        newest = Head(checkpoint.sequence, checkpoint.hash, 0)
    return newest, good


def find_problems(
    directory: Path, verifier: Verifier, *, kept: Head | None, state_revision: int
) -> tuple[AuditLogCut | StateRolledBack, ...]:
    """All for which the log in `directory` would be refused. Raises OSError."""
    with opened_directory(directory) as descriptor:
        checkpoint, _ = last_checkpoint(descriptor, verifier)
        return examine(descriptor, kept=kept, checkpoint=checkpoint, state_revision=state_revision).problems


def examine(directory: int, *, kept: Head | None, checkpoint: Head | None, state_revision: int) -> Found:
    """Read the tail of the log. `state_revision`: of the database now. Raises OSError."""
    # What the kept head says, it says of all before it: a checkpoint matters only where the database is older than it.
    kept = kept or GENESIS
    anchors = [kept] if kept.sequence > 0 else []
    anchors += [checkpoint] if checkpoint is not None and checkpoint.sequence > kept.sequence else []
    look = _Look(anchors=anchors, kept=kept.sequence, state_revision=state_revision)
    files, empty = _without_empty(directory, list_files(directory))
    size = torn = 0
    for number in range(_first_to_read(files, look.kept), len(files)):
        with opened(files[number].name, directory) as descriptor:
            is_last = number == len(files) - 1
            size, torn = look.through(descriptor, files[number], is_last=is_last)
    look.finish()
    problems: list[AuditLogCut | StateRolledBack] = []
    if look.rolled_back is not None:  # first: what is done about it needs what it says
        problems.append(StateRolledBack(look.rolled_back_text(), tuple(look.changes), look.newest_revision))
    if look.cut is not None:
        problems.append(AuditLogCut(look.cut))
    return Found(
        head=look.beyond(files) if look.cut else look.last or GENESIS,
        file=files[-1] if files and not look.cut else None,
        size=size,
        torn=0 if look.cut else torn,
        empty=tuple(empty),
        recovered=frozenset(look.recovered),
        problems=tuple(problems),
    )


def _without_empty(directory: int, files: list[LogFile]) -> tuple[list[LogFile], list[str]]:
    """A crash between making a file and writing to it leaves one at the end."""
    empty: list[str] = []
    while files and os.stat(files[-1].name, dir_fd=directory, follow_symlinks=False).st_size == 0:
        empty.append(files.pop().name)
    return files, empty


def _first_to_read(files: Sequence[LogFile], sequence: int) -> int:
    return max((number for number, file in enumerate(files) if file.first <= sequence), default=0)


@dataclass(slots=True, kw_only=True)
class _Look:
    """What has been seen so far. `kept`: the sequence of the kept head, the oldest record that matters."""

    anchors: list[Head]
    kept: int
    state_revision: int
    last: Head | None = None
    highest: Head = GENESIS
    cut: str | None = None
    rolled_back: Record | None = None
    newest_revision: int = 0
    changes: list[Change] = field(default_factory=list)
    recovered: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.highest = max((GENESIS, *self.anchors), key=lambda head: head.sequence)

    def through(self, descriptor: int, file: LogFile, *, is_last: bool) -> tuple[int, int]:
        """Read one file; its good bytes, and those after them that a crash has torn."""
        size = os.fstat(descriptor).st_size
        begin = self._window(descriptor, size) if is_last and self.last is None else 0
        for offset, line in lines(descriptor, begin, size):
            try:
                record = parse(line)
                self._check(record, file if offset == 0 else None)
            except BadRecord as error:
                if is_last and self._has_seen_acknowledged() and size - offset <= TORN_LIMIT:
                    return offset, size - offset
                belongs = self.last.sequence + 1 if self.last is not None else self.kept
                self._cut(f"{file.name}, where record {belongs} belongs: {error}")
                with_own_hash = _record(line)
                if with_own_hash is None:
                    continue
                record = with_own_hash
            self._see(record)
        return size, 0

    def finish(self) -> None:
        reached = self.last.sequence if self.last is not None else 0
        wanted = max((anchor.sequence for anchor in self.anchors), default=0)
        if reached < wanted:
            which = f"record {wanted} is" if wanted == reached + 1 else f"records {reached + 1} to {wanted} are"
            self._cut(f"{which} missing: the log ends before the last record that was acknowledged")

    def beyond(self, files: Sequence[LogFile]) -> Head:
        """The highest record that was ever heard of, so that no later one repeats its number, or the name of a file."""
        named = files[-1].first if files else 0
        return Head(max(self.highest.sequence, named), self.highest.hash, self.highest.state_revision)

    def rolled_back_text(self) -> str:
        assert self.rolled_back is not None
        shown = ", ".join(f"{change.sequence} {change.event_name}" for change in self.changes[:_LISTED])
        more = f" and {len(self.changes) - _LISTED} more" if len(self.changes) > _LISTED else ""
        return (
            f"the database of the key service is older than its audit log: it is at revision {self.state_revision},"
            f" and record {self.rolled_back.sequence} was written at revision {self.rolled_back.state_revision}."
            f" Changes since: {shown or 'none that succeeded'}{more}"
        )

    def _window(self, descriptor: int, size: int) -> int:
        """Where to begin reading the last file: near its end, if all that matters is after that."""
        if size <= _WINDOW:
            return 0
        window = lines(descriptor, size - _WINDOW, size)
        next(window)  # seldom a whole line
        offset, line = next(window, (0, b""))
        record = _record(line)
        return offset if record is not None and record.sequence <= self.kept else 0

    def _check(self, record: Record, begins: LogFile | None) -> None:
        """Raises BadRecord where it is not the next one, or not the one that an anchor or the file's name says."""
        if begins is not None and record.sequence != begins.first:
            raise BadRecord(f"the file begins with record {record.sequence}, and its name says {begins.first}")
        if self.last is not None:
            check_follows(record, self.last)
        elif self.kept == 0:
            check_follows(record, GENESIS)
        elif record.sequence > self.kept:
            raise BadRecord(f"records before {record.sequence} are missing, among them record {self.kept}")
        for anchor in self.anchors:
            if anchor.sequence == record.sequence and anchor.hash != record.hash:
                raise BadRecord(
                    f"record {record.sequence} is not the one that was acknowledged: it or one before it was changed"
                )

    def _see(self, record: Record) -> None:
        self.last = record.head
        if record.sequence > self.highest.sequence:
            self.highest = record.head
        event = _event(record)
        # Also of records before the kept head: who was told last may not have noted it when the process died.
        self.recovered.append(str(event.get("eventID", "")))
        if record.sequence <= self.kept:
            return
        self.newest_revision = max(self.newest_revision, record.state_revision)
        if record.state_revision > self.state_revision:
            self.rolled_back = self.rolled_back or record
            if not event.get("readOnly", True) and "errorCode" not in event:
                arns = tuple(str(resource.get("ARN")) for resource in event.get("resources") or ())
                self.changes.append(Change(record.sequence, str(event.get("eventName", "")), arns))

    def _has_seen_acknowledged(self) -> bool:
        """Whether every record that somebody was told of has been read."""
        reached = self.last.sequence if self.last is not None else 0
        return all(anchor.sequence <= reached for anchor in self.anchors)

    def _cut(self, text: str) -> None:
        self.cut = self.cut or text


def _event(record: Record) -> Event:
    try:
        return decode(record.event)
    except ValueError:  # whoever wrote it, it was not this log
        return {}


def _record(line: bytes) -> Record | None:
    try:
        return parse(line)
    except BadRecord:
        return None
