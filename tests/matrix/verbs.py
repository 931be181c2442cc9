"""Every way to write an object, over raw requests, so that nothing that a client library adds gets in between.

Each function takes the server, the place, the bytes and the headers of the encryption, and returns what was stored as
the client may expect to read it.
"""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.parse import quote

from awscrt.checksums import crc32, crc32c, crc64nvme

from tests.aws_chunks import signed_chunks, unsigned_chunks
from tests.harness import REGION, Reply, Server, customer_key_headers, hmac_hex, read_reply, signing_key

MIB = 1024 * 1024
CHUNK = 200_001  # of the aws-chunked forms: no multiple of anything

SSE = "x-amz-server-side-encryption"

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Mode:
    """How an object is encrypted: by the server's key, by the customer's `key`, or by the KMS key `kms_key` (an ARN),
    with a bucket key or in two layers.
    """

    key: bytes | None = field(default=None, repr=False)
    kms_key: str | None = None
    bucket_key: bool = False
    dsse: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """Of reads, parts and Complete: only a customer's key is wanted again."""
        return {} if self.key is None else customer_key_headers(self.key)

    @property
    def write_headers(self) -> dict[str, str]:
        if self.kms_key is None:
            return self.headers
        asked = {SSE: "aws:kms:dsse" if self.dsse else "aws:kms", f"{SSE}-aws-kms-key-id": self.kms_key}
        return asked | ({f"{SSE}-bucket-key-enabled": "true"} if self.bucket_key else {})

    @property
    def shows_md5(self) -> bool:
        return self.key is None and self.kms_key is None

    @property
    def source_headers(self) -> dict[str, str]:
        return {} if self.key is None else customer_key_headers(self.key, source=True)

    @property
    def echo(self) -> dict[str, str]:
        """The response headers that tell of the encryption, and no others (facts of AWS: never both kinds)."""
        if self.kms_key is not None:
            return self.write_headers
        if self.key is None:
            return {SSE: "AES256"}
        md5 = base64.b64encode(hashlib.md5(self.key).digest()).decode()
        return {
            "x-amz-server-side-encryption-customer-algorithm": "AES256",
            "x-amz-server-side-encryption-customer-key-md5": md5,
        }


@dataclass(frozen=True)
class Stored:
    """What reads must show. `parts`: (part number, size), none for an object that was not uploaded in parts."""

    body: bytes
    etag: str
    mode: Mode
    parts: Sequence[tuple[int, int]] = ()
    checksums: Mapping[str, str] = field(default_factory=dict)


def place(bucket: str, key: str) -> str:
    return f"/{bucket}/{quote(key)}"


def encryption_echo(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("x-amz-server-side-encryption")}


def checksum_headers(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("x-amz-checksum-")}


def encoded(number: int, size: int) -> str:
    return base64.b64encode(number.to_bytes(size, "big")).decode()


def default_checksum(body: bytes) -> dict[str, str]:
    """What S3 computes where the client sent none."""
    return {"x-amz-checksum-crc64nvme": encoded(crc64nvme(body), 8), "x-amz-checksum-type": "FULL_OBJECT"}


def sent_checksum(body: bytes) -> dict[str, str]:
    return {"x-amz-checksum-crc32": encoded(crc32(body), 4)}


def check_single_etag(reply: Reply, body: bytes, mode: Mode) -> str:
    """MD5 of the plaintext for SSE-S3; for others 32 digits that are anything but that."""
    etag = reply.headers["etag"]
    assert re.fullmatch('"[0-9a-f]{32}"', etag)
    assert (etag == f'"{hashlib.md5(body).hexdigest()}"') == mode.shows_md5
    return etag


def _stored(reply: Reply, body: bytes, mode: Mode, checksums: Headers) -> Stored:
    assert reply.status in (200, 204), reply
    assert encryption_echo(reply) == mode.echo
    assert checksum_headers(reply) == checksums
    return Stored(body, check_single_etag(reply, body, mode), mode, checksums=checksums)


# --- one request


def put(
    server: Server,
    bucket: str,
    key: str,
    body: bytes,
    mode: Mode,
    *,
    headers: Headers | None = None,
    tls: bool = False,
) -> Stored:
    given = {**mode.write_headers, **(headers or {})}
    reply = server.send("PUT", place(bucket, key), headers=given, body=body, tls=tls)
    return _stored(reply, body, mode, default_checksum(body))


