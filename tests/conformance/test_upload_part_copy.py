"""UploadPartCopy."""

import hashlib
import secrets
from datetime import timedelta
from typing import Any

import pytest

from tests.conformance.answers import PART, complete, md5_tag, members, read, refused, status, upload
from tests.harness import Server, customer_key, unique_bucket

BODY = secrets.token_bytes(10_000)
SIZE = len(BODY)
FORM = (
    "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based"
    " offsets of the first and last bytes to copy"
)


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    name = unique_bucket()
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="from", Body=BODY)
    s3.put_object(Bucket=name, Key="empty")
    return name


@pytest.fixture
def target(s3: Any, bucket: str) -> dict[str, Any]:
    """An open upload, as the arguments of its first part."""
    upload_id, _ = upload(s3, bucket, "to", {})
    return {
        "Bucket": bucket,
        "Key": "to",
        "UploadId": upload_id,
        "PartNumber": 1,
        "CopySource": {"Bucket": bucket, "Key": "from"},
    }


def finish(s3: Any, target: dict[str, Any], etag: str) -> bytes:
    """Complete the upload with its one part; the object."""
    complete(s3, target["Bucket"], target["Key"], target["UploadId"], [{"PartNumber": 1, "ETag": etag}])
    return read(s3, target["Bucket"], target["Key"])


def test_shape(s3: Any, target: dict[str, Any]) -> None:
    answer = s3.upload_part_copy(**target)
    assert status(answer) == 200
    told = members(answer)
    del told["CopyPartResult"]["LastModified"]
    assert told == {"CopyPartResult": {"ETag": md5_tag(BODY)}, "ServerSideEncryption": "AES256"}
    assert finish(s3, target, md5_tag(BODY)) == BODY


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 99), (5000, 9999), (SIZE - 1, SIZE - 1), (0, SIZE - 1)])
def test_range(s3: Any, target: dict[str, Any], first: int, last: int) -> None:
    answer = s3.upload_part_copy(**target, CopySourceRange=f"bytes={first}-{last}")
    expected = BODY[first : last + 1]
    assert answer["CopyPartResult"]["ETag"] == f'"{hashlib.md5(expected).hexdigest()}"'
    assert finish(s3, target, answer["CopyPartResult"]["ETag"]) == expected


@pytest.mark.parametrize(
    "header", ["bytes=0-", "bytes=-5", "bytes=5-4", "0-5", "bytes=a-b", "bytes=0-1,3-4", "bytes=", "items=0-1"]
)
def test_range__malformed_is_400(s3: Any, target: dict[str, Any], header: str) -> None:
    answer = refused(s3.upload_part_copy, **target, CopySourceRange=header)
    assert (answer.what, answer.message) == ((400, "InvalidArgument"), FORM)
    assert answer.detail["ArgumentName"] == "x-amz-copy-source-range"


def test_range__that_ends_beyond_the_source_is_400(s3: Any, target: dict[str, Any]) -> None:
    answer = refused(s3.upload_part_copy, **target, CopySourceRange=f"bytes=0-{SIZE}")
    assert answer.what == (400, "InvalidArgument")
    assert answer.message == f"Range specified is not valid for source object of size: {SIZE}"


def test_range__that_begins_beyond_the_source_is_400(s3: Any, target: dict[str, Any]) -> None:
    answer = refused(s3.upload_part_copy, **target, CopySourceRange=f"bytes={SIZE}-{SIZE + 1}")
    assert answer.what == (400, "InvalidRequest")
    assert answer.message == "The specified copy range is invalid for the source object size"


def test_two_ranges_over_a_multipart_source(s3: Any, bucket: str) -> None:
    bodies = {1: b"a" * PART, 2: secrets.token_bytes(PART)}
    upload_id, parts = upload(s3, bucket, "long", bodies)
    complete(s3, bucket, "long", upload_id, parts)
    whole = b"".join(bodies.values())
    upload_id, _ = upload(s3, bucket, "joined", {})
    listed = []
    for number, (first, last) in enumerate([(10, PART + 9), (PART - 5, 2 * PART - 1)], start=1):
        copied = s3.upload_part_copy(
            Bucket=bucket,
            Key="joined",
            UploadId=upload_id,
            PartNumber=number,
            CopySource={"Bucket": bucket, "Key": "long"},
            CopySourceRange=f"bytes={first}-{last}",
        )
        listed.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
    complete(s3, bucket, "joined", upload_id, listed)
    assert read(s3, bucket, "joined") == whole[10 : PART + 10] + whole[PART - 5 :]


def test_empty_source(s3: Any, target: dict[str, Any]) -> None:
    answer = s3.upload_part_copy(**{**target, "CopySource": {"Bucket": target["Bucket"], "Key": "empty"}})
    assert finish(s3, target, answer["CopyPartResult"]["ETag"]) == b""


