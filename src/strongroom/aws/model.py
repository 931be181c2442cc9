"""The official service models as frozen values: operations, and the shapes of what goes in and comes out. S3's is here.

Strategy: botocore ships the models as JSON and its loader reads them; everything else of botocore is a client's business
and stays out, so that only the data files are a contract. Where a model and AWS's wire differ, the wire wins: each
correction is one row of a table such as `CORRECTIONS`, with its reason.
This module knows no request, no XML, and nothing of which operations anybody implements.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from botocore.loaders import Loader


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """A type of the model. `type`: structure, list, map, string, integer, long, boolean, timestamp, blob, eventstream.

    `minimum`, `maximum`: of a number its value, else the length (of text in characters, of a blob in bytes); `pattern`: a
    Java regular expression for the whole text. `sensitive`: the value is never repeated to anybody.
    """

    name: str
    type: str
    members: Mapping[str, "Member"] = field(repr=False)
    required: frozenset[str]
    item: "Member | None" = field(repr=False)  # what a list holds
    map_key: "Shape | None" = field(repr=False)
    map_value: "Shape | None" = field(repr=False)
    payload: str | None  # the member that is the whole body
    enum: frozenset[str]
    minimum: int | None
    maximum: int | None
    pattern: str | None
    sensitive: bool
    timestamp_format: str | None
    flattened: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Member:
    """A place in a structure or list. `location` None is the body."""

    name: str
    shape: Shape
    location: str | None
    wire_name: str  # the header, the query parameter, or the XML element
    flattened: bool  # a list without an element around it
    xml_attribute: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operation:
    """One operation. `query`: the literal (name, value) pairs of its URI, "" for a bare name; headers: lower case.

    `input_root` and `output_root` name the XML document when the body is not one `payload` member.
    `deprecated`: another operation has the same request and is the one that is meant.
    """

    name: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    required_query: frozenset[str]
    required_headers: frozenset[str]
    input: Shape | None = field(repr=False)
    output: Shape | None = field(repr=False)
    input_root: str
    output_root: str
    status: int
    errors: tuple[str, ...]
    deprecated: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """S3's. `operations`: all of the official model, by name. `post_object`: the browser form upload, which it lacks."""

    operations: Mapping[str, Operation] = field(repr=False)
    post_object: Operation


class Correction(NamedTuple):
    path: tuple[str, ...]
    value: Any
    reason: str


def _roots(names: Mapping[str, str]) -> Iterable[Correction]:
    for operation, root in names.items():
        yield Correction(
            ("operations", operation, "output", "locationName"),
            root,
            "the model leaves the document's root open; clients that look at it expect the one of the API Reference",
        )


CORRECTIONS: tuple[Correction, ...] = (
    Correction(("shapes", "Expires", "type"), "string", "S3 stores this header as sent, dates or not, and returns it"),
    Correction(("shapes", "ResponseExpires", "type"), "string", "S3 answers with the text it was given"),
    Correction(
        ("shapes", "BucketLocationConstraint", "enum"),
        (),
        "an unknown region is InvalidLocationConstraint, not MalformedXML, and a region here may have any name",
    ),
    Correction(
        ("operations", "ListDirectoryBuckets", "deprecated"),
        True,
        "the same request as ListBuckets; directory buckets live on an endpoint of their own",
    ),
    *(
        Correction(("operations", name, "http", "responseCode"), 204, "what AWS answers, though the model says 200")
        for name in (
            "PutBucketAnalyticsConfiguration",
            "PutBucketIntelligentTieringConfiguration",
            "PutBucketInventoryConfiguration",
            "PutBucketPolicy",
            "PutBucketTagging",
        )
    ),
    *(
        Correction(
            ("shapes", shape, "members", "BucketRegion"),
            {"shape": "Region", "location": "header", "locationName": "x-amz-bucket-region"},
            "AWS sends this header with every listing; SDKs follow it to the right region",
        )
        for shape in ("ListObjectsOutput", "ListObjectsV2Output")
    ),
    *(
        Correction(("shapes", *path), value, "AWS answers InvalidRequest with texts of its own, never MalformedXML")
        for path, value in (
            (("ObjectEncryption", "members", "SSES3"), {"shape": "SSES3", "locationName": "SSE-S3"}),
            (("ObjectEncryption", "members", "DSSEKMS"), {"shape": "SSES3", "locationName": "DSSE-KMS"}),
            (("ObjectEncryption", "members", "SSEC"), {"shape": "SSES3", "locationName": "SSE-C"}),
            (("SSEKMSEncryption", "required"), ()),
            (("SSEKMSEncryption", "members", "BucketKeyEnabled"), {"shape": "ETag"}),  # a string
        )
    ),
    *_roots(
        {
            "CompleteMultipartUpload": "CompleteMultipartUploadResult",
            "CreateMultipartUpload": "InitiateMultipartUploadResult",
            "CreateSession": "CreateSessionResult",
            "DeleteObjects": "DeleteResult",
            "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
            "GetBucketAcl": "AccessControlPolicy",
            "GetBucketCors": "CORSConfiguration",
            "GetBucketLifecycle": "LifecycleConfiguration",
            "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
            "GetBucketLocation": "LocationConstraint",
            "GetBucketLogging": "BucketLoggingStatus",
            "GetBucketNotification": "NotificationConfiguration",
            "GetBucketNotificationConfiguration": "NotificationConfiguration",
            "GetBucketRequestPayment": "RequestPaymentConfiguration",
            "GetBucketTagging": "Tagging",
            "GetBucketVersioning": "VersioningConfiguration",
            "GetBucketWebsite": "WebsiteConfiguration",
            "GetObjectAcl": "AccessControlPolicy",
            "GetObjectAttributes": "GetObjectAttributesResponse",
            "GetObjectTagging": "Tagging",
            "ListBucketAnalyticsConfigurations": "ListBucketAnalyticsConfigurationResult",
            "ListBucketInventoryConfigurations": "ListInventoryConfigurationsResult",
            "ListBucketMetricsConfigurations": "ListMetricsConfigurationsResult",
            "ListBuckets": "ListAllMyBucketsResult",
            "ListDirectoryBuckets": "ListAllMyDirectoryBucketsResult",
            "ListMultipartUploads": "ListMultipartUploadsResult",
            "ListObjectVersions": "ListVersionsResult",
            "ListObjects": "ListBucketResult",
            "ListObjectsV2": "ListBucketResult",
            "ListParts": "ListPartsResult",
        }
    ),
)


