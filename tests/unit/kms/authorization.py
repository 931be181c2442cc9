"""Keys, callers and policies for the tests of authorisation."""

import json
from typing import Any

from strongroom.identity.policy import Policy, parse_policy
from strongroom.identity.requester import Caller, Requester
from strongroom.identity.root import Principal
from strongroom.kms.call import Kms, KmsCall
from strongroom.kms.records import Grant, GrantConstraints, Key
from strongroom.kms.state import State
from tests.kms_values import moment

ACCOUNT = "123456789012"
OTHER_ACCOUNT = "999999999999"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/staff/alice"
BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
FOREIGNER = f"arn:aws:iam::{OTHER_ACCOUNT}:user/alice"
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEY_ARN = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{KEY_ID}"
NOW_US = 1_767_323_045_000_000
DELEGATION = {"Sid": "account", "Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"}


def statement(principal: Any = None, effect: str = "Allow", action: Any = "kms:*", **elements: Any) -> dict[str, Any]:
    """`principal`: an ARN, or the whole element; None for an identity policy."""
    element = {"AWS": principal} if isinstance(principal, str) and principal != "*" else principal
    whole = {"Effect": effect, "Action": action, "Resource": "*", **elements}
    return whole if element is None else {"Principal": element, **whole}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def identity(*statements: dict[str, Any]) -> list[Policy]:
    return [parse_policy(document(each), kind="identity") for each in statements]


ALLOW_ALL = identity(statement(Sid="iam"))


def key(*statements: dict[str, Any], **fields: Any) -> Key:
    return Key(
        **{
            "key_id": KEY_ID,
            "created_us": NOW_US,
            "spec": "SYMMETRIC_DEFAULT",
            "usage": "ENCRYPT_DECRYPT",
            "origin": "AWS_KMS",
            "policy": document(*statements),
            **fields,
        }
    )


def grant(grantee: str = ALICE, *operations: str, **fields: Any) -> Grant:
    constraints = {name: fields.pop(name) for name in ("equals", "subset", "source_arn") if name in fields}
    return Grant(
        **{
            "grant_id": "ab" * 32,
            "key_id": KEY_ID,
            "created_us": NOW_US,
            "name": "",
            "grantee": grantee,
            "retiring": "",
            "issuing_account": ROOT,
            "operations": operations or ("Decrypt",),
            "constraints": GrantConstraints(**constraints),
            **fields,
        }
    )


class NoRoot:
    """Authorisation opens nothing."""

    def seal_material(self, *_: Any) -> bytes:
        raise AssertionError

    def open_material(self, *_: Any) -> bytes:
        raise AssertionError

    def derive(self, *_: Any) -> bytes:
        raise AssertionError


def kms(*records: Any) -> Kms:
    return Kms(
        region="us-east-1",
        account_id=ACCOUNT,
        state=State(records),
        root=NoRoot(),
        principal_exists=lambda _: True,
        unique_id=lambda arn: f"id of {arn}",
        clock=lambda: moment(NOW_US),
    )


def call(
    operation: str = "Decrypt",
    arn: str = ALICE,
    *,
    via_service: str | None = None,
    is_service: bool = False,
    source_ip: str = "192.0.2.7",
    secure_transport: bool = True,
    **parameters: Any,
) -> KmsCall:
    return KmsCall(
        operation=operation,
        input=parameters,
        moment=moment(NOW_US),
        caller=Caller(
            requester=Requester(
                principal=Principal(account_id=arn.split(":")[4], arn=arn),
                access_key_id="AK",
                source_ip=source_ip,
                secure_transport=secure_transport,
                user_agent="aws-cli/2",
                request_id="",
            ),
            request_id="r",
            via_service=via_service,
            is_service=is_service,
        ),
    )
