"""`strongroom backup`: a copy of the index as of one moment, of the blobs that it names, of the key service with its audit
log, and of the users, beside a running server.

The blobs are held first, so that none is deleted from then on; then the index is copied, and then what that copy names.
The key service comes after the index, because a key is durable there before anything is sealed under it. The copy of
the index gets its name last: without it a server refuses the directory, so that half a backup is never taken for a
whole one. No key is needed for any of it.
"""

import json
import os
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from strongroom import config
from strongroom.audit.copying import copy_log
from strongroom.blobs.local_copy import Copier
from strongroom.blobs.local_files import held, open_tree
from strongroom.cli.store_command import CommandError, progress, run, settings_of
from strongroom.config import Settings
from strongroom.database.migrations import migrations_of, require_newest
from strongroom.database.private_file import make_private_directory, write_private
from strongroom.database.sqlite import backup as copy_database
from strongroom.database.sqlite import read_copy
from strongroom.database.sqlite_files import fsync_directory
from strongroom.edge import certificates
from strongroom.identity import root
from strongroom.keys.rotation import rotation_lock
from strongroom.keys.store_keys import SEALED_SUFFIX, SUFFIX
from strongroom.kms.creation import DATABASE_FILE
from strongroom.kms.slot_rows import SELECT_SLOTS, slot_of
from strongroom.kms.slots import KEY_FILE, KeyFile, Slot
from strongroom.metadata.inventory import blob_count, blobs_in_use, store_keys_in_use
from strongroom.server import FILE_SOURCES, Paths

