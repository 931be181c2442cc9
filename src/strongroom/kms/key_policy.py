"""Key policies: what is refused before one is stored, and how a stored one is read.

A key's policy is its only door, so a document is read whole, its principals have to exist, and whoever puts it must
still be able to change it afterwards (unless they bypass that check in so many words). Authorising calls is
`authorize.py`'s work.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from strongroom.aws.kms_errors import KmsError
from strongroom.identity.policy import (
    INVALID_PRINCIPALS,
    MalformedPolicy,
    Policy,
    account_root,
    evaluate_resource,
    parse_policy,
)
from strongroom.kms.call import Kms, KmsCall
from strongroom.kms.condition_context import policy_request
from strongroom.kms.records import Key

MAX_BYTES = 32 * 1024
LOCKED_OUT = "The new key policy will not allow you to update the key policy in the future."

_CHARACTERS = re.compile("[\t\n\r\u0020-\u00ff]*")
_MALFORMED = "MalformedPolicyDocumentException"


@lru_cache(maxsize=256)
def read_key_policy(text: str) -> Policy:
    """A policy that `check_key_policy` has passed, from a key's record; remembered, being asked at every call."""
    return parse_policy(text, kind="resource")


def check_key_policy(text: str, *, principal_exists: Callable[[str], bool]) -> Policy:
    """A document given to CreateKey or PutKeyPolicy. `principal_exists`: of a user's, a role's or an account root's ARN,
    or of what is left of a deleted one (AIDA...).

    Raises KmsError.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise KmsError("LimitExceededException", f"The key policy is larger than {MAX_BYTES} bytes.")
    if _CHARACTERS.fullmatch(text) is None:
        raise KmsError(_MALFORMED, "Policy contains characters that are not allowed.")
    try:
        policy = parse_policy(text, kind="resource")
    except MalformedPolicy as error:
        raise KmsError(_MALFORMED, error.message) from None
    for statement in policy.statements:
        principals = statement.principals
        if principals is None or principals.federated or principals.canonical_users:
            raise KmsError(_MALFORMED, INVALID_PRINCIPALS)
        named = principals.arns | {account_root(account_id) for account_id in principals.accounts}
        if not all(principal_exists(arn) for arn in named):
            raise KmsError(_MALFORMED, INVALID_PRINCIPALS)
    return policy


def check_lockout(policy: Policy, call: KmsCall, kms: Kms, key: Key) -> None:
    """That `policy`, once it is `key`'s, lets the caller put another: names them, or leaves it to their account.

    Raises KmsError. Not to be called where BypassPolicyLockoutSafetyCheck is true.
    """
    later = KmsCall(operation="PutKeyPolicy", input={}, caller=call.caller, moment=call.moment)
    user_id = kms.unique_id(call.caller.arn)
    request = policy_request(later, kms, key, action="kms:PutKeyPolicy", user_id=user_id)
    decision = evaluate_resource(policy, request)
    if decision.denied_by is not None or (decision.allowed_by is None and decision.delegated_by is None):
        raise KmsError(_MALFORMED, LOCKED_OUT)
