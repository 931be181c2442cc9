"""Signed policies of browser uploads. Name B11: the peers' bugs of that class."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from strongroom.aws.errors import S3Error
from strongroom.aws.post_policy import ContentLengthRange, parse_post_authorization, verify_policy
from tests.aws_chunks import ACCESS_KEY_ID, SCOPE, SECRET, TIMESTAMP, sign

NOW = datetime(2013, 5, 24, tzinfo=UTC)
CREDENTIAL = f"{ACCESS_KEY_ID}/{SCOPE}"
SIGNED = {"x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": CREDENTIAL, "x-amz-date": TIMESTAMP}
BASE = [{"bucket": "bucket"}, ["starts-with", "$key", "user/"], *({name: value} for name, value in SIGNED.items())]


def policy_of(conditions, *, expiration="2013-05-24T01:00:00Z", **members):
    document = {"expiration": expiration, "conditions": conditions, **members}
    return base64.b64encode(json.dumps(document).encode()).decode()


def fields_of(policy, *, secret=SECRET, **extra):
    fields = {"key": "user/a", **SIGNED, **{name.replace("_", "-"): value for name, value in extra.items()}}
    return {**fields, "policy": policy, "x-amz-signature": sign(policy, secret=secret)}


def verify(fields, *, bucket="bucket", now=NOW, region="us-east-1"):
    claim = parse_post_authorization(fields)
    assert claim is not None
    return verify_policy(claim, SECRET, fields, bucket=bucket, now=now, region=region)


def refusal(fields, **options):
    with pytest.raises(S3Error) as caught:
        verify(fields, **options)
    return caught.value


def with_conditions(*conditions, **extra):
    return fields_of(policy_of([*BASE, *conditions]), **extra)


def test_a_form_that_its_policy_allows():
    result = verify(with_conditions({"acl": "private"}, acl="private"))
    assert result.access_key_id == ACCESS_KEY_ID
    assert result.content_length_range is None


def test_secrets_have_no_repr():
    fields = with_conditions()
    shown = repr(parse_post_authorization(fields))
    assert fields["policy"] not in shown
    assert fields["x-amz-signature"] not in shown


def test_anonymous_forms():
    assert parse_post_authorization({"key": "a"}) is None
    assert parse_post_authorization({"key": "a", "policy": "e30="}) is None


@pytest.mark.parametrize(
    "name", ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature", "policy", "key"]
)
def test_missing_fields_are_named(name):
    fields = with_conditions()
    del fields[name.lower()]
    error = refusal(fields)
    assert (error.code, error.detail) == ("InvalidArgument", {"ArgumentName": name, "ArgumentValue": ""})
    assert error.message == (
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
    )


def test_a9_version_two_is_refused():
    error = refusal({"key": "a", "awsaccesskeyid": "AKID", "policy": "e30=", "signature": "x"})
    assert error.code == "InvalidRequest"


def test_the_policy_as_sent_is_what_is_signed():
    for fields in (with_conditions(secret="another"), {**with_conditions(), "x-amz-signature": ""}):
        error = refusal(fields)
        assert (error.code, error.status) == ("SignatureDoesNotMatch", 403)
        assert error.detail == {"AWSAccessKeyId": ACCESS_KEY_ID}
    fields = with_conditions()
    for policy in (fields["policy"][:-2], fields["policy"] + "\n", policy_of([])):
        assert refusal({**fields, "policy": policy}).code == "SignatureDoesNotMatch"


# --- Time and place


def test_expiration():
    fields = fields_of(policy_of(BASE))
    verify(fields, now=NOW + timedelta(hours=1))
    error = refusal(fields, now=NOW + timedelta(hours=1, seconds=1))
    assert (error.code, error.message) == ("AccessDenied", "Invalid according to Policy: Policy expired.")


def test_a_signing_key_lives_seven_days():
    fields = fields_of(policy_of(BASE, expiration="2099-01-01T00:00:00.000Z"))
    verify(fields, now=NOW + timedelta(days=7))
    assert refusal(fields, now=NOW + timedelta(days=7, seconds=1)).code == "AccessDenied"
    assert refusal(fields, now=NOW - timedelta(minutes=16)).code == "AccessDenied"


def test_another_region_service_or_day():
    error = refusal(with_conditions(), region="eu-west-1")
    assert (error.code, error.message) == ("InvalidArgument", "the region 'us-east-1' is wrong; expecting 'eu-west-1'")
    assert error.detail == {"ArgumentName": "X-Amz-Credential", "Region": "eu-west-1"}
    for changed in ({"x-amz-credential": CREDENTIAL.replace("/s3/", "/iam/")}, {"x-amz-date": "20130525T000000Z"}):
        assert refusal({**with_conditions(), **changed}).code == "InvalidArgument"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-algorithm", "AWS4-HMAC-SHA1"),
        ("x-amz-credential", "AKID"),
        ("x-amz-credential", f"/{SCOPE}"),
        ("x-amz-date", "2013-05-24"),
    ],
)
def test_malformed_signature_fields(name, value):
    error = refusal({**with_conditions(), name: value})
    assert (error.code, error.status) == ("InvalidArgument", 400)
    assert error.detail["ArgumentName"].lower() == name


# --- B11


def test_b11_the_bucket_is_the_urls():
    for field in ({}, {"bucket": "bucket"}, {"bucket": "other"}):
        verify(with_conditions(**field))
        error = refusal(with_conditions(**field), bucket="other")
        assert error.message == 'Invalid according to Policy: Policy Condition failed: ["eq", "$bucket", "bucket"]'


def test_b11_a_policy_without_a_bucket_opens_none():
    error = refusal(fields_of(policy_of(BASE[1:])))
    assert (error.code, error.message) == ("AccessDenied", "Invalid according to Policy: Extra input fields: bucket")


@pytest.mark.parametrize(
    "name",
    [
        "acl",
        "content-type",
        "x-amz-meta-a",
        "x-amz-storage-class",
        "tagging",
        "success_action_redirect",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-server-side-encryption-customer-key-md5",
        "x-amz-checksum-crc32",
        "x-amz-security-token",
        "filename",
    ],
)
def test_b11_every_field_needs_a_condition(name):
    fields = {**with_conditions(), name: "canary"}
    error = refusal(fields)
    assert (error.code, error.status) == ("AccessDenied", 403)
    assert error.message == f"Invalid according to Policy: Extra input fields: {name}"
    verify({**with_conditions(["starts-with", f"${name}", "can"]), name: "canary"})


def test_b11_fields_that_need_none():
    verify({**with_conditions(), "x-ignore-anything": "x", "file": "x"})


@pytest.mark.parametrize("omitted", SIGNED)
def test_b11_the_signature_fields_need_conditions(omitted):
    conditions = [each for each in BASE if not (isinstance(each, dict) and omitted in each)]
    assert refusal(fields_of(policy_of(conditions))).message.endswith(f"Extra input fields: {omitted}")


def test_b11_size_range_is_for_the_streamed_bytes():
    result = verify(with_conditions(["content-length-range", 5, 10], ["content-length-range", "3", "8"]))
    bounds = result.content_length_range
    assert bounds == ContentLengthRange(5, 8)
    for size in (5, 8):
        bounds.check(size, complete=True)
    bounds.check(0, complete=False)
    for size, complete, code, detail in (
        (9, False, "EntityTooLarge", {"ProposedSize": "9", "MaxSizeAllowed": "8"}),
        (4, True, "EntityTooSmall", {"ProposedSize": "4", "MinSizeAllowed": "5"}),
    ):
        with pytest.raises(S3Error) as caught:
            bounds.check(size, complete=complete)
        assert (caught.value.code, caught.value.status, caught.value.detail) == (code, 400, detail)


def test_g1_customer_keys_are_never_repeated():
    canary = "Y2FuYXJ5LWN1c3RvbWVyLWtleQ=="
    name = "x-amz-server-side-encryption-customer-key"
    for condition in ({name: canary}, ["eq", f"${name}", canary], ["starts-with", f"${name}-MD5", canary]):
        for given in ("other", None):
            fields = with_conditions(condition)
            if given is not None:
                fields |= {name: given, f"{name}-md5": given}
            error = refusal(fields)
            assert "Policy Condition failed" in error.message
            assert canary not in str(error) + str(error.detail)
    unsigned = refusal({**with_conditions({name: canary}), name: canary, "x-amz-signature": "0"})
    assert canary not in str(unsigned) + str(unsigned.detail)


# --- The language


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ({"acl": "private"}, "private", True),
        ({"ACL": "private"}, "private", True),
        ({"acl": "private"}, "Private", False),
        (["eq", "$acl", "private"], "private", True),
        (["Eq", "$aCl", "private"], "private", True),
        (["eq", "$acl", "priv"], "private", False),
        (["starts-with", "$acl", "priv"], "private", True),
        (["StArTs-WiTh", "$acl", ""], "anything", True),
        (["starts-with", "$acl", "Priv"], "private", False),
        (["starts-with", "$acl", ""], None, False),
        (["starts-with", "$acl", "\\$a"], "\\$ab", True),
        (["starts-with", "$acl", "a"], "a,b", True),
        (["eq", "acl", "private"], "private", False),
    ],
)
def test_conditions(condition, value, holds):
    fields = with_conditions(condition)
    if value is not None:
        fields["acl"] = value
    if holds:
        verify(fields)
        return
    shown = condition if isinstance(condition, list) else ["eq", f"${next(iter(condition))}", "private"]
    error = refusal(fields)
    assert (error.code, error.status) == ("AccessDenied", 403)
    assert error.message == f"Invalid according to Policy: Policy Condition failed: {json.dumps(shown)}"


def test_a_content_type_may_be_a_list():
    condition = ["starts-with", "$Content-Type", "image/"]
    verify(with_conditions(condition, content_type="image/jpg,image/png"))
    assert refusal(with_conditions(condition, content_type="image/jpg,text/plain")).code == "AccessDenied"


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ({}, "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."),
        ({"a": "b", "c": "d"}, "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."),
        ({"a": 1}, "Invalid Simple-Condition: value must be a string."),
        ([], "Invalid Condition: missing operation identifier."),
        ([1, 2, 3], "Invalid Condition: missing operation identifier."),
        (["matches", "$a", "b"], "Invalid Condition: unknown operation 'matches'."),
        (["eq", "$a"], "Invalid eq: wrong number of arguments."),
        (["eq", "$a", 1], "Invalid JSON."),
        (["content-length-range", 0], "Invalid content-length-range: wrong number of arguments."),
        (["content-length-range", 0, 1.5], "Invalid JSON."),
        (["content-length-range", -1, 0], "Invalid content-length-range: the bounds must be 0 <= minimum <= maximum."),
        (["content-length-range", 2, 1], "Invalid content-length-range: the bounds must be 0 <= minimum <= maximum."),
        ("acl", "Invalid condition test: must be a List or Object."),
        (None, "Invalid condition test: must be a List or Object."),
    ],
)
def test_malformed_conditions(condition, reason):
    error = refusal(with_conditions(condition))
    assert (error.code, error.status, error.message) == ("InvalidPolicyDocument", 400, f"Invalid Policy: {reason}")


@pytest.mark.parametrize("bounds", [["test", "10"], [True, 10], [None, 10], ["1" * 30, 10], [[], {}]])
def test_bounds_that_are_no_numbers_fail_as_a_condition(bounds):
    error = refusal(with_conditions(["content-length-range", *bounds]))
    assert (error.code, error.status) == ("AccessDenied", 403)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("", "Invalid JSON."),
        ("not base64!", "invalid Base64 encoding."),
        ("ünïcode", "Invalid JSON."),
        (base64.b64encode(b"{").decode(), "Invalid JSON."),
        (base64.b64encode(b"\xff\xfe{}").decode(), "Invalid JSON."),
        (base64.b64encode(b"[]").decode(), "Invalid JSON."),
        (base64.b64encode(b"[" * 14_000).decode(), "Invalid JSON."),
        (base64.b64encode(b"9" * 14_000).decode(), "Invalid JSON."),
        (base64.b64encode(b'{"expiration": NaN}').decode(), "Invalid JSON."),
        (base64.b64encode(b"{}").decode(), "Policy missing expiration."),
        (base64.b64encode(b'{"expiration": "x"}').decode(), "Policy missing conditions."),
        (policy_of(BASE, Statement=[]), "Unexpected: 'statement'"),
        (base64.b64encode(b'{"EXPIRATION": "x", "conditions": []}').decode(), "Unexpected: 'expiration'"),
        (policy_of({}), "Invalid 'conditions' value: must be a List."),
        (
            policy_of(BASE, expiration="2015-10-17 03:15:59 UTC"),
            "Invalid 'expiration' value: '2015-10-17 03:15:59 UTC'",
        ),
        (policy_of(BASE, expiration="2013-13-01T00:00:00Z"), "Invalid 'expiration' value: '2013-13-01T00:00:00Z'"),
        (
            policy_of(BASE, expiration="2013-09-13T07:52:58+02:00"),
            "Invalid 'expiration' value: '2013-09-13T07:52:58+02:00'",
        ),
        (policy_of(BASE, expiration=1), "Invalid 'expiration' value: ''"),
    ],
)
def test_malformed_policies(policy, reason):
    error = refusal(fields_of(policy))
    assert (error.code, error.status, error.message) == ("InvalidPolicyDocument", 400, f"Invalid Policy: {reason}")
