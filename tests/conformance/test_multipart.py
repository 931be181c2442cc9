"""CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload, ListParts, ListMultipartUploads."""

import base64
import hashlib
import secrets
from typing import Any

import pytest

from tests.conformance.answers import (
    PART,
    complete,
    members,
    multipart_tag,
    read,
    refused,
    status,
    upload,
    upload_part,
)
from tests.harness import Server, customer_key

FIRST, SECOND = b"a" * PART, b"b" * 7
NO_UPLOAD = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."


# --- CreateMultipartUpload


def test_create__shape(s3: Any, bucket: str) -> None:
    answer = members(s3.create_multipart_upload(Bucket=bucket, Key="k"))
    assert len(answer.pop("UploadId")) > 16
    assert answer == {"Bucket": bucket, "Key": "k", "ServerSideEncryption": "AES256"}


def test_create__each_gets_an_id_of_its_own_and_nothing_is_visible(s3: Any, bucket: str) -> None:
    ids = {s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"] for _ in range(3)}
    assert len(ids) == 3
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    assert refused(s3.head_object, Bucket=bucket, Key="k").status == 404


def test_create__what_it_says_is_the_object_s(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(
        s3,
        bucket,
        "k",
        {1: b"x"},
        ContentType="text/plain",
        Metadata={"a": "1"},
        StorageClass="STANDARD_IA",
        Tagging="t=1",
        CacheControl="no-cache",
    )
    complete(s3, bucket, "k", upload_id, parts)
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ContentType"], head["CacheControl"], head["Metadata"], head["StorageClass"]) == (
        "text/plain",
        "no-cache",
        {"a": "1"},
        "STANDARD_IA",
    )
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "t", "Value": "1"}]


@pytest.mark.parametrize(
    "more",
    [{"ObjectLockMode": "GOVERNANCE"}, {"GrantRead": "id=1"}, {"WebsiteRedirectLocation": "/x"}],
    ids=lambda more: next(iter(more)),
)
def test_create__what_is_not_honoured_is_501(s3: Any, bucket: str, more: dict[str, str]) -> None:
    assert refused(s3.create_multipart_upload, Bucket=bucket, Key="k", **more).what == (501, "NotImplemented")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


# --- UploadPart


def test_upload_part__shape(server: Server, s3: Any, bucket: str) -> None:
    import hashlib

    upload_id, _ = upload(s3, bucket, "k", {})
    plain = server.s3(request_checksum_calculation="when_required")
    answer = plain.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"x")
    assert members(answer) == {"ETag": f'"{hashlib.md5(b"x").hexdigest()}"', "ServerSideEncryption": "AES256"}


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", ""])
def test_upload_part__number_out_of_bounds_is_400(server: Server, s3: Any, bucket: str, number: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", {})
    reply = server.send("PUT", f"/{bucket}/k?partNumber={number}&uploadId={upload_id}", body=b"x")
    assert (reply.status, reply.code) == (400, "InvalidArgument")
    assert reply.element("Message") == "Part number must be an integer between 1 and 10000, inclusive"
    assert "Parts" not in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)


def test_upload_part__number_10000_is_accepted(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: FIRST, 10_000: SECOND})
    complete(s3, bucket, "k", upload_id, parts)
    assert read(s3, bucket, "k", PartNumber=10_000) == SECOND


def test_upload_part__unknown_upload_is_404(s3: Any, bucket: str) -> None:
    answer = refused(s3.upload_part, Bucket=bucket, Key="k", UploadId="fakeid", PartNumber=1, Body=b"x")
    assert (answer.what, answer.message, answer.detail["UploadId"]) == ((404, "NoSuchUpload"), NO_UPLOAD, "fakeid")


