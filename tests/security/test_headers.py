"""Headers in and out: the classes D1 to D4, and I6's readings of one header in two ways."""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping

import pytest

from tests.harness import Reply, Server, customer_key_headers
from tests.wire import exchange, form, policy_fields, request_bytes, signed

# What servers keep to themselves under such names; each came back through a client's headers somewhere.
INTERNAL = [
    "x-minio-internal-server-side-encryption-sealed-key",
    "x-minio-source-replication-request",
    "x-minio-replication-ssec-crc",
    "x-rustfs-internal-sse",
    "x-strongroom-object-id",
    "x-strongroom-sealed-key",
    "seaweed-x-amz-server-side-encryption",
    "x-seaweedfs-sse-kms-key",
    "x-amz-replication-status",
    "x-amz-server-side-encryption-key",
    "rgw-crypt-mode",
    "user.rgw.crypt",
    "object_id",
    "sealed",
    "mode",
    "secret_version",
    "x-amz-meta-nested",
]
# Of an answer; a header that is not here came from a client or out of the store.
ANSWERED = re.compile(
    r"accept-ranges|cache-control|connection|content-(disposition|encoding|language|length|range|type)|date|etag|expires|last-modified|server"
    r"|x-amz-(bucket-region|checksum-[a-z0-9]+|checksum-type|id-2|meta-.*|mp-parts-count|request-id|server-side-encryption(-customer-(algorithm|key-md5))?"
    r"|storage-class|tagging-count|version-id)"
)


def metadata(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("x-amz-meta-")}


def spellings(name: str) -> set[str]:
    return {name, name.upper(), name.title(), name.replace("-", "_"), name.replace("_", "-")}


@pytest.mark.parametrize("name", INTERNAL)
def test_d1_no_name_that_a_client_chooses_has_a_meaning_inside__minio_ghsa_3rh2(
    server: Server, bucket: str, name: str
) -> None:
    headers = {f"x-amz-meta-{each}": "forged" for each in sorted(spellings(name), key=str.lower)}
    folded = {each.lower(): value for each, value in headers.items()}
    assert server.send("PUT", f"/{bucket}/object", headers=headers, body=b"content").status == 200
    copied = {"x-amz-copy-source": f"/{bucket}/object", "x-amz-metadata-directive": "REPLACE", **headers}
    assert server.send("PUT", f"/{bucket}/copy", headers=copied).status == 200
    fields = {"key": "posted", **folded}
    conditions = [{"bucket": bucket}, *({each: value} for each, value in fields.items())]
    upload = form({**fields, **policy_fields(server, conditions)}, b"content")
    assert upload.post(server, f"/{bucket}").status == 204
    for key in ("object", "copy", "posted"):
        reply = server.send("GET", f"/{bucket}/{key}")
        assert (reply.status, reply.body) == (200, b"content")
        assert metadata(reply) == folded
        assert reply.headers["x-amz-server-side-encryption"] == "AES256"


def test_spaces_around_a_value_are_not_of_it(server: Server, bucket: str) -> None:
    """RFC 9110 5.5; nor does the signature count them."""
    given = {"x-amz-server-side-encryption": "aws:kms", "x-amz-meta-a": "b c", "content-length": "0"}
    head = signed(server, "PUT", f"/{bucket}/object", given)
    lines = [(name, f" \t{value}\t " if name.startswith("x-amz-") else value) for name, value in head.items()]
    assert exchange(server, request_bytes("PUT", f"/{bucket}/object", lines), "PUT").status == 200
    read = server.send("HEAD", f"/{bucket}/object")
    assert (read.headers["x-amz-server-side-encryption"], metadata(read)) == ("aws:kms", {"x-amz-meta-a": "b c"})


@pytest.mark.parametrize("name", INTERNAL)
def test_d1_a_header_that_is_not_s3s_has_no_effect(server: Server, bucket: str, name: str) -> None:
    reply = server.send("PUT", f"/{bucket}/object", headers={name: "forged"}, body=b"content")
    assert reply.status == 200
    read = server.send("GET", f"/{bucket}/object", headers={name: "forged"})
    assert read.body == b"content"
    assert name not in read.headers or name.startswith("x-amz-meta-")


