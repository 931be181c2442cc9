"""From a request line and a Host header to (operation, bucket, key).

Strategy: the path is decoded exactly once and never normalised; the literal query names of the model ("subresources")
select the operation, all of them at once, by one lookup in a table compiled from the model. Within one entry the rule
that demands most query parameters and headers wins. A subresource never falls through to the operation of the bare
path: ceph#36264 deleted a bucket because `DELETE /bucket?encryption` did.
This module knows nothing of which operations are implemented, of names that a bucket may have, or of who asks.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import unquote_to_bytes

from strongroom.aws.canonical import query_pairs
from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.aws.model import Model, Operation

MAX_KEY_BYTES = 1024  # UTF-8; https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html

SERVICE, BUCKET, OBJECT = "/", "/{Bucket}", "/{Bucket}/{Key+}"
_RESOURCE_TYPES = {SERVICE: "SERVICE", BUCKET: "BUCKET", OBJECT: "OBJECT"}

# Subresources of other S3 dialects and of older AWS pages: whoever sends one means something else than the bare path.
_FOREIGN_SUBRESOURCES = frozenset({"append", "compose", "defaultObjectAcl", "extract", "quota", "storageClass"})

# A write that ignored one of these, sent without its partner, would hit the object instead of a part or a version.
_SELECTING = frozenset({"annotationName", "partNumber", "uploadId", "versionId"})

_SIGNATURE_MARKS = frozenset({"x-amz-algorithm", "x-amz-credential", "x-amz-signature"})
_SIGNATURE_PARAMETERS = _SIGNATURE_MARKS | {
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signedheaders",
}
_CONDITIONS = frozenset({"if-match", "if-none-match"})
_IGNORED = frozenset({"x-id", "AWSAccessKeyId", "Signature", "Expires"})  # SDK hints; the old signature's own refusal

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PORT = re.compile(r":[0-9]*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`key`: exactly as sent, decoded once. `query`: decoded, in order of arrival, presigning parameters included."""

    operation: Operation
    bucket: str | None
    key: str | None
    query: tuple[tuple[str, str], ...] = field(repr=False)  # may hold a signature
    virtual_host: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    rules: Mapping[tuple[str, str, tuple[str, ...]], tuple[Operation, ...]]  # the most demanding first
    methods: frozenset[str]
    fixed_paths: frozenset[str]
    subresources: frozenset[str]
    query_names: Mapping[Operation, frozenset[str]]
    known_names: frozenset[str]


def route(
    model: Model,
    method: str,
    raw_path: bytes,
    raw_query: bytes,
    host: str | None,
    headers: Headers,
    domains: tuple[str, ...],
) -> Route:
    """The operation that a request names. `raw_path`, `raw_query`: as on the wire; `domains`: lower case, without port.

    Raises S3Error: InvalidURI, KeyTooLongError, InvalidBucketName (empty), MethodNotAllowed, NotImplemented,
    InvalidArgument.
    """
    table = _compile(model)
    bucket_of_host = _virtual_host_bucket(host, domains) if domains and host else None
    bucket, key, level = _split_path(raw_path, bucket_of_host, table.fixed_paths)
    query = _parse_query(raw_query) if raw_query else ()
    if query:
        _check_repeats(query, table.known_names)
    operation = _select(table, model, method, level, query, headers)
    if query:
        _check_surplus(operation, level, query, table.query_names[operation])
    return Route(operation=operation, bucket=bucket, key=key, query=query, virtual_host=bucket_of_host is not None)


def effective_headers(headers: Headers, query: Iterable[tuple[str, str]]) -> Headers:
    """The headers and, on a presigned request, its `x-amz-*` query parameters, which count as headers of that name; so do
    If-Match and If-None-Match, without which a write would pass that whoever signed it wanted refused.

    Not so the signature's own parameters, and not `x-amz-checksum-*` and `x-amz-sdk-checksum-algorithm`: SDKs presign
    those of an empty body. Raises InvalidArgument if a parameter contradicts a header or another parameter, or could
    not stand in a header.
    """
    named = [(name.lower(), value) for name, value in query]
    if not any(name in _SIGNATURE_MARKS for name, _ in named):
        return headers
    added: dict[str, str] = {}
    for name, value in named:
        if _counts_as_header(name):
            text = value.encode().decode("latin-1")  # header text holds UTF-8 bytes, one a character
            if _CONTROL.search(value) or added.setdefault(name, text) != text or headers.get(name) not in (None, text):
                raise S3Error("InvalidArgument", ArgumentName=name)
    return Headers((*headers.pairs, *((name, text) for name, text in added.items() if name not in headers)))


