"""One table for every input member of every operation that is built: honoured, refused, or ignored and why.

A member means the same wherever it occurs, so the table is by member; a test holds it complete and without surplus
against the official model. A refused member is 501, so that nobody believes in a lock, a grant or a condition that is
not there.
"""

from collections.abc import Mapping
from typing import Any

from strongroom.aws.errors import S3Error

HONOURED = frozenset(
    """
    ACL Body Bucket BucketKeyEnabled BucketRegion CacheControl ChecksumAlgorithm ChecksumCRC32 ChecksumCRC32C ChecksumCRC64NVME ChecksumMD5
    ChecksumMode ChecksumSHA1 ChecksumSHA256 ChecksumSHA512 ChecksumType ChecksumXXHASH128 ChecksumXXHASH3 ChecksumXXHASH64
    ContentDisposition ContentEncoding ContentLanguage ContentLength ContentMD5 ContentType ContinuationToken CopySource CopySourceIfMatch
    CopySourceIfModifiedSince CopySourceIfNoneMatch CopySourceIfUnmodifiedSince CopySourceRange CopySourceSSECustomerAlgorithm
    CopySourceSSECustomerKey CopySourceSSECustomerKeyMD5 CreateBucketConfiguration Delete Delimiter EncodingType ExpectedBucketOwner
    ExpectedSourceBucketOwner Expires FetchOwner IfMatch IfModifiedSince IfNoneMatch IfUnmodifiedSince Key KeyMarker Marker MaxBuckets
    MaxKeys MaxParts MaxUploads Metadata MetadataDirective MpuObjectSize MultipartUpload ObjectAttributes ObjectEncryption PartNumber PartNumberMarker Prefix
    Range ResponseCacheControl ResponseContentDisposition ResponseContentEncoding ResponseContentLanguage ResponseContentType
    ResponseExpires SSECustomerAlgorithm SSECustomerKey SSECustomerKeyMD5 SSEKMSEncryptionContext SSEKMSKeyId ServerSideEncryption
    ServerSideEncryptionConfiguration StartAfter StorageClass Tagging TaggingDirective UploadId UploadIdMarker VersionId VersionIdMarker
    VersioningConfiguration
    """.split()  # noqa: SIM905 - a list of a hundred quoted names is no easier to read
)

IGNORED: Mapping[str, str] = {
    "RequestPayer": "buckets have one owner, who pays in any case; clients send it by habit",
    "OptionalObjectAttributes": "asks for restore status, which an object that was never archived does not have",
}

# Member -> the header that the answer names, and the values that ask for nothing.
REFUSED: Mapping[str, tuple[str, frozenset[Any]]] = {
    "AnnotationDirective": ("x-amz-annotation-directive", frozenset()),
    "BucketNamespace": ("x-amz-bucket-namespace", frozenset({"global"})),
    "BypassGovernanceRetention": ("x-amz-bypass-governance-retention", frozenset({False})),
    "GrantFullControl": ("x-amz-grant-full-control", frozenset()),
    "GrantRead": ("x-amz-grant-read", frozenset()),
    "GrantReadACP": ("x-amz-grant-read-acp", frozenset()),
    "GrantWrite": ("x-amz-grant-write", frozenset()),
    "GrantWriteACP": ("x-amz-grant-write-acp", frozenset()),
    "IfMatchInitiatedTime": ("x-amz-if-match-initiated-time", frozenset()),
    "IfMatchLastModifiedTime": ("x-amz-if-match-last-modified-time", frozenset()),
    "IfMatchSize": ("x-amz-if-match-size", frozenset()),
    "MFA": ("x-amz-mfa", frozenset()),
    "ObjectLockEnabledForBucket": ("x-amz-bucket-object-lock-enabled", frozenset({False})),
    "ObjectLockEventHold": ("x-amz-object-lock-event-hold", frozenset()),
    "ObjectLockEventHoldDurationDays": ("x-amz-object-lock-event-hold-duration-days", frozenset()),
    "ObjectLockEventHoldDurationYears": ("x-amz-object-lock-event-hold-duration-years", frozenset()),
    "ObjectLockLegalHoldStatus": ("x-amz-object-lock-legal-hold", frozenset()),
    "ObjectLockMode": ("x-amz-object-lock-mode", frozenset()),
    "ObjectLockRetainUntilDate": ("x-amz-object-lock-retain-until-date", frozenset()),
    "ObjectOwnership": ("x-amz-object-ownership", frozenset({"BucketOwnerEnforced"})),
    "WebsiteRedirectLocation": ("x-amz-website-redirect-location", frozenset()),
    "WriteOffsetBytes": ("x-amz-write-offset-bytes", frozenset()),
}


def check_members(input: Mapping[str, Any]) -> None:
    """Refuse input of a built operation that is not honoured yet. Raises NotImplemented (501)."""
    for member, value in input.items():
        refused = REFUSED.get(member)
        if refused is not None and value is not None and value not in refused[1]:
            raise S3Error("NotImplemented", Header=refused[0])
