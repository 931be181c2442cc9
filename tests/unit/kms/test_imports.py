"""strongroom.kms.imports: somebody's own key comes in wrapped, stays the same key, expires, goes, and comes back."""

import dataclasses
import hmac
import math
import os
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)
from msgspec.structs import replace

from strongroom.aws.kms_errors import KmsError
from strongroom.kms import asymmetric, imports
from strongroom.kms.call import Kms
from strongroom.kms.mac import generate_mac
from strongroom.kms.records import Key
from strongroom.kms.state import Put
from tests.kms_values import HOUR_US, NOW, NOW_US, add_key, applied, call, moment, new_kms, secret_of

MATERIAL = os.urandom(32)
DAY_US = 24 * HOUR_US
FOR_EVER: dict[str, Any] = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
OAEP, AES_WRAP = "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_256"
WRAPPING_ALGORITHMS = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"]

TOKENS: dict[Any, Any] = {}


def external(spec: str = "SYMMETRIC_DEFAULT", usage: str = "ENCRYPT_DECRYPT") -> tuple[Kms, Key]:
    kms = new_kms()
    return kms, add_key(kms, spec, usage, origin="EXTERNAL")


def parameters(kms: Kms, key: Key, algorithm: str = OAEP, spec: str = "RSA_2048", now_us: int = NOW_US) -> Any:
    request = call("GetParametersForImport", now_us=now_us, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)
    outcome = imports.get_parameters_for_import(request, kms, key)
    assert outcome.changes == ()  # nothing is kept
    return outcome.output


def wrap(public_der: bytes, algorithm: str, material: bytes, aes_key: bytes | None = None) -> bytes:
    """What a key's owner does, by AWS's guide ("Encrypt the key material")."""
    public_key: Any = load_der_public_key(public_der)
    hash_algorithm = SHA1() if algorithm.endswith("SHA_1") else SHA256()
    oaep = padding.OAEP(padding.MGF1(hash_algorithm), hash_algorithm, None)
    if algorithm.startswith("RSAES_OAEP"):
        wrapped: bytes = public_key.encrypt(material, oaep)
        return wrapped
    aes_key = aes_key or os.urandom(32)
    return bytes(public_key.encrypt(aes_key, oaep)) + aes_key_wrap_with_padding(aes_key, material)


def bring(
    kms: Kms, key: Key, material: bytes, algorithm: str = OAEP, now_us: int = NOW_US, **more: Any
) -> tuple[Key, Any]:
    """A whole import; the key afterwards and the answer. A token serves as often as one likes, and RSA keys take time."""
    asked = (key.key_id, id(kms), algorithm, now_us)
    got = TOKENS[asked] = TOKENS.get(asked) or parameters(kms, key, algorithm, now_us=now_us)
    more = {**FOR_EVER, **more} if "ValidTo" not in more else more
    request = call(
        "ImportKeyMaterial",
        now_us=now_us,
        ImportToken=got["ImportToken"],
        EncryptedKeyMaterial=wrap(got["PublicKey"], algorithm, material),
        **more,
    )
    outcome = imports.import_key_material(request, kms, key)
    return applied(kms, outcome, key), outcome.output


def delete(kms: Kms, key: Key, **members: Any) -> tuple[Key, Any]:
    outcome = imports.delete_imported_key_material(call("DeleteImportedKeyMaterial", **members), kms, key)
    return applied(kms, outcome, key), outcome.output


def error_of(function: Any, *arguments: Any, **named: Any) -> tuple[str, str | None]:
    with pytest.raises(KmsError) as raised:
        function(*arguments, **named)
    return raised.value.code, raised.value.message


def rotated(kms: Kms, key: Key) -> Key:
    """As RotateKeyOnDemand does it: the waiting material becomes current."""
    waiting = imports.waiting_material(kms, key)
    key = replace(key, material_ids=(*key.material_ids, waiting.material_id), pending_material_id=None)
    kms.state.apply([Put(key)])
    return key


# --- GetParametersForImport


