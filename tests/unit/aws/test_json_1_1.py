"""JSON 1.1: AWS's grammar of violations, and one reading of every text. Names E..: the peers' bugs of that class."""

import base64
import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from botocore.loaders import Loader

from strongroom.aws.json_1_1 import CONTENT_TYPE, parse, serialize, serialize_error
from strongroom.aws.kms_errors import KmsError
from strongroom.aws.kms_model import CORRECTIONS, load_kms_model
from strongroom.aws.model import load_s3_model

MODEL = load_kms_model()
OFFICIAL = Loader().load_service_model("kms", "service-2")
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"


def read(operation, document):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse(MODEL.operations[operation], body)


def refusal(operation, document) -> KmsError:
    with pytest.raises(KmsError) as caught:
        read(operation, document)
    return caught.value


def violation(operation, document) -> str:
    error = refusal(operation, document)
    assert error.code == "ValidationException"
    assert error.message is not None
    return error.message


def blob(content: bytes) -> str:
    return base64.b64encode(content).decode()


# --- the model


def test_model__holds_every_operation_of_the_official_one():
    assert list(MODEL.operations) == sorted(OFFICIAL["operations"])
    assert len(MODEL.operations) == 56
    assert (
        not MODEL.operations.keys() & load_s3_model().operations.keys()
    )  # one name is one operation in log and figures
    assert MODEL.target_prefix == f"{OFFICIAL['metadata']['targetPrefix']}."


@pytest.mark.parametrize("correction", CORRECTIONS, ids=lambda each: "/".join(each.path))
def test_corrections__each_changes_something_and_says_why(correction):
    node = OFFICIAL
    for name in correction.path[:-1]:
        node = node[name]
    assert node.get(correction.path[-1]) != correction.value
    assert correction.reason


@pytest.mark.parametrize("name", sorted(MODEL.operations))
def test_parse__every_operation_demands_what_the_model_requires(name):
    shape = MODEL.operations[name].input
    assert shape is not None
    if not shape.required:
        assert read(name, b"") == read(name, {}) == {}
        return
    message = violation(name, {})
    assert message.startswith(f"{len(shape.required)} validation error")
    for member in shape.required:
        shown = member[0].lower() + member[1:]
        assert f"Value null at '{shown}' failed to satisfy constraint: Member must not be null" in message


# --- the grammar (facts section 1)


ONE = "1 validation error detected: "