def put_signed_chunks(server: Server, bucket: str, key: str, body: bytes, mode: Mode) -> Stored:
    reply = _send_chunked(
        server, place(bucket, key), body, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", mode.write_headers, None
    )
    return _stored(reply, body, mode, default_checksum(body))


def put_signed_chunks_with_trailer(server: Server, bucket: str, key: str, body: bytes, mode: Mode) -> Stored:
    form, trailer = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", sent_checksum(body)
    reply = _send_chunked(server, place(bucket, key), body, form, mode.write_headers, trailer)
    return _stored(reply, body, mode, {**trailer, "x-amz-checksum-type": "FULL_OBJECT"})


def put_unsigned_chunks_with_trailer(server: Server, bucket: str, key: str, body: bytes, mode: Mode) -> Stored:
    form, trailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER", sent_checksum(body)
    reply = _send_chunked(server, place(bucket, key), body, form, mode.write_headers, trailer)
    return _stored(reply, body, mode, {**trailer, "x-amz-checksum-type": "FULL_OBJECT"})


def _send_chunked(
    server: Server, target: str, body: bytes, form: str, headers: Headers, trailers: dict[str, str] | None
) -> Reply:
    now = datetime.now(UTC)
    timestamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{timestamp[:8]}/{REGION}/s3/aws4_request"
    chunks = [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]

    def wire(seed: str) -> bytes:
        if form == "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
            return unsigned_chunks(chunks, trailers=trailers)
        return signed_chunks(
            chunks, seed=seed, trailers=trailers, secret=server.secret, scope=scope, timestamp=timestamp
        )

    head = server.head(
        "PUT",
        target,
        headers={
            **headers,
            **({"x-amz-trailer": ",".join(trailers)} if trailers else {}),
            "content-encoding": "aws-chunked",
            "content-length": str(len(wire("0" * 64))),  # a signature is as long as any other
            "x-amz-decoded-content-length": str(len(body)),
        },
        payload=form,
        now=now,
    )
    seed = head.partition(b"Signature=")[2][:64].decode()
    with server.connect() as connection:
        connection.sendall(head + wire(seed))
        return read_reply(connection, "PUT")


def put_over_tls(server: Server, bucket: str, key: str, body: bytes, mode: Mode) -> Stored:
    return put(server, bucket, key, body, mode, tls=True)


def post_form(
    server: Server, bucket: str, key: str, body: bytes, mode: Mode, *, fields: Headers | None = None
) -> Stored:
    reply = send_form(server, bucket, key.encode(), body, {**mode.write_headers, **(fields or {})})
    return _stored(reply, body, mode, default_checksum(body))