@pytest.mark.parametrize("spec", ["RSA_2048", "RSA_3072", "RSA_4096"])
def test_get_parameters__give_an_rsa_key_of_the_size_and_a_token_that_fits(spec: str) -> None:
    kms, key = external()
    got = parameters(kms, key, spec=spec)
    public_key = load_der_public_key(got["PublicKey"])
    assert isinstance(public_key, rsa.RSAPublicKey)
    assert public_key.key_size == int(spec[4:])
    assert len(got["ImportToken"]) <= 6144
    assert got["ParametersValidTo"] == NOW + timedelta(hours=24)
    assert got["KeyId"] == kms.key_arn(key.key_id)


@pytest.mark.parametrize(
    ("algorithm", "spec"), [("RSAES_PKCS1_V1_5", "RSA_2048"), ("SM2PKE", "SM2"), (OAEP, "SM2"), ("SM2PKE", "RSA_2048")]
)
def test_get_parameters__what_is_not_offered_is_refused(algorithm: str, spec: str) -> None:
    kms, key = external()
    code, message = error_of(parameters, kms, key, algorithm, spec)
    assert (code, message) == ("UnsupportedOperationException", f"{algorithm} with {spec} is not supported.")


@pytest.mark.parametrize(
    "operation", ["get_parameters_for_import", "import_key_material", "delete_imported_key_material"]
)
def test_imports__a_key_made_here_is_refused(operation: str) -> None:
    kms = new_kms()
    key = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    text = f"{kms.key_arn(key.key_id)} origin is AWS_KMS which is not valid for this operation."
    assert error_of(getattr(imports, operation), call("X"), kms, key) == ("UnsupportedOperationException", text)


# --- ImportKeyMaterial: what comes in


@pytest.mark.parametrize("algorithm", WRAPPING_ALGORITHMS)
@pytest.mark.parametrize("spec", ["RSA_2048", "RSA_3072", "RSA_4096"])
def test_import__a_symmetric_key_comes_in_under_every_wrapping(spec: str, algorithm: str) -> None:
    kms, key = external()
    got = parameters(kms, key, algorithm, spec)
    assert key.state == "PendingImport"
    request = call(
        "ImportKeyMaterial",
        ImportToken=got["ImportToken"],
        EncryptedKeyMaterial=wrap(got["PublicKey"], algorithm, MATERIAL),
        **FOR_EVER,
    )
    outcome = imports.import_key_material(request, kms, key)
    key = applied(kms, outcome, key)
    assert key.state == "Enabled"
    assert secret_of(kms, key) == MATERIAL
    assert key.current_material_id is not None
    assert outcome.output == {"KeyId": kms.key_arn(key.key_id), "KeyMaterialId": key.current_material_id.hex()}
    assert outcome.facts == {"keyMaterialId": key.current_material_id.hex()}
    assert MATERIAL not in kms.state.materials[key.current_material_id].sealed


@cache
def pkcs8(spec: str) -> bytes:
    return private_der(pair_of(spec))


def private_der(private_key: Any) -> bytes:
    encoded: bytes = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return encoded


@cache
def pair_of(spec: str) -> Any:
    curves = {
        "ECC_NIST_P256": ec.SECP256R1(),
        "ECC_NIST_P384": ec.SECP384R1(),
        "ECC_NIST_P521": ec.SECP521R1(),
        "ECC_SECG_P256K1": ec.SECP256K1(),
    }
    if spec.startswith("RSA"):
        return rsa.generate_private_key(65537, int(spec[4:]))
    return ec.generate_private_key(curves[spec]) if spec in curves else ed25519.Ed25519PrivateKey.generate()


SIGNS = {
    "RSA_2048": "RSASSA_PSS_SHA_256",
    "RSA_3072": "RSASSA_PSS_SHA_256",
    "RSA_4096": "RSASSA_PSS_SHA_256",
    "ECC_NIST_P256": "ECDSA_SHA_256",
    "ECC_NIST_P384": "ECDSA_SHA_384",
    "ECC_NIST_P521": "ECDSA_SHA_512",
    "ECC_SECG_P256K1": "ECDSA_SHA_256",
    "ECC_NIST_EDWARDS25519": "ED25519_SHA_512",
}


