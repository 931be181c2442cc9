"""Imported key material: GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial, and its expiry.

What comes in is stored as it is: 32 bytes, an HMAC key, or a private key put into one form (DER PKCS #8 without
attributes); where 32 bytes become the key that seals blobs they go through HKDF-Extract first (kms/blob.py). A symmetric
key may have many materials: the first one, and those that RotateKeyOnDemand made current, belong to it for good, and
while one of them is not here the whole key is PendingImport until the same bytes come back. One more may wait for its
rotation; it belongs to the key only then, so that deleting it leaves nothing.

A material's id is HMAC-SHA-256 over key id and material, under a key that this service derives for its whole life
(`Root.derive`). So the same material has the same id whenever it comes back, after the material itself was deleted and
after the root was rotated; and an id, which anybody may see, confirms no guess of a weak material.
"""

import hmac
import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key
from msgspec.structs import replace

from strongroom.aws.kms_errors import KmsError
from strongroom.crypto.context import ctx
from strongroom.kms import import_tokens
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.key_specs import SPECS, PrivateKey, is_symmetric_encryption, private_der, public_der, spec_of
from strongroom.kms.records import Key, Material
from strongroom.kms.state import Change, Put, Remove, State

MAX_VALIDITY = timedelta(days=365)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SYMMETRIC_ONLY = ("ImportType", "KeyMaterialDescription", "KeyMaterialId")


