"""CiphertextBlobs: what is sealed under a symmetric key, naming key and material in clear (docs/object-format.md)."""

import uuid
from collections.abc import Mapping

from strongroom.aws.kms_errors import KmsError
from strongroom.crypto.context import ctx, text, u32
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.segments import open_sealed, seal
from strongroom.kms.call import Kms
from strongroom.kms.records import Key

_FORMAT = b"\x01"


def seal_blob(kms: Kms, key: Key, plaintext: bytes, context: Mapping[str, str] | None) -> bytes:
    """`plaintext` under the newest material of a symmetric key."""
    assert key.current_material_id is not None
    names = _FORMAT + uuid.UUID(key.key_id).bytes + key.current_material_id
    return names + seal(_material_key(kms, key, key.current_material_id), _binding(kms, names, context), plaintext)


def open_blob(kms: Kms, key: Key, blob: bytes, context: Mapping[str, str] | None) -> bytes:
    """The plaintext of a blob that names `key`. Raises InvalidCiphertextException."""
    names, message = blob[:49], blob[49:]
    if names[:17] != _FORMAT + uuid.UUID(key.key_id).bytes or names[17:] not in key.material_ids:
        raise KmsError("InvalidCiphertextException")
    try:
        return open_sealed(_material_key(kms, key, names[17:]), _binding(kms, names, context), message)
    except IntegrityError as error:
        raise KmsError("InvalidCiphertextException", reason=str(error)) from error


def _material_key(kms: Kms, key: Key, material_id: bytes) -> bytes:
    return kms.root.open_material(key, kms.state.materials[material_id])


def _binding(kms: Kms, names: bytes, context: Mapping[str, str] | None) -> bytes:
    pairs = sorted((text(name), text(value)) for name, value in (context or {}).items())
    canonical = b"".join((u32(len(pairs)), *(u32(len(part)) + part for pair in pairs for part in pair)))
    account, region = text(kms.account_id), text(kms.region)
    return ctx("kms/blob", account, region, names[1:17], names[17:], b"SYMMETRIC_DEFAULT", canonical)
