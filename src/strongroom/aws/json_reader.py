"""Readers of JSON values, compiled from the shapes of the model, that tell violations in AWS's grammar.

Strategy: one function a shape, made when an operation is first asked for; a request then costs a few look-ups. A value of
another JSON type ends the reading at once (SerializationException), as AWS's deserialiser does; what breaks a constraint
of the model is collected, so that one answer names everything (ValidationException). Members that the model does not
know are never looked at, null counts as absent.
The grammar is what AWS answers: `Value 'x' at 'tags.1.member.tagKey' failed to satisfy constraint: Member must ...`. A
blob and a value that the model calls sensitive are not repeated in it, and of nothing more than so much.
This module knows no operation and no JSON text.
"""

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

from strongroom.aws.kms_errors import KmsError
from strongroom.aws.model import Shape
from strongroom.aws.timestamps import parse_timestamp

Reader = Callable[[Any, str, list[str]], Any]
"""A function of (JSON value that is not None, where it stands, violations found so far) to the value."""

# What a message repeats, so that an answer and its line in the audit log stay small: characters of a value and of a
# map's key, and violations.
_MOST_REPEATED = 1024
_MOST_OF_A_KEY = 128
_MOST_TOLD = 50
# No operation takes more than some dozens of items. Of a longer list none is read: a violation of each costs far more than
# its two bytes cost whoever sends it.
_MOST_ITEMS = 1000

_NOUNS = {
    "string": "a String",
    "integer": "an Integer",
    "boolean": "a Boolean",
    "timestamp": "milliseconds since epoch",
}


def compile_reader(shape: Shape) -> Reader:
    """The reader of a shape. It raises KmsError for a value of another type than the shape's."""
    match shape.type:
        case "structure":
            return _structure(shape)
        case "list":
            return _list(shape)
        case "map":
            return _map(shape)
        case "string":
            return _string(shape)
        case "integer":
            return _integer(shape)
        case "blob":
            return _blob(shape)
        case "boolean":
            return _boolean
        case "timestamp":
            return _timestamp
        case other:
            raise ValueError(f"no JSON form of {other}")


def validation_error(found: list[str]) -> KmsError:
    noun = "validation error" if len(found) == 1 else "validation errors"
    told = "; ".join(found[:_MOST_TOLD])
    more = "; ..." if len(found) > _MOST_TOLD else ""
    return KmsError("ValidationException", f"{len(found)} {noun} detected: {told}{more}")


def malformed(message: str | None = None) -> KmsError:
    return KmsError("SerializationException", message)


# --- types


def _structure(shape: Shape) -> Reader:
    members = [
        (name, f"{name[:1].lower()}{name[1:]}", compile_reader(member.shape), name in shape.required)
        for name, member in shape.members.items()
    ]

    def read(value: Any, where: str, found: list[str]) -> dict[str, Any]:
        if type(value) is not dict:
            raise _wrong_type(value, "structure")
        prefix = f"{where}." if where else ""
        result: dict[str, Any] = {}
        for name, shown, reader, required in members:
            given = value.get(name)
            if given is not None:
                result[name] = reader(given, prefix + shown, found)
            elif required:
                found.append(_null(prefix + shown))
        return result

    return read


def _list(shape: Shape) -> Reader:
    assert shape.item is not None
    of = shape.item.shape
    read_item = compile_reader(of)
    check_length = _length_check(shape)
    # What AWS says of a list of plain values: one violation for the whole list, with every constraint of its members.
    of_items = _constraints(of) if of.type in ("string", "integer", "blob") else []
    item_rule = f"Member must satisfy constraint: [{', '.join(of_items)}]"
    silent = of.sensitive or of.type != "string"

    def read(value: Any, where: str, found: list[str]) -> list[Any]:
        if type(value) is not list:
            raise _wrong_type(value, "list")
        if len(value) > _MOST_ITEMS:
            found.append(_violation(None, where, f"Member must have length less than or equal to {_MOST_ITEMS}"))
            return []
        result: list[Any] = []
        broken: list[str] = []
        for number, item in enumerate(value, 1):
            at = f"{where}.{number}.member"
            if item is None:
                found.append(_null(at))
            else:
                result.append(read_item(item, at, broken if of_items else found))
        shown = None if silent else f"[{', '.join(result)}]"
        if broken:
            found.append(_violation(shown, where, item_rule))
        found.extend(_violation(shown, where, rule) for rule in check_length(len(value)))
        return result

    return read


def _map(shape: Shape) -> Reader:
    assert shape.map_key is not None
    assert shape.map_value is not None
    read_key, read_value = compile_reader(shape.map_key), compile_reader(shape.map_value)
    check_length = _length_check(shape)

    def read(value: Any, where: str, found: list[str]) -> dict[str, Any]:
        if type(value) is not dict:
            raise _wrong_type(value, "map")
        result: dict[str, Any] = {}
        for key, each in value.items():
            at = f"{where}.{key[:_MOST_OF_A_KEY]}.member"
            read_key(key, at, found)
            if each is None:
                # Not absent: a pair that goes missing without a word would be another encryption context.
                found.append(_null(at))
            else:
                result[key] = read_value(each, at, found)
        found.extend(_violation(None, where, rule) for rule in check_length(len(value)))
        return result

    return read


