"""CiphertextBlobs: what Encrypt, GenerateDataKey and the others give, and what Decrypt opens again.

A blob names its key and its material in clear, so that it opens without a key id and after any number of rotations;
account, region, key, material and encryption context are bound (docs/object-format.md). Damage, another context and
trailing bytes are one and the same InvalidCiphertextException without a word, as on AWS: nobody learns which it was.
"""

from collections.abc import Mapping

from strongroom.aws.kms_errors import KmsError
from strongroom.crypto import kms_sealing
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.kms_sealing import Blob, BlobPlace, canonical_context, imported_key, raw_key_id
from strongroom.kms.call import Kms
from strongroom.kms.records import Key, Material


def seal_blob(kms: Kms, key: Key, plaintext: bytes, context: Mapping[str, str] | None) -> bytes:
    """`plaintext` under the newest material of a symmetric key."""
    material = current_material(kms, key)
    place = _place(kms, key, material.material_id, context)
    return kms_sealing.seal_blob(material_key(kms, key, material), plaintext, place)


def parse_blob(blob: bytes) -> Blob:
    """What a symmetric blob names, authenticated by nobody yet. Raises InvalidCiphertextException."""
    try:
        return kms_sealing.parse_blob(blob)
    except IntegrityError as error:
        raise KmsError("InvalidCiphertextException", reason=str(error)) from error


def open_blob(kms: Kms, key: Key, blob: bytes, context: Mapping[str, str] | None) -> bytes:
    """The plaintext of a blob that names `key`. Raises InvalidCiphertextException."""
    parsed = parse_blob(blob)
    if parsed.material_id not in key.material_ids:
        raise KmsError("InvalidCiphertextException", reason="the blob names a material that is not its key's")
    material = kms.state.materials[parsed.material_id]
    sealing_key = material_key(kms, key, material)  # outside: what is wrong with our own material is no client's doing
    try:
        return kms_sealing.open_blob(sealing_key, parsed, _place(kms, key, parsed.material_id, context))
    except IntegrityError as error:
        raise KmsError("InvalidCiphertextException", reason=str(error)) from error


def current_material(kms: Kms, key: Key) -> Material:
    assert key.current_material_id is not None  # the state table lets no key without material through
    return kms.state.materials[key.current_material_id]


def material_key(kms: Kms, key: Key, material: Material) -> bytes:
    """The key under which a symmetric material seals blobs; an imported one goes through HKDF-Extract first."""
    plaintext = kms.root.open_material(key, material)
    if key.origin != "EXTERNAL":
        return plaintext
    return imported_key(plaintext, key_id=raw_key_id(key.key_id), material_id=material.material_id)


def _place(kms: Kms, key: Key, material_id: bytes, context: Mapping[str, str] | None) -> BlobPlace:
    return BlobPlace(
        account=kms.account_id,
        region=kms.region,
        key_id=raw_key_id(key.key_id),
        material_id=material_id,
        context=canonical_context(context or {}),
    )