@pytest.mark.parametrize(
    ("given", "failed"),
    [
        ({"IfMatch": md5_tag(BODY)}, None),
        ({"IfMatch": '"other"'}, "If-Match"),
        ({"IfNoneMatch": '"other"'}, None),
        ({"IfNoneMatch": md5_tag(BODY)}, "If-None-Match"),
        ({"IfModifiedSince": -60}, None),
        ({"IfModifiedSince": 0}, "If-Modified-Since"),
        ({"IfUnmodifiedSince": 0}, None),
        ({"IfUnmodifiedSince": -60}, "If-Unmodified-Since"),
    ],
)
def test_source_conditions(s3: Any, target: dict[str, Any], given: dict[str, Any], failed: str | None) -> None:
    """A number is seconds after the source's time."""
    modified = s3.head_object(Bucket=target["Bucket"], Key="from")["LastModified"]
    conditions = {
        f"CopySource{name}": value if isinstance(value, str) else modified + timedelta(seconds=value)
        for name, value in given.items()
    }
    if failed is None:
        assert status(s3.upload_part_copy(**target, **conditions)) == 200
        return
    answer = refused(s3.upload_part_copy, **target, **conditions)
    assert (answer.what, answer.detail["Condition"]) == ((412, "PreconditionFailed"), f"x-amz-copy-source-{failed}")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"UploadId": "fakeid"}, (404, "NoSuchUpload")),
        ({"CopySource": "no-such-bucket-at-all/k"}, (404, "NoSuchBucket")),
        ({"CopySource": "MINE/missing"}, (404, "NoSuchKey")),
        ({"PartNumber": 10_001}, (400, "InvalidArgument")),
        ({"ExpectedSourceBucketOwner": "111122223333"}, (403, "AccessDenied")),
    ],
)
def test_refusals(s3: Any, target: dict[str, Any], change: dict[str, Any], what: tuple[int, str]) -> None:
    if isinstance(change.get("CopySource"), str):
        change = {"CopySource": change["CopySource"].replace("MINE", target["Bucket"])}
    assert refused(s3.upload_part_copy, **{**target, **change}).what == what
    assert "Parts" not in s3.list_parts(Bucket=target["Bucket"], Key="to", UploadId=target["UploadId"])


def test_source_version(s3: Any) -> None:
    bucket = unique_bucket()
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(Bucket=bucket, Key="from", Body=b"old")["VersionId"]
    s3.put_object(Bucket=bucket, Key="from", Body=b"new")
    upload_id, _ = upload(s3, bucket, "to", {})
    source = {"Bucket": bucket, "Key": "from", "VersionId": old}
    part = {"Bucket": bucket, "Key": "to", "UploadId": upload_id, "PartNumber": 1, "CopySource": source}
    answer = s3.upload_part_copy(**part)
    assert answer["CopySourceVersionId"] == old
    assert finish(s3, part, answer["CopyPartResult"]["ETag"]) == b"old"


def test_sse_c__on_both_sides(s3_tls: Any, bucket: str) -> None:
    first, second = secrets.token_bytes(32), secrets.token_bytes(32)
    s3_tls.put_object(Bucket=bucket, Key="secret", Body=BODY, **customer_key(first))
    upload_id, _ = upload(s3_tls, bucket, "to-secret", {}, **customer_key(second))
    part = {
        "Bucket": bucket,
        "Key": "to-secret",
        "UploadId": upload_id,
        "PartNumber": 1,
        "CopySource": {"Bucket": bucket, "Key": "secret"},
    }
    assert refused(s3_tls.upload_part_copy, **part, **customer_key(second)).what == (400, "InvalidRequest")
    assert refused(s3_tls.upload_part_copy, **part, **customer_key(first, source=True)).what == (400, "InvalidRequest")
    answer = s3_tls.upload_part_copy(
        **part, CopySourceRange="bytes=1-5000", **customer_key(first, source=True), **customer_key(second)
    )
    assert answer["SSECustomerAlgorithm"] == "AES256"
    complete(s3_tls, bucket, "to-secret", upload_id, [{"PartNumber": 1, "ETag": answer["CopyPartResult"]["ETag"]}])
    assert read(s3_tls, bucket, "to-secret", **customer_key(second)) == BODY[1:5001]


@pytest.mark.parametrize("checksum_type", ["COMPOSITE", "FULL_OBJECT"])
def test_checksum__of_the_upload_s_algorithm_is_worked_out(s3: Any, bucket: str, checksum_type: str) -> None:
    upload_id = s3.create_multipart_upload(
        Bucket=bucket, Key="summed", ChecksumAlgorithm="CRC32C", ChecksumType=checksum_type
    )["UploadId"]
    result = s3.upload_part_copy(
        Bucket=bucket,
        Key="summed",
        UploadId=upload_id,
        PartNumber=1,
        CopySource={"Bucket": bucket, "Key": "from"},
        CopySourceRange="bytes=0-4999",
    )["CopyPartResult"]
    listed = [{"PartNumber": 1, "ETag": result["ETag"], "ChecksumCRC32C": result["ChecksumCRC32C"]}]
    answer = complete(s3, bucket, "summed", upload_id, listed)
    assert answer["ChecksumType"] == checksum_type
    if checksum_type == "FULL_OBJECT":
        assert answer["ChecksumCRC32C"] == result["ChecksumCRC32C"]


def test_encryption_header_is_400(server: Server, target: dict[str, Any]) -> None:
    reply = server.send(
        "PUT",
        f"/{target['Bucket']}/to?partNumber=1&uploadId={target['UploadId']}",
        headers={"x-amz-copy-source": f"{target['Bucket']}/from", "x-amz-server-side-encryption": "AES256"},
    )
    assert (reply.status, reply.code) == (400, "InvalidArgument")