@pytest.mark.parametrize("spec", SIGNS)
def test_import__a_key_pair_signs_as_its_owner_does(spec: str) -> None:
    kms, key = external(spec, "SIGN_VERIFY")
    key, output = bring(kms, key, pkcs8(spec), AES_WRAP)
    assert output == {"KeyId": kms.key_arn(key.key_id)}  # such a key's material has no id to the outside
    public_key = asymmetric.get_public_key(call("GetPublicKey"), kms, key).output["PublicKey"]
    expected = pair_of(spec).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public_key == expected
    signed = asymmetric.sign(call("Sign", Message=b"m", SigningAlgorithm=SIGNS[spec]), kms, key).output["Signature"]
    request = call("Verify", Message=b"m", SigningAlgorithm=SIGNS[spec], Signature=signed)
    assert asymmetric.verify(request, kms, key).output["SignatureValid"] is True


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"])
def test_import__small_key_pairs_come_in_under_oaep_too(spec: str) -> None:
    kms, key = external(spec, "SIGN_VERIFY")
    key, _ = bring(kms, key, pkcs8(spec))
    assert secret_of(kms, key) == pkcs8(spec)


@pytest.mark.parametrize(("spec", "size"), [("HMAC_224", 28), ("HMAC_256", 32), ("HMAC_384", 48), ("HMAC_512", 64)])
def test_import__an_hmac_key_of_its_length(spec: str, size: int) -> None:
    kms, key = external(spec, "GENERATE_VERIFY_MAC")
    for wrong in (1, size - 1, size + 1, 64 if size != 64 else 32):
        assert error_of(bring, kms, key, b"k" * wrong) == ("IncorrectKeyMaterialException", None)
    key, _ = bring(kms, key, b"k" * size)
    algorithm = spec.replace("HMAC_", "HMAC_SHA_")
    mac = generate_mac(call("GenerateMac", Message=b"m", MacAlgorithm=algorithm), kms, key).output["Mac"]
    assert mac == hmac.digest(b"k" * size, b"m", algorithm[5:].replace("_", ""))


@pytest.mark.parametrize("size", [1, 16, 31, 33, 64])
def test_import__a_symmetric_key_of_another_length_is_refused(size: int) -> None:
    kms, key = external()
    assert error_of(bring, kms, key, b"k" * size) == ("IncorrectKeyMaterialException", None)
    assert kms.state.materials == {}


def test_import__what_is_no_private_key_of_the_spec_is_refused() -> None:
    kms, key = external("ECC_NIST_P256", "SIGN_VERIFY")
    pair = pair_of("ECC_NIST_P256")
    encrypted = pair.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    public_key = pair.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ml_dsa = private_der(mldsa.MLDSA44PrivateKey.generate())
    pem = pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    damaged = pkcs8("ECC_NIST_P256")[:-1]
    others = [pkcs8("ECC_NIST_P384"), pkcs8("ECC_SECG_P256K1"), pkcs8("RSA_2048"), pkcs8("ECC_NIST_EDWARDS25519")]
    for bad in [encrypted, public_key, ml_dsa, pem, damaged, b"x", b"\x30\x00", MATERIAL, *others]:
        assert error_of(bring, kms, key, bad, AES_WRAP) == ("IncorrectKeyMaterialException", None)
    kms, key = external("RSA_3072", "SIGN_VERIFY")
    assert error_of(bring, kms, key, pkcs8("RSA_2048"), AES_WRAP) == ("IncorrectKeyMaterialException", None)


