"""G1: canary secrets through every path, then a search wherever the server can speak: its log at debug level,
its tracebacks, its metrics, its error documents, its files.

ceph CVE-2018-16889, seaweedfs b3e50bb12, rustfs GHSA-r54g, openbao GHSA-ghfh.
"""

import base64
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness import Reply, Server, customer_key_headers, running, unique_bucket
from tests.security.test_sse_c_errors import block, logged
from tests.security.test_unsigned_requests import metrics_of
from tests.wire import (
    SIGNED,
    SIGNED_TRAILER,
    UNSIGNED_TRAILER,
    exchange,
    form,
    policy_fields,
    presign,
    request_bytes,
    signed,
    streaming_put,
)

SECRET = "canary" + secrets.token_hex(17)  # the root's secret access key


@dataclass
class Canaries:
    """Every value that may not be found, by what it is."""

    values: dict[str, str] = field(default_factory=dict)

    def key(self, name: str) -> dict[str, str]:
        """A customer's key and its MD5, in each form that they have."""
        key = secrets.token_bytes(32)
        digest = hashlib.md5(key).digest()
        for form_of, value in ((f"key of {name}", key), (f"MD5 of the key of {name}", digest)):
            self.values[f"{form_of}, base64"] = base64.b64encode(value).decode()
            self.values[f"{form_of}, hex"] = value.hex()
            self.values[f"{form_of}, repr"] = repr(value)[2:-1]
        return customer_key_headers(key)

    def found_in(self, text: str) -> list[str]:
        return [name for name, value in self.values.items() if value in text]


@dataclass(frozen=True)
class Watched:
    server: Server
    canaries: Canaries
    replies: list[Reply]

    def send(self, *arguments: str, **more) -> Reply:
        self.replies.append(self.server.send(*arguments, **more))
        return self.replies[-1]


