"""XML documents of requests into values, as the service model's shapes say.

Strategy: defusedxml parses (no DTD, no entity, nothing external), then readers compiled once per shape walk what came
out. Strict where a mistake could change the meaning: root, required members, enumerations, numbers, a value given
twice, text between elements. Elements that the model does not know are ignored, as AWS does for the sake of newer
clients. Whatever is wrong is MalformedXML.
This module knows no operation and no HTTP; the size of a document is the caller's limit.
"""

import re
from collections.abc import Callable
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from strongroom.aws.errors import S3Error
from strongroom.aws.model import Member, Shape
from strongroom.aws.timestamps import parse_timestamp

S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
XSI_NAMESPACE = "http://www.w3.org/2001/XMLSchema-instance"

MAX_DEPTH = 32  # the deepest document of the model has 8 levels
MAX_TAGS = 200_000  # 10,000 parts of a multipart upload, each with number, ETag and checksum, have 80,000

_NAMESPACES = ("", f"{{{S3_NAMESPACE}}}", "{http://doc.s3.amazonaws.com/2006-03-01}")  # the last: the first SDKs
_XML_SPACE = " \t\r\n"
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_INTEGER_LIMITS = {"integer": 2**31, "long": 2**63}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

_Reader = Callable[[Element], Any]


def compile_reader(root: str, shape: Shape) -> Callable[[bytes], dict[str, Any]]:
    """A function from a document to the members of `shape`; it raises S3Error (MalformedXML) and nothing else."""
    read = _structure_reader(shape)
    roots = frozenset(_qualified(root))

    def read_document(document: bytes) -> dict[str, Any]:
        element = _parse(document)
        if element.tag not in roots:
            _malformed()
        value: dict[str, Any] = read(element)
        return value

    return read_document


def _parse(document: bytes) -> Element:
    # Each element takes some 100 bytes of memory and 4 bytes of document.
    if document.count(b"<") > MAX_TAGS:
        _malformed()
    # Only UTF-8 is read, whatever a document declares; expat alone would still follow the marks of UTF-16.
    if b"\0" in document:
        _malformed()
    parser = DefusedXMLParser(encoding="utf-8", forbid_dtd=True)
    try:
        parser.feed(document.decode())
        root: Element = parser.close()
    except (ParseError, DefusedXmlException, ValueError):
        raise S3Error("MalformedXML") from None
    level, depth = [root], 0
    while level:
        level, depth = [child for element in level for child in element], depth + 1
        if depth > MAX_DEPTH:
            _malformed()
    return root


def _malformed() -> NoReturn:
    raise S3Error("MalformedXML")


def _qualified(name: str) -> tuple[str, ...]:
    return tuple(namespace + name for namespace in _NAMESPACES)


def _structure_reader(shape: Shape) -> _Reader:
    elements: dict[str, tuple[str, _Reader, bool]] = {}
    attributes: dict[str, tuple[str, Shape]] = {}
    for name, member in shape.members.items():
        if member.xml_attribute:
            attributes[f"{{{XSI_NAMESPACE}}}{member.wire_name.removeprefix('xsi:')}"] = (name, member.shape)
        elif member.location is None:
            many = member.shape.type == "list" and member.flattened
            reader = _element_reader(member.shape.item if many and member.shape.item else member)
            elements.update(dict.fromkeys(_qualified(member.wire_name), (name, reader, many)))
    required = frozenset(name for name in shape.required if shape.members[name].location is None)

    def read(element: Element) -> dict[str, Any]:
        value: dict[str, Any] = {}
        _check_no_text(element)
        for child in element:
            known = elements.get(child.tag)
            if known is None:
                continue
            name, reader, many = known
            if many:
                value.setdefault(name, []).append(reader(child))
            elif name in value:
                _malformed()
            else:
                value[name] = reader(child)
        for attribute, (name, attribute_shape) in attributes.items():
            text = element.get(attribute)
            if text is not None:
                value[name] = _enumerated(text, attribute_shape)
        if not required <= value.keys():
            _malformed()
        return value

    return read


def _element_reader(member: Member) -> _Reader:
    shape = member.shape
    match shape.type:
        case "structure":
            return _structure_reader(shape)
        case "list":
            return _list_reader(shape)
        case "integer" | "long":
            limit = _INTEGER_LIMITS[shape.type]
            return lambda element: _integer(_text(element), limit)
        case "boolean":
            return lambda element: _boolean(_text(element))
        case "timestamp":
            return lambda element: _timestamp(_text(element))
        case _:
            return (lambda element: _enumerated(_text(element), shape)) if shape.enum else _text


def _list_reader(shape: Shape) -> _Reader:
    assert shape.item is not None
    tags = frozenset(_qualified(shape.item.wire_name))
    read_item = _element_reader(shape.item)

    def read(element: Element) -> list[Any]:
        _check_no_text(element)
        return [read_item(child) for child in element if child.tag in tags]

    return read


def _check_no_text(element: Element) -> None:
    if (element.text and element.text.strip(_XML_SPACE)) or any(
        child.tail and child.tail.strip(_XML_SPACE) for child in element
    ):
        _malformed()


def _text(element: Element) -> str:
    """Exactly as written: white space belongs to keys and tags."""
    if len(element):
        _malformed()
    return element.text or ""


def _enumerated(text: str, shape: Shape) -> str:
    if shape.enum and text not in shape.enum:
        _malformed()
    return text


def _integer(text: str, limit: int) -> int:
    text = text.strip(_XML_SPACE)
    if _INTEGER.fullmatch(text) is None or not -limit <= (number := int(text)) < limit:
        _malformed()
    return number


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.strip(_XML_SPACE).lower())
    if value is None:
        _malformed()
    return value


def _timestamp(text: str) -> Any:
    moment = parse_timestamp(text)
    if moment is None:
        _malformed()
    return moment
