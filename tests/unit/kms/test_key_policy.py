import json

import pytest

from strongroom.aws.kms_errors import KmsError
from strongroom.identity.policy import INVALID_PRINCIPALS
from strongroom.kms.key_policy import LOCKED_OUT, MAX_BYTES, check_key_policy, check_lockout, read_key_policy
from tests.unit.kms.authorization import (
    ACCOUNT,
    ALICE,
    BOB,
    DELEGATION,
    FOREIGNER,
    ROOT,
    call,
    document,
    key,
    kms,
    statement,
)


def exists(arn):
    return arn in {ROOT, ALICE}


def check(text):
    return check_key_policy(text, principal_exists=exists)


def refusal(text):
    with pytest.raises(KmsError) as caught:
        check(text)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


@pytest.mark.parametrize(
    "statements",
    [
        [DELEGATION],
        [statement("*")],
        [statement(ACCOUNT), statement(ALICE, "Deny")],
        [statement({"Service": "logs.us-east-1.amazonaws.com"})],
        [statement(None, "Deny", NotPrincipal={"AWS": [ALICE, ROOT]})],
        [{"Effect": "Allow", "Principal": {"AWS": ALICE}, "Sid": "neither action nor resource ü"}],
    ],
)
def test_what_is_stored(statements):
    text = json.dumps(json.loads(document(*statements)), indent=2, ensure_ascii=False)
    policy = check(text)
    assert len(policy.statements) == len(statements)
    assert read_key_policy(text).statements == policy.statements


@pytest.mark.parametrize(
    "principal",
    [
        BOB,
        FOREIGNER,
        "999999999999",
        "AIDAJQABLZS4A3QDU576Q",
        {"AWS": [ALICE, BOB]},
        {"AWS": ["*", BOB]},
        {"AWS": f"arn:aws:iam::{ACCOUNT}:user/*"},
        {"AWS": f"arn:aws:iam::{ACCOUNT}:role/none"},
        {"Federated": "cognito-identity.amazonaws.com"},
        {"CanonicalUser": "79a5"},
        {"Service": "nobody"},
        "alice",
    ],
)
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_principals_that_do_not_exist_are_refused(principal, effect):
    expected = ("MalformedPolicyDocumentException", INVALID_PRINCIPALS)
    assert refusal(document(DELEGATION, statement(principal, effect))) == expected
    if effect == "Deny":
        whole = statement(None, "Deny")
        element = {"AWS": principal} if isinstance(principal, str) else principal
        assert refusal(document(DELEGATION, whole | {"NotPrincipal": element})) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a policy",
        "{}",
        "[" * 30_000,
        document(statement()),
        document(DELEGATION | {"Effect": "Permit"}),
        document(DELEGATION).replace('"Allow"', '"Allow", "Effect": "Deny"'),
        document(DELEGATION | {"Condition": {"ForAllValues:StringEquals": {"kms:EncryptionContext:a": "b"}}}),
        document(DELEGATION | {"Sid": "中"}).replace("\\u4e2d", "中"),
        document(DELEGATION).replace(" ", "\x0b"),
        document(DELEGATION) + "\x00",
        document(DELEGATION) + "\ud800",
        document(DELEGATION) + "\x1f",
    ],
)
def test_malformed_documents_are_refused(text):
    code, message = refusal(text)
    assert code == "MalformedPolicyDocumentException"
    assert message


def test_size():
    text = document(DELEGATION)
    assert check(text + " " * (MAX_BYTES - len(text)))
    assert refusal(text + " " * (MAX_BYTES - len(text) + 1))[0] == "LimitExceededException"
    # Bytes, not characters
    sid = document(DELEGATION | {"Sid": "X"})
    wide = sid.replace("X", "ü" * (MAX_BYTES // 2))
    assert refusal(wide)[0] == "LimitExceededException"
    assert refusal("\ud800" * MAX_BYTES)[0] == "LimitExceededException"


PUT = "kms:PutKeyPolicy"


@pytest.mark.parametrize(
    ("arn", "statements", "locked_out"),
    [
        (ALICE, [DELEGATION], False),
        (ROOT, [DELEGATION], False),
        (ALICE, [statement(ALICE, action=PUT)], False),
        (ALICE, [statement("*", action="kms:Put*")], False),
        (ALICE, [statement(BOB)], True),
        (ROOT, [statement(ALICE)], True),
        (ALICE, [statement(ALICE, action="kms:GetKeyPolicy")], True),
        (ALICE, [statement(ROOT, action="kms:Decrypt")], True),
        (ALICE, [DELEGATION, statement(ALICE, "Deny", PUT)], True),
        (ALICE, [DELEGATION, statement(BOB, "Deny", PUT)], False),
        (ALICE, [statement(ALICE, "Deny", PUT), DELEGATION, statement(ALICE)], True),
        (ALICE, [DELEGATION, statement(None, "Deny", NotPrincipal={"AWS": [ROOT]})], True),
        (ALICE, [statement(ALICE, Resource="arn:aws:kms:us-east-1:123456789012:key/other")], True),
        (ALICE, [{name: value for name, value in DELEGATION.items() if name != "Resource"}], True),
        (ALICE, [DELEGATION | {"Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}], False),
        (ALICE, [DELEGATION | {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}], True),
        (ALICE, [DELEGATION | {"Condition": {"StringEquals": {"aws:ResourceTag/team": "red"}}}], False),
        (ALICE, [DELEGATION | {"Condition": {"StringEquals": {"aws:RequestTag/team": "red"}}}], True),
        (ALICE, [DELEGATION | {"Condition": {"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "true"}}}], True),
        (ALICE, [DELEGATION | {"Condition": {"StringEquals": {"kms:PolicyName": "default"}}}], False),
        (ALICE, [DELEGATION | {"Condition": {"StringEquals": {"aws:userid": f"id of {ALICE}"}}}], False),
        (ALICE, [DELEGATION | {"Condition": {"StringEquals": {"aws:userid": f"id of {BOB}"}}}], True),
    ],
)
@pytest.mark.parametrize("operation", ["CreateKey", "PutKeyPolicy"])
def test_lockout(arn, statements, locked_out, operation):
    asked = call(operation, arn, Tags=[{"TagKey": "team", "TagValue": "red"}])
    subject = key(DELEGATION, tags=(("team", "red"),))
    policy = read_key_policy(document(*statements))
    if not locked_out:
        check_lockout(policy, asked, kms(), subject)
        return
    with pytest.raises(KmsError) as caught:
        check_lockout(policy, asked, kms(), subject)
    assert (caught.value.code, caught.value.message) == ("MalformedPolicyDocumentException", LOCKED_OUT)
