from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from strongroom.kms.condition_context import condition_context, encryption_context_of, policy_request
from strongroom.kms.records import Alias
from tests.unit.kms.authorization import ACCOUNT, ALICE, KEY_ARN, KEY_ID, NOW_US, ROOT, call, key, kms

VIA = "s3.us-east-1.amazonaws.com"


def context(asked=None, subject=None, records=(), action=None, **how):
    asked = asked or call()
    how.setdefault("encryption_context", {} if asked.operation == "ReEncrypt" else encryption_context_of(asked))
    return condition_context(asked, kms(*records), subject, action=action or f"kms:{asked.operation}", **how)


def test_a_person_who_calls():
    found = context(call("ListKeys"), user_id="AIDAEXAMPLE")
    assert found == {
        "aws:currenttime": ("2026-01-02T03:04:05Z",),
        "aws:epochtime": ("1767323045",),
        "aws:principalaccount": (ACCOUNT,),
        "aws:principalarn": (ALICE,),
        "aws:principalisawsservice": ("false",),
        "aws:principaltype": ("User",),
        "aws:requestedregion": ("us-east-1",),
        "aws:resourceaccount": (ACCOUNT,),
        "aws:securetransport": ("true",),
        "aws:sourceip": ("192.0.2.7",),
        "aws:useragent": ("aws-cli/2",),
        "aws:userid": ("AIDAEXAMPLE",),
        "aws:username": ("alice",),
        "aws:viaawsservice": ("false",),
        "kms:calleraccount": (ACCOUNT,),
    }


def test_the_root_user_has_no_user_name():
    found = context(call(arn=ROOT), user_id=None)
    assert "aws:username" not in found
    assert (found["aws:principaltype"], found["aws:userid"]) == (("Account",), (ACCOUNT,))


def test_a_service_that_calls_for_a_person():
    found = context(call(via_service=VIA))
    assert found["kms:viaservice"] == (VIA,)
    assert found["aws:viaawsservice"] == ("true",)
    assert found["aws:principalarn"] == (ALICE,)
    assert found["aws:username"] == ("alice",)
    assert "aws:sourceip" not in found
    assert "aws:useragent" not in found


def test_a_service_that_calls_for_itself():
    found = context(call(is_service=True))
    assert (found["aws:principalisawsservice"], found["aws:viaawsservice"]) == (("true",), ("false",))
    assert not found.keys() & {"aws:sourceip", "aws:useragent", "kms:viaservice"}


def test_what_may_be_judged_of_a_person_behind_a_service_is_their_standing_and_no_more():
    """S3 serves one judgement to all that are equal in it, so nothing else of a requester may change the judgement."""
    asked = call(via_service=VIA)
    other = replace(asked.caller.requester, user_agent="another", request_id="another", source_ip="192.0.2.99")
    again = replace(asked, caller=replace(asked.caller, requester=other))
    assert context(asked) == context(again)


def test_a_service_that_calls_for_itself_has_no_address():
    assert "aws:sourceip" not in context(call(is_service=True))


def test_no_address_is_no_key():
    assert "aws:sourceip" not in context(call(source_ip=""))


def test_plain_http_shows():
    assert context(call(secure_transport=False))["aws:securetransport"] == ("false",)


def test_the_key():
    aliases = [
        Alias(name=name, target_key_id=KEY_ID, created_us=NOW_US, updated_us=NOW_US) for name in ("alias/a", "alias/b")
    ]
    subject = key(spec="RSA_2048", usage="SIGN_VERIFY", origin="EXTERNAL", tags=(("Team", "red"), ("env", "prod")))
    found = context(call("DescribeKey"), subject, aliases, request_alias="alias/b")
    assert found["kms:keyspec"] == found["kms:customermasterkeyspec"] == ("RSA_2048",)
    assert found["kms:keyusage"] == found["kms:customermasterkeyusage"] == ("SIGN_VERIFY",)
    assert found["kms:keyorigin"] == ("EXTERNAL",)
    assert found["kms:multiregion"] == ("false",)
    assert found["kms:resourcealiases"] == ("alias/a", "alias/b")
    assert found["kms:requestalias"] == ("alias/b",)
    assert found["aws:resourcetag/team"] == ("red",)
    assert found["aws:resourcetag/env"] == ("prod",)
    assert found["aws:resourceaccount"] == (ACCOUNT,)
    assert "kms:resourcealiases" not in context(call(), key())


