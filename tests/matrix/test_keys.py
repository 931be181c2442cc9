"""Object keys over raw sockets, where no client library normalises them: what goes in comes out, byte for byte.

Each key is tried in both styles of address, and wherever a request can name one: in the path, in a copy's source, in a
form, in the XML of DeleteObjects.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes
from xml.sax.saxutils import escape

import pytest

from tests.harness import Reply, Server, running, unique_bucket
from tests.matrix.verbs import send_form

DOMAIN = "s3.example.test"

ORDINARY = [
    ".",
    "./a",
    "a/.",
    "a/./b",
    "a/..",
    "a/../b",
    "a/b/../../c",
    "...",
    "..a",
    "a..",
    "/",
    "//",
    "/a",
    "//a",
    "a/",
    "a//",
    "a//b",
    "/./",
    "\\",
    "a\\..\\..\\b",
    "C:\\x",
    "%",
    "%%",
    "%2F",
    "a%2Fb",
    "%2e%2e/%2e%2e/x",
    "%zz",
    "%00",
    "+",
    "a+b",
    "a b",
    " ",
    " a ",
    "\t",
    "\n",
    "a\r\nx-amz-acl: private",
    "\x01\x02\x1f",
    "\x7f",
    "\x85",
    "é",
    "e\u0301",
    "\u00a0",
    "\u2028",
    "\ufeffa",
    "日本語",
    "😀",
    "\ud7ff\ue000",
    "\ufffe",
    "\uffff",
    "\U0010ffff",
    "?",
    "a?versionId=b",
    "#",
    "a#b",
    "&amp;",
    "<Key>&</Key>",
    "]]>",
    "\"'",
    "a=b&c;d,e:f@g!h$i*j(k)l~m|n^o`p{q}r[s]",
    "a" * 1024,
    "é" * 512,
    "😀" * 256,
    "/" * 1024,
]
REFUSED = {
    "bytes-that-are-not-UTF-8": b"\xff",
    "half-a-character": b"a\xc3",
    "overlong-slash": b"..\xc0\xaf..",
    "a-surrogate": b"\xed\xa0\x80",
    "NUL": b"\0",
    "NUL-inside": b"a\0b",
    "1025-bytes": b"a" * 1025,
    "1026-bytes-of-513-characters": "é".encode() * 513,
    "above-the-root": b"../x",
    "two-above-the-root": b"../../x",
    "root": b"..",
    "above-the-root-again": b"a/../../x",
    "above-the-root-behind-slashes": b"a//../../x",
    "above-the-root-behind-a-dot": b"./../x",
    "above-the-root-at-the-end": b"a/../..",
}


@dataclass(frozen=True)
class Address:
    """A bucket under one of the two styles."""

    server: Server
    bucket: str
    virtual: bool

    def send(self, method: str, path: bytes, *, headers: dict[str, str] | None = None, body: bytes = b"") -> Reply:
        """`path`: behind the bucket, encoded, with its query."""
        if self.virtual:
            given = {**(headers or {}), "host": self.host}
            return self.server.send(method, b"/" + path, headers=given, body=body)
        return self.server.send(method, f"/{self.bucket}/".encode() + path, headers=headers, body=body)

    @property
    def host(self) -> str:
        return f"{self.bucket}.{DOMAIN}" if self.virtual else ""

    def keys(self) -> list[bytes]:
        """Every key that the bucket has, from `encoding-type=url`, which can tell them all."""
        reply = self.send("GET", b"?list-type=2&encoding-type=url")
        assert reply.status == 200
        found = re.findall(rb"<Key>([^<]*)</Key>", reply.body)
        assert all(re.fullmatch(rb"[A-Za-z0-9%/_.*~-]*", key) for key in found)  # half of the clients read + as a space
        return [unquote_to_bytes(key) for key in found]


@pytest.fixture(scope="module")
def domain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("domain"), environment={"STRONGROOM_DOMAIN": DOMAIN}) as started:
        yield started


@pytest.fixture(params=["path-style", "virtual-host-style"])
def address(request: pytest.FixtureRequest, domain_server: Server) -> Address:
    bucket = unique_bucket()
    domain_server.s3().create_bucket(Bucket=bucket)
    return Address(domain_server, bucket, request.param == "virtual-host-style")


def encoded(key: bytes) -> bytes:
    """As AWS's clients write a key: every slash stays."""
    return quote_from_bytes(key, safe="/-_.~").encode()


def fully_encoded(key: bytes) -> bytes:
    return b"".join(b"%%%02x" % byte for byte in key)


def barely_encoded(key: bytes) -> bytes:
    """Everything that a path may hold as it is stays as it is (RFC 3986 3.3)."""
    return quote_from_bytes(key, safe="/-_.~!$&'()*+,;=:@").encode()


def plain_text(text: bytes) -> bytes:
    """What the text of an element stands for; also the references that no XML parser takes."""
    named = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}

    def character(match: re.Match[bytes]) -> bytes:
        return named.get(match[1]) or chr(int(match[1].removeprefix(b"#x"), 16)).encode()

    return re.sub(rb"&(#x[0-9A-Fa-f]+|[a-z]+);", character, text)


