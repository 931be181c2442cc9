"""The part of `strongroom doctor` that looks at the key service: will it open at the next start, and is its log in order.

kms.db is only read, and what it says in clear is not authenticated here: that takes the root key, and is the key
service's own business at each start. No passphrase is asked for, and no request is made.
"""

import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from strongroom.audit.checkpoint import BadNote, Checkpoint, Verifier, open_checkpoint
from strongroom.audit.files import CHECKPOINTS, PUBLIC_KEY, list_files, notes, opened, opened_directory, read_public_key
from strongroom.audit.writer import RESERVE_BYTES
from strongroom.cli.finding import Finding, Verdict
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Unavailable
from strongroom.database.sqlite import read_once
from strongroom.kms.creation import DATABASE_FILE
from strongroom.kms.slot_rows import SELECT_SLOTS, slot_of
from strongroom.kms.slots import KEY_FILE, Given, Slot, SlotError, SlotKeyMissing, slot_key
from strongroom.server.paths import Paths

_LATE = timedelta(hours=2)  # a running key service writes a checkpoint every hour at least
_RESERVE_FILE = "kms.reserve"
_NOTES_WINDOW = 64 << 10


def look_at_key_service(data_dir: Path) -> Iterator[Finding]:
    paths = Paths(data_dir)
    database = paths.kms / DATABASE_FILE
    if not database.exists():
        yield _without_database(paths)
        return
    try:
        slots = [slot_of(row) for row in read_once(database, SELECT_SLOTS)]
    except (IntegrityError, Unavailable, sqlite3.DatabaseError, OSError) as error:
        advice = "Restore kms.db from a backup: without it nothing opens that a key of the KMS seals."
        yield Finding(check="kms", verdict="problem", text=f"{database} can't be read: {error}", advice=advice)
        return
    yield from _slots(paths, slots)
    yield from look_at_audit_log(paths)


def _without_database(paths: Paths) -> Finding:
    left = [path for path in (paths.kms / KEY_FILE, *paths.audit.glob("kms-*.jsonl")) if path.exists()]
    if not left:
        return Finding(check="kms", verdict="ok", text="there is no key service yet: the first start makes it")
    return Finding(
        check="kms",
        verdict="problem",
        text=f"{paths.kms / DATABASE_FILE} is missing, but {left[0]} is there",
        advice="Restore kms.db from a backup; the next start refuses, and makes nothing anew.",
    )


def _slots(paths: Paths, slots: Sequence[Slot]) -> Iterator[Finding]:
    """Which slot the next start will open, as far as that can be known without a passphrase."""
    given = Given(directory=paths.kms, environ=os.environ)
    opening: list[str] = []
    wrong: list[str] = []
    missing: list[str] = []
    passphrases = [slot.shown for slot in slots if slot.kind == "passphrase"]
    for slot in slots:
        if slot.kind == "passphrase":
            continue
        try:
            with slot_key(slot, given):
                opening.append(slot.shown)
        except SlotKeyMissing as error:  # a variable is the server's to have, not ours
            (wrong if slot.kind == "keyfile" else missing).append(str(error))
        except SlotError as error:
            wrong.append(str(error))
    verdict: Verdict = "warning" if opening or passphrases or missing else "problem"
    for text in wrong:
        advice = "Put the key back, or remove the slot with `strongroom kms slot remove NAME`."
        yield Finding(check="kms", verdict=verdict, text=text, advice=advice)
    if opening or passphrases or missing:
        elsewhere = [*passphrases, *(text.partition(":")[0] for text in missing)]
        told = [f"{', '.join(opening)} opens it"] if opening else []
        told += [f"{', '.join(elsewhere)} not looked at here"] if elsewhere else []
        yield Finding(check="kms", verdict="ok", text=f"{len(slots)} unseal slots: {'; '.join(told)}")
    if len(slots) == 1:
        yield Finding(
            check="kms",
            verdict="warning",
            text="there is one unseal slot only: if its key is lost, so is everything under the KMS's keys",
            advice="strongroom kms slot add --kind passphrase --name recovery; keep that passphrase elsewhere",
        )


