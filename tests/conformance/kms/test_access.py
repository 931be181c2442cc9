"""Who may: key policies and identity policies, the exact refusals, the conditions, and the S3 service in between."""

import json
from typing import Any

import pytest

from strongroom.aws.kms_model import load_kms_model
from strongroom.kms.operations import RULES
from tests.conformance.kms.requests import BY_ANY_NAME, BY_ID, request_for
from tests.key_service import ACCOUNT, ADMINISTRATION, REGION, ROOT, KeyServer, User, allow, deny, policy, refused, to

LOCKED_OUT = (
    "MalformedPolicyDocumentException",
    "The new key policy will not allow you to update the key policy in the future.",
)
INVALID_PRINCIPALS = (
    "MalformedPolicyDocumentException",
    "Policy contains a statement with one or more invalid principals.",
)
UNKNOWN = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not"
    " allowed to access."
)
ON_ACCOUNT = ("CreateKey", "GenerateRandom", "ListAliases", "ListKeys", "ListRetirableGrants")


def denied(user: User, action: str, key: dict[str, Any] | None, tail: str = "") -> tuple[str, str]:
    on = f" on resource: {key['Arn']}" if key else ""
    tail = tail or f"because no identity-based policy allows the kms:{action} action"
    return "AccessDeniedException", f"User: {user.arn} is not authorized to perform: kms:{action}{on} {tail}"


NO_RESOURCE = "because no resource-based policy allows the kms:{} action"
DENY_OF_KEY = "with an explicit deny in a resource-based policy"
DENY_OF_USER = "with an explicit deny in an identity-based policy"