def send_form(server: Server, bucket: str, key: bytes, body: bytes, fields: Headers, *, host: str = "") -> Reply:
    """A browser's upload under a policy that covers every field; `key` may be any bytes, which the policy then allows."""
    now = datetime.now(UTC)
    timestamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{timestamp[:8]}/{REGION}/s3/aws4_request"
    signed = {
        **fields,
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{server.access_key_id}/{scope}",
        "x-amz-date": timestamp,
    }
    conditions: list[object] = [{"bucket": bucket}, ["starts-with", "$key", ""]]
    conditions += [{name: value} for name, value in signed.items()]
    document = {"expiration": (now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"), "conditions": conditions}
    policy = base64.b64encode(json.dumps(document).encode()).decode()
    signed |= {"policy": policy, "x-amz-signature": hmac_hex(signing_key(server.secret, scope), policy)}
    boundary = secrets.token_hex(16).encode()
    parts = [(b"key", key), *((name.encode(), value.encode()) for name, value in signed.items())]
    form = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (boundary, name, value)
        for name, value in parts
    )
    disposition = b'Content-Disposition: form-data; name="file"; filename="upload.bin"'
    form += b"--%s\r\n%s\r\n\r\n%s\r\n--%s--\r\n" % (boundary, disposition, body, boundary)
    headers = {"content-type": f"multipart/form-data; boundary={boundary.decode()}"}
    if host:
        return server.send("POST", "/", headers={**headers, "host": host}, body=form, sign=False)
    return server.send("POST", f"/{bucket}", headers=headers, body=form, sign=False)


# --- several requests


def cut(body: bytes) -> list[bytes]:
    """The uneven parts of an upload: each but the last has the 5 MiB that S3 asks for, and no two are of one size."""
    borders = [0, *(border for border in (5 * MIB, 10 * MIB + 16385) if border < len(body)), len(body)]
    return [body[start:stop] for start, stop in pairwise(borders)]


def numbers(count: int) -> list[int]:
    """Part numbers with a gap in between: S3 asks for their order only."""
    return [1, 2, 5][:count]


def multipart(server: Server, bucket: str, key: str, body: bytes, mode: Mode) -> Stored:
    """An upload that declares no checksum: SSE-S3 computes one, and with SSE-C there is none."""
    upload = Upload.begin(server, bucket, key, mode)
    pieces = cut(body)
    for number, piece in zip(numbers(len(pieces)), pieces, strict=True):
        upload.send_part(number, piece)
    checksums = default_checksum(body) if mode.key is None else {}
    return upload.complete(body, checksums=checksums)


def part_copy(server: Server, bucket: str, key: str, body: bytes, mode: Mode) -> Stored:
    """An upload whose parts are ranges of another object, which has something before and behind, and another key.

    It declares a checksum, so it has one in each mode.
    """
    source_mode = Mode() if mode.key else Mode(secrets.token_bytes(32))
    before, behind = secrets.token_bytes(777), secrets.token_bytes(99)
    put(server, bucket, f"{key}.source", before + body + behind, source_mode)
    upload = Upload.begin(server, bucket, key, mode, declared="CRC32C")
    offset = len(before)
    pieces = cut(body)
    for number, piece in zip(numbers(len(pieces)), pieces, strict=True):
        if not piece:  # no range is empty
            upload.send_part(number, piece)
            continue
        where = f"bytes={offset}-{offset + len(piece) - 1}"
        upload.copy_part(number, piece, place(bucket, f"{key}.source"), source_mode, {"x-amz-copy-source-range": where})
        offset += len(piece)
    whole = {"x-amz-checksum-crc32c": encoded(crc32c(body), 4), "x-amz-checksum-type": "FULL_OBJECT"}
    return upload.complete(body, checksums=whole)


def part_copy_of_wholes(server: Server, bucket: str, key: str, body: bytes, mode: Mode) -> Stored:
    """An upload whose parts are whole objects of the other mode, also an empty one."""
    source_mode = Mode() if mode.key else Mode(secrets.token_bytes(32))
    upload = Upload.begin(server, bucket, key, mode)
    pieces = cut(body)
    for number, piece in zip(numbers(len(pieces)), pieces, strict=True):
        put(server, bucket, f"{key}.source", piece, source_mode)
        upload.copy_part(number, piece, place(bucket, f"{key}.source"), source_mode, {})
    return upload.complete(body, checksums=default_checksum(body) if mode.key is None else {})


@dataclass
class Upload:
    """A multipart upload under way."""

    server: Server
    target: str
    upload_id: str
    mode: Mode
    declared: str | None = None
    parts: list[tuple[int, str, int]] = field(default_factory=list)

    @classmethod
    def begin(
        cls,
        server: Server,
        bucket: str,
        key: str,
        mode: Mode,
        *,
        declared: str | None = None,
        headers: Headers | None = None,
    ) -> "Upload":
        target = place(bucket, key)
        given = {**mode.write_headers, **(headers or {})}
        if declared:
            given |= {"x-amz-checksum-algorithm": declared, "x-amz-checksum-type": "FULL_OBJECT"}
        reply = server.send("POST", f"{target}?uploads", headers=given)
        assert reply.status == 200, reply
        assert encryption_echo(reply) == mode.echo
        return cls(server, target, reply.element("UploadId"), mode, declared)

    def send_part(self, number: int, body: bytes) -> Reply:
        target = f"{self.target}?partNumber={number}&uploadId={quote(self.upload_id)}"
        reply = self.server.send("PUT", target, headers=self.mode.headers, body=body)
        assert reply.status == 200, reply
        assert encryption_echo(reply) == self.mode.echo
        self.parts.append((number, check_single_etag(reply, body, self.mode), len(body)))
        return reply

    def copy_part(self, number: int, body: bytes, source: str, source_mode: Mode, headers: Headers) -> Reply:
        target = f"{self.target}?partNumber={number}&uploadId={quote(self.upload_id)}"
        given = {"x-amz-copy-source": source, **headers, **self.mode.headers, **source_mode.source_headers}
        reply = self.server.send("PUT", target, headers=given)
        assert reply.status == 200, reply
        assert encryption_echo(reply) == self.mode.echo
        etag = reply.element("ETag").replace("&quot;", '"')
        assert (etag == f'"{hashlib.md5(body).hexdigest()}"') == self.mode.shows_md5
        self.parts.append((number, etag, len(body)))
        return reply

    def complete(self, body: bytes, *, checksums: Headers) -> Stored:
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag, _ in self.parts
        )
        document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        # With SSE-C the key is needed here where the upload declared a checksum, and only there.
        headers = self.mode.headers if self.declared else {}
        target = f"{self.target}?uploadId={quote(self.upload_id)}"
        reply = self.server.send("POST", target, headers=headers, body=document)
        assert reply.status == 200, reply
        assert encryption_echo(reply) == ({} if self.mode.key else self.mode.echo)
        etag = reply.element("ETag").replace("&quot;", '"')
        digest = hashlib.md5(b"".join(bytes.fromhex(etag.strip('"')) for _, etag, _ in self.parts)).hexdigest()
        assert etag == f'"{digest}-{len(self.parts)}"'
        sizes = [(number, size) for number, _, size in self.parts]
        return Stored(body, etag, self.mode, parts=sizes, checksums=checksums)


