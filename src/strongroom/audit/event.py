"""The events of the audit log: plain dicts in CloudTrail's field names, made of plain arguments.

Rules: what is in an event got there by its type. Bytes of every kind (plaintexts, ciphertexts, key material, messages,
signatures) are dropped at any depth, whatever their member is called; so is everything that is not text, a number, a
time, a list or a mapping of those. Secrets that are text are dropped by name (a test holds the names against the model).
This module knows no operation but by the verb in its name, and no type of the key service.
Source: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

EVENT_VERSION = "1.11"
EVENT_SOURCE = "kms.amazonaws.com"
MAX_EVENT_BYTES = 256 << 10  # CloudTrail's limit as well
# Bytes of the parts that clients fill, where the whole is too long. An encryption context as long as it may be, all of it
# escaped, finds room in the first.
_ROOM = {"requestParameters": 64 << 10, "responseElements": 16 << 10, "additionalEventData": 16 << 10}
Event = dict[str, Any]

_USER_AGENT_LENGTH, _MESSAGE_LENGTH = 1024, 8192  # characters
_SECRETS = frozenset(
    {"GrantToken", "GrantTokens", "ImportToken", "KeyStorePassword", "XksProxyAuthenticationCredential"}
)
# The members of the KMS model that are maps: what stands below is the client's own, and kept letter by letter.
_CONTEXTS = frozenset(
    {
        "EncryptionContext",
        "SourceEncryptionContext",
        "DestinationEncryptionContext",
        "EncryptionContextEquals",
        "EncryptionContextSubset",
    }
)
_CHANGING = (
    "Cancel",
    "Connect",
    "Create",
    "Delete",
    "Disable",
    "Disconnect",
    "Enable",
    "Import",
    "Put",
    "Replicate",
    "Retire",
    "Revoke",
    "Rotate",
    "Schedule",
    "Synchronize",
    "Tag",
    "Untag",
    "Update",
)
# Where CloudTrail has another word than the client is told; rules that look for refusals look for CloudTrail's.
_ERROR_CODES = {"AccessDeniedException": "AccessDenied"}
_SCALARS = frozenset({str, int, bool})
_QUICK = msgspec.json.Encoder(order="deterministic")
_EXACT = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_DROPPED = object()


def api_call(
    *,
    name: str,
    region: str,
    account_id: str,
    time_us: int,
    user_identity: Mapping[str, Any],
    source_ip: str,
    user_agent: str,
    request_id: str,
    request_parameters: Mapping[str, Any] | None,
    response_elements: Mapping[str, Any] | None = None,
    additional: Mapping[str, Any] | None = None,
    key_arns: Sequence[str] = (),
    error_code: str | None = None,
    error_message: str | None = None,
    read_only: bool | None = None,
) -> Event:
    """One request, answered or refused. `name`: the operation; `account_id`: whose log this is.

    `user_identity`: of `user_identity` or `service_identity`. `request_parameters`: of the function of that name. Both are
    taken as they are.
    `additional`: `keyMaterialId`, `grantId`, `authorizedBy`, `s3RequestId` and whatever else explains the outcome.
    `key_arns`: of the keys that were used, of ReEncrypt the source first. `error_code`: as the client is told it.
    `read_only`: None lets the operation's verb tell.
    """
    event = _event("AwsApiCall", name, region, account_id, time_us, key_arns, additional)
    event |= {
        "userIdentity": user_identity,
        "sourceIPAddress": source_ip,
        "userAgent": user_agent[:_USER_AGENT_LENGTH],
        "requestParameters": request_parameters,
        "responseElements": None if response_elements is None else _plain(response_elements),
        "requestID": request_id,
        "readOnly": is_read_only(name) if read_only is None else read_only,
    }
    return event | _error(error_code, error_message)


def service_event(
    *,
    name: str,
    region: str,
    account_id: str,
    time_us: int,
    details: Mapping[str, Any],
    key_arns: Sequence[str] = (),
    additional: Mapping[str, Any] | None = None,
    error_code: str | None = None,
    error_message: str | None = None,
    read_only: bool = False,
) -> Event:
    """What the service did by itself (RotateKey, DeleteKey, ...), or for an administrator beside its API.

    `details`: serviceEventDetails.
    """
    event = _event("AwsServiceEvent", name, region, account_id, time_us, key_arns, additional)
    event |= {
        "userIdentity": service_identity(EVENT_SOURCE, account_id=account_id),
        "sourceIPAddress": EVENT_SOURCE,
        "userAgent": EVENT_SOURCE,
        "requestParameters": None,
        "responseElements": None,
        "serviceEventDetails": _plain(details),
        "readOnly": read_only,
    }
    return event | _error(error_code, error_message)


def _error(code: str | None, message: str | None) -> dict[str, str]:
    if code is None:
        return {}
    return {"errorCode": _ERROR_CODES.get(code, code), "errorMessage": (message or "")[:_MESSAGE_LENGTH]}


def user_identity(
    *,
    arn: str,
    account_id: str,
    access_key_id: str,
    principal_id: str = "",
    invoked_by: str | None = None,
) -> dict[str, Any]:
    """userIdentity of a person; type and userName follow from the ARN. `invoked_by`: the service that asked for them.
    `principal_id`: the unique id, where the person has one.
    """
    resource = arn.split(":", 5)[-1]
    identity: dict[str, Any] = {"arn": arn, "accountId": account_id, "accessKeyId": access_key_id}
    if resource == "root":
        identity |= {"type": "Root", "principalId": principal_id or account_id}
    elif resource.startswith("user/"):
        identity |= {"type": "IAMUser", "principalId": principal_id or arn, "userName": resource.rsplit("/", 1)[-1]}
    elif resource.startswith("assumed-role/"):
        identity |= {"type": "AssumedRole", "principalId": principal_id or arn}
    else:
        identity |= {"type": "AWSAccount", "principalId": principal_id or arn}
    if invoked_by is not None:
        identity["invokedBy"] = invoked_by
    return identity


def service_identity(invoked_by: str, *, account_id: str) -> dict[str, Any]:
    """userIdentity of a service that acts for itself; `invoked_by` names it (`s3.amazonaws.com`)."""
    return {"type": "AWSService", "accountId": account_id, "invokedBy": invoked_by}


def request_parameters(input: Mapping[str, Any]) -> dict[str, Any]:
    """`input`, by the model's member names, as CloudTrail shows it: `keyId` for `KeyId`, encryption contexts in clear and
    whole, no bytes, and nothing that the model calls sensitive, at any depth.
    """
    shown = _plain(input, members=True)
    assert isinstance(shown, dict)
    return shown


def is_read_only(operation: str) -> bool:
    """As CloudTrail has it: cryptographic operations change nothing, so they are."""
    return not operation.startswith(_CHANGING)


def encode(event: Mapping[str, Any]) -> bytes:
    """The one form of an event: compact JSON with sorted names, in ASCII, so that it holds every text that a client may
    send, lone surrogates too, and never a line end.

    An event above MAX_EVENT_BYTES goes without the longest members of its parts, and says so for each: padding of one
    member must not hide another, the encryption context above all. Raises TypeError or ValueError for what JSON can't
    hold: bytes that somebody put in past the functions above are refused and not turned into text.
    """
    encoded = _json(event)
    if len(encoded) <= MAX_EVENT_BYTES:
        return encoded
    shortened = dict(event)
    for name, room in _ROOM.items():
        if shortened.get(name):
            shortened[name] = _without_longest(shortened[name], room)
    encoded = _json(shortened)
    if len(encoded) > MAX_EVENT_BYTES:
        raise ValueError("an event of this size is no event of ours")
    return encoded


def decode(encoded: bytes) -> Event:
    """The event of a record that was read, whoever wrote it: what others look into is of the types that are written here.

    Raises ValueError.
    """
    try:
        event: Event = json.loads(encoded)
    except RecursionError:
        raise ValueError("the event is nested without end") from None
    if not isinstance(event, dict) or not _is_ours(event):
        raise ValueError("the event is none of this log's")
    return event


def _is_ours(event: Event) -> bool:
    resources = event.get("resources") or []
    return (
        all(isinstance(event.get(name) or {}, dict) for name in ("userIdentity", "requestParameters"))
        and isinstance(resources, list)
        and all(isinstance(each, dict) for each in resources)
        and type(event.get("eventTimeMicroseconds", 0)) is int
    )


def _without_longest(part: Mapping[str, Any], room: int) -> Event:
    """As many of its members as find room, the shortest first; a note in place of each other one."""
    sizes = {name: len(_json({name: value})) for name, value in part.items()}
    kept = dict(part)
    for name in sorted(sizes, key=lambda name: sizes[name]):
        room -= sizes[name]
        if room < 0:
            kept[name] = {"omitted": True, "originalSize": sizes[name], "reason": f"{name} too large"}
    return kept


def utc_text(time_us: int) -> str:
    """`2026-01-02T03:04:05Z`."""
    return _second(time_us // 1_000_000)


@lru_cache(maxsize=16)  # many events fall into one second
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _event(
    kind: str,
    name: str,
    region: str,
    account_id: str,
    time_us: int,
    key_arns: Sequence[str],
    additional: Mapping[str, Any] | None,
) -> Event:
    event: Event = {
        "eventVersion": EVENT_VERSION,
        "eventTime": utc_text(time_us),
        "eventTimeMicroseconds": time_us,
        "eventSource": EVENT_SOURCE,
        "eventName": name,
        "eventType": kind,
        "eventID": str(uuid.uuid4()),
        "awsRegion": region,
        "recipientAccountId": account_id,
        "managementEvent": True,
        "eventCategory": "Management",
        "resources": [{"accountId": arn.split(":")[4], "type": "AWS::KMS::Key", "ARN": arn} for arn in key_arns],
    }
    if additional:
        event["additionalEventData"] = _plain(additional)
    return event


def _plain(value: object, secrets: frozenset[str] = _SECRETS, *, members: bool = False) -> Any:
    """What JSON can hold of `value`, or _DROPPED. `members`: names are the model's and become lowerCamel."""
    kind = type(value)
    if kind is str or value is None or kind is int or kind is bool:
        return value
    if kind is bytes:
        return _DROPPED
    if isinstance(value, dict | Mapping):
        kept: Event = {}
        for name, below in value.items():
            if not isinstance(name, str) or name in secrets:
                continue
            if members and name in _CONTEXTS:
                # Nothing that a client calls a pair hides it from the record of for which data a key was used.
                plain = _plain(below, frozenset())
            else:
                plain = _plain(below, secrets, members=members)
            if plain is not _DROPPED:
                kept[name[:1].lower() + name[1:] if members else name] = plain
        return kept
    if isinstance(value, list | tuple):
        items = (_plain(item, secrets, members=members) for item in value)
        return [item for item in items if item is not _DROPPED]
    if isinstance(value, float):
        return value if math.isfinite(value) else _DROPPED
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, str):
        return str(value)
    return int(value) if isinstance(value, int) else _DROPPED


def _json(event: Mapping[str, Any]) -> bytes:
    """msgspec is several times as quick, but knows no lone surrogates, no large numbers and no ASCII."""
    _check_plain(event)
    try:
        encoded = _QUICK.encode(event)
    except (UnicodeEncodeError, OverflowError):
        encoded = b""
    return encoded if encoded and encoded.isascii() else _EXACT.encode(event).encode("ascii")


def _check_plain(value: object) -> None:
    """Raises TypeError for what is not JSON by its type: msgspec would write bytes as base64."""
    kind = type(value)
    if kind is dict:
        assert isinstance(value, dict)
        for below in value.values():
            if type(below) is not str:
                _check_plain(below)
    elif kind is list:
        assert isinstance(value, list)
        for item in value:
            _check_plain(item)
    elif kind is float:
        assert isinstance(value, float)
        if not math.isfinite(value):
            raise ValueError("JSON has no such number")
    elif value is not None and kind not in _SCALARS:
        raise TypeError(f"an event holds no {kind.__name__}")
