"""The one decision, without a server: who asks, what the service wants allowed, and what a handler may ask later."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.edge.authorize import authorize
from strongroom.identity.call import AuthorizedCall, Permission, Rules, Sought
from strongroom.identity.policy import parse_policy
from strongroom.identity.requester import Requester
from strongroom.identity.root import Credentials, Principal
from strongroom.identity.store import Identity
from tests.people import allow, deny, policy

ACCOUNT = "123456789012"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def person(*statements: dict[str, Any], account: str = ACCOUNT, root: bool = False) -> Identity:
    name = "root" if root else "user/alice"
    return Identity(
        credentials=Credentials(access_key_id="K", secret_access_key=""),
        principal=Principal(account_id=account, arn=f"arn:aws:iam::{account}:{name}"),
        user_id="AIDA1",
        policies=(parse_policy(policy(*statements), kind="identity"),) if statements else (),
        is_root=root,
    )


def rules(*permissions: Permission, error: Exception | None = None, **conditions: str) -> Rules:
    def each() -> Iterator[Permission]:
        yield from permissions
        if error is not None:
            raise error

    async def asked(_: Sought) -> Iterator[Permission]:
        return each()

    return Rules(conditions=lambda _: {f"s3:{name}": (value,) for name, value in conditions.items()}, permissions=asked)


def decide(identity: Identity, wanted: Rules) -> AuthorizedCall:
    return asyncio.run(
        authorize(
            sought=Sought(
                operation="GetObject", input={}, headers=Headers(), account_id=ACCOUNT, auth_type="REST-HEADER"
            ),
            rules=wanted,
            identity=identity,
            requester=Requester(
                principal=identity.principal,
                access_key_id="K",
                source_ip="192.0.2.1",
                secure_transport=True,
                user_agent="",
                request_id="R",
            ),
            now=NOW,
            region="us-east-1",
            secret_headers={},
            body=None,
            bucket_url="",
        )
    )


READ = Permission(action="s3:GetObject", resource="arn:aws:s3:::b/k")
WRITE = Permission(action="s3:PutObject", resource="arn:aws:s3:::b/k")
USER = f"User: arn:aws:iam::{ACCOUNT}:user/alice is not authorized to perform: "


def test_all_that_is_needed_has_to_be_allowed() -> None:
    assert decide(person(allow(["s3:GetObject", "s3:PutObject"])), rules(READ, WRITE)).operation == "GetObject"
    with pytest.raises(S3Error) as caught:
        decide(person(allow("s3:GetObject")), rules(READ, WRITE))
    assert (caught.value.status, caught.value.code) == (403, "AccessDenied")
    assert caught.value.message == (
        USER
        + 's3:PutObject on resource: "arn:aws:s3:::b/k" because no identity-based policy allows the s3:PutObject action'
    )


def test_an_explicit_deny_is_told_as_one() -> None:
    with pytest.raises(S3Error) as caught:
        decide(person(allow("*"), deny("s3:Get*")), rules(READ))
    assert caught.value.message == (
        USER + 's3:GetObject on resource: "arn:aws:s3:::b/k" with an explicit deny in an identity-based policy'
    )


@pytest.mark.parametrize("identity", [person(), person(deny("s3:PutObject")), person(allow("kms:*"))])
def test_nothing_is_allowed_by_not_being_denied(identity) -> None:
    """minio CVE-2025-62506: a policy of denials alone was taken for permission."""
    with pytest.raises(S3Error, match="AccessDenied"):
        decide(identity, rules(READ))


def test_the_root_user_is_asked_nothing_and_only_in_its_account() -> None:
    call = decide(person(root=True), rules(READ, error=AssertionError()))
    assert call.denial(WRITE) is None
    with pytest.raises(S3Error, match="AccessDenied"):
        decide(person(root=True, account="999999999999"), rules())


def test_another_account_is_denied_whatever_its_policies_say() -> None:
    with pytest.raises(S3Error, match="AccessDenied"):
        decide(person(allow("*"), account="999999999999"), rules(READ))


def test_what_comes_after_a_denial_is_not_even_asked() -> None:
    wanted = rules(READ, error=S3Error("InvalidArgument"))
    with pytest.raises(S3Error, match="AccessDenied"):
        decide(person(), wanted)
    with pytest.raises(S3Error, match="InvalidArgument"):
        decide(person(allow("*")), wanted)


def test_a_handler_asks_under_the_same_conditions() -> None:
    identity = person(
        allow("s3:DeleteObject", "arn:aws:s3:::b/mine/*", StringEquals={"s3:authtype": "x", "s3:versionid": "v"})
    )

    def asked(key: str, version: str | None, authtype: str = "x") -> bool:
        call = decide(identity, rules(authtype=authtype))
        conditions = {"s3:versionid": (version,)} if version else {}
        needed = Permission(action="s3:DeleteObject", resource=f"arn:aws:s3:::b/{key}", conditions=conditions)
        return call.denial(needed) is None

    assert asked("mine/k", "v")
    assert not asked("mine/k", None)
    assert not asked("mine/k", "w")
    assert not asked("other/k", "v")
    assert not asked("mine/k", "v", authtype="y")


def test_conditions_of_the_server_are_among_them() -> None:
    identity = person(
        allow(
            "s3:GetObject",
            StringEquals={"aws:username": "alice", "aws:userid": "AIDA1"},
            IpAddress={"aws:SourceIp": "192.0.2.0/24"},
            Bool={"aws:SecureTransport": "true"},
            DateEquals={"aws:CurrentTime": "2026-01-01T00:00:00Z"},
        )
    )
    decide(identity, rules(READ))


def test_a_call_shows_nothing_of_the_policies() -> None:
    shown = repr(decide(person(allow("s3:GetObject", "arn:aws:s3:::b/*")), rules(READ)))
    assert "denial" not in shown
    assert "arn:aws:s3" not in shown
