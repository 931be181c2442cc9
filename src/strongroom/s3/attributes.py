"""What a client says of an object beside its bytes: content headers, user metadata, storage class, tags.

From the members of a parsed request to the record that is stored, and the `response-*` overrides of a read. Header
values are latin-1 text, as they came off the wire and as they leave again, byte for byte.
Whatever is stored here becomes a response header one day, so nothing that could end a header line gets in.
"""

import re
from collections.abc import Mapping
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.metadata.records import Attributes
from strongroom.s3.tags import parse_tagging

MAX_METADATA_BYTES = 2048
DEFAULT_CONTENT_TYPE = "binary/octet-stream"
STORAGE_CLASSES = frozenset(
    {
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "GLACIER_IR",
        "DEEP_ARCHIVE",
    }
)

_CONTENT_HEADERS = {
    "CacheControl": "Cache-Control",
    "ContentDisposition": "Content-Disposition",
    "ContentEncoding": "Content-Encoding",
    "ContentLanguage": "Content-Language",
    "ContentType": "Content-Type",
    "Expires": "Expires",
}
_OVERRIDES = {member: f"response-{header.lower()}" for member, header in _CONTENT_HEADERS.items()}

# HTAB is the only control character of a field value (RFC 9110 5.5). U+0080..U+009F stay: here they are parts of UTF-8.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2


def attributes_of(input: Mapping[str, Any]) -> Attributes:
    """The attributes in a PutObject, CreateMultipartUpload or CopyObject (REPLACE) input, POST forms included.

    Raises InvalidArgument, MetadataTooLarge, InvalidStorageClass, and what `tags.parse_tagging` raises.
    """
    return Attributes(
        content_headers=content_headers(input),
        user_metadata=user_metadata(input.get("Metadata") or {}),
        storage_class=storage_class(input.get("StorageClass")),
        tags=parse_tagging(input.get("Tagging")),
    )


def content_headers(input: Mapping[str, Any]) -> dict[str, str]:
    """Member name -> value of the content headers given; empty ones count as absent. Raises InvalidArgument."""
    given = {member: input[member] for member in _CONTENT_HEADERS if input.get(member)}
    for member, value in given.items():
        _check_value(_CONTENT_HEADERS[member], value)
    if "ContentEncoding" in given:
        given["ContentEncoding"] = _without_aws_chunked(given["ContentEncoding"])
    return {"ContentType": DEFAULT_CONTENT_TYPE} | {member: value for member, value in given.items() if value}


def user_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Name (lower case, without x-amz-meta-) -> value, checked.

    The limit is on the bytes of all names and values (S3 User Guide, "Working with object metadata").
    Raises MetadataTooLarge and InvalidArgument.
    """
    size = sum(len(name) + len(value) for name, value in metadata.items())
    if size > MAX_METADATA_BYTES:
        raise S3Error("MetadataTooLarge", Size=str(size), MaxSizeAllowed=str(MAX_METADATA_BYTES))
    for name, value in metadata.items():
        if _TOKEN.fullmatch(name) is None:
            raise S3Error(
                "InvalidArgument", "The name of a user metadata header is invalid.", ArgumentName="x-amz-meta-"
            )
        _check_value(f"x-amz-meta-{name}", value)
    return dict(metadata)


def storage_class(given: str | None) -> str:
    """Raises InvalidStorageClass: also for those of the model that no client may ask a bucket for (OUTPOSTS, ...)."""
    if given is None:
        return "STANDARD"
    if given not in STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass", StorageClassRequested=given)
    return given


def content_members(attributes: Attributes) -> dict[str, str]:
    """The output members of the content headers, as they were stored."""
    return dict(attributes.content_headers)


def response_overrides(input: Mapping[str, Any]) -> dict[str, str]:
    """The `response-*` parameters of GetObject and HeadObject, as output members. Raises InvalidArgument."""
    overrides = {}
    for member, parameter in _OVERRIDES.items():
        value = input.get(f"Response{member}")
        if value is not None:
            _check_value(parameter, value)
            overrides[member] = value
    return overrides


def _check_value(name: str, value: str) -> None:
    if not value.isascii() and max(value) > "\xff":
        message = "Header value cannot be represented using ISO-8859-1."
        raise S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)
    if _CONTROL.search(value):
        raise S3Error("InvalidArgument", "Header value must not contain control characters.", ArgumentName=name)


def _without_aws_chunked(value: str) -> str:
    """aws-chunked is how the body travelled, never how the object is encoded (S3 API, "SigV4 streaming")."""
    encodings = value.split(",")
    kept = [encoding for encoding in encodings if encoding.strip().lower() != "aws-chunked"]
    return value if len(kept) == len(encodings) else ",".join(kept).strip()