@pytest.mark.parametrize(
    ("operation", "document", "message"),
    [
        (
            "GenerateRandom",
            {"NumberOfBytes": 0},
            "Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ),
        (
            "GenerateRandom",
            {"NumberOfBytes": 1025},
            "Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024",
        ),
        (
            "DescribeKey",
            {},
            "Value null at 'keyId' failed to satisfy constraint: Member must not be null",
        ),
        (
            "DescribeKey",
            {"KeyId": None},
            "Value null at 'keyId' failed to satisfy constraint: Member must not be null",
        ),
        (
            "CreateKey",
            {"Tags": [{"TagKey": "a", "TagValue": "v" * 257}]},
            (
                f"Value '{'v' * 257}' at 'tags.1.member.tagValue' failed to satisfy constraint: "
                "Member must have length less than or equal to 256"
            ),
        ),
        (
            "TagResource",
            {"KeyId": KEY, "Tags": [{"TagKey": "a", "TagValue": ""}, {"TagKey": "b"}]},
            "Value null at 'tags.2.member.tagValue' failed to satisfy constraint: Member must not be null",
        ),
        (
            "Encrypt",
            {"KeyId": KEY, "Plaintext": blob(bytes(4097))},
            "Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096",
        ),
        (
            "Encrypt",
            {"KeyId": KEY, "Plaintext": ""},
            "Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        (
            "Decrypt",
            {"CiphertextBlob": blob(bytes(6145))},
            "Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length less than or equal to 6144",
        ),
        (
            "GenerateDataKey",
            {"KeyId": KEY, "KeySpec": "AES_512"},
            (
                "Value 'AES_512' at 'keySpec' failed to satisfy constraint: "
                "Member must satisfy enum value set: [AES_128, AES_256]"
            ),
        ),
        (
            "GetKeyPolicy",
            {"KeyId": KEY, "PolicyName": "a b"},
            (
                "Value 'a b' at 'policyName' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: [\\w]+"
            ),
        ),
        (
            "ListKeys",
            {"ResourceOwners": ["SELF", "NOBODY"]},
            (
                "Value '[SELF, NOBODY]' at 'resourceOwners' failed to satisfy constraint: Member must satisfy constraint: "
                "[Member must satisfy enum value set: [OTHER_ACCOUNTS_VIA_RAM, SELF]]"
            ),
        ),
        (
            "UntagResource",
            {"KeyId": KEY, "TagKeys": ["ok", ""]},
            (
                "Value '[ok, ]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: [Member must have"
                " length less than or equal to 128, Member must have length greater than or equal to 1]"
            ),
        ),
        (
            "UntagResource",
            {"KeyId": KEY, "TagKeys": ["ok", None]},
            "Value null at 'tagKeys.2.member' failed to satisfy constraint: Member must not be null",
        ),
        (
            "DescribeKey",
            {"KeyId": KEY, "GrantTokens": ["token"] * 11},
            "Value at 'grantTokens' failed to satisfy constraint: Member must have length less than or equal to 10",
        ),
        (
            "Encrypt",
            {"KeyId": KEY, "Plaintext": blob(b"a"), "EncryptionContext": {"who": None}},
            "Value null at 'encryptionContext.who.member' failed to satisfy constraint: Member must not be null",
        ),
        (
            "CreateGrant",
            {"KeyId": KEY, "Operations": ["Decrypt"], "Constraints": {"SourceArn": "arn:aws:s3:::somewhere-else"}},
            (
                "Value 'arn:aws:s3:::somewhere-else' at 'constraints.sourceArn' failed to satisfy constraint: Member must satisfy"
                " regular expression pattern: ^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$"
            ),
        ),
        (
            "ScheduleKeyDeletion",
            {"KeyId": KEY, "PendingWindowInDays": 6},
            (
                "Value '6' at 'pendingWindowInDays' failed to satisfy constraint: "
                "Member must have value greater than or equal to 7"
            ),
        ),
        (
            "EnableKeyRotation",
            {"KeyId": KEY, "RotationPeriodInDays": 2561},
            (
                "Value '2561' at 'rotationPeriodInDays' failed to satisfy constraint: "
                "Member must have value less than or equal to 2560"
            ),
        ),
        (
            "ListResourceTags",
            {"KeyId": KEY, "Limit": 51},
            "Value '51' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 50",
        ),
        (
            "ListAliases",
            {"Limit": 101},
            "Value '101' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 100",
        ),
    ],
)
def test_violation__reads_as_on_aws(operation, document, message):
    assert violation(operation, document) == ONE + message


def test_violations__are_all_told_at_once():
    assert violation("CreateAlias", {"AliasName": ""}) == (
        "3 validation errors detected: "
        "Value '' at 'aliasName' failed to satisfy constraint: Member must have length greater than or equal to 1; "
        "Value '' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: "
        "^[a-zA-Z0-9:/_-]+$; "
        "Value null at 'targetKeyId' failed to satisfy constraint: Member must not be null"
    )


def test_violation__repeats_no_secret():
    password = "hunter2-" * 5
    message = violation("UpdateCustomKeyStore", {"CustomKeyStoreId": "cks-1", "KeyStorePassword": password})
    assert "'keyStorePassword'" in message
    assert "hunter2" not in message
    token = "secret-token" * 1000
    message = violation("RetireGrant", {"GrantToken": token})
    assert message == (
        f"{ONE}Value at 'grantToken' failed to satisfy constraint: Member must have length less than or equal to 8192"
    )
    assert "secret-token" not in violation("DescribeKey", {"KeyId": KEY, "GrantTokens": [token]})


def test_violation__stays_short_whatever_was_sent():
    assert len(violation("DescribeKey", {"KeyId": "k" * 100_000})) < 1500
    many = violation("TagResource", {"KeyId": KEY, "Tags": [{"TagKey": "", "TagValue": ""}] * 1000})
    assert many.startswith("1000 validation errors detected: ")
    assert len(many) < 20_000
    context = {"k" * 100_000: None}
    assert len(violation("Encrypt", {"KeyId": KEY, "Plaintext": "QQ==", "EncryptionContext": context})) < 1500


@pytest.mark.parametrize(
    ("operation", "rest", "member", "item"),
    [
        ("TagResource", {"KeyId": KEY}, "Tags", {}),
        ("UntagResource", {"KeyId": KEY}, "TagKeys", None),
        ("CreateGrant", {"KeyId": KEY, "GranteePrincipal": KEY}, "Operations", "x"),
    ],
)
def test_violation__of_a_list_beyond_every_use_is_one_and_its_items_are_not_looked_at(operation, rest, member, item):
    """A mebibyte of broken items kept the service busy for most of a second."""
    assert violation(operation, {**rest, member: [item] * 1001}) == (
        f"{ONE}Value at '{member[0].lower()}{member[1:]}' failed to satisfy constraint:"
        " Member must have length less than or equal to 1000"
    )


@pytest.mark.parametrize("name", sorted(MODEL.operations))
def test_pattern__holds_for_the_whole_text(name):
    """Java's `matches`: neither a prefix nor a line of it."""
    shape = MODEL.operations[name].input
    assert shape is not None
    for member in shape.members.values():
        if member.shape.pattern is not None and not member.shape.enum:
            text = "a" * (member.shape.minimum or 1) + "\u2028\n"
            body = dict.fromkeys(shape.required, "x") | {member.name: text}
            error = refusal(name, body)
            assert error.code == "SerializationException" or "regular expression" in str(error.message)


# --- types


@pytest.mark.parametrize(
    ("operation", "document", "message"),
    [
        ("DescribeKey", {"KeyId": 1}, "NUMBER_VALUE can not be converted to a String"),
        ("DescribeKey", {"KeyId": True}, "TRUE_VALUE can not be converted to a String"),
        ("DescribeKey", {"KeyId": ["a"]}, "Start of list found where not expected"),
        ("DescribeKey", {"KeyId": {}}, "Start of structure or map found where not expected."),
        ("GenerateRandom", {"NumberOfBytes": "16"}, "STRING_VALUE can not be converted to an Integer"),
        ("GenerateRandom", {"NumberOfBytes": 16.5}, "NUMBER_VALUE can not be converted to an Integer"),
        ("GenerateRandom", {"NumberOfBytes": True}, "TRUE_VALUE can not be converted to an Integer"),
        ("Encrypt", {"KeyId": KEY, "Plaintext": 5}, "NUMBER_VALUE can not be converted to a String"),
        ("Encrypt", {"KeyId": KEY, "Plaintext": "QQ==", "DryRun": "false"}, "STRING_VALUE can not be converted to a Boolean"),
        ("Encrypt", {"KeyId": KEY, "Plaintext": "QQ==", "DryRun": 0}, "NUMBER_VALUE can not be converted to a Boolean"),
        ("Encrypt", {"KeyId": KEY, "Plaintext": "QQ==", "EncryptionContext": "a"}, "Unexpected field type"),
        ("Encrypt", {"KeyId": KEY, "Plaintext": "QQ==", "EncryptionContext": {"a": 1}}, "NUMBER_VALUE can not be converted to a String"),
        ("CreateKey", {"Tags": {"a": "b"}}, "Start of structure or map found where not expected."),
        ("CreateKey", {"Tags": ["a"]}, "Unexpected field type"),
        ("DescribeKey", [], "Start of list found where not expected"),
        ("DescribeKey", "text", "Unexpected field type"),
        (
            "ImportKeyMaterial",
            {"KeyId": KEY, "ImportToken": "QQ==", "EncryptedKeyMaterial": "QQ==", "ValidTo": "tomorrow"},
            "STRING_VALUE can not be converted to milliseconds since epoch",
        ),
    ],
)  # fmt: skip
def test_wrong_type__is_a_serialization_exception(operation, document, message):
    error = refusal(operation, document)
    assert (error.code, error.message, error.status) == ("SerializationException", message, 400)


@pytest.mark.parametrize(
    "text", ["QQ", "QQ=", "Q Q=", "QQ==\n", "QR==", "Q-==", "QQ==QQ==", "QQ===", "=", "\u00e4\u00e4\u00e4="]
)
def test_blob__has_one_form(text):
    """No padding, a line break, spare bits, the URL's alphabet: none of them is a second way to write one ciphertext."""
    error = refusal("Encrypt", {"KeyId": KEY, "Plaintext": text})
    assert (error.code, error.message) == ("SerializationException", "The value at 'plaintext' is not valid Base64")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"null",
        b'{"KeyId": "a"} {}',
        b'{"KeyId": NaN}',
        b'{"KeyId": "a", "Limit": Infinity}',
        b'{"KeyId": "a", "KeyId": "b"}',
        b'{"KeyId": "a", "Unknown": {"x": 1, "x": 2}}',
        b'{"KeyId": "\xff"}',
        b'{"KeyId": "\xed\xa0\x80"}',
        b'{"KeyId": "\\ud800"}',
        '{"KeyId": "a"}'.encode("utf-16"),
        b"\xef\xbb\xbf" + b'{"KeyId": "a"}',
        b'{"KeyId": "a", "Deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"Deep":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"KeyId": "a", "Long": ' + b"9" * 5000 + b"}",
    ],
    ids=range(17),
)
def test_text__that_has_no_one_reading_is_refused(body):
    error = refusal("DescribeKey", body)
    if body == b"":
        assert error.code == "ValidationException"  # nothing said is nothing given
    else:
        assert error.code == "SerializationException"


