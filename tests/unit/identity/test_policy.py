import json

import pytest

from strongroom.identity.policy import Request, evaluate_identity, evaluate_resource, parse_policy
from strongroom.identity.root import Principal

ACCOUNT = "123456789012"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
BOB = f"arn:aws:iam::{ACCOUNT}:user/team/bob"
FOREIGNER = "arn:aws:iam::999999999999:user/alice"
OBJECT = "arn:aws:s3:::bucket/key"


def ask(arn=ALICE, action="s3:PutObject", resource=OBJECT, service=None, **context):
    return Request(
        principal=Principal(account_id=arn.split(":")[4], arn=arn),
        action=action,
        resource=resource,
        context={name.replace("__", ":"): tuple(values) for name, values in context.items()},
        service=service,
    )


def identity(*statements, version="2012-10-17"):
    whole = [{"Effect": "Allow", "Action": "*", "Resource": "*", **statement} for statement in statements]
    return parse_policy(json.dumps({"Version": version, "Statement": whole}), kind="identity")


def on_resource(*statements):
    whole = [{"Effect": "Allow", "Resource": "*", "Action": "*", **statement} for statement in statements]
    kept = [{name: value for name, value in statement.items() if value is not None} for statement in whole]
    return parse_policy(json.dumps({"Version": "2012-10-17", "Statement": kept}), kind="resource")


def allowed(policy, request):
    return evaluate_identity([policy], request).allowed


def names(decision):
    """(denied by, allowed by, delegated by), by the statements' names."""
    facts = (decision.denied_by, decision.allowed_by, decision.delegated_by)
    return tuple(None if fact is None else fact.name for fact in facts)


def test_nothing_is_allowed_by_nothing():
    assert not evaluate_identity([], ask()).allowed


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ({"Action": "s3:PutObject"}, True),
        ({"Action": "S3:putobject"}, True),
        ({"Action": "s3:Put*"}, True),
        ({"Action": "s3:????bject"}, True),
        ({"Action": "s3:???bject"}, False),
        ({"Action": "s3:Put?bject"}, True),
        ({"Action": "s3:Get*"}, False),
        ({"Action": ["s3:Get*", "s3:*"]}, True),
        ({"Action": "kms:*"}, False),
        ({"NotAction": "s3:Get*", "Action": None}, True),
        ({"NotAction": ["s3:Get*", "s3:PUT*"], "Action": None}, False),
        ({"Resource": OBJECT}, True),
        ({"Resource": "arn:aws:s3:::bucket"}, False),
        ({"Resource": "arn:aws:s3:::Bucket/key"}, False),
        ({"Resource": "arn:aws:s3:::bucket/*"}, True),
        ({"Resource": "arn:aws:s3:::buck*"}, True),
        ({"Resource": "arn:aws:s3:*"}, True),
        ({"NotResource": "arn:aws:s3:::bucket/*", "Resource": None}, False),
        ({"NotResource": "arn:aws:s3:::other/*", "Resource": None}, True),
        ({"Effect": "Deny"}, False),
    ],
)
def test_action_and_resource(statement, expected):
    whole = {"Effect": "Allow", "Action": "*", "Resource": "*", **statement}
    kept = {name: value for name, value in whole.items() if value is not None}
    assert allowed(parse_policy(json.dumps({"Statement": kept}), kind="identity"), ask()) is expected


def test_a_deny_wins_wherever_it_stands():
    allow, deny = identity({"Sid": "a"}), identity({"Sid": "d", "Effect": "Deny", "Action": "s3:Put*"})
    for policies in ([allow, deny], [deny, allow], [identity({"Sid": "a"}, {"Sid": "d", "Effect": "Deny"})]):
        decision = evaluate_identity(policies, ask())
        assert not decision.allowed
        assert [fact and fact.sid for fact in (decision.denied_by, decision.allowed_by)] == ["d", "a"]
    assert evaluate_identity([allow, deny], ask(action="s3:GetObject")).allowed


def test_all_operators_and_keys_of_a_condition_have_to_hold():
    policy = identity({"Condition": {"StringEquals": {"aws:a": "1", "aws:b": "2"}, "Bool": {"aws:c": "true"}}})
    assert allowed(policy, ask(aws__a=["1"], aws__b=["2"], aws__c=["true"]))
    assert not allowed(policy, ask(aws__a=["1"], aws__b=["2"], aws__c=["false"]))
    assert not allowed(policy, ask(aws__a=["1"], aws__b=["1"], aws__c=["true"]))
    assert not allowed(policy, ask(aws__a=["1"], aws__c=["true"]))


