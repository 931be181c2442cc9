"""x-amz-server-side-encryption-context: the client's pairs of a KMS encryption context.

base64 of UTF-8 JSON, one object of strings. What two readers could take for two different contexts is refused: names
that occur twice, halves of surrogate pairs, values of another type. The names that S3 and this server use themselves
are theirs alone.
"""

import base64
import binascii
import json
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.metadata.records import Tags

HEADER = "x-amz-server-side-encryption-context"

_RESERVED = ("aws:", "strongroom:")
_NOT_A_MAP = (
    f"The header '{HEADER}' shall be Base64-encoded UTF-8 string holding JSON which represents a string-string map"
)
_RESERVED_NAME = f"The header '{HEADER}' shall not hold names that begin with {' or '.join(_RESERVED)}"


def parse_context(header: str | None) -> Tags:
    """The pairs sorted by name, none where the header is absent. Raises InvalidArgument; the header, which is
    sensitive, is never repeated.
    """
    if header is None:
        return ()
    try:
        pairs = json.loads(base64.b64decode(header, validate=True).decode(), object_pairs_hook=_Pairs)
    except (binascii.Error, ValueError, RecursionError):
        raise _refused(_NOT_A_MAP) from None
    if not isinstance(pairs, _Pairs) or not all(isinstance(value, str) for _, value in pairs):
        raise _refused(_NOT_A_MAP)
    if len({name for name, _ in pairs}) != len(pairs) or not all(_is_unicode(text) for pair in pairs for text in pair):
        raise _refused(_NOT_A_MAP)
    if any(name.lower().startswith(_RESERVED) for name, _ in pairs):
        raise _refused(_RESERVED_NAME)
    return tuple(sorted(pairs))


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with every pair that it was written with; no JSON array is one."""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(message: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName=HEADER)
