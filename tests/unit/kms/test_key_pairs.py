"""strongroom.kms.key_pairs: pairs whose private half comes out of the blob again, and only with its context."""

from typing import Any

import botocore.session
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.blob import open_blob
from strongroom.kms.key_pairs import generate_data_key_pair, generate_data_key_pair_without_plaintext
from strongroom.kms.key_specs import SPECS
from tests.kms_values import add_key, call, new_kms

MODEL: Any = botocore.session.get_session().get_service_model("kms")
PAIR_SPECS = MODEL.shape_for("DataKeyPairSpec").enum
AVAILABLE = [spec for spec in PAIR_SPECS if SPECS[spec].generate]
CONTEXT = {"purpose": "tests", "ä": ""}


@pytest.mark.parametrize("spec", AVAILABLE)
def test_generate_data_key_pair__blob_and_plaintext_are_the_public_keys_private_key(spec: str) -> None:
    kms = new_kms()
    key = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    request = call("GenerateDataKeyPair", KeyPairSpec=spec, EncryptionContext=CONTEXT)
    outcome = generate_data_key_pair(request, kms, key)
    output = outcome.output
    assert set(output) == {
        "KeyId",
        "KeyPairSpec",
        "PublicKey",
        "PrivateKeyPlaintext",
        "PrivateKeyCiphertextBlob",
        "KeyMaterialId",
    }
    assert (output["KeyId"], output["KeyPairSpec"]) == (kms.key_arn(key.key_id), spec)
    assert output["KeyMaterialId"] == outcome.facts["keyMaterialId"] == key.material_ids[0].hex()
    private_key: Any = load_der_private_key(output["PrivateKeyPlaintext"], None)
    assert output["PrivateKeyPlaintext"] == private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert output["PublicKey"] == private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert open_blob(kms, key, output["PrivateKeyCiphertextBlob"], CONTEXT) == output["PrivateKeyPlaintext"]
    assert len(output["PrivateKeyPlaintext"]) <= 4096
    assert len(output["PrivateKeyCiphertextBlob"]) <= 6144
    with pytest.raises(KmsError, match="InvalidCiphertextException"):
        open_blob(kms, key, output["PrivateKeyCiphertextBlob"], None)
    assert outcome.changes == ()


def test_generate_data_key_pair_without_plaintext__holds_the_private_key_in_the_blob_only() -> None:
    kms = new_kms()
    key = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    request = call("GenerateDataKeyPairWithoutPlaintext", KeyPairSpec="ECC_NIST_P256")
    output = generate_data_key_pair_without_plaintext(request, kms, key).output
    assert set(output) == {"KeyId", "KeyPairSpec", "PublicKey", "PrivateKeyCiphertextBlob", "KeyMaterialId"}
    private_key: Any = load_der_private_key(open_blob(kms, key, output["PrivateKeyCiphertextBlob"], {}), None)
    assert output["PublicKey"] == private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_generate_data_key_pair__is_another_each_time() -> None:
    kms = new_kms()
    key = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    request = call("GenerateDataKeyPair", KeyPairSpec="ECC_NIST_EDWARDS25519")
    pairs = {generate_data_key_pair(request, kms, key).output["PrivateKeyPlaintext"] for _ in range(20)}
    assert len(pairs) == 20


@pytest.mark.parametrize("spec", sorted(set(PAIR_SPECS) - set(AVAILABLE)))
def test_generate_data_key_pair__what_cannot_be_made_is_refused(spec: str) -> None:
    kms = new_kms()
    key = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    with pytest.raises(KmsError) as raised:
        generate_data_key_pair(call("GenerateDataKeyPair", KeyPairSpec=spec), kms, key)
    assert (raised.value.code, raised.value.message) == ("UnsupportedOperationException", f"{spec} is not supported.")


@pytest.mark.parametrize(
    ("spec", "usage"),
    [("RSA_2048", "ENCRYPT_DECRYPT"), ("ECC_NIST_P256", "SIGN_VERIFY"), ("HMAC_256", "GENERATE_VERIFY_MAC")],
)
def test_generate_data_key_pair__under_another_kind_of_key_is_refused(spec: str, usage: str) -> None:
    kms = new_kms()
    key = add_key(kms, spec, usage)
    with pytest.raises(KmsError) as raised:
        generate_data_key_pair(call("GenerateDataKeyPair", KeyPairSpec="ECC_NIST_P256"), kms, key)
    text = f"{kms.key_arn(key.key_id)} key usage is {usage} which is not valid for GenerateDataKeyPair."
    assert (raised.value.code, raised.value.message) == ("InvalidKeyUsageException", text)


def test_generate_data_key_pair__a_dry_run_makes_none() -> None:
    kms = new_kms()
    key = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    with pytest.raises(KmsError, match="DryRunOperationException"):
        generate_data_key_pair(call("GenerateDataKeyPair", KeyPairSpec="RSA_4096", DryRun=True), kms, key)