def test_b7_a_variable_in_a_resource_is_literal():
    policy = identity({"Resource": "arn:aws:s3:::bucket/home/${aws:username}/*"})
    for user in ("alice", "*", "?", "a*", "${aws:username}"):
        mine = ask(resource=f"arn:aws:s3:::bucket/home/{user}/x", aws__username=[user])
        other = ask(resource="arn:aws:s3:::bucket/home/bobby/x", aws__username=[user])
        assert allowed(policy, mine)
        assert not allowed(policy, other)


def test_b7_a_variable_without_value_allows_nothing():
    named = identity({"Resource": "arn:aws:s3:::bucket/${aws:username}"})
    assert not allowed(named, ask(resource="arn:aws:s3:::bucket/"))
    assert not allowed(named, ask(resource="arn:aws:s3:::bucket/${aws:username}"))
    text = {"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::bucket/${aws:username}"}
    excluded = parse_policy(json.dumps({"Version": "2012-10-17", "Statement": text}), kind="identity")
    assert not allowed(excluded, ask(resource="arn:aws:s3:::bucket/x"))
    deny = parse_policy(json.dumps({"Version": "2012-10-17", "Statement": text | {"Effect": "Deny"}}), kind="identity")
    assert evaluate_identity([deny], ask(resource="arn:aws:s3:::bucket/x")).denied_by is not None


def test_a_policy_of_the_old_version_has_no_variables():
    policy = identity({"Resource": "arn:aws:s3:::bucket/${aws:username}"}, version="2008-10-17")
    assert allowed(policy, ask(resource="arn:aws:s3:::bucket/${aws:username}", aws__username=["alice"]))
    assert not allowed(policy, ask(resource="arn:aws:s3:::bucket/alice", aws__username=["alice"]))


@pytest.mark.parametrize(
    ("principal", "arn", "expected"),
    [
        ("*", ALICE, ("d", "a", None)),
        ({"AWS": "*"}, FOREIGNER, ("d", "a", None)),
        ({"AWS": ALICE}, ALICE, ("d", "a", None)),
        ({"AWS": ALICE}, BOB, (None, None, None)),
        ({"AWS": ALICE}, FOREIGNER, (None, None, None)),
        ({"AWS": ALICE}, ROOT, (None, None, None)),
        ({"AWS": ALICE.replace("alice", "Alice")}, ALICE, (None, None, None)),
        ({"AWS": [ALICE, BOB]}, BOB, ("d", "a", None)),
        ({"AWS": ACCOUNT}, ALICE, ("d", None, "a")),
        ({"AWS": ROOT}, ALICE, ("d", None, "a")),
        ({"AWS": ROOT}, ROOT, ("d", "a", "a")),
        ({"AWS": ROOT}, FOREIGNER, (None, None, None)),
        ({"AWS": ROOT.replace("aws", "aws-cn")}, ALICE, (None, None, None)),
        ({"AWS": ALICE.replace("aws", "aws-cn")}, ALICE, (None, None, None)),
        ({"AWS": [ROOT, ALICE]}, ALICE, ("d", "a", None)),
        ({"AWS": "AIDAJQABLZS4A3QDU576Q"}, ALICE, (None, None, None)),
        ({"Service": "s3.amazonaws.com"}, ALICE, (None, None, None)),
        ({"Federated": ALICE}, ALICE, (None, None, None)),
        ({"CanonicalUser": ALICE}, ALICE, (None, None, None)),
    ],
)
def test_principals(principal, arn, expected):
    policy = on_resource(
        {"Sid": "a", "Principal": principal}, {"Sid": "d", "Effect": "Deny", "Principal": principal, "Action": "s3:*"}
    )
    assert names(evaluate_resource(policy, ask(arn))) == expected
    assert names(evaluate_resource(policy, ask(arn, action="kms:Decrypt"))) == (None, *expected[1:])


@pytest.mark.parametrize(
    ("exempt", "arn", "denied"),
    [
        ([ALICE], ALICE, False),
        ([ALICE], BOB, True),
        ([ALICE], ROOT, True),
        ([ALICE, ROOT], ALICE, False),
        ([ALICE, ROOT], BOB, True),
        ([ALICE, ROOT], ROOT, False),
        ([ALICE, ACCOUNT], BOB, True),
        ([ROOT], FOREIGNER, True),
        (["*"], BOB, False),
    ],
)
def test_a_deny_for_all_but_some(exempt, arn, denied):
    policy = on_resource({"Effect": "Deny", "NotPrincipal": {"AWS": exempt}})
    assert (evaluate_resource(policy, ask(arn)).denied_by is not None) is denied