def test_d1_a_customer_key_in_metadata_is_metadata(server: Server, bucket: str) -> None:
    """The markers of SSE-C under x-amz-meta-: the object stays the server's."""
    key = customer_key_headers(secrets.token_bytes(32))
    headers = {name.replace("x-amz-", "x-amz-meta-x-amz-", 1): value for name, value in key.items()}
    server.send("PUT", f"/{bucket}/object", headers=headers, body=b"content")
    assert server.send("GET", f"/{bucket}/object").body == b"content"
    assert server.send("GET", f"/{bucket}/object", headers=key).status == 400


def test_d2_answers_hold_known_headers_only__minio_5601(server: Server, bucket: str) -> None:
    customer = customer_key_headers(secrets.token_bytes(32))
    everything = {
        "cache-control": "no-cache",
        "content-disposition": "attachment",
        "content-encoding": "gzip",
        "content-language": "de",
        "content-type": "text/plain",
        "expires": "Thu, 01 Jan 2037 00:00:00 GMT",
        "x-amz-meta-a": "b",
        "x-amz-tagging": "a=b",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-checksum-crc32": "/sUwqQ==",
        "cookie": "a=b",
        "x-custom": "c",
    }
    replies = [
        server.send("PUT", f"/{bucket}/object", headers=everything, body=b"content"),
        server.send("PUT", f"/{bucket}/sealed", headers={**everything, **customer}, body=b"content"),
        server.send("GET", f"/{bucket}/object", headers={"x-amz-checksum-mode": "ENABLED"}),
        server.send("HEAD", f"/{bucket}/object", headers={"x-amz-checksum-mode": "ENABLED"}),
        server.send("GET", f"/{bucket}/sealed", headers=customer),
        server.send("GET", f"/{bucket}/object", headers={"range": "bytes=0-1"}),
        server.send("GET", f"/{bucket}/missing"),
        server.send("GET", f"/{bucket}"),
    ]
    for reply in replies:
        assert [name for name in reply.headers if not ANSWERED.fullmatch(name)] == []
        assert "customer-key" not in " ".join(name for name in reply.headers if not name.endswith("-md5"))


def test_d2_a_copy_inherits_no_encryption_of_its_source__rustfs_8e3e55257(server: Server, bucket: str) -> None:
    customer = customer_key_headers(secrets.token_bytes(32))
    server.send("PUT", f"/{bucket}/sealed", headers=customer, body=b"content")
    source = {name.replace("x-amz-", "x-amz-copy-source-", 1): value for name, value in customer.items()}
    copied = server.send("PUT", f"/{bucket}/copy", headers={"x-amz-copy-source": f"/{bucket}/sealed", **source})
    assert (copied.status, copied.headers["x-amz-server-side-encryption"]) == (200, "AES256")
    reply = server.send("GET", f"/{bucket}/copy")
    assert reply.body == b"content"
    assert not any("customer" in name for name in reply.headers)
    assert reply.headers["etag"] == f'"{hashlib.md5(b"content").hexdigest()}"'


# --- D3: no line of an answer is a client's

BREAKS = ["a%0d%0aset-cookie:%20a=b", "a%0aset-cookie:%20a=b", "a%0dset-cookie:%20a=b", "a%00b", "a%1fb", "a%7fb"]
OVERRIDES = [
    f"response-{name}"
    for name in (
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    )
]


@pytest.mark.parametrize("override", OVERRIDES)
def test_d3_an_override_cannot_end_a_line__ceph_cve_2020_10753(server: Server, bucket: str, override: str) -> None:
    server.send("PUT", f"/{bucket}/object", body=b"content")
    for value in BREAKS:
        for method in ("GET", "HEAD"):
            reply = server.send(method, f"/{bucket}/object?{override}={value}")
            assert reply.status == 400
            assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("value", BREAKS)
def test_d3_a_presigned_parameter_cannot_end_a_line(server: Server, bucket: str, value: str) -> None:
    from tests.wire import presign

    for name in ("x-amz-meta-a", "x-amz-tagging", "x-amz-storage-class", "x-amz-meta-b%0d%0ac"):
        target = presign(server, "PUT", f"/{bucket}/object", query=f"{name}={value}")
        reply = server.send("PUT", target, body=b"x", sign=False)
        assert reply.status == 400
    assert server.send("HEAD", f"/{bucket}/object").status == 404