def _counts_as_header(name: str) -> bool:
    if name in _CONDITIONS:
        return True
    return (
        name.startswith("x-amz-")
        and name not in _SIGNATURE_PARAMETERS
        and not name.startswith("x-amz-checksum-")
        and name != "x-amz-sdk-checksum-algorithm"
    )


@cache
def _compile(model: Model) -> _Table:
    rules: dict[tuple[str, str, tuple[str, ...]], list[Operation]] = {}
    names: dict[Operation, frozenset[str]] = {model.post_object: frozenset()}
    for operation in model.operations.values():
        literals = tuple(sorted(name for name, _ in operation.query))
        members = operation.input.members.values() if operation.input is not None else ()
        names[operation] = frozenset((*literals, *(m.wire_name for m in members if m.location == "querystring")))
        if not operation.deprecated:
            rules.setdefault((operation.method, operation.path, literals), []).append(operation)
    for operations in rules.values():
        operations.sort(key=lambda each: len(each.required_query) + len(each.required_headers), reverse=True)
    subresources = frozenset(name for _, _, literals in rules for name in literals) | _FOREIGN_SUBRESOURCES
    return _Table(
        rules={key: tuple(operations) for key, operations in rules.items()},
        methods=frozenset(method for method, _, _ in rules),
        fixed_paths=frozenset(path for _, path, _ in rules) - {SERVICE, BUCKET, OBJECT},
        subresources=subresources,
        query_names=names,
        known_names=subresources.union(_SELECTING, *names.values()),
    )


def _virtual_host_bucket(host: str, domains: tuple[str, ...]) -> str | None:
    name = _PORT.sub("", host).lower()
    for domain in sorted(domains, key=len, reverse=True):  # s3.example.com is a domain, not a bucket of example.com
        if name == domain:
            return None
        if name.endswith("." + domain):
            return name[: -len(domain) - 1]
    return None


def _split_path(
    raw_path: bytes, bucket_of_host: str | None, fixed_paths: frozenset[str]
) -> tuple[str | None, str | None, str]:
    """(bucket, key, level). An empty key is no key: `/bucket/` is the bucket."""
    if raw_path[:1] != b"/":
        raise S3Error("InvalidURI")
    if bucket_of_host is not None:
        bucket, raw_key = bucket_of_host, raw_path[1:]
    else:
        # Split before decoding: an encoded slash never ends the bucket's name.
        raw_bucket, _, raw_key = raw_path[1:].partition(b"/")
        bucket = _decode(raw_bucket)
        if not raw_key and "/" + bucket in fixed_paths:
            return None, None, "/" + bucket
        if raw_path == b"/":
            return None, None, SERVICE
    if not bucket:
        raise S3Error("InvalidBucketName", BucketName="")
    if not raw_key:
        return bucket, None, BUCKET
    return bucket, _parse_key(raw_key), OBJECT


def _parse_key(raw_key: bytes) -> str:
    key = _decode(raw_key)
    if len(key) > MAX_KEY_BYTES // 4 and (size := len(key.encode())) > MAX_KEY_BYTES:
        raise S3Error("KeyTooLongError", Size=str(size), MaxSizeAllowed=str(MAX_KEY_BYTES))
    if ".." in key and climbs_above_root(key):
        raise S3Error("InvalidURI")
    return key


def climbs_above_root(key: str) -> bool:
    """Whether the key, read as a path, leaves its bucket. Such keys are refused, as on AWS; no key is rewritten."""
    depth = 0
    for segment in key.split("/"):
        depth += -1 if segment == ".." else segment not in ("", ".")
        if depth < 0:
            return True
    return False


