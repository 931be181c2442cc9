"""Data keys and small secrets under a symmetric KMS key: GenerateDataKey, Encrypt, Decrypt, ReEncrypt, GenerateRandom.

Each message is sealed under keys of its own, derived from the material and a fresh salt (crypto/segments.py), so no
number of calls brings a key near AES-GCM's limits. Nothing of what is generated here is kept. RSA keys, which can do
Encrypt and Decrypt too, are asymmetric.py's.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.asymmetric import rsa_decrypt, rsa_encrypt
from strongroom.kms.blob import current_material, open_blob, parse_blob, seal_blob
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.key_specs import SYMMETRIC
from strongroom.kms.key_use import check_algorithm, check_usage, stop_dry_run
from strongroom.kms.records import Key

USAGE = "ENCRYPT_DECRYPT"
_DATA_KEY_BYTES = {"AES_256": 32, "AES_128": 16}


def generate_data_key(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    check_usage(call, kms, key, USAGE)
    size = _data_key_size(call.input)
    plaintext = secrets.token_bytes(size)
    sealed = generate(call, kms, key, plaintext)
    return Outcome(output={**sealed.output, "Plaintext": plaintext}, facts=sealed.facts)


def generate_data_key_without_plaintext(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    check_usage(call, kms, key, USAGE)
    return generate(call, kms, key, secrets.token_bytes(_data_key_size(call.input)))


def generate(call: KmsCall, kms: Kms, key: Key, plaintext: bytes) -> Outcome:
    """What the two have in common: `plaintext` sealed, and which material sealed it."""
    material_id = current_material(kms, key).material_id.hex()
    output = {
        "CiphertextBlob": seal_blob(kms, key, plaintext, call.input.get("EncryptionContext")),
        "KeyId": kms.key_arn(key.key_id),
        "KeyMaterialId": material_id,
    }
    return Outcome(output=output, facts={"keyMaterialId": material_id})


def encrypt(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    check_usage(call, kms, key, USAGE)
    algorithm = call.input.get("EncryptionAlgorithm", SYMMETRIC)
    output = {"KeyId": kms.key_arn(key.key_id), "EncryptionAlgorithm": algorithm}
    blob, facts = _sealed(kms, key, call.input["Plaintext"], algorithm, call.input.get("EncryptionContext"))
    return Outcome(output={**output, "CiphertextBlob": blob}, facts=facts)


def decrypt(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """The key is the one that the blob names, or that the request named (operations.py)."""
    check_usage(call, kms, key, USAGE)
    algorithm = call.input.get("EncryptionAlgorithm", SYMMETRIC)
    check_algorithm(key, algorithm)
    stop_dry_run(call)
    plaintext, facts = _opened(call, kms, key, algorithm, call.input.get("EncryptionContext"))
    output = {"KeyId": kms.key_arn(key.key_id), "Plaintext": plaintext, "EncryptionAlgorithm": algorithm}
    if "keyMaterialId" in facts:
        output["KeyMaterialId"] = facts["keyMaterialId"]
    return Outcome(output=output, facts=facts)


def re_encrypt(call: KmsCall, kms: Kms, source: Key, destination: Key) -> Outcome:
    """The plaintext exists in here only, and goes when this returns."""
    check_usage(call, kms, source, USAGE)
    check_usage(call, kms, destination, USAGE)
    opens = call.input.get("SourceEncryptionAlgorithm", SYMMETRIC)
    seals = call.input.get("DestinationEncryptionAlgorithm", SYMMETRIC)
    check_algorithm(source, opens)
    check_algorithm(destination, seals)
    stop_dry_run(call)
    plaintext, opened = _opened(call, kms, source, opens, call.input.get("SourceEncryptionContext"))
    blob, sealed = _sealed(kms, destination, plaintext, seals, call.input.get("DestinationEncryptionContext"))
    output = {
        "CiphertextBlob": blob,
        "SourceKeyId": kms.key_arn(source.key_id),
        "KeyId": kms.key_arn(destination.key_id),
        "SourceEncryptionAlgorithm": opens,
        "DestinationEncryptionAlgorithm": seals,
    }
    facts = {}
    if "keyMaterialId" in opened:
        output["SourceKeyMaterialId"] = facts["sourceKeyMaterialId"] = opened["keyMaterialId"]
    if "keyMaterialId" in sealed:
        output["DestinationKeyMaterialId"] = facts["destinationKeyMaterialId"] = sealed["keyMaterialId"]
    return Outcome(output=output, facts=facts)


def generate_random(call: KmsCall, kms: Kms) -> Outcome:
    del kms
    if call.input.get("CustomKeyStoreId") is not None:
        raise KmsError("UnsupportedOperationException", "Custom key stores are not supported.")
    if (size := call.input.get("NumberOfBytes")) is None:
        raise KmsError("ValidationException", "NumberOfBytes is required.")
    return Outcome(output={"Plaintext": secrets.token_bytes(size)})


def _data_key_size(input: Mapping[str, Any]) -> int:
    """Bytes. Raises ValidationException unless exactly one of the two ways to say it is used."""
    spec, size = input.get("KeySpec"), input.get("NumberOfBytes")
    if (spec is None) == (size is None):
        raise KmsError("ValidationException", "Please specify either number of bytes or key spec.")
    return _DATA_KEY_BYTES[spec] if spec is not None else int(size or 0)


def _sealed(
    kms: Kms, key: Key, plaintext: bytes, algorithm: str, context: Mapping[str, str] | None
) -> tuple[bytes, dict[str, str]]:
    """Ciphertext, and facts for the record."""
    check_algorithm(key, algorithm)
    if key.spec != SYMMETRIC:
        _refuse_context(context)
        return rsa_encrypt(kms, key, plaintext, algorithm), {}
    return seal_blob(kms, key, plaintext, context), {"keyMaterialId": current_material(kms, key).material_id.hex()}


def _opened(
    call: KmsCall, kms: Kms, key: Key, algorithm: str, context: Mapping[str, str] | None
) -> tuple[bytes, dict[str, str]]:
    """Plaintext, and facts for the record."""
    blob = call.input["CiphertextBlob"]
    if key.spec != SYMMETRIC:
        _refuse_context(context)
        return rsa_decrypt(kms, key, blob, algorithm), {}
    return open_blob(kms, key, blob, context), {"keyMaterialId": parse_blob(blob).material_id.hex()}


def _refuse_context(context: Mapping[str, str] | None) -> None:
    if context:
        raise KmsError("ValidationException", "EncryptionContext is only valid for the SYMMETRIC_DEFAULT algorithm.")