def test_lone_surrogate__is_refused_in_maps_and_lists_too():
    body = b'{"KeyId": "a", "Plaintext": "QQ==", "EncryptionContext": {"\\udc00": "v"}}'
    assert refusal("Encrypt", body).code == "SerializationException"
    body = b'{"KeyId": "a", "TagKeys": ["\\udfff"]}'
    assert refusal("UntagResource", body).code == "SerializationException"
    assert read("DescribeKey", b'{"KeyId": "\\ud83d\\ude00"}') == {"KeyId": "\U0001f600"}


def test_null__is_absent():
    assert read("CreateKey", {"Policy": None, "Tags": None, "MultiRegion": False}) == {"MultiRegion": False}


@pytest.mark.parametrize("name", sorted(MODEL.operations))
def test_e6_unknown_members__are_of_no_consequence(name):
    """No caller supplies a nonce, a key or anything else that the API has no name for (peer-bugs E6)."""
    shape = MODEL.operations[name].input
    assert shape is not None
    extra = {"Nonce": "AAAA", "IV": "AAAA", "KeyMaterial": "AAAA", "keyId": "another", "keyid": "another", "KEYID": 5}

    def outcome(document):
        try:
            return read(name, document)
        except KmsError as error:
            return error.code, error.message

    assert outcome({"KeyId": KEY} | extra) == outcome({"KeyId": KEY})


