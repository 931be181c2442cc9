"""Tags of objects and buckets: from the x-amz-tagging header or a TagSet to checked pairs.

AWS judges the tags of a set one after the other and counts them last; so does this module. It does not know where tags
are kept.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from strongroom.aws.errors import S3Error
from strongroom.metadata.records import Tags
from strongroom.s3 import urlencoded

_HEADER = "x-amz-tagging"
_HEADER_FORM = (
    "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name "
    "duplicates."
)
_PUNCTUATION = frozenset("_.:/=+-@")


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRules:
    """What differs between the tags of an object and those of a bucket."""

    most: int
    too_many: str
    reserved: str


OBJECT_TAGS = TagRules(
    most=10, too_many="Object tags cannot be greater than 10", reserved="Your TagKey cannot be prefixed with aws:"
)
BUCKET_TAGS = TagRules(
    most=50,
    too_many="Bucket tag count cannot be greater than 50",
    reserved="System tags cannot be added/updated by requester",
)


def check_tag_set(tag_set: Iterable[Mapping[str, str]], rules: TagRules) -> Tags:
    """A TagSet of `Key`/`Value` members, in its order. Raises InvalidTag and BadRequest (too many)."""
    return _check([(tag["Key"], tag["Value"]) for tag in tag_set], rules)


def parse_tagging(header: str | None) -> Tags:
    """The x-amz-tagging header of an object, `k1=v1&k2=v2`; latin-1 text as it came off the wire.

    Raises InvalidArgument where the header itself is wrong (AWS counts duplicate names and forbidden characters among
    that), InvalidTag and BadRequest else.
    """
    if not header:
        return ()
    pairs = [_pair(parameter, header) for parameter in header.split("&") if parameter]
    names = {name for name, _ in pairs}
    if len(names) != len(pairs) or not all(_is_allowed(name) and _is_allowed(value) for name, value in pairs):
        raise _invalid_header(header)
    return _check(pairs, OBJECT_TAGS)


def _pair(parameter: str, header: str) -> tuple[str, str]:
    name, _, value = parameter.partition("=")
    if not name:
        raise _invalid_header(header)
    try:
        return urlencoded.decode(name), urlencoded.decode(value)
    except ValueError:
        raise _invalid_header(header) from None


def _check(pairs: list[tuple[str, str]], rules: TagRules) -> Tags:
    seen: set[str] = set()
    for key, value in pairs:
        if key in seen:
            raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key", TagKey=key)
        if key.startswith("aws:"):
            raise S3Error("InvalidTag", rules.reserved, TagKey=key)
        if not 1 <= _length(key) <= 128 or not _is_allowed(key):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key)
        if _length(value) > 256 or not _is_allowed(value):
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid", TagKey=key, TagValue=value)
        seen.add(key)
    if len(pairs) > rules.most:
        raise S3Error("BadRequest", rules.too_many)
    return tuple(pairs)


def _length(text: str) -> int:
    """In UTF-16 units, as S3 counts (User Guide, "Categorizing your objects using tags")."""
    return len(text) + sum(character > "\uffff" for character in text)


def _is_allowed(text: str) -> bool:
    r"""`[\p{L}\p{Z}\p{N}_.:/=+\-@]*` (S3 API Reference, Tag)."""
    return all(character in _PUNCTUATION or unicodedata.category(character)[0] in "LZN" for character in text)


def _invalid_header(header: str) -> S3Error:
    return S3Error("InvalidArgument", _HEADER_FORM, ArgumentName=_HEADER, ArgumentValue=header)
