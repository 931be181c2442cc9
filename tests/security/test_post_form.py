"""Uploads by a browser's form, end to end: what a signed policy allows is done, and nothing else (B11)."""

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import Reply, Server, customer_key_headers, unique_bucket
from tests.wire import form, policy_fields

CONTENT = b"the file"
MD5 = hashlib.md5(CONTENT).hexdigest()


def post(
    server: Server,
    bucket: str,
    fields: dict[str, str],
    file: bytes | None = CONTENT,
    *,
    conditions: Sequence[Any] | None = None,
    more: Sequence[Any] = (),
    unsigned: dict[str, str] | None = None,
    filename: str = "file.bin",
    after: Sequence[tuple[str, str]] = (),
    **policy: Any,
) -> Reply:
    """A form of `fields` under a policy that names them, or has these `conditions`; `unsigned` fields it does not name."""
    given = {"key": "object", **fields}
    if conditions is None:
        conditions = [{"bucket": bucket}, *({name: value} for name, value in given.items()), *more]
    signed = policy_fields(server, conditions, **policy)
    return form({**given, **(unsigned or {}), **signed}, file, filename=filename, after=after).post(
        server, f"/{bucket}"
    )


def stored(server: Server, bucket: str, key: str = "object") -> bytes | None:
    reply = server.send("GET", f"/{bucket}/{key}")
    return reply.body if reply.status == 200 else None


def denied(reply: Reply, code: str = "AccessDenied", status: int = 403, *, text: str = "") -> None:
    assert (reply.status, reply.code) == (status, code), reply
    assert text in reply.element("Message").replace("&quot;", '"')


# --- what it answers


@pytest.mark.parametrize(
    ("status", "answered"),
    [(None, 204), ("200", 200), ("201", 201), ("204", 204), ("404", 204), ("500", 204), ("x", 204)],
)
def test_the_status_is_one_of_three(server: Server, bucket: str, status: str | None, answered: int) -> None:
    reply = post(server, bucket, {} if status is None else {"success_action_status": status})
    assert reply.status == answered
    assert reply.headers["etag"] == f'"{MD5}"'
    assert reply.headers["location"].endswith(f"/{bucket}/object")
    assert reply.headers["x-amz-server-side-encryption"] == "AES256"
    assert stored(server, bucket) == CONTENT
    if answered == 201:
        assert reply.headers["content-type"] == "application/xml"
        assert (reply.element("Bucket"), reply.element("Key")) == (bucket, "object")
        assert reply.element("ETag").replace("&quot;", '"') == f'"{MD5}"'
    else:
        assert reply.body == b""


@pytest.mark.parametrize("name", ["success_action_redirect", "redirect"])
def test_a_redirect_names_what_was_stored(server: Server, bucket: str, name: str) -> None:
    reply = post(server, bucket, {"key": "a b&c", name: "https://app.example/done?x=1"})
    assert reply.status == 303
    etag = quote(f'"{MD5}"', safe="")
    assert reply.headers["location"] == f"https://app.example/done?x=1&bucket={bucket}&key=a%20b%26c&etag={etag}"


def test_a_redirect_that_is_no_address_is_ignored(server: Server, bucket: str) -> None:
    for target in ("not a url", "javascript:alert(1)", "ftp://a.example/", "//a.example", "https://", "https://[::1"):
        assert post(server, bucket, {"success_action_redirect": target}).status == 204


@pytest.mark.parametrize(
    "key", ["a b", "é/\U0001f600", "a'b\"c<d>&e", "a+b%20c", "a//b/", ".hidden", "a\\b", "k" * 1024]
)
def test_any_key_is_stored_as_it_is(server: Server, bucket: str, key: str) -> None:
    reply = post(server, bucket, {"key": key, "success_action_status": "201"})
    assert reply.status == 201
    assert stored(server, bucket, quote(key, safe="")) == CONTENT


