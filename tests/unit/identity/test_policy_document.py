import json

import pytest

from strongroom.identity.policy_document import INVALID_PRINCIPALS, MalformedPolicy, Principals, parse_policy

ACCOUNT = "123456789012"
OVERLY_PERMISSIVE = (
    "OverlyPermissiveCondition{}: Using the ForAllValues set operator with a single-valued condition key matches "
    "requests without the specified {} or with an unspecified {}. To fix, remove ForAllValues."
)
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"


def document(*statements, **elements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **elements})


def statement(**elements):
    """Of an identity policy; None takes an element away."""
    whole = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*", **elements}
    return {name: value for name, value in whole.items() if value is not None}


def on_resource(**elements):
    return statement(**{"Principal": "*", **elements})


def principals(value):
    (read,) = parse_policy(document(on_resource(Principal=value)), kind="resource").statements
    return read.principals


def test_a_whole_policy():
    policy = parse_policy(
        json.dumps(
            {
                "Version": "2012-10-17",
                "Id": "key-default-1",
                "Statement": [
                    {
                        "Sid": "Enable IAM User Permissions",
                        "Effect": "Allow",
                        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                        "Action": "kms:*",
                        "Resource": "*",
                    },
                    {
                        "Effect": "Deny",
                        "NotPrincipal": {"AWS": [ALICE, ACCOUNT]},
                        "NotAction": ["kms:Decrypt", "kms:Describe*"],
                        "Resource": ["*"],
                        "Condition": {
                            "StringEquals": {"kms:EncryptionContext:App": ["a", "b"], "kms:ViaService": "s3"},
                            "Bool": {"aws:SecureTransport": True},
                            "NumericLessThan": {"kms:RotationPeriodInDays": 180},
                        },
                    },
                ],
            }
        ),
        kind="resource",
    )
    first, second = policy.statements
    assert (policy.version, policy.id) == ("2012-10-17", "key-default-1")
    assert (first.name, first.effect, first.principals) == (
        "Enable IAM User Permissions",
        "Allow",
        Principals(accounts=frozenset({ACCOUNT})),
    )
    assert (second.name, second.effect, second.excluding_principals) == ("#2", "Deny", True)
    assert second.principals == Principals(accounts=frozenset({ACCOUNT}), arns=frozenset({ALICE}))
    assert second.actions is not None
    assert second.actions.excluding
    assert [(condition.operator, condition.key) for condition in second.conditions] == [
        ("StringEquals", "kms:encryptioncontext:app"),
        ("StringEquals", "kms:viaservice"),
        ("Bool", "aws:securetransport"),
        ("NumericLessThan", "kms:rotationperiodindays"),
    ]


