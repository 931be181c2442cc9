"""Where store keys come from: key files that we make, or the environment, or a systemd credential.

A store key is 32 uniform random bytes and goes by its fingerprint, so that a wrong key is refused by name instead of
opening nothing. A file holds it in clear (`.key`), or as a key service made and sealed it (`.kms`); both may lie side by
side, which is how a store moves from one to the other. This module reads and writes keys and knows neither buckets nor
the index. It never makes a key because one could not be read: only `create_key_file` makes one, and only first run and
rotation call it.
"""

import base64
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from strongroom.crypto.sealing import decode_master_key, fingerprint
from strongroom.keys.provider import (
    DataKey,
    KeyServiceMisbehaved,
    KeyServiceRefusal,
    KeyServiceUnavailable,
    SealedKey,
)

StoreKeyId = bytes
StoreKeys = Mapping[StoreKeyId, bytes]
LoadStoreKeys = Callable[[], StoreKeys]
GenerateSealed = Callable[[], DataKey]
"""A new key, made by the key service. Raises KeyServiceUnavailable and its kin."""
OpenSealed = Callable[[SealedKey], bytes]
"""A key that the key service sealed. Raises as `GenerateSealed`."""
T = TypeVar("T")

SUFFIX, SEALED_SUFFIX = ".key", ".kms"
_NEW = ".new"
VARIABLES = ("STRONGROOM_STORE_KEY", "STRONGROOM_STORE_KEY_PREVIOUS")
CREDENTIALS = ("strongroom-store-key", "strongroom-store-key-previous")


class StoreKeyError(Exception):
    """A store key is missing or is none; the text is for the person who runs the server and holds nothing of the key."""


class StoreKeyUnavailable(StoreKeyError):
    """The key service that has to open or make it does not answer: another try may succeed."""


def store_key_id(key: bytes) -> StoreKeyId:
    """16 bytes that tell keys apart and tell nothing of the key."""
    return fingerprint(key, "store-key")


# --- key files


def load_key_files(directory: Path, open_sealed: OpenSealed | None = None) -> StoreKeys:
    """Every key file of `directory` by its id. `open_sealed`: for those that a key service sealed. Raises StoreKeyError,
    also where a file is not the key that its name says.
    """
    keys = {}
    for name in _key_file_names(directory):
        path = directory / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                    raise StoreKeyError(f"{path} can be read by others: run `chmod 600 {path}`")
                content = file.read()
        except FileNotFoundError:  # retired between listing and opening
            continue
        except OSError as error:
            raise StoreKeyError(f"{path} can't be read: {error.strerror}") from error
        key = _unsealed(content, path, open_sealed) if name.endswith(SEALED_SUFFIX) else _decoded(content, str(path))
        if store_key_id(key).hex() != path.stem:
            raise StoreKeyError(f"{path} does not hold the key that its name says: restore it from a backup")
        keys[store_key_id(key)] = key
    return keys


def key_file_ids(directory: Path) -> list[StoreKeyId]:
    """Of the keys that have a file; none is opened. Raises StoreKeyError."""
    return [bytes.fromhex(name.partition(".")[0]) for name in _key_file_names(directory)]


def _key_file_names(directory: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if name.endswith((SUFFIX, SEALED_SUFFIX)))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreKeyError(f"the store keys in {directory} can't be read: {error.strerror}") from error


def is_sealed(directory: Path, identity: StoreKeyId) -> bool:
    """Whether it takes a key service to open this key."""
    return (directory / (identity.hex() + SEALED_SUFFIX)).exists()


def create_key_file(directory: Path, generate_sealed: GenerateSealed | None = None) -> StoreKeyId:
    """Make a new random key, durable under its own name before its id is returned. `generate_sealed`: what makes it,
    where a key service is to seal it. Raises OSError, StoreKeyError.
    """
    identity = write_new_key(directory, generate_sealed)
    name_new_key(directory, identity)
    return identity


def write_new_key(directory: Path, generate_sealed: GenerateSealed | None = None) -> StoreKeyId:
    """The first half of `create_key_file`: a durable file that `load_key_files` passes over yet. Raises as it does."""
    if generate_sealed is None:
        key, suffix = secrets.token_bytes(32), SUFFIX
        content = base64.b64encode(key) + b"\n"
    else:
        made = _asked(generate_sealed, "made")
        key, suffix, content = made.plaintext, SEALED_SUFFIX, _encode_sealed(made.sealed)
    identity = store_key_id(key)
    path = directory / f"{identity.hex()}{suffix}{_NEW}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    return identity


def name_new_key(directory: Path, identity: StoreKeyId) -> None:
    """The second half. Raises OSError."""
    for path in directory.glob(f"{identity.hex()}.*{_NEW}"):
        os.rename(path, path.with_suffix(""))
    _fsync_directory(directory)


def remove_unfinished(directory: Path) -> None:
    """Remove what `create_key_file` left behind where it was killed; nobody else may be at it."""
    for left in directory.glob(f"*{_NEW}"):
        left.unlink(missing_ok=True)


def remove_key_file(directory: Path, identity: StoreKeyId) -> None:
    """Remove a retired key; its absence is no error."""
    for suffix in (SUFFIX, SEALED_SUFFIX):
        (directory / (identity.hex() + suffix)).unlink(missing_ok=True)
    _fsync_directory(directory)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- keys that a key service seals


def _encode_sealed(sealed: SealedKey) -> bytes:
    document = {
        "key_arn": sealed.key_arn,
        "material_id": None if sealed.material_id is None else sealed.material_id.hex(),
        "ciphertext_blob": base64.b64encode(sealed.ciphertext_blob).decode(),
    }
    return json.dumps(document).encode() + b"\n"


def _unsealed(content: bytes, path: Path, open_sealed: OpenSealed | None) -> bytes:
    if open_sealed is None:
        raise StoreKeyError(f"{path} holds a store key that a key service sealed, and there is none to open it")
    try:
        document = json.loads(content)
        material_id = document["material_id"]
        sealed = SealedKey(
            key_arn=document["key_arn"],
            material_id=None if material_id is None else bytes.fromhex(material_id),
            ciphertext_blob=base64.b64decode(document["ciphertext_blob"], validate=True),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StoreKeyError(f"{path} holds no sealed store key: restore it from a backup") from None
    return _asked(partial(open_sealed, sealed), "opened")


def _asked(question: Callable[[], T], what: str) -> T:
    try:
        return question()
    except KeyServiceUnavailable as error:
        raise StoreKeyUnavailable(
            f"the store key can't be {what}, because the key service does not answer: {error}"
        ) from error
    except (KeyServiceRefusal, KeyServiceMisbehaved) as error:
        raise StoreKeyError(f"the store key can't be {what}, the key service says: {error}") from error


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
