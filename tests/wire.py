"""Requests that no client library would send: presigned, aws-chunked and form uploads, each with its seams exposed.

Signed by the tests' own signer (`harness`), so that every part can be made wrong on purpose.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from tests.harness import (
    EMPTY_SHA256,
    REGION,
    Reply,
    Server,
    canonical_query,
    hmac_hex,
    read_reply,
    sign_headers,
    signing_key,
    unquote_bytes,
)

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def exchange(server: Server, data: bytes, method: str = "GET", *, tls: bool = False) -> Reply:
    """Exactly these bytes, and the first answer."""
    with server.connect(tls=tls) as connection:
        connection.sendall(data)
        return read_reply(connection, method)


def request_bytes(method: str, target: str | bytes, lines: Sequence[tuple[str, str]], body: bytes = b"") -> bytes:
    """A request of header lines in this order, repeated ones too."""
    raw = target.encode() if isinstance(target, str) else target
    head = [
        method.encode() + b" " + raw + b" HTTP/1.1",
        *(f"{name}: {value}".encode("latin-1") for name, value in lines),
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def signed(server: Server, method: str, target: str, given: Mapping[str, str], **how: Any) -> dict[str, str]:
    """`given` (lower-case names) and the headers that sign them."""
    settings: dict[str, Any] = {
        "payload": EMPTY_SHA256,
        "access_key_id": server.access_key_id,
        "secret": server.secret,
        "now": datetime.now(UTC),
        **how,
    }
    headers = {"host": f"127.0.0.1:{server.port}", **given}
    return {**headers, **sign_headers(method, target.encode(), headers, **settings)}


# --- presigned


def presign(
    server: Server,
    method: str,
    path: str,
    *,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    expires: int | str = 300,
    now: datetime | None = None,
    date: str | None = None,
    signed_headers: Sequence[str] | None = None,
    secret: str | None = None,
    host: str | None = None,
) -> str:
    """A target that whoever sends `headers` with it may use. `date`: of the scope, where it shall differ."""
    timestamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    given = {"host": host or f"127.0.0.1:{server.port}", **(headers or {})}
    names = sorted(given) if signed_headers is None else list(signed_headers)
    scope = f"{date or timestamp[:8]}/{REGION}/s3/aws4_request"
    parameters = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{server.access_key_id}/{scope}",
        "X-Amz-Date": timestamp,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": ";".join(names),
    }
    full = "&".join(
        [*([query] if query else []), *(f"{name}={quote(value, safe='')}" for name, value in parameters.items())]
    )
    canonical = "\n".join(
        [
            method,
            quote(unquote_bytes(path.encode()), safe="/-_.~"),
            canonical_query(full.encode()),
            *(f"{name}:{given.get(name, '')}" for name in names),
            "",
            ";".join(names),
            "UNSIGNED-PAYLOAD",
        ]
    )
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}"
    return f"{path}?{full}&X-Amz-Signature={hmac_hex(signing_key(secret or server.secret, scope), text)}"


# --- aws-chunked


@dataclass(frozen=True)
class ChunkedBody:
    """The parts of an aws-chunked body. `chunks`: (line, data) pairs, the last one empty; `trailer`: its lines."""

    chunks: tuple[tuple[bytes, bytes], ...]
    trailer: bytes = b""

    def encode(self) -> bytes:
        body = b"".join(line + b"\r\n" + data + (b"\r\n" if data else b"") for line, data in self.chunks)
        return body + self.trailer + b"\r\n"


def streaming_put(
    server: Server,
    target: str,
    chunks: Sequence[bytes],
    form: str,
    *,
    trailers: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    tamper: Callable[[ChunkedBody], bytes] = ChunkedBody.encode,
    damage: Callable[[dict[str, str]], None] | None = None,
) -> Reply:
    """PUT in one of the three streaming forms. `tamper` makes the bytes of the body, `damage` alters the signed head."""
    given = {
        "x-amz-decoded-content-length": str(sum(map(len, chunks))),
        "content-encoding": "aws-chunked",
        **({"x-amz-trailer": ",".join(trailers)} if trailers else {}),
        **(headers or {}),
    }
    head = signed(server, "PUT", target, given, payload=form)
    body = tamper(chunked_body(server, head, chunks, form, trailers))
    if damage is not None:
        damage(head)
    lines = [*head.items(), ("content-length", str(len(body)))]
    return exchange(server, request_bytes("PUT", target, lines, body), "PUT")


def chunked_body(
    server: Server, head: Mapping[str, str], chunks: Sequence[bytes], form: str, trailers: Mapping[str, str] | None
) -> ChunkedBody:
    timestamp = head["x-amz-date"]
    scope = f"{timestamp[:8]}/{REGION}/s3/aws4_request"
    key = signing_key(server.secret, scope)
    previous = head["authorization"].rpartition("Signature=")[2]
    encoded = []
    for chunk in [*chunks, b""]:
        line = f"{len(chunk):x}"
        if form != UNSIGNED_TRAILER:
            digest = hashlib.sha256(chunk).hexdigest()
            text = f"AWS4-HMAC-SHA256-PAYLOAD\n{timestamp}\n{scope}\n{previous}\n{EMPTY_SHA256}\n{digest}"
            previous = hmac_hex(key, text)
            line += f";chunk-signature={previous}"
        encoded.append((line.encode(), chunk))
    trailer = "".join(f"{name}:{value}\r\n" for name, value in (trailers or {}).items())
    if form == SIGNED_TRAILER:
        digest = hashlib.sha256(trailer.replace("\r\n", "\n").encode()).hexdigest()
        signature = hmac_hex(key, f"AWS4-HMAC-SHA256-TRAILER\n{timestamp}\n{scope}\n{previous}\n{digest}")
        trailer += f"x-amz-trailer-signature:{signature}\r\n"
    return ChunkedBody(tuple(encoded), trailer.encode())


# --- browser forms


@dataclass(frozen=True)
class Form:
    """A multipart/form-data body and its Content-Type."""

    content_type: str
    body: bytes

    def post(self, server: Server, path: str, *, tls: bool = False, headers: Mapping[str, str] | None = None) -> Reply:
        given = {"content-type": self.content_type, **(headers or {})}
        return server.send("POST", path, headers=given, body=self.body, sign=False, tls=tls)


def policy_fields(
    server: Server,
    conditions: Sequence[Any],
    *,
    expires_in: timedelta = timedelta(minutes=5),
    secret: str | None = None,
    now: datetime | None = None,
) -> dict[str, str]:
    """The fields that sign a form, with a policy of `conditions` and of what those fields need."""
    moment = now or datetime.now(UTC)
    timestamp = moment.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{timestamp[:8]}/{REGION}/s3/aws4_request"
    fields = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{server.access_key_id}/{scope}",
        "x-amz-date": timestamp,
    }
    document = {
        "expiration": (moment + expires_in).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "conditions": [*conditions, *({name: value} for name, value in fields.items())],
    }
    policy = base64.b64encode(json.dumps(document).encode()).decode()
    key = signing_key(secret or server.secret, scope)
    return {**fields, "policy": policy, "x-amz-signature": hmac_hex(key, policy)}


def form(
    fields: Mapping[str, str] | Sequence[tuple[str, str]],
    file: bytes | None,
    *,
    filename: str = "file.bin",
    after: Sequence[tuple[str, str]] = (),
) -> Form:
    """`file` None: a form without one. `after`: fields behind the file."""
    boundary = "----strongroom-test-boundary"
    pairs = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
    parts = [_field(name, value) for name, value in pairs]
    if file is not None:
        head = f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: text/plain\r\n\r\n'
        parts.append(head.encode() + file)
    parts += [_field(name, value) for name, value in after]
    body = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return Form(f"multipart/form-data; boundary={boundary}", body)


def _field(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