def test_import__an_rsa_key_whose_numbers_do_not_belong_together_is_refused() -> None:
    kms, key = external("RSA_2048", "SIGN_VERIFY")
    der = bytearray(pkcs8("RSA_2048"))
    der[60] ^= 1  # within the modulus
    assert error_of(bring, kms, key, bytes(der), AES_WRAP) == ("IncorrectKeyMaterialException", None)
    good = pair_of("RSA_2048").private_numbers()
    for name in ("d", "dmp1", "dmq1", "iqmp"):
        numbers = {each: getattr(good, each) for each in ("p", "q", "d", "dmp1", "dmq1", "iqmp")}
        numbers[name] += 2
        bad = rsa.RSAPrivateNumbers(**numbers, public_numbers=good.public_numbers)
        assert error_of(bring, kms, key, unproved(bad), AES_WRAP) == ("IncorrectKeyMaterialException", None)


@pytest.mark.parametrize("which", ["p", "q", "e"])
def test_import__an_rsa_key_with_a_one_among_its_numbers_is_refused(which: str) -> None:
    kms, key = external("RSA_2048", "SIGN_VERIFY")
    good = pair_of("RSA_2048").private_numbers()
    n, e, d, p, q = good.public_numbers.n, good.public_numbers.e, good.d, good.p, good.q
    bad = {
        "p": (n, e, d, 1, n, 0, d % (n - 1), 1),
        "q": (n, e, d, n, 1, d % (n - 1), 0, 1),
        "e": (n, 1, 1, p, q, 1, 1, good.iqmp),
    }[which]
    assert error_of(bring, kms, key, pkcs8_of_numbers(*bad), AES_WRAP) == ("IncorrectKeyMaterialException", None)


def pkcs8_of_numbers(*numbers: int) -> bytes:
    """RFC 8017, A.1.2, in RFC 5958, for numbers that the library would not put together: n, e, d, p, q, dp, dq, qi."""

    def der(tag: int, content: bytes) -> bytes:
        return (
            bytes([tag])
            + (b"\x82" + len(content).to_bytes(2, "big") if len(content) > 127 else bytes([len(content)]))
            + content
        )

    def integer(number: int) -> bytes:
        return der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))

    rsa_encryption = der(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    private_key = der(0x30, b"".join(map(integer, (0, *numbers))))
    return der(0x30, integer(0) + rsa_encryption + der(0x04, private_key))


def test_import__an_rsa_key_of_numbers_that_are_no_primes_is_refused() -> None:
    kms, key = external("RSA_2048", "SIGN_VERIFY")
    p, q = 2**1024 - 1, pair_of("RSA_2048").private_numbers().q
    d = pow(65537, -1, math.lcm(p - 1, q - 1))
    bad = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(65537, p * q))
    assert error_of(bring, kms, key, unproved(bad), AES_WRAP) == ("IncorrectKeyMaterialException", None)


def unproved(numbers: rsa.RSAPrivateNumbers) -> bytes:
    return private_der(numbers.private_key(unsafe_skip_rsa_key_validation=True))


# --- the wrapping and the token


@pytest.mark.parametrize("algorithm", WRAPPING_ALGORITHMS)
def test_import__what_was_wrapped_another_way_is_an_invalid_ciphertext(algorithm: str) -> None:
    kms, key = external()
    got, other = parameters(kms, key, algorithm), parameters(kms, key, algorithm)
    good = wrap(got["PublicKey"], algorithm, MATERIAL)
    wrongly = [wrap(got["PublicKey"], each, MATERIAL) for each in WRAPPING_ALGORITHMS if each != algorithm]
    bad_ones = [
        *wrongly,
        wrap(other["PublicKey"], algorithm, MATERIAL),
        good[:-1],
        good + b"\0",
        b"x",
        b"\0" * 256,
        MATERIAL,
    ]
    bad_ones += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in (0, 100, len(good) - 1)]
    if algorithm == AES_WRAP:
        bad_ones.append(wrap(got["PublicKey"], algorithm, MATERIAL, aes_key=os.urandom(16)))
    for bad in bad_ones:
        request = call("ImportKeyMaterial", ImportToken=got["ImportToken"], EncryptedKeyMaterial=bad, **FOR_EVER)
        assert error_of(imports.import_key_material, request, kms, key) == ("InvalidCiphertextException", None)