_SHOWN = 20  # of the blobs that could not be copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was made. `failed`: blobs that the index names and that could not be read; `bytes`: ciphertext bytes.
    `unseal_slots`: those of the key service, in words; none where there is no key service. `lacks`: what `--with-keys` could
    not copy.
    """

    blobs: int
    bytes: int
    failed: tuple[str, ...]
    store_key_ids: tuple[str, ...]
    unseal_slots: tuple[str, ...]
    has_keys: bool
    lacks: tuple[str, ...]


def backup(data_dir: Path, config_file: Path | None, destination: Path, *, with_keys: bool, as_json: bool) -> int:
    """0 it is whole, 1 it is not."""

    def command() -> int:
        settings = settings_of(data_dir, config_file)
        with progress("Backing up") as show:
            made = make_backup(data_dir, settings, destination, with_keys=with_keys, show=show)
        if as_json:
            print(json.dumps(asdict(made)))
        else:
            print(_sentence(made, data_dir, destination))
        return 1 if made.failed else 0

    return run(command)


def make_backup(
    data_dir: Path, settings: Settings, destination: Path, *, with_keys: bool, show: Callable[[int, int], None]
) -> Backup:
    """Raises CommandError and what `store_command.run` tells."""
    source, copy = Paths(data_dir), Paths(destination)
    _refuse(source, settings, destination, with_keys=with_keys)
    require_newest(source.index, migrations_of("index"))
    for directory in (destination, copy.s3, copy.keys):
        make_private_directory(directory)
    destination.chmod(0o700)
    index = copy.index.with_suffix(".incomplete")
    with closing(open_tree(os.fspath(source.blobs))) as blobs, held(blobs):
        with rotation_lock(source.s3):  # the key files are those that the copy of the index names
            copy_database(source.index, index)
            with read_copy(index) as read:
                key_ids = tuple(sorted(identity.hex() for identity in store_keys_in_use(read)))
            _copy_store_keys(source, copy, key_ids, with_keys=with_keys)
        with (
            read_copy(index) as read,
            closing(open_tree(os.fspath(copy.blobs))) as copied_blobs,
            closing(Copier(blobs, copied_blobs)) as copier,
        ):
            done, total, failed = 0, blob_count(read), list[str]()
            for blob_ids in blobs_in_use(read):
                failed += [blob_id.hex() for blob_id in copier.copy(blob_ids)]
                done += len(blob_ids)
                show(done, total)
            copier.sync()
            size = copier.copied_bytes
    slots = _copy_key_service(source, copy)
    lacks = _copy_root_keys(source, copy, slots) if with_keys else ()
    _copy_identities(source, copy, with_key=with_keys)
    _copy_small(source.data_dir, destination, with_keys=with_keys)
    index.rename(copy.index)
    fsync_directory(os.fspath(copy.s3))
    return Backup(
        blobs=done - len(failed),
        bytes=size,
        failed=tuple(failed),
        store_key_ids=key_ids,
        unseal_slots=tuple(slot.shown for slot in slots),
        has_keys=with_keys,
        lacks=lacks,
    )


def _refuse(source: Paths, settings: Settings, destination: Path, *, with_keys: bool) -> None:
    if destination.resolve().is_relative_to(source.data_dir.resolve()):
        raise CommandError(f"{destination} lies inside the store: choose another place, on another disk")
    if destination.exists() and any(destination.iterdir()):
        raise CommandError(f"{destination} is not empty: each backup goes into a directory of its own")
    if with_keys and settings.store_key_source not in FILE_SOURCES:
        raise CommandError(
            f"--with-keys: the store key comes from {settings.store_key_source!r} and is no file in {source.data_dir}:"
            " keep a copy of it yourself"
        )


def _copy_store_keys(source: Paths, copy: Paths, key_ids: tuple[str, ...], *, with_keys: bool) -> None:
    """Those that the key service sealed are no secret, and go along always. Raises CommandError where one is not there."""
    for identity in key_ids:
        there = [name for name in (identity + SUFFIX, identity + SEALED_SUFFIX) if (source.keys / name).exists()]
        if with_keys and not there:
            raise CommandError(f"--with-keys: the store key {identity} is not in {source.keys}")
        for name in there:
            if with_keys or name.endswith(SEALED_SUFFIX):
                write_private(copy.keys / name, (source.keys / name).read_bytes())


def _copy_key_service(source: Paths, copy: Paths) -> tuple[Slot, ...]:
    """Its database, sealed as it is, and its log up to the same revision; the slots that open it."""
    if not (source.kms / DATABASE_FILE).exists():
        return ()
    make_private_directory(copy.kms)
    copy_database(source.kms / DATABASE_FILE, copy.kms / DATABASE_FILE)
    with read_copy(copy.kms / DATABASE_FILE) as read:
        slots = tuple(slot_of(row) for row in read(SELECT_SLOTS, ()))
        ((revision,),) = read("SELECT revision FROM heads WHERE name = 'state'", ())
    if source.audit.is_dir():
        copy_log(source.audit, copy.audit, state_revision=cast("int", revision))
    return slots


def _copy_root_keys(source: Paths, copy: Paths, slots: tuple[Slot, ...]) -> tuple[str, ...]:
    """The key file that a start makes; the slots whose keys are elsewhere, where none of them is in the copy."""
    key_file = source.kms / KEY_FILE
    if KeyFile(KEY_FILE) not in [slot.source for slot in slots] or not key_file.exists():
        return tuple(slot.shown for slot in slots)
    write_private(copy.kms / KEY_FILE, key_file.read_bytes())
    return ()


def _copy_identities(source: Paths, copy: Paths, *, with_key: bool) -> None:
    """The users: rows sealed under the identity key, which goes along only where keys do."""
    if not source.identity.is_there():
        return
    make_private_directory(copy.identity.directory)
    copy_database(source.identity.database, copy.identity.database)
    if with_key:
        write_private(copy.identity.key, source.identity.key.read_bytes())


def _copy_small(source: Path, destination: Path, *, with_keys: bool) -> None:
    """The settings, in which no secret can stand; with the keys also the root credentials and the private CA."""
    names = [config.FILE_NAME]
    if with_keys:
        names += [root.FILE_NAME, certificates.CA_FILE]
        names += [os.fspath(path.relative_to(source)) for path in (source / "tls").glob("*.pem")]
    for name in names:
        with suppress(FileNotFoundError):
            content = (source / name).read_bytes()
            make_private_directory((destination / name).parent)
            write_private(destination / name, content)


def _sentence(made: Backup, data_dir: Path, destination: Path) -> str:
    rest = "the index, the KMS with its audit log and the users" if made.unseal_slots else "the index and the users"
    lines = [f"{made.blobs:,} blobs ({made.bytes:,} bytes), {rest} are in {destination}."]
    keys = " and ".join(made.store_key_ids)
    slots = ", or ".join(made.unseal_slots)
    if made.has_keys:
        root = "the root key of the KMS, " if made.unseal_slots and not made.lacks else ""
        lines.append(
            f"So are the store key {keys}, {root}the identity key, the root credentials and the CA's key: guard it as you"
            " guard them."
        )
        if made.lacks:
            lines.append(f"What opens the KMS is not: {slots}. Keep a copy of that elsewhere.")
    else:
        lines.append(
            f"Without the store key {keys} nothing of it can be read, and without the identity key no user. Keep copies"
            " of both elsewhere."
        )
        if made.unseal_slots:
            lines.append(f"The KMS opens with one of its unseal slots: {slots}. Keep a copy of that elsewhere, too.")
    if made.failed:
        lines.append(
            f"{len(made.failed):,} blobs could not be read: `strongroom verify --data-dir {data_dir}` tells whose."
        )
        lines += [f"  {blob_id}" for blob_id in made.failed[:_SHOWN]]
    return "\n".join(lines)
