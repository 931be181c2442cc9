"""The REST-XML protocol of S3: requests into input members, output members into answers.

Strategy: for each operation one reader and one writer are compiled from the service model when they are first needed;
a request then costs a few dictionary look-ups. Only types and presence are checked here. Values (enumerations in
headers, ranges, contradictions) are the handler's to judge, after the caller was authorised: on AWS a bad encryption
header under a Deny is 403, not 400.
This module knows no socket, no signature and no stored object.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

from strongroom.aws.errors import S3Error
from strongroom.aws.header_values import METADATA_PREFIX, formatter, metadata_headers, missing, parser
from strongroom.aws.http import Headers
from strongroom.aws.model import Operation
from strongroom.aws.routing import Route
from strongroom.aws.xml_reader import compile_reader
from strongroom.aws.xml_writer import compile_writer, error_document, text_document

BodyKind = Literal["none", "xml", "stream", "blob"]

_Answer = tuple[list[tuple[str, str]], bytes | None]


def parse_head(operation: Operation, route: Route, headers: Headers) -> dict[str, Any]:
    """The input members that stand in path, query and headers, by the model's names; absent ones are left out.

    `headers`: as `routing.effective_headers` gives them. Times are aware datetimes; user metadata is a dict of
    lower-case names without prefix. Raises S3Error for a value of the wrong type or a required one that is absent.
    """
    return _head_reader(operation)(route, headers)


def body_kind(operation: Operation) -> BodyKind:
    """What the request's body is: nothing, an XML document, an object's bytes, or one small text (a policy)."""
    shape = operation.input
    if shape is None:
        return "none"
    if shape.payload is None:
        return "xml" if any(member.location is None for member in shape.members.values()) else "none"
    kinds: dict[str, BodyKind] = {"structure": "xml", "string": "blob", "blob": "stream"}
    return kinds[shape.members[shape.payload].shape.type]


def parse_body(operation: Operation, body: bytes) -> dict[str, Any]:
    """The input members of an "xml" or "blob" body, complete in memory; how large it may be is the caller's to limit.

    Raises S3Error: MissingRequestBodyError, MalformedXML, MalformedPolicy.
    """
    return _body_reader(operation)(body)


def serialize(
    operation: Operation, output: Mapping[str, Any], status: int | None = None
) -> tuple[int, list[tuple[str, str]], bytes | None]:
    """(status, headers with lower-case names, body) of an answer; members that are None are left out.

    `status`: what the handler chose, or else the model's. The body is None where it is a stream, the handler's own.
    Raises ValueError for what is no member of the output, and for text that cannot stand in a header.
    """
    headers, body = _answer_writer(operation)(output)
    return operation.status if status is None else status, headers, body


def serialize_error(
    code: str, message: str, detail: Mapping[str, str], request_id: str, host_id: str, resource: str | None = None
) -> bytes:
    """The error document (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""
    elements = {"Code": code, "Message": message, **detail}
    if resource is not None:
        elements["Resource"] = resource
    return error_document({**elements, "RequestId": request_id, "HostId": host_id})


@cache
def _head_reader(operation: Operation) -> Callable[[Route, Headers], dict[str, Any]]:
    members = list(operation.input.members.values()) if operation.input is not None else []
    required = operation.input.required if operation.input is not None else frozenset()
    in_query = {each.wire_name: (each.name, parser(each.shape)) for each in members if each.location == "querystring"}
    in_headers = {
        each.wire_name.lower(): (each.name, parser(each.shape)) for each in members if each.location == "header"
    }
    metadata_member = next((each.name for each in members if each.location == "headers"), None)
    demanded = [each for each in members if each.location in ("querystring", "header") and each.name in required]

    def read(route: Route, headers: Headers) -> dict[str, Any]:
        value: dict[str, Any] = {}
        if route.bucket is not None:
            value["Bucket"] = route.bucket
        if route.key is not None:
            value["Key"] = route.key
        for name, text in route.query:
            if name in in_query:
                member, parse = in_query[name]
                value[member] = parse(text, name)
        texts: dict[str, str] = {}
        metadata: dict[str, str] = {}
        for name, text in headers.pairs:
            if name in in_headers:
                texts[name] = f"{texts[name]},{text}" if name in texts else text
            elif metadata_member is not None and name.startswith(METADATA_PREFIX):
                field = name[len(METADATA_PREFIX) :]
                metadata[field] = f"{metadata[field]},{text}" if field in metadata else text
        for name, text in texts.items():
            member, parse = in_headers[name]
            value[member] = parse(text, name)
        if metadata_member is not None and metadata:
            value[metadata_member] = metadata
        for each in demanded:
            if value.get(each.name) is None:
                raise missing(each)
        return {name: each for name, each in value.items() if each is not None}

    return read


@cache
def _body_reader(operation: Operation) -> Callable[[bytes], dict[str, Any]]:
    shape = operation.input
    assert shape is not None
    if shape.payload is None:
        return compile_reader(operation.input_root, shape)
    name, payload = shape.payload, shape.members[shape.payload].shape
    read = compile_reader(operation.input_root, payload) if payload.type == "structure" else _read_policy
    required = name in shape.required

    def read_payload(body: bytes) -> dict[str, Any]:
        if body:
            return {name: read(body)}
        if required:
            raise S3Error("MissingRequestBodyError")
        return {}

    return read_payload


def _read_policy(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise S3Error("MalformedPolicy") from None


@cache
def _answer_writer(operation: Operation) -> Callable[[Mapping[str, Any]], _Answer]:
    members = operation.output.members if operation.output is not None else {}
    in_headers = {
        name: (member.wire_name.lower(), formatter(member.shape))
        for name, member in members.items()
        if member.location == "header"
    }
    metadata_member = next((name for name, member in members.items() if member.location == "headers"), None)
    content_type, write_body = _body_writer(operation)

    def write(output: Mapping[str, Any]) -> _Answer:
        headers: list[tuple[str, str]] = []
        rest: dict[str, Any] = {}
        for name, value in output.items():
            if value is None:
                continue
            if name in in_headers:
                header, text_of = in_headers[name]
                headers.append((header, text_of(value)))
            elif name == metadata_member:
                headers += metadata_headers(value)
            else:
                rest[name] = value
        body = write_body(rest)
        if body:
            headers.append(("content-type", content_type))
        return headers, body

    return write


def _body_writer(operation: Operation) -> tuple[str, Callable[[dict[str, Any]], bytes | None]]:
    """The media type, and a function of the members that stand in no header."""
    shape, root = operation.output, operation.output_root
    if shape is None or (shape.payload is None and all(each.location is not None for each in shape.members.values())):
        return "", lambda rest: _only(rest, "") or b""
    if operation.name == "GetBucketLocation":
        # The one document that is a bare text, which no model can say. It is empty for us-east-1.
        return "application/xml", lambda rest: text_document(root, _only(rest, "LocationConstraint") or "")
    if shape.payload is None:
        return "application/xml", compile_writer(root, shape)
    name, payload = shape.payload, shape.members[shape.payload].shape
    if payload.type == "structure":
        write = compile_writer(root, payload)
        return "application/xml", lambda rest: b"" if (value := _only(rest, name)) is None else write(value)
    if payload.type == "string":
        return "application/json", lambda rest: (_only(rest, name) or "").encode()

    def leave_to_handler(rest: dict[str, Any]) -> None:
        _only(rest, name)

    return "", leave_to_handler


def _only(rest: dict[str, Any], name: str) -> Any:
    """The one member that may be left over, or None."""
    if not rest.keys() <= {name}:
        raise ValueError(f"not a member of the output: {', '.join(sorted(rest.keys() - {name}))}")
    return rest.get(name)