def test_upload_part__upload_of_another_key_is_404(s3: Any, bucket: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", {})
    answer = refused(s3.upload_part, Bucket=bucket, Key="other", UploadId=upload_id, PartNumber=1, Body=b"x")
    assert answer.what == (404, "NoSuchUpload")


def test_upload_part__the_last_attempt_counts(s3: Any, bucket: str) -> None:
    upload_id, (first,) = upload(s3, bucket, "k", {1: b"first"})
    second = upload_part(s3, bucket, "k", upload_id, 1, b"second")
    (listed,) = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)["Parts"]
    assert (listed["ETag"], listed["Size"]) == (second["ETag"], 6)
    assert refused(complete, s3=s3, bucket=bucket, key="k", upload_id=upload_id, parts=[first]).what == (
        400,
        "InvalidPart",
    )
    complete(s3, bucket, "k", upload_id, [second])
    assert read(s3, bucket, "k") == b"second"


@pytest.mark.parametrize("header", ["x-amz-server-side-encryption"])
def test_upload_part__encryption_header_is_400(server: Server, s3: Any, bucket: str, header: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", {})
    target = f"/{bucket}/k?partNumber=1&uploadId={upload_id}"
    reply = server.send("PUT", target, body=b"x", headers={header: "AES256"})
    assert (reply.status, reply.code, reply.element("ArgumentValue")) == (400, "InvalidArgument", "AES256")
    assert reply.element("Message") == f"{header} header is not supported for this operation."


# --- CompleteMultipartUpload


def test_complete__shape(server: Server, s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "a/ü k", {1: FIRST, 2: SECOND})
    answer = complete(s3, bucket, "a/ü k", upload_id, parts)
    head = s3.head_object(Bucket=bucket, Key="a/ü k", ChecksumMode="ENABLED")
    assert status(answer) == 200
    assert members(answer) == {
        "Bucket": bucket,
        "Key": "a/ü k",
        "Location": f"{server.url}/{bucket}/a%2F%C3%BC%20k",
        "ETag": multipart_tag([FIRST, SECOND]),
        "ChecksumCRC64NVME": head["ChecksumCRC64NVME"],
        "ChecksumType": "FULL_OBJECT",
        "ServerSideEncryption": "AES256",
    }
    assert read(s3, bucket, "a/ü k") == FIRST + SECOND


def test_complete__a_subset_of_the_parts(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: FIRST, 3: b"left out", 7: SECOND})
    complete(s3, bucket, "k", upload_id, [parts[0], parts[2]])
    assert read(s3, bucket, "k") == FIRST + SECOND
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"] == multipart_tag([FIRST, SECOND])


def test_complete__tags_without_quotes(s3: Any, bucket: str) -> None:
    upload_id, (part,) = upload(s3, bucket, "k", {1: SECOND})
    part["ETag"] = part["ETag"].strip('"')
    assert status(complete(s3, bucket, "k", upload_id, [part])) == 200


def test_complete__an_empty_part_alone(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: b""})
    assert complete(s3, bucket, "k", upload_id, parts)["ETag"] == multipart_tag([b""])
    assert read(s3, bucket, "k") == b""


def test_complete__again_is_the_same_answer(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    first = members(complete(s3, bucket, "k", upload_id, parts))
    s3.put_object(Bucket=bucket, Key="k", Body=b"newer")
    assert members(complete(s3, bucket, "k", upload_id, parts)) == first
    assert read(s3, bucket, "k") == b"newer"


def test_complete__again_with_other_parts_is_404(s3: Any, bucket: str) -> None:
    upload_id, (part,) = upload(s3, bucket, "k", {1: SECOND})
    complete(s3, bucket, "k", upload_id, [part])
    other = [{**part, "ETag": '"00000000000000000000000000000000"'}]
    answer = refused(complete, s3=s3, bucket=bucket, key="k", upload_id=upload_id, parts=other)
    assert answer.what == (404, "NoSuchUpload")


def test_complete__ends_the_upload(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    complete(s3, bucket, "k", upload_id, parts)
    where = {"Bucket": bucket, "Key": "k", "UploadId": upload_id}
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    for call, more in (
        (s3.list_parts, {}),
        (s3.abort_multipart_upload, {}),
        (s3.upload_part, {"PartNumber": 2, "Body": b"x"}),
    ):
        assert refused(call, **where, **more).what == (404, "NoSuchUpload")


def refused_complete(s3: Any, bucket: str, upload_id: str, parts: list[Any], **more: Any) -> Any:
    return refused(complete, s3=s3, bucket=bucket, key="k", upload_id=upload_id, parts=parts, **more)


def test_complete__wrong_order_is_400(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: b"a", 2: b"b"})
    for listed in (parts[::-1], [parts[0], parts[0]]):
        answer = refused_complete(s3, bucket, upload_id, listed)
        assert answer.what == (400, "InvalidPartOrder")
        assert answer.detail["UploadId"] == upload_id


def test_complete__missing_part_is_400(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: FIRST})
    answer = refused_complete(s3, bucket, upload_id, [*parts, {"PartNumber": 2, "ETag": '"0123"'}])
    assert answer.what == (400, "InvalidPart")
    assert (answer.detail["UploadId"], answer.detail["PartNumber"], answer.detail["ETag"]) == (upload_id, "2", "0123")


