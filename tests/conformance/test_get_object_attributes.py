"""GetObjectAttributes: what is known of an object without its bytes."""

import secrets
from typing import Any

import pytest

from tests.conformance.answers import PART, complete, md5_tag, members, multipart_tag, refused, upload
from tests.harness import Server, customer_key

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def test_single_put__all_attributes(s3: Any, bucket: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm="SHA256")
    answer = members(s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=ALL))
    assert answer.pop("LastModified") == s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    assert answer == {
        "ETag": md5_tag(b"hello").strip('"'),
        "Checksum": {"ChecksumSHA256": put["ChecksumSHA256"], "ChecksumType": "FULL_OBJECT"},
        "StorageClass": "STANDARD",
        "ObjectSize": 5,
    }


@pytest.mark.parametrize("name", ALL)
def test_only_what_is_asked_for_is_told(s3: Any, bucket: str, name: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    answer = members(s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=[name]))
    del answer["LastModified"]
    assert set(answer) == ({name} if name != "ObjectParts" else set())


def test_upload_without_algorithm__tells_only_how_many_parts(s3: Any, bucket: str) -> None:
    bodies = {1: b"a" * PART, 2: b"b"}
    upload_id, parts = upload(s3, bucket, "k", bodies)
    complete(s3, bucket, "k", upload_id, parts)
    answer = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=ALL)
    assert answer["ObjectParts"] == {"TotalPartsCount": 2}
    assert answer["ETag"] == multipart_tag(list(bodies.values())).strip('"')
    assert answer["Checksum"]["ChecksumType"] == "FULL_OBJECT"
    assert answer["ObjectSize"] == PART + 1


def composite(s3: Any, bucket: str, count: int) -> list[dict[str, Any]]:
    """An object "k" of `count` parts with a COMPOSITE checksum; what each part's entry must say."""
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32C")["UploadId"]
    listed, expected = [], []
    for number in range(1, count + 1):
        body = bytes([number]) * (PART if number < count else 7)
        put = s3.upload_part(
            Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32C"
        )
        listed.append({"PartNumber": number, "ETag": put["ETag"], "ChecksumCRC32C": put["ChecksumCRC32C"]})
        expected.append({"PartNumber": number, "Size": len(body), "ChecksumCRC32C": put["ChecksumCRC32C"]})
    complete(s3, bucket, "k", upload_id, listed)
    return expected


def test_composite_upload__lists_parts_and_the_value_without_their_number(s3: Any, bucket: str) -> None:
    expected = composite(s3, bucket, 3)
    answer = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=ALL)
    assert answer["ObjectParts"] == {
        "TotalPartsCount": 3,
        "PartNumberMarker": 0,
        "NextPartNumberMarker": 3,
        "MaxParts": 1000,
        "IsTruncated": False,
        "Parts": expected,
    }
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert answer["Checksum"]["ChecksumType"] == "COMPOSITE"
    assert f"{answer['Checksum']['ChecksumCRC32C']}-3" == head["ChecksumCRC32C"]
    pages, marker = [], 0
    for last in (False, False, True):
        page = s3.get_object_attributes(
            Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"], MaxParts=1, PartNumberMarker=marker
        )["ObjectParts"]
        assert (page["MaxParts"], page["PartNumberMarker"], page["IsTruncated"]) == (1, marker, not last)
        pages += page["Parts"]
        marker = page["NextPartNumberMarker"]
    assert pages == expected


@pytest.mark.parametrize("header", ["Nonsense", "ETag,Nonsense", "etag"])
def test_unknown_attribute_is_400(server: Server, s3: Any, bucket: str, header: str) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    reply = server.send("GET", f"/{bucket}/k?attributes", headers={"x-amz-object-attributes": header})
    assert (reply.status, reply.code) == (400, "InvalidArgument")
    assert reply.element("Message") == "Invalid attribute name specified."


@pytest.mark.parametrize("headers", [{}, {"x-amz-object-attributes": ""}])
def test_no_attribute_is_400(server: Server, s3: Any, bucket: str, headers: dict[str, str]) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    reply = server.send("GET", f"/{bucket}/k?attributes", headers=headers)
    assert (reply.status, reply.code) == (400, "InvalidRequest")
    assert "x-amz-object-attributes" in reply.element("Message")


def test_missing_key_is_404(s3: Any, bucket: str) -> None:
    answer = refused(s3.get_object_attributes, Bucket=bucket, Key="missing", ObjectAttributes=["ETag"])
    assert answer.what == (404, "NoSuchKey")


def test_delete_marker_is_404_and_by_its_id_405(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    current = refused(s3.get_object_attributes, Bucket=bucket, Key="k", ObjectAttributes=["ETag"])
    assert (current.what, current.headers["x-amz-delete-marker"]) == ((404, "NoSuchKey"), "true")
    named = refused(s3.get_object_attributes, Bucket=bucket, Key="k", VersionId=marker, ObjectAttributes=["ETag"])
    assert named.what == (405, "MethodNotAllowed")


def test_sse_c__needs_the_key(s3_tls: Any, bucket: str) -> None:
    import base64
    import hashlib

    raw = secrets.token_bytes(32)
    s3_tls.put_object(Bucket=bucket, Key="k", Body=b"hello", **customer_key(raw))
    assert refused(s3_tls.get_object_attributes, Bucket=bucket, Key="k", ObjectAttributes=ALL).what == (
        400,
        "InvalidRequest",
    )
    given = {  # the client encodes the key of other operations, not of this one
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKey": base64.b64encode(raw).decode(),
        "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(raw).digest()).decode(),
    }
    answer = s3_tls.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=ALL, **given)
    assert answer["ObjectSize"] == 5
    assert answer["ETag"] != md5_tag(b"hello").strip('"')
