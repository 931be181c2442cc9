"""`strongroom backup`: a copy of the index as of one moment, of the blobs that it names, of the key service, its audit log
and the users, beside a running server.

The blobs are held first, so that none is deleted from then on; then the index is copied, and then what that copy names.
The key service comes after the index, because a key is durable there before anything is sealed under it. The copy of
the index gets its name last: without it a server refuses the directory, so that half a backup is never
taken for a whole one. No key is needed for any of it.
"""

import json
import os
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from strongroom import config
from strongroom.blobs.local_copy import Copier
from strongroom.blobs.local_files import held, open_tree
from strongroom.cli.backup_kms import copy_key_service
from strongroom.cli.command import CommandError
from strongroom.cli.store_command import progress, run, settings_of
from strongroom.config import Settings
from strongroom.database.migrations import migrations_of, require_newest
from strongroom.database.private_file import make_private_directory, write_private
from strongroom.database.sqlite import backup as copy_database
from strongroom.database.sqlite import read_copy
from strongroom.database.sqlite_files import fsync_directory
from strongroom.edge import certificates
from strongroom.identity import root
from strongroom.keys.rotation import rotation_lock
from strongroom.keys.store_keys import SEALED_SUFFIX, SUFFIX, is_sealed
from strongroom.metadata.inventory import blob_count, blobs_in_use, store_keys_in_use
from strongroom.server.paths import Paths
from strongroom.server.store import FILE_SOURCES

_SHOWN = 20  # of the blobs that could not be copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was made. `failed`: blobs that the index names and that could not be read; `bytes`: ciphertext bytes; `is_sealed`:
    the store key goes along always, since the key service has sealed it. `unseal_slots`: those of the key service, in
    words; none where there is no key service. `lacks`: what opens the key service, where `--with-keys` could copy none of it.
    """

    blobs: int
    bytes: int
    failed: tuple[str, ...]
    store_key_ids: tuple[str, ...]
    is_sealed: bool
    unseal_slots: tuple[str, ...]
    key_files: tuple[str, ...]
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
            all_sealed = _copy_store_keys(source, copy, key_ids, with_keys=with_keys)
        kms = copy_key_service(source, copy, with_keys=with_keys)
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
    _copy_identities(source, copy, with_key=with_keys)
    _copy_small(source.data_dir, destination, with_keys=with_keys)
    index.rename(copy.index)
    fsync_directory(os.fspath(copy.s3))
    return Backup(
        blobs=done - len(failed),
        bytes=size,
        failed=tuple(failed),
        store_key_ids=key_ids,
        is_sealed=all_sealed,
        unseal_slots=kms.slots,
        key_files=kms.key_files,
        has_keys=with_keys,
        lacks=kms.slots if with_keys and not kms.key_files else (),
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


def _copy_store_keys(source: Paths, copy: Paths, key_ids: tuple[str, ...], *, with_keys: bool) -> bool:
    """Whether the key service has sealed all of them: such a file is no secret, and goes along always. Raises CommandError
    where one is not there.
    """
    sealed = [is_sealed(source.keys, bytes.fromhex(identity)) for identity in key_ids]
    for identity, by_kms in zip(key_ids, sealed, strict=True):
        if by_kms or with_keys:
            name = identity + (SEALED_SUFFIX if by_kms else SUFFIX)
            try:
                write_private(copy.keys / name, (source.keys / name).read_bytes())
            except FileNotFoundError:
                raise CommandError(f"--with-keys: the store key {identity} is not in {source.keys}") from None
    return all(sealed)


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
    lines += _about_keys(made)
    if made.failed:
        lines.append(
            f"{len(made.failed):,} blobs could not be read: `strongroom verify --data-dir {data_dir}` tells whose."
        )
        lines += [f"  {blob_id}" for blob_id in made.failed[:_SHOWN]]
    return "\n".join(lines)


def _about_keys(made: Backup) -> list[str]:
    key = f"the store key {' and '.join(made.store_key_ids)}"
    slots = ", or ".join(made.unseal_slots)
    lines = [f"It holds {key}, which nothing opens but this KMS."] if made.is_sealed else []
    if made.has_keys:
        own = "" if made.is_sealed else f"{key}, "
        root = f"the key files of the KMS ({', '.join(made.key_files)}), " if made.key_files else ""
        lines.append(
            f"So are {own}{root}the identity key, the root credentials and the CA's key: guard it as you guard them."
        )
        if made.lacks:
            lines.append(f"What opens the KMS is not: {slots}. Keep a copy of that elsewhere.")
        return lines
    if made.is_sealed:
        lines.append("Without the identity key it has no user. Keep a copy of it elsewhere.")
    else:
        lines.append(
            f"Without {key} nothing of it can be read, and without the identity key no user. Keep copies of both"
            " elsewhere."
        )
    if slots:
        lines.append(f"The KMS opens with any one of its unseal slots: {slots}. Keep a copy of that elsewhere, too.")
    return lines
