"""CreateGrant, ListGrants, ListRetirableGrants, RetireGrant, RevokeGrant; and what a grant opens."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.key_service import ACCOUNT, ROOT, KeyServer, User, allow, refused, to

DATA = ["Decrypt", "Encrypt", "GenerateDataKey"]


@pytest.fixture
def alice(key_server: KeyServer) -> User:
    return key_server.user()


@pytest.fixture
def bob(key_server: KeyServer) -> User:
    return key_server.user()


def denied(user: User, action: str, key: dict[str, Any]) -> tuple[str, str]:
    return (
        "AccessDeniedException",
        (
            f"User: {user.arn} is not authorized to perform: kms:{action} on resource: {key['Arn']} because no identity-based"
            f" policy allows the kms:{action} action"
        ),
    )


def ids(listed: dict[str, Any]) -> list[str]:
    return sorted(each["GrantId"] for each in listed["Grants"])


def test_create_grant__is_listed_as_it_was_made(kms: Any, key: dict[str, Any], alice: User, bob: User) -> None:
    made = kms.create_grant(
        KeyId=key["KeyId"],
        GranteePrincipal=alice.arn,
        RetiringPrincipal=bob.arn,
        Operations=DATA,
        Constraints={"EncryptionContextSubset": {"a": "b"}},
        Name="named",
    )
    assert made.keys() == {"GrantId", "GrantToken", "ResponseMetadata"}
    assert re.fullmatch("[0-9a-f]{64}", made["GrantId"])
    [listed] = kms.list_grants(KeyId=key["KeyId"])["Grants"]
    assert abs(listed.pop("CreationDate") - datetime.now(UTC)) < timedelta(minutes=1)
    assert listed == {
        "KeyId": key["Arn"],
        "GrantId": made["GrantId"],
        "Name": "named",
        "GranteePrincipal": alice.arn,
        "RetiringPrincipal": bob.arn,
        "IssuingAccount": ROOT,
        "Operations": DATA,
        "Constraints": {"EncryptionContextSubset": {"a": "b"}},
    }


def test_create_grant__its_record_has_the_id_and_no_token(
    kms: Any, key_server: KeyServer, key: dict[str, Any], alice: User
) -> None:
    made = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=alice.arn, Operations=DATA)
    event = key_server.events("CreateGrant")[-1]
    assert event["responseElements"] == {"grantId": made["GrantId"]}
    alice.kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", GrantTokens=[made["GrantToken"]])
    used = key_server.events("Encrypt")[-1]
    assert used["additionalEventData"]["authorizedBy"] == [f"grant {made['GrantId']}"]
    assert made["GrantToken"] not in "".join(
        path.read_text() for path in (key_server.data_dir / "audit").glob("*.jsonl")
    )


def test_a_grant_opens_its_operations_from_the_next_call_until_it_is_revoked(
    kms: Any, key: dict[str, Any], alice: User, bob: User
) -> None:
    assert refused(alice.kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x") == denied(alice, "Encrypt", key)
    made = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=alice.arn, Operations=DATA)
    blob = alice.kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    assert alice.kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert refused(alice.kms.describe_key, KeyId=key["KeyId"]) == denied(alice, "DescribeKey", key)
    assert refused(bob.kms.decrypt, CiphertextBlob=blob, KeyId=key["KeyId"]) == denied(bob, "Decrypt", key)
    # a token is no right of its own
    assert refused(bob.kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x", GrantTokens=[made["GrantToken"]]) == denied(
        bob, "Encrypt", key
    )
    kms.revoke_grant(KeyId=key["Arn"], GrantId=made["GrantId"])
    assert refused(alice.kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x") == denied(alice, "Encrypt", key)


@pytest.mark.parametrize(
    ("constraint", "opens", "closed"),
    [
        (
            {"EncryptionContextEquals": {"a": "1", "b": "2"}},
            [{"b": "2", "a": "1"}],
            [{}, {"a": "1"}, {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "3"}, {"A": "1", "b": "2"}],
        ),
        (
            {"EncryptionContextSubset": {"a": "1", "b": "2"}},
            [{"b": "2", "a": "1"}, {"a": "1", "b": "2", "c": "3"}],
            [{}, {"a": "1"}, {"a": "1", "b": "3", "c": "3"}],
        ),
    ],
)
def test_constraints_look_at_the_encryption_context(
    kms: Any, key: dict[str, Any], alice: User, constraint: Any, opens: Any, closed: Any
) -> None:
    kms.create_grant(
        KeyId=key["KeyId"], GranteePrincipal=alice.arn, Operations=[*DATA, "DescribeKey"], Constraints=constraint
    )
    for context in opens:
        made = alice.kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256", EncryptionContext=context)
        blob = made["CiphertextBlob"]
        assert alice.kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == made["Plaintext"]
    for context in closed:
        given = {"KeyId": key["KeyId"], "EncryptionContext": context}
        assert refused(alice.kms.encrypt, Plaintext=b"x", **given) == denied(alice, "Encrypt", key)
        blob = kms.encrypt(Plaintext=b"x", **given)["CiphertextBlob"]
        assert refused(alice.kms.decrypt, CiphertextBlob=blob, **given) == denied(alice, "Decrypt", key)
    assert alice.kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key  # it has no context


def test_re_encrypt__needs_from_and_to(kms: Any, key: dict[str, Any], alice: User) -> None:
    other = kms.create_key()["KeyMetadata"]
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    given = {"CiphertextBlob": blob, "SourceKeyId": key["KeyId"], "DestinationKeyId": other["KeyId"]}
    assert refused(alice.kms.re_encrypt, **given) == denied(alice, "ReEncryptFrom", key)
    kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=alice.arn, Operations=["ReEncryptFrom"])
    assert refused(alice.kms.re_encrypt, **given) == denied(alice, "ReEncryptTo", other)
    kms.create_grant(KeyId=other["KeyId"], GranteePrincipal=alice.arn, Operations=["ReEncryptTo"])
    assert alice.kms.re_encrypt(**given)["KeyId"] == other["Arn"]
    assert refused(alice.kms.decrypt, CiphertextBlob=blob)[0] == "AccessDeniedException"


def test_create_grant__a_name_makes_it_once(kms: Any, key: dict[str, Any], alice: User, bob: User) -> None:
    given = {"KeyId": key["KeyId"], "GranteePrincipal": alice.arn, "Operations": DATA, "Name": "once"}
    first, second = kms.create_grant(**given), kms.create_grant(**given)
    assert first["GrantId"] == second["GrantId"]
    assert first["GrantToken"] != second["GrantToken"]
    others = [
        kms.create_grant(**given | change)["GrantId"]
        for change in ({"GranteePrincipal": bob.arn}, {"Operations": ["Encrypt"]}, {"Name": "twice"})
    ]
    del given["Name"]
    unnamed = [kms.create_grant(**given)["GrantId"] for _ in range(2)]
    assert len({first["GrantId"], *others, *unnamed}) == 6 == len(ids(kms.list_grants(KeyId=key["KeyId"])))
    assert [each["Name"] for each in kms.list_grants(KeyId=key["KeyId"], GrantId=unnamed[0])["Grants"]] == [""]


def test_list_grants__filters(kms: Any, key: dict[str, Any], alice: User, bob: User) -> None:
    for_alice, for_bob = (
        kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=who.arn, Operations=DATA)["GrantId"]
        for who in (alice, bob)
    )
    assert ids(kms.list_grants(KeyId=key["KeyId"], GranteePrincipal=alice.arn)) == [for_alice]
    assert ids(kms.list_grants(KeyId=key["KeyId"], GrantId=for_bob)) == [for_bob]
    assert ids(kms.list_grants(KeyId=key["KeyId"], GrantId="0" * 64)) == []


def test_list_retirable_grants__of_every_key(kms: Any, key_server: KeyServer, alice: User) -> None:
    keys = [kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(2)]
    made = [
        kms.create_grant(KeyId=each, GranteePrincipal=ROOT, RetiringPrincipal=alice.arn, Operations=DATA)["GrantId"]
        for each in keys
    ]
    kms.create_grant(KeyId=keys[0], GranteePrincipal=alice.arn, Operations=DATA)
    assert ids(kms.list_retirable_grants(RetiringPrincipal=alice.arn)) == sorted(made)
    assert refused(alice.kms.list_retirable_grants, RetiringPrincipal=alice.arn) == (
        "AccessDeniedException",
        (
            f"User: {alice.arn} is not authorized to perform: kms:ListRetirableGrants because no identity-based policy allows"
            " the kms:ListRetirableGrants action"
        ),
    )


# --- retire, revoke


def test_retire_grant__by_each_who_may(
    kms: Any, key_server: KeyServer, key: dict[str, Any], alice: User, bob: User
) -> None:
    allowed_by_policy = key_server.user(allow("kms:RetireGrant"))
    retiring = {"RetiringPrincipal": bob.arn, "Operations": DATA}
    by_grantee = {"Operations": [*DATA, "RetireGrant"]}
    for terms, who in (
        (retiring, bob.kms),
        (by_grantee, alice.kms),
        (retiring, kms),
        (retiring, allowed_by_policy.kms),
    ):
        for by_token in (True, False):
            made = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=alice.arn, **terms)
            named = (
                {"GrantToken": made["GrantToken"]} if by_token else {"KeyId": key["Arn"], "GrantId": made["GrantId"]}
            )
            who.retire_grant(**named)
            assert ids(kms.list_grants(KeyId=key["KeyId"])) == []
            assert refused(who.retire_grant, **named)[0] == "NotFoundException"


def test_retire_grant__by_nobody_else(kms: Any, key: dict[str, Any], alice: User, bob: User) -> None:
    made = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=alice.arn, RetiringPrincipal=bob.arn, Operations=DATA)
    assert refused(alice.kms.retire_grant, GrantToken=made["GrantToken"]) == denied(alice, "RetireGrant", key)
    assert refused(bob.kms.revoke_grant, KeyId=key["KeyId"], GrantId=made["GrantId"]) == denied(bob, "RevokeGrant", key)
    assert ids(kms.list_grants(KeyId=key["KeyId"])) == [made["GrantId"]]


def test_retire_grant__a_grant_retires_itself_and_no_other(
    kms: Any, key: dict[str, Any], alice: User, bob: User
) -> None:
    kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=alice.arn, Operations=["RetireGrant"])
    bobs = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=bob.arn, Operations=[*DATA, "RetireGrant"])
    for named in ({"GrantToken": bobs["GrantToken"]}, {"KeyId": key["Arn"], "GrantId": bobs["GrantId"]}):
        assert refused(alice.kms.retire_grant, **named) == denied(alice, "RetireGrant", key)
    assert bobs["GrantId"] in ids(kms.list_grants(KeyId=key["KeyId"]))


def test_retire_grant__names_one_grant_in_one_way(kms: Any, key: dict[str, Any]) -> None:
    other = kms.create_key()["KeyMetadata"]
    made = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=ROOT, Operations=DATA)
    for given in (
        {},
        {"GrantId": made["GrantId"]},
        {"GrantToken": made["GrantToken"], "KeyId": key["Arn"], "GrantId": made["GrantId"]},
        {"KeyId": key["Arn"]},
    ):
        assert refused(kms.retire_grant, **given)[0] == "ValidationException"
    error = ("NotFoundException", f"Grant ID {made['GrantId']} not found")
    assert refused(kms.retire_grant, KeyId=other["Arn"], GrantId=made["GrantId"]) == error
    assert refused(kms.revoke_grant, KeyId=other["Arn"], GrantId=made["GrantId"]) == error
    assert ids(kms.list_grants(KeyId=key["KeyId"])) == [made["GrantId"]]


# --- refusals


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:user/nobody-there"}, "InvalidArnException"),
        ({"GranteePrincipal": "alice"}, "InvalidArnException"),
        ({"RetiringPrincipal": f"arn:aws:iam::{ACCOUNT}:user/nobody-there"}, "InvalidArnException"),
        ({"Operations": ["Sign"]}, "ValidationException"),
        ({"Operations": ["GetPublicKey"]}, "ValidationException"),
        ({"Operations": ["ScheduleKeyDeletion"]}, "ValidationException"),
        ({"Operations": None}, "ValidationException"),
        ({"GranteePrincipal": None}, "ValidationException"),
        ({"GranteeServicePrincipal": "s3.amazonaws.com"}, "UnsupportedOperationException"),
        ({"RetiringServicePrincipal": "s3.amazonaws.com"}, "UnsupportedOperationException"),
        ({"Constraints": {"SourceArn": "arn:aws:sqs:us-east-1:000000000000:queue"}}, "UnsupportedOperationException"),
        ({"Constraints": {"EncryptionContextEquals": {f"k{n}": "v" for n in range(9)}}}, "ValidationException"),
        ({"Constraints": {"EncryptionContextSubset": {"k": "v" * 385}}}, "ValidationException"),
        ({"Name": "x" * 257}, "ValidationException"),
        ({"Name": "not a name"}, "ValidationException"),
    ],
)
def test_create_grant__refusals(kms: Any, key: dict[str, Any], given: dict[str, Any], code: str) -> None:
    asked = {"KeyId": key["KeyId"], "GranteePrincipal": ROOT, "Operations": DATA, **given}
    assert refused(kms.create_grant, **{name: value for name, value in asked.items() if value is not None})[0] == code
    assert kms.list_grants(KeyId=key["KeyId"])["Grants"] == []


@pytest.mark.parametrize(
    ("spec", "usage", "good", "bad"),
    [
        ("ECC_NIST_P256", "SIGN_VERIFY", ["Sign", "Verify", "GetPublicKey", "DescribeKey"], "Decrypt"),
        ("HMAC_256", "GENERATE_VERIFY_MAC", ["GenerateMac", "VerifyMac"], "GetPublicKey"),
        ("ECC_NIST_P256", "KEY_AGREEMENT", ["DeriveSharedSecret", "GetPublicKey"], "Sign"),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", ["Encapsulate", "Decapsulate"], "Encrypt"),
        ("RSA_2048", "ENCRYPT_DECRYPT", ["Encrypt", "Decrypt", "ReEncryptTo"], "GenerateDataKey"),
    ],
)
def test_create_grant__operations_of_the_kind_of_key(
    kms: Any, spec: str, usage: str, good: list[str], bad: str
) -> None:
    made = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
    kms.create_grant(KeyId=made, GranteePrincipal=ROOT, Operations=good)
    assert (
        refused(kms.create_grant, KeyId=made, GranteePrincipal=ROOT, Operations=[*good, bad])[0]
        == "ValidationException"
    )
    context = {"EncryptionContextSubset": {"a": "b"}}
    given = {"KeyId": made, "GranteePrincipal": ROOT, "Operations": good, "Constraints": context}
    assert refused(kms.create_grant, **given)[0] == "ValidationException"


def test_create_grant__child_grants_are_never_wider(kms: Any, key: dict[str, Any], alice: User, bob: User) -> None:
    parent = {"EncryptionContextSubset": {"a": "1"}}
    kms.create_grant(
        KeyId=key["KeyId"], GranteePrincipal=alice.arn, Operations=["CreateGrant", "Encrypt"], Constraints=parent
    )
    stricter: dict[str, Any] = {"EncryptionContextSubset": {"a": "1", "b": "2"}}
    for operations, constraints in (
        (["Decrypt"], stricter),
        (["Encrypt", "Decrypt"], stricter),
        (["Encrypt"], {}),
        (["Encrypt"], {"EncryptionContextSubset": {"b": "2"}}),
        (["Encrypt"], {"EncryptionContextEquals": {"b": "2"}}),
    ):
        given = {
            "KeyId": key["KeyId"],
            "GranteePrincipal": bob.arn,
            "Operations": operations,
            "Constraints": constraints,
        }
        assert refused(alice.kms.create_grant, **given) == denied(alice, "CreateGrant", key)
    for constraints in (parent, stricter, {"EncryptionContextEquals": {"a": "1"}}):
        alice.kms.create_grant(
            KeyId=key["KeyId"], GranteePrincipal=bob.arn, Operations=["Encrypt"], Constraints=constraints
        )
    bob.kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext={"a": "1"})
    assert refused(bob.kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x") == denied(bob, "Encrypt", key)


def test_a_grant_needs_no_policy_but_a_deny_is_stronger(kms: Any, key_server: KeyServer, alice: User) -> None:
    from tests.key_service import ADMINISTRATION, deny, policy

    made = kms.create_key(Policy=policy(ADMINISTRATION, deny("kms:Encrypt", **to(alice.arn))))["KeyMetadata"]
    kms.create_grant(KeyId=made["KeyId"], GranteePrincipal=alice.arn, Operations=DATA)
    alice.kms.generate_data_key(KeyId=made["KeyId"], KeySpec="AES_256")
    assert refused(alice.kms.encrypt, KeyId=made["KeyId"], Plaintext=b"x") == (
        "AccessDeniedException",
        (
            f"User: {alice.arn} is not authorized to perform: kms:Encrypt on resource: {made['Arn']} with an explicit deny in a"
            " resource-based policy"
        ),
    )
