"""Simple values of the model in headers and query parameters, both ways.

Strategy: one function a type, chosen when an operation is compiled. Text is latin-1 that may hold UTF-8 bytes (RFC 9110
5.5) and passes through unchanged; only user metadata, which may be anything, is encoded on its way out.
Whether a value of the right type makes sense is the handler's to judge.
"""

import base64
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.aws.model import Member, Shape
from strongroom.aws.timestamps import http_date, iso8601, parse_timestamp

METADATA_PREFIX = "x-amz-meta-"

_INTEGER_LIMITS = {"integer": 2**31, "long": 2**63}
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_BOOLEANS = {"true": True, "false": False}
_LIST_ITEM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^,]*))\s*(?:,|\Z)')
_LINE_BREAK = re.compile(r"[\r\n\0]")

_INTEGER_MESSAGES = {"partNumber": "Part number must be an integer between 1 and 10000, inclusive"}
_TIMESTAMP_MESSAGES = {
    "x-amz-object-lock-retain-until-date": "The retain until date must be provided in ISO 8601 format"
}
_MISSING_MESSAGES = {
    "x-amz-object-attributes": (
        "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty"
    )
}


def parser(shape: Shape) -> Callable[[str, str], Any]:
    """A function of (text, name on the wire) to the value, or to None where the text counts as absent.

    It raises S3Error (InvalidArgument) for text that is no value of the type.
    """
    match shape.type:
        case "integer" | "long":
            limit = _INTEGER_LIMITS[shape.type]
            return lambda text, name: _parse_integer(text, name, limit)
        case "boolean":
            return _parse_boolean
        case "timestamp":
            return _parse_timestamp
        case "list":
            return _parse_list
        case _:
            return lambda text, _: text


def formatter(shape: Shape) -> Callable[[Any], str]:
    """A function of a value to its text, which raises ValueError for text that cannot stand in a header."""
    match shape.type:
        case "timestamp":
            return iso8601 if shape.timestamp_format == "iso8601" else http_date
        case "boolean":
            return lambda value: "true" if value else "false"
        case "string":
            return _checked
        case _:
            return str


def missing(member: Member) -> S3Error:
    """The error for a required member that is absent."""
    name = member.wire_name
    if name in _INTEGER_MESSAGES:
        return S3Error("InvalidArgument", _INTEGER_MESSAGES[name], ArgumentName=name)
    kind = "header" if member.location == "header" else "query parameter"
    return S3Error("InvalidRequest", _MISSING_MESSAGES.get(name, f"Missing required {kind} for this request: {name}"))


def metadata_headers(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    """User metadata as headers. What is not ASCII becomes one RFC 2047 word, as S3 does.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html. Raises ValueError for a line break.
    """
    return [(_checked(METADATA_PREFIX + name), _encoded_word(_checked(text))) for name, text in metadata.items()]


def _checked(text: str) -> str:
    # The last fence against response splitting (ceph CVE-2020-10753); a stored value must not get this far.
    if _LINE_BREAK.search(text):
        raise ValueError("a line break or NUL in a header")
    if not text.isascii():
        text.encode("latin-1")
    return text


def _encoded_word(text: str) -> str:
    if text.isascii():
        return text
    octets = text.encode("latin-1")
    try:
        octets.decode()
    except UnicodeDecodeError:
        octets = text.encode()
    return f"=?UTF-8?B?{base64.b64encode(octets).decode()}?="


def _parse_integer(text: str, name: str, limit: int) -> int | None:
    if not text:
        return None
    if _INTEGER.fullmatch(text) is None or not -limit <= int(text) < limit:
        message = _INTEGER_MESSAGES.get(name, f"Provided {name} not an integer or within integer range")
        raise S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=text)
    return int(text)


def _parse_boolean(text: str, name: str) -> bool | None:
    if not text:
        return None
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise S3Error("InvalidArgument", ArgumentName=name, ArgumentValue=text)
    return value


def _parse_timestamp(text: str, name: str) -> datetime | None:
    moment = parse_timestamp(text)
    # "A recipient MUST ignore the If-Modified-Since header field if the received field value is not a valid HTTP-date"
    # (RFC 9110 13.1.3; 13.1.4 says the same of If-Unmodified-Since).
    if moment is None and text and not name.endswith("modified-since"):
        raise S3Error("InvalidArgument", _TIMESTAMP_MESSAGES.get(name), ArgumentName=name, ArgumentValue=text)
    return moment


def _parse_list(text: str, _: str) -> list[str] | None:
    """Comma-separated; an item that holds a comma is quoted (https://smithy.io/2.0/spec/http-bindings.html)."""
    items = [quoted.replace('\\"', '"') or bare.strip() for quoted, bare in _LIST_ITEM.findall(text)]
    return [item for item in items if item] or None
