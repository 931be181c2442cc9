"""GenerateDataKey and its sibling, Encrypt, Decrypt, ReEncrypt, GenerateRandom under symmetric keys."""

import base64
import re
from typing import Any

import pytest

from tests.key_service import ACCOUNT, KeyServer, refused

CONTEXT = {"aws:s3:arn": "arn:aws:s3:::bücket/☃", "aws-crypto-public-key": "AQI=", "": "empty name"}
INCORRECT = (
    "IncorrectKeyException",
    "The key ID in the request does not identify a CMK that can perform this operation.",
)
UNKNOWN = (
    "AccessDeniedException",
    (
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not"
        " allowed to access."
    ),
)
NEITHER = ("ValidationException", "Please specify either number of bytes or key spec.")


def members(answer: dict[str, Any]) -> set[str]:
    return answer.keys() - {"ResponseMetadata"}


@pytest.mark.parametrize(
    ("size", "length"),
    [
        ({"KeySpec": "AES_256"}, 32),
        ({"KeySpec": "AES_128"}, 16),
        ({"NumberOfBytes": 1}, 1),
        ({"NumberOfBytes": 1024}, 1024),
    ],
)
def test_generate_data_key__opens_again_with_its_context(
    kms: Any, key: dict[str, Any], size: dict[str, Any], length: int
) -> None:
    made = kms.generate_data_key(KeyId=key["KeyId"], EncryptionContext=CONTEXT, **size)
    assert members(made) == {"CiphertextBlob", "KeyId", "KeyMaterialId", "Plaintext"}
    assert (made["KeyId"], made["KeyMaterialId"]) == (key["Arn"], key["CurrentKeyMaterialId"])
    assert len(made["Plaintext"]) == length
    assert made["Plaintext"] not in made["CiphertextBlob"] or length < 4
    opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=dict(reversed(CONTEXT.items())))
    del opened["ResponseMetadata"]
    assert opened == {
        "KeyId": key["Arn"],
        "Plaintext": made["Plaintext"],
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "KeyMaterialId": key["CurrentKeyMaterialId"],
    }


def test_generate_data_key_without_plaintext__has_none(kms: Any, key: dict[str, Any]) -> None:
    made = kms.generate_data_key_without_plaintext(KeyId=key["KeyId"], KeySpec="AES_128")
    assert members(made) == {"CiphertextBlob", "KeyId", "KeyMaterialId"}
    assert len(kms.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"]) == 16


@pytest.mark.parametrize("operation", ["generate_data_key", "generate_data_key_without_plaintext"])
def test_generate_data_key__exactly_one_size(kms: Any, key: dict[str, Any], operation: str) -> None:
    generate = getattr(kms, operation)
    assert refused(generate, KeyId=key["KeyId"]) == NEITHER
    assert refused(generate, KeyId=key["KeyId"], KeySpec="AES_256", NumberOfBytes=32) == NEITHER
    for size, bound in ((0, "greater than or equal to 1"), (1025, "less than or equal to 1024")):
        assert refused(generate, KeyId=key["KeyId"], NumberOfBytes=size) == (
            "ValidationException",
            (
                f"1 validation error detected: Value '{size}' at 'numberOfBytes' failed to satisfy constraint: Member must"
                f" have value {bound}"
            ),
        )


def test_encrypt__answers_without_a_material_id(kms: Any, key: dict[str, Any]) -> None:
    sealed = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x" * 4096)
    assert members(sealed) == {"CiphertextBlob", "EncryptionAlgorithm", "KeyId"}
    assert (sealed["KeyId"], sealed["EncryptionAlgorithm"]) == (key["Arn"], "SYMMETRIC_DEFAULT")
    assert len(sealed["CiphertextBlob"]) <= 6144
    assert sealed["CiphertextBlob"] != kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x" * 4096)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"])["Plaintext"] == b"x" * 4096


@pytest.mark.parametrize(("size", "bound"), [(0, "greater than or equal to 1"), (4097, "less than or equal to 4096")])
def test_encrypt__a_plaintext_is_never_echoed(kms: Any, key: dict[str, Any], size: int, bound: str) -> None:
    assert refused(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"s" * size) == (
        "ValidationException",
        f"1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length {bound}",
    )


def test_encrypt__violations_are_told_together(kms: Any, key: dict[str, Any]) -> None:
    code, message = refused(kms.encrypt, KeyId="", Plaintext=b"")
    assert code == "ValidationException"
    assert message.startswith("2 validation errors detected: ")
    assert "; " in message


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"a": "bC"},
        {"A": "bc"},
        {"ab": "c"},
        {"a": "bc", "d": "e"},
        {"a": "bc "},
    ],
)
def test_decrypt__another_context_is_invalid_without_a_word(
    kms: Any, key: dict[str, Any], context: dict[str, str]
) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext={"a": "bc"})["CiphertextBlob"]
    assert refused(kms.decrypt, CiphertextBlob=blob, EncryptionContext=context) == ("InvalidCiphertextException", "")
    assert refused(kms.decrypt, CiphertextBlob=blob, KeyId=key["KeyId"], EncryptionContext=context) == (
        "InvalidCiphertextException",
        "",
    )


