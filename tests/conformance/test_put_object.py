"""PutObject: what it answers, keeps and refuses."""

import hashlib
from typing import Any

import pytest

from tests.conformance.answers import EMPTY_MD5, md5_tag, members, read, refused, status
from tests.harness import Server

CONTENT = {
    "CacheControl": "max-age=60",
    "ContentDisposition": 'attachment; filename="a b.txt"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de-CH",
    "ContentType": "text/plain; charset=utf-8",
}


def test_put_object__shape(server: Server, bucket: str) -> None:
    s3 = server.s3(request_checksum_calculation="when_required")
    answer = s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    assert status(answer) == 200
    assert members(answer) == {
        "ETag": md5_tag(b"hello"),
        "ChecksumCRC64NVME": "M3eFcAZSQlc=",
        "ChecksumType": "FULL_OBJECT",
        "ServerSideEncryption": "AES256",
    }
    assert server.send("GET", f"/{bucket}/k").body == b"hello"


def test_put_object__empty_body(s3: Any, bucket: str) -> None:
    assert s3.put_object(Bucket=bucket, Key="k")["ETag"] == EMPTY_MD5
    answer = s3.get_object(Bucket=bucket, Key="k")
    assert (answer["ContentLength"], answer["Body"].read()) == (0, b"")


def test_put_object__overwrites(s3: Any, bucket: str) -> None:
    for body in (b"one", b"two and more", b""):
        s3.put_object(Bucket=bucket, Key="k", Body=body)
        assert read(s3, bucket, "k") == body


@pytest.mark.parametrize(
    "key",
    ["a/", "a//b", " lead", "trail ", "a b+c%20d", "ü☃😀", "x" * 1024, "!-_.*'()", "&$@=;:,?", "%2F", '\\{}^`[]"<>~#|'],
)
def test_put_object__key_is_kept_byte_for_byte(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert read(s3, bucket, key) == b"x"
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    assert status(s3.delete_object(Bucket=bucket, Key=key)) == 204
    assert refused(s3.head_object, Bucket=bucket, Key=key).status == 404


def test_put_object__key_of_1025_bytes_is_400(s3: Any, bucket: str) -> None:
    answer = refused(s3.put_object, Bucket=bucket, Key="é" * 512 + "x")
    assert answer.what == (400, "KeyTooLongError")
    assert (answer.detail["Size"], answer.detail["MaxSizeAllowed"]) == ("1025", "1024")


# --- content headers, user metadata, storage class


def test_put_object__content_headers_come_back(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **CONTENT)
    for answer in (s3.head_object(Bucket=bucket, Key="k"), s3.get_object(Bucket=bucket, Key="k")):
        assert {name: answer[name] for name in CONTENT} == CONTENT


def test_put_object__expires_comes_back_as_sent(server: Server, bucket: str) -> None:
    for text in ("Thu, 01 Dec 1994 16:00:00 GMT", "some day"):
        server.send("PUT", f"/{bucket}/k", headers={"expires": text})
        assert server.send("HEAD", f"/{bucket}/k").headers["expires"] == text


def test_put_object__default_content_type(server: Server, bucket: str) -> None:
    server.send("PUT", f"/{bucket}/k", body=b"x")
    assert server.send("HEAD", f"/{bucket}/k").headers["content-type"] == "binary/octet-stream"


def test_put_object__aws_chunked_is_how_it_travels_and_not_stored(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentEncoding="aws-chunked")
    assert "ContentEncoding" not in s3.head_object(Bucket=bucket, Key="k")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentEncoding="gzip,aws-chunked")
    assert s3.head_object(Bucket=bucket, Key="k")["ContentEncoding"] == "gzip"


def test_put_object__user_metadata_comes_back_with_lower_case_names(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Metadata={"Mixed-Case": "Value  inside", "empty": "", "a.b_c": "1,2"})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {
        "mixed-case": "Value  inside",
        "empty": "",
        "a.b_c": "1,2",
    }


def test_put_object__overwrite_replaces_all_metadata(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Metadata={"a": "1"}, **CONTENT)
    s3.put_object(Bucket=bucket, Key="k", Metadata={"b": "2"})
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["Metadata"] == {"b": "2"}
    assert "CacheControl" not in head


def test_put_object__metadata_beyond_ascii_comes_back_as_rfc_2047(server: Server, bucket: str) -> None:
    wire = "Zürich ☃".encode().decode("latin-1")
    server.send("PUT", f"/{bucket}/k", headers={"x-amz-meta-city": wire})
    assert server.send("HEAD", f"/{bucket}/k").headers["x-amz-meta-city"] == "=?UTF-8?B?WsO8cmljaCDimIM=?="


