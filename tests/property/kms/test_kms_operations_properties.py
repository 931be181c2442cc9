"""Properties of the key operations: no changed byte passes for the whole, and no input is anything but an answer or a KmsError."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.aws.kms_errors import KmsError
from strongroom.kms import asymmetric, imports, key_pairs, mac
from strongroom.kms.blob import open_blob, seal_blob
from strongroom.kms.call import Kms
from strongroom.kms.key_specs import SPECS, generate_material
from strongroom.kms.records import Key
from strongroom.kms.state import State
from tests.kms_values import add_key, call, new_kms

QUICK = [
    (spec, usage)
    for spec, each in SPECS.items()
    if each.generate and spec not in {"RSA_3072", "RSA_4096"}
    for usage in each.algorithms
]
EDITS = st.sampled_from(["flip", "cut", "append", "insert"])
POSITIONS = st.floats(0, 1, exclude_max=True)


@cache
def kms_with(spec: str, usage: str, origin: str = "AWS_KMS") -> tuple[Kms, Key]:
    kms = new_kms()
    return kms, add_key(kms, spec, usage, origin=origin)


def edited(data: bytes, edit: str, position: float, byte: int) -> bytes:
    """`data` with one change at `position`, a fraction of its length. `byte`: 1 to 255."""
    at = int(position * len(data))
    match edit:
        case "flip":
            return data[:at] + bytes([data[at] ^ byte]) + data[at + 1 :]
        case "cut":
            return data[:at]
        case "append":
            return data + bytes([byte])
        case _:
            return data[:at] + bytes([byte]) + data[at:] if data[at] != byte else data + b"\0"


def code_of(function: Any, *arguments: Any) -> str:
    with pytest.raises(KmsError) as raised:
        function(*arguments)
    return raised.value.code


@settings(deadline=None)
@given(
    st.sampled_from(["RSA_2048", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "ML_DSA_44"]),
    EDITS,
    POSITIONS,
    st.integers(1, 255),
)
def test_verify__no_changed_byte_of_a_signature_passes(spec: str, edit: str, position: float, byte: int) -> None:
    kms, key = kms_with(spec, "SIGN_VERIFY")
    algorithm = SPECS[spec].algorithms["SIGN_VERIFY"][-1]
    signature = asymmetric.sign(call("Sign", Message=b"m", SigningAlgorithm=algorithm), kms, key).output["Signature"]
    bad = edited(signature, edit, position, byte)
    request = call("Verify", Message=b"m", SigningAlgorithm=algorithm, Signature=bad)
    assert code_of(asymmetric.verify, request, kms, key) == "KMSInvalidSignatureException"


@cache
def a_token() -> Any:
    kms, key = kms_with("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EXTERNAL")
    request = call("GetParametersForImport", WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")
    return imports.get_parameters_for_import(request, kms, key).output["ImportToken"]


@settings(deadline=None)
@given(EDITS, POSITIONS, st.integers(1, 255))
def test_import__no_changed_byte_of_a_token_passes(edit: str, position: float, byte: int) -> None:
    kms, key = kms_with("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EXTERNAL")
    request = call(
        "ImportKeyMaterial",
        ImportToken=edited(a_token(), edit, position, byte),
        EncryptedKeyMaterial=b"x",
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )
    assert code_of(imports.import_key_material, request, kms, key) == "InvalidImportTokenException"


@settings(deadline=None)
@given(EDITS, POSITIONS, st.integers(1, 255), st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3))
def test_data_key_pair__no_changed_byte_of_its_blob_opens(edit: str, position: float, byte: int, context: Any) -> None:
    kms, key = kms_with("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    blob = seal_blob(kms, key, b"a private key", context)
    assert open_blob(kms, key, blob, context) == b"a private key"
    assert code_of(open_blob, kms, key, edited(blob, edit, position, byte), context) == "InvalidCiphertextException"


ALGORITHMS = st.sampled_from(
    sorted({name for spec in SPECS.values() for each in spec.algorithms.values() for name in each})
)
BLOBS = st.binary(min_size=1, max_size=100) | st.sampled_from([32, 48, 64, 1088, 1568, 4096]).map(
    lambda size: b"\x30" * size
)
INPUT = st.fixed_dictionaries(
    {
        "Message": BLOBS,
        "Signature": BLOBS,
        "Mac": BLOBS,
        "PublicKey": BLOBS,
        "SharedSecretCiphertextBlob": BLOBS,
        "ImportToken": BLOBS,
        "EncryptedKeyMaterial": BLOBS,
        "SigningAlgorithm": ALGORITHMS,
        "MacAlgorithm": ALGORITHMS,
        "KeyAgreementAlgorithm": ALGORITHMS,
        "EncapsulationAlgorithm": ALGORITHMS,
        "WrappingAlgorithm": st.sampled_from(["RSAES_PKCS1_V1_5", "SM2PKE"]),
        "WrappingKeySpec": st.sampled_from(["RSA_2048", "SM2"]),
        "KeyPairSpec": st.sampled_from(["ECC_NIST_P256", "ML_KEM_512", "ML_KEM_768", "SM2"]),
    },
    optional={
        "MessageType": st.sampled_from(["RAW", "DIGEST", "EXTERNAL_MU"]),
        "DryRun": st.booleans(),
        "EncryptionContext": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
        "ValidTo": st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1)).map(lambda each: each.replace(tzinfo=UTC)),  # noqa: DTZ001
        "ExpirationModel": st.sampled_from(["KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"]),
        "ImportType": st.sampled_from(["NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"]),
        "KeyMaterialId": st.binary(min_size=32, max_size=32).map(bytes.hex),
    },
)
OPERATIONS = {
    "GetPublicKey": asymmetric.get_public_key,
    "Sign": asymmetric.sign,
    "Verify": asymmetric.verify,
    "DeriveSharedSecret": asymmetric.derive_shared_secret,
    "Encapsulate": asymmetric.encapsulate,
    "Decapsulate": asymmetric.decapsulate,
    "GenerateMac": mac.generate_mac,
    "VerifyMac": mac.verify_mac,
    "GenerateDataKeyPair": key_pairs.generate_data_key_pair,
    "GenerateDataKeyPairWithoutPlaintext": key_pairs.generate_data_key_pair_without_plaintext,
    "GetParametersForImport": imports.get_parameters_for_import,
    "ImportKeyMaterial": imports.import_key_material,
    "DeleteImportedKeyMaterial": imports.delete_imported_key_material,
}


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(sorted(OPERATIONS)), st.sampled_from(QUICK), st.booleans(), INPUT)
def test_operations__answer_or_raise_a_client_error_whatever_comes(
    operation: str, kind: Any, is_external: bool, input: Any
) -> None:
    """Peer-bugs I5: never a 500."""
    spec, usage = kind
    importing = "Import" in operation
    kms, key = kms_with(spec, usage, "EXTERNAL" if importing and is_external else "AWS_KMS")
    answered, status = False, 0
    try:
        outcome = OPERATIONS[operation](call(operation, **input), kms, key)
        answered = outcome.output["KeyId"] == kms.key_arn(key.key_id)
    except KmsError as error:
        status = error.status
    assert answered or status == 400


@settings(deadline=None, max_examples=200)
@given(BLOBS, st.sampled_from(["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]))
def test_rsa__any_plaintext_comes_back_and_any_ciphertext_is_one_error(data: bytes, algorithm: str) -> None:
    kms, key = kms_with("RSA_2048", "ENCRYPT_DECRYPT")
    assert code_of(asymmetric.rsa_decrypt, kms, key, data, algorithm) == "InvalidCiphertextException"
    if len(data) <= 190:
        assert asymmetric.rsa_decrypt(kms, key, asymmetric.rsa_encrypt(kms, key, data, algorithm), algorithm) == data


PAIRS = ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_P521", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"]


@cache
def own_pair(spec: str) -> bytes:
    return generate_material(spec)[0]


@cache
def wrapping(spec: str) -> Any:
    kms, key = kms_with(spec, "SIGN_VERIFY", "EXTERNAL")
    request = call("GetParametersForImport", WrappingAlgorithm="RSA_AES_KEY_WRAP_SHA_256", WrappingKeySpec="RSA_2048")
    output = imports.get_parameters_for_import(request, kms, key).output
    return output["ImportToken"], load_der_public_key(output["PublicKey"])


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PAIRS), EDITS, POSITIONS, st.integers(1, 255))
def test_import__an_edited_private_key_is_refused_or_a_pair_that_belongs_together(
    spec: str, edit: str, position: float, byte: int
) -> None:
    kms, key = kms_with(spec, "SIGN_VERIFY", "EXTERNAL")
    token, public_key = wrapping(spec)
    aes_key = b"k" * 32
    oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
    material = edited(own_pair(spec), edit, position, byte) or b"\0"
    wrapped = public_key.encrypt(aes_key, oaep) + aes_key_wrap_with_padding(aes_key, material)
    request = call(
        "ImportKeyMaterial",
        ImportToken=token,
        EncryptedKeyMaterial=wrapped,
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )
    try:
        outcome = imports.import_key_material(request, kms, key)
    except KmsError as error:
        code = error.code
    else:
        code = ""
        signs_and_verifies(kms, outcome.changes, key.key_id)
    assert code in {"", "IncorrectKeyMaterialException"}


def signs_and_verifies(kms: Kms, changes: Any, key_id: str) -> None:
    """On a copy of the state, so that the key stays empty for the next one."""
    other = replace(kms, state=State(kms.state.keys.values()))
    other.state.apply(changes)
    key = other.state.keys[key_id]
    algorithm = SPECS[key.spec].algorithms["SIGN_VERIFY"][0]
    signed = asymmetric.sign(call("Sign", Message=b"m", SigningAlgorithm=algorithm), other, key).output["Signature"]
    asymmetric.verify(call("Verify", Message=b"m", SigningAlgorithm=algorithm, Signature=signed), other, key)
