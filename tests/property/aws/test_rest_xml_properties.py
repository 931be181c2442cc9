"""The wire against its other end: what botocore serialises we parse, and what we serialise botocore parses.

botocore's own model is used as it ships, so that a wrong correction of ours shows. All 116 operations.
"""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from botocore.awsrequest import HeadersDict
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.aws.model import load_s3_model
from strongroom.aws.rest_xml import body_kind, parse_body, parse_head, serialize
from strongroom.aws.routing import Route, climbs_above_root, route
from strongroom.aws.timestamps import http_date

MODEL = load_s3_model()
BOTOCORE = ServiceModel(Loader().load_service_model("s3", "service-2"), "s3")
SERIALIZER = create_serializer("rest-xml", include_validation=False)
PARSER = create_parser("rest-xml")

DOCUMENTS = [name for name, operation in MODEL.operations.items() if body_kind(operation) in ("xml", "blob")]

# Deprecated names for a request of another operation, and the one of another endpoint.
ALIASES = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "ListDirectoryBuckets": "ListBuckets",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}
# An event stream; the document that no model can say; a deprecated one where one element means two members.
OTHER_ANSWERS = {"SelectObjectContent", "GetBucketLocation", "GetBucketNotification"}

FAST = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))

XML_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\ufffe\uffff", min_codepoint=32))
HEADER_TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
QUERY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=250).filter(
    lambda key: not climbs_above_root(key)
)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0)
)
TOKENS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1)


def values(shape, location=None, name=None):
    """Values that a client may give for `shape` at `location`."""
    match shape.type_name:
        case "structure":
            return structures(shape)
        case "list":
            # An empty list leaves a trace on the wire only if an element stands around it.
            traceless = location or shape.serialization.get("flattened")
            return st.lists(values(shape.member, location), min_size=1 if traceless else 0, max_size=3)
        case "map":
            return st.dictionaries(TOKENS, HEADER_TEXT, min_size=1, max_size=3)
        case "integer":
            return st.integers(-(2**31), 2**31 - 1)
        case "long":
            return st.integers(-(2**63), 2**63 - 1)
        case "boolean":
            return st.booleans()
        case "timestamp":
            return TIMES
        case "blob":
            return st.binary(max_size=32)
        case _ if shape.enum:
            return st.sampled_from(shape.enum)
    if location == "uri" or name == "RequestRoute":  # which botocore also puts into the host name
        return KEYS if name == "Key" else TOKENS
    return {"header": HEADER_TEXT, "querystring": QUERY_TEXT}.get(location, XML_TEXT)


@st.composite
def structures(draw, shape):
    chosen = {}
    for name, member in shape.members.items():
        if name in shape.required_members or draw(st.booleans()):
            chosen[name] = draw(values(member, member.serialization.get("location"), name))
    if getattr(shape, "is_tagged_union", False):
        name = draw(st.sampled_from(list(shape.members)))
        return {name: draw(values(shape.members[name]))}
    return chosen


def as_request(name, arguments):
    """(method, raw path, raw query, headers, body) of the request that botocore makes."""
    request = SERIALIZER.serialize_to_request(arguments, BOTOCORE.operation_model(name))
    path, _, query = request["url_path"].partition("?")
    parameters = urlencode(request["query_string"], quote_via=quote, safe="")
    raw_query = "&".join(part for part in (query, parameters) if part)
    headers = Headers.of(request["headers"].items())
    return request["method"], path.encode(), raw_query.encode(), headers, request["body"]


def operation_of(name):
    return MODEL.operations[name]


def shape_of(name, side):
    return getattr(BOTOCORE.operation_model(name), f"{side}_shape")


def parse(name, arguments):
    method, path, query, headers, body = as_request(name, arguments)
    found = route(MODEL, method, path, query, "localhost:9000", headers, ())
    operation = operation_of(found.operation.name)
    parsed = parse_head(operation, found, headers)
    if body_kind(operation) in ("xml", "blob") and body:
        parsed |= parse_body(operation, body)
    elif body_kind(operation) == "stream" and body:
        parsed[operation.input.payload] = body
    return operation, parsed


