"""What the record says of a call: who, with which right, on which key and material, for which data, and what became of it.

The words and the fields are CloudTrail's (audit/event.py), and that module keeps every byte string out. Here is only
which fact of a call goes where.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from strongroom.audit import event
from strongroom.aws.kms_errors import KmsError
from strongroom.identity.requester import Caller
from strongroom.kms.authorize import Permission
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.key_specs import SYMMETRIC

Event = Mapping[str, Any]

# What an administrator may ask without changing anything.
_LOOKS_ONLY = frozenset({"BackUpKeyStore", "ListUnsealSlots"})
# CloudTrail names the algorithm of these whether the request does or not.
_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "Decrypt": {"EncryptionAlgorithm": SYMMETRIC},
    "Encrypt": {"EncryptionAlgorithm": SYMMETRIC},
    "ReEncrypt": {"SourceEncryptionAlgorithm": SYMMETRIC, "DestinationEncryptionAlgorithm": SYMMETRIC},
}
_NONE: Mapping[str, str] = {}


def call_event(
    kms: Kms,
    call: KmsCall,
    key_ids: Iterable[str],
    *,
    allowed: Iterable[Permission],
    outcome: Outcome,
    error: KmsError | None,
) -> Event:
    """The record of one call, answered or refused. `key_ids`: of the keys that it named, as far as they were found."""
    additional: dict[str, Any] = {}
    if reasons := [str(permission) for permission in allowed]:
        additional["authorizedBy"] = reasons
    if call.caller.requester.request_id:
        additional["s3RequestId"] = call.caller.requester.request_id
    if error is None:
        additional |= outcome.facts
    elif error.reason:
        additional["reason"] = error.reason
    return event.api_call(
        name=call.operation,
        region=kms.region,
        account_id=kms.account_id,
        time_us=call.now_us,
        user_identity=identity_of(kms, call.caller),
        source_ip=call.caller.requester.source_ip,
        user_agent=call.caller.requester.user_agent,
        request_id=call.caller.request_id,
        request_parameters=event.request_parameters({**_DEFAULTS.get(call.operation, _NONE), **call.input}),
        response_elements=outcome.elements if error is None else None,
        additional=additional,
        key_arns=[kms.key_arn(key_id) for key_id in key_ids] or _created(outcome),
        error_code=error.code if error else None,
        error_message=error.message if error else None,
    )


def refusal_event(
    kms: Kms, operation: str, error: KmsError, caller: Caller, *, is_verified: bool, left_out: int
) -> Event:
    """The record of a request that became no call: signed wrongly, or unreadable. `operation`: "" where it named none.
    Unless `is_verified` the record says that somebody has merely named the caller. `left_out`: how many such were not
    recorded before it.
    """
    unverified = {} if is_verified else {"signatureVerified": False}
    untold = {"leftOutBefore": left_out} if left_out else {}
    return event.api_call(
        name=operation or "UnknownOperation",
        region=kms.region,
        account_id=kms.account_id,
        time_us=kms.clock().us,
        user_identity=identity_of(kms, caller),
        source_ip=caller.requester.source_ip,
        user_agent=caller.requester.user_agent,
        request_id=caller.request_id,
        request_parameters=None,
        additional=unverified | untold,
        error_code=error.code,
        error_message=error.message,
    )


def service_event(kms: Kms, name: str, key_id: str, facts: Mapping[str, Any]) -> Event:
    """What the service did by itself."""
    return event.service_event(
        name=name,
        region=kms.region,
        account_id=kms.account_id,
        time_us=kms.clock().us,
        details={"keyId": kms.key_arn(key_id)},
        key_arns=[kms.key_arn(key_id)],
        additional=facts,
    )


def administration_event(kms: Kms, name: str, details: Mapping[str, Any], *, error: str | None = None) -> Event:
    """What somebody did to slots and root key, beside the API; `error`: why it was refused."""
    return event.service_event(
        name=name,
        region=kms.region,
        account_id=kms.account_id,
        time_us=kms.clock().us,
        details=details,
        error_code=None if error is None else "OperationNotPermitted",
        error_message=error,
        read_only=name in _LOOKS_ONLY,
    )


def identity_of(kms: Kms, caller: Caller) -> dict[str, Any]:
    if caller.is_service:
        return event.service_identity("s3.amazonaws.com", account_id=kms.account_id)
    return event.user_identity(
        arn=caller.arn,
        account_id=caller.account_id,
        access_key_id=caller.requester.access_key_id,
        invoked_by=None if caller.via_service is None else "s3.amazonaws.com",
    )


def _created(outcome: Outcome) -> list[str]:
    """The key that a call made."""
    made = outcome.output.get("KeyMetadata") if outcome.changes else None
    return [made["Arn"]] if made else []