@pytest.mark.parametrize(
    ("key", "filename", "name"),
    [
        ("up/${filename}", "photo.jpg", "up/photo.jpg"),
        ("${filename}/${filename}", "a", "a/a"),
        ("up/${filename}", "C:\\Users\\me\\photo.jpg", "up/photo.jpg"),
        ("up/${filename}", "/home/me/photo.jpg", "up/photo.jpg"),
        ("up/${filename}", "${filename}", "up/${filename}"),
        ("up/${filename}", "ü.txt", "up/ü.txt"),
    ],
)
def test_the_file_name_stands_in_for_its_variable(
    server: Server, bucket: str, key: str, filename: str, name: str
) -> None:
    conditions = [{"bucket": bucket}, ["starts-with", "$key", ""]]
    assert post(server, bucket, {"key": key}, conditions=conditions, filename=filename).status == 204
    assert stored(server, bucket, quote(name, safe="")) == CONTENT


def test_the_file_name_is_held_against_the_policy(server: Server, bucket: str) -> None:
    conditions = [{"bucket": bucket}, ["starts-with", "$key", "up/a"]]
    fields = {"key": "up/${filename}"}
    assert post(server, bucket, fields, conditions=conditions, filename="abc").status == 204
    denied(post(server, bucket, fields, conditions=conditions, filename="bbc"), text="Policy Condition failed")
    assert stored(server, bucket, "up/bbc") is None


# --- what an object gets from its fields


def test_headers_metadata_and_storage_class(server: Server, bucket: str) -> None:
    fields = {
        "Content-Type": "text/plain",
        "Cache-Control": "no-cache",
        "Content-Disposition": "attachment",
        "Content-Encoding": "identity",
        "Content-Language": "de",
        "Expires": "Thu, 01 Jan 2037 00:00:00 GMT",
        "x-amz-meta-Colour": "blue",
        "x-amz-storage-class": "STANDARD_IA",
        "acl": "private",
    }
    assert post(server, bucket, fields).status == 204
    headers = server.send("HEAD", f"/{bucket}/object").headers
    for name in (
        "Content-Type",
        "Cache-Control",
        "Content-Disposition",
        "Content-Encoding",
        "Content-Language",
        "Expires",
    ):
        assert headers[name.lower()] == fields[name]
    assert headers["x-amz-meta-colour"] == "blue"
    assert headers["x-amz-storage-class"] == "STANDARD_IA"


def test_tags(server: Server, bucket: str) -> None:
    def tagged(*pairs: tuple[str, str]) -> dict[str, str]:
        tags = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in pairs)
        return {"tagging": f"<Tagging><TagSet>{tags}</TagSet></Tagging>"}

    assert post(server, bucket, tagged(("a b", "c=d/e@f+g"), ("ü", ""))).status == 204
    reply = server.send("GET", f"/{bucket}/object?tagging")
    assert b"<Key>a b</Key><Value>c=d/e@f+g</Value>" in reply.body
    assert "<Key>ü</Key>".encode() in reply.body
    for bad in ("not xml", "<Tagging", "<!DOCTYPE a><Tagging><TagSet/></Tagging>"):
        denied(post(server, bucket, {"key": "bad", "tagging": bad}), "MalformedXML", 400)
    assert post(server, bucket, {"key": "bad", **tagged(("a", "1"), ("a", "2"))}).status == 400
    assert stored(server, bucket, "bad") is None


@pytest.mark.parametrize("value", ["public-read", "public-read-write", "authenticated-read", "nonsense"])
def test_a_form_gives_nobody_access(server: Server, bucket: str, value: str) -> None:
    for name in ("acl", "x-amz-acl"):
        reply = post(server, bucket, {name: value})
        assert reply.status == 400
    assert post(server, bucket, {"x-amz-grant-read": "id=1"}).status == 501
    assert stored(server, bucket) is None


