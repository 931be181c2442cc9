"""Canned ACLs: this server's buckets have ACLs disabled ("bucket owner enforced", S3's default since April 2023).

So the two that say what is already true are accepted and everything else is refused; nothing is ever stored.
"""

from strongroom.aws.errors import S3Error

_ALREADY_TRUE = frozenset({"private", "bucket-owner-full-control"})
_CANNED = frozenset({"public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read"})


def check_acl(acl: str | None) -> None:
    """The value of x-amz-acl. Raises AccessControlListNotSupported, or InvalidArgument where there is no such ACL."""
    if acl is None or acl in _ALREADY_TRUE:
        return
    if acl in _CANNED:
        raise S3Error("AccessControlListNotSupported")
    raise S3Error("InvalidArgument", "", ArgumentName="x-amz-acl", ArgumentValue=acl)