def _string(shape: Shape) -> Reader:
    enum, silent = shape.enum, shape.sensitive
    enum_rule = _enum_rule(shape)
    check_length = _length_check(shape)
    # Java's classes are ASCII's, and its `matches` takes the whole text.
    pattern = None if shape.pattern is None else re.compile(shape.pattern, re.ASCII)
    pattern_rule = f"Member must satisfy regular expression pattern: {shape.pattern}"
    least, most = _bounds(shape)

    def read(value: Any, where: str, found: list[str]) -> str:
        if type(value) is not str:
            raise _wrong_type(value, "string")
        if not value.isascii():
            _refuse_lone_surrogates(value)
        if not least <= len(value) <= most:
            found.extend(_violation(None if silent else value, where, rule) for rule in check_length(len(value)))
        if enum and value not in enum:
            found.append(_violation(None if silent else value, where, enum_rule))
        if pattern is not None and pattern.fullmatch(value) is None:
            found.append(_violation(None if silent else value, where, pattern_rule))
        return value

    return read


def _integer(shape: Shape) -> Reader:
    least, most = _bounds(shape)

    def read(value: Any, where: str, found: list[str]) -> int:
        if type(value) is not int:
            raise _wrong_type(value, "integer")
        shown = None if shape.sensitive else str(value)
        if value < least:
            found.append(_violation(shown, where, f"Member must have value greater than or equal to {shape.minimum}"))
        if value > most:
            found.append(_violation(shown, where, f"Member must have value less than or equal to {shape.maximum}"))
        return value

    return read


def _blob(shape: Shape) -> Reader:
    check_length = _length_check(shape)
    least, most = _bounds(shape)

    def read(value: Any, where: str, found: list[str]) -> bytes:
        if type(value) is not str:
            raise _wrong_type(value, "string")
        try:
            content = base64.b64decode(value, validate=True)
        except ValueError:
            raise malformed(f"The value at '{where}' is not valid Base64") from None
        if base64.b64encode(content).decode() != value:
            # One text a blob (RFC 4648 3.5): the decoder passes over spare bits and over what follows the padding.
            raise malformed(f"The value at '{where}' is not valid Base64")
        if not least <= len(content) <= most:
            found.extend(_violation(None, where, rule) for rule in check_length(len(content)))
        return content

    return read


def _boolean(value: Any, _where: str, _found: list[str]) -> bool:
    if type(value) is not bool:
        raise _wrong_type(value, "boolean")
    return value


def _timestamp(value: Any, _where: str, _found: list[str]) -> datetime:
    moment = None
    if type(value) in (int, float):
        try:
            moment = datetime.fromtimestamp(round(value, 3), UTC)
        except (ValueError, OverflowError, OSError):
            moment = None
    elif type(value) is str:
        moment = parse_timestamp(value)
    if moment is None:
        raise _wrong_type(value, "timestamp")
    return moment


# --- constraints and their texts


def _bounds(shape: Shape) -> tuple[float, float]:
    return (
        float("-inf") if shape.minimum is None else shape.minimum,
        float("inf") if shape.maximum is None else shape.maximum,
    )


def _length_check(shape: Shape) -> Callable[[int], list[str]]:
    least, most = _bounds(shape)

    def check(length: int) -> list[str]:
        if length < least:
            return [f"Member must have length greater than or equal to {shape.minimum}"]
        if length > most:
            return [f"Member must have length less than or equal to {shape.maximum}"]
        return []

    return check


def _constraints(shape: Shape) -> list[str]:
    """Every constraint of a plain value, in AWS's order."""
    rules = []
    noun = "value" if shape.type == "integer" else "length"
    if shape.maximum is not None:
        rules.append(f"Member must have {noun} less than or equal to {shape.maximum}")
    if shape.minimum is not None:
        rules.append(f"Member must have {noun} greater than or equal to {shape.minimum}")
    if shape.pattern is not None:
        rules.append(f"Member must satisfy regular expression pattern: {shape.pattern}")
    if shape.enum:
        rules.append(_enum_rule(shape))
    return rules


def _enum_rule(shape: Shape) -> str:
    return f"Member must satisfy enum value set: [{', '.join(sorted(shape.enum))}]"


def _violation(value: str | None, where: str, rule: str) -> str:
    if value is not None and len(value) > _MOST_REPEATED:
        value = f"{value[:_MOST_REPEATED]}..."
    shown = "Value" if value is None else f"Value '{value}'"
    return f"{shown} at '{where}' failed to satisfy constraint: {rule}"


def _null(where: str) -> str:
    return f"Value null at '{where}' failed to satisfy constraint: Member must not be null"


def _wrong_type(value: Any, wanted: str) -> KmsError:
    """What AWS's deserialiser says of a value of another JSON type."""
    match value:
        case list():
            return malformed("Start of list found where not expected")
        case dict():
            return malformed("Start of structure or map found where not expected.")
        case _ if wanted not in _NOUNS:
            return malformed("Unexpected field type")
        case bool():
            return malformed(f"{str(value).upper()}_VALUE can not be converted to {_NOUNS[wanted]}")
        case int() | float():
            return malformed(f"NUMBER_VALUE can not be converted to {_NOUNS[wanted]}")
        case _:
            return malformed(f"STRING_VALUE can not be converted to {_NOUNS[wanted]}")


def _refuse_lone_surrogates(text: str) -> None:
    """JSON can write half a character; no other text has a form for it, so it could be bound or compared as nothing."""
    try:
        text.encode()
    except UnicodeEncodeError:
        _not_unicode()


def _not_unicode() -> NoReturn:
    raise malformed("The text is not valid Unicode")