def test_checksums(server: Server, bucket: str) -> None:
    crc32 = base64.b64encode(zlib.crc32(CONTENT).to_bytes(4, "big")).decode()
    sha256 = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    md5 = base64.b64encode(binascii.unhexlify(MD5)).decode()
    for fields in ({"x-amz-checksum-crc32": crc32}, {"x-amz-checksum-sha256": sha256}, {"Content-MD5": md5}):
        assert post(server, bucket, fields).status == 204
    for fields in (
        {"x-amz-checksum-crc32": "AAAAAA=="},
        {"x-amz-checksum-sha256": base64.b64encode(bytes(32)).decode()},
        {"Content-MD5": base64.b64encode(bytes(16)).decode()},
    ):
        denied(post(server, bucket, {"key": "bad", **fields}), "BadDigest", 400)
    denied(post(server, bucket, {"key": "bad", "Content-MD5": "x"}), "InvalidDigest", 400)
    assert stored(server, bucket, "bad") is None


# --- encryption


def test_sse_c_by_form(server: Server, bucket: str) -> None:
    key = customer_key_headers(b"k" * 32)
    reply = post(server, bucket, key)
    assert reply.status == 204
    assert reply.headers["x-amz-server-side-encryption-customer-algorithm"] == "AES256"
    assert "x-amz-server-side-encryption" not in reply.headers
    assert stored(server, bucket) is None
    assert server.send("GET", f"/{bucket}/object", headers=key).body == CONTENT


def test_b11_an_encryption_field_without_a_condition_is_refused__rustfs_ghsa_w5fh(server: Server, bucket: str) -> None:
    key = customer_key_headers(b"k" * 32)
    denied(post(server, bucket, {}, unsigned=key), text="Extra input fields")
    for name, value in key.items():
        denied(post(server, bucket, {}, unsigned={name: value}), text="Extra input fields")
    denied(post(server, bucket, {}, unsigned={"x-amz-server-side-encryption": "AES256"}), text="Extra input fields")
    assert stored(server, bucket) is None


def test_b11_a_policy_can_demand_an_encryption(server: Server, bucket: str) -> None:
    wanted = [{"x-amz-server-side-encryption": "AES256"}]
    denied(post(server, bucket, {}, more=wanted), text="Policy Condition failed")
    assert post(server, bucket, {"x-amz-server-side-encryption": "AES256"}).status == 204


def test_no_answer_repeats_a_customer_key(server: Server, bucket: str) -> None:
    key = customer_key_headers(b"canary-canary-canary-canary-cana")
    secret = key["x-amz-server-side-encryption-customer-key"]
    other = {"x-amz-server-side-encryption-customer-key": "expected"}
    replies = [
        post(server, bucket, {}, unsigned=key),
        post(server, bucket, {}, conditions=[{"bucket": bucket}, {"key": "object"}, other], unsigned=key),
        post(server, bucket, key, secret="wrong"),
        post(server, bucket, {**key, "x-amz-server-side-encryption": "AES256"}),
        post(server, bucket, {**key, "x-amz-server-side-encryption-customer-key-md5": "wrong"}),
    ]
    for reply in replies:
        assert reply.status in (400, 403)
        assert secret.encode() not in reply.body


# --- the policy


def test_b11_a_policy_that_is_forged_expired_or_early_is_refused(server: Server, bucket: str) -> None:
    now = datetime.now(UTC)
    denied(post(server, bucket, {}, secret="wrong"), "SignatureDoesNotMatch")
    denied(post(server, bucket, {}, expires_in=timedelta(seconds=-1)), text="Policy expired")
    week_ago = now - timedelta(days=7, seconds=5)
    denied(post(server, bucket, {}, now=week_ago, expires_in=timedelta(days=30)), text="Policy expired")
    denied(post(server, bucket, {}, now=now + timedelta(minutes=16)), text="not yet valid")
    assert stored(server, bucket) is None


def test_b11_a_policy_is_what_was_signed(server: Server, bucket: str) -> None:
    conditions: list[Any] = [{"bucket": bucket}, {"key": "object"}]
    fields = {"key": "object", **policy_fields(server, conditions)}
    document = json.loads(base64.b64decode(fields["policy"]))
    document["conditions"].append(["starts-with", "$x-amz-meta-a", ""])
    fields["policy"] = base64.b64encode(json.dumps(document).encode()).decode()
    denied(form({**fields, "x-amz-meta-a": "b"}, CONTENT).post(server, f"/{bucket}"), "SignatureDoesNotMatch")
    assert stored(server, bucket) is None


