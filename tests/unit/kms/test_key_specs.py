"""strongroom.kms.key_specs: which keys can be created, and what they are made of."""

import itertools
from typing import Any

import botocore.session
import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.key_specs import (
    ALGORITHM_MEMBERS,
    SPECS,
    KeyKind,
    check_create,
    describe_algorithms,
    generate_material,
    is_slow,
    public_der,
    spec_of,
)
from tests.kms_values import add_key, new_kms

MODEL: Any = botocore.session.get_session().get_service_model("kms")
MODEL_SPECS = MODEL.shape_for("KeySpec").enum
MODEL_USAGES = MODEL.shape_for("KeyUsageType").enum
MODEL_ORIGINS = MODEL.shape_for("OriginType").enum
UNAVAILABLE = {"SM2", "ML_KEM_512"}
AVAILABLE = sorted(set(SPECS) - UNAVAILABLE)
NO_USAGE = "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."


def test_table__has_every_spec_of_the_model() -> None:
    assert set(SPECS) == set(MODEL_SPECS)


def test_table__has_usages_and_algorithms_of_the_model_only() -> None:
    metadata = MODEL.shape_for("KeyMetadata").members
    known = {usage: metadata[member].member.enum for usage, member in ALGORITHM_MEMBERS.items()}
    assert set(known) == set(MODEL_USAGES)
    for spec in SPECS.values():
        for usage, algorithms in spec.algorithms.items():
            assert set(algorithms) <= set(known[usage])


def test_table__lacks_of_the_models_algorithms_what_cryptography_lacks_only() -> None:
    offered = {algorithm for spec in AVAILABLE for each in SPECS[spec].algorithms.values() for algorithm in each}
    metadata = MODEL.shape_for("KeyMetadata").members
    all_of_them = {name for member in ALGORITHM_MEMBERS.values() for name in metadata[member].member.enum}
    assert all_of_them - offered == {"SM2DSA", "SM2PKE", "ED25519_PH_SHA_512"}


def test_check_create__nothing_said_is_a_symmetric_key() -> None:
    assert check_create({}) == KeyKind(spec="SYMMETRIC_DEFAULT", usage="ENCRYPT_DECRYPT", origin="AWS_KMS")


def test_check_create__the_old_name_of_key_spec_works() -> None:
    kind = check_create({"CustomerMasterKeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"})
    assert kind == KeyKind(spec="RSA_2048", usage="SIGN_VERIFY", origin="AWS_KMS")


@pytest.mark.parametrize(
    ("input", "code", "message"),
    [
        (
            {"KeySpec": "RSA_2048", "CustomerMasterKeySpec": "RSA_2048"},
            "ValidationException",
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.",
        ),
        ({"KeySpec": "HMAC_256"}, "ValidationException", NO_USAGE),
        ({"KeySpec": "RSA_2048"}, "ValidationException", NO_USAGE),
        (
            {"KeySpec": "RSA_2048", "KeyUsage": "KEY_AGREEMENT"},
            "ValidationException",
            "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048",
        ),
        (
            {"KeyUsage": "SIGN_VERIFY"},
            "ValidationException",
            "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT",
        ),
        (
            {"KeySpec": "ECC_SECG_P256K1", "KeyUsage": "KEY_AGREEMENT"},
            "ValidationException",
            "KeyUsage KEY_AGREEMENT is not compatible with KeySpec ECC_SECG_P256K1",
        ),
        ({"KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"}, "UnsupportedOperationException", "SM2 is not supported."),
        (
            {"KeySpec": "ML_KEM_512", "KeyUsage": "ENCAPSULATE_DECAPSULATE"},
            "UnsupportedOperationException",
            "ML_KEM_512 is not supported.",
        ),
        (
            {"KeySpec": "ML_DSA_65", "KeyUsage": "SIGN_VERIFY", "Origin": "EXTERNAL"},
            "UnsupportedOperationException",
            "KeySpec ML_DSA_65 is not supported with Origin EXTERNAL.",
        ),
        ({"Origin": "AWS_CLOUDHSM"}, "UnsupportedOperationException", "Custom key stores are not supported."),
        ({"Origin": "EXTERNAL_KEY_STORE"}, "UnsupportedOperationException", "Custom key stores are not supported."),
        ({"CustomKeyStoreId": "cks-1"}, "UnsupportedOperationException", "Custom key stores are not supported."),
        ({"XksKeyId": "x"}, "UnsupportedOperationException", "Custom key stores are not supported."),
        ({"MultiRegion": True}, "UnsupportedOperationException", "Multi-Region keys are not supported."),
    ],
)
def test_check_create__refuses_with_its_text(input, code, message) -> None:
    with pytest.raises(KmsError) as raised:
        check_create(input)
    assert (raised.value.code, raised.value.message) == (code, message)


