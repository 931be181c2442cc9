"""Bodies whose length is wrong, missing or unsaid; and uploads that are refused before their body is read."""

import socket
import time
from collections.abc import Iterator

import pytest

from tests.harness import Reply, Server, customer_key_headers, read_reply, running, unique_bucket, wait_until
from tests.wire import UNSIGNED_TRAILER

GIB = 1 << 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("lengths")) as started:
        yield started


@pytest.fixture
def bucket(server: Server) -> str:
    name = unique_bucket()
    assert server.send("PUT", f"/{name}").status == 200
    assert server.send("PUT", f"/{name}/old", body=b"old content").status == 200
    return name


def exchange(server: Server, data: bytes, *, end: bool = False) -> Reply:
    """The answer to `data`; `end`: behind which the client sends no more."""
    with server.connect() as connection:
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)
        return read_reply(connection, "PUT")


def upload(server: Server, bucket: str, payload: str = "UNSIGNED-PAYLOAD", **headers: str) -> bytes:
    """The head of a PUT with these headers and no more about its length."""
    head = server.head("PUT", f"/{bucket}/new", headers={"content-length": "0", **headers}, payload=payload)
    return head if "content-length" in headers else head.replace(b"content-length: 0\r\n", b"")


def unsigned_length(server: Server, bucket: str, *lines: bytes) -> bytes:
    """The same; the length is no part of what is signed, as some clients do it."""
    names = ["host", "x-amz-content-sha256", "x-amz-date"]
    head = server.head("PUT", f"/{bucket}/new", payload="UNSIGNED-PAYLOAD", signed_headers=names)
    return head.replace(b"content-length: 0", b"\r\n".join(lines))


def is_as_before(server: Server, bucket: str) -> bool:
    listing = server.send("GET", f"/{bucket}?list-type=2")
    return (listing.element("KeyCount"), listing.element("Key")) == ("1", "old") and not list(
        (server.data_dir / "s3" / "blobs" / "tmp").iterdir()
    )


# --- the length


def test_without_a_length_an_upload_is_411(server, bucket):
    reply = exchange(server, unsigned_length(server, bucket, b"x-nothing: here"))
    assert (reply.status, reply.code) == (411, "MissingContentLength")
    assert is_as_before(server, bucket)


def test_a_chunked_transfer_without_the_decoded_length_is_refused(server, bucket):
    """S3 takes no plain chunked transfer: only aws-chunked, which says its decoded length."""
    body = b"7\r\ncontent\r\n0\r\n\r\n"
    reply = exchange(server, unsigned_length(server, bucket, b"transfer-encoding: chunked") + body)
    assert (reply.status, reply.code) == (501, "NotImplemented")
    assert is_as_before(server, bucket)
    names = ["host", "x-amz-content-sha256", "x-amz-date"]
    head = server.head("PUT", f"/{bucket}/new", payload=UNSIGNED_TRAILER, signed_headers=names)
    reply = exchange(server, head.replace(b"content-length: 0", b"transfer-encoding: chunked") + body)
    assert (reply.status, reply.code) == (411, "MissingContentLength")
    assert is_as_before(server, bucket)


def test_a_chunked_transfer_with_the_decoded_length_is_served(server, bucket):
    given = {"transfer-encoding": "chunked", "x-amz-decoded-content-length": "7", "content-encoding": "aws-chunked"}
    head = server.head("PUT", f"/{bucket}/new", headers=given, payload=UNSIGNED_TRAILER)
    inner = b"7\r\ncontent\r\n0\r\n\r\n"
    assert exchange(server, head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)).status == 200
    assert server.send("GET", f"/{bucket}/new").body == b"content"


@pytest.mark.parametrize("length", ["-1", "+7", "7.0", "0x7", "seven", "7 7", "7, 7", "99999999999999999999999", ""])
def test_a_length_that_is_no_number_is_400(server, bucket, length):
    reply = exchange(server, unsigned_length(server, bucket, f"content-length: {length}".encode()) + b"content")
    assert reply.status == 400
    assert is_as_before(server, bucket)


@pytest.mark.parametrize("length", ["-1", "+7", "7.0", "0x7", "seven", "99999999999999999999999", ""])
def test_a_decoded_length_that_is_no_number_is_400(server, bucket, length):
    body = b"7\r\ncontent\r\n0\r\n\r\n"
    headers = {"content-length": str(len(body)), "x-amz-decoded-content-length": length}
    reply = exchange(server, upload(server, bucket, UNSIGNED_TRAILER, **headers) + body)
    assert (reply.status, reply.code) == (400, "InvalidArgument")
    assert is_as_before(server, bucket)


def test_an_upload_of_more_than_5_gib_is_refused_before_its_body(server, bucket):
    for length in (5 * GIB + 1, 1 << 50):
        reply = exchange(server, upload(server, bucket, **{"content-length": str(length)}))
        assert (reply.status, reply.code) == (400, "EntityTooLarge")
    assert is_as_before(server, bucket)


# --- the body


@pytest.mark.parametrize("size", [0, 1, 99_999, 3 << 20])
def test_a_body_that_ends_early_stores_nothing(server, bucket, size):
    declared = max(size + 1, 100_000)
    data = upload(server, bucket, **{"content-length": f"{declared}"}) + bytes(size)
    with server.connect() as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    assert not answer.startswith(b"HTTP/1.1 2")
    wait_until(lambda: is_as_before(server, bucket))


