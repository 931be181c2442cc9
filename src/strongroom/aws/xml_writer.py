"""Values into the XML documents of answers, as the service model's shapes say.

Strategy: writers compiled once per shape append text to one list. Simple members come before lists, so that a client
that reads a stream knows the frame of a listing first; absent members are left out. A character that XML 1.0 cannot
hold becomes a numeric reference, as on AWS: no parser takes it, but `encoding-type=url` is there for such keys, and no
listing ever fails here.
This module knows no operation, no HTTP and no errors of clients: a value that its shape does not know is a ValueError.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from strongroom.aws.model import Member, Shape
from strongroom.aws.timestamps import iso8601
from strongroom.aws.xml_reader import S3_NAMESPACE, XSI_NAMESPACE

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

_FORBIDDEN = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"  # XML 1.0, 2.2
_MARKUP = re.compile(f'[&<>"\r{_FORBIDDEN}]')  # a bare CR would be read as LF
_UNPRINTABLE = re.compile(f"[{_FORBIDDEN}]")
_REFERENCES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}

_Writer = Callable[[list[str], Any], None]


def compile_writer(root: str, shape: Shape) -> Callable[[Mapping[str, Any]], bytes]:
    """A function from a value of `shape` to a whole document in the S3 namespace."""
    write = _structure_writer(root, shape, f' xmlns="{S3_NAMESPACE}"')

    def write_document(value: Mapping[str, Any]) -> bytes:
        out = [DECLARATION]
        write(out, value)
        return "".join(out).encode()

    return write_document


def text_document(root: str, text: str) -> bytes:
    """A document that is one text."""
    return f'{DECLARATION}<{root} xmlns="{S3_NAMESPACE}">{escape(text)}</{root}>'.encode()


def error_document(elements: Mapping[str, str]) -> bytes:
    """S3's `<Error>`, which has no namespace. Parseable in any case: what XML can't hold becomes U+FFFD."""
    inside = "".join(
        f"<{name}>{escape(_UNPRINTABLE.sub(chr(0xFFFD), text))}</{name}>" for name, text in elements.items()
    )
    return f"{DECLARATION}<Error>{inside}</Error>".encode()


def escape(text: str) -> str:
    """Text of an element or of an attribute in double quotes."""
    return _MARKUP.sub(_reference, text) if _MARKUP.search(text) else text


def _reference(match: re.Match[str]) -> str:
    character = match[0]
    return _REFERENCES.get(character) or f"&#x{ord(character):X};"


def _structure_writer(tag: str, shape: Shape, attributes: str = "") -> _Writer:
    body = [member for member in shape.members.values() if member.location is None and not member.xml_attribute]
    body.sort(key=lambda member: member.shape.type == "list")
    members = [(member.name, _member_writer(member)) for member in body]
    typed = [member for member in shape.members.values() if member.xml_attribute]
    names = shape.members.keys()
    opening, closing = f"<{tag}{attributes}>", f"</{tag}>"

    def write(out: list[str], value: Mapping[str, Any]) -> None:
        if not value.keys() <= names:
            raise ValueError(f"{shape.name} has no member {', '.join(sorted(value.keys() - names))}")
        out.append(opening if not typed else _opening_with_type(opening, typed, value))
        for name, write_member in members:
            member = value.get(name)
            if member is not None:
                write_member(out, member)
        out.append(closing)

    return write


def _opening_with_type(opening: str, typed: list[Member], value: Mapping[str, Any]) -> str:
    given = "".join(f' {each.wire_name}="{escape(value[each.name])}"' for each in typed if value.get(each.name))
    return f'{opening[:-1]} xmlns:xsi="{XSI_NAMESPACE}"{given}>'


def _member_writer(member: Member) -> _Writer:
    if member.shape.type != "list":
        return _element_writer(member.wire_name, member.shape)
    item = member.shape.item
    assert item is not None
    if member.flattened:
        return _items_writer(_element_writer(member.wire_name, item.shape), "", "")
    return _items_writer(_element_writer(item.wire_name, item.shape), f"<{member.wire_name}>", f"</{member.wire_name}>")


def _items_writer(write_item: _Writer, opening: str, closing: str) -> _Writer:
    def write(out: list[str], items: list[Any]) -> None:
        out.append(opening)
        for item in items:
            write_item(out, item)
        out.append(closing)

    return write


def _element_writer(tag: str, shape: Shape) -> _Writer:
    if shape.type == "structure":
        return _structure_writer(tag, shape)
    opening, closing = f"<{tag}>", f"</{tag}>"
    match shape.type:
        case "timestamp":
            return lambda out, value: out.append(f"{opening}{iso8601(value)}{closing}")
        case "boolean":
            return lambda out, value: out.append(f"{opening}{'true' if value else 'false'}{closing}")
        case "integer" | "long":
            return lambda out, value: out.append(f"{opening}{value:d}{closing}")
        case _:
            return lambda out, value: out.append(f"{opening}{escape(value)}{closing}")
