"""strongroom.kms.symmetric: what a key is for is asked before anything is opened, and both ends of ReEncrypt have their own
context.
"""

from typing import Any

import pytest

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.call import Kms
from strongroom.kms.records import Key
from strongroom.kms.symmetric import decrypt, encrypt, generate_data_key, re_encrypt
from tests.kms_values import add_key, call, new_kms

ONE, OTHER = {"a": "1"}, {"a": "2"}


def symmetric(kms: Kms) -> Key:
    return add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")


def error_of(function: Any, *arguments: Any) -> tuple[str, str | None]:
    with pytest.raises(KmsError) as raised:
        function(*arguments)
    return raised.value.code, raised.value.message


def wrong_usage(kms: Kms, key: Key, operation: str) -> tuple[str, str]:
    text = f"{kms.key_arn(key.key_id)} key usage is {key.usage} which is not valid for {operation}."
    return "InvalidKeyUsageException", text


@pytest.mark.parametrize("spec", ["HMAC_256", "ECC_NIST_P256"])
def test_a_key_of_another_usage_is_told_by_its_usage(spec: str) -> None:
    kms = new_kms()
    key = symmetric(kms)
    other = add_key(kms, spec, "GENERATE_VERIFY_MAC" if spec.startswith("HMAC") else "SIGN_VERIFY")
    blob = encrypt(call("Encrypt", Plaintext=b"p"), kms, key).output["CiphertextBlob"]
    for dry_run in (False, True):
        again = call("ReEncrypt", CiphertextBlob=blob, DryRun=dry_run)
        assert error_of(re_encrypt, again, kms, key, other) == wrong_usage(kms, other, "ReEncrypt")
        assert error_of(re_encrypt, again, kms, other, key) == wrong_usage(kms, other, "ReEncrypt")
        for function, asked in (
            (encrypt, call("Encrypt", Plaintext=b"p", DryRun=dry_run)),
            (decrypt, call("Decrypt", CiphertextBlob=blob, DryRun=dry_run)),
            (generate_data_key, call("GenerateDataKey", KeySpec="AES_256", DryRun=dry_run)),
        ):
            assert error_of(function, asked, kms, other) == wrong_usage(kms, other, asked.operation)


def test_re_encrypt__opens_with_one_context_and_seals_with_the_other() -> None:
    kms = new_kms()
    source, destination = symmetric(kms), symmetric(kms)
    blob = encrypt(call("Encrypt", Plaintext=b"p", EncryptionContext=ONE), kms, source).output["CiphertextBlob"]

    def moved(**contexts: Any) -> bytes:
        asked = call("ReEncrypt", CiphertextBlob=blob, **contexts)
        sealed: bytes = re_encrypt(asked, kms, source, destination).output["CiphertextBlob"]
        return sealed

    def opened(sealed: bytes, context: dict[str, str]) -> bytes:
        asked = call("Decrypt", CiphertextBlob=sealed, EncryptionContext=context)
        plaintext: bytes = decrypt(asked, kms, destination).output["Plaintext"]
        return plaintext

    assert opened(moved(SourceEncryptionContext=ONE, DestinationEncryptionContext=OTHER), OTHER) == b"p"
    assert opened(moved(SourceEncryptionContext=ONE), {}) == b"p"
    damaged = ("InvalidCiphertextException", None)
    assert error_of(opened, moved(SourceEncryptionContext=ONE, DestinationEncryptionContext=OTHER), ONE) == damaged
    for context in ({}, {"SourceEncryptionContext": OTHER, "DestinationEncryptionContext": ONE}):
        with pytest.raises(KmsError, match="InvalidCiphertextException"):
            moved(**context)
