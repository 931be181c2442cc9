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
from strongroom.kms.records import Key

SYMMETRIC = "SYMMETRIC_DEFAULT"
_DATA_KEY_BYTES = {"AES_256": 32, "AES_128": 16}


def generate_data_key(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    check_usage(call, kms, key)
    size = _data_key_size(call.input)
    plaintext = secrets.token_bytes(size)
    sealed = generate(call, kms, key, plaintext)
    return Outcome(output={**sealed.output, "Plaintext": plaintext}, facts=sealed.facts)


def generate_data_key_without_plaintext(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    check_usage(call, kms, key)
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
    check_usage(call, kms, key)
    algorithm = call.input.get("EncryptionAlgorithm", SYMMETRIC)
    output = {"KeyId": kms.key_arn(key.key_id), "EncryptionAlgorithm": algorithm}
    blob, facts = _sealed(kms, key, call.input["Plaintext"], algorithm, call.input.get("EncryptionContext"))
    return Outcome(output={**output, "CiphertextBlob": blob}, facts=facts)


def decrypt(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """The key is the one that the blob names, or that the request named (operations.py)."""
    check_usage(call, kms, key)
    algorithm = call.input.get("EncryptionAlgorithm", SYMMETRIC)
    _check_algorithm(key, algorithm)
    _stop_dry_run(call)
    plaintext, facts = _opened(call, kms, key, algorithm, call.input.get("EncryptionContext"))
    output = {"KeyId": kms.key_arn(key.key_id), "Plaintext": plaintext, "EncryptionAlgorithm": algorithm}
    if "keyMaterialId" in facts:
        output["KeyMaterialId"] = facts["keyMaterialId"]
    return Outcome(output=output, facts=facts)


def re_encrypt(call: KmsCall, kms: Kms, source: Key, destination: Key) -> Outcome:
    """The plaintext exists in here only, and goes when this returns."""
    check_usage(call, kms, source)
    check_usage(call, kms, destination)
    opens = call.input.get("SourceEncryptionAlgorithm", SYMMETRIC)
    seals = call.input.get("DestinationEncryptionAlgorithm", SYMMETRIC)
    _check_algorithm(source, opens)
    _check_algorithm(destination, seals)
    _stop_dry_run(call)
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
    if (size := call.input.get("NumberOfBytes")) is None:
        raise KmsError("ValidationException", "NumberOfBytes is required.")
    return Outcome(output={"Plaintext": secrets.token_bytes(size)})


def check_usage(call: KmsCall, kms: Kms, key: Key, usage: str = "ENCRYPT_DECRYPT") -> None:
    """Raises InvalidKeyUsageException for a key of another kind."""
    if key.usage != usage or (call.operation.startswith("GenerateDataKey") and key.spec != SYMMETRIC):
        raise KmsError(
            "InvalidKeyUsageException",
            f"{kms.key_arn(key.key_id)} key usage is {key.usage} which is not valid for {call.operation}.",
        )


def _data_key_size(input: Mapping[str, Any]) -> int:
    """Bytes. Raises ValidationException unless exactly one of the two ways to say it is used."""
    spec, size = input.get("KeySpec"), input.get("NumberOfBytes")
    if (spec is None) == (size is None):
        raise KmsError("ValidationException", "Please specify either number of bytes or key spec.")
    return _DATA_KEY_BYTES[spec] if spec is not None else int(size or 0)


def _check_algorithm(key: Key, algorithm: str) -> None:
    if (key.spec == SYMMETRIC) != (algorithm == SYMMETRIC):
        raise KmsError("InvalidKeyUsageException", f"Algorithm {algorithm} is incompatible with key spec {key.spec}.")


def _sealed(
    kms: Kms, key: Key, plaintext: bytes, algorithm: str, context: Mapping[str, str] | None
) -> tuple[bytes, dict[str, str]]:
    """Ciphertext, and facts for the record."""
    _check_algorithm(key, algorithm)
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


def _stop_dry_run(call: KmsCall) -> None:
    """Before anything is opened: a dry run is about rights, and may come without a ciphertext."""
    if call.input.get("DryRun"):
        raise would_have_succeeded()


def would_have_succeeded() -> KmsError:
    return KmsError("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
