"""What each S3 operation has to be allowed: IAM actions on the ARNs of buckets and objects.

One table for every operation that is built, after AWS's Service Authorization Reference for S3 and each operation's own
page; a test holds it complete. The keys of objects stand in the ARNs exactly as storage sees them. An operation without a
rule is denied. This module is pure: it reads no bucket and decides nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.identity.call import Permission, Sought
from strongroom.identity.policy import Context
from strongroom.s3.condition_keys import (
    SSE,
    SSE_KMS_KEY,
    bucket_tag_conditions,
    listing_conditions,
    tag_conditions,
    tag_set_pairs,
)
from strongroom.s3.copy_source import parse_copy_source

ALL_BUCKETS = "arn:aws:s3:::*"
PER_KEY = "DeleteObjects"  # decided key by key, by its handler (seaweedfs 8e4022d5c decided it once)

# What their documents say fills condition keys, so nothing can be decided before those are read.
DECIDED_BY_DOCUMENT = frozenset({"CreateBucket", "PutObjectTagging", "UpdateObjectEncryption"})

# How their objects are encrypted was said, and allowed, when the upload was created.
OF_AN_UPLOAD = frozenset({"CompleteMultipartUpload", "UploadPart", "UploadPartCopy"})

COPIES = frozenset({"CopyObject", "UploadPartCopy"})
_LISTINGS = frozenset({"ListObjectVersions", "ListObjects", "ListObjectsV2"})
_READS = frozenset({"GetObject", "GetObjectAttributes", "HeadObject"})  # where If-Match is about what is read anyway


@dataclass(frozen=True, slots=True)
class Rule:
    """`actions` on the bucket or object of the request; with a version id `on_version`, where that makes a difference."""

    actions: tuple[str, ...]
    on_version: tuple[str, ...] = ()


def _rule(action: str, on_version: str = "") -> Rule:
    return Rule((f"s3:{action}",), (f"s3:{on_version}",) if on_version else ())


RULES: Mapping[str, Rule] = {
    "AbortMultipartUpload": _rule("AbortMultipartUpload"),
    "CompleteMultipartUpload": _rule("PutObject"),
    "CopyObject": _rule("PutObject"),
    "CreateBucket": _rule("CreateBucket"),
    "CreateMultipartUpload": _rule("PutObject"),
    "DeleteBucket": _rule("DeleteBucket"),
    "DeleteBucketEncryption": _rule("PutEncryptionConfiguration"),
    "DeleteBucketTagging": _rule("PutBucketTagging"),
    "DeleteObject": _rule("DeleteObject", "DeleteObjectVersion"),
    "DeleteObjectTagging": _rule("DeleteObjectTagging", "DeleteObjectVersionTagging"),
    "GetBucketEncryption": _rule("GetEncryptionConfiguration"),
    "GetBucketLocation": _rule("GetBucketLocation"),
    "GetBucketTagging": _rule("GetBucketTagging"),
    "GetBucketVersioning": _rule("GetBucketVersioning"),
    "GetObject": _rule("GetObject", "GetObjectVersion"),
    "GetObjectAttributes": Rule(
        ("s3:GetObject", "s3:GetObjectAttributes"), ("s3:GetObjectVersion", "s3:GetObjectVersionAttributes")
    ),
    "GetObjectTagging": _rule("GetObjectTagging", "GetObjectVersionTagging"),
    "HeadBucket": _rule("ListBucket"),
    "HeadObject": _rule("GetObject", "GetObjectVersion"),
    "ListBuckets": _rule("ListAllMyBuckets"),
    "ListMultipartUploads": _rule("ListBucketMultipartUploads"),
    "ListObjectVersions": _rule("ListBucketVersions"),
    "ListObjects": _rule("ListBucket"),
    "ListObjectsV2": _rule("ListBucket"),
    "ListParts": _rule("ListMultipartUploadParts"),
    "PutBucketEncryption": _rule("PutEncryptionConfiguration"),
    "PutBucketTagging": _rule("PutBucketTagging"),
    "PutBucketVersioning": _rule("PutBucketVersioning"),
    "PutObject": _rule("PutObject"),
    "PutObjectTagging": _rule("PutObjectTagging", "PutObjectVersionTagging"),
    "UpdateObjectEncryption": _rule("UpdateObjectEncryption"),
    "UploadPart": _rule("PutObject"),
    "UploadPartCopy": _rule("PutObject"),
}


def bucket_arn(bucket: str) -> str:
    return f"arn:aws:s3:::{bucket}"


def object_arn(bucket: str, key: str) -> str:
    return f"arn:aws:s3:::{bucket}/{key}"


def permissions(sought: Sought, upload: Context | None = None) -> Iterator[Permission]:
    """All that the request has to be allowed, what it writes before what it reads; nothing where the unread document or
    the handler decides. `upload`: how the upload is encrypted that the request is a part of.

    Raises AccessDenied for an operation without a rule, and after the target of a copy what is wrong with its source.
    """
    operation, given = sought.operation, sought.input
    if operation == PER_KEY or (sought.document_unread and operation in DECIDED_BY_DOCUMENT):
        return
    rule = RULES.get(operation)
    if rule is None:
        raise S3Error("AccessDenied")
    resource = _resource(given)
    conditions = _conditions(operation, given) | {
        key: value for key, value in (upload or {}).items() if key.removeprefix("s3:") not in sought.headers
    }
    version_id = given.get("VersionId")
    if version_id is not None:
        conditions["s3:versionid"] = (version_id,)
    for action in rule.on_version if rule.on_version and version_id is not None else rule.actions:
        yield Permission(action=action, resource=resource, conditions=conditions)
    for action in _further_actions(operation, given):
        yield Permission(action=action, resource=resource, conditions=conditions)
    if operation in COPIES:
        yield copy_source_read(given["CopySource"], "GetObject", "GetObjectVersion")


def copy_source_read(header: str, action: str, on_version: str) -> Permission:
    """An action on the source of a copy, or on the version of it that the header names. Raises S3Error."""
    source = parse_copy_source(header)
    resource = object_arn(source.bucket, source.key)
    if source.version_id is None:
        return Permission(action=f"s3:{action}", resource=resource)
    return Permission(action=f"s3:{on_version}", resource=resource, conditions={"s3:versionid": (source.version_id,)})


def tagging_read(given: Mapping[str, Any]) -> Permission:
    """What else a read has to be allowed to tell how many tags the object has."""
    version_id, resource = given.get("VersionId"), _resource(given)
    if version_id is None:
        return Permission(action="s3:GetObjectTagging", resource=resource)
    conditions = {"s3:versionid": (version_id,)}
    return Permission(action="s3:GetObjectVersionTagging", resource=resource, conditions=conditions)


def deletions(bucket: str, wanted: Mapping[str, Any]) -> Iterator[Permission]:
    """What one key of DeleteObjects has to be allowed. `wanted`: its Key, VersionId and ETag."""
    version_id, etag = wanted.get("VersionId"), wanted.get("ETag")
    conditions = {
        key: (value,) for key, value in (("s3:versionid", version_id), ("s3:if-match", etag)) if value is not None
    }
    resource = object_arn(bucket, wanted["Key"])
    action = "s3:DeleteObject" if version_id is None else "s3:DeleteObjectVersion"
    yield Permission(action=action, resource=resource, conditions=conditions)
    if _reveals(etag):
        yield Permission(action="s3:GetObject", resource=resource, conditions=conditions)


def _resource(given: Mapping[str, Any]) -> str:
    if "Key" in given:
        return object_arn(given["Bucket"], given["Key"])
    return bucket_arn(given["Bucket"]) if "Bucket" in given else ALL_BUCKETS


def _conditions(operation: str, given: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The condition keys of this operation's own members."""
    if operation in _LISTINGS:
        return dict(listing_conditions(given))
    if operation == "CreateBucket":
        configuration = given.get("CreateBucketConfiguration") or {}
        found = dict(bucket_tag_conditions(tag_set_pairs(configuration.get("Tags") or [])))
        if location := configuration.get("LocationConstraint"):
            found["s3:locationconstraint"] = (location,)
        return found
    if operation == "PutObjectTagging":
        return dict(tag_conditions(tag_set_pairs(given["Tagging"]["TagSet"])))
    if operation == "UpdateObjectEncryption":
        kms = (given.get("ObjectEncryption") or {}).get("SSEKMS") or {}
        return {SSE: ("aws:kms",), SSE_KMS_KEY: (kms["KMSKeyArn"],)} if kms.get("KMSKeyArn") else {}
    return {}


