"""Keys and paths: the classes C1, C2 and C4. A key is text in a sealed row and never a file's name."""

import base64
import hashlib
import re
from urllib.parse import quote

import pytest

from strongroom.aws.model import load_s3_model
from strongroom.s3.service import OPERATIONS as BUILT
from tests.harness import Reply, Server, unique_bucket
from tests.security.test_unsigned_requests import state, target_of
from tests.wire import form, policy_fields

MODEL = load_s3_model().operations

CLIMBING = [
    "..",
    "../object",
    "../../object",
    "a/../../object",
    "a/b/../../../c",
    "./../object",
    "/../object",
    "//../../object",
    "a/./../../b",
    "....//../../..",
]
ORDINARY = [
    ".",
    "a/..",
    "a/../b",
    "a/./b",
    "./a",
    "a//b",
    "/a",
    "//",
    "a/",
    "...",
    "..a",
    "a..",
    "....//a",
    "..\\..\\a",
    "a\\b",
    "%2e%2e%2fa",
    "%2e%2e/a",
    "..%2fa",
    "C:\\a",
    "a.",
    "a ",
    " a",
    "~",
    "con",
    "nul",
    "a:b",
    "a|b",
    "\x01\x1f\x7f",
    "a\nb",
    "a\r\nb: c",
    "-",
    "-/live",
    ".strongroom",
    ".minio.sys/config",
    "index.db",
    "s3/keys/x.key",
    "é/e\u0301",
    "\U0001f600",
    "\u202e",
    "\ufeff",
    "+a b",
    "?a#b&c=d",
    "'\";--",
    "<a>&amp;",
    "${jndi:ldap://a}",
    "k" * 1024,
    "é" * 512,
]


@pytest.fixture(scope="module")
def home(server: Server) -> str:
    name = unique_bucket()
    server.send("PUT", f"/{name}")
    return name


# Everything that lies in s3/; blobs have random names.
OURS = re.compile(
    r"index\.db(-wal|-shm|\.lock|\.reserve)?|rotation\.lock|keys(/[0-9a-f]{32}\.key)?|blobs(/[0-9a-f]{2}(/[0-9a-f]+)?|/tmp.*)?"
)


def escaped(key: str) -> str:
    return quote(key, safe="")


@pytest.mark.parametrize("key", CLIMBING)
def test_c1_a_key_that_climbs_is_refused_wherever_it_stands__seaweedfs_cve_2026_54917(
    server: Server, home: str, key: str
) -> None:
    server.send("PUT", f"/{home}/object", body=b"content")
    for raw in (key, escaped(key), key.replace(".", "%2e"), key.replace("..", "%2E.")):
        for method in ("PUT", "GET", "DELETE", "POST"):
            target = f"/{home}/{raw}" + ("?uploads" if method == "POST" else "")
            reply = server.send(method, target)
            assert (reply.status, reply.code) == (400, "InvalidURI"), raw
        source = {"x-amz-copy-source": f"/{home}/{raw}"}
        reply = server.send("PUT", f"/{home}/copy", headers=source)
        assert (reply.status, reply.code) == (400, "InvalidArgument"), raw
        assert reply.element("ArgumentName") == "x-amz-copy-source"
    assert server.send("HEAD", f"/{home}/copy").status == 404


@pytest.mark.parametrize("key", CLIMBING)
def test_c1_a_key_that_climbs_is_refused_in_a_form(server: Server, home: str, key: str) -> None:
    for fields, filename in (({"key": key}, "f"), ({"key": "up/${filename}"}, "f")):
        conditions = [{"bucket": home}, ["starts-with", "$key", ""]]
        reply = form({**fields, **policy_fields(server, conditions)}, b"x", filename=filename).post(server, f"/{home}")
        if fields["key"] == key:
            assert reply.status == 400
        else:
            assert reply.status == 204