def look_at_audit_log(paths: Paths) -> Iterator[Finding]:
    try:
        with opened_directory(paths.audit) as directory:
            files = list_files(directory)
            size = sum(os.stat(file.name, dir_fd=directory).st_size for file in files)
        checkpoint = _last_checkpoint(paths.audit)
    except FileNotFoundError:
        yield Finding(
            check="audit",
            verdict="problem",
            text=f"there is no audit log in {paths.audit}",
            advice="Restore it from a backup: the key service refuses to start without what it has acknowledged.",
        )
        return
    except (BadNote, OSError) as error:
        advice = "`strongroom audit verify` tells more; docs/operations/audit.md tells what it proves."
        yield Finding(check="audit", verdict="problem", text=f"{paths.audit} can't be read: {error}", advice=advice)
        return
    told = f"{len(files)} files, {size / 2**20:.1f} MiB"
    yield _pace(paths, checkpoint, told, written=bool(size))
    yield from _audit_disk(paths)


def _last_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest that the key beside the log has signed. Raises BadNote, OSError."""
    text = read_public_key(directory)
    if text is None:
        raise BadNote(f"{PUBLIC_KEY} is missing; the next start puts it back")
    verifier, newest = Verifier(text), None
    try:
        with opened_directory(directory) as log, opened(CHECKPOINTS, log) as descriptor:
            size = os.fstat(descriptor).st_size
            for note in notes(descriptor, max(0, size - _NOTES_WINDOW), size):
                try:
                    newest = open_checkpoint(note.text, verifier)
                except BadNote:  # cut by the window; `verify` tells of others
                    continue
    except FileNotFoundError:
        return None
    return newest


def _pace(paths: Paths, checkpoint: Checkpoint | None, told: str, *, written: bool) -> Finding:
    if checkpoint is None:
        age_of_log = datetime.now(UTC).timestamp() - (paths.audit / PUBLIC_KEY).stat().st_mtime
        if not written or age_of_log < _LATE.total_seconds():
            return Finding(check="audit", verdict="ok", text=f"{told}; no checkpoint was due yet")
        return Finding(
            check="audit",
            verdict="problem",
            text=f"{told}; no checkpoint proves any of it",
            advice="The key service writes them by itself: look for warnings in the server's log.",
        )
    age = datetime.now(UTC) - datetime.fromisoformat(checkpoint.time)
    told += f"; the last checkpoint is of {checkpoint.time}, record {checkpoint.sequence:,}"
    if age > _LATE and _answers(paths.kms_socket):
        return Finding(
            check="audit",
            verdict="problem",
            text=f"{told}, though the key service runs",
            advice="It should write one every hour: look for warnings in the server's log, and run `strongroom audit verify`.",
        )
    return Finding(check="audit", verdict="ok", text=told)


def _audit_disk(paths: Paths) -> Iterator[Finding]:
    """Its reserve, and its disk where that is not the store's."""
    free = shutil.disk_usage(paths.audit).free
    try:
        reserve = (paths.audit / _RESERVE_FILE).stat().st_size
    except FileNotFoundError:
        reserve = RESERVE_BYTES
    if reserve < RESERVE_BYTES:
        yield Finding(
            check="audit",
            verdict="problem",
            text=f"the disk was full: the audit log lives on its reserve, and {free / 2**20:,.0f} MiB are free",
            advice="Make room now: once that is used up, every request for a key is refused. Move old log files away.",
        )
    elif paths.audit.stat().st_dev != paths.data_dir.stat().st_dev and free < 16 * RESERVE_BYTES:
        yield Finding(
            check="audit",
            verdict="warning",
            text=f"{free / 2**20:,.0f} MiB are free on the disk of the audit log",
            advice="Give it more room soon, or move old log files away (docs/operations/audit.md).",
        )


def _answers(path: Path) -> bool:
    """Whether somebody listens there; nothing is asked."""
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"/proc/self/fd/{directory}/{path.name}")  # a socket's address has room for 107 bytes
    except OSError:
        return False
    finally:
        os.close(directory)
    return True
