"""Tags of buckets and of objects: PutBucketTagging, PutObjectTagging, the x-amz-tagging header."""

from typing import Any

import pytest

from tests.conformance.answers import refused, status
from tests.harness import Server

ONE = [{"Key": "team", "Value": "blue"}]


def tag_set(count: int) -> list[dict[str, str]]:
    return [{"Key": f"key-{number:02}", "Value": str(number)} for number in range(count)]


@pytest.fixture
def key(s3: Any, bucket: str) -> str:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    return "k"


# --- buckets


def test_put_bucket_tagging__is_204_and_read_back_in_order(s3: Any, bucket: str) -> None:
    tags = [{"Key": "b", "Value": "2"}, {"Key": "a", "Value": ""}, {"Key": "ü +:/=.-@_", "Value": "π"}]
    assert status(s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})) == 204
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags


def test_put_bucket_tagging__replaces_the_whole_set(s3: Any, bucket: str) -> None:
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tag_set(50)})
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": ONE})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == ONE


def test_get_bucket_tagging__none_is_404(s3: Any, bucket: str) -> None:
    answer = refused(s3.get_bucket_tagging, Bucket=bucket)
    assert answer.what == (404, "NoSuchTagSet")
    assert (answer.message, answer.detail["BucketName"]) == ("The TagSet does not exist", bucket)


def test_delete_bucket_tagging__is_204_and_idempotent(s3: Any, bucket: str) -> None:
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": ONE})
    for _ in range(2):
        assert status(s3.delete_bucket_tagging(Bucket=bucket)) == 204
    assert refused(s3.get_bucket_tagging, Bucket=bucket).what == (404, "NoSuchTagSet")


def test_put_bucket_tagging__51_are_too_many(s3: Any, bucket: str) -> None:
    answer = refused(s3.put_bucket_tagging, Bucket=bucket, Tagging={"TagSet": tag_set(51)})
    assert answer.what == (400, "BadRequest")
    assert answer.message == "Bucket tag count cannot be greater than 50"


# --- objects


