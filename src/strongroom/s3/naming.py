"""The names of buckets and keys: which ones may exist.

Text in, nothing or an S3Error out. Keys are judged and never changed: two keys are equal only when their bytes are, so
`.`, `//`, a trailing `/`, `\\` or a control character stay as the client sent them.
This module does not know where a name came from (URL, copy source, form, XML), nor how it was decoded.
"""

import re

from strongroom.aws.errors import S3Error
from strongroom.aws.routing import MAX_KEY_BYTES, climbs_above_root

_CHARACTERS = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RESERVED_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
# `-an` ends the names of account regional namespaces, which this server does not have.
_RESERVED_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3", "-an")


def is_bucket_name(name: str) -> bool:
    """Whether a bucket may bear `name` (S3 User Guide, "General purpose bucket naming rules").

    `.-` and `-.` are refused beyond that page, since they make no DNS name and AWS refuses them too.
    """
    return (
        _CHARACTERS.fullmatch(name) is not None
        and not any(pair in name for pair in ("..", ".-", "-."))
        and _IP_ADDRESS.fullmatch(name) is None
        and not name.startswith(_RESERVED_PREFIXES)
        and not name.endswith(_RESERVED_SUFFIXES)
    )


def check_bucket_name(name: str) -> None:
    """Raises InvalidBucketName."""
    if not is_bucket_name(name):
        raise S3Error("InvalidBucketName", BucketName=name)


def check_key(key: str) -> None:
    """Refuse what cannot be an object key (S3 User Guide, "Naming Amazon S3 objects").

    Raises KeyTooLongError (more than 1,024 bytes of UTF-8) and InvalidURI: an empty key, NUL, text that is no UTF-8,
    and a key that climbs above its root, which clients and proxies that normalise would turn into another bucket's.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise S3Error("InvalidURI") from None
    if size > MAX_KEY_BYTES:
        raise S3Error("KeyTooLongError", Size=str(size), MaxSizeAllowed=str(MAX_KEY_BYTES))
    if not key or "\0" in key or climbs_above_root(key):
        raise S3Error("InvalidURI")
