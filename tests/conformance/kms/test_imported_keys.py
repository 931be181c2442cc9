"""GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial: somebody's own material, all its life long."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
)

from tests.key_service import KeyServer, refused

FOREVER = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}


def parameters(kms: Any, key: dict[str, Any], algorithm: str = "RSAES_OAEP_SHA_256") -> dict[str, Any]:
    given: dict[str, Any] = kms.get_parameters_for_import(
        KeyId=key["KeyId"], WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048"
    )
    return given


def wrapped(given: dict[str, Any], material: bytes, algorithm: str = "RSAES_OAEP_SHA_256") -> dict[str, Any]:
    """Members of ImportKeyMaterial."""
    public = load_der_public_key(given["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    hashing = SHA1() if algorithm.endswith("SHA_1") else SHA256()
    oaep = padding.OAEP(padding.MGF1(hashing), hashing, None)
    if algorithm.startswith("RSA_AES"):
        aes = os.urandom(32)
        sealed = public.encrypt(aes, oaep) + aes_key_wrap_with_padding(aes, material)
    else:
        sealed = public.encrypt(material, oaep)
    return {"ImportToken": given["ImportToken"], "EncryptedKeyMaterial": sealed}


def imported(kms: Any, key: dict[str, Any], material: bytes, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = kms.import_key_material(
        KeyId=key["KeyId"], **wrapped(parameters(kms, key), material), **(FOREVER | more)
    )
    return answer


def described(kms: Any, key: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    return metadata


@pytest.fixture
def external(kms: Any) -> dict[str, Any]:
    made: dict[str, Any] = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]
    return made


def test_get_parameters_for_import(kms: Any, external: dict[str, Any]) -> None:
    given = parameters(kms, external)
    assert given.keys() - {"ResponseMetadata"} == {"KeyId", "ImportToken", "PublicKey", "ParametersValidTo"}
    assert given["KeyId"] == external["Arn"]
    assert abs(given["ParametersValidTo"] - datetime.now(UTC) - timedelta(days=1)) < timedelta(minutes=1)


def test_the_whole_cycle(kms: Any, external: dict[str, Any]) -> None:
    material = os.urandom(32)
    answer = imported(kms, external, material)
    assert answer["KeyId"] == external["Arn"]
    shown = described(kms, external)
    assert shown == {
        **external,
        "KeyState": "Enabled",
        "Enabled": True,
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
        "CurrentKeyMaterialId": answer["KeyMaterialId"],
    }
    sealed = kms.generate_data_key(KeyId=external["KeyId"], KeySpec="AES_256")
    assert sealed["KeyMaterialId"] == answer["KeyMaterialId"]

    deleted = kms.delete_imported_key_material(KeyId=external["KeyId"])
    assert (deleted["KeyId"], deleted["KeyMaterialId"]) == (external["Arn"], answer["KeyMaterialId"])
    assert described(kms, external) == {**external, "CurrentKeyMaterialId": answer["KeyMaterialId"]}
    assert refused(kms.decrypt, CiphertextBlob=sealed["CiphertextBlob"]) == (
        "KMSInvalidStateException",
        f"{external['Arn']} is pending import.",
    )
    kms.delete_imported_key_material(KeyId=external["KeyId"])  # nothing happens

    other = wrapped(parameters(kms, external), os.urandom(32))
    assert refused(kms.import_key_material, KeyId=external["KeyId"], **other, **FOREVER)[0] == (
        "IncorrectKeyMaterialException"
    )
    assert imported(kms, external, material)["KeyMaterialId"] == answer["KeyMaterialId"]
    assert kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"])["Plaintext"] == sealed["Plaintext"]


def test_delete_imported_key_material__of_an_empty_key_does_nothing(kms: Any, external: dict[str, Any]) -> None:
    assert kms.delete_imported_key_material(KeyId=external["KeyId"])["KeyId"] == external["Arn"]
    assert described(kms, external) == external


def test_keys_of_this_service_import_nothing(kms: Any, key: dict[str, Any]) -> None:
    error = ("UnsupportedOperationException", f"{key['Arn']} origin is AWS_KMS which is not valid for this operation.")
    asked = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    assert refused(kms.get_parameters_for_import, KeyId=key["KeyId"], **asked) == error
    assert refused(kms.delete_imported_key_material, KeyId=key["KeyId"]) == error
    given = {"ImportToken": b"x", "EncryptedKeyMaterial": b"x", **FOREVER}
    assert refused(kms.import_key_material, KeyId=key["KeyId"], **given) == error


def test_import_key_material__when_it_expires(kms: Any, external: dict[str, Any]) -> None:
    material = wrapped(parameters(kms, external), os.urandom(32))
    now = datetime.now(UTC)
    missing = "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"
    for given, message in (
        ({}, missing),
        ({"ExpirationModel": "KEY_MATERIAL_EXPIRES"}, missing),
        ({"ValidTo": now - timedelta(minutes=1)}, None),
        ({"ValidTo": now + timedelta(days=366)}, None),
        ({"ValidTo": now + timedelta(days=1), **FOREVER}, None),
    ):
        code, told = refused(kms.import_key_material, KeyId=external["KeyId"], **material, **given)
        assert code == "ValidationException"
        assert message in (None, told)
    until = (now + timedelta(days=300)).replace(microsecond=0)
    kms.import_key_material(KeyId=external["KeyId"], **material, ValidTo=until)
    shown = described(kms, external)
    assert (shown["ExpirationModel"], shown["ValidTo"]) == ("KEY_MATERIAL_EXPIRES", until)


def test_import_key_material__tokens_and_wrappings(kms: Any, external: dict[str, Any]) -> None:
    first, second = parameters(kms, external), parameters(kms, external)
    other = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]
    material = os.urandom(32)
    mixed = {**wrapped(first, material), "ImportToken": second["ImportToken"]}
    for key, given, code in (
        (other, wrapped(first, material), "InvalidImportTokenException"),
        (external, {**wrapped(first, material), "ImportToken": b"x" * 100}, "InvalidImportTokenException"),
        (external, mixed, "InvalidCiphertextException"),
        (external, {**wrapped(first, material), "EncryptedKeyMaterial": b"x" * 256}, "InvalidCiphertextException"),
        (external, wrapped(first, material[:31]), "IncorrectKeyMaterialException"),
        (external, wrapped(first, material + b"x"), "IncorrectKeyMaterialException"),
    ):
        assert refused(kms.import_key_material, KeyId=key["KeyId"], **given, **FOREVER)[0] == code
    kms.import_key_material(KeyId=external["KeyId"], **wrapped(first, material), **FOREVER)
    kms.import_key_material(KeyId=external["KeyId"], **wrapped(second, material), **FOREVER)


@pytest.mark.parametrize("algorithm", ["RSAES_PKCS1_V1_5", "SM2PKE"])
def test_get_parameters_for_import__what_is_refused(kms: Any, external: dict[str, Any], algorithm: str) -> None:
    spec = "SM2" if algorithm == "SM2PKE" else "RSA_2048"
    asked = {"WrappingAlgorithm": algorithm, "WrappingKeySpec": spec}
    assert (
        refused(kms.get_parameters_for_import, KeyId=external["KeyId"], **asked)[0] == "UnsupportedOperationException"
    )


def test_import_key_material__an_old_token(own_server: KeyServer) -> None:
    kms = own_server.client()
    external = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]
    given = wrapped(parameters(kms, external), os.urandom(32))
    own_server.clock.wait(days=1.01)
    assert (
        refused(kms.import_key_material, KeyId=external["KeyId"], **given, **FOREVER)[0]
        == "ExpiredImportTokenException"
    )


def test_expiry__the_key_waits_for_the_same_material(own_server: KeyServer) -> None:
    kms = own_server.client()
    external = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]
    material, until = os.urandom(32), datetime.now(UTC) + timedelta(days=10)
    answer = kms.import_key_material(
        KeyId=external["KeyId"], **wrapped(parameters(kms, external), material), ValidTo=until
    )
    blob = kms.encrypt(KeyId=external["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    own_server.clock.wait(days=9.9)
    own_server.maintain()
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    own_server.clock.wait(days=0.2)
    assert refused(kms.decrypt, CiphertextBlob=blob)[0] == "KMSInvalidStateException"  # before anybody has cleared up
    own_server.maintain()
    own_server.maintain()
    shown = described(kms, external)
    assert (shown["KeyState"], shown["Enabled"]) == ("PendingImport", False)
    assert "ExpirationModel" not in shown
    assert not any(material.sealed for material in own_server.opened.kms.state.materials.values())
    [event] = own_server.events("DeleteExpiredKeyMaterial")
    assert event["serviceEventDetails"] == {"keyId": external["Arn"]}
    assert event["additionalEventData"] == {"keyMaterialId": answer["KeyMaterialId"]}
    imported(kms, external, material)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_rotation__a_new_material_waits_until_it_is_asked_for(kms: Any, external: dict[str, Any]) -> None:
    first, second = os.urandom(32), os.urandom(32)
    first_id = imported(kms, external, first)["KeyMaterialId"]
    blob = kms.encrypt(KeyId=external["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    assert refused(kms.rotate_key_on_demand, KeyId=external["KeyId"]) == (
        "KMSInvalidStateException",
        f"No available key material pending rotation for the key: {external['Arn']}.",
    )
    new = {"ImportType": "NEW_KEY_MATERIAL", "KeyMaterialDescription": "the second"}
    second_id = imported(kms, external, second, **new)["KeyMaterialId"]
    third = wrapped(parameters(kms, external), os.urandom(32))
    code, message = refused(
        kms.import_key_material, KeyId=external["KeyId"], **third, **FOREVER, ImportType="NEW_KEY_MATERIAL"
    )
    assert code == "KMSInvalidStateException"
    assert message.startswith("New key material (id: ")
    assert message.endswith(
        f") cannot be imported into KMS key {external['Arn']}, because another key material (id: {second_id}) is pending"
        " rotation."
    )
    listed = kms.list_key_rotations(KeyId=external["KeyId"], IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    states = [(each["KeyMaterialId"], each["KeyMaterialState"], each["ImportState"]) for each in listed]
    assert states == [(first_id, "CURRENT", "IMPORTED"), (second_id, "PENDING_ROTATION", "IMPORTED")]
    assert listed[1]["KeyMaterialDescription"] == "the second"
    assert described(kms, external)["CurrentKeyMaterialId"] == first_id

    kms.rotate_key_on_demand(KeyId=external["KeyId"])
    assert described(kms, external)["CurrentKeyMaterialId"] == second_id
    assert kms.decrypt(CiphertextBlob=blob)["KeyMaterialId"] == first_id
    # any material that belongs to the key for good takes the whole key with it
    kms.delete_imported_key_material(KeyId=external["KeyId"], KeyMaterialId=first_id)
    assert described(kms, external)["KeyState"] == "PendingImport"
    assert refused(kms.encrypt, KeyId=external["KeyId"], Plaintext=b"x")[0] == "KMSInvalidStateException"
    imported(kms, external, first)
    assert described(kms, external)["KeyState"] == "Enabled"
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


@pytest.mark.parametrize(
    ("spec", "usage", "algorithm"),
    [
        ("HMAC_256", "GENERATE_VERIFY_MAC", "RSAES_OAEP_SHA_1"),
        ("ECC_NIST_P256", "SIGN_VERIFY", "RSAES_OAEP_SHA_256"),
        ("RSA_2048", "SIGN_VERIFY", "RSA_AES_KEY_WRAP_SHA_256"),
    ],
)
def test_keys_of_other_kinds(kms: Any, spec: str, usage: str, algorithm: str) -> None:
    made = kms.create_key(KeySpec=spec, KeyUsage=usage, Origin="EXTERNAL")["KeyMetadata"]
    if spec.startswith("HMAC"):
        material = os.urandom(32)
    else:
        pair = (
            ec.generate_private_key(ec.SECP256R1())
            if spec.startswith("ECC")
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )
        material = pair.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    given = wrapped(parameters(kms, made, algorithm), material, algorithm)
    answer = kms.import_key_material(KeyId=made["KeyId"], **given, **FOREVER)
    assert "KeyMaterialId" not in answer
    assert described(kms, made)["KeyState"] == "Enabled"
    assert "CurrentKeyMaterialId" not in described(kms, made)
    refusal = refused(kms.import_key_material, KeyId=made["KeyId"], **given, **FOREVER, ImportType="NEW_KEY_MATERIAL")
    assert refusal[0] == "ValidationException"
    if spec.startswith("HMAC"):
        import hmac

        mac = kms.generate_mac(KeyId=made["KeyId"], Message=b"m", MacAlgorithm="HMAC_SHA_256")["Mac"]
        assert mac == hmac.digest(material, b"m", "sha256")