def _further_actions(operation: str, given: Mapping[str, Any]) -> Iterator[str]:
    """What members of the request ask for beyond the operation itself."""
    if operation == "CreateBucket":
        configuration = given.get("CreateBucketConfiguration") or {}
        if given.get("ACL") not in (None, "private"):
            yield "s3:PutBucketAcl"
        if given.get("ObjectOwnership") is not None:
            yield "s3:PutBucketOwnershipControls"
        if given.get("ObjectLockEnabledForBucket"):
            yield "s3:PutBucketObjectLockConfiguration"
            yield "s3:PutBucketVersioning"
        if configuration.get("Tags"):
            yield "s3:TagResource"
        return
    if given.get("ACL") is not None:
        yield "s3:PutObjectAcl"
    if isinstance(given.get("Tagging"), str):  # the header; PutObjectTagging has a document
        yield "s3:PutObjectTagging"
    if given.get("ObjectLockMode") is not None or given.get("ObjectLockRetainUntilDate") is not None:
        yield "s3:PutObjectRetention"
    if given.get("ObjectLockLegalHoldStatus") is not None:
        yield "s3:PutObjectLegalHold"
    if operation not in _READS and _reveals(given.get("IfMatch")):
        yield "s3:GetObject"


def _reveals(etag: str | None) -> bool:
    """Whether a write or a deletion under this If-Match tells something of the object (User Guide, "Conditional
    requests": they need s3:GetObject); `*` asks only whether there is one.
    """
    return etag not in (None, "*")