def test_import__several_tokens_are_good_side_by_side_and_again() -> None:
    kms, key = external()
    tokens = [parameters(kms, key) for _ in range(3)]
    for got in [*reversed(tokens), tokens[0]]:
        request = call(
            "ImportKeyMaterial",
            ImportToken=got["ImportToken"],
            EncryptedKeyMaterial=wrap(got["PublicKey"], OAEP, MATERIAL),
            **FOR_EVER,
        )
        key = applied(kms, imports.import_key_material(request, kms, key), key)
    assert len(key.material_ids) == 1


def test_import__a_token_of_another_key_another_service_or_none_at_all_is_invalid() -> None:
    kms, key = external()
    other = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", origin="EXTERNAL")
    other_kms, same_name = external()
    got = parameters(kms, key)
    wrapped = wrap(got["PublicKey"], OAEP, MATERIAL)
    token = got["ImportToken"]
    cases = [(kms, other, token), (other_kms, same_name, token)]
    cases += [(kms, key, bad) for bad in (token[:-1], token + b"\0", b"", b"\x01", b"\x02" + token[1:], b"x" * 6144)]
    for service, target, bad in cases:
        request = call("ImportKeyMaterial", ImportToken=bad, EncryptedKeyMaterial=wrapped, **FOR_EVER)
        code_and_text = error_of(imports.import_key_material, request, service, target)
        assert code_and_text == ("InvalidImportTokenException", None)


def test_import__a_token_lives_for_24_hours() -> None:
    kms, key = external()
    got = parameters(kms, key)
    wrapped = wrap(got["PublicKey"], OAEP, MATERIAL)
    request: dict[str, Any] = {"ImportToken": got["ImportToken"], "EncryptedKeyMaterial": wrapped, **FOR_EVER}
    late = call("ImportKeyMaterial", now_us=NOW_US + DAY_US, **request)
    assert error_of(imports.import_key_material, late, kms, key) == ("ExpiredImportTokenException", None)
    just = call("ImportKeyMaterial", now_us=NOW_US + DAY_US - 1, **request)
    assert applied(kms, imports.import_key_material(just, kms, key), key).state == "Enabled"


# --- expiration


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"),
        (
            {"ExpirationModel": "KEY_MATERIAL_EXPIRES"},
            "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES",
        ),
        (
            {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE", "ValidTo": NOW + timedelta(days=1)},
            "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE",
        ),
        ({"ValidTo": NOW}, "The validTo date must be in the future."),
        ({"ValidTo": NOW - timedelta(days=9999)}, "The validTo date must be in the future."),
        (
            {"ValidTo": NOW + timedelta(days=365, microseconds=1)},
            "The validTo date must be no more than 365 days from now.",
        ),
    ],
)
def test_import__an_expiration_that_cannot_be_is_refused(members, message) -> None:
    kms, key = external()
    request = call("ImportKeyMaterial", ImportToken=b"x", EncryptedKeyMaterial=b"x", **members)
    assert error_of(imports.import_key_material, request, kms, key) == ("ValidationException", message)


def test_expiry__takes_the_bytes_and_leaves_the_id_until_they_come_back() -> None:
    kms, key = external()
    key, first = bring(kms, key, MATERIAL, ValidTo=NOW + timedelta(days=365))
    (material,) = kms.state.materials.values()
    assert (material.expires, material.valid_to_us) == (True, NOW_US + 365 * DAY_US)
    assert imports.expired_materials(kms.state, NOW_US + 365 * DAY_US - 1) == []
    assert imports.expired_materials(kms.state, NOW_US + 365 * DAY_US) == [material]
    kms.state.apply(imports.drop_material(kms.state, key, material.material_id))
    key = kms.state.keys[key.key_id]
    (material,) = kms.state.materials.values()
    assert (key.state, key.current_material_id) == ("PendingImport", material.material_id)
    assert (material.sealed, material.expires, material.valid_to_us) == (b"", False, None)
    assert imports.expired_materials(kms.state, 2 * NOW_US) == []
    key, again = bring(kms, key, MATERIAL, now_us=NOW_US + 366 * DAY_US)
    assert (key.state, again) == ("Enabled", first)
    assert secret_of(kms, key) == MATERIAL