@pytest.mark.parametrize(
    "damage", ["policy", "x-amz-signature", "x-amz-credential", "x-amz-algorithm", "x-amz-date", "key"]
)
def test_a_form_without_one_of_its_fields_is_refused(server: Server, bucket: str, damage: str) -> None:
    fields = {"key": "object", **policy_fields(server, [{"bucket": bucket}, {"key": "object"}])}
    del fields[damage]
    reply = form(fields, CONTENT).post(server, f"/{bucket}")
    denied(reply, "InvalidArgument", 400)
    assert reply.element("ArgumentName").lower() == damage
    assert stored(server, bucket) is None


def test_b11_the_bucket_is_the_urls__ceph_cve_2023_43040(server: Server, bucket: str) -> None:
    other = unique_bucket()
    server.send("PUT", f"/{other}")
    allowed_there = [{"bucket": other}, {"key": "object"}]
    denied(post(server, bucket, {}, conditions=allowed_there), text="Policy Condition failed")
    denied(
        post(server, bucket, {}, conditions=allowed_there, unsigned={"bucket": other}), text="Policy Condition failed"
    )
    denied(post(server, bucket, {}, conditions=[{"key": "object"}]), text="Extra input fields: bucket")
    denied(post(server, bucket, {}, conditions=[{"key": "object"}], unsigned={"bucket": other}))
    # A field of that name under a policy for the URL's bucket changes nothing either.
    reply = post(server, bucket, {}, conditions=[{"bucket": bucket}, {"key": "object"}], unsigned={"bucket": other})
    assert reply.status in (204, 403)
    assert stored(server, other) is None


def test_b11_every_field_needs_its_condition(server: Server, bucket: str) -> None:
    for name in (
        "x-amz-meta-a",
        "Content-Type",
        "acl",
        "success_action_redirect",
        "tagging",
        "anything",
        "x-amz-copy-source",
    ):
        reply = post(server, bucket, {}, unsigned={name: "value"})
        denied(reply, text="Extra input fields")
        assert name.lower() in reply.element("Message").lower()
    assert stored(server, bucket) is None
    assert post(server, bucket, {}, unsigned={"x-ignore-anything": "value"}).status == 204


def test_b11_a_repeated_field_is_no_way_around_a_condition(server: Server, bucket: str) -> None:
    signed = policy_fields(server, [{"bucket": bucket}, {"key": "object"}])
    for pairs in (
        [("key", "object"), ("key", "other"), *signed.items()],
        [("key", "other"), ("key", "object"), *signed.items()],
        [("key", "object"), ("KEY", "other"), *signed.items()],
    ):
        denied(form(pairs, CONTENT).post(server, f"/{bucket}"), text="Policy Condition failed")
    assert server.send("GET", f"/{bucket}?list-type=2").element("KeyCount") == "0"


def test_b11_a_copy_by_form_copies_nothing(server: Server, bucket: str) -> None:
    server.send("PUT", f"/{bucket}/secret", body=b"secret")
    reply = post(server, bucket, {"x-amz-copy-source": f"/{bucket}/secret"})
    assert reply.status in (204, 400, 403, 501)
    assert stored(server, bucket) in (None, CONTENT)