@pytest.mark.parametrize(
    ("operation", "parameters", "expected"),
    [
        ("Decrypt", {}, {"kms:encryptionalgorithm": ("SYMMETRIC_DEFAULT",)}),
        (
            "Encrypt",
            {"EncryptionAlgorithm": "RSAES_OAEP_SHA_256"},
            {"kms:encryptionalgorithm": ("RSAES_OAEP_SHA_256",)},
        ),
        ("GenerateDataKey", {}, {"kms:encryptionalgorithm": ("SYMMETRIC_DEFAULT",)}),
        (
            "GenerateDataKeyPairWithoutPlaintext",
            {"KeyPairSpec": "RSA_3072"},
            {"kms:encryptionalgorithm": ("SYMMETRIC_DEFAULT",), "kms:datakeypairspec": ("RSA_3072",)},
        ),
        (
            "Sign",
            {"SigningAlgorithm": "ECDSA_SHA_256"},
            {"kms:signingalgorithm": ("ECDSA_SHA_256",), "kms:messagetype": ("RAW",)},
        ),
        (
            "Verify",
            {"SigningAlgorithm": "ECDSA_SHA_256", "MessageType": "DIGEST"},
            {"kms:signingalgorithm": ("ECDSA_SHA_256",), "kms:messagetype": ("DIGEST",)},
        ),
        ("GenerateMac", {"MacAlgorithm": "HMAC_SHA_256"}, {"kms:macalgorithm": ("HMAC_SHA_256",)}),
        ("DeriveSharedSecret", {"KeyAgreementAlgorithm": "ECDH"}, {"kms:keyagreementalgorithm": ("ECDH",)}),
        ("ScheduleKeyDeletion", {}, {"kms:schedulekeydeletionpendingwindowindays": ("30",)}),
        (
            "ScheduleKeyDeletion",
            {"PendingWindowInDays": 7},
            {"kms:schedulekeydeletionpendingwindowindays": ("7",)},
        ),
        ("EnableKeyRotation", {}, {"kms:rotationperiodindays": ("365",)}),
        ("EnableKeyRotation", {"RotationPeriodInDays": 90}, {"kms:rotationperiodindays": ("90",)}),
        ("GetKeyPolicy", {}, {"kms:policyname": ("default",)}),
        (
            "PutKeyPolicy",
            {"PolicyName": "x", "BypassPolicyLockoutSafetyCheck": True},
            {"kms:policyname": ("x",), "kms:bypasspolicylockoutsafetycheck": ("true",)},
        ),
        ("PutKeyPolicy", {}, {"kms:policyname": ("default",)}),
        (
            "GetParametersForImport",
            {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_4096"},
            {"kms:wrappingalgorithm": ("RSAES_OAEP_SHA_256",), "kms:wrappingkeyspec": ("RSA_4096",)},
        ),
        ("ImportKeyMaterial", {}, {}),
        (
            "ImportKeyMaterial",
            {"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": 1767323045.5},
            {"kms:expirationmodel": ("KEY_MATERIAL_EXPIRES",), "kms:validto": ("1767323045.500",)},
        ),
        (
            "ImportKeyMaterial",
            {"ValidTo": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)},
            {"kms:validto": ("1767323045.000",)},
        ),
        (
            "CreateKey",
            {},
            {
                "kms:customermasterkeyspec": ("SYMMETRIC_DEFAULT",),
                "kms:customermasterkeyusage": ("ENCRYPT_DECRYPT",),
                "kms:keyorigin": ("AWS_KMS",),
                "kms:keyspec": ("SYMMETRIC_DEFAULT",),
                "kms:keyusage": ("ENCRYPT_DECRYPT",),
                "kms:multiregion": ("false",),
            },
        ),
        (
            "CreateKey",
            {
                "CustomerMasterKeySpec": "RSA_2048",
                "KeyUsage": "SIGN_VERIFY",
                "Origin": "EXTERNAL",
                "MultiRegion": True,
                "BypassPolicyLockoutSafetyCheck": False,
                "Tags": [{"TagKey": "Team", "TagValue": "red"}, {"TagKey": "env", "TagValue": ""}],
            },
            {
                "aws:requesttag/env": ("",),
                "aws:requesttag/team": ("red",),
                "aws:tagkeys": ("Team", "env"),
                "kms:bypasspolicylockoutsafetycheck": ("false",),
                "kms:customermasterkeyspec": ("RSA_2048",),
                "kms:customermasterkeyusage": ("SIGN_VERIFY",),
                "kms:keyorigin": ("EXTERNAL",),
                "kms:keyspec": ("RSA_2048",),
                "kms:keyusage": ("SIGN_VERIFY",),
                "kms:multiregion": ("true",),
            },
        ),
        (
            "TagResource",
            {"Tags": [{"TagKey": "a", "TagValue": "b"}]},
            {"aws:requesttag/a": ("b",), "aws:tagkeys": ("a",)},
        ),
        ("UntagResource", {"TagKeys": ["a", "b"]}, {"aws:tagkeys": ("a", "b")}),
        ("ListGrants", {}, {"kms:grantisforawsresource": ("false",)}),
        ("RevokeGrant", {}, {"kms:grantisforawsresource": ("false",)}),
        (
            "CreateGrant",
            {"GranteePrincipal": ALICE, "RetiringPrincipal": ROOT, "Operations": ["Encrypt", "Decrypt"]},
            {
                "kms:granteeprincipal": (ALICE,),
                "kms:grantisforawsresource": ("false",),
                "kms:grantoperations": ("Encrypt", "Decrypt"),
                "kms:retiringprincipal": (ROOT,),
            },
        ),
        (
            "CreateGrant",
            {
                "GranteePrincipal": ALICE,
                "Operations": ["Decrypt"],
                "Constraints": {"EncryptionContextSubset": {"App": "x"}},
            },
            {
                "kms:encryptioncontext:app": ("x",),
                "kms:encryptioncontextkeys": ("App",),
                "kms:grantconstrainttype": ("EncryptionContextSubset",),
                "kms:granteeprincipal": (ALICE,),
                "kms:grantisforawsresource": ("false",),
                "kms:grantoperations": ("Decrypt",),
            },
        ),
        (
            "CreateGrant",  # an account named by its number is the account that a policy names by its ARN
            {"GranteePrincipal": ACCOUNT, "RetiringPrincipal": ACCOUNT, "Operations": []},
            {
                "kms:granteeprincipal": (ROOT,),
                "kms:grantisforawsresource": ("false",),
                "kms:retiringprincipal": (ROOT,),
            },
        ),
        ("ListKeys", {}, {}),
    ],
)
def test_parameters(operation, parameters, expected):
    always = context(call("ListKeys")).keys()
    found = context(call(operation, **parameters))
    assert {name: values for name, values in found.items() if name not in always} == expected


