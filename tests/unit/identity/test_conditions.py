import json
from datetime import UTC, datetime

from strongroom.identity.conditions import global_conditions, named_conditions
from strongroom.identity.policy import Request, evaluate_identity, parse_policy
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
        requester(f"arn:aws:iam::{ACCOUNT}:user/alice"),
        user_id="AIDA1",
        now=NOW,
        region="eu-central-1",
        resource_account=ACCOUNT,
    )
    assert found == {
        "aws:currenttime": ("2026-03-04T05:06:07Z",),
        "aws:epochtime": ("1772600767",),
        "aws:principalaccount": (ACCOUNT,),
        "aws:principalarn": (f"arn:aws:iam::{ACCOUNT}:user/alice",),
        "aws:principalisawsservice": ("false",),
        "aws:principaltype": ("User",),
        "aws:requestedregion": ("eu-central-1",),
        "aws:resourceaccount": (ACCOUNT,),
        "aws:securetransport": ("true",),
        "aws:sourceip": ("192.0.2.1",),
        "aws:useragent": ("aws-cli/2",),
        "aws:userid": ("AIDA1",),
        "aws:username": ("alice",),
        "aws:viaawsservice": ("false",),
    }


def test_of_a_person_for_whom_a_service_asks_neither_address_nor_user_agent_is_told() -> None:
    found = global_conditions(
        requester(f"arn:aws:iam::{ACCOUNT}:user/staff/alice"),
        user_id=None,
        now=NOW,
        region="eu-central-1",
        resource_account=ACCOUNT,
        via_service=True,
    )
    assert (found["aws:username"], found["aws:viaawsservice"]) == (("alice",), ("true",))
    assert not found.keys() & {"aws:sourceip", "aws:useragent", "aws:userid"}


def test_what_is_not_known_is_absent() -> None:
    found = global_conditions(
        requester(f"arn:aws:iam::{ACCOUNT}:root", source_ip="", user_agent="", secure_transport=False),
        user_id=ACCOUNT,
        now=NOW,
        region="eu-central-1",
        resource_account=ACCOUNT,
    )
    assert not found.keys() & {"aws:username", "aws:sourceip", "aws:useragent"}
    assert (found["aws:principaltype"], found["aws:securetransport"]) == (("Account",), ("false",))


def test_a_name_is_found_by_the_policy_that_names_it_whatever_its_letters() -> None:
    """Sigma in lower case depends on what stands before it: so does the key in a policy, which is put so as a whole."""
    for name in ("team", "Team", "Σ", "ΟΔΟΣ", "İ", "ß"):
        document = {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Deny",
                "Action": "kms:Decrypt",
                "Resource": "*",
                "Condition": {"StringEquals": {f"kms:EncryptionContext:{name}": "x"}},
            },
        }
        request = Request(
            principal=Principal(account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:user/alice"),
            action="kms:Decrypt",
            resource="*",
            context=named_conditions("kms:encryptioncontext:", [(name, "x")]),
        )
        assert evaluate_identity([parse_policy(json.dumps(document), kind="identity")], request).denied_by is not None
