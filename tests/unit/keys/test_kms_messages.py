import base64
import json
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from strongroom.keys import kms_messages as messages
from strongroom.keys.provider import KeyServiceMisbehaved, KeyServiceRefusal, KeyServiceUnavailable
from tests.kms_stub import ACCOUNT, KEY_ARN, KEY_ID, MATERIAL_ID, OTHER_KEY_ARN, REGION

KEY = bytes(range(32))
BLOB = b"\x01blob"
ALIAS_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/team/mine"


def base(value: bytes) -> str:
    return base64.b64encode(value).decode()


GENERATED = {"KeyId": KEY_ARN, "Plaintext": base(KEY), "CiphertextBlob": base(BLOB), "KeyMaterialId": MATERIAL_ID}
DECRYPTED = {"KeyId": KEY_ARN, "Plaintext": base(KEY), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
ENCRYPTED = {"KeyId": KEY_ARN, "CiphertextBlob": base(BLOB)}
RE_ENCRYPTED = {"KeyId": OTHER_KEY_ARN, "SourceKeyId": KEY_ARN, "CiphertextBlob": base(BLOB)}
DESCRIBED = {"Arn": KEY_ARN, "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": "Enabled"}


def generated(answer: dict[str, Any], key_id: str = KEY_ARN) -> Any:
    return messages.generated_key(json.dumps(answer).encode(), key_id)


def decrypted(answer: dict[str, Any]) -> Any:
    return messages.decrypted_key(json.dumps(answer).encode(), KEY_ARN, BLOB)


def encrypted(answer: dict[str, Any]) -> Any:
    return messages.encrypted_key(json.dumps(answer).encode(), KEY_ARN)


def re_encrypted(answer: dict[str, Any]) -> Any:
    return messages.re_encrypted_key(json.dumps(answer).encode(), KEY_ARN, OTHER_KEY_ARN)


def described(answer: dict[str, Any]) -> Any:
    return messages.described_key(json.dumps({"KeyMetadata": answer}).encode(), KEY_ARN)


def test_questions_are_in_kms_words_and_leave_out_what_is_empty() -> None:
    body = messages.question({"a": "b\u00fc"}, KeyId="alias/x", Plaintext=b"\x00\xff")
    assert json.loads(body) == {"KeyId": "alias/x", "Plaintext": "AP8=", "EncryptionContext": {"a": "b\u00fc"}}
    assert json.loads(messages.question({}, KeyId="k")) == {"KeyId": "k"}


def test_answers_are_understood() -> None:
    key = generated(GENERATED)
    assert (key.plaintext, key.sealed.ciphertext_blob, key.sealed.key_arn) == (KEY, BLOB, KEY_ARN)
    assert key.sealed.material_id == bytes.fromhex(MATERIAL_ID)
    key = decrypted(DECRYPTED)
    assert (key.plaintext, key.sealed.ciphertext_blob, key.sealed.material_id) == (KEY, BLOB, None)
    assert encrypted(ENCRYPTED).ciphertext_blob == BLOB
    assert re_encrypted({**RE_ENCRYPTED, "DestinationKeyMaterialId": MATERIAL_ID}).material_id == b"\xab" * 32
    description = described({**DESCRIBED, "CurrentKeyMaterialId": MATERIAL_ID, "MultiRegion": False})
    assert (description.key_arn, description.key_state) == (KEY_ARN, "Enabled")


@pytest.mark.parametrize(
    ("understand", "good"),
    [
        (generated, GENERATED),
        (decrypted, DECRYPTED),
        (encrypted, ENCRYPTED),
        (re_encrypted, RE_ENCRYPTED),
        (described, DESCRIBED),
    ],
)
@pytest.mark.parametrize(
    "change",
    [
        {"KeyId": "alias/mine", "Arn": "alias/mine"},
        {"KeyId": KEY_ID, "Arn": KEY_ID},
        {"KeyId": f"{KEY_ARN}x", "Arn": OTHER_KEY_ARN},
        {"KeyId": "arn:aws:kms:us-west-2:111122223333:key/x", "Arn": KEY_ARN.replace(REGION, "us-west-2")},
        {"KeyId": KEY_ARN.replace(ACCOUNT, "4" * 12), "Arn": KEY_ARN.replace(ACCOUNT, "4" * 12)},
        {"KeyId": KEY_ARN + "\n", "Arn": KEY_ARN + "\n"},
        {"KeyId": None, "Arn": None},
        {"KeyId": 5, "Arn": 5},
        {"Plaintext": base(KEY[:31]), "CiphertextBlob": "", "KeyState": None},
        {"Plaintext": base(KEY + b"x"), "CiphertextBlob": base(bytes(6145)), "KeySpec": None},
        {"Plaintext": "", "CiphertextBlob": None, "KeyUsage": 1},
        {"Plaintext": None, "CiphertextBlob": 7, "KeyUsage": None},
        {"Plaintext": "AAAA!", "CiphertextBlob": "AAAA!", "CurrentKeyMaterialId": "x"},
    ],
)
def test_an_answer_that_cannot_be_right_is_not_believed(
    understand: Callable[[dict[str, Any]], Any], good: dict[str, Any], change: dict[str, Any]
) -> None:
    answer = {name: value for name, value in {**good, **change}.items() if value is not None}
    with pytest.raises(KeyServiceMisbehaved):
        understand(answer)


@pytest.mark.parametrize("material", ["ab" * 31, "AB" * 32, "zz" * 32, 5])
def test_key_material_is_64_hex_digits(material: object) -> None:
    for understand, good, name in (
        (generated, GENERATED, "KeyMaterialId"),
        (decrypted, DECRYPTED, "KeyMaterialId"),
        (re_encrypted, RE_ENCRYPTED, "DestinationKeyMaterialId"),
        (described, DESCRIBED, "CurrentKeyMaterialId"),
    ):
        with pytest.raises(KeyServiceMisbehaved):
            understand({**good, name: material})


def test_re_encrypt_names_both_keys() -> None:
    for change in ({"KeyId": KEY_ARN}, {"SourceKeyId": OTHER_KEY_ARN}):
        with pytest.raises(KeyServiceMisbehaved, match="another key than the one asked for"):
            re_encrypted({**RE_ENCRYPTED, **change})


@pytest.mark.parametrize("form", [KEY_ID, KEY_ARN, "alias/mine", "alias/with:colon", ALIAS_ARN])
def test_every_form_of_a_key_id_may_be_answered_by_its_arn(form: str) -> None:
    assert generated(GENERATED, form).sealed.key_arn == KEY_ARN


@pytest.mark.parametrize(
    "form", ["another-id", OTHER_KEY_ARN, ALIAS_ARN.replace(ACCOUNT, "4" * 12), "arn:aws:kms", "key/x", "arn:x:alias/y"]
)
def test_a_key_id_is_not_answered_by_another_keys_arn(form: str) -> None:
    with pytest.raises(KeyServiceMisbehaved):
        generated(GENERATED, form)


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"null", b"\xff", json.dumps({"Plaintext": base(KEY)}).encode()])
def test_a_broken_answer_says_nothing_of_itself(answer: bytes) -> None:
    with pytest.raises(KeyServiceMisbehaved) as refused:
        messages.generated_key(answer, KEY_ARN)
    assert base(KEY)[:8] not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("status", "body", "expected", "code", "may_pass"),
    [
        (400, {"__type": "NotFoundException", "message": "m"}, KeyServiceRefusal, "NotFoundException", False),
        (
            400,
            {"__type": "com.amazonaws.kms#DisabledException", "message": "m"},
            KeyServiceRefusal,
            "DisabledException",
            False,
        ),
        (400, {"__type": "a#DisabledException:http://x/#y"}, KeyServiceRefusal, "DisabledException", False),
        (400, {"__type": "AccessDeniedException", "Message": "m"}, KeyServiceRefusal, "AccessDeniedException", False),
        (403, {"__type": "AccessDeniedException", "message": "m"}, KeyServiceRefusal, "AccessDeniedException", False),
        (400, {"__type": "LimitExceededException", "message": "m"}, KeyServiceRefusal, "LimitExceededException", False),
        (400, {"__type": "InvalidCiphertextException"}, KeyServiceRefusal, "InvalidCiphertextException", False),
        (400, {"__type": "ThrottlingException", "message": "m"}, KeyServiceRefusal, "ThrottlingException", True),
        (400, {"__type": "RequestLimitExceeded", "message": "m"}, KeyServiceRefusal, "ThrottlingException", True),
        (429, {}, KeyServiceRefusal, "ThrottlingException", True),
        (500, {"__type": "KMSInternalException"}, KeyServiceUnavailable, None, True),
        (503, b"<html>", KeyServiceUnavailable, None, True),
        (400, {"__type": "InvalidSignatureException", "message": "secret"}, KeyServiceUnavailable, None, False),
        (400, {"__type": "ExpiredTokenException"}, KeyServiceUnavailable, None, False),
        (404, b"<html>", KeyServiceMisbehaved, None, False),
        (400, {"message": "m"}, KeyServiceMisbehaved, None, False),
        (400, {"__type": "<script>"}, KeyServiceMisbehaved, None, False),
        (400, {"__type": 5}, KeyServiceMisbehaved, None, False),
        (301, {"__type": "NotFoundException"}, KeyServiceMisbehaved, None, False),
        (204, b"", KeyServiceMisbehaved, None, False),
    ],
)
def test_what_an_error_means(
    status: int, body: dict[str, Any] | bytes, expected: type[Exception], code: str | None, may_pass: bool
) -> None:
    failure, again = messages.error_of(status, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert (type(failure), again) == (expected, may_pass)
    if isinstance(failure, KeyServiceRefusal):
        assert failure.code == code
        assert failure.message in {"m", ""}
    else:
        assert "secret" not in str(failure)


def test_the_text_of_a_refusal_is_passed_on_in_one_line_and_not_at_any_length() -> None:
    failure, _ = messages.error_of(
        400, json.dumps({"__type": "X", "message": "a\r\nb\x00\u00fc" + "x" * 9000}).encode()
    )
    assert isinstance(failure, KeyServiceRefusal)
    assert failure.message.startswith("a  b \u00fcxxx")
    assert len(failure.message) == 4096
