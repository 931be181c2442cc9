"""Events: CloudTrail's fields, and nothing secret however it is put in."""

import json
import math
from collections import OrderedDict
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest

from strongroom.audit.event import (
    MAX_EVENT_BYTES,
    Event,
    api_call,
    decode,
    encode,
    is_read_only,
    request_parameters,
    service_event,
    service_identity,
    user_identity,
)
from strongroom.aws.kms_model import load_kms_model
from strongroom.aws.model import Shape
from tests.audited import ACCOUNT, KEY_ARN, REGION, event

TIME_US = 1_767_323_045_678_901  # 2026-01-02T03:04:05.678901Z
CANARY = b"canary-plaintext"


def call(**changes) -> Event:
    given = {
        "name": "Decrypt",
        "region": REGION,
        "account_id": ACCOUNT,
        "time_us": TIME_US,
        "user_identity": user_identity(
            arn=f"arn:aws:iam::{ACCOUNT}:user/ops/alice", account_id=ACCOUNT, access_key_id="AKIAALICE"
        ),
        "source_ip": "192.0.2.1",
        "user_agent": "boto3",
        "request_id": "the-request",
        "request_parameters": {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
        "key_arns": [KEY_ARN],
        **changes,
    }
    return api_call(**given)


def test_a_call_has_the_fields_of_cloudtrail():
    made = call(additional={"keyMaterialId": "ab" * 32, "s3RequestId": "S3REQUEST"})
    assert len(made.pop("eventID")) == 36
    assert made == {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": f"arn:aws:iam::{ACCOUNT}:user/ops/alice",
            "arn": f"arn:aws:iam::{ACCOUNT}:user/ops/alice",
            "accountId": ACCOUNT,
            "accessKeyId": "AKIAALICE",
            "userName": "alice",
        },
        "eventTime": "2026-01-02T03:04:05Z",
        "eventTimeMicroseconds": TIME_US,
        "eventSource": "kms.amazonaws.com",
        "eventName": "Decrypt",
        "awsRegion": REGION,
        "sourceIPAddress": "192.0.2.1",
        "userAgent": "boto3",
        "requestParameters": {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
        "responseElements": None,
        "additionalEventData": {"keyMaterialId": "ab" * 32, "s3RequestId": "S3REQUEST"},
        "requestID": "the-request",
        "readOnly": True,
        "resources": [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": KEY_ARN}],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "eventCategory": "Management",
        "recipientAccountId": ACCOUNT,
    }


def test_a_refused_call_says_why():
    made = call(error_code="AccessDeniedException", error_message="User is not authorized", key_arns=[])
    assert (made["errorCode"], made["errorMessage"], made["resources"]) == (
        "AccessDenied",
        "User is not authorized",
        [],
    )
    assert "errorCode" not in call()


def test_what_the_service_does_by_itself_is_a_service_event():
    made = service_event(
        name="RotateKey",
        region=REGION,
        account_id=ACCOUNT,
        time_us=TIME_US,
        details={"keyId": "1234"},
        key_arns=[KEY_ARN],
    )
    assert (made["eventType"], made["serviceEventDetails"]) == ("AwsServiceEvent", {"keyId": "1234"})
    assert (made["requestParameters"], made["readOnly"]) == (None, False)
    assert "errorCode" not in made
    assert made["userIdentity"] == {"type": "AWSService", "accountId": ACCOUNT, "invokedBy": "kms.amazonaws.com"}


def test_what_an_administrator_was_refused_is_found_among_the_refusals():
    made = service_event(
        name="RemoveUnsealSlot",
        region=REGION,
        account_id=ACCOUNT,
        time_us=TIME_US,
        details={},
        error_code="OperationNotPermitted",
        error_message="the last slot stays",
    )
    assert (made["errorCode"], made["errorMessage"]) == ("OperationNotPermitted", "the last slot stays")


@pytest.mark.parametrize(
    ("arn", "expected"),
    [
        (f"arn:aws:iam::{ACCOUNT}:root", {"type": "Root", "principalId": ACCOUNT}),
        (f"arn:aws:iam::{ACCOUNT}:user/bob", {"type": "IAMUser", "userName": "bob"}),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/session", {"type": "AssumedRole"}),
        (ACCOUNT, {"type": "AWSAccount"}),
    ],
)
def test_identity_type_follows_from_the_arn(arn, expected):
    identity = user_identity(arn=arn, account_id=ACCOUNT, access_key_id="AKIA", invoked_by="s3.amazonaws.com")
    assert expected.items() <= identity.items()
    assert (identity["arn"], identity["accessKeyId"], identity["invokedBy"]) == (arn, "AKIA", "s3.amazonaws.com")


def test_a_services_identity_has_no_person():
    assert service_identity("s3.amazonaws.com", account_id=ACCOUNT) == {
        "type": "AWSService",
        "accountId": ACCOUNT,
        "invokedBy": "s3.amazonaws.com",
    }


@pytest.mark.parametrize(
    ("operation", "read_only"),
    [
        ("Decrypt", True),
        ("GenerateDataKey", True),
        ("ReEncrypt", True),
        ("ListKeys", True),
        ("Sign", True),
        ("GetParametersForImport", True),
        ("CreateKey", False),
        ("PutKeyPolicy", False),
        ("ScheduleKeyDeletion", False),
        ("ImportKeyMaterial", False),
        ("RotateKeyOnDemand", False),
        ("UntagResource", False),
        ("CancelKeyDeletion", False),
    ],
)
def test_read_only_is_what_changes_no_key(operation, read_only):
    assert is_read_only(operation) is read_only
    assert call(name=operation)["readOnly"] is read_only
    assert call(name=operation, read_only=not read_only)["readOnly"] is not read_only


# --- request parameters


def test_request_parameters_are_lower_camel_and_contexts_stay_letter_by_letter():
    shown = request_parameters(
        {
            "KeyId": "alias/a",
            "EncryptionContext": {"aws:s3:arn": "arn:aws:s3:::b/k", "Upper": "Über"},
            "Constraints": {"EncryptionContextSubset": {"Department": "IT"}},
            "Tags": [{"TagKey": "Project", "TagValue": "x"}],
            "NumberOfBytes": 32,
            "DryRun": False,
            "ValidTo": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        }
    )
    assert shown == {
        "keyId": "alias/a",
        "encryptionContext": {"aws:s3:arn": "arn:aws:s3:::b/k", "Upper": "Über"},
        "constraints": {"encryptionContextSubset": {"Department": "IT"}},
        "tags": [{"tagKey": "Project", "tagValue": "x"}],
        "numberOfBytes": 32,
        "dryRun": False,
        "validTo": "2026-01-02T03:04:05Z",
    }


@pytest.mark.parametrize("canary", [CANARY, bytearray(CANARY), memoryview(CANARY)])
def test_no_bytes_come_through_at_any_depth_or_by_any_name(canary):
    class Opaque:
        def __str__(self) -> str:
            return CANARY.decode()

        __repr__ = __str__

    hidden: dict[Any, object] = {
        "Plaintext": canary,
        "KeyId": canary,
        "Nested": {"EncryptionContext": {"a": canary, "b": "kept"}, "List": [canary, [canary], {"X": canary}, "kept"]},
        "Tuple": (canary, Opaque()),
        "Opaque": Opaque(),
        "Set": {CANARY},
        CANARY: "a name",
    }
    made = call(
        request_parameters=request_parameters(MappingProxyType(hidden)),
        response_elements=hidden,
        additional=hidden,
    )
    encoded = encode(made)
    assert CANARY not in encoded
    assert b"Y2FuYXJ5" not in encoded  # base64 of it
    assert CANARY.hex().encode() not in encoded
    assert encoded.count(b'"kept"') == 6
    encoded = encode(
        service_event(name="X", region=REGION, account_id=ACCOUNT, time_us=TIME_US, details=hidden, additional=hidden)
    )
    assert CANARY not in encoded


@pytest.mark.parametrize("name", ["GrantToken", "GrantTokens", "ImportToken", "KeyStorePassword"])
def test_secrets_that_are_text_are_dropped_by_name(name):
    secret = {name: ["canary"] if name == "GrantTokens" else "canary"}
    assert request_parameters({**secret, "Below": {**secret, "Kept": 1}}) == {"below": {"kept": 1}}


def test_no_text_that_the_model_calls_sensitive_comes_through():
    """Of operations that are not served as well: what is refused is recorded with what was asked."""

    def filled(shape: Shape) -> object:
        match shape.type:
            case "structure":
                return {name: filled(member.shape) for name, member in shape.members.items()}
            case "list":
                assert shape.item is not None
                return [filled(shape.item.shape)]
            case "map":
                return {"a": "b"}
            case "string":
                return "canary" if shape.sensitive else "x"
            case _:
                return 1

    inputs = [filled(operation.input) for operation in load_kms_model().operations.values() if operation.input]
    assert sum("canary" in str(given) for given in inputs) > 10
    for given in inputs:
        assert isinstance(given, dict)
        assert b"canary" not in encode(call(request_parameters=request_parameters(given)))


@pytest.mark.parametrize("context", ["EncryptionContext", "SourceEncryptionContext", "DestinationEncryptionContext"])
def test_a_pair_of_a_context_is_shown_whatever_the_client_calls_it(context):
    pairs = {
        "GrantToken": "a",
        "GrantTokens": "b",
        "ImportToken": "c",
        "KeyStorePassword": "d",
        "EncryptionContext": "e",
    }
    assert request_parameters({context: pairs}) == {f"{context[0].lower()}{context[1:]}": pairs}


def test_numbers_that_json_has_not_are_dropped():
    assert request_parameters({"A": math.nan, "B": math.inf, "C": 0.5, "D": None}) == {"c": 0.5, "d": None}


# --- encoding


def test_encoding_is_deterministic_sorted_ascii_and_one_line():
    made = {"b": [1, True, None], "a": {"z": "Ü \u2028", "y": 'quote " and\nline'}}
    assert encode(made) == b'{"a":{"y":"quote \\" and\\nline","z":"\\u00dc \\u2028"},"b":[1,true,null]}'
    assert encode(dict(reversed(made.items()))) == encode(made)


@pytest.mark.parametrize("text", ["\ud800", "\udc00\ud800", "\x00\x1b[31m\x7f\x9b", "\U0001f600", 'a"\\/'])
def test_every_text_that_a_client_can_send_has_a_form(text):
    encoded = encode(call(request_parameters={"encryptionContext": {text: text}}))
    assert encoded.isascii()
    assert b"\n" not in encoded
    assert json.loads(encoded)["requestParameters"]["encryptionContext"] == {text: text}


def test_large_numbers_have_a_form():
    assert encode({"a": 2**70, "b": -(2**64)}) == b'{"a":1180591620717411303424,"b":-18446744073709551616}'


@pytest.mark.parametrize("bad", [b"x", bytearray(b"x"), {b"x"}, (1,), OrderedDict(a=1), math.nan, datetime.now(UTC)])
def test_encoding_refuses_what_is_no_json_by_its_type(bad):
    for made in ({"a": bad}, {"a": [bad]}, {"a": {"b": [{"c": bad}]}}):
        with pytest.raises((TypeError, ValueError)):
            encode(made)


def test_words_of_enumerations_are_text():
    class Spec(StrEnum):
        AES = "AES_256"

    assert encode(call(request_parameters=request_parameters({"KeySpec": Spec.AES}))).count(b'"keySpec":"AES_256"') == 1


def test_an_event_that_is_too_large_goes_without_its_longest_members_and_says_so():
    made = event(
        request_parameters={"keyId": "a", "policy": "x" * MAX_EVENT_BYTES},
        user_agent="y" * 10_000,
        error_message="z" * 10**6,
    )
    encoded = json.loads(encode(made))
    omitted = {"omitted": True, "originalSize": MAX_EVENT_BYTES + 13, "reason": "policy too large"}
    assert encoded["requestParameters"] == {"keyId": "a", "policy": omitted}
    assert len(encoded["userAgent"]) == 1024
    assert made["requestParameters"] != encoded["requestParameters"]


def test_padding_does_not_hide_for_which_data_a_key_was_used():
    """A long list that means nothing (the model bounds no DryRunModifiers) beside the context of an object."""
    context = {"aws:s3:arn": "arn:aws:s3:::bucket/key", "note": "\1" * 8000}
    padding = ["IGNORE_CIPHERTEXT"] * 20_000
    made = event(request_parameters=request_parameters({"DryRunModifiers": padding, "EncryptionContext": context}))
    told = json.loads(encode(made))["requestParameters"]
    assert told["encryptionContext"] == context
    assert told["dryRunModifiers"]["omitted"] is True


def test_an_event_of_nothing_but_long_members_still_fits():
    parts = {f"member{number}": "\N{PILE OF POO}" * 10_000 for number in range(40)}
    made = event(
        request_parameters=parts,
        response_elements=parts,
        additional=parts,
        user_agent="\N{PILE OF POO}" * 2000,
        error_message="\N{PILE OF POO}" * 10_000,
    )
    assert len(encode(made)) <= MAX_EVENT_BYTES


def test_an_encoded_event_is_read_as_it_was():
    for made in (call(), call(user_agent="\ud800", request_parameters=None), event(name="ReEncrypt", key_arns=[])):
        assert decode(encode(made)) == made


@pytest.mark.parametrize(
    "forged",
    [
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a":1},{}',
        b"[]",
        b'{"userIdentity":[1]}',
        b'{"userIdentity":"alice"}',
        b'{"requestParameters":"x"}',
        b'{"resources":[1]}',
        b'{"resources":[null]}',
        b'{"resources":{"ARN":"x"}}',
        b'{"resources":["arn:aws:kms:::key/a"]}',
        b'{"resources":1}',
        b'{"eventTimeMicroseconds":"soon"}',
        b'{"eventTimeMicroseconds":null}',
        b'{"eventTimeMicroseconds":true}',
    ],
)
def test_an_event_that_this_log_did_not_write_is_a_value_error_and_nothing_worse(forged):
    with pytest.raises(ValueError):
        decode(forged)
