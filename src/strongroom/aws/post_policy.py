"""POST Object's authentication: a signed policy inside a form says which forms are welcome.

Strategy: with the fields that a `FormReader` collected, `parse_post_authorization` reads who signed, the caller finds
the secret, and `verify_policy` proves signature, time and every condition against the fields as they will be used.

Rules: https://docs.aws.amazon.com/AmazonS3/latest/developerguide/sigv4-UsingHTTPPOST.html and the pages below it; texts
and codes are the wire's. The bucket is the URL's: a field of that name never counts. This module knows no S3 operation
and no clock, and never repeats the policy or a condition on a customer key in an error, because both may hold that key.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from strongroom.aws.errors import S3Error
from strongroom.aws.post_form import SIGNATURE_FIELDS
from strongroom.aws.sigv4 import (
    ALGORITHM,
    MAX_EXPIRES,
    MAX_SKEW,
    CredentialScope,
    derive_key,
    parse_credential,
    parse_timestamp,
    sign,
    signatures_equal,
)

_NEED_NO_CONDITION = SIGNATURE_FIELDS | {"file"}
_EXPIRATION = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostAuthorization:
    """What a form claims. `policy`: base64, as sent, which is what was signed."""

    access_key_id: str
    scope: CredentialScope
    timestamp: datetime
    policy: str = field(repr=False)
    signature: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ContentLengthRange:
    """Bounds of the file in bytes, both inclusive."""

    minimum: int
    maximum: int

    def check(self, size: int, *, complete: bool) -> None:
        """Raise S3Error if a file of `size` bytes so far (`complete`: in all) is out of bounds."""
        if size > self.maximum:
            raise S3Error("EntityTooLarge", ProposedSize=str(size), MaxSizeAllowed=str(self.maximum))
        if complete and size < self.minimum:
            raise S3Error("EntityTooSmall", ProposedSize=str(size), MinSizeAllowed=str(self.minimum))


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPolicy:
    """`content_length_range` is still to be held against the bytes as they stream."""

    access_key_id: str
    content_length_range: ContentLengthRange | None


def parse_post_authorization(fields: Mapping[str, str]) -> PostAuthorization | None:
    """Who signed a form, or None for an anonymous one. `fields` as `FormReader` gives them. Raises S3Error."""
    _require(fields, "key")
    if fields.keys() & {"awsaccesskeyid", "signature"}:
        raise S3Error(
            "InvalidRequest",
            f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.",
        )
    if not fields.keys() & {"x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"}:
        return None
    for name in ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "policy", "X-Amz-Signature"):
        _require(fields, name)
    if fields["x-amz-algorithm"] != ALGORITHM:
        raise S3Error("InvalidArgument", f'X-Amz-Algorithm only supports "{ALGORITHM}"', ArgumentName="X-Amz-Algorithm")
    try:
        access_key_id, scope = parse_credential(fields["x-amz-credential"])
    except ValueError as error:
        raise S3Error("InvalidArgument", str(error), ArgumentName="X-Amz-Credential") from None
    timestamp = parse_timestamp(fields["x-amz-date"])
    if timestamp is None:
        raise S3Error(
            "InvalidArgument", "X-Amz-Date must be formated via ISO8601 Long format", ArgumentName="X-Amz-Date"
        )
    return PostAuthorization(
        access_key_id=access_key_id,
        scope=scope,
        timestamp=timestamp,
        policy=fields["policy"],
        signature=fields["x-amz-signature"],
    )


def verify_policy(
    authorization: PostAuthorization,
    secret: str,
    fields: Mapping[str, str],
    *,
    bucket: str,
    now: datetime,
    region: str,
    service: str = "s3",
) -> VerifiedPolicy:
    """Prove that whoever knows `secret` allowed this form in `bucket` (the URL's) now. Raises S3Error."""
    _check_scope(authorization, region, service)
    calculated = sign(derive_key(secret, authorization.scope), authorization.policy)
    if not signatures_equal(calculated, authorization.signature):
        raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=authorization.access_key_id)
    expiration, conditions = _parse_policy(authorization.policy)
    _check_time(authorization, expiration, now)
    # S3 treats the bucket as a field: a policy without a condition on it would open every bucket of its signer.
    subject = {**fields, "bucket": bucket}
    covered: set[str] = set()
    ranges: list[ContentLengthRange] = []
    for condition in conditions:
        if isinstance(condition, _Match):
            condition.check(subject)
            covered.add(condition.name)
        else:
            ranges.append(condition)
    extra = [name for name in subject if name not in covered | _NEED_NO_CONDITION and not name.startswith("x-ignore-")]
    if extra:
        raise _refused(f"Extra input fields: {', '.join(sorted(extra))}")
    return VerifiedPolicy(
        access_key_id=authorization.access_key_id,
        content_length_range=_intersection(ranges),
    )


def _require(fields: Mapping[str, str], name: str) -> None:
    if name.lower() not in fields:
        raise S3Error(
            "InvalidArgument",
            f"Bucket POST must contain a field named '{name}'."
            "  If it is specified, please check the order of the fields.",
            ArgumentName=name,
            ArgumentValue="",
        )