def test_expiry__the_earliest_comes_first() -> None:
    kms, one = external()
    two = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", origin="EXTERNAL")
    bring(kms, one, MATERIAL, ValidTo=NOW + timedelta(days=2))
    bring(kms, two, MATERIAL, ValidTo=NOW + timedelta(days=1))
    due = imports.expired_materials(kms.state, NOW_US + 3 * DAY_US)
    assert [material.key_id for material in due] == [two.key_id, one.key_id]


# --- which material it is


def test_material_id__is_the_keys_own_and_tells_nothing_of_the_material() -> None:
    kms, one = external()
    two = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", origin="EXTERNAL")
    one, first = bring(kms, one, MATERIAL)
    two, second = bring(kms, two, MATERIAL)
    assert first["KeyMaterialId"] != second["KeyMaterialId"]
    other_kms, _ = external()
    other_kms.state.apply([Put(replace(one, material_ids=(), available=False))])
    _, elsewhere = bring(other_kms, other_kms.state.keys[one.key_id], MATERIAL)
    assert elsewhere["KeyMaterialId"] != first["KeyMaterialId"]  # another service's secret


def test_import__another_material_where_one_comes_back_is_incorrect() -> None:
    kms, key = external()
    key, _ = bring(kms, key, MATERIAL)
    other = os.urandom(32)
    assert error_of(bring, kms, key, other) == ("IncorrectKeyMaterialException", None)
    key, _ = delete(kms, key)
    assert error_of(bring, kms, key, other) == ("IncorrectKeyMaterialException", None)
    assert error_of(bring, kms, key, other, ImportType="EXISTING_KEY_MATERIAL") == (
        "IncorrectKeyMaterialException",
        None,
    )
    assert error_of(bring, kms, key, MATERIAL, KeyMaterialId="0" * 64) == ("IncorrectKeyMaterialException", None)
    assert kms.state.keys[key.key_id].state == "PendingImport"


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "HMAC_256"])
def test_import__a_key_that_is_not_rotated_takes_its_first_material_only(spec: str) -> None:
    usage = "GENERATE_VERIFY_MAC" if spec == "HMAC_256" else "SIGN_VERIFY"
    kms, key = external(spec, usage)
    first, other = (
        (os.urandom(32), os.urandom(32)) if spec == "HMAC_256" else (pkcs8(spec), private_der(other_pair(spec)))
    )
    key, _ = bring(kms, key, first, AES_WRAP)
    key, _ = delete(kms, key)
    assert error_of(bring, kms, key, other, AES_WRAP) == ("IncorrectKeyMaterialException", None)
    key, _ = bring(kms, key, first, AES_WRAP)
    assert (key.state, secret_of(kms, key)) == ("Enabled", first)


def other_pair(spec: str) -> Any:
    return rsa.generate_private_key(65537, 2048) if spec == "RSA_2048" else ec.generate_private_key(ec.SECP256R1())


def test_import__a_key_pair_in_another_encoding_is_the_same_material() -> None:
    kms, key = external("ECC_NIST_P256", "SIGN_VERIFY")
    key, _ = bring(kms, key, pkcs8("ECC_NIST_P256"), AES_WRAP)
    key, _ = delete(kms, key)
    sec1 = pair_of("ECC_NIST_P256").private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    key, _ = bring(kms, key, sec1, AES_WRAP)
    assert (key.state, len(key.material_ids)) == ("Enabled", 1)