def test_decrypt__an_empty_context_is_none(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext={})["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_decrypt__damage_is_invalid_without_a_word(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    for bad in (
        blob + b"\0",
        blob[:-1],
        blob[:20],
        b"\xff",
        bytes([blob[0] ^ 1]) + blob[1:],
        blob[:-1] + bytes([blob[-1] ^ 1]),
    ):
        status, document, _ = key_server.post("Decrypt", {"CiphertextBlob": base64.b64encode(bad).decode()})
        assert (status, document) == (400, {"__type": "InvalidCiphertextException"})


def test_decrypt__with_the_key_of_the_blob_by_every_name(kms: Any, key: dict[str, Any]) -> None:
    alias = f"alias/{key['KeyId']}"
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    blob = kms.encrypt(KeyId=alias, Plaintext=b"x")["CiphertextBlob"]
    for name in (key["KeyId"], key["Arn"], alias):
        assert kms.decrypt(CiphertextBlob=blob, KeyId=name)["KeyId"] == key["Arn"]
    kms.delete_alias(AliasName=alias)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_decrypt__with_another_key_is_incorrect(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    others = [
        kms.create_key()["KeyMetadata"]["KeyId"],
        kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"],
    ]
    for other in others:
        assert refused(kms.decrypt, CiphertextBlob=blob, KeyId=other) == INCORRECT
        assert (
            refused(kms.re_encrypt, CiphertextBlob=blob, SourceKeyId=other, DestinationKeyId=key["KeyId"]) == INCORRECT
        )


def test_decrypt__a_blob_of_a_key_that_is_not_here_reveals_nothing(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    import uuid

    raw = uuid.UUID(key["KeyId"]).bytes
    assert raw in blob
    elsewhere = blob.replace(raw, bytes(16))
    assert refused(kms.decrypt, CiphertextBlob=elsewhere) == UNKNOWN
    assert refused(kms.re_encrypt, CiphertextBlob=elsewhere, DestinationKeyId=key["KeyId"]) == UNKNOWN
    assert refused(kms.decrypt, CiphertextBlob=elsewhere, KeyId=key["KeyId"]) == INCORRECT


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("encrypt", {"Plaintext": b"x"}),
        ("generate_data_key", {"KeySpec": "AES_256"}),
        ("generate_data_key_without_plaintext", {"KeySpec": "AES_256"}),
        ("generate_data_key_pair", {"KeyPairSpec": "ECC_NIST_P256"}),
        ("generate_data_key_pair_without_plaintext", {"KeyPairSpec": "ECC_NIST_P256"}),
    ],
)
def test_a_key_of_another_usage_is_told_with_the_operation(kms: Any, operation: str, given: dict[str, Any]) -> None:
    hmac = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]
    name = "".join(word.capitalize() for word in operation.split("_"))
    assert refused(getattr(kms, operation), KeyId=hmac["KeyId"], **given) == (
        "InvalidKeyUsageException",
        f"{hmac['Arn']} key usage is GENERATE_VERIFY_MAC which is not valid for {name}.",
    )


def test_encrypt__an_algorithm_of_another_spec(kms: Any, key: dict[str, Any]) -> None:
    assert refused(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_256") == (
        "InvalidKeyUsageException",
        "Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT.",
    )


def test_decrypt__without_a_ciphertext(key_server: KeyServer, key: dict[str, Any]) -> None:
    missing = "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not be null"
    for given in ({}, {"KeyId": key["KeyId"]}, {"KeyId": key["KeyId"], "DryRun": True}):
        _, document, _ = key_server.post("Decrypt", given)
        assert document == {"__type": "ValidationException", "message": missing}
    _, document, _ = key_server.post("ReEncrypt", {"DestinationKeyId": key["KeyId"]})
    assert document == {"__type": "ValidationException", "message": missing}