def test_put_object_tagging__is_200_and_read_back(s3: Any, bucket: str, key: str) -> None:
    tags = tag_set(10)
    assert status(s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": tags})) == 200
    assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == tags
    assert s3.get_object(Bucket=bucket, Key=key)["TagCount"] == 10


def test_put_object_tagging__changes_nothing_else(s3: Any, bucket: str, key: str) -> None:
    before = s3.head_object(Bucket=bucket, Key=key)
    s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": ONE})
    after = s3.head_object(Bucket=bucket, Key=key)
    for member in ("ETag", "LastModified", "ContentLength", "ContentType", "Metadata"):
        assert after[member] == before[member]


def test_get_object_tagging__none_is_an_empty_set(s3: Any, bucket: str, key: str) -> None:
    assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == []
    assert "TagCount" not in s3.get_object(Bucket=bucket, Key=key)


def test_delete_object_tagging__is_204_and_idempotent(s3: Any, bucket: str, key: str) -> None:
    s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": ONE})
    for _ in range(2):
        assert status(s3.delete_object_tagging(Bucket=bucket, Key=key)) == 204
    assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == []


def test_put_object__overwrite_without_tags_has_none(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Tagging="a=1")
    s3.put_object(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []


def test_object_tagging__each_version_has_its_own(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="k", Tagging="v=1")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="k", Tagging="v=2")["VersionId"]
    s3.put_object_tagging(Bucket=bucket, Key="k", VersionId=first, Tagging={"TagSet": ONE})
    assert s3.get_object_tagging(Bucket=bucket, Key="k", VersionId=first)["TagSet"] == ONE
    assert s3.get_object_tagging(Bucket=bucket, Key="k", VersionId=second)["TagSet"] == [{"Key": "v", "Value": "2"}]
    s3.delete_object_tagging(Bucket=bucket, Key="k", VersionId=second)
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    assert s3.get_object_tagging(Bucket=bucket, Key="k", VersionId=first)["TagSet"] == ONE


@pytest.mark.parametrize("operation", ["get_object_tagging", "put_object_tagging", "delete_object_tagging"])
def test_object_tagging__missing_key_is_404(s3: Any, bucket: str, operation: str) -> None:
    more = {"Tagging": {"TagSet": ONE}} if operation.startswith("put") else {}
    assert refused(getattr(s3, operation), Bucket=bucket, Key="missing", **more).what == (404, "NoSuchKey")


@pytest.mark.parametrize("operation", ["get_object_tagging", "put_object_tagging", "delete_object_tagging"])
def test_object_tagging__delete_marker_has_none(s3: Any, bucket: str, operation: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="k")
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    more = {"Tagging": {"TagSet": ONE}} if operation.startswith("put") else {}
    call = getattr(s3, operation)
    assert refused(call, Bucket=bucket, Key="k", **more).status == 404
    assert refused(call, Bucket=bucket, Key="k", VersionId=marker, **more).what == (405, "MethodNotAllowed")


def test_put_object_tagging__11_are_too_many(s3: Any, bucket: str, key: str) -> None:
    answer = refused(s3.put_object_tagging, Bucket=bucket, Key=key, Tagging={"TagSet": tag_set(11)})
    assert (answer.what, answer.message) == ((400, "BadRequest"), "Object tags cannot be greater than 10")


# --- the same rules for both


BAD = {
    "duplicate": ([*ONE, *ONE], "Cannot provide multiple Tags with the same key"),
    "empty key": ([{"Key": "", "Value": "v"}], "The TagKey you have provided is invalid"),
    "long key": ([{"Key": "k" * 129, "Value": "v"}], "The TagKey you have provided is invalid"),
    "character in key": ([{"Key": "a&b", "Value": "v"}], "The TagKey you have provided is invalid"),
    "long value": ([{"Key": "k", "Value": "v" * 257}], "The TagValue you have provided is invalid"),
    "character in value": ([{"Key": "k", "Value": "a!b"}], "The TagValue you have provided is invalid"),
}


@pytest.mark.parametrize(("tags", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("level", ["bucket", "object"])
def test_put_tagging__bad_tag_is_400_and_changes_nothing(
    server: Server, bucket: str, key: str, level: str, tags: list[dict[str, str]], message: str
) -> None:
    s3 = server.s3(parameter_validation=False)
    put, get, where = (
        (s3.put_bucket_tagging, s3.get_bucket_tagging, {"Bucket": bucket})
        if level == "bucket"
        else (s3.put_object_tagging, s3.get_object_tagging, {"Bucket": bucket, "Key": key})
    )
    put(Tagging={"TagSet": [{"Key": "before", "Value": "1"}]}, **where)
    answer = refused(put, Tagging={"TagSet": tags}, **where)
    assert (answer.what, answer.message) == ((400, "InvalidTag"), message)
    assert get(**where)["TagSet"] == [{"Key": "before", "Value": "1"}]


def test_put_tagging__aws_prefix_is_400(s3: Any, bucket: str, key: str) -> None:
    tags = {"TagSet": [{"Key": "aws:x", "Value": "1"}]}
    on_bucket = refused(s3.put_bucket_tagging, Bucket=bucket, Tagging=tags)
    on_object = refused(s3.put_object_tagging, Bucket=bucket, Key=key, Tagging=tags)
    assert on_bucket.what == on_object.what == (400, "InvalidTag")
    assert on_bucket.message == "System tags cannot be added/updated by requester"
    assert on_object.message == "Your TagKey cannot be prefixed with aws:"


@pytest.mark.parametrize("body", [b"", b"<Tagging>", b"not xml", b"<Tagging><TagSet><Tag/></TagSet></Tagging>"])
def test_put_tagging__malformed_document_is_400(server: Server, s3: Any, bucket: str, key: str, body: bytes) -> None:
    for path in (f"/{bucket}?tagging", f"/{bucket}/{key}?tagging"):
        reply = server.send("PUT", path, body=body)
        assert reply.status == 400
        assert reply.code in ("MalformedXML", "MissingRequestBodyError")
    assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == []


# --- x-amz-tagging


@pytest.mark.parametrize("operation", ["put_object", "create_multipart_upload", "copy_object"])
def test_tagging_header__sets_tags(s3: Any, bucket: str, key: str, operation: str) -> None:
    header = "a=1&b=&c%2Fd=e+f%3D&%C3%BC=%CF%80"
    match operation:
        case "put_object":
            s3.put_object(Bucket=bucket, Key="t", Tagging=header)
        case "copy_object":
            source = {"Bucket": bucket, "Key": key}
            s3.copy_object(Bucket=bucket, Key="t", CopySource=source, Tagging=header, TaggingDirective="REPLACE")
        case _:
            upload_id = s3.create_multipart_upload(Bucket=bucket, Key="t", Tagging=header)["UploadId"]
            part = s3.upload_part(Bucket=bucket, Key="t", UploadId=upload_id, PartNumber=1, Body=b"x")
            parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
            s3.complete_multipart_upload(Bucket=bucket, Key="t", UploadId=upload_id, MultipartUpload=parts)
    assert s3.get_object_tagging(Bucket=bucket, Key="t")["TagSet"] == [
        {"Key": "a", "Value": "1"},
        {"Key": "b", "Value": ""},
        {"Key": "c/d", "Value": "e f="},
        {"Key": "ü", "Value": "π"},
    ]


@pytest.mark.parametrize("header", ["a=1&a=2", "=v", "a=1,b=2", "a=%zz", "a=%FF", "a=!"])
def test_tagging_header__malformed_is_400_and_writes_nothing(s3: Any, bucket: str, header: str) -> None:
    answer = refused(s3.put_object, Bucket=bucket, Key="t", Tagging=header)
    assert answer.what == (400, "InvalidArgument")
    assert (answer.detail["ArgumentName"], answer.detail["ArgumentValue"]) == ("x-amz-tagging", header)
    assert refused(s3.head_object, Bucket=bucket, Key="t").status == 404


def test_tagging_header__11_are_too_many(s3: Any, bucket: str) -> None:
    header = "&".join(f"k{number}=v" for number in range(11))
    assert refused(s3.put_object, Bucket=bucket, Key="t", Tagging=header).what == (400, "BadRequest")
