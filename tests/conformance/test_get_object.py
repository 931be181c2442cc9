"""GetObject and HeadObject: shapes, conditions, ranges, parts, overrides."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conformance.answers import PART, complete, md5_tag, members, multipart_tag, refused, status, upload
from tests.harness import Server

BODY = bytes(range(256)) * 40
SIZE = len(BODY)


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    from tests.harness import unique_bucket

    name = unique_bucket()
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="k", Body=BODY, ContentType="text/plain", ChecksumAlgorithm="CRC32")
    s3.put_object(Bucket=name, Key="empty")
    return name


@pytest.fixture(scope="module")
def parts(s3: Any, bucket: str) -> dict[int, bytes]:
    """The parts of the object "parts", whose numbers have a gap."""
    bodies = {2: b"a" * PART, 5: b"b" * (PART + 1), 9: b"c" * 10}
    upload_id, listed = upload(s3, bucket, "parts", bodies)
    complete(s3, bucket, "parts", upload_id, listed)
    return bodies


@pytest.fixture(scope="module")
def modified(s3: Any, bucket: str) -> datetime:
    found: datetime = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    return found


def test_get_object__shape(s3: Any, bucket: str, modified: datetime) -> None:
    answer = s3.get_object(Bucket=bucket, Key="k")
    assert status(answer) == 200
    assert answer["Body"].read() == BODY
    told = members(answer)
    del told["Body"]
    assert told == {
        "AcceptRanges": "bytes",
        "ChecksumCRC32": told["ChecksumCRC32"],
        "ChecksumType": "FULL_OBJECT",
        "ContentLength": SIZE,
        "ContentType": "text/plain",
        "ETag": md5_tag(BODY),
        "LastModified": modified,
        "Metadata": {},
        "ServerSideEncryption": "AES256",
    }
    assert abs(datetime.now(UTC) - modified) < timedelta(hours=1)


def test_head_object__says_what_get_says(s3: Any, bucket: str) -> None:
    got, head = (
        members(call(Bucket=bucket, Key="k", ChecksumMode="ENABLED")) for call in (s3.get_object, s3.head_object)
    )
    del got["Body"]
    assert head == got


def test_head_object__has_no_body(server: Server, bucket: str) -> None:
    reply = server.send("HEAD", f"/{bucket}/k")
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", str(SIZE))


def test_get_object__missing_key_is_404(s3: Any, bucket: str) -> None:
    answer = refused(s3.get_object, Bucket=bucket, Key="missing")
    assert (answer.what, answer.detail["Key"]) == ((404, "NoSuchKey"), "missing")
    assert answer.message == "The specified key does not exist."
    assert "x-amz-delete-marker" not in answer.headers


def test_head_object__missing_key_is_404_without_body(server: Server, bucket: str) -> None:
    reply = server.send("HEAD", f"/{bucket}/missing")
    assert (reply.status, reply.body) == (404, b"")


# --- checksums


@pytest.mark.parametrize("mode", ["ENABLED", "enabled"])
def test_get_object__checksum_only_when_asked_for(server: Server, bucket: str, mode: str) -> None:
    s3 = server.s3(response_checksum_validation="when_required")
    assert "ChecksumCRC32" not in s3.head_object(Bucket=bucket, Key="k")
    assert "ChecksumCRC32" in s3.head_object(Bucket=bucket, Key="k", ChecksumMode=mode)


def test_get_object__byte_range_shows_no_checksum_unless_it_is_the_whole(s3: Any, bucket: str) -> None:
    part = s3.get_object(Bucket=bucket, Key="k", Range="bytes=0-9", ChecksumMode="ENABLED")
    assert "ChecksumCRC32" not in part
    whole = s3.head_object(Bucket=bucket, Key="k", Range=f"bytes=0-{SIZE - 1}", ChecksumMode="ENABLED")
    assert "ChecksumCRC32" in whole


# --- ranges


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-9", 0, 9),
        ("bytes=100-199", 100, 199),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1),
        ("bytes=5000-", 5000, SIZE - 1),
        ("bytes=-1", SIZE - 1, SIZE - 1),
        ("bytes=-100", SIZE - 100, SIZE - 1),
        (f"bytes=-{SIZE * 2}", 0, SIZE - 1),
        (f"bytes=0-{SIZE * 2}", 0, SIZE - 1),
        ("bytes=0-999999999999999999999999", 0, SIZE - 1),
        ("BYTES=0-9", 0, 9),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_range__satisfiable_is_206(
    server: Server, bucket: str, method: str, header: str, first: int, last: int
) -> None:
    reply = server.send(method, f"/{bucket}/k", headers={"range": header})
    assert reply.status == 206
    assert reply.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert reply.headers["content-length"] == str(last - first + 1)
    assert reply.headers["accept-ranges"] == "bytes"
    assert reply.body == (BODY[first : last + 1] if method == "GET" else b"")


@pytest.mark.parametrize(
    "header", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 1}", "bytes=-0", "bytes=99999999999999999999-"]
)
def test_range__unsatisfiable_is_416(s3: Any, bucket: str, header: str) -> None:
    answer = refused(s3.get_object, Bucket=bucket, Key="k", Range=header)
    assert answer.what == (416, "InvalidRange")
    assert answer.message == "The requested range is not satisfiable"
    assert (answer.detail["RangeRequested"], answer.detail["ActualObjectSize"]) == (header, str(SIZE))
    assert refused(s3.head_object, Bucket=bucket, Key="k", Range=header).status == 416


@pytest.mark.parametrize(
    "header", ["bytes=9-0", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "0-1", "bytes 0-1", "bytes=0-1-2", ""]
)
def test_range__that_makes_no_sense_is_ignored(server: Server, bucket: str, header: str) -> None:
    reply = server.send("GET", f"/{bucket}/k", headers={"range": header})
    assert (reply.status, reply.body) == (200, BODY)
    assert "content-range" not in reply.headers


@pytest.mark.parametrize(("header", "code"), [("bytes=0-0", 416), ("bytes=0-", 416), ("bytes=-1", 200)])
def test_range__of_an_empty_object(server: Server, bucket: str, header: str, code: int) -> None:
    assert server.send("GET", f"/{bucket}/empty", headers={"range": header}).status == code


# --- partNumber


def test_part_number__of_an_upload(s3: Any, bucket: str, parts: dict[int, bytes]) -> None:
    whole = b"".join(parts.values())
    offset = 0
    for number, body in parts.items():
        answer = s3.get_object(Bucket=bucket, Key="parts", PartNumber=number)
        assert status(answer) == 206
        assert answer["Body"].read() == body
        assert answer["ContentRange"] == f"bytes {offset}-{offset + len(body) - 1}/{len(whole)}"
        assert answer["PartsCount"] == 3
        assert answer["ETag"] == multipart_tag(list(parts.values()))
        head = s3.head_object(Bucket=bucket, Key="parts", PartNumber=number)
        assert (status(head), head["ContentLength"], head["PartsCount"]) == (206, len(body), 3)
        offset += len(body)


def test_part_number__of_a_single_put_is_the_whole_as_206(s3: Any, bucket: str) -> None:
    answer = s3.get_object(Bucket=bucket, Key="k", PartNumber=1)
    assert (status(answer), answer["ContentRange"]) == (206, f"bytes 0-{SIZE - 1}/{SIZE}")
    assert "PartsCount" not in answer
    assert "ChecksumCRC32" in answer


@pytest.mark.parametrize(("key", "count"), [("k", "1"), ("parts", "3")])
def test_part_number__beyond_the_last_is_416(
    s3: Any, bucket: str, parts: dict[int, bytes], key: str, count: str
) -> None:
    answer = refused(s3.get_object, Bucket=bucket, Key=key, PartNumber=10)
    assert answer.what == (416, "InvalidPartNumber")
    assert answer.message == "The requested partnumber is not satisfiable"
    assert (answer.detail["ActualPartCount"], answer.detail["PartNumberRequested"]) == (count, "10")


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x"])
def test_part_number__out_of_bounds_is_400(server: Server, bucket: str, number: str) -> None:
    reply = server.send("GET", f"/{bucket}/k?partNumber={number}")
    assert (reply.status, reply.code) == (400, "InvalidArgument")
    assert reply.element("Message") == "Part number must be an integer between 1 and 10000, inclusive"


def test_part_number__with_range_is_400(s3: Any, bucket: str) -> None:
    answer = refused(s3.get_object, Bucket=bucket, Key="k", PartNumber=1, Range="bytes=0-1")
    assert answer.what == (400, "InvalidRequest")
    assert answer.message == "Cannot specify both Range header and partNumber query parameter"


def test_range__over_the_border_of_two_parts(s3: Any, bucket: str, parts: dict[int, bytes]) -> None:
    answer = s3.get_object(Bucket=bucket, Key="parts", Range=f"bytes={PART - 2}-{PART + 1}")
    assert answer["Body"].read() == b"aabb"


# --- conditions

OTHER = md5_tag(b"other")
TAG = md5_tag(BODY)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"IfMatch": TAG}, 200),
        ({"IfMatch": "*"}, 200),
        ({"IfMatch": f"{OTHER}, {TAG}"}, 200),
        ({"IfMatch": TAG.strip('"')}, 200),
        ({"IfMatch": OTHER}, 412),
        ({"IfMatch": f"W/{TAG}"}, 412),
        ({"IfNoneMatch": OTHER}, 200),
        ({"IfNoneMatch": TAG}, 304),
        ({"IfNoneMatch": f"W/{TAG}"}, 304),
        ({"IfNoneMatch": "*"}, 304),
        ({"IfModifiedSince": -60}, 200),
        ({"IfModifiedSince": 0}, 304),
        ({"IfModifiedSince": 10**6}, 200),
        ({"IfUnmodifiedSince": 0}, 200),
        ({"IfUnmodifiedSince": -60}, 412),
        ({"IfMatch": TAG, "IfUnmodifiedSince": -60}, 200),
        ({"IfNoneMatch": OTHER, "IfModifiedSince": 0}, 200),
        ({"IfNoneMatch": TAG, "IfModifiedSince": -60}, 304),
        ({"IfMatch": OTHER, "IfNoneMatch": TAG}, 412),
    ],
)
def test_conditions(
    server: Server, bucket: str, modified: datetime, method: str, given: dict[str, Any], code: int
) -> None:
    """A number is seconds after the object's time."""
    names = {
        "IfMatch": "if-match",
        "IfNoneMatch": "if-none-match",
        "IfModifiedSince": "if-modified-since",
        "IfUnmodifiedSince": "if-unmodified-since",
    }
    headers = {
        names[name]: value
        if isinstance(value, str)
        else (modified + timedelta(seconds=value)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        for name, value in given.items()
    }
    reply = server.send(method, f"/{bucket}/k", headers=headers)
    assert reply.status == code
    if reply.status == 304:
        assert reply.body == b""
        assert reply.headers["etag"] == TAG
        assert "last-modified" in reply.headers
    if reply.status == 412 and method == "GET":
        assert reply.code == "PreconditionFailed"
        assert reply.element("Condition") == ("If-Match" if "if-match" in headers else "If-Unmodified-Since")


@pytest.mark.parametrize("name", ["if-modified-since", "if-unmodified-since"])
@pytest.mark.parametrize("text", ["yesterday", "", "Thu, 32 Dec 2020 25:00:00 GMT"])
def test_conditions__a_date_that_is_none_is_ignored(server: Server, bucket: str, name: str, text: str) -> None:
    assert server.send("GET", f"/{bucket}/k", headers={name: text}).status == 200


# --- response-* overrides

OVERRIDES = {
    "cache-control": "no-cache",
    "content-disposition": 'attachment; filename="ü.txt"',
    "content-encoding": "x-own",
    "content-language": "fr",
    "content-type": "application/x-own",
    "expires": "Thu, 01 Dec 1994 16:00:00 GMT",
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_response_overrides__change_this_answer_only(server: Server, bucket: str, method: str) -> None:
    from urllib.parse import quote

    given = {name: value for name, value in OVERRIDES.items() if value.isascii()}
    query = "&".join(f"response-{name}={quote(value, safe='')}" for name, value in given.items())
    reply = server.send(method, f"/{bucket}/k?{query}")
    assert {name: reply.headers[name] for name in given} == given
    assert server.send(method, f"/{bucket}/k").headers["content-type"] == "text/plain"


def test_response_overrides__text_beyond_latin_1_is_400(server: Server, bucket: str) -> None:
    reply = server.send("GET", f"/{bucket}/k?response-content-type=%E2%98%83")
    assert (reply.status, reply.code) == (400, "InvalidArgument")
    assert reply.element("Message") == "Header value cannot be represented using ISO-8859-1."


def test_response_overrides__line_break_never_splits_the_answer(server: Server, bucket: str) -> None:
    reply = server.send("GET", f"/{bucket}/k?response-content-type=a%0D%0Ax-own:%20b")
    assert reply.status == 400
    assert "x-own" not in reply.headers
