"""Is the log complete? Everything is read, nothing is believed: every record's hash, the order of all of them, every
checkpoint's signature, and that each checkpoint names a record that is there.

It works beside a running service. What is checked was fixed at the beginning: the checkpoints first, then the lengths of
the files, so that each of these checkpoints names a record within these lengths. Bytes after the last line end are a
record that is being written, or that a crash has torn; they belong to nobody's answer and are counted only.

A chain proves order; only a checkpoint proves that records are those that the key service wrote, and that none is missing
at the end. Records after the last checkpoint are chained and no more.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from strongroom.audit.chain import GENESIS, BadRecord, Head, Record, check_follows, parse
from strongroom.audit.checkpoint import BadNote, Checkpoint, Verifier, open_checkpoint
from strongroom.audit.files import CHECKPOINTS, LogFile, lines, list_files, notes, opened, opened_directory

_PROGRESS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """`sequence`: the first record that is bad or missing, None where a checkpoint is bad by itself."""

    sequence: int | None
    file: str
    line: int | None
    reason: str


@dataclass(slots=True, kw_only=True)
class Report:
    """`first` to `last`: the records that are there and in order; 0 where there is none. `proved`: the newest checkpoint
    whose record is among them. `problems`: that of the records first.
    """

    first: int = 0
    last: int = 0
    proved: Checkpoint | None = None
    checkpoints: int = 0
    unfinished_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def unproved(self) -> int:
        """How many records no checkpoint covers."""
        return self.last - max(self.first - 1, self.proved.sequence if self.proved else 0)


def verify(
    directory: Path,
    verifier: Verifier,
    *,
    first: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Report:
    """Read the log in `directory`. `first`: where it begins, if older files were moved away.

    `progress`: called with bytes done and bytes in all. Raises OSError where it can't be read.
    """
    with opened_directory(directory) as descriptor:
        checkpoints_size = _size(CHECKPOINTS, descriptor)
        files = [(file, _size(file.name, descriptor)) for file in list_files(descriptor)]
        files = [
            (file, size) for number, (file, size) in enumerate(files) if not _is_before(first, files[number + 1 :])
        ]
        check = _Check(directory=descriptor, first=first, notes_size=checkpoints_size, verifier=verifier)
        check.records(files, progress)
        check.finish()
        return check.report


def _is_before(first: int, later: list[tuple[LogFile, int]]) -> bool:
    return bool(later) and later[0][0].first <= first


class _Rewritten(BadRecord):
    """The chain holds, but it is not the one that was signed."""


class _Check:
    def __init__(self, *, directory: int, first: int, notes_size: int, verifier: Verifier) -> None:
        self.report = Report()
        self._directory = directory
        self._first = first
        self._head: Head | None = GENESIS if first == 1 else None
        self._verifier = verifier
        self._checkpoints = self._read_checkpoints(notes_size)
        self._next = self._next_checkpoint(0)

    def records(self, files: list[tuple[LogFile, int]], progress: Callable[[int, int], None]) -> None:
        """The chain, until the first record that breaks it."""
        done, told, total = 0, 0, sum(size for _, size in files)
        for file, size in files:
            with opened(file.name, self._directory) as descriptor:
                for number, (offset, line) in enumerate(lines(descriptor, 0, size), start=1):
                    if not line.endswith(b"\n") and file is files[-1][0] and offset + len(line) == size:
                        self.report.unfinished_bytes = len(line)
                        break
                    try:
                        self._record(parse(line), file if offset == 0 else None)
                    except BadRecord as error:
                        self._broken(file.name, number, error)
                        return
                    done += len(line)
                    if done - told >= _PROGRESS_BYTES:
                        progress(done, total)
                        told = done
        progress(total, total)

    def _record(self, record: Record, begins: LogFile | None) -> None:
        """Raises BadRecord."""
        if self._head is not None:
            check_follows(record, self._head)
        if begins is not None and begins.first != record.sequence:
            raise BadRecord(f"the file begins with record {record.sequence}, and its name says {begins.first}")
        if self._head is None and record.sequence < self._first:
            return
        if self._head is None and record.sequence > self._first:
            raise BadRecord(f"record {self._first}, with which to begin, is missing")
        while self._next is not None and self._next.sequence == record.sequence:
            if self._next.hash != record.hash:
                raise _Rewritten(
                    f"the checkpoint of {self._next.time} names another record {record.sequence}:"
                    f" records were rewritten, {self._proved() + 1} or a later one being the first"
                )
            self.report.proved = self._next
            self._next = self._next_checkpoint(record.sequence)
        self._head = record.head
        self.report.first = self.report.first or record.sequence
        self.report.last = record.sequence

    def finish(self) -> None:
        """The checkpoints that are left: they name records which are missing, unless the chain is broken before."""
        reached, newest = self.report.last, None
        is_whole = not any(problem.sequence is not None for problem in self.report.problems)
        while self._next is not None:
            newest = self._next
            self._next = self._next_checkpoint(newest.sequence)
        if newest is not None and newest.sequence > reached and is_whole:
            missing = reached + 1 if reached else self._first
            which = (
                f"record {missing} is" if missing == newest.sequence else f"records {missing} to {newest.sequence} are"
            )
            reason = f"{which} missing: the checkpoint of {newest.time} names record {newest.sequence}"
            self.report.problems.insert(0, Problem(sequence=missing, file="", line=None, reason=reason))

    def _broken(self, name: str, line: int, error: BadRecord) -> None:
        if isinstance(error, _Rewritten):
            sequence = self._proved() + 1
        else:
            sequence = self._first if self._head is None else self._head.sequence + 1
        self.report.problems.insert(0, Problem(sequence=sequence, file=name, line=line, reason=str(error)))

    def _proved(self) -> int:
        return self.report.proved.sequence if self.report.proved is not None else self._first - 1

    def _next_checkpoint(self, after: int) -> Checkpoint | None:
        """The next one that is signed, and names no older record than the one before it."""
        for line, checkpoint in self._checkpoints:
            if checkpoint.sequence < after:
                self._bad_note(line, f"it names record {checkpoint.sequence}, and the one before it record {after}")
            elif checkpoint.sequence >= self._first:
                return checkpoint
        return None

    def _read_checkpoints(self, size: int) -> Iterator[tuple[int, Checkpoint]]:
        if size == 0:
            return
        with opened(CHECKPOINTS, self._directory) as descriptor:
            for note in notes(descriptor, 0, size):
                try:
                    if not note.complete and note.stop == size:
                        continue  # is being written, or was torn
                    checkpoint = open_checkpoint(note.text, self._verifier)
                except BadNote as error:
                    self._bad_note(note.line, str(error))
                    continue
                self.report.checkpoints += 1
                yield note.line, checkpoint

    def _bad_note(self, line: int, reason: str) -> None:
        self.report.problems.append(
            Problem(
                sequence=None, file=CHECKPOINTS, line=line, reason=f"this checkpoint is not to be believed: {reason}"
            )
        )


def _size(name: str, directory: int) -> int:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
