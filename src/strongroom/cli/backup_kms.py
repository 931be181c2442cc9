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
from strongroom.cli.kms_socket import fetch_database
from strongroom.cli.store_command import CommandError
from strongroom.database.private_file import NotPrivate, make_private_directory, read_private, write_private
from strongroom.database.sqlite import backup as copy_database
from strongroom.database.sqlite import read_copy
from strongroom.kms.creation import DATABASE_FILE
from strongroom.kms.opening import KmsInUse, hold
from strongroom.kms.slot_rows import SELECT_SLOTS, slot_of
from strongroom.kms.slots import KeyFile, Slot
from strongroom.server.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedKms:
    """`key_files`: those that are in the copy. `elsewhere`: the other slots any of which opens it, in words."""

    key_files: tuple[str, ...]
    elsewhere: tuple[str, ...]


def copy_key_service(source: Paths, copy: Paths, *, with_keys: bool) -> CopiedKms | None:
    """After the index: what an object is sealed under is older than the object. None where there is no key service.
    Raises CommandError, OSError, Unavailable, IntegrityError.
    """
    if not (source.kms / DATABASE_FILE).exists():
        return None
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
    return _copy_key_files(source, copy, slots if with_keys else [], slots)


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


def _copy_key_files(source: Paths, copy: Paths, wanted: list[Slot], slots: list[Slot]) -> CopiedKms:
    copied = []
    for slot in wanted:
        # One that lies elsewhere was put there to lie elsewhere.
        if isinstance(slot.source, KeyFile) and not Path(slot.source.path).is_absolute():
            try:
                write_private(copy.kms / slot.source.path, read_private(source.kms / slot.source.path))
            except (FileNotFoundError, NotPrivate):
                continue
            copied.append(slot)
    return CopiedKms(
        key_files=tuple(f"kms/{slot.source.path}" for slot in copied if isinstance(slot.source, KeyFile)),
        elsewhere=tuple(slot.shown for slot in slots if slot not in copied),
    )
