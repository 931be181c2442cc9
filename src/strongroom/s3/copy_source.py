"""The x-amz-copy-source header: which object a copy reads.

The header is a second URL inside the request, so it gets the same checks as the first one (`naming`), through the same
function: a path that is refused there and accepted here has been a way into other people's buckets.
"""

from dataclasses import dataclass

from strongroom.aws.errors import S3Error
from strongroom.s3 import urlencoded
from strongroom.s3.naming import check_key, is_bucket_name

_HEADER = "x-amz-copy-source"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySource:
    """`version_id` None: the newest version."""

    bucket: str
    key: str
    version_id: str | None = None


def parse_copy_source(header: str) -> CopySource:
    """`[/]bucket/key[?versionId=id]`, percent-encoded; `header` is latin-1 text, as it came off the wire.

    Decoded exactly once. `+` is a space, as S3 reads it and as clients that encode like forms write it; the slash after
    the bucket may be encoded (AWS SDK for .NET).
    Raises InvalidArgument, KeyTooLongError, NotImplemented (access points).
    """
    path, separator, version_id = header.rpartition("?versionId=")
    if not separator:
        path, version_id = header, ""
    bucket, _, key = _decode(path).removeprefix("/").partition("/")
    if bucket.startswith("arn:"):
        raise S3Error("NotImplemented", Header=_HEADER)
    if not is_bucket_name(bucket):
        raise _invalid("Invalid copy source bucket name")
    _check_source_key(key)
    return CopySource(bucket=bucket, key=key, version_id=_version_id(version_id) if separator else None)


def _check_source_key(key: str) -> None:
    try:
        check_key(key)
    except S3Error as error:
        if error.code == "KeyTooLongError":
            raise
        raise _invalid("Invalid copy source object key") from error


def _version_id(encoded: str) -> str:
    version_id = _decode(encoded)
    if not version_id:
        raise S3Error(
            "InvalidArgument", "Version id cannot be the empty string", ArgumentName="versionId", ArgumentValue=""
        )
    return version_id


def _decode(text: str) -> str:
    try:
        return urlencoded.decode(text)
    except ValueError:
        raise _invalid("Invalid copy source encoding") from None


def _invalid(message: str) -> S3Error:
    # AWS puts the header's name where its value is expected, and so never sends a damaged value back.
    return S3Error("InvalidArgument", message, ArgumentName=_HEADER, ArgumentValue=_HEADER)