def test_a_single_statement_needs_no_list():
    policy = parse_policy(json.dumps({"Statement": statement()}), kind="identity")
    assert (policy.version, len(policy.statements)) == ("2008-10-17", 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("*", Principals(everyone=True)),
        ({"AWS": "*"}, Principals(everyone=True)),
        ({"AWS": ACCOUNT}, Principals(accounts=frozenset({ACCOUNT}))),
        ({"AWS": [f"arn:aws:iam::{ACCOUNT}:root"]}, Principals(accounts=frozenset({ACCOUNT}))),
        ({"AWS": ALICE}, Principals(arns=frozenset({ALICE}))),
        (
            {"AWS": f"arn:aws:iam::{ACCOUNT}:user/a/b/c@d.e"},
            Principals(arns=frozenset({f"arn:aws:iam::{ACCOUNT}:user/a/b/c@d.e"})),
        ),
        (
            {"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/R/S"},
            Principals(arns=frozenset({f"arn:aws:sts::{ACCOUNT}:assumed-role/R/S"})),
        ),
        ({"AWS": "AIDAJQABLZS4A3QDU576Q"}, Principals(arns=frozenset({"AIDAJQABLZS4A3QDU576Q"}))),
        ({"Service": "s3.amazonaws.com"}, Principals(services=frozenset({"s3.amazonaws.com"}))),
        (
            {"Service": ["logs.us-east-1.amazonaws.com"], "AWS": ACCOUNT},
            Principals(services=frozenset({"logs.us-east-1.amazonaws.com"}), accounts=frozenset({ACCOUNT})),
        ),
        (
            {"Federated": "cognito-identity.amazonaws.com"},
            Principals(federated=frozenset({"cognito-identity.amazonaws.com"})),
        ),
        ({"CanonicalUser": "79a5"}, Principals(canonical_users=frozenset({"79a5"}))),
    ],
)
def test_principals(value, expected):
    assert principals(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "alice",
        ALICE,
        {},
        [],
        ["*"],
        None,
        {"AWS": []},
        {"AWS": "alice"},
        {"AWS": "12345678901"},
        {"AWS": "1234567890123"},
        {"AWS": f"arn:aws:iam::{ACCOUNT}:user/*"},
        {"AWS": f"arn:aws:iam::{ACCOUNT}:user/al?ce"},
        {"AWS": "arn:aws:iam::*:root"},
        {"AWS": f"arn:aws:iam::{ACCOUNT}:*"},
        {"AWS": f"arn:aws:iam::{ACCOUNT}:group/g"},
        {"AWS": f"arn:aws:iam::{ACCOUNT}:user/"},
        {"AWS": f"arn:aws:iam::{ACCOUNT}:user/a b"},
        {"AWS": "arn:aws:iam:::user/alice"},
        {"AWS": "arn:aws:s3:::b"},
        {"AWS": "${aws:PrincipalArn}"},
        {"AWS": 123456789012},
        {"AWS": {"x": "y"}},
        {"Service": "*"},
        {"Service": "s3.example.com"},
        {"Service": "*.amazonaws.com"},
        {"Group": "x"},
        {"aws": "*"},
    ],
)
def test_principals_that_are_none_are_refused(value):
    with pytest.raises(MalformedPolicy):
        principals(value)


