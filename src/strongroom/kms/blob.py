"""CiphertextBlobs: what Encrypt, GenerateDataKey and the others give, and what Decrypt opens again.

A blob names its key and its material in clear, so that it opens without a key id and after any number of rotations;
account, region, key, material and encryption context are bound (docs/object-format.md). Damage, another context and
trailing bytes are one and the same InvalidCiphertextException without a word, as on AWS: nobody learns which it was.
"""

import uuid
from collections.abc import Mapping

from strongroom.aws.kms_errors import KmsError
from strongroom.crypto import kms_sealing
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.kms_sealing import BlobNames
from strongroom.kms.call import Kms
from strongroom.kms.records import Key, Material


def seal_blob(kms: Kms, key: Key, plaintext: bytes, context: Mapping[str, str] | None) -> bytes:
    """`plaintext` under the newest material of a symmetric key."""
    material = current_material(kms, key)
    return kms_sealing.seal_blob(
        material_key(kms, key, material),
        plaintext,
        account=kms.account_id,
        region=kms.region,
        key_id=uuid.UUID(key.key_id).bytes,
        material_id=material.material_id,
        context=context or {},
    )


def parse_blob(blob: bytes) -> BlobNames:
    """Key id and material id that a symmetric blob names. Raises InvalidCiphertextException."""
    try:
        return kms_sealing.parse_blob(blob)
    except IntegrityError as error:
        raise KmsError("InvalidCiphertextException", reason=str(error)) from error


def open_blob(kms: Kms, key: Key, blob: bytes, context: Mapping[str, str] | None) -> bytes:
    """The plaintext of a blob that names `key`. Raises InvalidCiphertextException."""
    names = parse_blob(blob)
    if names.material_id not in key.material_ids:
        raise KmsError("InvalidCiphertextException", reason="the blob names a material that is not its key's")
    material = kms.state.materials[names.material_id]
    try:
        return kms_sealing.open_blob(
            material_key(kms, key, material),
            blob,
            account=kms.account_id,
            region=kms.region,
            key_id=uuid.UUID(key.key_id).bytes,
            material_id=material.material_id,
            context=context or {},
        )
    except IntegrityError as error:
        raise KmsError("InvalidCiphertextException", reason=str(error)) from error


def current_material(kms: Kms, key: Key) -> Material:
    assert key.current_material_id is not None  # the state table lets no key without material through
    return kms.state.materials[key.current_material_id]


def material_key(kms: Kms, key: Key, material: Material) -> bytes:
    """The key under which a symmetric material seals blobs.

    An imported key goes through HKDF-Extract first: whether somebody's 32 bytes are uniformly random is not ours to know.
    """
    plaintext = kms.root.open_material(key, material)
    return kms_sealing.imported_blob_key(plaintext) if key.origin == "EXTERNAL" else plaintext