def get_parameters_for_import(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """Makes an RSA key pair: slow."""
    check_origin(kms, key)
    parameters = import_tokens.issue(
        kms,
        key,
        algorithm=call.input["WrappingAlgorithm"],
        wrapping_spec=call.input["WrappingKeySpec"],
        now_us=call.now_us,
    )
    return Outcome(
        output={
            "KeyId": kms.key_arn(key.key_id),
            "ImportToken": parameters.token,
            "PublicKey": parameters.public_key,
            "ParametersValidTo": _EPOCH + timedelta(microseconds=parameters.expires_us),
        }
    )


# --- import


def import_key_material(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """1. is what the request says consistent, 2. is the token this key's, 3. what was wrapped, 4. which material is it,
    5. does it belong here, 6. the changed records.
    """
    check_origin(kms, key)
    is_new = _is_new(call.input, key)
    valid_to_us = _valid_to(call)
    unwrapping = import_tokens.redeem(kms, key, call.input["ImportToken"], call.now_us)
    plaintext, public_key = _check_material(key, unwrapping.unwrap(call.input["EncryptedKeyMaterial"]))
    material_id = _material_id(kms, key, plaintext)
    if is_new:
        _check_new(kms, key, material_id)
        material = Material(material_id=material_id, key_id=key.key_id, created_us=call.now_us, sealed=b"")
    else:
        material = _existing(call, kms, key, material_id)
    material = replace(
        material,
        sealed=kms.root.seal_material(key, material_id, plaintext),
        public_key=public_key,
        description=call.input.get("KeyMaterialDescription", material.description),
        expires=valid_to_us is not None,
        valid_to_us=valid_to_us,
    )
    return _outcome(kms, key, material_id, (Put(material), Put(_key_with(kms.state, key, material_id, call.now_us))))


def _is_new(input: Mapping[str, Any], key: Key) -> bool:
    """Whether a material is to be added, not one brought back. Raises ValidationException."""
    if not is_symmetric_encryption(key) and (given := [name for name in _SYMMETRIC_ONLY if name in input]):
        raise KmsError("ValidationException", f"{given[0]} is only valid for symmetric encryption keys.")
    is_empty = not key.material_ids
    is_new: bool = input.get("ImportType", "NEW_KEY_MATERIAL" if is_empty else "") == "NEW_KEY_MATERIAL"
    if is_new and "KeyMaterialId" in input:
        raise KmsError(
            "ValidationException", "You cannot specify a KeyMaterialId when the ImportType is NEW_KEY_MATERIAL."
        )
    return is_new


def _valid_to(call: KmsCall) -> int | None:
    """When the material expires; None for never. Raises ValidationException."""
    valid_to: datetime | None = call.input.get("ValidTo")
    if call.input.get("ExpirationModel", "KEY_MATERIAL_EXPIRES") == "KEY_MATERIAL_DOES_NOT_EXPIRE":
        if valid_to is not None:
            raise KmsError(
                "ValidationException",
                "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE",
            )
        return None
    if valid_to is None:
        raise KmsError(
            "ValidationException", "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"
        )
    valid_to_us = (valid_to - _EPOCH) // timedelta(microseconds=1)
    if valid_to_us <= call.now_us:
        raise KmsError("ValidationException", "The validTo date must be in the future.")
    if valid_to_us > call.now_us + MAX_VALIDITY // timedelta(microseconds=1):
        raise KmsError("ValidationException", "The validTo date must be no more than 365 days from now.")
    return valid_to_us


def _check_material(key: Key, plaintext: bytes) -> tuple[bytes, bytes]:
    """(what is stored, public key or b""). Raises IncorrectKeyMaterialException for what is no key of the spec."""
    spec = SPECS[key.spec]
    if not spec.is_pair:
        if len(plaintext) != spec.size:
            raise KmsError("IncorrectKeyMaterialException", reason=f"a key of {key.spec} has {spec.size} bytes")
        return plaintext, b""
    try:
        private_key = load_der_private_key(plaintext, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KmsError("IncorrectKeyMaterialException", reason="no PKCS #8 private key") from None
    if spec_of(private_key) != key.spec:
        raise KmsError("IncorrectKeyMaterialException", reason=f"no private key of {key.spec}")
    if isinstance(private_key, RSAPrivateKey) and not _is_sound(private_key):
        raise KmsError("IncorrectKeyMaterialException", reason="the numbers of the RSA key do not belong together")
    pair: PrivateKey = private_key  # type: ignore[assignment]  # spec_of knows its kind
    return private_der(pair), public_der(pair)


def _is_sound(private_key: RSAPrivateKey) -> bool:
    """Whether the numbers belong together, and a signature made with them verifies.

    OpenSSL's own check proves the primes as well. That takes half a second for RSA_4096, under the interpreter's lock, so
    that the whole service stands still, in a thread too. What is no prime signs wrongly, unless it was made to deceive
    (Carmichael numbers), and whoever goes to such lengths weakens no key but the one that they bring.
    """
    numbers = private_key.private_numbers()
    p, q, d, e = numbers.p, numbers.q, numbers.d, numbers.public_numbers.e
    belong = (
        min(p, q, e) > 2
        and p * q == numbers.public_numbers.n
        and (numbers.dmp1, numbers.dmq1) == (d % (p - 1), d % (q - 1))
        and numbers.iqmp * q % p == 1
        and all(d * e % (prime - 1) == 1 for prime in (p, q))
    )
    if not belong:
        return False
    message = secrets.token_bytes(32)
    try:
        signature = private_key.sign(message, PKCS1v15(), SHA256())
        private_key.public_key().verify(signature, message, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def _material_id(kms: Kms, key: Key, plaintext: bytes) -> bytes:
    key_id = uuid.UUID(key.key_id).bytes
    return hmac.digest(kms.root.derive("imported-material-id"), ctx("kms/material-id", key_id, plaintext), "sha256")


def _check_new(kms: Kms, key: Key, material_id: bytes) -> None:
    """Raises KMSInvalidStateException while another one waits, IncorrectKeyMaterialException for one that is known."""
    arn = kms.key_arn(key.key_id)
    if key.pending_material_id is not None:
        raise KmsError(
            "KMSInvalidStateException",
            f"New key material (id: {material_id.hex()}) cannot be imported into KMS key {arn}, "
            f"because another key material (id: {key.pending_material_id.hex()}) is pending rotation.",
        )
    if material_id in key.material_ids:
        raise KmsError("IncorrectKeyMaterialException", reason="the new material is one that the key has already")


def _existing(call: KmsCall, kms: Kms, key: Key, material_id: bytes) -> Material:
    """The record of the material that comes back. Raises IncorrectKeyMaterialException for any other."""
    named: str = call.input.get("KeyMaterialId", material_id.hex())
    if named != material_id.hex() or material_id not in _known(key):  # no secrets: ListKeyRotations shows them
        raise KmsError("IncorrectKeyMaterialException")
    return kms.state.materials[material_id]


def _key_with(state: State, key: Key, material_id: bytes, now_us: int) -> Key:
    """The key once `material_id` is here."""
    if not key.material_ids:
        return replace(key, material_ids=(material_id,), available=True)
    if material_id not in key.material_ids:
        return replace(key, pending_material_id=material_id)
    others = (state.materials[other] for other in key.material_ids if other != material_id)
    return replace(key, available=all(other.sealed and not _has_expired(other, now_us) for other in others))


# --- deletion and expiry


def delete_imported_key_material(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """Of the material named, else of the current one. Where there is none nothing happens."""
    check_origin(kms, key)
    named: str | None = call.input.get("KeyMaterialId")
    material_id = bytes.fromhex(named) if named is not None else key.current_material_id
    if material_id is None:
        return Outcome(output={"KeyId": kms.key_arn(key.key_id)})
    if material_id not in _known(key):
        raise KmsError(
            "NotFoundException", f"Key material {named} is not associated with KMS key {kms.key_arn(key.key_id)}."
        )
    return _outcome(kms, key, material_id, drop_material(kms.state, key, material_id))


def drop_material(state: State, key: Key, material_id: bytes) -> tuple[Change, ...]:
    """What a deletion and an expiry change: no bytes remain, and a key that they belong to for good is PendingImport."""
    if material_id == key.pending_material_id:
        return Remove("material", material_id.hex()), Put(replace(key, pending_material_id=None))
    material = state.materials[material_id]
    if not material.sealed:
        return ()
    emptied = replace(material, sealed=b"", expires=False, valid_to_us=None)
    return Put(emptied), Put(replace(key, available=False))


def expired_materials(state: State, now_us: int) -> list[Material]:
    """Those to be dropped now, the earliest first. The changes of one are applied before the next is dropped."""
    due = [material for material in state.materials.values() if material.sealed and _has_expired(material, now_us)]
    return sorted(due, key=lambda material: material.valid_to_us or 0)


def _has_expired(material: Material, now_us: int) -> bool:
    return material.expires and material.valid_to_us is not None and material.valid_to_us <= now_us


# --- what RotateKeyOnDemand asks


def waiting_material(kms: Kms, key: Key) -> Material:
    """The imported material that becomes current next. Raises KMSInvalidStateException where none waits that has not
    expired by now: it would leave the key without material at once.
    """
    waiting = None if key.pending_material_id is None else kms.state.materials[key.pending_material_id]
    if waiting is None or _has_expired(waiting, kms.clock().us):
        raise KmsError(
            "KMSInvalidStateException",
            f"No available key material pending rotation for the key: {kms.key_arn(key.key_id)}.",
        )
    return waiting


def check_origin(kms: Kms, key: Key) -> None:
    """Raises UnsupportedOperationException for a key whose material is made here."""
    if key.origin != "EXTERNAL":
        raise KmsError(
            "UnsupportedOperationException",
            f"{kms.key_arn(key.key_id)} origin is {key.origin} which is not valid for this operation.",
        )


def _known(key: Key) -> tuple[bytes, ...]:
    return key.material_ids + ((key.pending_material_id,) if key.pending_material_id else ())


def _outcome(kms: Kms, key: Key, material_id: bytes, changes: tuple[Change, ...]) -> Outcome:
    """Only materials of symmetric keys have an id to the outside."""
    named = {"KeyMaterialId": material_id.hex()} if is_symmetric_encryption(key) else {}
    output = {"KeyId": kms.key_arn(key.key_id), **named}
    elements = {"keyId": output["KeyId"], **({"keyMaterialId": material_id.hex()} if named else {})}
    facts = {"keyMaterialId": material_id.hex()} if named else {}
    return Outcome(output=output, changes=changes, facts=facts, elements=elements)