def test_a_grant_that_a_service_makes_is_for_its_resource():
    assert context(call("CreateGrant", via_service=VIA))["kms:grantisforawsresource"] == ("true",)


def test_the_halves_of_re_encrypt():
    asked = call("ReEncrypt", SourceEncryptionAlgorithm="RSAES_OAEP_SHA_1")
    source = context(asked, action="kms:ReEncryptFrom", encryption_context={"a": "1"}, on_same_key=False)
    target = context(asked, action="kms:ReEncryptTo", encryption_context={"b": "2"}, on_same_key=False)
    assert (source["kms:encryptionalgorithm"], target["kms:encryptionalgorithm"]) == (
        ("RSAES_OAEP_SHA_1",),
        ("SYMMETRIC_DEFAULT",),
    )
    assert (source["kms:encryptioncontextkeys"], target["kms:encryptioncontextkeys"]) == (("a",), ("b",))
    assert source["kms:reencryptonsamekey"] == ("false",)


def test_the_encryption_context():
    found = context(call(EncryptionContext={"App": "One", "dept": "IT"}))
    assert found["kms:encryptioncontext:app"] == ("One",)
    assert found["kms:encryptioncontext:dept"] == ("IT",)
    assert found["kms:encryptioncontextkeys"] == ("App", "dept")
    assert not [name for name in context(call()) if "encryptioncontext" in name]


def test_names_that_differ_in_case_only_are_one_key_with_several_values():
    found = context(call(EncryptionContext={"App": "1", "APP": "2"}), key(tags=(("T", "1"), ("t", "2"))))
    assert found["kms:encryptioncontext:app"] == ("1", "2")
    assert found["aws:resourcetag/t"] == ("1", "2")


@pytest.mark.parametrize(
    "name",
    [
        "aws:PrincipalArn",
        "aws:username",
        "kms:ViaService",
        "kms:CallerAccount",
        "",
        "keys",
        "/../kms:ViaService",
        "\nkms:viaservice",
        "aws:requesttag/x",
    ],
)
def test_b6_nothing_in_a_request_poses_as_another_key(name):
    """rustfs GHSA-6r96-hmgc-726c: reserved keys never come from the wire."""
    plain = context(call("CreateKey"))
    forged: dict[str, Any] = {
        **dict.fromkeys((name, "ViaService", "CallerAccount", "aws:SourceIp", "kms:KeySpec"), "forged"),
        "EncryptionContext": {name: "forged"},
        "Tags": [{"TagKey": name, "TagValue": "forged"}],
    }
    asked = call("CreateKey", **forged)
    found = context(asked)
    assert {key: values for key, values in found.items() if key in plain} == plain
    assert set(found) - set(plain) == {
        f"kms:encryptioncontext:{name.lower()}",
        "kms:encryptioncontextkeys",
        f"aws:requesttag/{name.lower()}",
        "aws:tagkeys",
    }


def test_the_resource_is_the_key_or_none():
    assert policy_request(call(), kms(), key(), action="kms:Decrypt").resource == KEY_ARN
    assert policy_request(call("ListKeys"), kms(), None, action="kms:ListKeys").resource == "*"