@cache
def load_s3_model() -> Model:
    """The corrected model. The first call reads botocore's data files (about 50 ms)."""
    operations = corrected_operations(Loader().load_service_model("s3", "service-2"), CORRECTIONS)
    post_object = replace(operations["PutObject"], name="PostObject", method="POST", path="/{Bucket}")
    return Model(operations=operations, post_object=post_object)


def corrected_operations(document: dict[str, Any], corrections: Iterable[Correction]) -> Mapping[str, Operation]:
    """The operations of a service's model by name. `document`: as botocore's loader gives it; it is changed."""
    for path, value, _ in corrections:
        _correct(document, path, value)
    shapes = _Shapes(document["shapes"])
    return MappingProxyType({name: _operation(raw, shapes) for name, raw in sorted(document["operations"].items())})


def _correct(document: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *parents, last = path
    node = document
    for name in parents:
        node = node[name]
    node[last] = value


class _Shapes:
    """Builds each shape once. The shapes of S3 and KMS contain no cycle."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self._built: dict[str, Shape] = {}

    def __call__(self, name: str) -> Shape:
        if name not in self._built:
            self._built[name] = self._build(name, self._raw[name])
        return self._built[name]

    def _build(self, name: str, raw: Mapping[str, Any]) -> Shape:
        payload = raw.get("payload")
        members = {each: self._member(each, spec, each == payload) for each, spec in raw.get("members", {}).items()}
        return Shape(
            name=name,
            type="eventstream" if raw.get("eventstream") else raw["type"],
            members=MappingProxyType(members),
            required=frozenset(raw.get("required", ())),
            item=self._member("member", raw["member"]) if raw["type"] == "list" else None,
            map_key=self(raw["key"]["shape"]) if raw["type"] == "map" else None,
            map_value=self(raw["value"]["shape"]) if raw["type"] == "map" else None,
            payload=payload,
            enum=frozenset(raw.get("enum", ())),
            minimum=raw.get("min"),
            maximum=raw.get("max"),
            pattern=raw.get("pattern"),
            sensitive=raw.get("sensitive", False),
            timestamp_format=raw.get("timestampFormat"),
            flattened=raw.get("flattened", False),
        )

    def _member(self, name: str, raw: Mapping[str, Any], is_payload: bool = False) -> Member:
        shape = self(raw["shape"])
        return Member(
            name=name,
            shape=shape,
            location=raw.get("location"),
            wire_name=raw.get("locationName", shape.name if is_payload else name),  # a document is named by its type
            flattened=raw.get("flattened", shape.flattened),
            xml_attribute=raw.get("xmlAttribute", False),
        )


def _operation(raw: Mapping[str, Any], shapes: _Shapes) -> Operation:
    path, _, query = raw["http"]["requestUri"].partition("?")
    shape_in, shape_out = (shapes(raw[side]["shape"]) if side in raw else None for side in ("input", "output"))
    required = [shape_in.members[name] for name in sorted(shape_in.required)] if shape_in is not None else []
    return Operation(
        name=raw["name"],
        method=raw["http"]["method"],
        path=path,
        query=tuple((name, value) for name, value in re.findall(r"([^&=]+)=?([^&]*)", query)),
        required_query=frozenset(each.wire_name for each in required if each.location == "querystring"),
        required_headers=frozenset(each.wire_name.lower() for each in required if each.location == "header"),
        input=shape_in,
        output=shape_out,
        input_root=_root(raw, "input", shape_in),
        output_root=_root(raw, "output", shape_out),
        status=raw["http"].get("responseCode", 200),
        errors=tuple(each["shape"] for each in raw.get("errors", ())),
        deprecated=raw.get("deprecated", False),
    )


def _root(raw: Mapping[str, Any], side: str, shape: Shape | None) -> str:
    """The name of the XML document: the payload's, or else the whole structure's."""
    if shape is None:
        return ""
    if shape.payload is not None:
        return shape.members[shape.payload].wire_name
    root: str = raw[side].get("locationName", shape.name)
    return root
