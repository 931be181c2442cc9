"""CopyObject: directives, copies onto itself, conditions, sources, checksums."""

import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.conformance.answers import EMPTY_MD5, PART, complete, md5_tag, members, read, refused, status, upload
from tests.harness import Server, customer_key, unique_bucket

CONTENT = {"ContentType": "text/plain", "CacheControl": "max-age=60", "ContentLanguage": "de"}
NOTHING_CHANGED = (
    "This copy request is illegal because it is trying to copy an object to itself without changing the object's"
    " metadata, storage class, website redirect location or encryption attributes."
)


@pytest.fixture
def source(s3: Any, bucket: str) -> dict[str, str]:
    """An object with everything, as the CopySource that names it."""
    s3.put_object(
        Bucket=bucket,
        Key="from",
        Body=b"hello",
        Metadata={"a": "1"},
        Tagging="t=1",
        ChecksumAlgorithm="CRC32",
        StorageClass="STANDARD_IA",
        **CONTENT,
    )
    return {"Bucket": bucket, "Key": "from"}


def copy(s3: Any, source: dict[str, str], key: str = "to", **more: Any) -> Any:
    return s3.copy_object(Bucket=source["Bucket"], Key=key, CopySource=source, **more)


def refused_copy(s3: Any, source: dict[str, str], key: str = "to", **more: Any) -> Any:
    return refused(s3.copy_object, Bucket=source["Bucket"], Key=key, CopySource=source, **more)


def test_copy_object__shape(s3: Any, source: dict[str, str]) -> None:
    answer = copy(s3, source)
    head = s3.head_object(Bucket=source["Bucket"], Key="to", ChecksumMode="ENABLED")
    assert status(answer) == 200
    assert members(answer) == {
        "CopyObjectResult": {
            "ETag": md5_tag(b"hello"),
            "LastModified": head["LastModified"],
            "ChecksumCRC32": head["ChecksumCRC32"],
            "ChecksumType": "FULL_OBJECT",
        },
        "ServerSideEncryption": "AES256",
    }
    assert read(s3, source["Bucket"], "to") == b"hello"


def test_copy_object__into_another_bucket(s3: Any, source: dict[str, str]) -> None:
    other = unique_bucket()
    s3.create_bucket(Bucket=other)
    s3.copy_object(Bucket=other, Key="to", CopySource=source)
    s3.delete_object(**source)
    assert read(s3, other, "to") == b"hello"


def test_copy_object__of_an_empty_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="from")
    assert copy(s3, {"Bucket": bucket, "Key": "from"})["CopyObjectResult"]["ETag"] == EMPTY_MD5


# --- directives


def test_metadata_directive__copy_is_the_default_and_ignores_what_is_given(s3: Any, source: dict[str, str]) -> None:
    for more in ({}, {"MetadataDirective": "COPY"}):
        copy(s3, source, Metadata={"b": "2"}, ContentType="x/y", **more)
        head = s3.head_object(Bucket=source["Bucket"], Key="to")
        assert head["Metadata"] == {"a": "1"}
        assert {name: head[name] for name in CONTENT} == CONTENT


def test_metadata_directive__replace_takes_everything_anew(s3: Any, source: dict[str, str]) -> None:
    copy(s3, source, MetadataDirective="REPLACE", Metadata={"b": "2"}, ContentType="x/y")
    head = s3.head_object(Bucket=source["Bucket"], Key="to")
    assert (head["Metadata"], head["ContentType"]) == ({"b": "2"}, "x/y")
    assert "CacheControl" not in head
    copy(s3, source, MetadataDirective="REPLACE")
    head = s3.head_object(Bucket=source["Bucket"], Key="to")
    assert (head["Metadata"], head["ContentType"]) == ({}, "binary/octet-stream")


def test_tagging_directive__copy_is_the_default(s3: Any, source: dict[str, str]) -> None:
    copy(s3, source, MetadataDirective="REPLACE")
    tags = s3.get_object_tagging(Bucket=source["Bucket"], Key="to")["TagSet"]
    assert tags == [{"Key": "t", "Value": "1"}]


def test_tagging_directive__replace(s3: Any, source: dict[str, str]) -> None:
    copy(s3, source, TaggingDirective="REPLACE", Tagging="u=2")
    assert s3.get_object_tagging(Bucket=source["Bucket"], Key="to")["TagSet"] == [{"Key": "u", "Value": "2"}]
    copy(s3, source, TaggingDirective="REPLACE")
    assert s3.get_object_tagging(Bucket=source["Bucket"], Key="to")["TagSet"] == []
    assert s3.head_object(Bucket=source["Bucket"], Key="to")["Metadata"] == {"a": "1"}