def test_a_service_is_named_as_service_and_as_nothing_else():
    service = ask(ROOT, service="s3.amazonaws.com")
    for principal, expected in (
        ({"Service": "s3.amazonaws.com"}, (None, "a", None)),
        ({"Service": "ec2.amazonaws.com"}, (None, None, None)),
        ({"AWS": ROOT}, (None, None, None)),
        ("*", (None, "a", None)),
    ):
        assert names(evaluate_resource(on_resource({"Sid": "a", "Principal": principal}), service)) == expected


@pytest.mark.parametrize("lacking", ["Action", "Resource"])
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_a_statement_that_lacks_an_element_is_ineffective(lacking, effect):
    policy = on_resource({"Effect": effect, "Principal": "*", lacking: None})
    assert names(evaluate_resource(policy, ask())) == (None, None, None)


def test_a_policy_of_the_other_kind_says_nothing():
    """Were one mistaken for the other, nobody would be allowed by a statement that names somebody else."""
    assert not evaluate_identity([on_resource({"Principal": {"AWS": BOB}})], ask()).allowed
    assert names(evaluate_resource(identity({}), ask())) == (None, None, None)


SSE = "s3:x-amz-server-side-encryption"
KMSID = "s3:x-amz-server-side-encryption-aws-kms-key-id"
C_ALG = "s3:x-amz-server-side-encryption-customer-algorithm"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_KEY = KEY.replace("1234abcd", "4321dcba")
HEADERS = {
    "no header": {},
    "AES256": {SSE: ("AES256",)},
    "aws:kms": {SSE: ("aws:kms",)},
    "aws:kms KEY": {SSE: ("aws:kms",), KMSID: (KEY,)},
    "aws:kms other": {SSE: ("aws:kms",), KMSID: (OTHER_KEY,)},
    "SSE-C": {C_ALG: ("AES256",)},
}
# (name, conditions of one Deny statement each, what gets through)
POLICIES = [
    ("StringNotEquals AES256", [{"StringNotEquals": {SSE: "AES256"}}], {"AES256"}),
    ("StringNotEquals aws:kms", [{"StringNotEquals": {SSE: "aws:kms"}}], {"aws:kms", "aws:kms KEY", "aws:kms other"}),
    ("Null SSE true", [{"Null": {SSE: "true"}}], {"AES256", "aws:kms", "aws:kms KEY", "aws:kms other"}),
    ("the old pair", [{"StringNotEquals": {SSE: "AES256"}}, {"Null": {SSE: "true"}}], {"AES256"}),
    (
        "StringNotEquals and Null true in one statement",
        [{"StringNotEquals": {SSE: "AES256"}, "Null": {SSE: "true"}}],
        {"AES256", "aws:kms", "aws:kms KEY", "aws:kms other"},
    ),
    ("StringNotEqualsIfExists", [{"StringNotEqualsIfExists": {SSE: "AES256"}}], {"AES256"}),
    (
        "StringNotEquals and Null false in one statement",
        [{"StringNotEquals": {SSE: "AES256"}, "Null": {SSE: "false"}}],
        {"no header", "AES256", "SSE-C"},
    ),
    ("Null C-ALG false", [{"Null": {C_ALG: "false"}}], set(HEADERS) - {"SSE-C"}),
    ("Null C-ALG true", [{"Null": {C_ALG: "true"}}], {"SSE-C"}),
    ("ArnNotEqualsIfExists KMSID", [{"ArnNotEqualsIfExists": {KMSID: KEY}}], {"aws:kms KEY"}),
    ("ArnNotEquals KMSID", [{"ArnNotEquals": {KMSID: KEY}}], {"aws:kms KEY"}),
    ("StringNotEquals KMSID", [{"StringNotEquals": {KMSID: KEY}}], {"aws:kms KEY"}),
]


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize(("conditions", "through"), [row[1:] for row in POLICIES], ids=[row[0] for row in POLICIES])
def test_known_policies_on_encryption(conditions, through, headers):
    policy = on_resource(
        {"Principal": "*"},
        *({"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Condition": each} for each in conditions),
    )
    request = Request(
        principal=Principal(account_id=ACCOUNT, arn=ALICE),
        action="s3:PutObject",
        resource=OBJECT,
        context=HEADERS[headers],
    )
    assert (evaluate_resource(policy, request).denied_by is None) is (headers in through)


def test_values_are_compared_as_they_were_sent():
    policy = on_resource({"Effect": "Deny", "Principal": "*", "Condition": {"StringNotEquals": {SSE: "AES256"}}})
    request = Request(
        principal=Principal(account_id=ACCOUNT, arn=ALICE),
        action="s3:PutObject",
        resource=OBJECT,
        context={SSE: ("aes256",)},
    )
    assert evaluate_resource(policy, request).denied_by is not None