@pytest.mark.parametrize("member", ["ImportType", "KeyMaterialDescription", "KeyMaterialId"])
def test_import__what_only_symmetric_keys_have_is_refused_for_others(member: str) -> None:
    kms, key = external("ECC_NIST_P256", "SIGN_VERIFY")
    more: dict[str, Any] = {**FOR_EVER, member: "x"}
    request = call("ImportKeyMaterial", ImportToken=b"x", EncryptedKeyMaterial=b"x", **more)
    text = f"{member} is only valid for symmetric encryption keys."
    assert error_of(imports.import_key_material, request, kms, key) == ("ValidationException", text)


def test_import__an_id_cannot_be_given_for_a_new_material() -> None:
    kms, key = external()
    text = "You cannot specify a KeyMaterialId when the ImportType is NEW_KEY_MATERIAL."
    for more in ({}, {"ImportType": "NEW_KEY_MATERIAL"}):
        assert error_of(bring, kms, key, MATERIAL, KeyMaterialId="0" * 64, **more) == ("ValidationException", text)


def test_import__nothing_can_come_back_into_an_empty_key() -> None:
    kms, key = external()
    answer = error_of(bring, kms, key, MATERIAL, ImportType="EXISTING_KEY_MATERIAL")
    assert answer == ("IncorrectKeyMaterialException", None)


# --- more than one material


def test_import__a_new_material_waits_for_its_rotation_and_only_one_does() -> None:
    kms, key = external()
    key, first = bring(kms, key, MATERIAL)
    text = f"No available key material pending rotation for the key: {kms.key_arn(key.key_id)}."
    assert error_of(imports.waiting_material, kms, key) == ("KMSInvalidStateException", text)
    second_material, third_material = os.urandom(32), os.urandom(32)
    key, second = bring(kms, key, second_material, ImportType="NEW_KEY_MATERIAL", KeyMaterialDescription="spare")
    assert (key.state, key.current_material_id) == ("Enabled", bytes.fromhex(first["KeyMaterialId"]))
    assert imports.waiting_material(kms, key).material_id.hex() == second["KeyMaterialId"]
    assert imports.waiting_material(kms, key).description == "spare"
    code, message = error_of(bring, kms, key, third_material, ImportType="NEW_KEY_MATERIAL")
    assert code == "KMSInvalidStateException"
    assert message is not None
    head, tail = message.split(") cannot be imported ", 1)
    assert head.startswith("New key material (id: ")
    assert len(head.removeprefix("New key material (id: ")) == 64
    assert tail == (
        f"into KMS key {kms.key_arn(key.key_id)}, because another key material "
        f"(id: {second['KeyMaterialId']}) is pending rotation."
    )
    key = rotated(kms, key)
    assert key.current_material_id == bytes.fromhex(second["KeyMaterialId"])
    key, _ = bring(kms, key, third_material, ImportType="NEW_KEY_MATERIAL")
    assert [len(key.material_ids), len(kms.state.materials_of(key))] == [2, 3]


def test_import__a_material_that_the_key_has_is_not_new() -> None:
    kms, key = external()
    key, _ = bring(kms, key, MATERIAL)
    answer = error_of(bring, kms, key, MATERIAL, ImportType="NEW_KEY_MATERIAL")
    assert answer == ("IncorrectKeyMaterialException", None)


def test_delete__of_any_material_that_belongs_to_the_key_stops_it_until_all_are_back() -> None:
    kms, key = external()
    second_material = os.urandom(32)
    key, first = bring(kms, key, MATERIAL)
    key, second = bring(kms, key, second_material, ImportType="NEW_KEY_MATERIAL")
    key = rotated(kms, key)
    key, output = delete(kms, key, KeyMaterialId=first["KeyMaterialId"])
    assert output == first
    assert key.state == "PendingImport"
    key, output = delete(kms, key)  # the current one
    assert output == second
    assert all(not material.sealed for material in kms.state.materials.values())
    key, _ = bring(kms, key, second_material)
    assert key.state == "PendingImport"
    key, again = bring(kms, key, MATERIAL, KeyMaterialId=first["KeyMaterialId"])
    assert (key.state, again) == ("Enabled", first)
    assert key.current_material_id == bytes.fromhex(second["KeyMaterialId"])
    assert secret_of(kms, key) == second_material