def test_re_encrypt__to_another_key_and_context(kms: Any, key: dict[str, Any]) -> None:
    other = kms.create_key()["KeyMetadata"]
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext={"from": "1"})["CiphertextBlob"]
    moved = kms.re_encrypt(
        CiphertextBlob=blob,
        SourceEncryptionContext={"from": "1"},
        DestinationKeyId=other["KeyId"],
        DestinationEncryptionContext={"to": "2"},
    )
    del moved["ResponseMetadata"]
    again = moved.pop("CiphertextBlob")
    assert moved == {
        "SourceKeyId": key["Arn"],
        "KeyId": other["Arn"],
        "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "SourceKeyMaterialId": key["CurrentKeyMaterialId"],
        "DestinationKeyMaterialId": other["CurrentKeyMaterialId"],
    }
    assert kms.decrypt(CiphertextBlob=again, EncryptionContext={"to": "2"})["KeyId"] == other["Arn"]
    assert (
        refused(kms.decrypt, CiphertextBlob=again, EncryptionContext={"from": "1"})[0] == "InvalidCiphertextException"
    )
    assert refused(kms.re_encrypt, CiphertextBlob=blob, DestinationKeyId=other["KeyId"]) == (
        "InvalidCiphertextException",
        "",
    )


def test_re_encrypt__to_the_same_key_moves_to_its_newest_material(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    kms.rotate_key_on_demand(KeyId=key["KeyId"])
    moved = kms.re_encrypt(CiphertextBlob=blob, SourceKeyId=key["Arn"], DestinationKeyId=key["KeyId"])
    assert moved["SourceKeyMaterialId"] == key["CurrentKeyMaterialId"] != moved["DestinationKeyMaterialId"]
    assert kms.decrypt(CiphertextBlob=moved["CiphertextBlob"])["KeyMaterialId"] == moved["DestinationKeyMaterialId"]


def test_re_encrypt__is_one_record_of_two_keys(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    other = kms.create_key()["KeyMetadata"]
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=other["KeyId"])
    event = key_server.events("ReEncrypt")[-1]
    assert [each["ARN"] for each in event["resources"]] == [key["Arn"], other["Arn"]]


def test_generate_random(kms: Any) -> None:
    made = kms.generate_random(NumberOfBytes=1024)
    assert members(made) == {"Plaintext"}
    assert len(made["Plaintext"]) == 1024
    assert refused(kms.generate_random) == ("ValidationException", "NumberOfBytes is required.")
    for size, bound in ((0, "greater than or equal to 1"), (1025, "less than or equal to 1024")):
        assert refused(kms.generate_random, NumberOfBytes=size)[1].endswith(bound)


def test_get_key_last_usage(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    unused = kms.get_key_last_usage(KeyId=key["KeyId"])
    assert (unused["KeyId"], unused["KeyLastUsage"]) == (key["Arn"], {})
    assert unused["KeyCreationDate"] == unused["TrackingStartDate"] == key["CreationDate"]
    answer = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")
    kms.describe_key(KeyId=key["KeyId"])  # no use of it
    refused(kms.decrypt, CiphertextBlob=answer["CiphertextBlob"], EncryptionContext={"a": "b"})  # nor a failure
    used = kms.get_key_last_usage(KeyId=key["KeyId"])["KeyLastUsage"]
    event = key_server.events("Encrypt")[-1]
    assert (used["Operation"], used["CloudTrailEventId"]) == ("Encrypt", event["eventID"])
    assert used["KmsRequestId"] == answer["ResponseMetadata"]["RequestId"] == event["requestID"]
    assert used["Timestamp"] >= key["CreationDate"]


def test_the_record_holds_neither_plaintext_nor_ciphertext(
    kms: Any, key_server: KeyServer, key: dict[str, Any]
) -> None:
    made = kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256", EncryptionContext={"who": "knows"})
    kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"who": "knows"})
    event = key_server.events("Decrypt")[-1]
    assert event["requestParameters"]["encryptionContext"] == {"who": "knows"}
    assert event["additionalEventData"]["keyMaterialId"] == key["CurrentKeyMaterialId"]
    assert event["resources"] == [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": key["Arn"]}]
    log = "".join(path.read_text() for path in (key_server.data_dir / "audit").glob("*.jsonl"))
    for secret in (made["Plaintext"], made["CiphertextBlob"]):
        assert base64.b64encode(secret).decode() not in log
        assert secret.hex() not in log
    assert re.search("knows", log)


def test_the_record_names_the_algorithm_also_where_the_request_leaves_it_to_the_default(
    kms: Any, key_server: KeyServer, key: dict[str, Any]
) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    kms.decrypt(CiphertextBlob=blob)
    kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=key["KeyId"])
    told = {name: key_server.events(name)[-1]["requestParameters"] for name in ("Encrypt", "Decrypt", "ReEncrypt")}
    assert told["Encrypt"]["encryptionAlgorithm"] == told["Decrypt"]["encryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    assert told["ReEncrypt"] == {
        "sourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "destinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "destinationKeyId": key["KeyId"],
    }
    refused(kms.decrypt, CiphertextBlob=blob, KeyId=key["KeyId"], EncryptionAlgorithm="RSAES_OAEP_SHA_1")
    assert key_server.events("Decrypt")[-1]["requestParameters"]["encryptionAlgorithm"] == "RSAES_OAEP_SHA_1"