def with_policy(kms: Any, *statements: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = kms.create_key(Policy=policy(ADMINISTRATION, *statements))["KeyMetadata"]
    return made


# --- everybody's refusals


def snake(operation: str) -> str:
    from botocore import xform_name

    return str(xform_name(operation))


def test_every_operation_refuses_a_user_without_rights(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    nobody = key_server.user()
    by_name = {name: name for name in BY_ID | BY_ANY_NAME} | {"ReEncrypt": "ReEncryptFrom"}
    own_texts = {"CreateAlias", "Decrypt", "ReEncrypt"}
    for operation in sorted(by_name.keys() - own_texts):
        given = request_for(operation, key["KeyId"])
        assert refused(getattr(nobody.kms, snake(operation)), **_bytes(operation, given)) == denied(
            nobody, by_name[operation], key
        ), operation
    for operation in ON_ACCOUNT:
        given = {"NumberOfBytes": 1} if operation == "GenerateRandom" else {}
        given |= {"RetiringPrincipal": ROOT} if operation == "ListRetirableGrants" else {}
        assert refused(getattr(nobody.kms, snake(operation)), **given) == denied(nobody, operation, None)
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key
    covered = set(by_name) | set(ON_ACCOUNT) | {"DeleteAlias", "UpdateAlias", "RetireGrant"}
    assert covered == set(RULES)


def _bytes(operation: str, given: dict[str, Any]) -> dict[str, Any]:
    """As boto3 wants it: blobs as bytes."""
    shape = load_kms_model().operations[operation].input
    assert shape is not None
    return {
        name: value.encode() if shape.members[name].shape.type == "blob" else value for name, value in given.items()
    }


def test_aliases__need_the_right_on_the_alias_and_on_every_key(
    kms: Any, key_server: KeyServer, key: dict[str, Any]
) -> None:
    other = kms.create_key()["KeyMetadata"]
    alias = f"alias/{key['KeyId']}"
    arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"
    on_alias = key_server.user(allow("kms:*", resource=arn))
    on_key = key_server.user(allow("kms:*", resource=key["Arn"]))
    both = key_server.user(allow("kms:*", resource=arn), allow("kms:*", resource=key["Arn"]))
    refusal = denied(on_key, "CreateAlias", {"Arn": arn})
    assert refused(on_key.kms.create_alias, AliasName=alias, TargetKeyId=key["KeyId"]) == refusal
    refusal = denied(on_alias, "CreateAlias", key)
    assert refused(on_alias.kms.create_alias, AliasName=alias, TargetKeyId=key["KeyId"]) == refusal
    both.kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    for target in (other, key):
        given = {"AliasName": alias, "TargetKeyId": target["KeyId"]}
        assert refused(on_key.kms.update_alias, **given) == denied(on_key, "UpdateAlias", {"Arn": arn})
    assert refused(both.kms.update_alias, AliasName=alias, TargetKeyId=other["KeyId"]) == denied(
        both, "UpdateAlias", other
    )
    kms.update_alias(AliasName=alias, TargetKeyId=other["KeyId"])
    assert refused(both.kms.update_alias, AliasName=alias, TargetKeyId=key["KeyId"]) == denied(
        both, "UpdateAlias", other
    )
    assert refused(both.kms.delete_alias, AliasName=alias) == denied(both, "DeleteAlias", other)
    assert refused(on_key.kms.delete_alias, AliasName=alias) == denied(on_key, "DeleteAlias", {"Arn": arn})


def test_decrypt__without_a_key_id_never_reveals_the_key(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    nobody = key_server.user(allow("kms:ReEncryptTo"))
    denier = key_server.user(allow("kms:*"), deny("kms:Decrypt", "kms:ReEncryptFrom"))
    for disabled in (False, True):
        if disabled:
            kms.disable_key(KeyId=key["KeyId"])
        for user in (nobody, denier):
            assert refused(user.kms.decrypt, CiphertextBlob=blob) == ("AccessDeniedException", UNKNOWN)
            given = {"CiphertextBlob": blob, "DestinationKeyId": key["KeyId"]}
            assert refused(user.kms.re_encrypt, **given) == ("AccessDeniedException", UNKNOWN)
    assert refused(nobody.kms.decrypt, CiphertextBlob=blob, KeyId=key["KeyId"]) == denied(nobody, "Decrypt", key)
    event = key_server.events("Decrypt")[-2]
    assert event["errorMessage"] == UNKNOWN
    assert event["resources"][0]["ARN"] == key["Arn"]
    assert "kms:Decrypt" in event["additionalEventData"]["reason"]


def test_create_key__with_tags_needs_tag_resource_too(key_server: KeyServer) -> None:
    creator = key_server.user(allow("kms:CreateKey"))
    creator.kms.create_key()
    tags = [{"TagKey": "a", "TagValue": "b"}]
    assert refused(creator.kms.create_key, Tags=tags) == denied(creator, "TagResource", None)
    key_server.user(allow("kms:CreateKey", "kms:TagResource")).kms.create_key(Tags=tags)


# --- identity policies, key policies


def test_identity_policies__count_where_the_key_policy_leaves_it_to_the_account(
    kms: Any, key_server: KeyServer, key: dict[str, Any]
) -> None:
    user = key_server.user(allow("kms:Encrypt", resource=key["Arn"]))
    user.kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")
    assert key_server.events("Encrypt")[-1]["additionalEventData"]["authorizedBy"] == ["identity policy #1"]
    lone = key_server.user(allow("kms:*"))
    closed = lone.kms.create_key(Policy=policy(allow("kms:*", **to(lone.arn))))["KeyMetadata"]
    assert refused(user.kms.encrypt, KeyId=closed["KeyId"], Plaintext=b"x") == denied(
        user, "Encrypt", closed, NO_RESOURCE.format("Encrypt")
    )
    code, message = refused(kms.encrypt, KeyId=closed["KeyId"], Plaintext=b"x")  # the root user has no right of its own
    assert (code, message.split(" is not")[0]) == ("AccessDeniedException", f"User: {ROOT}")
    lone.kms.encrypt(KeyId=closed["KeyId"], Plaintext=b"x")


def test_a_deny_wins_wherever_it_is(kms: Any, key_server: KeyServer) -> None:
    user = key_server.user(allow("kms:*"), deny("kms:Decrypt"))
    closed = with_policy(kms, allow("kms:*", **to(user.arn)), deny("kms:Encrypt", **to(user.arn)))
    assert refused(user.kms.encrypt, KeyId=closed["KeyId"], Plaintext=b"x") == denied(
        user, "Encrypt", closed, DENY_OF_KEY
    )
    blob = kms.encrypt(KeyId=closed["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    assert refused(user.kms.decrypt, CiphertextBlob=blob, KeyId=closed["KeyId"]) == denied(
        user, "Decrypt", closed, DENY_OF_USER
    )


def test_a_changed_policy_holds_for_the_next_call(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    user = key_server.user()
    assert refused(user.kms.describe_key, KeyId=key["KeyId"]) == denied(user, "DescribeKey", key)
    kms.put_key_policy(KeyId=key["KeyId"], Policy=policy(ADMINISTRATION, allow("kms:DescribeKey", **to(user.arn))))
    assert user.kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key
    key_server.change_users(lambda users: users.put_policy(user.name, "q", policy(deny("kms:DescribeKey"))))
    assert refused(user.kms.describe_key, KeyId=key["KeyId"]) == denied(user, "DescribeKey", key, DENY_OF_USER)


@pytest.mark.parametrize(
    ("condition", "good", "bad"),
    [
        ({"StringEquals": {"kms:EncryptionContext:Tenant": "a"}}, {"Tenant": "a"}, {"Tenant": "A"}),
        ({"StringEquals": {"kms:EncryptionContext:TENANT": "a"}}, {"tenant": "a"}, {}),
        ({"StringLike": {"kms:EncryptionContext:path": "/a/*"}}, {"path": "/a/b"}, {"path": "/b"}),
        ({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["a", "b"]}}, {"a": "1"}, {"a": "1", "c": "1"}),
        ({"ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "a"}}, {"a": "1", "c": "1"}, {"c": "1"}),
        ({"Null": {"kms:EncryptionContextKeys": "true"}}, {}, {"a": "1"}),
    ],
)
def test_conditions__on_the_encryption_context(
    kms: Any, key_server: KeyServer, condition: Any, good: dict[str, str], bad: dict[str, str]
) -> None:
    user = key_server.user()
    made = with_policy(kms, allow("kms:Encrypt", "kms:Decrypt", **to(user.arn), Condition=condition))
    blob = user.kms.encrypt(KeyId=made["KeyId"], Plaintext=b"x", EncryptionContext=good)["CiphertextBlob"]
    assert user.kms.decrypt(CiphertextBlob=blob, EncryptionContext=good)["Plaintext"] == b"x"
    for operation in (user.kms.encrypt,):
        assert refused(operation, KeyId=made["KeyId"], Plaintext=b"x", EncryptionContext=bad) == denied(
            user, "Encrypt", made
        )


def test_conditions__on_aliases(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    alias, other = f"alias/{key['KeyId']}", f"alias/other/{key['KeyId']}"
    for name in (alias, other):
        kms.create_alias(AliasName=name, TargetKeyId=key["KeyId"])
    by_request = key_server.user(allow("kms:DescribeKey", Condition={"StringEquals": {"kms:RequestAlias": alias}}))
    for name in (alias, f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"):
        by_request.kms.describe_key(KeyId=name)
    for name in (other, key["KeyId"]):
        assert refused(by_request.kms.describe_key, KeyId=name) == denied(by_request, "DescribeKey", key)
    condition = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}}
    by_resource = key_server.user(allow("kms:DescribeKey", Condition=condition))
    by_resource.kms.describe_key(KeyId=key["KeyId"])
    kms.delete_alias(AliasName=alias)
    assert refused(by_resource.kms.describe_key, KeyId=key["KeyId"]) == denied(by_resource, "DescribeKey", key)


def test_conditions__on_tags(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    user = key_server.user(
        allow("kms:DescribeKey", Condition={"StringEquals": {"aws:ResourceTag/team": "a"}}),
        allow("kms:TagResource", Condition={"StringEquals": {"aws:RequestTag/team": ["a", "b"]}}),
    )
    assert refused(user.kms.describe_key, KeyId=key["KeyId"]) == denied(user, "DescribeKey", key)
    other = [{"TagKey": "team", "TagValue": "c"}]
    assert refused(user.kms.tag_resource, KeyId=key["KeyId"], Tags=other) == denied(user, "TagResource", key)
    user.kms.tag_resource(KeyId=key["KeyId"], Tags=[{"TagKey": "team", "TagValue": "a"}])
    assert user.kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
        ({"NotIpAddress": {"aws:SourceIp": "127.0.0.1/32"}}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, True),  # loopback leaves this machine as little as TLS does
        ({"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT", "kms:KeyOrigin": "AWS_KMS"}}, True),
        ({"StringEquals": {"kms:KeyUsage": "SIGN_VERIFY"}}, False),
        ({"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}}, False),
        ({"StringEquals": {"kms:CallerAccount": ACCOUNT}}, True),
        ({"StringLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/user-*"}}, True),
    ],
)
def test_conditions__on_the_request(
    kms: Any, key_server: KeyServer, key: dict[str, Any], condition: Any, holds: bool
) -> None:
    user = key_server.user(allow("kms:DescribeKey", Condition=condition))
    if holds:
        assert user.kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key
    else:
        assert refused(user.kms.describe_key, KeyId=key["KeyId"]) == denied(user, "DescribeKey", key)


# --- GetKeyPolicy, PutKeyPolicy, ListKeyPolicies


def test_get_key_policy__the_default_leaves_it_to_the_account(kms: Any, key: dict[str, Any]) -> None:
    for given in ({}, {"PolicyName": "default"}):
        answer = kms.get_key_policy(KeyId=key["KeyId"], **given)
        assert answer["PolicyName"] == "default"
        assert answer["Policy"].startswith('{\n  "Version" : "2012-10-17",\n  "Id" : "key-default-1",\n')
        assert json.loads(answer["Policy"]) == {
            "Version": "2012-10-17",
            "Id": "key-default-1",
            "Statement": [
                {
                    "Sid": "Enable IAM User Permissions",
                    "Effect": "Allow",
                    "Principal": {"AWS": ROOT},
                    "Action": "kms:*",
                    "Resource": "*",
                }
            ],
        }
    listed = kms.list_key_policies(KeyId=key["KeyId"])
    assert (listed["PolicyNames"], listed["Truncated"]) == (["default"], False)


def test_put_key_policy__is_kept_to_the_letter(kms: Any, key: dict[str, Any]) -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": [ADMINISTRATION]}, indent=7) + "\n"
    kms.put_key_policy(KeyId=key["KeyId"], Policy=text)
    assert kms.get_key_policy(KeyId=key["KeyId"])["Policy"] == text


def test_policies_have_one_name(kms: Any, key: dict[str, Any]) -> None:
    error = ("NotFoundException", "No such policy exists")
    assert refused(kms.get_key_policy, KeyId=key["KeyId"], PolicyName="other") == error
    assert refused(kms.put_key_policy, KeyId=key["KeyId"], PolicyName="other", Policy=policy(ADMINISTRATION)) == error


@pytest.mark.parametrize("on_create", [True, False])
def test_a_policy_that_locks_its_author_out_is_refused_unless_that_is_said(
    kms: Any, key_server: KeyServer, key: dict[str, Any], on_create: bool
) -> None:
    user = key_server.user()
    for statements in (
        [allow("kms:*", **to(user.arn))],
        [allow("kms:Decrypt", **to(ROOT))],
        [ADMINISTRATION, deny("kms:PutKeyPolicy", **to(ROOT))],
    ):
        given = {"Policy": policy(*statements)} | ({} if on_create else {"KeyId": key["KeyId"]})
        put = kms.create_key if on_create else kms.put_key_policy
        assert refused(put, **given) == LOCKED_OUT
    put(**given, BypassPolicyLockoutSafetyCheck=True)


def test_a_policy_for_one_user_of_a_name_locks_that_user_not_out(kms: Any, key_server: KeyServer) -> None:
    user = key_server.user(allow("kms:CreateKey"))
    user_id = key_server.opened.identities.person(user.arn).user_id
    for condition, put in (({"aws:userid": user_id}, True), ({"aws:userid": "AIDAANOTHER"}, False)):
        text = policy(allow("kms:*", **to(user.arn), Condition={"StringEquals": condition}))
        if not put:
            assert refused(user.kms.create_key, Policy=text) == LOCKED_OUT
            continue
        key_id = user.kms.create_key(Policy=text)["KeyMetadata"]["KeyId"]
        user.kms.put_key_policy(KeyId=key_id, Policy=text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", "MalformedPolicyDocumentException"),
        ("[]", "MalformedPolicyDocumentException"),
        (policy({"Effect": "Maybe"}), "MalformedPolicyDocumentException"),
        (policy(allow("kms:*")), "MalformedPolicyDocumentException"),
        (policy(ADMINISTRATION)[:-1] + ', "More": 1}', "MalformedPolicyDocumentException"),
        (policy(ADMINISTRATION) + "\u2603", "ValidationException"),
        (policy(ADMINISTRATION) + " " * 32768, "LimitExceededException"),
        (policy(ADMINISTRATION) + " " * 131072, "ValidationException"),
        ("", "ValidationException"),
    ],
)
def test_put_key_policy__malformed(kms: Any, key: dict[str, Any], text: str, error: str) -> None:
    before = kms.get_key_policy(KeyId=key["KeyId"])["Policy"]
    for call, given in ((kms.put_key_policy, {"KeyId": key["KeyId"]}), (kms.create_key, {})):
        assert refused(call, Policy=text, **given)[0] == error
    assert kms.get_key_policy(KeyId=key["KeyId"])["Policy"] == before


def test_put_key_policy__32_kib(kms: Any, key: dict[str, Any]) -> None:
    text = policy(ADMINISTRATION)
    kms.put_key_policy(KeyId=key["KeyId"], Policy=text + " " * (32768 - len(text)))
    assert refused(kms.put_key_policy, KeyId=key["KeyId"], Policy=text + " " * (32769 - len(text)))[0] == (
        "LimitExceededException"
    )


@pytest.mark.parametrize(
    "principal",
    [
        {"AWS": f"arn:aws:iam::{ACCOUNT}:user/nobody-there"},
        {"AWS": f"arn:aws:iam::{ACCOUNT}:role/none"},
        {"AWS": "x"},
        {"Federated": "cognito-identity.amazonaws.com"},
    ],
)
def test_put_key_policy__invalid_principals(kms: Any, key: dict[str, Any], principal: dict[str, str]) -> None:
    text = policy(ADMINISTRATION, allow("kms:Decrypt", Principal=principal))
    assert refused(kms.put_key_policy, KeyId=key["KeyId"], Policy=text) == INVALID_PRINCIPALS


def test_bypass__can_be_forbidden(key_server: KeyServer) -> None:
    condition = {"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "true"}}
    user = key_server.user(allow("kms:*"), deny("kms:CreateKey", "kms:PutKeyPolicy", Condition=condition))
    user.kms.create_key()
    assert refused(user.kms.create_key, BypassPolicyLockoutSafetyCheck=True) == denied(
        user, "CreateKey", None, DENY_OF_USER
    )


# --- a deleted user, the service


def test_a_deleted_user_has_no_rights_left(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    user = key_server.user(allow("kms:*"))
    service = key_server.for_service(user)
    key_server.change_users(lambda users: users.remove(user.name))
    assert refused(user.kms.describe_key, KeyId=key["KeyId"])[0] == "UnrecognizedClientException"
    given = {"KeyId": key["KeyId"], "KeySpec": "AES_256", "EncryptionContext": {"aws:s3:arn": "arn:aws:s3:::b"}}
    assert refused(service.generate_data_key, **given)[0] == "AccessDeniedException"


def test_s3__uses_keys_in_the_name_of_its_user_only(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    user, nobody = key_server.user(allow("kms:*")), key_server.user()
    given = {"KeyId": key["KeyId"], "KeySpec": "AES_256", "EncryptionContext": {"aws:s3:arn": "arn:aws:s3:::b/k"}}
    made = key_server.for_service(user).generate_data_key(**given)
    assert made["KeyId"] == key["Arn"]
    event = key_server.events("GenerateDataKey")[-1]
    assert event["userIdentity"]["arn"] == user.arn
    assert event["userIdentity"]["invokedBy"] == "s3.amazonaws.com"
    assert event["additionalEventData"]["s3RequestId"] == "S3REQUEST"
    assert refused(key_server.for_service(nobody).generate_data_key, **given) == denied(nobody, "GenerateDataKey", key)
    assert refused(key_server.for_service().generate_data_key, **given)[0] == "AccessDeniedException"
    assert refused(key_server.for_service(user).disable_key, KeyId=key["KeyId"])[0] == "AccessDeniedException"
    del given["EncryptionContext"]
    assert refused(key_server.for_service(user).generate_data_key, **given)[0] == "AccessDeniedException"


def test_s3__via_service_is_a_condition(kms: Any, key_server: KeyServer) -> None:
    via = {"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}}
    user = key_server.user(allow("kms:GenerateDataKey", Condition=via))
    made = kms.create_key()["KeyMetadata"]
    given = {"KeyId": made["KeyId"], "KeySpec": "AES_256", "EncryptionContext": {"aws:s3:arn": "arn:aws:s3:::b/k"}}
    key_server.for_service(user).generate_data_key(**given)
    assert refused(user.kms.generate_data_key, **given) == denied(user, "GenerateDataKey", made)


def test_s3__its_managed_key_is_everybodys_through_it_and_nobodys_else(key_server: KeyServer) -> None:
    user = key_server.user()
    given = {"KeyId": "alias/aws/s3", "KeySpec": "AES_256", "EncryptionContext": {"aws:s3:arn": "arn:aws:s3:::b/k"}}
    made = key_server.for_service(user).generate_data_key(**given)
    assert refused(user.kms.generate_data_key, **given)[0] == "AccessDeniedException"
    opened = key_server.for_service(user).decrypt(
        CiphertextBlob=made["CiphertextBlob"], EncryptionContext=given["EncryptionContext"]
    )
    assert opened["Plaintext"] == made["Plaintext"]


def test_s3__the_key_of_the_store_is_the_services_alone(kms: Any, key_server: KeyServer) -> None:
    user = key_server.user(allow("kms:*"))
    given = {
        "KeyId": "alias/aws/strongroom",
        "KeySpec": "AES_256",
        "EncryptionContext": {"aws:s3:arn": "arn:aws:s3:::b"},
    }
    made = key_server.for_service().generate_data_key(**given)
    for client in (kms, user.kms, key_server.for_service(user)):
        assert refused(client.generate_data_key, **given)[0] == "AccessDeniedException"
        opening = {"CiphertextBlob": made["CiphertextBlob"], "EncryptionContext": given["EncryptionContext"]}
        assert refused(client.decrypt, **opening)[0] == "AccessDeniedException"
    for change in (kms.disable_key, kms.schedule_key_deletion, kms.rotate_key_on_demand):
        assert refused(change, KeyId=made["KeyId"])[0] == "AccessDeniedException"
