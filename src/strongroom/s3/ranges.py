"""Byte ranges: the header's text and the object's size in, plaintext offsets out.

Two readers of two strictnesses, because S3 has both: a Range that makes no sense is ignored, an
x-amz-copy-source-range that makes no sense is an error. Nothing here knows ciphertext or parts.
"""

import re

from strongroom.aws.errors import S3Error

_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)", re.IGNORECASE)
_COPY_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")
_COPY_RANGE_FORM = (
    "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based "
    "offsets of the first and last bytes to copy"
)
_BEYOND = 2**63  # more than any object has


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last plaintext byte, inclusive; None for the whole object (answer 200, not 206).

    S3 ignores what it cannot read, several ranges, and last before first; a suffix longer than the object is the whole
    of it as a range (RFC 9110 14.1.2), but of an empty object no range can be told. Raises InvalidRange (416).
    """
    match = _RANGE.fullmatch(header) if header is not None else None
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        return _suffix(match[0], _offset(last), size)
    if last and _offset(last) < _offset(first):
        return None
    if _offset(first) >= size:
        raise _unsatisfiable(match[0], size)
    return _offset(first), min(_offset(last), size - 1) if last else size - 1


def parse_copy_source_range(header: str, size: int) -> tuple[int, int]:
    """First and last plaintext byte of the source, inclusive: both given, both inside (UploadPartCopy).

    Raises InvalidArgument, and InvalidRequest where the range begins after the end.
    """
    match = _COPY_RANGE.fullmatch(header)
    if match is None or _offset(match[1]) > _offset(match[2]):
        raise _invalid_copy_range(_COPY_RANGE_FORM, header)
    first, last = _offset(match[1]), _offset(match[2])
    if first >= size:
        raise S3Error("InvalidRequest", "The specified copy range is invalid for the source object size")
    if last >= size:
        raise _invalid_copy_range(f"Range specified is not valid for source object of size: {size}", header)
    return first, last


def _suffix(header: str, length: int, size: int) -> tuple[int, int] | None:
    if length == 0:
        raise _unsatisfiable(header, size)
    if size == 0:
        return None
    return max(size - length, 0), size - 1


def _offset(digits: str) -> int:
    # Python refuses to convert thousands of digits, and a header may hold them.
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) < 19 else _BEYOND


def _unsatisfiable(header: str, size: int) -> S3Error:
    return S3Error("InvalidRange", RangeRequested=header, ActualObjectSize=str(size))


def _invalid_copy_range(message: str, header: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName="x-amz-copy-source-range", ArgumentValue=header)