@pytest.mark.parametrize(
    ("size", "bounds", "code"),
    [
        (8, (8, 8), ""),
        (0, (0, 0), ""),
        (7, (8, 9), "EntityTooSmall"),
        (10, (8, 9), "EntityTooLarge"),
        (3_000_000, (0, 2_999_999), "EntityTooLarge"),
        (3_000_000, (0, 3_000_000), ""),
        (3_000_000, (3_000_001, 4_000_000), "EntityTooSmall"),
    ],
)
def test_b11_the_size_is_that_of_the_bytes_that_came(
    server: Server, bucket: str, size: int, bounds: tuple[int, int], code: str
) -> None:
    file = bytes(range(256)) * (size // 256) + bytes(size % 256)
    reply = post(server, bucket, {}, file, more=[["content-length-range", *bounds]])
    if code:
        denied(reply, code, 400)
        assert stored(server, bucket) is None
    else:
        assert reply.status == 204
        assert stored(server, bucket) == file


def test_a_file_of_many_blocks(server: Server, bucket: str) -> None:
    file = hashlib.sha256(b"seed").digest() * 100_000  # 3.2 MB, with every byte in it, CR and LF among them
    assert post(server, bucket, {}, file).status == 204
    assert stored(server, bucket) == file


def test_a_file_that_looks_like_the_end_of_the_form(server: Server, bucket: str) -> None:
    for file in (b"------strongroom-test-boundar", b"\r\n------strongroom-test-boundar\r\n", b"\r\n--", b"\r\n", b"\n"):
        assert post(server, bucket, {}, file).status == 204
        assert stored(server, bucket) == file


# --- forms that are none


def test_a_form_without_a_file_is_refused(server: Server, bucket: str) -> None:
    reply = post(server, bucket, {}, None)
    denied(reply, "InvalidArgument", 400, text="exactly one file")
    assert stored(server, bucket) is None


def test_fields_behind_the_file_do_not_count(server: Server, bucket: str) -> None:
    assert post(server, bucket, {}, after=[("x-amz-meta-a", "b"), ("key", "other"), ("submit", "Send")]).status == 204
    assert "x-amz-meta-a" not in server.send("HEAD", f"/{bucket}/object").headers
    assert stored(server, bucket, "other") is None


def test_a_signature_behind_the_file_comes_too_late(server: Server, bucket: str) -> None:
    signed = policy_fields(server, [{"bucket": bucket}, {"key": "object"}])
    reply = form({"key": "object"}, CONTENT, after=list(signed.items())).post(server, f"/{bucket}")
    denied(reply)
    assert stored(server, bucket) is None


def test_two_files_are_refused(server: Server, bucket: str) -> None:
    reply = post(server, bucket, {}, after=[("file", "another")])
    denied(reply, "InvalidArgument", 400)
    assert stored(server, bucket) is None


def test_a_form_that_ends_early_stores_nothing(server: Server, bucket: str) -> None:
    signed = policy_fields(server, [{"bucket": bucket}, {"key": "object"}])
    whole = form({"key": "object", **signed}, CONTENT)
    for cut in (3, 4, 10, 40, len(whole.body) // 2, len(whole.body) - 10, len(whole.body)):
        body = whole.body[: len(whole.body) - cut]
        headers = {"content-type": whole.content_type}
        reply = server.send("POST", f"/{bucket}", headers=headers, body=body, sign=False)
        assert reply.status in (400, 403), cut
        assert stored(server, bucket) is None


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 300,
        'multipart/form-data; boundary="',
    ],
)
def test_a_form_without_a_usable_boundary_is_400(server: Server, bucket: str, content_type: str) -> None:
    reply = server.send("POST", f"/{bucket}", headers={"content-type": content_type}, body=b"--x", sign=False)
    denied(reply, "MalformedPOSTRequest", 400)


def test_more_fields_than_a_form_may_have_are_refused(server: Server, bucket: str) -> None:
    long = form({"key": "k" * 30_000}, CONTENT)
    many = form([(f"x-ignore-{number}", "") for number in range(500)], CONTENT)
    for each in (long, many):
        denied(each.post(server, f"/{bucket}"), "MaxPostPreDataLengthExceeded", 400)


def test_a_form_to_a_missing_bucket_is_told_after_its_signature(server: Server) -> None:
    missing = unique_bucket()
    denied(post(server, missing, {}), "NoSuchBucket", 404)
    denied(form({"key": "object"}, CONTENT).post(server, f"/{missing}"))


def test_a_form_goes_to_a_bucket_only(server: Server, bucket: str) -> None:
    upload = form({"key": "object", **policy_fields(server, [{"bucket": bucket}, {"key": "object"}])}, CONTENT)
    for path in (f"/{bucket}/object", "/", f"/{bucket}?uploads", f"/{bucket}?policy"):
        assert upload.post(server, path).status in (403, 405)
    assert upload.post(server, f"/{bucket}/").status == 204
