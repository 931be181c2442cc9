"""AWS JSON 1.1, the protocol of KMS: request bodies into input members, output members into answers.

Strategy: for each operation one reader and one writer are compiled from the service model when they are first needed.
Shapes are checked whole here, in AWS's grammar (`aws/json_reader.py`); what members mean together is the operation's to
judge. One reading of a text, or none: duplicate names, half characters, NaN and endless nesting are refused.
Rules: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
This module knows no socket, no signature and no key.
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, NoReturn

import msgspec

from strongroom.aws.json_reader import compile_reader, malformed, validation_error
from strongroom.aws.kms_errors import IN_FRONT, KmsError
from strongroom.aws.model import Operation, Shape

CONTENT_TYPE = "application/x-amz-json-1.1"

_Writer = Callable[[Any], Any]

_encode = msgspec.json.Encoder().encode  # three times as fast as the standard library's; it writes bytes as Base64


def parse(operation: Operation, body: bytes) -> dict[str, Any]:
    """The input by the model's member names; absent members and nulls are left out, unknown ones are not looked at.

    Blobs are bytes, timestamps aware datetimes. An empty body counts as `{}`. How long it may be is the caller's to limit.
    Raises KmsError: SerializationException, ValidationException with everything that is wrong.
    """
    found: list[str] = []
    value: dict[str, Any] = _reader(operation)(_decode(body) if body else {}, "", found)
    if found:
        raise validation_error(found)
    return value


def serialize(operation: Operation, output: Mapping[str, Any]) -> bytes:
    """The body of an answer; empty where the operation has no output. Members that are None are left out.

    Blobs are bytes, timestamps aware datetimes or seconds since 1970; either is written with milliseconds. Raises
    ValueError for what is no member of the output, or of another type.
    """
    if operation.output is None:
        if output:
            raise ValueError(f"not a member of the output: {', '.join(sorted(output))}")
        return b""
    return _encode(_writer(operation)(output))


def serialize_error(error: KmsError) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """The body and the headers that tell an error. Clients take its code from `__type`, some from the header."""
    document = {"__type": error.code}
    if error.message is not None:
        document["Message" if error.code in IN_FRONT else "message"] = error.message
    return _encode(document), (
        ("x-amzn-errortype", error.code),
        ("content-type", CONTENT_TYPE),
    )


# --- reading


@cache
def _reader(operation: Operation) -> Callable[[Any, str, list[str]], dict[str, Any]]:
    assert operation.input is not None
    return compile_reader(operation.input)


def _decode(body: bytes) -> Any:
    try:
        return _decoder.decode(body.decode())
    except (ValueError, RecursionError):  # of bytes that are no UTF-8, of text that is no JSON, of numbers without end
        raise malformed() from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of a duplicate name take different values; the policy of one must not be the key of the other."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError
    return value


def _not_json(_text: str) -> NoReturn:
    raise ValueError


_decoder = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_not_json)


# --- writing


@cache
def _writer(operation: Operation) -> _Writer:
    assert operation.output is not None
    return _compile_writer(operation.output)


def _compile_writer(shape: Shape) -> _Writer:
    match shape.type:
        case "structure":
            return _structure_writer(shape)
        case "list":
            assert shape.item is not None
            write_item = _compile_writer(shape.item.shape)
            return lambda value: [write_item(each) for each in value]
        case "map":
            assert shape.map_value is not None
            write_value = _compile_writer(shape.map_value)
            return lambda value: {key: write_value(each) for key, each in value.items()}
        case "timestamp":
            return _seconds
        case other:
            return _plain(_PYTHON_TYPES[other])


_PYTHON_TYPES = {"string": str, "integer": int, "boolean": bool, "blob": bytes}


def _plain(wanted: type) -> _Writer:
    """The encoder would write bytes where a text belongs, and much else, without a word."""

    def write(value: object) -> object:
        if type(value) is not wanted:
            raise ValueError(f"{type(value).__name__} where {wanted.__name__} belongs")
        return value

    return write


def _structure_writer(shape: Shape) -> _Writer:
    writers = {name: _compile_writer(member.shape) for name, member in shape.members.items()}

    def write(value: Mapping[str, Any]) -> dict[str, Any]:
        if not value.keys() <= writers.keys():
            raise ValueError(f"not a member of {shape.name}: {', '.join(sorted(value.keys() - writers.keys()))}")
        return {name: writers[name](each) for name, each in value.items() if each is not None}

    return write


def _seconds(value: datetime | float) -> float:
    """Seconds since 1970 as clients read them; a whole second has no fraction. Raises ValueError for a time without zone."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        value = value.timestamp()
    if not math.isfinite(value):
        raise ValueError("no moment")
    seconds = round(value, 3)
    return int(seconds) if seconds == int(seconds) else seconds