def test_complete__part_number_0_is_400(s3: Any, bucket: str) -> None:
    upload_id, (part,) = upload(s3, bucket, "k", {1: b"a"})
    answer = refused_complete(s3, bucket, upload_id, [{**part, "PartNumber": 0}])
    assert (answer.what, answer.message) == ((400, "InvalidArgument"), "PartNumber must be >= 1")


def test_complete__part_below_5_mib_that_is_not_the_last_is_400(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: FIRST[:-1], 2: b"b"})
    answer = refused_complete(s3, bucket, upload_id, parts)
    assert answer.what == (400, "EntityTooSmall")
    assert answer.detail == {
        "ProposedSize": str(PART - 1),
        "MinSizeAllowed": str(PART),
        "PartNumber": "1",
        "ETag": parts[0]["ETag"].strip('"'),
    }


def test_complete__no_parts_is_400(s3: Any, bucket: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", {1: b"a"})
    answer = refused(s3.complete_multipart_upload, Bucket=bucket, Key="k", UploadId=upload_id)
    assert (answer.what, answer.message) == ((400, "InvalidRequest"), "You must specify at least one part")


@pytest.mark.parametrize("body", [b"<CompleteMultipartUpload>", b"x", b"<Other/>"])
def test_complete__malformed_document_is_400(server: Server, s3: Any, bucket: str, body: bytes) -> None:
    upload_id, _ = upload(s3, bucket, "k", {1: b"a"})
    reply = server.send("POST", f"/{bucket}/k?uploadId={upload_id}", body=body)
    assert (reply.status, reply.code) == (400, "MalformedXML")


def test_complete__refused_may_be_done_right_afterwards(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: FIRST, 2: SECOND})
    refused_complete(s3, bucket, upload_id, parts[::-1])
    complete(s3, bucket, "k", upload_id, parts)
    assert read(s3, bucket, "k") == FIRST + SECOND


@pytest.mark.parametrize(("size", "code"), [(len(SECOND), 200), (len(SECOND) + 1, 400)])
def test_complete__declared_object_size(s3: Any, bucket: str, size: int, code: int) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    if code == 200:
        assert status(complete(s3, bucket, "k", upload_id, parts, MpuObjectSize=size)) == 200
        return
    assert refused_complete(s3, bucket, upload_id, parts, MpuObjectSize=size).what == (400, "InvalidRequest")
    assert refused(s3.head_object, Bucket=bucket, Key="k").status == 404


