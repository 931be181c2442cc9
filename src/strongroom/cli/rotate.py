"""`strongroom rotate-store-key` and `rotate-bucket-secrets`: keys/rotation.py with progress and a warning.

Both hold the lock that allows one rotation at a time; where one was killed, the next run or the next start of the
server finishes it.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import typer

from strongroom.cli.command import CommandError
from strongroom.cli.store_command import on_store, progress, run, settings_of
from strongroom.keys.keyring import primary_store_key
from strongroom.keys.rotation import Rotation, rotate_bucket_secrets, rotate_store_key, rotation_lock
from strongroom.keys.store_keys import SUFFIX, is_sealed
from strongroom.server.paths import Paths
from strongroom.server.store import OpenStore

_MOVES = (None, "kms", "keyfile")


def rotate_store(data_dir: Path, config_file: Path | None, *, to: str | None, yes: bool, as_json: bool) -> int:
    """Asks first where somebody is there to answer. `to`: `kms` or `keyfile`, which moves the store; None: as it is set."""
    lock_directory = Paths(data_dir).s3
    asks = sys.stdin.isatty() and not (yes or as_json)

    async def work(store: OpenStore) -> int:
        rotation = _rotation(store, to)
        if not asks:
            print(_WARNING, file=sys.stderr)
        with rotation_lock(lock_directory), progress("Rotating") as show:
            old = await primary_store_key(store.database)
            new = await rotate_store_key(rotation, show)
        if as_json:
            print(json.dumps({"old_store_key_id": old.hex(), "new_store_key_id": new.hex()}))
        else:
            print(_outcome(store, old, new))
        return 0

    def command() -> int:
        if to not in _MOVES:
            raise CommandError(f"--to is kms or keyfile, not {to!r}")
        settings_of(data_dir, config_file)  # before anybody is asked
        if asks:  # outside of an event loop, which would keep Ctrl-C
            _ask()
        return on_store(data_dir, config_file, work)

    return run(command)


def rotate_secrets(data_dir: Path, config_file: Path | None, *, bucket: str | None, as_json: bool) -> int:
    lock_directory = Paths(data_dir).s3

    async def work(store: OpenStore) -> int:
        with rotation_lock(lock_directory), progress("Rotating") as show:
            count = await rotate_bucket_secrets(store.rotation, show, only=bucket)
        if bucket is not None and not count:
            raise CommandError(f"there is no bucket {bucket!r}")
        print(
            json.dumps({"buckets": count}) if as_json else f"Fresh secrets seal what is written to {count:,} buckets."
        )
        return 0

    return run(lambda: on_store(data_dir, config_file, work))


def _rotation(store: OpenStore, to: str | None) -> Rotation:
    """Raises CommandError."""
    if to is None:
        return store.rotation
    if store.key_directory is None:
        raise CommandError("the store key is given from outside (store_key_source): it can't be moved from here")
    return replace(store.rotation, generate_sealed=store.generate_in_kms if to == "kms" else None)


def _ask() -> None:
    """Raises CommandError where the answer is no."""
    print(_WARNING, file=sys.stderr)
    if not typer.confirm("Rotate the store key now?", err=True):
        raise CommandError("nothing was changed")


_WARNING = (
    "The store key that is in force now will be retired: the store needs it no more, and its key file is removed.\n"
    "Backups made before now still need it. Keep a copy of it elsewhere for as long as you keep them."
)


def _outcome(store: OpenStore, old: bytes, new: bytes) -> str:
    if store.key_directory is None:
        first = (
            f"The store key {new.hex()} is in force. At the next restart the server needs no previous key"
            f" ({old.hex()}) any more."
        )
    else:
        first = f"The store key {new.hex()} is in force, and {old.hex()} was removed."
        if is_sealed(store.key_directory, new):
            first += " The KMS has sealed it, and has to be running at each start. Set store_key_source to kms."
        else:
            first += f" Copy {store.key_directory / (new.hex() + SUFFIX)} to a safe place now."
    return f"{first}\nBackups made until now open only with {old.hex()}; those made from now on, with {new.hex()}."