def _check_scope(authorization: PostAuthorization, region: str, service: str) -> None:
    scope = authorization.scope
    detail: dict[str, Any] = {"ArgumentName": "X-Amz-Credential"}
    if scope.date != authorization.timestamp.strftime("%Y%m%d"):
        raise S3Error(
            "InvalidArgument",
            f'Invalid credential date "{scope.date}". This date is not the same as X-Amz-Date.',
            **detail,
        )
    if scope.region != region:
        reason = f"the region '{scope.region}' is wrong; expecting '{region}'"
        raise S3Error("InvalidArgument", reason, **detail, Region=region)
    if scope.service != service:
        reason = f'incorrect service "{scope.service}". This endpoint belongs to "{service}".'
        raise S3Error("InvalidArgument", reason, **detail)


def _check_time(authorization: PostAuthorization, expiration: datetime, now: datetime) -> None:
    if now > expiration or now - authorization.timestamp > timedelta(seconds=MAX_EXPIRES):
        raise _refused("Policy expired.")
    if authorization.timestamp - now > MAX_SKEW:
        raise S3Error("AccessDenied", "Request is not yet valid")


def _refused(reason: str) -> S3Error:
    return S3Error("AccessDenied", f"Invalid according to Policy: {reason}")


# --- The policy's language


@dataclass(frozen=True, slots=True)
class _Match:
    """`name`: in lower case, without "$"; `shown`: the condition as written, for error texts."""

    operator: str
    name: str
    value: str = field(repr=False)
    shown: str = field(repr=False)

    def check(self, fields: Mapping[str, str]) -> None:
        given = fields.get(self.name)
        if given is None or not self._holds(given):
            raise _failed(self.shown)

    def _holds(self, given: str) -> bool:
        if self.operator == "eq":
            return given == self.value
        # A Content-Type may be a list, and then each member must match.
        values = given.split(",") if self.name == "content-type" else [given]
        return all(value.startswith(self.value) for value in values)


def _parse_policy(text: str) -> tuple[datetime, list[_Match | ContentLengthRange]]:
    try:
        document = json.loads(base64.b64decode(text, validate=True), parse_float=_not_json, parse_constant=_not_json)
    except binascii.Error:
        raise _invalid("invalid Base64 encoding.") from None
    except (ValueError, RecursionError):
        raise _invalid("Invalid JSON.") from None
    if not isinstance(document, dict):
        raise _invalid("Invalid JSON.")
    for member in document:
        if member not in ("expiration", "conditions"):
            raise _invalid(f"Unexpected: '{member.lower()}'")
    if "expiration" not in document:
        raise _invalid("Policy missing expiration.")
    if "conditions" not in document:
        raise _invalid("Policy missing conditions.")
    if not isinstance(document["conditions"], list):
        raise _invalid("Invalid 'conditions' value: must be a List.")
    return _parse_expiration(document["expiration"]), [_parse_condition(each) for each in document["conditions"]]


def _not_json(_text: str) -> NoReturn:
    raise ValueError


def _parse_expiration(value: object) -> datetime:
    match = _EXPIRATION.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        try:
            return datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
        except ValueError:
            pass
    raise _invalid(f"Invalid 'expiration' value: '{value if isinstance(value, str) else ''}'")


def _parse_condition(condition: object) -> _Match | ContentLengthRange:
    if isinstance(condition, dict):
        if len(condition) != 1:
            raise _invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
        ((name, value),) = condition.items()
        if not isinstance(value, str):
            raise _invalid("Invalid Simple-Condition: value must be a string.")
        return _match("eq", ["eq", f"${name}", value])
    if not isinstance(condition, list):
        raise _invalid("Invalid condition test: must be a List or Object.")
    if not condition or not isinstance(condition[0], str):
        raise _invalid("Invalid Condition: missing operation identifier.")
    operator = condition[0].lower()
    if operator not in ("eq", "starts-with", "content-length-range"):
        raise _invalid(f"Invalid Condition: unknown operation '{operator}'.")
    if len(condition) != 3:
        raise _invalid(f"Invalid {operator}: wrong number of arguments.")
    if operator == "content-length-range":
        return _parse_range(condition)
    if not all(isinstance(each, str) for each in condition):
        raise _invalid("Invalid JSON.")
    return _match(operator, condition)


def _match(operator: str, condition: list[str]) -> _Match:
    _, name, value = condition
    shown = json.dumps(condition, ensure_ascii=False)
    if "customer-key" in name.lower():
        shown = json.dumps(condition[:2], ensure_ascii=False)
    if not name.startswith("$"):
        raise _failed(shown)
    return _Match(operator, name[1:].lower(), value, shown)


def _parse_range(condition: list[Any]) -> ContentLengthRange:
    bounds = [str(each) if isinstance(each, int) and not isinstance(each, bool) else each for each in condition[1:]]
    if not all(isinstance(each, str) and re.fullmatch(r"-?\d{1,18}", each, re.ASCII) for each in bounds):
        raise _failed(json.dumps(condition, ensure_ascii=False))
    minimum, maximum = (int(each) for each in bounds)
    if not 0 <= minimum <= maximum:
        raise _invalid("Invalid content-length-range: the bounds must be 0 <= minimum <= maximum.")
    return ContentLengthRange(minimum, maximum)


def _intersection(ranges: list[ContentLengthRange]) -> ContentLengthRange | None:
    if not ranges:
        return None
    return ContentLengthRange(max(each.minimum for each in ranges), min(each.maximum for each in ranges))


def _invalid(reason: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {reason}")


def _failed(shown: str) -> S3Error:
    return _refused(f"Policy Condition failed: {shown}")
