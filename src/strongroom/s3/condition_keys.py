"""The condition keys that S3 fills from a request, in lower case, for policies to look at.

Values are what the request says, unjudged: on AWS a bad encryption header under a Deny is 403, and 400 without. Only keys
named here come off the wire; what is not said is absent and never a default. `s3:ExistingObjectTag/*` is not filled,
since nothing of an object is read before its request is allowed. This module is pure and decides nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.identity.call import Sought
from strongroom.identity.conditions import named_conditions
from strongroom.identity.policy import Context
from strongroom.metadata.records import Encryption
from strongroom.s3.copy_source import parse_copy_source
from strongroom.s3.encryption import response_members
from strongroom.s3.tags import parse_tagging

SSE = "s3:x-amz-server-side-encryption"
SSE_KMS_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"

_HEADERS: Mapping[str, str] = {
    name: f"s3:{name}"
    for name in (
        "if-match",
        "if-none-match",
        "x-amz-acl",
        "x-amz-bucket-namespace",
        "x-amz-content-sha256",
        "x-amz-grant-full-control",
        "x-amz-grant-read",
        "x-amz-grant-read-acp",
        "x-amz-grant-write",
        "x-amz-grant-write-acp",
        "x-amz-metadata-directive",
        "x-amz-object-ownership",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-storage-class",
        "x-amz-website-redirect-location",
    )
} | {
    "referer": "aws:referer",
    "x-amz-object-lock-legal-hold": "s3:object-lock-legal-hold",
    "x-amz-object-lock-mode": "s3:object-lock-mode",
    "x-amz-object-lock-retain-until-date": "s3:object-lock-retain-until-date",
}
_CREATES_OBJECT = {
    "CompleteMultipartUpload": "true",
    "CopyObject": "true",
    "CreateMultipartUpload": "false",
    "PutObject": "true",
    "UploadPart": "false",
    "UploadPartCopy": "false",
}
_LISTING = {"Prefix": "s3:prefix", "Delimiter": "s3:delimiter", "MaxKeys": "s3:max-keys"}


def request_conditions(sought: Sought) -> Context:
    """The keys that are the same for every action of the request."""
    found: dict[str, tuple[str, ...]] = {
        "s3:authtype": (sought.auth_type,),
        "s3:signatureversion": ("AWS4-HMAC-SHA256",),
        "s3:resourceaccount": (sought.account_id,),
    }
    if sought.signature_age is not None:
        found["s3:signatureage"] = (str(sought.signature_age // timedelta(milliseconds=1)),)
    for name, key in _HEADERS.items():
        if (value := sought.headers.get(name)) is not None:
            found[key] = (_text(value),)
    if (creates := _CREATES_OBJECT.get(sought.operation)) is not None:
        found["s3:objectcreationoperation"] = (creates,)
    if (source := _copy_source(sought.input)) is not None:
        found["s3:x-amz-copy-source"] = (source,)
    found |= tag_conditions(_header_tags(sought.input))
    return found


def listing_conditions(given: Mapping[str, Any]) -> Context:
    """Of ListObjects, ListObjectsV2 and ListObjectVersions."""
    return {key: (str(given[member]),) for member, key in _LISTING.items() if member in given}


def tag_conditions(tags: Iterable[tuple[str, str]]) -> Context:
    """Of an object's tags, as the request gives them."""
    return _tags(tags, "s3:requestobjecttag/", "s3:requestobjecttagkeys")


def bucket_tag_conditions(tags: Iterable[tuple[str, str]]) -> Context:
    """Of a new bucket's tags."""
    return _tags(tags, "aws:requesttag/", "aws:tagkeys")


def _tags(tags: Iterable[tuple[str, str]], prefix: str, names: str) -> Context:
    given = tuple(tags)
    found = named_conditions(prefix, given)
    return {**found, names: tuple(name for name, _ in given)} if given else found


def upload_conditions(encryption: Encryption) -> Context:
    """Of a part: how its upload is encrypted, as a header would say it."""
    told = response_members(encryption)
    members = (("ServerSideEncryption", SSE), ("SSEKMSKeyId", SSE_KMS_KEY))
    return {key: (told[member],) for member, key in members if member in told}


def tag_set_pairs(tag_set: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    return [(tag["Key"], tag["Value"]) for tag in tag_set]


def _copy_source(given: Mapping[str, Any]) -> str | None:
    """`bucket/key`, decoded and without the slash that some clients put in front: a policy's pattern must not be passed
    by writing the same source in another way.
    """
    header = given.get("CopySource")
    if header is None:
        return None
    try:
        source = parse_copy_source(header)
    except S3Error:  # the permission on the source, or else the handler, says what is wrong
        return _text(header)
    return f"{source.bucket}/{source.key}"


def _header_tags(given: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The tags of x-amz-tagging; PutObjectTagging has them in its document."""
    header = given.get("Tagging")
    if not isinstance(header, str):
        return ()
    try:
        return parse_tagging(header)
    except S3Error:  # whoever may write at all is told by the handler what is wrong
        return ()


def _text(value: str) -> str:
    """Header text is latin-1 that holds UTF-8 as a rule; policies are UTF-8."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