def _decode(raw: bytes) -> str:
    """Percent-decoded once, strictly: no bad escape, no bytes that are not UTF-8, no NUL."""
    if b"%" in raw and _BAD_ESCAPE.search(raw):
        raise S3Error("InvalidURI")
    try:
        text = (unquote_to_bytes(raw) if b"%" in raw else raw).decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidURI") from None
    if "\0" in text:
        raise S3Error("InvalidURI")
    return text


def _parse_query(raw_query: bytes) -> tuple[tuple[str, str], ...]:
    if _BAD_ESCAPE.search(raw_query):
        raise S3Error("InvalidURI")
    try:
        pairs = tuple((name.decode(), value.decode()) for name, value in query_pairs(raw_query))
    except UnicodeDecodeError:
        raise S3Error("InvalidURI") from None
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise S3Error("InvalidURI")
    return pairs


def _check_repeats(query: tuple[tuple[str, str], ...], known_names: frozenset[str]) -> None:
    # Two values for one name: the check of a policy and the handler could each read another one.
    names = [name for name, _ in query]
    if len(set(names)) == len(names):
        return
    for name in names:
        if name in known_names and names.count(name) > 1:
            raise S3Error("InvalidArgument", f"The query parameter {name} may be given once only", ArgumentName=name)


def _select(
    table: _Table, model: Model, method: str, level: str, query: tuple[tuple[str, str], ...], headers: Headers
) -> Operation:
    given = dict(query)
    present = tuple(sorted(table.subresources.intersection(given))) if given else ()
    candidates = table.rules.get((method, level, present))
    if candidates is None:
        if method == "POST" and level == BUCKET and not present:
            if _is_form(headers):
                return model.post_object
            condition = "Bucket POST must be of the enclosure-type multipart/form-data"
            raise S3Error("PreconditionFailed", Condition=condition)
        raise _refusal(table, method, level, present)
    for name, value in candidates[0].query:
        if value and given[name] != value:
            raise S3Error("InvalidArgument", ArgumentName=name, ArgumentValue=given[name])
    effective = effective_headers(headers, query) if query else headers
    for operation in candidates:
        if operation.required_query <= given.keys() and all(name in effective for name in operation.required_headers):
            return operation
    if present or level not in _RESOURCE_TYPES:
        return candidates[-1]  # the resource is named; what it lacks is an error of the operation's own
    raise _refusal(table, method, level, present)


def _is_form(headers: Headers) -> bool:
    return (headers.get("content-type") or "").lower().startswith("multipart/form-data")


def _refusal(table: _Table, method: str, level: str, present: tuple[str, ...]) -> S3Error:
    if method == "OPTIONS":
        return S3Error("NotImplemented", "Cross-origin requests (CORS) are not implemented.")
    if len(present) > 1:
        return S3Error(
            "InvalidArgument",
            f"Conflicting query string parameters: {', '.join(present)}",
            ArgumentName="ResourceType",
            ArgumentValue=present[0],
        )
    if method in table.methods and not _FOREIGN_SUBRESOURCES.isdisjoint(present):
        return S3Error("NotImplemented", f"The subresource {present[0]} is not implemented.")
    allowed = sorted({each for each, path, literals in table.rules if path == level and literals == present})
    return S3Error(
        "MethodNotAllowed",
        headers={"allow": ", ".join(allowed)},
        Method=method,
        ResourceType=_RESOURCE_TYPES.get(level, "OBJECT"),
    )


def _check_surplus(
    operation: Operation, level: str, query: tuple[tuple[str, str], ...], query_names: frozenset[str]
) -> None:
    """Query parameters that the operation does not know: ignored where that can do no harm, else InvalidArgument."""
    if operation.method in ("GET", "HEAD"):
        return
    strict = operation.method == "DELETE" or level == BUCKET
    for name, value in query:
        if name in query_names or name in _IGNORED or name[:6].lower() == "x-amz-":
            continue
        if name == "versionId":
            raise S3Error(
                "InvalidArgument",
                "This operation does not accept a version-id.",
                ArgumentName=name,
                ArgumentValue=value,
            )
        if strict or name in _SELECTING:
            raise S3Error(
                "InvalidArgument",
                f"This operation does not accept the query parameter {name}.",
                ArgumentName=name,
                ArgumentValue=value,
            )