def test_put_object__metadata_of_2_kib_is_accepted_and_one_byte_more_is_400(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Metadata={"name": "v" * 2044})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"]["name"] == "v" * 2044
    answer = refused(s3.put_object, Bucket=bucket, Key="k2", Metadata={"name": "v" * 2045})
    assert answer.what == (400, "MetadataTooLarge")
    assert (answer.detail["Size"], answer.detail["MaxSizeAllowed"]) == ("2049", "2048")
    assert refused(s3.head_object, Bucket=bucket, Key="k2").status == 404


@pytest.mark.parametrize(
    "storage_class",
    ["REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"],
)
def test_put_object__storage_class_is_echoed_everywhere(s3: Any, bucket: str, storage_class: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", StorageClass=storage_class)
    assert s3.head_object(Bucket=bucket, Key="k")["StorageClass"] == storage_class
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["StorageClass"] == storage_class
    attributes = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["StorageClass"])
    assert attributes["StorageClass"] == storage_class


def test_put_object__standard_is_not_told_by_reads(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", StorageClass="STANDARD")
    assert "StorageClass" not in s3.head_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize("storage_class", ["standard", "NONE", "OUTPOSTS"])
def test_put_object__unknown_storage_class_is_400(s3: Any, bucket: str, storage_class: str) -> None:
    answer = refused(s3.put_object, Bucket=bucket, Key="k", StorageClass=storage_class)
    assert answer.what == (400, "InvalidStorageClass")


# --- conditions


def test_put_object__if_none_match_star_on_a_new_key_is_200(s3: Any, bucket: str) -> None:
    assert status(s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")) == 200


def test_put_object__if_none_match_star_on_existing_key_is_412(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    answer = refused(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert answer.what == (412, "PreconditionFailed")
    assert answer.detail["Condition"] == "If-None-Match"
    assert read(s3, bucket, "k") == b"1"


def test_put_object__if_none_match_star_after_delete_is_200(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="k")
    s3.delete_object(Bucket=bucket, Key="k")
    assert status(s3.put_object(Bucket=bucket, Key="k", IfNoneMatch="*")) == 200


@pytest.mark.parametrize("quoted", [True, False])
def test_put_object__if_match_with_the_current_tag_is_200(s3: Any, bucket: str, quoted: bool) -> None:
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=tag if quoted else tag.strip('"'))
    assert read(s3, bucket, "k") == b"2"


def test_put_object__if_match_with_another_tag_is_412(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    answer = refused(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfMatch=md5_tag(b"other"))
    assert (answer.what, answer.detail["Condition"]) == ((412, "PreconditionFailed"), "If-Match")
    assert read(s3, bucket, "k") == b"1"


def test_put_object__if_match_on_a_missing_key_is_404(s3: Any, bucket: str) -> None:
    answer = refused(s3.put_object, Bucket=bucket, Key="k", IfMatch=EMPTY_MD5)
    assert (answer.what, answer.detail["Key"]) == ((404, "NoSuchKey"), "k")


def test_put_object__if_match_on_a_delete_marker_is_404(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    tag = s3.put_object(Bucket=bucket, Key="k")["ETag"]
    s3.delete_object(Bucket=bucket, Key="k")
    assert refused(s3.put_object, Bucket=bucket, Key="k", IfMatch=tag).what == (404, "NoSuchKey")


@pytest.mark.parametrize(
    ("conditions", "header"),
    [
        ({"IfMatch": "*"}, "If-Match"),
        ({"IfNoneMatch": EMPTY_MD5}, "If-None-Match"),
        ({"IfNoneMatch": "*", "IfMatch": EMPTY_MD5}, "If-Match,If-None-Match"),
    ],
)
def test_put_object__conditions_that_s3_has_not_are_501(
    s3: Any, bucket: str, conditions: dict[str, str], header: str
) -> None:
    answer = refused(s3.put_object, Bucket=bucket, Key="k", **conditions)
    assert (answer.what, answer.detail["Header"]) == ((501, "NotImplemented"), header)
    assert answer.detail["additionalMessage"]
    assert refused(s3.head_object, Bucket=bucket, Key="k").status == 404


# --- Content-MD5


def content_md5(body: bytes) -> str:
    import base64

    return base64.b64encode(hashlib.md5(body).digest()).decode()


def test_put_object__content_md5_that_matches_is_200(s3: Any, bucket: str) -> None:
    assert status(s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentMD5=content_md5(b"x"))) == 200


def test_put_object__content_md5_of_another_body_is_400_and_keeps_the_old_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    answer = refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5=content_md5(b"y"))
    assert answer.what == (400, "BadDigest")
    assert answer.message == "The Content-MD5 you specified did not match what we received."
    assert answer.detail["CalculatedDigest"] == content_md5(b"x")
    assert read(s3, bucket, "k") == b"old"


@pytest.mark.parametrize("text", ["", "000", "not base64", "MTIz", "__invalid__"])
def test_put_object__content_md5_that_is_none_is_400(s3: Any, bucket: str, text: str) -> None:
    answer = refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5=text)
    assert (answer.what, answer.message) == ((400, "InvalidDigest"), "The Content-MD5 you specified was invalid.")
    assert (answer.detail.get("Content-MD5") or "") == text


# --- what is refused


@pytest.mark.parametrize(
    "arguments",
    [
        {"ObjectLockMode": "GOVERNANCE"},
        {"ObjectLockLegalHoldStatus": "ON"},
        {"GrantRead": "id=1"},
        {"GrantFullControl": "id=1"},
        {"WebsiteRedirectLocation": "/x"},
        {"WriteOffsetBytes": 0},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_put_object__what_is_not_honoured_is_501_and_writes_nothing(
    s3: Any, bucket: str, arguments: dict[str, Any]
) -> None:
    answer = refused(s3.put_object, Bucket=bucket, Key="k", **arguments)
    assert answer.what == (501, "NotImplemented")
    assert answer.detail["Header"].startswith("x-amz-")
    assert refused(s3.head_object, Bucket=bucket, Key="k").status == 404


@pytest.mark.parametrize("acl", ["private", "bucket-owner-full-control"])
def test_put_object__acl_that_is_already_true_is_accepted(s3: Any, bucket: str, acl: str) -> None:
    assert status(s3.put_object(Bucket=bucket, Key="k", ACL=acl)) == 200


@pytest.mark.parametrize(
    ("acl", "code"),
    [
        ("public-read", "AccessControlListNotSupported"),
        ("authenticated-read", "AccessControlListNotSupported"),
        ("aws-exec-read", "AccessControlListNotSupported"),
        ("nonsense", "InvalidArgument"),
    ],
)
def test_put_object__other_acl_is_400(s3: Any, bucket: str, acl: str, code: str) -> None:
    assert refused(s3.put_object, Bucket=bucket, Key="k", ACL=acl).what == (400, code)


def test_put_object__request_payer_is_ignored(s3: Any, bucket: str) -> None:
    assert status(s3.put_object(Bucket=bucket, Key="k", RequestPayer="requester")) == 200


def test_put_object__declared_length_above_5_gib_is_400_before_the_body(server: Server, bucket: str) -> None:
    reply = server.send("PUT", f"/{bucket}/k", headers={"content-length": str(5 * 1024**3 + 1)})
    assert (reply.status, reply.code) == (400, "EntityTooLarge")
    assert reply.element("MaxSizeAllowed") == str(5 * 1024**3)


# --- every answer


def test_every_answer__carries_both_request_ids(server: Server, bucket: str) -> None:
    ok, missing = server.send("HEAD", f"/{bucket}"), server.send("GET", f"/{bucket}/missing")
    for reply in (ok, missing):
        assert len(reply.headers["x-amz-request-id"]) == 16
        assert reply.headers["x-amz-id-2"]
        assert reply.headers["date"].endswith(" GMT")
    assert missing.element("RequestId") == missing.headers["x-amz-request-id"]
    assert missing.element("HostId") == missing.headers["x-amz-id-2"]
    assert missing.headers["content-type"] == "application/xml"


# --- presigned


@pytest.mark.parametrize(("first", "second"), [(200, 412)])
def test_presigned_put__if_none_match_in_the_query_counts(server: Server, bucket: str, first: int, second: int) -> None:
    """Java's SDK presigns conditions as query parameters; whoever uses such a URL must not overwrite."""
    from tests.wire import presign

    target = presign(server, "PUT", f"/{bucket}/k", query="If-None-Match=%2A")
    assert server.send("PUT", target, body=b"1", sign=False).status == first
    assert server.send("PUT", target, body=b"2", sign=False).status == second
    assert server.send("GET", f"/{bucket}/k").body == b"1"
