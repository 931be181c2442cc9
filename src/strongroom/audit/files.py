"""The files of the audit log, and how their lines are read. Whoever only reads needs nothing else.

    DIRECTORY/kms-20260102-000000004711.jsonl   records in order; the day it was begun, and its first record's sequence
    DIRECTORY/checkpoints                       signed notes, an empty line after each
    DIRECTORY/public-key                        what verifies them
    DIRECTORY/kms.reserve                       disk space held back

Files follow each other by the number in their names, which makes a missing one visible. Everything is opened relative
to the directory's descriptor, without following symlinks and without waiting for the other end of a pipe.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = "audit"  # in the data directory
CHECKPOINTS = "checkpoints"
PUBLIC_KEY = "public-key"
LINE_LIMIT = 4 << 20  # bytes; no record of ours comes near

_NAME = re.compile(r"kms-([0-9]{8})-([0-9]{12,18})\.jsonl")
_BLOCK = 1 << 20
_SIGNATURE = "\N{EM DASH} ".encode()


@dataclass(frozen=True, slots=True)
class LogFile:
    """`day`: YYYYMMDD, UTC. `first`: the sequence of its first record."""

    day: str
    first: int

    @property
    def name(self) -> str:
        return f"kms-{self.day}-{self.first:012}.jsonl"


def list_files(directory: int) -> list[LogFile]:
    """The log's files in the order of their records; what is named otherwise is none of them. Raises OSError."""
    found = [LogFile(match[1], int(match[2])) for name in os.listdir(directory) if (match := _NAME.fullmatch(name))]
    return sorted(found, key=lambda file: (file.first, file.day))


@contextmanager
def opened_directory(path: str | os.PathLike[str]) -> Iterator[int]:
    """Its descriptor. Raises OSError, also for a symlink."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened(name: str, directory: int) -> Iterator[int]:
    """A descriptor to read `name` from. Raises OSError."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def lines(descriptor: int, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """(offset, line with its newline) of all between two offsets.

    The last one lacks the newline where the bytes end without it. So does one above LINE_LIMIT, and it is the last.
    """
    rest, offset = b"", start
    while start < stop and (block := os.pread(descriptor, min(_BLOCK, stop - start), start)):
        start += len(block)
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield offset, line + b"\n"
            offset += len(line) + 1
        if len(rest) > LINE_LIMIT:
            break
    if rest:
        yield offset, rest


@dataclass(frozen=True, slots=True)
class Note:
    """A signed note as it stands in the file of checkpoints. `line`: where it begins, from 1; `stop`: the offset after
    it. `complete`: with the empty line that ends it.
    """

    line: int
    stop: int
    text: str
    complete: bool


def notes(descriptor: int, start: int, stop: int) -> Iterator[Note]:
    """Those between two offsets. A note ends with the empty line after a signature, so that reading may begin anywhere:
    at worst the first one is no whole one.
    """
    collected: list[bytes] = []
    first, end = 1, start
    for offset, line in lines(descriptor, start, stop):
        end = offset + len(line)
        if line == b"\n" and collected and collected[-1].startswith(_SIGNATURE):
            yield Note(first, end, _text(collected), complete=True)
            first += len(collected) + 1
            collected = []
        else:
            collected.append(line)
    if collected:
        yield Note(first, end, _text(collected), complete=False)


def read_public_key(directory: Path) -> str | None:
    """The key that the log names as its own; None where there is none. Raises OSError."""
    try:
        with opened_directory(directory) as descriptor, opened(PUBLIC_KEY, descriptor) as file:
            return os.pread(file, 4096, 0).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return None


def _text(collected: list[bytes]) -> str:
    return b"".join(collected).decode("utf-8", "replace")