@pytest.mark.parametrize("value", ["a\r\nset-cookie: a=b", "a\nset-cookie: a=b", "a\rb", "a\x1fb", "a\x7f"])
def test_d3_a_form_field_cannot_end_a_line(server: Server, bucket: str, value: str) -> None:
    for name in ("x-amz-meta-a", "Cache-Control", "Content-Type", "Content-Disposition"):
        fields = {"key": "object", name: value}
        conditions = [{"bucket": bucket}, *({each: text} for each, text in fields.items())]
        reply = form({**fields, **policy_fields(server, conditions)}, b"x").post(server, f"/{bucket}")
        assert reply.status == 400, (name, reply)
    assert server.send("HEAD", f"/{bucket}/object").status == 404


@pytest.mark.parametrize(
    "target",
    [
        "https://a.example/%0d%0aset-cookie:a=b",
        "https://a.example/\r\nset-cookie: a=b",
        "javascript:alert(1)",
        "//a.example",
        "data:text/html,x",
    ],
)
def test_d3_a_redirect_is_a_web_address_on_one_line(server: Server, bucket: str, target: str) -> None:
    fields = {"key": "object", "success_action_redirect": target}
    conditions = [{"bucket": bucket}, *({each: text} for each, text in fields.items())]
    reply = form({**fields, **policy_fields(server, conditions)}, b"x").post(server, f"/{bucket}")
    assert "set-cookie" not in reply.headers
    if reply.status == 303:
        assert reply.headers["location"].startswith("https://a.example/")
    else:
        assert reply.status == 204


def test_d3_an_error_repeats_a_name_as_text(server: Server, bucket: str) -> None:
    reply = server.send("GET", f"/{bucket}/%3Cscript%3E%0d%0a%3C/script%3E")
    assert reply.status == 404
    assert b"<script>" not in reply.body
    assert reply.headers["content-type"] == "application/xml"


# --- D4


@pytest.mark.parametrize("spelling", [str.upper, str.title, str.swapcase])
def test_d4_the_case_of_a_header_does_not_matter__rustfs_97cd19bec(server: Server, bucket: str, spelling) -> None:
    target = f"/{bucket}/object"
    key = customer_key_headers(secrets.token_bytes(32))
    head = signed(server, "PUT", target, {**key, "content-length": "0"})
    lines = [(spelling(name), value) for name, value in head.items()]
    assert exchange(server, request_bytes("PUT", target, lines), "PUT").status == 200
    assert server.send("GET", target).status == 400
    assert server.send("GET", target, headers=key).status == 200


# --- I6: two readings of one request


def raw(
    server: Server, method: str, target: str, headers: Mapping[str, str], *more: tuple[str, str], body: bytes = b""
) -> Reply:
    """Signed `headers`, and more lines than were signed."""
    head = signed(server, method, target, headers, payload="UNSIGNED-PAYLOAD")
    return exchange(server, request_bytes(method, target, [*head.items(), *more], body), method)


def test_i6_a_repeated_single_header_is_read_as_neither(server: Server, bucket: str) -> None:
    target = f"/{bucket}/object"
    length = ("content-length", "1")
    assert raw(server, "PUT", target, {}, length, ("content-md5", "a"), ("content-md5", "b"), body=b"x").status == 400
    assert raw(server, "PUT", target, {}, ("content-length", "1"), ("content-length", "2"), body=b"x").status == 400
    assert raw(server, "GET", f"/{bucket}", {}, ("host", "other")).status == 400
    first, second = customer_key_headers(b"a" * 32), customer_key_headers(b"b" * 32)
    joined = {name: f"{first[name]},{second[name]}" for name in first}
    head = signed(server, "PUT", target, joined, payload="UNSIGNED-PAYLOAD")
    lines = [(name, value) for name, value in head.items() if name not in first]
    lines += [*first.items(), *second.items(), length]
    reply = exchange(server, request_bytes("PUT", target, lines, b"x"), "PUT")
    assert (reply.status, reply.code) == (400, "InvalidEncryptionAlgorithmError")
    for name in first:
        once = {**first, name: f"{first[name]},{first[name]}"}
        head = signed(server, "PUT", target, once, payload="UNSIGNED-PAYLOAD")
        lines = [
            *((each, value) for each, value in head.items() if each != name),
            (name, first[name]),
            (name, first[name]),
        ]
        assert exchange(server, request_bytes("PUT", target, [*lines, length], b"x"), "PUT").status == 400
    assert server.send("HEAD", target).status == 404