def test_complete__overwrites(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    assert read(s3, bucket, "k") == b"old"
    complete(s3, bucket, "k", upload_id, parts)
    assert read(s3, bucket, "k") == SECOND


# --- conditions of Complete


def test_complete__if_none_match_star_on_existing_key_is_412_and_the_upload_goes_on(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    answer = refused_complete(s3, bucket, upload_id, parts, IfNoneMatch="*")
    assert (answer.what, answer.detail["Condition"]) == ((412, "PreconditionFailed"), "If-None-Match")
    assert read(s3, bucket, "k") == b"there"
    assert status(complete(s3, bucket, "k", upload_id, parts)) == 200


def test_complete__if_none_match_star_on_a_new_key_is_200(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    assert status(complete(s3, bucket, "k", upload_id, parts, IfNoneMatch="*")) == 200


def test_complete__if_match(s3: Any, bucket: str) -> None:
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"there")["ETag"]
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    answer = refused_complete(s3, bucket, upload_id, parts, IfMatch='"other"')
    assert (answer.what, answer.detail["Condition"]) == ((412, "PreconditionFailed"), "If-Match")
    assert status(complete(s3, bucket, "k", upload_id, parts, IfMatch=tag)) == 200


def test_complete__if_match_on_a_missing_key_is_404(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    assert refused_complete(s3, bucket, upload_id, parts, IfMatch='"x"').what == (404, "NoSuchKey")


def test_complete__if_match_after_a_write_in_between_is_409(s3: Any, bucket: str) -> None:
    """Even where the tag is the same again: the condition speaks of what was there when the upload began."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"there")["ETag"]
    answer = refused_complete(s3, bucket, upload_id, parts, IfMatch=tag)
    assert answer.what == (409, "ConditionalRequestConflict")
    assert (answer.detail["Condition"], answer.detail["Key"]) == ("If-Match", "k")
    again, parts = upload(s3, bucket, "k", {1: SECOND})
    assert status(complete(s3, bucket, "k", again, parts, IfMatch=tag)) == 200


def test_complete__if_none_match_after_a_delete_in_between_is_409(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="k")
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    s3.delete_object(Bucket=bucket, Key="k")
    answer = refused_complete(s3, bucket, upload_id, parts, IfNoneMatch="*")
    assert (answer.what, answer.detail["Condition"]) == ((409, "ConditionalRequestConflict"), "If-None-Match")


# --- SSE-C


def test_sse_c__upload_needs_the_key_with_every_part(s3_tls: Any, bucket: str) -> None:
    key = customer_key(secrets.token_bytes(32))
    upload_id, parts = upload(s3_tls, bucket, "k", {}, **key)
    part = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "PartNumber": 1, "Body": SECOND}
    without = refused(s3_tls.upload_part, **part)
    assert without.what == (400, "InvalidRequest")
    assert without.message.startswith("The multipart upload initiate requested encryption.")
    other = refused(s3_tls.upload_part, **part, **customer_key(b"x" * 32))
    assert other.what == (400, "InvalidRequest")
    assert other.message == "The provided encryption parameters did not match the ones used originally."
    parts = [upload_part(s3_tls, bucket, "k", upload_id, 1, SECOND, **key)]
    answer = complete(s3_tls, bucket, "k", upload_id, parts)
    assert "ServerSideEncryption" not in answer
    assert read(s3_tls, bucket, "k", **key) == SECOND


def test_sse_c__key_for_an_upload_without_is_400(s3_tls: Any, bucket: str) -> None:
    upload_id, _ = upload(s3_tls, bucket, "k", {})
    part = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "PartNumber": 1, "Body": SECOND}
    assert refused(s3_tls.upload_part, **part, **customer_key(b"x" * 32)).what == (400, "InvalidRequest")


# --- AbortMultipartUpload


def test_abort__is_204_and_ends_the_upload(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    where = {"Bucket": bucket, "Key": "k", "UploadId": upload_id}
    assert status(s3.abort_multipart_upload(**where)) == 204
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert refused(s3.abort_multipart_upload, **where).what == (404, "NoSuchUpload")
    assert refused_complete(s3, bucket, upload_id, parts).what == (404, "NoSuchUpload")


def test_abort__leaves_the_object_and_other_uploads_alone(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    upload_id, _ = upload(s3, bucket, "k", {1: SECOND})
    other, parts = upload(s3, bucket, "k", {1: SECOND})
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)
    assert read(s3, bucket, "k") == b"there"
    assert status(complete(s3, bucket, "k", other, parts)) == 200


def test_abort__unknown_upload_is_404(s3: Any, bucket: str) -> None:
    answer = refused(s3.abort_multipart_upload, Bucket=bucket, Key="k", UploadId="fakeid")
    assert (answer.what, answer.detail["UploadId"]) == ((404, "NoSuchUpload"), "fakeid")


def test_abort__condition_of_directory_buckets_is_501(s3: Any, bucket: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", {})
    where = {"Bucket": bucket, "Key": "k", "UploadId": upload_id}
    answer = refused(s3.abort_multipart_upload, **where, IfMatchInitiatedTime="2030-01-01T00:00:00Z")
    assert answer.what == (501, "NotImplemented")
    assert status(s3.list_parts(**where)) == 200


# --- ListParts


def test_list_parts__shape(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {2: SECOND}, StorageClass="STANDARD_IA")
    answer = members(s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id))
    assert len(answer.pop("Owner")["ID"]) == len(answer.pop("Initiator")["ID"]) == 64
    (listed,) = answer.pop("Parts")
    del listed["LastModified"]
    assert listed == {"PartNumber": 2, "ETag": parts[0]["ETag"], "Size": len(SECOND)}
    assert answer == {
        "Bucket": bucket,
        "Key": "k",
        "UploadId": upload_id,
        "PartNumberMarker": 0,
        "NextPartNumberMarker": 2,
        "MaxParts": 1000,
        "IsTruncated": False,
        "StorageClass": "STANDARD_IA",
    }


def test_list_parts__empty(s3: Any, bucket: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", {})
    answer = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)
    assert "Parts" not in answer
    assert (answer["IsTruncated"], answer["NextPartNumberMarker"]) == (False, 0)


@pytest.mark.parametrize("wanted", [1, 2, 3, 4])
def test_list_parts__pages_join_without_gap_or_double(s3: Any, bucket: str, wanted: int) -> None:
    numbers = [1, 2, 10, 100]
    upload_id, _ = upload(s3, bucket, "k", dict.fromkeys(numbers, b"x"))
    seen, marker = [], 0
    for _ in numbers:
        page = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id, MaxParts=wanted, PartNumberMarker=marker)
        assert (page["MaxParts"], page["PartNumberMarker"]) == (wanted, marker)
        seen += [part["PartNumber"] for part in page["Parts"]]
        marker = page["NextPartNumberMarker"]
        if not page["IsTruncated"]:
            break
    assert seen == numbers


@pytest.mark.parametrize("query", ["max-parts=-1", "max-parts=x", "part-number-marker=-1", "part-number-marker=x"])
def test_list_parts__bad_number_is_400(server: Server, s3: Any, bucket: str, query: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", {})
    reply = server.send("GET", f"/{bucket}/k?uploadId={upload_id}&{query}")
    assert (reply.status, reply.code, reply.element("ArgumentName")) == (
        400,
        "InvalidArgument",
        query.partition("=")[0],
    )


def test_list_parts__unknown_upload_is_404(s3: Any, bucket: str) -> None:
    answer = refused(s3.list_parts, Bucket=bucket, Key="k", UploadId="fakeid")
    assert answer.what == (404, "NoSuchUpload")


# --- ListMultipartUploads


@pytest.fixture
def uploads(s3: Any, bucket: str) -> list[tuple[str, str]]:
    """(key, id) of open uploads, in the order in which they must be listed: by key, then by beginning."""
    made = [
        (key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"])
        for key in ("b", "a", "b", "c/1", "c/2", "d d", "b")
    ]
    return sorted(made, key=lambda each: (each[0], made.index(each)))


def test_list_uploads__shape(s3: Any, bucket: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", {}, StorageClass="STANDARD_IA", ChecksumAlgorithm="SHA256")
    answer = members(s3.list_multipart_uploads(Bucket=bucket))
    (entry,) = answer.pop("Uploads")
    assert len(entry.pop("Owner")["ID"]) == len(entry.pop("Initiator")["ID"]) == 64
    del entry["Initiated"]
    assert entry == {
        "UploadId": upload_id,
        "Key": "k",
        "StorageClass": "STANDARD_IA",
        "ChecksumAlgorithm": "SHA256",
        "ChecksumType": "COMPOSITE",
    }
    assert answer == {
        "Bucket": bucket,
        "KeyMarker": "",
        "UploadIdMarker": "",
        "NextKeyMarker": "k",
        "NextUploadIdMarker": upload_id,
        "MaxUploads": 1000,
        "IsTruncated": False,
    }


def test_list_uploads__none(s3: Any, bucket: str) -> None:
    answer = s3.list_multipart_uploads(Bucket=bucket)
    assert "Uploads" not in answer
    assert (answer["IsTruncated"], answer["NextKeyMarker"], answer["NextUploadIdMarker"]) == (False, "", "")


@pytest.mark.parametrize("wanted", [1, 2, 3, 6, 7])
def test_list_uploads__pages_join_without_gap_or_double(
    s3: Any, bucket: str, uploads: list[tuple[str, str]], wanted: int
) -> None:
    seen: list[tuple[str, str]] = []
    more: dict[str, str] = {}
    for _ in uploads:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=wanted, **more)
        seen += [(each["Key"], each["UploadId"]) for each in page["Uploads"]]
        more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
        if not page["IsTruncated"]:
            break
    assert seen == uploads


def test_list_uploads__prefix_and_delimiter(s3: Any, bucket: str, uploads: list[tuple[str, str]]) -> None:
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [each["Prefix"] for each in page["CommonPrefixes"]] == ["c/"]
    assert [each["Key"] for each in page["Uploads"]] == ["a", "b", "b", "b", "d d"]
    inside = s3.list_multipart_uploads(Bucket=bucket, Prefix="c/", Delimiter="/")
    assert [each["Key"] for each in inside["Uploads"]] == ["c/1", "c/2"]
    assert inside["Prefix"] == "c/"


def test_list_uploads__upload_marker_without_key_marker_is_ignored(
    s3: Any, bucket: str, uploads: list[tuple[str, str]]
) -> None:
    page = s3.list_multipart_uploads(Bucket=bucket, UploadIdMarker=uploads[3][1])
    assert len(page["Uploads"]) == len(uploads)
    assert page["UploadIdMarker"] == ""


def test_list_uploads__goes_on_behind_an_upload_that_is_gone(
    s3: Any, bucket: str, uploads: list[tuple[str, str]]
) -> None:
    page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=2)
    marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    s3.abort_multipart_upload(Bucket=bucket, Key=marker["KeyMarker"], UploadId=marker["UploadIdMarker"])
    rest = s3.list_multipart_uploads(Bucket=bucket, **marker)
    assert [(each["Key"], each["UploadId"]) for each in rest["Uploads"]] == uploads[2:]


@pytest.mark.parametrize("text", ["-1", "x"])
def test_list_uploads__bad_max_uploads_is_400(server: Server, bucket: str, text: str) -> None:
    reply = server.send("GET", f"/{bucket}?uploads&max-uploads={text}")
    assert (reply.status, reply.code, reply.element("ArgumentName")) == (400, "InvalidArgument", "max-uploads")


def test_complete__content_md5_is_of_the_list_of_parts(server: Server, s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: b"x"})
    document = (
        "<CompleteMultipartUpload>"
        f"<Part><PartNumber>1</PartNumber><ETag>{parts[0]['ETag']}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    for content, expected in ((b"another list", (400, "BadDigest")), (document, (200, ""))):
        digest = base64.b64encode(hashlib.md5(content).digest()).decode()
        reply = server.send("POST", f"/{bucket}/k?uploadId={upload_id}", headers={"content-md5": digest}, body=document)
        assert (reply.status, reply.code) == expected