def source(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("x-amz-", "x-amz-copy-source-", 1): value for name, value in headers.items()}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server with everything logged, after it was asked everything with a secret in it."""
    settings = {
        "STRONGROOM_LOG_LEVEL": "debug",
        "STRONGROOM_ROOT_ACCESS_KEY_ID": "canary-root",
        "STRONGROOM_ROOT_SECRET_ACCESS_KEY": SECRET,
        "PYTHONFAULTHANDLER": "1",
        "PYTHONASYNCIODEBUG": "1",
    }
    with running(tmp_path_factory.mktemp("watched"), "--workers", "1", environment=settings) as server:
        server.access_key_id, server.secret = "canary-root", SECRET
        watched = Watched(server, Canaries({"secret access key": SECRET}), [])
        bucket = unique_bucket()
        watched.send("PUT", f"/{bucket}")
        with_customer_keys(watched, bucket)
        with_mistakes(watched, bucket)
        with_signatures(watched, bucket)
        with_damage(watched, bucket)
        yield watched


def with_customer_keys(watched: Watched, bucket: str) -> None:
    """What goes well."""
    send, key = watched.send, watched.canaries.key("a good request")
    other = watched.canaries.key("a copy")
    assert send("PUT", f"/{bucket}/object", headers=key, body=b"content").status == 200
    assert send("PUT", f"/{bucket}/object", headers=key, body=b"content", tls=True).status == 200
    assert send("GET", f"/{bucket}/object", headers=key).status == 200
    assert send("HEAD", f"/{bucket}/object", headers=key).status == 200
    assert send("GET", f"/{bucket}/object?attributes", headers={**key, "x-amz-object-attributes": "ETag"}).status == 200
    copied = {"x-amz-copy-source": f"/{bucket}/object", **source(key), **other}
    assert send("PUT", f"/{bucket}/copy", headers=copied).status == 200
    target = f"/{bucket}/parts?uploadId=" + send("POST", f"/{bucket}/parts?uploads", headers=key).element("UploadId")
    assert send("PUT", f"{target}&partNumber=1", headers=key, body=b"content").status == 200
    part = {"x-amz-copy-source": f"/{bucket}/copy", **source(other), **key}
    assert send("PUT", f"{target}&partNumber=1", headers=part).status == 200
    etag = send("GET", target, headers=key).element("ETag")
    document = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    )
    assert send("POST", target, headers=key, body=document.encode()).status == 200
    fields = {"key": "posted", **key}
    conditions = [{"bucket": bucket}, *({name: value} for name, value in fields.items())]
    assert (
        form({**fields, **policy_fields(watched.server, conditions)}, b"x").post(watched.server, f"/{bucket}").status
        == 204
    )


def with_mistakes(watched: Watched, bucket: str) -> None:
    """What is refused, with a key in it all the same."""
    send, server = watched.send, watched.server
    key = watched.canaries.key("a refused request")
    name = "x-amz-server-side-encryption-customer-key"
    for headers in (
        {**key, "x-amz-server-side-encryption": "AES256"},
        {**key, "x-amz-server-side-encryption-customer-algorithm": "KMS"},
        {**key, f"{name}-md5": "wrong"},
        {**key, name: key[name] + "A"},
        {**key, "x-forwarded-for": "192.0.2.1"},
        {**key, "x-amz-acl": "public-read"},
        {**key, "content-md5": "wrong"},
        {**key, "x-amz-tagging": "a=b=c&a"},
    ):
        for method, target in (
            ("PUT", f"/{bucket}/refused"),
            ("GET", f"/{bucket}/object"),
            ("POST", f"/{bucket}/o?uploads"),
        ):
            send(method, target, headers=headers)
    for target in (
        f"/{bucket}/object",
        f"/{bucket}/missing",
        "/no-such-bucket/a",
        f"/{bucket}?acl",
        f"/{bucket}/a?torrent",
    ):
        for method in ("GET", "PUT", "DELETE", "POST", "PATCH"):
            send(method, target, headers=key)
            send(method, target, headers=source(key))
    # The key where it does not belong: nobody can keep a client from that, but the log need not repeat queries.
    query = "&".join(f"{each}={value}".replace("+", "%2B") for each, value in key.items())
    send("PUT", f"/{bucket}/in-the-query?{query}")
    send("GET", f"/{bucket}/object?{query}&partNumber=x")
    watched.replies.append(server.send("PUT", presign(server, "PUT", f"/{bucket}/presigned", query=query), sign=False))
    blocking = unique_bucket()
    send("PUT", f"/{blocking}")
    block(server, blocking, "SSE-C")
    send("PUT", f"/{blocking}/object", headers=key)
    fields = {"key": "posted", **key}
    for conditions in ([{"bucket": bucket}], [{"bucket": bucket}, {"key": "x"}, {name: "another"}]):
        upload = form({**fields, **policy_fields(server, conditions)}, b"x")
        watched.replies.append(upload.post(server, f"/{bucket}"))
    upload = form({**fields, **policy_fields(server, [], secret="wrong")}, b"x")
    watched.replies.append(upload.post(server, f"/{bucket}"))


def with_signatures(watched: Watched, bucket: str) -> None:
    """Signatures and Authorization headers, good and bad."""
    server, values, replies = watched.server, watched.canaries.values, watched.replies
    key = watched.canaries.key("a badly signed request")
    good = presign(server, "GET", f"/{bucket}/object")
    values["presigned signature"] = good.rpartition("=")[2]
    replies += [server.send("GET", good, sign=False), server.send("GET", f"{good}&partNumber=x", sign=False)]
    expired = presign(server, "GET", f"/{bucket}/object", expires=1).replace("Expires=1&", "Expires=2&")
    replies.append(server.send("GET", expired, sign=False))
    head = signed(server, "PUT", f"/{bucket}/object", {"content-length": "0", **key})
    values["signature of a request"] = head["authorization"].rpartition("=")[2]
    replies.append(exchange(server, request_bytes("PUT", f"/{bucket}/object", list(head.items())), "PUT"))
    head = signed(server, "PUT", f"/{bucket}/other", {"content-length": "0", **key})
    replies.append(exchange(server, request_bytes("PUT", f"/{bucket}/wrong", list(head.items())), "PUT"))
    for scheme in ("Bearer", "Basic", "AWS canary-root:"):
        token = "canary" + secrets.token_hex(16)
        values[f"token of {scheme}"] = token
        replies.append(server.send("GET", f"/{bucket}", headers={"authorization": f"{scheme} {token}"}, sign=False))
    values["session token"] = "canary" + secrets.token_hex(16)
    replies.append(server.send("GET", f"/{bucket}", headers={"x-amz-security-token": values["session token"]}))
    for payload in (SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER):
        trailers = None if payload == SIGNED else {"x-amz-checksum-crc32": "AAAAAA=="}
        replies.append(streaming_put(server, f"/{bucket}/object", [b"a"], payload, trailers=trailers, headers=key))
    # No request at all, with secrets in it.
    for line in (
        b"GET / HTTP/1.1\r\nx: \x00",
        b"GET /\r\n",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
    ):
        text = line + f"\r\nauthorization: {values['session token']}\r\n\r\n".encode()
        with server.connect() as connection:
            connection.sendall(text)
            connection.settimeout(0.2)
            try:
                connection.recv(1000)
            except (TimeoutError, ConnectionError):
                continue


def with_damage(watched: Watched, bucket: str) -> None:
    """Errors of the server's own, which write tracebacks, with keys of customers on the stack."""
    send, server = watched.send, watched.server
    key = watched.canaries.key("a request that fails inside")
    assert send("PUT", f"/{bucket}/damaged", headers=key, body=b"content").status == 200
    for path in (server.data_dir / "s3" / "blobs").glob("??/*"):
        content = path.read_bytes()
        os.chmod(path, 0o600)
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    damaged = send("GET", f"/{bucket}/damaged", headers=key)
    assert damaged.status == 500
    copied = {"x-amz-copy-source": f"/{bucket}/damaged", **source(key), **watched.canaries.key("a copy that fails")}
    failed = send("PUT", f"/{bucket}/copy", headers=copied)
    assert failed.status == 500
    assert "integrity" in logged(server, damaged)
    assert "Traceback" in server.log.read_text()


