"""A copy of the log that fits a copy of the key service's database, beside a running service.

A database is refused by its service where the log lacks the record that it knows as the last one, or a checkpoint's, or
where the log tells of changes that it does not know. So checkpoints are copied before the database, since none is signed
before its record is kept there; and the records after it, up to the one that the copied database knows as the last.
Whole lines only: the rest of a line is what nobody was told of.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strongroom.audit.chain import BadRecord, Head, parse
from strongroom.audit.files import (
    CHECKPOINTS,
    PUBLIC_KEY,
    LogFile,
    lines,
    list_files,
    notes,
    opened,
    opened_directory,
)
from strongroom.database.sqlite_files import create_private, fsync_directory

_BLOCK = 1 << 20


class RecordMissing(Exception):
    """The log does not hold the record that the database knows as the last one. The text is meant for people."""


def copy_checkpoints(source: Path, destination: Path) -> None:
    """With the public key; before the database is copied. Both directories exist. Raises OSError, FileExistsError for a
    file that is there already.
    """
    with opened_directory(source) as directory:
        for name in (PUBLIC_KEY, CHECKPOINTS):
            try:
                with opened(name, directory) as descriptor:
                    _copy(descriptor, destination / name, _whole_notes(descriptor) if name == CHECKPOINTS else None)
            except FileNotFoundError:  # of a log without a record
                continue
    fsync_directory(os.fspath(destination))


def copy_records(source: Path, destination: Path, *, through: Head | None) -> None:
    """The records up to `through`; all that are whole where that is None, for a log that nobody writes. Raises
    RecordMissing, and as `copy_checkpoints`.
    """
    if through is not None and through.sequence == 0:
        return
    with opened_directory(source) as directory:
        files = [file for file in list_files(directory) if through is None or file.first <= through.sequence]
        if through is not None and not files:
            raise RecordMissing(f"the audit log has no record {through.sequence}")
        for file in files:
            with opened(file.name, directory) as descriptor:
                stop = _whole_lines(descriptor)
                if through is not None and file is files[-1]:
                    stop = _end_of(through, file, descriptor, stop)
                _copy(descriptor, destination / file.name, stop)
    fsync_directory(os.fspath(destination))


def _end_of(through: Head, file: LogFile, descriptor: int, stop: int) -> int:
    """The offset after that record. Raises RecordMissing."""
    for offset, line in lines(descriptor, 0, stop):
        try:
            record = parse(line)
        except BadRecord:  # somebody changed it: the copy shall tell, too
            continue
        if record.sequence == through.sequence:
            if record.hash != through.hash:
                raise RecordMissing(f"record {through.sequence} in {file.name} is not the one that was acknowledged")
            return offset + len(line)
    raise RecordMissing(f"{file.name} ends before record {through.sequence}")


def _whole_lines(descriptor: int) -> int:
    stop = os.fstat(descriptor).st_size
    while stop > 0:
        start = max(0, stop - _BLOCK)
        found = os.pread(descriptor, stop - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        stop = start
    return 0


def _whole_notes(descriptor: int) -> int:
    size = os.fstat(descriptor).st_size
    return max((note.stop for note in notes(descriptor, 0, size) if note.complete), default=0)


def _copy(descriptor: int, path: Path, stop: int | None) -> None:
    """The bytes before `stop`, or all, to a new private file, durably."""
    stop = os.fstat(descriptor).st_size if stop is None else stop
    with _new_file(path) as copy:
        offset = 0
        while offset < stop and (block := os.pread(descriptor, min(_BLOCK, stop - offset), offset)):
            view = memoryview(block)
            offset += len(block)
            while view:
                view = view[os.write(copy, view) :]
        os.fsync(copy)


@contextmanager
def _new_file(path: Path) -> Iterator[int]:
    create_private(os.fspath(path), must_be_new=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
