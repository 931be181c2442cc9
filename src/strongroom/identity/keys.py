"""The identity key: seals users and their access keys, and is what the S3 servers prove themselves with to the KMS.

32 random bytes in `identity.key`, base64 like the store keys. Every process that authenticates people reads it. It is
made once, with the store that it seals, and never because it could not be read: this module makes one only when asked.
"""

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path

from strongroom.crypto.sealing import check_master_key, fingerprint, service_secret
from strongroom.database.private_file import write_private
from strongroom.identity.records import IdentityError
from strongroom.identity.root import Credentials

SERVICE_ACCESS_KEY_ID = "strongroom-s3"
FILE_NAME = "identity.key"


class IdentityKeyError(IdentityError):
    """The identity key is missing or is none. The text is meant for people and holds nothing of the key."""


def load_identity_key(directory: Path) -> bytes | None:
    """The key in `directory`, or None where there is certainly no such file. Raises IdentityKeyError for anything else
    that keeps it from being read.
    """
    path = directory / FILE_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                raise IdentityKeyError(f"{path} can be read by others: run `chmod 600 {path}`")
            text = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IdentityKeyError(f"{path} can't be read: {error.strerror}") from error
    try:
        key = base64.b64decode(text.strip(), validate=True)
        check_master_key(key)
    except (binascii.Error, ValueError):
        raise IdentityKeyError(f"{path} holds no usable key; wanted is base64 of 32 random bytes") from None
    return key


def create_identity_key(directory: Path) -> bytes:
    """A new random key, durable on return. Raises FileExistsError: a key is never overwritten."""
    key = secrets.token_bytes(32)
    write_private(directory / FILE_NAME, base64.b64encode(key) + b"\n", replace=False)
    return key


def identity_key_id(key: bytes) -> bytes:
    """16 bytes that tell keys apart and tell nothing of the key."""
    return fingerprint(key, "identity-key")


def service_credentials(identity_key: bytes) -> Credentials:
    """What an S3 server signs with when it asks the KMS, and what the KMS verifies. They are nobody's on S3."""
    return Credentials(access_key_id=SERVICE_ACCESS_KEY_ID, secret_access_key=service_secret(identity_key).hex())
