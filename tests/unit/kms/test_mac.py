"""strongroom.kms.mac: HMACs that anybody with the key would compute, and no other."""

import hashlib
import hmac

import pytest

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.mac import generate_mac, verify_mac
from tests.kms_values import add_key, call, new_kms, secret_of

DIGESTS = {
    "HMAC_224": hashlib.sha224,
    "HMAC_256": hashlib.sha256,
    "HMAC_384": hashlib.sha384,
    "HMAC_512": hashlib.sha512,
}
MESSAGE = b"a message"


def algorithm_of(spec: str) -> str:
    return spec.replace("HMAC_", "HMAC_SHA_")


@pytest.mark.parametrize("spec", DIGESTS)
def test_generate_mac__is_rfc_2104_and_verifies(spec: str) -> None:
    kms = new_kms()
    key = add_key(kms, spec, "GENERATE_VERIFY_MAC")
    algorithm, arn = algorithm_of(spec), kms.key_arn(key.key_id)
    for message in (b"\0", MESSAGE, b"m" * 4096):
        expected = hmac.new(secret_of(kms, key), message, DIGESTS[spec]).digest()
        output = generate_mac(call("GenerateMac", Message=message, MacAlgorithm=algorithm), kms, key).output
        assert output == {"KeyId": arn, "Mac": expected, "MacAlgorithm": algorithm}
        verified = verify_mac(call("VerifyMac", Message=message, MacAlgorithm=algorithm, Mac=expected), kms, key)
        assert verified.output == {"KeyId": arn, "MacValid": True, "MacAlgorithm": algorithm}


@pytest.mark.parametrize("spec", DIGESTS)
def test_verify_mac__any_other_mac_is_one_error_without_a_word(spec: str) -> None:
    kms = new_kms()
    key, other = add_key(kms, spec, "GENERATE_VERIFY_MAC"), add_key(kms, spec, "GENERATE_VERIFY_MAC")
    mac = hmac.new(secret_of(kms, key), MESSAGE, DIGESTS[spec]).digest()
    flipped = [bytes([*mac[:at], mac[at] ^ 0x80, *mac[at + 1 :]]) for at in range(len(mac))]
    others = hmac.new(secret_of(kms, other), MESSAGE, DIGESTS[spec]).digest()
    wrong = [*flipped, mac[:-1], mac + b"\0", others]
    for message, bad in [*((MESSAGE, each) for each in wrong), (b"another", mac)]:
        request = call("VerifyMac", Message=message, MacAlgorithm=algorithm_of(spec), Mac=bad)
        with pytest.raises(KmsError) as raised:
            verify_mac(request, kms, key)
        assert (raised.value.code, raised.value.message) == ("KMSInvalidMacException", None)


@pytest.mark.parametrize("spec", DIGESTS)
@pytest.mark.parametrize("other", DIGESTS)
def test_mac__each_spec_has_its_one_algorithm(spec: str, other: str) -> None:
    kms = new_kms()
    key = add_key(kms, spec, "GENERATE_VERIFY_MAC")
    request = call("GenerateMac", Message=MESSAGE, MacAlgorithm=algorithm_of(other))
    if spec == other:
        generate_mac(request, kms, key)
        return
    with pytest.raises(KmsError) as raised:
        generate_mac(request, kms, key)
    text = f"Algorithm {algorithm_of(other)} is incompatible with key spec {spec}."
    assert (raised.value.code, raised.value.message) == ("InvalidKeyUsageException", text)


@pytest.mark.parametrize(("operation", "function"), [("GenerateMac", generate_mac), ("VerifyMac", verify_mac)])
def test_mac__other_keys_and_dry_runs_are_refused(operation, function) -> None:
    kms = new_kms()
    key = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    with pytest.raises(KmsError) as raised:
        function(call(operation, Message=MESSAGE, MacAlgorithm="HMAC_SHA_256", Mac=b"x"), kms, key)
    text = f"{kms.key_arn(key.key_id)} key usage is ENCRYPT_DECRYPT which is not valid for {operation}."
    assert (raised.value.code, raised.value.message) == ("InvalidKeyUsageException", text)
    key = add_key(kms, "HMAC_256", "GENERATE_VERIFY_MAC")
    with pytest.raises(KmsError, match="DryRunOperationException"):
        function(call(operation, Message=MESSAGE, MacAlgorithm="HMAC_SHA_256", Mac=b"x", DryRun=True), kms, key)