def copy(
    server: Server, bucket: str, key: str, source: str, stored: Stored, mode: Mode, *, headers: Headers | None = None
) -> Stored:
    """A copy of `stored`, which lies at `source` ("/bucket/key"), into another key and under another encryption."""
    given = {"x-amz-copy-source": source, **mode.write_headers, **stored.mode.source_headers, **(headers or {})}
    reply = server.send("PUT", place(bucket, key), headers=given)
    assert reply.status == 200, reply
    assert reply.element("LastModified"), reply.body
    assert encryption_echo(reply) == mode.echo
    etag = reply.element("ETag").replace("&quot;", '"')
    assert (etag == f'"{hashlib.md5(stored.body).hexdigest()}"') == mode.shows_md5
    return Stored(stored.body, etag, mode, checksums=stored.checksums)


def modes_under(kms_key: str) -> dict[str, Mode]:
    """Those of `MODES`, by name. `kms_key`: an ARN."""
    made = [
        Mode(),
        Mode(secrets.token_bytes(32)),
        Mode(kms_key=kms_key),
        Mode(kms_key=kms_key, bucket_key=True),
        Mode(kms_key=kms_key, dsse=True),
    ]
    return dict(zip(MODES, made, strict=True))


Write = Callable[[Server, str, str, bytes, Mode], Stored]


def copied_from(source_mode: Mode) -> Write:
    """A write that is a copy of an object of `source_mode`."""

    def write(server: Server, bucket: str, key: str, body: bytes, mode: Mode) -> Stored:
        stored = put(server, bucket, f"{key}.source", body, source_mode)
        return copy(server, bucket, key, place(bucket, f"{key}.source"), stored, mode)

    return write


def copy_of_parts(server: Server, bucket: str, key: str, body: bytes, mode: Mode) -> Stored:
    """An upload in parts becomes one object, with the ETag and the checksum of one."""
    source_mode = Mode() if mode.key else Mode(secrets.token_bytes(32))
    uploaded = multipart(server, bucket, f"{key}.source", body, source_mode)
    stored = Stored(body, uploaded.etag, source_mode, checksums=default_checksum(body))
    return copy(server, bucket, key, place(bucket, f"{key}.source"), stored, mode)


def copy_onto_itself(server: Server, bucket: str, key: str, body: bytes, mode: Mode) -> Stored:
    """A customer's key changes into another one, or into the server's; the old one opens nothing any more."""
    before = put(server, bucket, key, body, Mode(secrets.token_bytes(32)))
    stored = copy(server, bucket, key, place(bucket, key), before, mode)
    assert stored.etag != before.etag
    refusal = server.send("GET", place(bucket, key), headers=before.mode.headers)
    assert refusal.status == (403 if mode.key else 400)
    return stored


MODES = ["SSE-S3", "SSE-C", "SSE-KMS", "bucket-key", "DSSE"]
VERBS: dict[str, Write] = {
    "put": put,
    "put-over-tls": put_over_tls,
    "post-form": post_form,
    "multipart": multipart,
    "part-copy": part_copy,
    "part-copy-of-wholes": part_copy_of_wholes,
    "copy-of-SSE-S3": copied_from(Mode()),
    "copy-of-SSE-C": copied_from(Mode(secrets.token_bytes(32))),
    "copy-of-parts": copy_of_parts,
    "copy-onto-itself": copy_onto_itself,
    "signed-chunks": put_signed_chunks,
    "signed-chunks-trailer": put_signed_chunks_with_trailer,
    "unsigned-chunks-trailer": put_unsigned_chunks_with_trailer,
}