@pytest.mark.parametrize("name", sorted(set(BOTOCORE.operation_names) - set(ALIASES)))
def test_request__what_botocore_serialises_is_what_we_parse(name):
    shape = shape_of(name, "input")
    payload = shape.serialization.get("payload") if shape else None

    @FAST
    @given(st.data())
    def check(data):
        arguments = data.draw(structures(shape)) if shape else {}
        operation, parsed = parse(name, arguments)
        assert operation is MODEL.operations[name]
        expected: dict[str, Any] = {
            member: http_date(value) if member in ("Expires", "ResponseExpires") else value
            for member, value in arguments.items()
            if member != payload or value or isinstance(value, dict)  # an empty text is no payload
        }
        if name == "UpdateObjectEncryption":  # here text, as any other than true and false gets an error of its own
            kms = expected["ObjectEncryption"].get("SSEKMS", {})
            kms |= {member: str(value).lower() for member, value in kms.items() if member == "BucketKeyEnabled"}
        assert parsed == expected

    check()


@pytest.mark.parametrize(("alias", "name"), sorted(ALIASES.items()))
def test_request__five_operations_have_the_request_of_another(alias, name):
    method, path, query, headers, _ = as_request(alias, {} if alias == "ListDirectoryBuckets" else {"Bucket": "b"})
    assert route(MODEL, method, path, query, None, headers, ()).operation is MODEL.operations[name]


@pytest.mark.parametrize("name", sorted(set(BOTOCORE.operation_names) - OTHER_ANSWERS))
def test_answer__what_we_serialise_is_what_botocore_parses(name):
    shape = shape_of(name, "output")

    @FAST
    @given(st.data())
    def check(data):
        output = data.draw(structures(shape)) if shape else {}
        stream = shape and shape.serialization.get("payload")
        if stream and shape.members[stream].type_name != "structure":
            output.pop(stream, None)
        given = {member: http_date(value) if member == "Expires" else value for member, value in output.items()}
        status, headers, body = serialize(MODEL.operations[name], given)
        answer = {"status_code": status, "headers": HeadersDict(headers), "body": body or b""}
        parsed = PARSER.parse(answer, shape)
        del parsed["ResponseMetadata"]
        # botocore finds a stream and metadata in every answer that may hold them, and nothing in an empty document.
        silent = {stream, "Metadata"}
        assert without_empty(parsed, silent) == without_empty(output, silent)

    check()


def without_empty(members, names):
    return {name: value for name, value in members.items() if value or name not in names}


def members_below(shape):
    """The wire names of everything in a shape, at whatever depth."""
    if shape is None:
        return
    for member in [*shape.members.values(), *([shape.item] if shape.item else [])]:
        yield member.wire_name
        yield from members_below(member.shape)


def wire_names(location):
    inputs = [operation.input for operation in MODEL.operations.values() if operation.input]
    return sorted({each.wire_name for shape in inputs for each in shape.members.values() if each.location == location})


HEADERS, PARAMETERS = [*wire_names("header"), "x-amz-meta-a"], wire_names("querystring")
ELEMENTS = sorted(
    {element for each in MODEL.operations.values() for element in (each.input_root, *members_below(each.input))} - {""}
)
TREES = st.recursive(
    st.sampled_from(["", "1", "true", "Enabled", "AES256", "2026-01-02T03:04:05Z", "text", "&#x1;", "<", "]]>"]),
    lambda inside: st.lists(
        st.tuples(st.sampled_from(ELEMENTS), inside).map(lambda pair: f"<{pair[0]}>{pair[1]}</{pair[0]}>"), max_size=4
    ).map("".join),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(DOCUMENTS), TREES)
def test_body__any_elements_give_members_or_an_s3_error(name, inside):
    root = MODEL.operations[name].input_root
    gives_members_or_an_s3_error(name, f"<{root}>{inside}</{root}>".encode())


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(MODEL.operations)),
    st.lists(st.tuples(st.sampled_from(HEADERS), st.text(st.characters(max_codepoint=255), max_size=12)), max_size=5),
    st.lists(st.tuples(st.sampled_from(PARAMETERS), st.text(max_size=12)), max_size=5),
)
def test_head__any_headers_and_parameters_give_members_or_an_s3_error(name, headers, query):
    operation = MODEL.operations[name]
    where = Route(operation=operation, bucket="b", key="k", query=tuple(query), virtual_host=False)
    try:
        parsed = parse_head(operation, where, Headers.of(headers))
    except S3Error as error:
        assert error.code in ("InvalidArgument", "InvalidRequest")  # noqa: PT017
    else:
        assert None not in parsed.values()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(DOCUMENTS), st.binary(max_size=200))
def test_body__any_bytes_give_members_or_an_s3_error(name, body):
    gives_members_or_an_s3_error(name, body)


def gives_members_or_an_s3_error(name, body):
    try:
        parsed = parse_body(MODEL.operations[name], body)
    except S3Error as error:
        assert error.status == 400  # noqa: PT017
    else:
        assert parsed.keys() <= operation_of(name).input.members.keys()
