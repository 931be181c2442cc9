"""The key service's part of a backup: its database, the audit log as far as that database knows it, and key files.

A running service copies its own database; nobody else may open it. Where none runs, it is copied here, under the locks
that keep one from starting meanwhile. Nothing is opened: no key is needed for a copy.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from strongroom.audit.copy import RecordMissing, copy_checkpoints, copy_records
from strongroom.cli import supervisor
from strongroom.cli.command import CommandError
from strongroom.cli.kms_socket import fetch_database
from strongroom.database.private_file import make_private_directory, write_private
from strongroom.database.sqlite import backup as copy_database
from strongroom.database.sqlite import read_copy
from strongroom.kms.creation import DATABASE_FILE
from strongroom.kms.opening import KmsInUse, hold
from strongroom.kms.slot_rows import SELECT_SLOTS, slot_of
from strongroom.kms.slots import KeyFile, Slot
from strongroom.server.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedKms:
    """`slots`: any of which opens it, in words; none where there is no key service. `key_files`: those in the copy."""

    slots: tuple[str, ...] = ()
    key_files: tuple[str, ...] = ()


def copy_key_service(source: Paths, copy: Paths, *, with_keys: bool) -> CopiedKms:
    """After the index: what an object is sealed under is older than the object. Raises CommandError, OSError, Unavailable, IntegrityError."""
    if not (source.kms / DATABASE_FILE).exists():
        return CopiedKms()
    for directory in (copy.kms, copy.audit):
        make_private_directory(directory)
    database = copy.kms / DATABASE_FILE
    try:
        with _alone(source):
            if source.audit.exists():
                copy_checkpoints(source.audit, copy.audit)
                copy_records(source.audit, copy.audit, through=None)
            copy_database(source.kms / DATABASE_FILE, database)
    except supervisor.DirectoryInUseError:
        _copy_running(source, copy, database)
    with read_copy(database) as read:
        slots = [slot_of(row) for row in read(SELECT_SLOTS, ())]
    return CopiedKms(
        slots=tuple(slot.shown for slot in slots),
        key_files=_copy_key_files(source, copy, slots) if with_keys else (),
    )


@contextmanager
def _alone(source: Paths) -> Iterator[None]:
    """Raises DirectoryInUseError where a server runs, CommandError where another command works on it."""
    with supervisor.locked_directory(source.kms, patience=0.0):
        try:
            lock = hold(source.kms)
        except KmsInUse as error:
            raise CommandError(f"{error}: try again later") from error
        try:
            yield
        finally:
            os.close(lock)


def _copy_running(source: Paths, copy: Paths, database: Path) -> None:
    """In this order: see `audit/copy.py`."""
    copy_checkpoints(source.audit, copy.audit)
    head = fetch_database(source.data_dir, database)
    if head is None:
        return
    try:
        copy_records(source.audit, copy.audit, through=head)
    except RecordMissing as error:
        raise CommandError(f"the audit log can't be copied: {error}. See `strongroom audit verify`.") from error


def _copy_key_files(source: Paths, copy: Paths, slots: list[Slot]) -> tuple[str, ...]:
    """Those below DIR/kms: one that lies elsewhere was put there to lie elsewhere."""
    copied = []
    for name in [slot.source.path for slot in slots if isinstance(slot.source, KeyFile)]:
        if not Path(name).is_absolute() and (source.kms / name).exists():
            write_private(copy.kms / name, (source.kms / name).read_bytes())
            copied.append(f"kms/{name}")
    return tuple(copied)