def test_a_principal_with_a_wildcard_is_an_invalid_principal():
    with pytest.raises(MalformedPolicy) as caught:
        principals({"AWS": f"arn:aws:iam::{ACCOUNT}:user/*"})
    assert caught.value.message == INVALID_PRINCIPALS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"a"',
        "1",
        "{",
        "{}",
        "NaN",
        '{"Statement": NaN}',
        "\ufeff{}",
        '{"Version": "2012-10-17"}',
        document(),
        document(statement(), Version="2012-10-18"),
        document(statement(), Version=20121017),
        document(statement(), Version=["2012-10-17"]),
        document(statement(), Version=None),
        document(statement(), Id="x"),
        document(statement(), version="2012-10-17"),
        document(statement(), Extra=1),
        json.dumps({"Statement": None}),
        document("x"),
        document([]),
        document({}),
        document(statement(Effect=None)),
        document(statement(Effect="allow")),
        document(statement(Effect=["Allow"])),
        document(statement(Sid=1)),
        document(statement(Sid="with space")),
        document(statement(Sid="a"), statement(Sid="a")),
        document(statement(Action=None)),
        document(statement(Action=[])),
        document(statement(Action="")),
        document(statement(Action="Decrypt")),
        document(statement(Action="kms:")),
        document(statement(Action=":Decrypt")),
        document(statement(Action="kms:De crypt")),
        document(statement(Action="kms:a:b")),
        document(statement(Action="k*:Decrypt")),
        document(statement(Action="kms:${aws:username}")),
        document(statement(Action=["kms:Decrypt", 1])),
        document(statement(Action={"kms": "Decrypt"})),
        document(statement(NotAction="kms:Encrypt")),
        document(statement(Resource=None)),
        document(statement(Resource=[])),
        document(statement(Resource="")),
        document(statement(Resource="bucket/*")),
        document(statement(Resource="arn:aws:s3")),
        document(statement(Resource="**")),
        document(statement(Resource="${aws:username}")),
        document(statement(Resource="arn:aws:s3:${aws:username}::b")),
        document(statement(Resource="arn:aws:s3:::b/${aws:username")),
        document(statement(NotResource="*")),
        document(statement(Principal="*")),
        document(statement(NotPrincipal="*")),
        document(statement(Condition=None, condition={})),
        document(statement(Condition=[])),
        document(statement(Condition={"StringEquals": {}})),
        document(statement(Condition={"StringEquals": "a"})),
        document(statement(Condition={"StringEquals": {"aws:x": None}})),
        document(statement(Condition={"StringEquals": {"aws:x": []}})),
        document(statement(Condition={"StringEquals": {"aws:x": [["a"]]}})),
        document(statement(Condition={"StringEquals": {"aws:x": {"a": "b"}}})),
        document(statement(Condition={"StringEquals": {"x": "a"}})),
        document(statement(Condition={"NoSuch": {"aws:x": "a"}})),
        document(statement(Condition={"Bool": {"aws:x": "perhaps"}})),
        document(statement(Condition={"Bool": {"aws:x": 1}})),
        # Duplicate elements: what one reader takes another overlooks.
        '{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": []}',
        '{"Statement": {"Effect": "Deny", "Effect": "Allow", "Action": "*", "Resource": "*"}}',
        document(statement(Condition={"Bool": {"aws:x": "true"}, "Null": {"aws:x": "true"}})).replace("Bool", "Null"),
        # Not text at all
        '{"Statement": {"Sid": "\\ud800", "Effect": "Allow", "Action": "*", "Resource": "*"}}',
        document(statement(Condition={"StringEquals": {"aws:x": "a"}})).replace('"a"', '"\\udfff"'),
        "[" * 100_000,
        '{"Statement":' * 5_000,
        '{"a":' * 20_000,
        '{"Statement": ' + "9" * 10_000 + "}",
        document(statement(Action=["kms:Decrypt"] * 50_000)),
    ],
)
def test_what_is_no_identity_policy_is_refused(text):
    with pytest.raises(MalformedPolicy) as caught:
        parse_policy(text, kind="identity")
    assert caught.value.message


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"Principal": None}, "Missing required field Principal"),
        ({"NotPrincipal": "*"}, "Policy statement must not contain both Principal and NotPrincipal."),
        (
            {"Principal": None, "NotPrincipal": {"AWS": ALICE}},
            "Policy statement must not contain NotPrincipal with an Effect of Allow.",
        ),
        (
            {"Condition": {"ForAllValues:StringLike": {"kms:EncryptionContext:App": "a"}}},
            OVERLY_PERMISSIVE.format(":EncryptionContext", "encryption context", "encryption context"),
        ),
        (
            {"Condition": {"ForAllValues:StringEqualsIfExists": {"AWS:requesttag/x": "a"}}},
            OVERLY_PERMISSIVE.format("", "tag", "tag"),
        ),
    ],
)
def test_what_is_no_resource_policy_is_refused(elements, message):
    with pytest.raises(MalformedPolicy) as caught:
        parse_policy(document(on_resource(**elements)), kind="resource")
    assert caught.value.message == message


@pytest.mark.parametrize(
    "elements",
    [
        {"Sid": "with spaces, and more: ü"},
        {"Action": None},
        {"Resource": None},
        {"Action": None, "Resource": None},
        {"Condition": {}},
        {"Condition": {"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["a"]}}},
        {"Condition": {"ForAnyValue:StringEquals": {"kms:EncryptionContext:App": ["a"]}}},
        {"Action": "*", "Resource": "arn:aws:kms:*"},
        {"Resource": "arn:aws:kms:us-east-1:123456789012:key/*"},
    ],
)
def test_what_key_policies_may_have_and_lack(elements):
    assert parse_policy(document(on_resource(**elements), Id="any text"), kind="resource").statements


def test_elements_of_an_old_version_have_no_variables():
    old = json.dumps({"Statement": statement(Resource="arn:aws:s3:::b/${aws:username")})
    assert parse_policy(old, kind="identity").statements