@pytest.mark.parametrize("name", ORDINARY, ids=ascii)
def test_an_ordinary_key_is_kept_byte_for_byte(address: Address, name: str) -> None:
    key = name.encode()
    body = b"what is under " + key
    wire = encoded(key)

    assert address.send("PUT", wire, body=body).status == 200
    assert address.keys() == [key]
    for spelling in (wire, fully_encoded(key), barely_encoded(key)):
        reply = address.send("GET", spelling)
        assert (reply.status, reply.body) == (200, body)
        head = address.send("HEAD", spelling)
        assert (head.status, head.headers["content-length"]) == (200, str(len(body)))

    # Without an encoding the document may be no XML, but it says the key.
    for query in (b"?list-type=2", b"", b"?versions"):
        document = address.send("GET", query).body
        (text,) = re.findall(rb"<Key>([^<]*)</Key>", document)
        assert plain_text(text) == key
    listed = address.send("GET", b"?list-type=2&encoding-type=url&prefix=" + fully_encoded(key[:500]))
    assert unquote_to_bytes(listed.element("Prefix")) == key[:500]
    assert [unquote_to_bytes(each) for each in re.findall(rb"<Key>([^<]*)</Key>", listed.body)] == [key]

    assert address.send("DELETE", wire).status == 204
    assert address.keys() == []


@pytest.mark.parametrize("name", ORDINARY, ids=ascii)
def test_an_ordinary_key_in_copy_sources_forms_and_documents(address: Address, name: str) -> None:
    key, body = name.encode(), b"a body"
    if re.fullmatch(r"[\t ]+", name) is None and "\r" not in name and "\n" not in name:
        # A form's field ends at a line's end, and keeps every other byte.
        assert send_form(address.server, address.bucket, key, body, {}, host=address.host).status == 204
    else:
        assert address.send("PUT", encoded(key), body=body).status == 200
    assert address.keys() == [key]

    source = f"/{address.bucket}/{quote(key, safe='/')}"
    reply = address.send("PUT", b"another", headers={"x-amz-copy-source": source})
    assert reply.status == 200, reply
    assert address.send("GET", b"another").body == body
    assert address.send("DELETE", b"another").status == 204

    # XML has no way to say some characters; those keys are deleted one by one.
    if re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", name) is None:
        text = escape(name, {"\r": "&#13;"}).encode()
        assert delete_objects(address, text).status == 200
        assert address.keys() == []


def delete_objects(address: Address, *keys: bytes) -> Reply:
    listed = b"".join(b"<Object><Key>%s</Key></Object>" % key for key in keys)
    document = b"<Delete>%s</Delete>" % listed
    digest = base64.b64encode(hashlib.sha256(document).digest()).decode()
    return address.send("POST", b"?delete", headers={"x-amz-checksum-sha256": digest}, body=document)


@pytest.mark.parametrize("key", REFUSED.values(), ids=REFUSED)
def test_a_key_that_cannot_be_is_refused_everywhere(address: Address, key: bytes) -> None:
    # What the refused keys would be if somebody normalised, cut or repaired them.
    neighbours = [b"x", b"a", b"b", b"a" * 1024]
    for neighbour in neighbours:
        assert address.send("PUT", neighbour, body=neighbour).status == 200
    before = address.keys()

    code = "KeyTooLongError" if len(key) > 1024 else "InvalidURI"
    for spelling in {encoded(key), fully_encoded(key)}:
        for method in ("PUT", "GET", "HEAD", "DELETE"):
            reply = address.send(method, spelling, body=b"new" if method == "PUT" else b"")
            assert reply.status == 400, (method, spelling)
            if method != "HEAD":
                assert reply.code == code, (method, spelling)
        for query in (b"?uploads", b"?tagging", b"?versionId=null"):
            method = "POST" if query == b"?uploads" else "DELETE"
            assert address.send(method, spelling + query).status == 400

        source = f"/{address.bucket}/".encode() + spelling
        copied = address.send("PUT", b"copied", headers={"x-amz-copy-source": source.decode()})
        assert (copied.status, copied.code) == (400, code if code == "KeyTooLongError" else "InvalidArgument")

    form = send_form(address.server, address.bucket, key, b"new", {}, host=address.host)
    assert form.status == 400, form
    deleted = delete_objects(address, key)
    # A key's own mistake is told with the key; what is no XML, of the whole document.
    assert (deleted.status, deleted.element("Code")) in ((200, code), (400, "MalformedXML"))
    assert b"<Deleted>" not in deleted.body

    assert address.keys() == before
    for neighbour in neighbours:
        assert address.send("GET", neighbour).body == neighbour


def test_unencoded_bytes_in_a_target_are_a_key_or_no_request(address: Address) -> None:
    """Some clients send UTF-8 as it is; whatever the answer, it is about that key and no other."""
    key = "é日😀".encode()
    reply = address.send("PUT", key, body=b"raw")
    assert reply.status in (200, 400), reply
    assert address.keys() == ([key] if reply.status == 200 else [])


def test_keys_that_look_alike_are_different_objects(address: Address) -> None:
    alike = [
        "a",
        "A",
        "a/",
        "/a",
        "a//",
        "./a",
        "a/.",
        "a/b/..",
        "a%20",
        "a ",
        "a+",
        "é",
        "e\u0301",
        "a\x01",
    ]
    for name in alike:
        assert address.send("PUT", encoded(name.encode()), body=name.encode()).status == 200
    assert address.keys() == sorted(name.encode() for name in alike)
    for name in alike:
        assert address.send("GET", encoded(name.encode())).body == name.encode()
