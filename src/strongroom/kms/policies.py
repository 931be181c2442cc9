"""Key policies: the document that decides about a key. Each key has exactly one, named `default`."""

import json
from typing import Any

from msgspec.structs import replace as changed

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.key_policy import check_key_policy, check_lockout
from strongroom.kms.records import Key
from strongroom.kms.state import Put

DEFAULT_POLICY_NAME = "default"


def get_key_policy(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del kms
    _check_name(call)
    return Outcome(output={"Policy": key.policy, "PolicyName": DEFAULT_POLICY_NAME})


def put_key_policy(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    _check_name(call)
    return Outcome(changes=(Put(with_policy(call, kms, key, call.input["Policy"])),))


def list_key_policies(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del call, kms, key
    return Outcome(output={"PolicyNames": [DEFAULT_POLICY_NAME], "Truncated": False})


def with_policy(call: KmsCall, kms: Kms, key: Key, text: str) -> Key:
    """The key under a policy that may be put. Raises MalformedPolicyDocumentException, LimitExceededException."""
    policy = check_key_policy(text, principal_exists=kms.principal_exists)
    key = changed(key, policy=text)
    if not call.input.get("BypassPolicyLockoutSafetyCheck"):
        check_lockout(policy, call, kms, key)
    return key


def default_policy(kms: Kms) -> str:
    """What a key gets whose creator gave none: the account decides, by its identity policies."""
    return _document(
        "key-default-1",
        [
            {
                "Sid": "Enable IAM User Permissions",
                "Effect": "Allow",
                "Principal": {"AWS": kms.account_root},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    )


def managed_policy(kms: Kms, service: str) -> str:
    """Of a key that AWS would manage: everybody in the account may use it, through its service only; nobody may change it."""
    return _document(
        f"auto-{service}-2",
        [
            {
                "Sid": f"Allow access through {service.upper()} for all principals in the account that are authorized to use"
                f" {service.upper()}",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": [
                    "kms:Encrypt",
                    "kms:Decrypt",
                    "kms:ReEncrypt*",
                    "kms:GenerateDataKey*",
                    "kms:DescribeKey",
                ],
                "Resource": "*",
                "Condition": {
                    "StringEquals": {
                        "kms:ViaService": f"{service}.{kms.region}.amazonaws.com",
                        "kms:CallerAccount": kms.account_id,
                    }
                },
            },
            {
                "Sid": "Allow direct access to key metadata to the account",
                "Effect": "Allow",
                "Principal": {"AWS": kms.account_root},
                "Action": ["kms:Describe*", "kms:Get*", "kms:List*"],
                "Resource": "*",
            },
        ],
    )


def service_policy(kms: Kms) -> str:
    """Of the key that holds the store key: looked at by the account, used by the store itself and by nobody else."""
    return _document(
        "strongroom-store-1",
        [
            {
                "Sid": "Allow direct access to key metadata to the account",
                "Effect": "Allow",
                "Principal": {"AWS": kms.account_root},
                "Action": ["kms:Describe*", "kms:Get*", "kms:List*"],
                "Resource": "*",
            }
        ],
    )


def _document(name: str, statements: list[dict[str, Any]]) -> str:
    """Spaced as AWS shows policies."""
    document = {"Version": "2012-10-17", "Id": name, "Statement": statements}
    return json.dumps(document, indent=2, separators=(",", " : "))


def _check_name(call: KmsCall) -> None:
    if call.input.get("PolicyName", DEFAULT_POLICY_NAME) != DEFAULT_POLICY_NAME:
        raise KmsError("NotFoundException", "No such policy exists")