@pytest.mark.parametrize("origin", [*MODEL_ORIGINS, None])
@pytest.mark.parametrize("member", ["KeySpec", "CustomerMasterKeySpec"])
def test_check_create__every_spec_usage_and_origin_is_a_key_or_a_precise_refusal(member, origin) -> None:
    """Peer-bugs F7."""
    for spec, usage in itertools.product([*MODEL_SPECS, None], [*MODEL_USAGES, None]):
        said = {member: spec, "KeyUsage": usage, "Origin": origin, "MultiRegion": False}
        answer = kind_or_error({name: value for name, value in said.items() if value is not None})
        if isinstance(answer, KmsError):
            assert answer.code in {"ValidationException", "UnsupportedOperationException"}, said
            assert answer.message, said
            continue
        assert answer.spec == (spec or "SYMMETRIC_DEFAULT")
        assert answer.usage in SPECS[answer.spec].algorithms
        assert answer.spec not in UNAVAILABLE
        assert answer.origin in {"AWS_KMS", "EXTERNAL"}


def kind_or_error(input: dict[str, Any]) -> KeyKind | KmsError:
    try:
        return check_create(input)
    except KmsError as error:
        return error


@pytest.mark.parametrize("spec", AVAILABLE)
def test_generate_material__is_of_its_spec_and_new_each_time(spec: str) -> None:
    secret, public_key = generate_material(spec)
    if SPECS[spec].is_pair:
        private_key = load_der_private_key(secret, None)
        assert public_der(private_key) == public_key  # type: ignore[arg-type]
        load_der_public_key(public_key)
        assert spec_of(private_key) == (spec if SPECS[spec].importable else None)
    else:
        assert (len(secret), public_key) == (SPECS[spec].size, b"")
    if not SPECS[spec].slow:
        assert generate_material(spec)[0] != secret


@pytest.mark.parametrize("spec", sorted(UNAVAILABLE))
def test_generate_material__of_what_is_not_there_is_refused(spec: str) -> None:
    with pytest.raises(KmsError, match="UnsupportedOperationException"):
        generate_material(spec)


@pytest.mark.parametrize(
    ("spec", "usage", "expected"),
    [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", {"EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"]}),
        ("RSA_2048", "ENCRYPT_DECRYPT", {"EncryptionAlgorithms": ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]}),
        ("HMAC_384", "GENERATE_VERIFY_MAC", {"MacAlgorithms": ["HMAC_SHA_384"]}),
        ("ECC_NIST_P384", "SIGN_VERIFY", {"SigningAlgorithms": ["ECDSA_SHA_384"]}),
        ("ECC_NIST_P384", "KEY_AGREEMENT", {"KeyAgreementAlgorithms": ["ECDH"]}),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", {"EncapsulationAlgorithms": ["ML_KEM"]}),
    ],
)
def test_describe_algorithms__lists_those_of_the_usage(spec, usage, expected) -> None:
    assert describe_algorithms(add_key(new_kms(), spec, usage, origin="EXTERNAL")) == expected


@pytest.mark.parametrize(
    ("operation", "input", "slow"),
    [
        ("CreateKey", {}, False),
        ("CreateKey", {"KeySpec": "RSA_4096"}, True),
        ("CreateKey", {"CustomerMasterKeySpec": "RSA_2048"}, True),
        ("CreateKey", {"KeySpec": "RSA_4096", "Origin": "EXTERNAL"}, False),
        ("CreateKey", {"KeySpec": "ML_DSA_87"}, False),
        ("GenerateDataKeyPair", {"KeyPairSpec": "RSA_2048"}, True),
        ("GenerateDataKeyPairWithoutPlaintext", {"KeyPairSpec": "ECC_NIST_P256"}, False),
        ("GetParametersForImport", {}, True),
        ("Sign", {}, False),
    ],
)
def test_is_slow__where_rsa_keys_are_made(operation, input, slow) -> None:
    assert is_slow(operation, input) is slow
