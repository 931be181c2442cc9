"""POST of a browser form: its fields are authenticated by the policy they carry, and then it is a PutObject.

The bucket is the URL's and nothing else's. What the form may say is what the policy's conditions cover, customer keys
included.
"""

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit
from xml.sax.saxutils import escape

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers, HttpRequest, HttpResponse
from strongroom.aws.post_form import FormReader
from strongroom.aws.post_policy import ContentLengthRange, parse_post_authorization, verify_policy
from strongroom.aws.rest_xml import parse_body, parse_head, serialize
from strongroom.aws.routing import Route
from strongroom.edge.authenticate import split_secrets
from strongroom.edge.authorize import authorize
from strongroom.edge.bucket_url import bucket_url
from strongroom.edge.secure_connection import client_address
from strongroom.identity.call import Body, Sought
from strongroom.identity.requester import Requester

if TYPE_CHECKING:
    from strongroom.edge.rest_flow import Edge

MAX_FILE = 5 * 1024**3
# Fields with a meaning of their own; every other one is the header of that name.
_NOT_HEADERS = frozenset(
    {
        "acl",
        "awsaccesskeyid",
        "bucket",
        "file",
        "key",
        "policy",
        "redirect",
        "signature",
        "submit",
        "success_action_redirect",
        "success_action_status",
        "tagging",
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-signature",
    }
)


async def post_object(
    edge: "Edge", request: HttpRequest, where: Route, *, secure: bool, request_id: str
) -> tuple[HttpResponse, str]:
    """Answer a form upload; with it the access key id that signed. Raises S3Error."""
    reader = FormReader(request.headers.get("content-type") or "")
    first = await _read_fields(reader, request.body)
    fields = reader.fields
    authorization = parse_post_authorization(fields)
    if authorization is None:
        raise S3Error("AccessDenied")
    identity = edge.find_identity(authorization.access_key_id)
    if identity is None:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=authorization.access_key_id)
    assert where.bucket is not None
    policy = verify_policy(
        authorization,
        identity.credentials.secret_access_key,
        fields,
        bucket=where.bucket,
        now=edge.now(),
        region=edge.service.region,
        service=edge.service.name,
    )
    headers, secrets = split_secrets(_headers(edge, fields))
    put = edge.service.model.operations["PutObject"]
    target = Route(operation=put, bucket=where.bucket, key=fields["key"], query=(), virtual_host=where.virtual_host)
    now = edge.now()
    call = await authorize(
        sought=Sought(
            operation=put.name,
            input=parse_head(put, target, headers),
            headers=headers,
            account_id=edge.account_id,
            auth_type="POST",
            signature_age=now - authorization.timestamp,
        ),
        rules=edge.service.rules,
        identity=identity,
        now=now,
        region=edge.service.region,
        secret_headers=secrets,
        body=Body(chunks=_file(reader, first, request.body, policy.content_length_range), size=None),
        requester=Requester(
            principal=identity.principal,
            access_key_id=authorization.access_key_id,
            source_ip=client_address(request.client_host, request.headers, edge.trusted_proxies),
            secure_transport=secure,
            user_agent=request.headers.get("user-agent") or "",
            request_id=request_id,
        ),
        bucket_url=bucket_url(request, where, secure=secure),
    )
    edge.service.check_members(call.input)
    answer = await edge.service.handlers[put.name](call)
    return _response(put, answer.output, fields, where, call.bucket_url), authorization.access_key_id


async def _read_fields(reader: FormReader, raw: AsyncIterator[bytes]) -> bytes:
    """Read until the file begins; the first of its bytes. Raises S3Error."""
    async for chunk in raw:
        first = reader.feed(chunk)
        if reader.file_started:
            return first
    reader.finish()
    return b""


async def _file(
    reader: FormReader, first: bytes, raw: AsyncIterator[bytes], bounds: ContentLengthRange | None
) -> AsyncIterator[bytes]:
    bounds = bounds or ContentLengthRange(0, MAX_FILE)
    size = len(first)
    bounds.check(size, complete=False)
    if first:
        yield first
    async for chunk in raw:
        if data := reader.feed(chunk):
            size += len(data)
            if size > MAX_FILE:
                raise S3Error("EntityTooLarge", ProposedSize=str(size), MaxSizeAllowed=str(MAX_FILE))
            bounds.check(size, complete=False)
            yield data
    reader.finish()
    bounds.check(size, complete=True)


def _headers(edge: "Edge", fields: Mapping[str, str]) -> Headers:
    """The fields that are headers of a PutObject; latin-1 text that holds UTF-8, as headers are."""
    pairs = [(name, value) for name, value in fields.items() if name not in _NOT_HEADERS and _is_header(name)]
    if "acl" in fields:
        pairs.append(("x-amz-acl", fields["acl"]))
    if "tagging" in fields:  # an XML document here, a query string as a header
        tagging = parse_body(edge.service.model.operations["PutObjectTagging"], fields["tagging"].encode())
        tags = tagging["Tagging"]["TagSet"]
        pairs.append(("x-amz-tagging", "&".join(f"{quote(tag['Key'])}={quote(tag['Value'])}" for tag in tags)))
    return Headers.of((name, value.encode().decode("latin-1")) for name, value in pairs)


def _is_header(name: str) -> bool:
    return name.startswith("x-amz-") or name in {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-md5",
        "content-type",
        "expires",
    }


def _response(
    put: Any, output: Mapping[str, Any], fields: Mapping[str, str], where: Route, base_url: str
) -> HttpResponse:
    """204, or what success_action_status or success_action_redirect ask for (S3 API Reference, POST Object)."""
    bucket, key, etag = where.bucket or "", fields["key"], output["ETag"]
    _, headers, _ = serialize(put, output, None)
    location = f"{base_url}/{quote(key, safe='')}"
    redirect = fields.get("success_action_redirect") or fields.get("redirect")
    if redirect and (target := _redirect(redirect, bucket, key, etag)):
        return HttpResponse(status=303, headers=(*headers, ("location", target)))
    headers = [*headers, ("location", location)]
    status = fields.get("success_action_status")
    if status == "201":
        document = serialize_post(location, bucket, key, etag)
        return HttpResponse(status=201, headers=(*headers, ("content-type", "application/xml")), body=document)
    return HttpResponse(status=200 if status == "200" else 204, headers=tuple(headers))


def _redirect(url: str, bucket: str, key: str, etag: str) -> str | None:
    """`url` with the upload named in its query; None where it is no URL, which S3 then ignores."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc or not url.isascii() or not url.isprintable():
        return None
    named = f"bucket={quote(bucket)}&key={quote(key, safe='')}&etag={quote(etag, safe='')}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{named}" if parts.query else named))


def serialize_post(location: str, bucket: str, key: str, etag: str) -> bytes:
    """The document of a 201, which the model does not have."""
    members = {"Location": location, "Bucket": bucket, "Key": key, "ETag": etag}
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in members.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse>{inner}</PostResponse>'.encode()