@pytest.mark.parametrize(
    "given", [1700000000, 1700000000.0, 1700000000.0004, "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00"]
)
def test_timestamp__is_a_number_or_iso(given):
    document = {"KeyId": KEY, "ImportToken": "QQ==", "EncryptedKeyMaterial": "QQ==", "ValidTo": given}
    value = read("ImportKeyMaterial", document)
    assert value["ValidTo"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize("given", [b"1e999", b"-1e999", b"1e30", b"99999999999999999999", b"-99999999999999"])
def test_timestamp__out_of_range_is_refused(given):
    body = b'{"KeyId": "a", "ImportToken": "QQ==", "EncryptedKeyMaterial": "QQ==", "ValidTo": ' + given + b"}"
    assert refusal("ImportKeyMaterial", body).code == "SerializationException"


# --- answers


def test_serialize__writes_blobs_times_and_nothing_absent():
    answered = serialize(
        MODEL.operations["DescribeKey"],
        {
            "KeyMetadata": {
                "KeyId": KEY,
                "CreationDate": datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC),
                "DeletionDate": 1700000000.5004,
                "ValidTo": datetime(2023, 11, 14, 23, 13, 20, tzinfo=timezone(timedelta(hours=1))),
                "Description": None,
                "Enabled": True,
                "EncryptionAlgorithms": ("SYMMETRIC_DEFAULT",),
            }
        },
    )
    assert json.loads(answered) == {
        "KeyMetadata": {
            "KeyId": KEY,
            "CreationDate": 1700000000.123,
            "DeletionDate": 1700000000.5,
            "ValidTo": 1700000000,
            "Enabled": True,
            "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        }
    }
    assert json.loads(serialize(MODEL.operations["GenerateRandom"], {"Plaintext": b"\xff\x00"})) == {
        "Plaintext": "/wA="
    }


@pytest.mark.parametrize("name", sorted(name for name, each in MODEL.operations.items() if each.output is None))
def test_serialize__a_void_operation_has_an_empty_body(name):
    assert serialize(MODEL.operations[name], {}) == b""
    with pytest.raises(ValueError, match="KeyId"):
        serialize(MODEL.operations[name], {"KeyId": KEY})


def test_serialize__an_output_without_members_is_an_object():
    assert serialize(MODEL.operations["DeleteCustomKeyStore"], {}) == b"{}"


@pytest.mark.parametrize(
    "wrong", [{"KeyId": b"key"}, {"Enabled": 1}, {"PendingDeletionWindowInDays": 7.0}, {"KeyId": 5}]
)
def test_serialize__refuses_values_of_other_types(wrong):
    with pytest.raises(ValueError, match="belongs"):
        serialize(MODEL.operations["DescribeKey"], {"KeyMetadata": wrong})
    with pytest.raises(ValueError, match="belongs"):
        serialize(MODEL.operations["GenerateRandom"], {"Plaintext": "text"})


def test_serialize__refuses_what_is_no_member_and_no_moment():
    describe = MODEL.operations["DescribeKey"]
    with pytest.raises(ValueError, match="Plaintext"):
        serialize(describe, {"KeyMetadata": {"KeyId": KEY, "Plaintext": b"secret"}})
    for moment in (datetime(2023, 1, 1), math.nan, math.inf):  # noqa: DTZ001 - a time without a zone
        with pytest.raises(ValueError, match=r"zone|moment"):
            serialize(describe, {"KeyMetadata": {"CreationDate": moment}})


@pytest.mark.parametrize(
    ("error", "document"),
    [
        (KmsError("NotFoundException", "gone"), {"__type": "NotFoundException", "message": "gone"}),
        (KmsError("AccessDeniedException", "no"), {"__type": "AccessDeniedException", "Message": "no"}),
        (KmsError("InvalidCiphertextException"), {"__type": "InvalidCiphertextException"}),
        (KmsError("KMSInternalException", reason="the disk"), {"__type": "KMSInternalException"}),
    ],
)
def test_serialize_error(error, document):
    body, headers = serialize_error(error)
    assert json.loads(body) == document
    assert dict(headers) == {"x-amzn-errortype": error.code, "content-type": CONTENT_TYPE}