@pytest.mark.parametrize(
    "lines",
    [
        [("content-length", "5"), ("transfer-encoding", "chunked")],
        [("transfer-encoding", "chunked"), ("content-length", "5")],
        [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        [("transfer-encoding", "gzip, chunked")],
        [("transfer-encoding", "xchunked")],
        [("transfer-encoding", "chunked, identity")],
        [("content-length", "5, 5")],
        [("content-length", "+5")],
        [("content-length", "0x5")],
        [("content-length", "-5")],
        [("content-length", "5 ")] * 2,
        [("content-length", "99999999999999999999999")],
    ],
    ids=lambda lines: "+".join(f"{name[:1]}={value}" for name, value in lines),
)
def test_i6_a_body_with_two_lengths_is_no_request(server: Server, bucket: str, lines: list[tuple[str, str]]) -> None:
    body = b"5\r\nhello\r\n0\r\n\r\n"
    reply = raw(server, "PUT", f"/{bucket}/object", {}, *lines, body=body)
    assert reply.status == 400
    assert server.send("HEAD", f"/{bucket}/object").status == 404


def test_i6_a_chunked_transfer_is_no_way_around_the_length(server: Server, bucket: str) -> None:
    reply = raw(
        server, "PUT", f"/{bucket}/object", {}, ("transfer-encoding", "chunked"), body=b"5\r\nhello\r\n0\r\n\r\n"
    )
    assert reply.status in (411, 501)
    trailer = b"5\r\nhello\r\n0\r\nx-amz-meta-a: b\r\n\r\n"
    raw(
        server,
        "PUT",
        f"/{bucket}/object",
        {},
        ("transfer-encoding", "chunked"),
        ("trailer", "x-amz-meta-a"),
        body=trailer,
    )
    assert server.send("HEAD", f"/{bucket}/object").status == 404


def test_i6_a_stranger_is_refused_before_the_body_is_asked_for(server: Server, bucket: str) -> None:
    lines = [("host", "a"), ("content-length", "1000000"), ("expect", "100-continue")]
    with server.connect() as connection:
        connection.sendall(request_bytes("PUT", f"/{bucket}/object", lines))
        head = connection.recv(65536)
    assert head.startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("value", ["\xe9", "caf\xc3\xa9", "\x80\xff"])
def test_i6_values_beyond_ascii_come_back_as_they_came(server: Server, bucket: str, value: str) -> None:
    """Header values are bytes; a value that is UTF-8 on the wire must not come back encoded twice."""
    headers = {"x-amz-meta-a": value, "content-disposition": f"a{value}"}
    reply = server.send("PUT", f"/{bucket}/object", headers=headers, body=b"x")
    assert reply.status in (200, 400)
    if reply.status == 200:
        read = server.send("GET", f"/{bucket}/object")
        assert read.status == 200
        told = read.headers["x-amz-meta-a"]
        if told.startswith("=?UTF-8?"):  # as S3 tells what is not ASCII
            encoded = told.removeprefix("=?UTF-8?").removesuffix("?=")
            kind, _, text = encoded.partition("?")
            assert kind in "BbQq"
            assert kind in "Qq" or base64.b64decode(text).decode("utf-8", "replace")
        else:
            assert told == value


BOMBS = [
    b'<!DOCTYPE a [<!ENTITY b "c">]><Tagging>&b;</Tagging>',
    b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Tagging>&b;</Tagging>',
    b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><Tagging/>',
    b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x">%p;]><Tagging/>',
    b"<!DOCTYPE a><Tagging/>",
    b'<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (c, b"&%c;" % (c - 1) * 10) for c in b"bcdefghi")
    + b"]><Tagging>&i;</Tagging>",
    b"<a>" * 100_000,
    b"<Tagging>" + b"<TagSet>" * 20_000,
    b'<?xml version="1.0" encoding="utf-7"?><Tagging/>',
    b"\xff\xfe<\x00a\x00/\x00>\x00",
    b"<Tagging " + b" ".join(b"a%d='1'" % i for i in range(20_000)) + b"/>",
    b"<Tagging>\x00</Tagging>",
    b"<Tagging>\xff</Tagging>",
    b"<Tagging>&#0;</Tagging>",
    b"<Tagging>&#xD800;</Tagging>",
    b"<Tagging",
    b"",
    b"{}",
]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_i5_an_xml_bomb_is_malformed_xml__rustfs_3520(server: Server, bucket: str, bomb: bytes) -> None:
    md5 = {"content-md5": base64.b64encode(hashlib.md5(bomb).digest()).decode()}
    for method, query in (("PUT", "tagging"), ("PUT", "versioning"), ("PUT", "encryption"), ("POST", "delete")):
        reply = server.send(method, f"/{bucket}?{query}", headers=md5, body=bomb, timeout=5)
        assert reply.status == 400
        assert reply.code in ("MalformedXML", "MissingRequestBodyError")
    upload = server.send("POST", f"/{bucket}/object?uploads").element("UploadId")
    assert server.send("POST", f"/{bucket}/object?uploadId={upload}", body=bomb, timeout=5).status == 400


def test_i5_a_document_longer_than_any_real_one_is_refused_unread(server: Server, bucket: str) -> None:
    body = b"<Tagging>" + b" " * (2 * 1024 * 1024)
    reply = server.send("PUT", f"/{bucket}?tagging", headers={"content-md5": "a" * 22 + "=="}, body=body)
    assert (reply.status, reply.code) == (400, "MaxMessageLengthExceeded")


RANGES = [
    "bytes=0-99999999999999999999999999999999",
    "bytes=99999999999999999999999999999999-",
    "bytes=-99999999999999999999999999999999",
    "bytes=18446744073709551615-18446744073709551616",
    "bytes=9223372036854775807-",
    "bytes=-0",
    "bytes=5-2",
    "bytes=--1",
    "bytes=0-0,2-3",
    "bytes=" + ",".join("0-0" for _ in range(500)),
    "bytes=\u0661-\u0662".encode().decode("latin-1"),
    "bytes=" + "9" * 5000 + "-",
    "bytes=a-b",
    "bytes= 0 - 1",
    "items=0-1",
    "bytes",
    "",
]


@pytest.mark.parametrize("value", RANGES, ids=range(len(RANGES)))
def test_i5_no_range_overflows__versitygw_79532410(server: Server, bucket: str, value: str) -> None:
    server.send("PUT", f"/{bucket}/object", body=b"content")
    server.send("PUT", f"/{bucket}/empty", body=b"")
    for key, content in (("object", b"content"), ("empty", b"")):
        reply = server.send("GET", f"/{bucket}/{key}", headers={"range": value})
        assert reply.status in (200, 206, 416)
        if reply.status == 200:
            assert reply.body == content
        if reply.status == 206:
            assert reply.body in (content, b"c")
    copied = {"x-amz-copy-source": f"/{bucket}/object", "x-amz-copy-source-range": value}
    upload = server.send("POST", f"/{bucket}/part?uploads").element("UploadId")
    assert server.send("PUT", f"/{bucket}/part?partNumber=1&uploadId={upload}", headers=copied).status in (
        200,
        400,
        416,
    )


@pytest.mark.parametrize(
    "query",
    [
        "partNumber=99999999999999999999",
        "partNumber=-1",
        "partNumber=0",
        "partNumber=1e1",
        "partNumber=%D9%A1",
        "partNumber=",
        "max-keys=99999999999999999999",
        "max-keys=-1",
        "max-keys=%D9%A1",
        "versionId=%F0%9F%98%80",
        "versionId=",
        "versionId=" + "f" * 32,
        "versionId=" + "g" * 3000,
    ],
)
def test_i5_no_number_and_no_id_overflows(server: Server, bucket: str, query: str) -> None:
    server.send("PUT", f"/{bucket}/object", body=b"content")
    for method, target in (("GET", f"/{bucket}/object"), ("HEAD", f"/{bucket}/object"), ("GET", f"/{bucket}")):
        assert server.send(method, f"{target}?{query}").status < 500