def test_c1_a_file_name_does_not_climb_out_of_its_key(server: Server, home: str) -> None:
    conditions = [{"bucket": home}, ["starts-with", "$key", "up/"]]
    fields = {"key": "up/${filename}", **policy_fields(server, conditions)}
    for name in ("../../secret", "..\\..\\secret", "/etc/secret"):
        assert form(fields, b"x", filename=name).post(server, f"/{home}").status == 204
        assert server.send("DELETE", f"/{home}/up/secret").status == 204
    assert form(fields, b"x", filename="..").post(server, f"/{home}").status == 204  # `up/..` stays in the bucket
    assert server.send("GET", f"/{home}/up/..").body == b"x"


@pytest.mark.parametrize("key", CLIMBING)
def test_c1_a_key_that_climbs_in_a_document_deletes_nothing_else(server: Server, home: str, key: str) -> None:
    server.send("PUT", f"/{home}/object", body=b"content")
    document = f"<Delete><Object><Key>{key}</Key></Object></Delete>".encode()
    reply = delete_objects(server, home, document)
    assert reply.status == 200
    assert server.send("GET", f"/{home}/object").body == b"content"


def delete_objects(server: Server, bucket: str, document: bytes) -> Reply:
    md5 = base64.b64encode(hashlib.md5(document).digest()).decode()
    return server.send("POST", f"/{bucket}?delete", headers={"content-md5": md5}, body=document)


@pytest.mark.parametrize("key", ORDINARY, ids=lambda key: ascii(key)[:20])
def test_c1_any_other_key_is_itself_and_nothing_else(server: Server, bucket: str, key: str) -> None:
    """Stored, read, listed, copied and deleted byte for byte, and never another key's object."""
    content = key.encode()
    assert server.send("PUT", f"/{bucket}/{escaped(key)}", body=content).status == 200
    assert server.send("GET", f"/{bucket}/{escaped(key)}").body == content
    listed = server.send("GET", f"/{bucket}?list-type=2&encoding-type=url").body.decode()
    assert listed.count("<Contents>") == 1
    assert f"<Key>{quote(key, safe='-_.~/*').replace('%20', '+')}</Key>" in listed or f"<Key>{escaped(key)}" in listed
    headers = {"x-amz-copy-source": f"/{bucket}/{escaped(key)}"}
    assert server.send("PUT", f"/{bucket}/copied", headers=headers).status == 200
    assert server.send("GET", f"/{bucket}/copied").body == content
    assert server.send("DELETE", f"/{bucket}/{escaped(key)}").status == 204
    assert server.send("GET", f"/{bucket}?list-type=2").body.count(b"<Contents>") == 1
    store = server.data_dir / "s3"
    assert [found for path in store.rglob("*") if not OURS.fullmatch(found := str(path.relative_to(store)))] == []


@pytest.mark.parametrize(
    "raw",
    [
        "%00",
        "a%00b",
        "%C0%AE%C0%AE/",
        "%c0%ae",
        "%E0%80%AE",
        "%FF",
        "%ED%A0%80",
        "%F5%80%80%80",
        "%",
        "%2",
        "%zz",
        "a%",
    ],
)
def test_c1_what_is_no_text_is_400(server: Server, home: str, raw: str) -> None:
    """NUL, overlong and broken UTF-8, broken escapes."""
    for method in ("PUT", "GET", "DELETE"):
        reply = server.send(method, f"/{home}/{raw}")
        assert (reply.status, reply.code) == (400, "InvalidURI")
    reply = server.send("PUT", f"/{home}/copy", headers={"x-amz-copy-source": f"/{home}/{raw}"})
    assert (reply.status, reply.code) == (400, "InvalidArgument")


def test_c1_a_key_is_decoded_once(server: Server, home: str) -> None:
    server.send("PUT", f"/{home}/%252e%252e%252fb", body=b"once")
    assert server.send("GET", f"/{home}/%252e%252e%252fb").body == b"once"
    listed = server.send("GET", f"/{home}?list-type=2&prefix=%25").body
    assert b"<Key>%2e%2e%2fb</Key>" in listed


