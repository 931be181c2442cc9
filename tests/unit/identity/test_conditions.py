from datetime import UTC, datetime

from strongroom.identity.conditions import global_conditions
from strongroom.identity.requester import Requester
from strongroom.identity.root import Principal

ACCOUNT = "123456789012"
NOW = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)


def requester(arn: str, **given: object) -> Requester:
    told = {"source_ip": "192.0.2.1", "secure_transport": True, "user_agent": "aws-cli/2", **given}
    return Requester(
        principal=Principal(account_id=ACCOUNT, arn=arn),
        access_key_id="K",
        request_id="R",
        **told,  # type: ignore[arg-type]
    )


def test_what_is_known_of_a_user() -> None:
    found = global_conditions(
        requester(f"arn:aws:iam::{ACCOUNT}:user/alice"), user_id="AIDA1", now=NOW, resource_account=ACCOUNT
    )
    assert found == {
        "aws:currenttime": ("2026-03-04T05:06:07Z",),
        "aws:epochtime": ("1772600767",),
        "aws:principalaccount": (ACCOUNT,),
        "aws:principalarn": (f"arn:aws:iam::{ACCOUNT}:user/alice",),
        "aws:principalisawsservice": ("false",),
        "aws:principaltype": ("User",),
        "aws:resourceaccount": (ACCOUNT,),
        "aws:securetransport": ("true",),
        "aws:sourceip": ("192.0.2.1",),
        "aws:useragent": ("aws-cli/2",),
        "aws:userid": ("AIDA1",),
        "aws:username": ("alice",),
        "aws:viaawsservice": ("false",),
    }


def test_what_is_not_known_is_absent() -> None:
    found = global_conditions(
        requester(f"arn:aws:iam::{ACCOUNT}:root", source_ip="", user_agent="", secure_transport=False),
        user_id=ACCOUNT,
        now=NOW,
        resource_account=ACCOUNT,
    )
    assert not found.keys() & {"aws:username", "aws:sourceip", "aws:useragent"}
    assert (found["aws:principaltype"], found["aws:securetransport"]) == (("Account",), ("false",))