def test_no_secret_is_in_the_log_or_a_traceback(watched: Watched) -> None:
    last = watched.server.send("GET", "/")
    logged(watched.server, last)  # everything before it is written
    text = watched.server.log.read_text()
    assert text.count("Request ") > 100
    assert watched.canaries.found_in(text) == []
    assert "Signature=" not in text
    assert "x-amz-server-side-encryption-customer-key=" not in text


def test_no_secret_is_in_the_metrics(watched: Watched) -> None:
    head = request_bytes("GET", "/metrics", [("Host", "m"), ("Connection", "close")])
    figures = exchange(metrics_of(watched.server), head).body.decode()
    assert "strongroom_integrity_errors_total" in figures
    assert watched.canaries.found_in(figures) == []


def test_no_customer_key_and_no_secret_is_in_an_answer(watched: Watched) -> None:
    """But the MD5, which S3 sends back, and the signature that a client sent in vain."""
    allowed = ("MD5 of", "presigned signature", "signature of a request")
    for reply in watched.replies:
        text = reply.body.decode("latin-1") + " ".join(reply.headers.values())
        assert [name for name in watched.canaries.found_in(text) if not name.startswith(allowed)] == []
        assert [
            name for name in watched.canaries.found_in(reply.body.decode("latin-1")) if name.startswith("MD5")
        ] == []


def test_no_secret_is_in_a_file(watched: Watched) -> None:
    """E9: neither a customer's key nor its MD5 is stored; the environment's credentials are never written down."""
    everything = b"\n".join(path.read_bytes() for path in files(watched.server.data_dir))
    assert watched.canaries.found_in(everything.decode("latin-1")) == []
    raw = [value for name, value in watched.canaries.values.items() if name.endswith("hex")]
    assert [value for value in raw if bytes.fromhex(value) in everything] == []


def test_no_secret_is_on_a_command_line(watched: Watched) -> None:
    for pid in (watched.server.process.pid, *watched.server.processes()):
        assert watched.canaries.found_in(Path(f"/proc/{pid}/cmdline").read_text()) == []


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]
