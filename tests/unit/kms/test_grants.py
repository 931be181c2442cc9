"""strongroom.kms.grants: tokens that name their grant, names that make a grant once, constraints in their bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.kms_errors import KmsError
from strongroom.kms import grants
from strongroom.kms.call import Kms
from strongroom.kms.grants import (
    create_grant,
    grant_of_token,
    list_grants,
    list_retirable_grants,
    named_grant,
    revoke_grant,
    token_of,
)
from strongroom.kms.records import Grant, Key
from tests.kms_values import ACCOUNT, add_key, call, new_kms

HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)


def granted(kms: Kms, key: Key, **given: Any) -> Grant:
    asked: dict[str, Any] = {"GranteePrincipal": ACCOUNT, "Operations": ["Decrypt"], **given}
    outcome = create_grant(call("CreateGrant", **asked), kms, key)
    kms.state.apply(outcome.changes)
    return kms.state.grants[outcome.output["GrantId"]]


def code_of(function: Any, *arguments: Any) -> str:
    with pytest.raises(KmsError) as raised:
        function(*arguments)
    return raised.value.code


@pytest.fixture
def kms() -> Kms:
    return new_kms()


@pytest.fixture
def key(kms: Kms) -> Key:
    return add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")


@given(HEX)
def test_a_token_names_its_grant_and_is_another_one_each_time(grant_id: str) -> None:
    grant = Grant(
        grant_id=grant_id, key_id="k", created_us=0, name="", grantee="", retiring="", issuing_account="", operations=()
    )
    tokens = {token_of(grant) for _ in range(3)}
    assert len(tokens) == 3
    assert {grant_of_token(token) for token in tokens} == {grant_id}


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.hex())))
def test_any_other_text_is_no_token(text: str) -> None:
    assert code_of(grant_of_token, text) == "InvalidGrantTokenException"


def test_the_account_is_its_root(kms: Kms, key: Key) -> None:
    grant = granted(kms, key, RetiringPrincipal=ACCOUNT)
    assert grant.grantee == grant.retiring == grant.issuing_account == kms.account_root
    for name in (ACCOUNT, kms.account_root):
        for listed in (
            list_grants(call("ListGrants", GranteePrincipal=name), kms, key),
            list_retirable_grants(call("ListRetirableGrants", RetiringPrincipal=name), kms),
        ):
            assert [each["GrantId"] for each in listed.output["Grants"]] == [grant.grant_id]


def test_retirable_grants_are_somebodys(kms: Kms) -> None:
    assert code_of(list_retirable_grants, call("ListRetirableGrants"), kms) == "ValidationException"


def test_a_principal_that_is_not_there_gets_no_grant(kms: Kms, key: Key) -> None:
    user = f"arn:aws:iam::{ACCOUNT}:user/nobody"
    for member in ("GranteePrincipal", "RetiringPrincipal"):
        asked: dict[str, Any] = {"GranteePrincipal": ACCOUNT, "Operations": ["Decrypt"], member: user}
        assert code_of(create_grant, call("CreateGrant", **asked), kms, key) == "InvalidArnException"


@pytest.mark.parametrize(
    "change",
    [
        {"Name": "other"},
        {"Operations": ["Decrypt", "Encrypt"]},
        {"Constraints": {"EncryptionContextEquals": {"a": "b"}}},
        {"Constraints": {"EncryptionContextSubset": {"a": "b"}}},
        {"RetiringPrincipal": ACCOUNT},
    ],
)
def test_a_name_makes_a_grant_once_for_the_same_terms(kms: Kms, key: Key, change: dict[str, Any]) -> None:
    terms = {"Name": "n", "Operations": ["Decrypt"]}
    first = granted(kms, key, **terms)
    assert granted(kms, key, **terms) == first
    assert granted(kms, key, **terms | change) != first
    assert granted(kms, key) != granted(kms, key)


def test_the_order_of_operations_makes_no_other_grant(kms: Kms, key: Key) -> None:
    first = granted(kms, key, Name="n", Operations=["Encrypt", "Decrypt", "Encrypt"])
    assert first.operations == ("Encrypt", "Decrypt")
    assert granted(kms, key, Name="n", Operations=["Decrypt", "Encrypt"]) == first


def test_a_name_belongs_to_its_key(kms: Kms, key: Key) -> None:
    other = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    assert granted(kms, key, Name="n") != granted(kms, other, Name="n")


def test_revoke_grant__of_another_key(kms: Kms, key: Key) -> None:
    other = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    grant = granted(kms, key)
    request = call("RevokeGrant", GrantId=grant.grant_id)
    assert code_of(revoke_grant, request, kms, other) == "NotFoundException"
    kms.state.apply(revoke_grant(request, kms, key).changes)
    assert list_grants(call("ListGrants"), kms, key).output["Grants"] == []


def test_named_grant__by_token_or_by_key_and_id(kms: Kms, key: Key) -> None:
    grant = granted(kms, key)
    token = token_of(grant)
    assert named_grant(call("RetireGrant", GrantToken=token), kms) == grant
    assert named_grant(call("RetireGrant", KeyId=key.key_id, GrantId=grant.grant_id), kms) == grant
    members: list[dict[str, Any]] = [
        {},
        {"GrantId": grant.grant_id},
        {"GrantToken": token, "GrantId": grant.grant_id, "KeyId": "k"},
    ]
    for given_members in members:
        assert code_of(named_grant, call("RetireGrant", **given_members), kms) == "ValidationException"


def test_a_key_has_so_many_grants_and_no_more(kms: Kms, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    assert grants.MOST_GRANTS == 50_000
    monkeypatch.setattr(grants, "MOST_GRANTS", 2)
    named = granted(kms, key, Name="n")
    granted(kms, key)
    request = call("CreateGrant", GranteePrincipal=ACCOUNT, Operations=["Decrypt"])
    assert code_of(create_grant, request, kms, key) == "LimitExceededException"
    assert granted(kms, key, Name="n") == named  # it is there already
    granted(kms, add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"))