def test_delete__of_a_material_that_waits_leaves_nothing_and_the_key_enabled() -> None:
    kms, key = external()
    key, first = bring(kms, key, MATERIAL)
    waiting_material = os.urandom(32)
    key, waiting = bring(kms, key, waiting_material, ImportType="NEW_KEY_MATERIAL", ValidTo=NOW + timedelta(days=1))
    assert len(imports.expired_materials(kms.state, NOW_US + DAY_US)) == 1
    key, output = delete(kms, key, KeyMaterialId=waiting["KeyMaterialId"])
    assert output == waiting
    assert (key.state, key.pending_material_id) == ("Enabled", None)
    assert set(kms.state.materials) == {bytes.fromhex(first["KeyMaterialId"])}
    key, again = bring(kms, key, waiting_material, ImportType="NEW_KEY_MATERIAL")
    assert again == waiting


def test_waiting_material__is_none_once_it_has_expired() -> None:
    """Also before it was dropped: a rotation to it would leave the key without its current material at once."""
    kms, key = external()
    key, _ = bring(kms, key, MATERIAL)
    key, waiting = bring(
        kms, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL", ValidTo=NOW + timedelta(microseconds=1)
    )
    assert imports.waiting_material(kms, key).material_id.hex() == waiting["KeyMaterialId"]
    later = dataclasses.replace(kms, clock=lambda: moment(NOW_US + 1))
    text = f"No available key material pending rotation for the key: {kms.key_arn(key.key_id)}."
    assert error_of(imports.waiting_material, later, key) == ("KMSInvalidStateException", text)


def test_import__a_key_whose_other_material_has_expired_is_not_enabled() -> None:
    kms, key = external()
    second_material = os.urandom(32)
    key, _ = bring(kms, key, MATERIAL, ValidTo=NOW + timedelta(days=1))
    key, _ = bring(kms, key, second_material, ImportType="NEW_KEY_MATERIAL")
    key, _ = delete(kms, rotated(kms, key))
    key, _ = bring(kms, key, second_material, now_us=NOW_US + DAY_US)
    assert key.state == "PendingImport"


def test_delete__of_nothing_is_nothing_and_of_a_stranger_is_not_found() -> None:
    kms, key = external()
    arn = kms.key_arn(key.key_id)
    assert delete(kms, key) == (key, {"KeyId": arn})
    key, first = bring(kms, key, MATERIAL)
    text = f"Key material {'0' * 64} is not associated with KMS key {arn}."
    assert error_of(delete, kms, key, KeyMaterialId="0" * 64) == ("NotFoundException", text)
    key, _ = delete(kms, key)
    request = call("DeleteImportedKeyMaterial", KeyMaterialId=first["KeyMaterialId"])
    outcome = imports.delete_imported_key_material(request, kms, key)
    assert (outcome.output, outcome.changes) == (first, ())


def test_import__description_and_expiry_are_those_of_the_last_import() -> None:
    kms, key = external()
    key, first = bring(kms, key, MATERIAL, KeyMaterialDescription="ours", ValidTo=NOW + timedelta(days=1))
    key, _ = bring(kms, key, MATERIAL)
    material = kms.state.materials[bytes.fromhex(first["KeyMaterialId"])]
    assert (material.description, material.expires, material.valid_to_us) == ("ours", False, None)
    key, _ = bring(kms, key, MATERIAL, KeyMaterialDescription="theirs")
    assert kms.state.materials[bytes.fromhex(first["KeyMaterialId"])].description == "theirs"


def test_import__does_not_enable_a_key_that_somebody_disabled() -> None:
    kms, key = external()
    key, _ = bring(kms, key, MATERIAL)
    key, _ = delete(kms, replace(key, enabled=False))
    assert key.state == "PendingImport"
    key, _ = bring(kms, key, MATERIAL)
    assert key.state == "Disabled"
