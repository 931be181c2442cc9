"""Where store keys come from: key files that we make, or the environment, or a systemd credential.

A store key is 32 uniform random bytes and goes by its fingerprint, so that a wrong key is refused by name instead of
opening nothing. This module reads and writes keys and knows neither buckets nor the index. It never makes a key because
one could not be read: only `create_key_file` makes one, and only first run and rotation call it.
"""

import base64
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from strongroom.crypto.sealing import decode_master_key, fingerprint

StoreKeyId = bytes
StoreKeys = Mapping[StoreKeyId, bytes]
LoadStoreKeys = Callable[[], StoreKeys]

SUFFIX = ".key"
VARIABLES = ("STRONGROOM_STORE_KEY", "STRONGROOM_STORE_KEY_PREVIOUS")
CREDENTIALS = ("strongroom-store-key", "strongroom-store-key-previous")


class StoreKeyError(Exception):
    """A store key is missing or is none; the text is for the person who runs the server and holds nothing of the key."""


def store_key_id(key: bytes) -> StoreKeyId:
    """16 bytes that tell keys apart and tell nothing of the key."""
    return fingerprint(key, "store-key")


# --- key files


def load_key_files(directory: Path) -> StoreKeys:
    """Every key file of `directory` by its id. Raises StoreKeyError, also where a file is not the key that its name
    says.
    """
    keys = {}
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(SUFFIX))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreKeyError(f"the store keys in {directory} can't be read: {error.strerror}") from error
    for name in names:
        path = directory / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                    raise StoreKeyError(f"{path} can be read by others: run `chmod 600 {path}`")
                key = _decoded(file.read(), str(path))
        except FileNotFoundError:  # retired between listing and opening
            continue
        except OSError as error:
            raise StoreKeyError(f"{path} can't be read: {error.strerror}") from error
        if store_key_id(key).hex() + SUFFIX != name:
            raise StoreKeyError(f"{path} does not hold the key that its name says: restore it from a backup")
        keys[store_key_id(key)] = key
    return keys


def create_key_file(directory: Path) -> StoreKeyId:
    """Make a new random key, durable under its own name before its id is returned. Raises OSError."""
    identity = write_new_key(directory)
    name_new_key(directory, identity)
    return identity


def write_new_key(directory: Path) -> StoreKeyId:
    """The first half of `create_key_file`: a durable file that `load_key_files` passes over yet. Raises OSError."""
    key = secrets.token_bytes(32)
    identity = store_key_id(key)
    descriptor = os.open(
        _new_file(directory, identity), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(key) + b"\n")
        file.flush()
        os.fsync(descriptor)
    return identity


def name_new_key(directory: Path, identity: StoreKeyId) -> None:
    """The second half. Raises OSError."""
    os.rename(_new_file(directory, identity), directory / (identity.hex() + SUFFIX))
    _fsync_directory(directory)


def _new_file(directory: Path, identity: StoreKeyId) -> Path:
    return directory / f"{identity.hex()}.new"


def remove_unfinished(directory: Path) -> None:
    """Remove what `create_key_file` left behind where it was killed; nobody else may be at it."""
    for left in directory.glob("*.new"):
        left.unlink(missing_ok=True)


def remove_key_file(directory: Path, identity: StoreKeyId) -> None:
    """Remove a retired key; its absence is no error."""
    (directory / (identity.hex() + SUFFIX)).unlink(missing_ok=True)
    _fsync_directory(directory)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- keys that somebody else keeps


def load_environment(environ: Mapping[str, str]) -> StoreKeys:
    """The keys of STRONGROOM_STORE_KEY and, during a rotation, STRONGROOM_STORE_KEY_PREVIOUS: base64 of 32 random
    bytes; the first is the newest.

    Raises StoreKeyError.

    """
    if not environ.get(VARIABLES[0]):
        raise StoreKeyError(
            f"{VARIABLES[0]} is not set: it must hold base64 of 32 random bytes (`openssl rand -base64 32`)"
        )
    keys = [_decoded(environ[name].encode(), name) for name in VARIABLES if environ.get(name)]
    return {store_key_id(key): key for key in keys}


def load_credentials(environ: Mapping[str, str]) -> StoreKeys:
    """The same from systemd credentials (LoadCredential=, systemd.exec(5)): files in $CREDENTIALS_DIRECTORY. Raises
    StoreKeyError.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise StoreKeyError(
            "CREDENTIALS_DIRECTORY is not set: the systemd unit needs a line LoadCredential=strongroom-store-key:PATH"
        )
    keys = []
    for name in CREDENTIALS:
        path = Path(directory) / name
        try:
            keys.append(_decoded(path.read_bytes(), str(path)))
        except FileNotFoundError:
            if name == CREDENTIALS[0]:
                raise StoreKeyError(
                    f"{path} does not exist: the systemd unit needs LoadCredential={name}:PATH"
                ) from None
        except OSError as error:
            raise StoreKeyError(f"{path} can't be read: {error.strerror}") from error
    return {store_key_id(key): key for key in keys}


def _decoded(text: bytes, where: str) -> bytes:
    try:
        return decode_master_key(text)
    except ValueError as error:
        raise StoreKeyError(f"{where} holds no usable key: {error}; wanted is base64 of 32 random bytes") from None