@pytest.mark.parametrize("directive", ["MetadataDirective", "TaggingDirective"])
def test_directive__unknown_is_400(s3: Any, source: dict[str, str], directive: str) -> None:
    answer = refused_copy(s3, source, **{directive: "replace"})
    assert (answer.what, answer.detail["ArgumentValue"]) == ((400, "InvalidArgument"), "replace")


def test_storage_class__is_the_request_s_never_the_source_s(s3: Any, source: dict[str, str]) -> None:
    copy(s3, source)
    assert "StorageClass" not in s3.head_object(Bucket=source["Bucket"], Key="to")
    copy(s3, source, StorageClass="GLACIER_IR")
    assert s3.head_object(Bucket=source["Bucket"], Key="to")["StorageClass"] == "GLACIER_IR"


# --- onto itself


def test_onto_itself__nothing_changed_is_400(s3: Any, source: dict[str, str]) -> None:
    for more in ({}, {"Metadata": {"b": "2"}}, {"TaggingDirective": "REPLACE", "Tagging": "u=2"}):
        answer = refused_copy(s3, source, "from", **more)
        assert (answer.what, answer.message) == ((400, "InvalidRequest"), NOTHING_CHANGED)


@pytest.mark.parametrize(
    "more",
    [
        {"MetadataDirective": "REPLACE", "Metadata": {"b": "2"}},
        {"StorageClass": "STANDARD"},
        {"StorageClass": "STANDARD_IA"},
        {"ServerSideEncryption": "AES256"},
    ],
)
def test_onto_itself__what_is_named_counts_even_if_it_is_the_same(
    s3: Any, source: dict[str, str], more: dict[str, Any]
) -> None:
    assert status(copy(s3, source, "from", **more)) == 200
    assert read(s3, source["Bucket"], "from") == b"hello"


def test_onto_itself__bucket_rule_that_was_put_allows_it(s3: Any, source: dict[str, str]) -> None:
    default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(Bucket=source["Bucket"], ServerSideEncryptionConfiguration={"Rules": [default]})
    assert status(copy(s3, source, "from")) == 200
    s3.delete_bucket_encryption(Bucket=source["Bucket"])
    assert refused_copy(s3, source, "from").what == (400, "InvalidRequest")


def test_onto_itself__sse_c_source_becomes_sse_s3(s3_tls: Any, bucket: str) -> None:
    raw = secrets.token_bytes(32)
    s3_tls.put_object(Bucket=bucket, Key="from", Body=b"hello", **customer_key(raw))
    here = {"Bucket": bucket, "Key": "from"}
    assert copy(s3_tls, here, "from", **customer_key(raw, source=True))["ServerSideEncryption"] == "AES256"
    assert s3_tls.head_object(**here)["ETag"] == md5_tag(b"hello")


