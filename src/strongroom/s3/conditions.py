"""Conditional requests: may this read, copy, write or delete go on?

Values in, nothing or an S3Error out. Dates have whole seconds on the wire (RFC 9110 5.6.7), so an object's time is cut
to seconds before it is compared. This module reads no clock and no row, and adds no header: who answers 304 adds ETag
and Last-Modified.
"""

from dataclasses import dataclass
from datetime import datetime

from strongroom.aws.errors import S3Error


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """The four conditional headers of a read, or of a copy's source; a date that nobody could parse is None."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: datetime | None = None
    if_unmodified_since: datetime | None = None


def check_read(preconditions: Preconditions, *, etag: str, last_modified: datetime, now: datetime) -> None:
    """GET and HEAD, in the order of RFC 9110 13.2.2. `etag` is quoted; all times are aware.

    Raises PreconditionFailed (412, Condition) and NotModified (304).
    """
    match _failed(preconditions, etag, last_modified, now):
        case None:
            return
        case "If-None-Match" | "If-Modified-Since":
            raise S3Error("NotModified")
        case condition:
            raise S3Error("PreconditionFailed", Condition=condition)


def check_copy_source(preconditions: Preconditions, *, etag: str, last_modified: datetime, now: datetime) -> None:
    """CopyObject, UploadPartCopy: the same conditions on the source, but every failure is PreconditionFailed (412)."""
    condition = _failed(preconditions, etag, last_modified, now)
    if condition is not None:
        raise S3Error("PreconditionFailed", Condition=f"x-amz-copy-source-{condition}")


def check_write(*, if_match: str | None, if_none_match: str | None, key: str, current_etag: str | None) -> None:
    """PutObject, CopyObject's target, CompleteMultipartUpload (S3 User Guide, "conditional writes").

    `current_etag`: of the newest version, quoted; None where there is none or it is a delete marker.
    Raises NotImplemented (501), PreconditionFailed (412) and NoSuchKey (404: If-Match where nothing is).
    """
    _check_supported(if_match, if_none_match)
    if if_none_match is not None and current_etag is not None:
        raise S3Error("PreconditionFailed", Condition="If-None-Match")
    if if_match is not None:
        if current_etag is None:
            raise S3Error("NoSuchKey", Key=key)
        _require_match(if_match, current_etag)


def check_delete(*, if_match: str | None, current_etag: str | None) -> None:
    """DeleteObject and one member of DeleteObjects: `*` asks for existence, and what is already gone is a success.

    Raises PreconditionFailed (412).
    """
    if if_match is not None and current_etag is not None:
        _require_match(if_match, current_etag)


def _check_supported(if_match: str | None, if_none_match: str | None) -> None:
    """S3 takes one condition on a write: If-None-Match with `*`, or If-Match with an entity tag."""
    if if_match is not None and if_none_match is not None:
        raise _not_accepted("If-Match,If-None-Match", "Multiple conditional request headers present in the request")
    if if_none_match is not None and if_none_match.strip() != "*":
        raise _not_accepted("If-None-Match", "We don't accept the provided value of If-None-Match header for this API")
    if if_match is not None and if_match.strip() == "*":
        raise _not_accepted("If-Match", "We don't accept the provided value of If-Match header for this API")


def _require_match(if_match: str, etag: str) -> None:
    if not _matches(if_match, etag, weak=False):
        raise S3Error("PreconditionFailed", Condition="If-Match")


def _failed(preconditions: Preconditions, etag: str, last_modified: datetime, now: datetime) -> str | None:
    """The condition that fails first, or None. A true If-Match silences If-Unmodified-Since, a true If-None-Match
    silences If-Modified-Since; S3 ignores an If-Modified-Since that lies in the future."""
    given = preconditions
    modified = last_modified.replace(microsecond=0)
    if given.if_match is not None:
        if not _matches(given.if_match, etag, weak=False):
            return "If-Match"
    elif given.if_unmodified_since is not None and modified > given.if_unmodified_since:
        return "If-Unmodified-Since"
    if given.if_none_match is not None:
        if _matches(given.if_none_match, etag, weak=True):
            return "If-None-Match"
    elif given.if_modified_since is not None and modified <= given.if_modified_since <= now:
        return "If-Modified-Since"
    return None


def _matches(field: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags, or `*`, names `etag` (quoted, strong). `weak`: RFC 9110 8.8.3.2's weak comparison.

    Bare tags count, as many S3 clients send them; splitting at commas is safe since no tag of this server holds one.
    """
    if field.strip() == "*":
        return True
    candidates = [member.strip() for member in field.split(",")]
    if weak:
        candidates = [candidate.removeprefix("W/") for candidate in candidates]
    return etag in candidates or etag.strip('"') in candidates


def _not_accepted(header: str, reason: str) -> S3Error:
    return S3Error("NotImplemented", Header=header, additionalMessage=reason)