def test_a_body_that_goes_on_is_cut_at_its_length(server, bucket):
    """What follows is another request, and no proper one."""
    with server.connect() as connection:
        connection.sendall(upload(server, bucket, **{"content-length": "7"}) + b"content and more\r\n\r\n")
        assert read_reply(connection, "PUT").status == 200
    assert server.send("GET", f"/{bucket}/new").body == b"content"


CHUNKS = b"7\r\ncontent\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("decoded", "body"),
    [
        (8, CHUNKS),
        (6, CHUNKS),
        (0, CHUNKS),
        (7, CHUNKS[:-7] + b"\r\n"),  # no last chunk
        (7, b"7\r\ncontent\r\n"),
        (7, b"7\r\ncont"),
        (7, b"8\r\ncontent\r\n0\r\n\r\n"),
        (7, b"6\r\ncontent\r\n0\r\n\r\n"),
        (7, CHUNKS + b"more"),
        (7, b"ffffffffffffffff\r\ncontent"),
        (7, b"\r\n" + CHUNKS),
        (7, b""),
    ],
)
def test_chunks_that_do_not_make_up_the_decoded_length_are_400(server, bucket, decoded, body):
    headers = {"content-length": str(len(body)), "x-amz-decoded-content-length": str(decoded)}
    reply = exchange(server, upload(server, bucket, UNSIGNED_TRAILER, **headers) + body)
    assert reply.status == 400
    assert reply.code in ("IncompleteBody", "InvalidRequest", "MalformedTrailerError", "InvalidArgument")
    assert is_as_before(server, bucket)


# --- refused before the body


def refusals(server: Server, bucket: str) -> dict[str, tuple[int, bytes]]:
    """The heads of uploads that cannot succeed, each with the status and code of its answer."""
    big = {"content-length": f"{GIB}"}

    def head(target: str, payload: str = "UNSIGNED-PAYLOAD", **headers: str) -> bytes:
        return server.head("PUT", target, headers={**big, **headers}, payload=payload)

    ok = f"/{bucket}/new"
    wrong_md5 = {**customer_key_headers(bytes(32)), "x-amz-server-side-encryption-customer-key-md5": "AAAA"}
    return {
        "SignatureDoesNotMatch": (403, head(ok).replace(b"Signature=", b"Signature=0")),
        "InvalidAccessKeyId": (403, head(ok).replace(server.access_key_id.encode(), b"SOMEBODYELSE")),
        "NoSuchBucket": (404, head("/no-such-bucket/new")),
        "NoSuchUpload": (404, head(f"{ok}?partNumber=1&uploadId=AAAA")),
        "PreconditionFailed": (412, head(f"/{bucket}/old", **{"if-none-match": "*"})),
        "NoSuchKey": (404, head(ok, **{"if-match": '"abc"'})),
        "EntityTooLarge": (400, head(ok, **{"content-length": f"{6 * GIB}"})),
        "InvalidDigest": (400, head(ok, **{"content-md5": "no digest"})),
        "InvalidArgument": (400, head(ok, **wrong_md5)),
        "InvalidStorageClass": (400, head(ok, **{"x-amz-storage-class": "CHEAP"})),
        "NotImplemented": (501, head(ok, **{"x-amz-object-lock-mode": "GOVERNANCE"})),
        "InvalidTag": (400, head(ok, **{"x-amz-tagging": "aws:a=b"})),
        "MetadataTooLarge": (400, head(ok, **{"x-amz-meta-a": "x" * 2100})),
        "AccessControlListNotSupported": (400, head(ok, **{"x-amz-acl": "public-read"})),
    }


CODES = [
    *("AccessControlListNotSupported", "EntityTooLarge", "InvalidAccessKeyId", "InvalidArgument", "InvalidDigest"),
    *("InvalidStorageClass", "InvalidTag", "MetadataTooLarge", "NoSuchBucket", "NoSuchKey", "NoSuchUpload"),
    *("NotImplemented", "PreconditionFailed", "SignatureDoesNotMatch"),
]


@pytest.mark.parametrize("expect", [True, False])
@pytest.mark.parametrize("code", CODES)
def test_a_refused_upload_is_answered_before_its_body_is_asked_for(server, bucket, code, expect):
    """No 100 (Continue) comes, and a client that sends none of its body has its answer at once."""
    assert sorted(refusals(server, bucket)) == CODES
    status, head = refusals(server, bucket)[code]
    if expect:
        head = head.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n")
    started = time.monotonic()
    with server.connect() as connection:
        connection.sendall(head)
        first = connection.recv(12, socket.MSG_PEEK)
        reply = read_reply(connection, "PUT")
    assert first == f"HTTP/1.1 {status}".encode()
    assert (reply.status, reply.code) == (status, code)
    assert reply.headers["connection"] == "close"
    assert time.monotonic() - started < 5  # and not after some patience with the body
    assert is_as_before(server, bucket)


def test_a_client_that_sends_its_body_all_the_same_can_read_the_refusal(server, bucket):
    """It is still sending when the answer comes; the answer must not be lost in a reset."""
    _, head = refusals(server, bucket)["NoSuchBucket"]
    with server.connect() as connection:
        connection.sendall(head + bytes(8 << 20))
        reply = read_reply(connection, "PUT")
    assert (reply.status, reply.code, reply.complete) == (404, "NoSuchBucket", True)


def test_an_upload_that_is_not_refused_is_asked_for_its_body(server, bucket):
    head = upload(server, bucket, **{"content-length": "7", "expect": "100-continue"})
    with server.connect() as connection:
        connection.sendall(head)
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"content")
        assert read_reply(connection, "PUT").status == 200
    assert server.send("GET", f"/{bucket}/new").body == b"content"