def test_onto_itself__an_older_version_becomes_the_newest(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(Bucket=bucket, Key="from", Body=b"old")["VersionId"]
    s3.put_object(Bucket=bucket, Key="from", Body=b"new")
    answer = copy(s3, {"Bucket": bucket, "Key": "from", "VersionId": old}, "from")
    assert answer["CopySourceVersionId"] == old
    assert answer["VersionId"] not in (old, "null")
    assert read(s3, bucket, "from") == b"old"


# --- conditions on the source

TAG, OTHER = md5_tag(b"hello"), md5_tag(b"other")


@pytest.mark.parametrize(
    ("given", "failed"),
    [
        ({"IfMatch": TAG}, None),
        ({"IfMatch": OTHER}, "If-Match"),
        ({"IfNoneMatch": OTHER}, None),
        ({"IfNoneMatch": TAG}, "If-None-Match"),
        ({"IfModifiedSince": -60}, None),
        ({"IfModifiedSince": 0}, "If-Modified-Since"),
        ({"IfUnmodifiedSince": 0}, None),
        ({"IfUnmodifiedSince": -60}, "If-Unmodified-Since"),
        ({"IfMatch": TAG, "IfUnmodifiedSince": -60}, None),
        ({"IfNoneMatch": TAG, "IfModifiedSince": -60}, "If-None-Match"),
    ],
)
def test_source_conditions(s3: Any, source: dict[str, str], given: dict[str, Any], failed: str | None) -> None:
    """A number is seconds after the source's time."""
    modified = s3.head_object(**source)["LastModified"]
    conditions = {
        f"CopySource{name}": value if isinstance(value, str) else modified + timedelta(seconds=value)
        for name, value in given.items()
    }
    if failed is None:
        assert status(copy(s3, source, **conditions)) == 200
        return
    answer = refused_copy(s3, source, **conditions)
    assert (answer.what, answer.detail["Condition"]) == ((412, "PreconditionFailed"), f"x-amz-copy-source-{failed}")
    assert refused(s3.head_object, Bucket=source["Bucket"], Key="to").status == 404


# --- conditions on the target


def test_target__if_none_match_star_on_existing_key_is_412(s3: Any, source: dict[str, str]) -> None:
    assert status(copy(s3, source, IfNoneMatch="*")) == 200
    answer = refused_copy(s3, source, IfNoneMatch="*")
    assert (answer.what, answer.detail["Condition"]) == ((412, "PreconditionFailed"), "If-None-Match")


def test_target__if_match(s3: Any, source: dict[str, str]) -> None:
    assert refused_copy(s3, source, IfMatch=TAG).what == (404, "NoSuchKey")
    tag = s3.put_object(Bucket=source["Bucket"], Key="to", Body=b"there")["ETag"]
    assert refused_copy(s3, source, IfMatch=TAG).what == (412, "PreconditionFailed")
    assert read(s3, source["Bucket"], "to") == b"there"
    assert status(copy(s3, source, IfMatch=tag)) == 200


# --- sources


def test_source__missing_key_is_404(s3: Any, bucket: str) -> None:
    answer = refused_copy(s3, {"Bucket": bucket, "Key": "missing"})
    assert (answer.what, answer.detail["Key"]) == ((404, "NoSuchKey"), "missing")


def test_source__missing_bucket_is_404(s3: Any, bucket: str) -> None:
    answer = refused(s3.copy_object, Bucket=bucket, Key="to", CopySource="no-such-bucket-at-all/k")
    assert (answer.what, answer.detail["BucketName"]) == ((404, "NoSuchBucket"), "no-such-bucket-at-all")


def test_source__version(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(Bucket=bucket, Key="from", Body=b"old")["VersionId"]
    new = s3.put_object(Bucket=bucket, Key="from", Body=b"new")["VersionId"]
    assert copy(s3, {"Bucket": bucket, "Key": "from"})["CopySourceVersionId"] == new
    assert copy(s3, {"Bucket": bucket, "Key": "from", "VersionId": old})["CopySourceVersionId"] == old
    assert read(s3, bucket, "to") == b"old"
    s3.delete_object(Bucket=bucket, Key="from", VersionId=old)
    gone = refused_copy(s3, {"Bucket": bucket, "Key": "from", "VersionId": old})
    assert gone.what == (404, "NoSuchVersion")


def test_source__delete_marker_is_404_and_by_its_id_400(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="from")
    marker = s3.delete_object(Bucket=bucket, Key="from")["VersionId"]
    assert refused_copy(s3, {"Bucket": bucket, "Key": "from"}).what == (404, "NoSuchKey")
    answer = refused_copy(s3, {"Bucket": bucket, "Key": "from", "VersionId": marker})
    assert answer.what == (400, "InvalidRequest")
    assert answer.message == "The source of a copy request may not specifically refer to a delete marker by version id."


@pytest.mark.parametrize("key", ["a b+c", "ü☃", "a%20b", "a//b", "q?versionId=x", "/lead"])
def test_source__odd_keys(server: Server, s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for header in (f"{bucket}/{quote(key)}", f"/{bucket}/{quote(key, safe='')}"):
        assert server.send("PUT", f"/{bucket}/to", headers={"x-amz-copy-source": header}).status == 200
        assert read(s3, bucket, "to") == key.encode()


@pytest.mark.parametrize(
    "header", ["", "nobucket", "/", "B/k", "bucket/", "bucket/%FF", "bucket/%zz", "bucket/../../x"]
)
def test_source__malformed_is_400(server: Server, s3: Any, bucket: str, header: str) -> None:
    reply = server.send("PUT", f"/{bucket}/to", headers={"x-amz-copy-source": header})
    assert (reply.status, reply.code) == (400, "InvalidArgument")
    assert refused(s3.head_object, Bucket=bucket, Key="to").status == 404


def test_source__access_point_is_501(server: Server, bucket: str) -> None:
    arn = "arn:aws:s3:us-east-1:000000000000:accesspoint/x/object/k"
    reply = server.send("PUT", f"/{bucket}/to", headers={"x-amz-copy-source": arn})
    assert (reply.status, reply.code) == (501, "NotImplemented")


def test_source__expected_owner_is_enforced(s3: Any, source: dict[str, str]) -> None:
    assert status(copy(s3, source, ExpectedSourceBucketOwner="000000000000")) == 200
    assert refused_copy(s3, source, ExpectedSourceBucketOwner="111122223333").what == (403, "AccessDenied")
    assert refused_copy(s3, source, ExpectedSourceBucketOwner="me").what == (400, "InvalidBucketOwnerAWSAccountID")


def test_source__multipart_becomes_a_single_object_with_the_md5_of_all(s3: Any, bucket: str) -> None:
    bodies = {1: b"a" * PART, 2: b"b"}
    upload_id, parts = upload(s3, bucket, "from", bodies)
    complete(s3, bucket, "from", upload_id, parts)
    answer = copy(s3, {"Bucket": bucket, "Key": "from"})
    assert answer["CopyObjectResult"]["ETag"] == md5_tag(b"".join(bodies.values()))
    attributes = s3.get_object_attributes(Bucket=bucket, Key="to", ObjectAttributes=["ObjectParts"])
    assert "ObjectParts" not in attributes


# --- checksums


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksum__algorithm_is_kept(s3: Any, bucket: str, algorithm: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="from", Body=b"hello", ChecksumAlgorithm=algorithm)
    result = copy(s3, {"Bucket": bucket, "Key": "from"})["CopyObjectResult"]
    assert result[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
    assert result["ChecksumType"] == "FULL_OBJECT"


def test_checksum__algorithm_may_be_changed(s3: Any, source: dict[str, str]) -> None:
    result = copy(s3, source, ChecksumAlgorithm="SHA256")["CopyObjectResult"]
    assert result["ChecksumSHA256"] == "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
    assert "ChecksumCRC32" not in result
    assert "ChecksumSHA256" in s3.head_object(Bucket=source["Bucket"], Key="to", ChecksumMode="ENABLED")


def test_checksum__unknown_algorithm_is_400(s3: Any, source: dict[str, str]) -> None:
    answer = refused_copy(s3, source, ChecksumAlgorithm="ADLER32")
    assert answer.what == (400, "InvalidRequest")
    assert answer.message.startswith("Checksum algorithm provided is unsupported.")


# --- encryption


def test_encryption__sse_s3_to_sse_c_and_back(s3_tls: Any, source: dict[str, str]) -> None:
    first, second = secrets.token_bytes(32), secrets.token_bytes(32)
    bucket = source["Bucket"]
    to_sse_c = copy(s3_tls, source, "c1", **customer_key(first))
    assert to_sse_c["SSECustomerAlgorithm"] == "AES256"
    assert "ServerSideEncryption" not in to_sse_c
    assert to_sse_c["CopyObjectResult"]["ETag"] != md5_tag(b"hello")
    copy(s3_tls, {"Bucket": bucket, "Key": "c1"}, "c2", **customer_key(first, source=True), **customer_key(second))
    assert read(s3_tls, bucket, "c2", **customer_key(second)) == b"hello"
    back = copy(s3_tls, {"Bucket": bucket, "Key": "c2"}, "s3", **customer_key(second, source=True))
    assert back["ServerSideEncryption"] == "AES256"
    assert back["CopyObjectResult"]["ETag"] == md5_tag(b"hello")


def test_encryption__sse_c_source_without_its_key_is_400(s3_tls: Any, bucket: str) -> None:
    s3_tls.put_object(Bucket=bucket, Key="from", Body=b"hello", **customer_key(b"k" * 32))
    here = {"Bucket": bucket, "Key": "from"}
    assert refused_copy(s3_tls, here).what == (400, "InvalidRequest")
    assert refused_copy(s3_tls, here, **customer_key(b"x" * 32, source=True)).what == (403, "AccessDenied")


@pytest.mark.parametrize(
    "more",
    [{"WebsiteRedirectLocation": "/x"}, {"ObjectLockMode": "GOVERNANCE"}, {"GrantRead": "id=1"}],
    ids=lambda more: next(iter(more)),
)
def test_copy_object__what_is_not_honoured_is_501_and_writes_nothing(
    s3: Any, source: dict[str, str], more: dict[str, str]
) -> None:
    assert refused_copy(s3, source, **more).what == (501, "NotImplemented")
    assert refused(s3.head_object, Bucket=source["Bucket"], Key="to").status == 404