@pytest.mark.parametrize("size", [1025, 3072])
def test_a_key_of_more_than_1024_bytes_is_refused(server: Server, home: str, size: int) -> None:
    reply = server.send("PUT", f"/{home}/{'k' * size}")
    assert (reply.status, reply.code) == (400, "KeyTooLongError")


@pytest.mark.parametrize(
    "source",
    ["", "/", "bucket", "/bucket", "/bucket/", "//a", "?versionId=1", "/a?versionId=", "arn:aws:s3:::b/k", "../../etc"],
)
def test_i5_an_odd_copy_source_is_an_error_of_the_client__versitygw_422b5a70(
    server: Server, home: str, source: str
) -> None:
    reply = server.send("PUT", f"/{home}/copy", headers={"x-amz-copy-source": source})
    assert reply.status in (400, 404, 501)
    assert server.send("HEAD", f"/{home}/copy").status == 404


# --- C2: names of our own


@pytest.mark.parametrize("name", ["-", ".", "..", "s3", "run", ".strongroom", "proof", "_", "%2e%2e", "store", "keys"])
def test_c2_no_reserved_name_is_a_bucket__minio_cve_2023_28434(server: Server, name: str) -> None:
    assert server.send("PUT", f"/{name}").status in (400, 200)
    if server.send("HEAD", f"/{name}").status == 200:  # `run`, `store` and such are names like any other, and empty
        assert server.send("GET", f"/{name}?list-type=2").element("KeyCount") == "0"
        assert server.send("DELETE", f"/{name}").status == 204
    else:
        for target in (f"/{name}/object", f"/{name}/s3/index.db", f"/{name}/credentials"):
            assert server.send("GET", target).status in (400, 404)
            assert server.send("PUT", target, body=b"x").status in (400, 404)


def test_c2_the_proof_at_the_start_left_no_bucket(server: Server) -> None:
    assert b"<Name>proof</Name>" not in server.send("GET", "/").body
    assert not (server.data_dir / "run" / "proof").exists()


# --- C4: what is not built never falls through


NOT_BUILT = sorted(name for name, operation in MODEL.items() if name not in BUILT and not operation.deprecated)


def test_c4_an_operation_that_is_not_built_is_501_and_changes_nothing__ceph_36264(server: Server, bucket: str) -> None:
    server.send("PUT", f"/{bucket}/object", body=b"content")
    before = state(server, bucket)
    answers = {}
    for name in NOT_BUILT:
        operation = MODEL[name]
        headers = dict.fromkeys(operation.required_headers, "1")
        answers[name] = server.send(operation.method, target_of(operation, bucket), headers=headers).status
    assert answers == dict.fromkeys(NOT_BUILT, 501)
    assert state(server, bucket) == before
    assert server.send("GET", f"/{bucket}/object").body == b"content"


SUBRESOURCES = sorted(
    {name for operation in MODEL.values() for name, _ in operation.query} | {"append", "unknown", "x"}
)


@pytest.mark.parametrize("name", SUBRESOURCES)
def test_c4_no_subresource_lets_a_delete_through_to_the_bucket(server: Server, bucket: str, name: str) -> None:
    """Whatever the answer: the bucket and its objects stay, also where a DELETE of the subresource is built."""
    server.send("PUT", f"/{bucket}/object", body=b"content")
    for query in (name, f"{name}=1", f"{name}&versions"):
        reply = server.send("DELETE", f"/{bucket}?{query}")
        assert reply.status in (204, 400, 405, 501), query
        if name not in ("versionId", "tagging"):
            server.send("DELETE", f"/{bucket}/object?{query}")
            assert server.send("GET", f"/{bucket}/object").body == b"content", query
    assert server.send("HEAD", f"/{bucket}").status == 200
