"""What many operations read out of a call in the same way: times, keys, conditions, and what an object answers of
itself.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.identity.call import AuthorizedCall, Body
from strongroom.metadata.records import NULL_VERSION, ObjectVersion, OpenBucket
from strongroom.s3.conditions import Preconditions, check_write
from strongroom.s3.naming import check_key
from strongroom.s3.storage import Storage

MAX_PUT = 5 * 1024**3  # bytes of one PUT, one part, one copy (S3 User Guide, "Amazon S3 multipart upload limits")


def moment(us: int) -> datetime:
    """Microseconds since the epoch as an aware time of whole seconds: what S3 shows."""
    return datetime.fromtimestamp(us // 1_000_000, UTC)


def now(storage: Storage) -> datetime:
    return moment(storage.now_us())


def object_key_name(call: AuthorizedCall) -> str:
    """The object's key. Raises S3Error."""
    key: str = call.input["Key"]
    check_key(key)
    return key


def page_number(call: AuthorizedCall, member: str, name: str, default: int) -> int:
    """How many entries, or behind which one: the model makes some of these members strings. `name`: on the wire. Raises
    InvalidArgument.
    """
    value = call.input.get(member)
    if value is None or value == "":
        return default
    number = int(value) if isinstance(value, int) or (value.isascii() and value.isdigit() and len(value) < 12) else -1
    if not 0 <= number <= 2**31 - 1:
        raise S3Error(
            "InvalidArgument",
            f"Argument {name} must be an integer between 0 and 2147483647",
            ArgumentName=name,
            ArgumentValue=str(value),
        )
    return number


def payload(call: AuthorizedCall) -> Body:
    """The body of an upload. Raises EntityTooLarge before a byte of it is read."""
    assert call.body is not None
    if call.body.size is not None and call.body.size > MAX_PUT:
        raise S3Error("EntityTooLarge", ProposedSize=str(call.body.size), MaxSizeAllowed=str(MAX_PUT))
    return call.body


def check_write_conditions(given: Mapping[str, Any], key: str, newest: ObjectVersion | None) -> None:
    """If-Match and If-None-Match of a write against the newest version. Raises S3Error."""
    current = newest.quoted_etag if newest and not newest.is_delete_marker else None
    check_write(if_match=given.get("IfMatch"), if_none_match=given.get("IfNoneMatch"), key=key, current_etag=current)


def preconditions(given: Mapping[str, Any], prefix: str = "") -> Preconditions:
    """The four conditional headers of a read; with `prefix` "CopySource" those on a copy's source."""
    return Preconditions(
        if_match=given.get(f"{prefix}IfMatch"),
        if_none_match=given.get(f"{prefix}IfNoneMatch"),
        if_modified_since=given.get(f"{prefix}IfModifiedSince"),
        if_unmodified_since=given.get(f"{prefix}IfUnmodifiedSince"),
    )


def new_version_member(version: ObjectVersion) -> dict[str, str]:
    """`VersionId` as a write answers it: S3 leaves out that of the null version, also where versioning is suspended."""
    return {} if version.version_id == NULL_VERSION else {"VersionId": version.version_id}


def version_member(bucket: OpenBucket, version: ObjectVersion) -> dict[str, str]:
    """`VersionId` as S3 shows it: not at all in a bucket that never had versioning."""
    if bucket.config.versioning == "" and version.version_id == NULL_VERSION:
        return {}
    return {"VersionId": version.version_id}
