"""Values in headers and query parameters: what is read, what is refused, what leaves."""

from datetime import UTC, datetime
from email.header import decode_header

import pytest

from strongroom.aws.errors import S3Error
from strongroom.aws.header_values import formatter, metadata_headers, parser
from strongroom.aws.model import load_s3_model

OPERATIONS = load_s3_model().operations
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def member(operation, name, side="input"):
    return getattr(OPERATIONS[operation], side).members[name]


def parse(operation, name, text):
    found = member(operation, name)
    return parser(found.shape)(text, found.wire_name.lower() if found.location == "header" else found.wire_name)


@pytest.mark.parametrize(
    ("operation", "name", "text", "value"),
    [
        ("ListObjectsV2", "MaxKeys", "0", 0),
        ("ListObjectsV2", "MaxKeys", "-1", -1),
        ("ListObjectsV2", "MaxKeys", "2147483647", 2**31 - 1),
        ("ListObjectsV2", "MaxKeys", "", None),
        ("PutObject", "ContentLength", "5497558138880", 5 * 2**40),
        ("ListObjectsV2", "FetchOwner", "true", True),
        ("ListObjectsV2", "FetchOwner", "False", False),
        ("ListObjectsV2", "FetchOwner", "", None),
        ("PutObject", "BucketKeyEnabled", "TRUE", True),
        ("GetObject", "IfModifiedSince", "Fri, 02 Jan 2026 03:04:05 GMT", WHEN),
        ("GetObject", "IfModifiedSince", "whenever", None),
        ("GetObject", "IfUnmodifiedSince", "0", None),
        ("CopyObject", "CopySourceIfModifiedSince", "-1", None),
        ("PutObject", "ObjectLockRetainUntilDate", "2026-01-02T03:04:05Z", WHEN),
        ("PutObject", "Expires", "whenever", "whenever"),
        ("GetObject", "ResponseExpires", "0", "0"),
        ("PutObject", "CacheControl", " no-store ", " no-store "),
        ("PutObject", "ServerSideEncryption", "ROT13", "ROT13"),
        ("GetObjectAttributes", "ObjectAttributes", "ETag, Checksum,,ObjectSize", ["ETag", "Checksum", "ObjectSize"]),
        ("GetObjectAttributes", "ObjectAttributes", '"a,b","c\\"d"', ["a,b", 'c"d']),
        ("GetObjectAttributes", "ObjectAttributes", " , ", None),
    ],
)
def test_parser__value(operation, name, text, value):
    assert parse(operation, name, text) == value


@pytest.mark.parametrize("text", ["1.5", "0x10", "1_000", "\u0661", " 1", "1 ", "ten", "2147483648", "9" * 40, "+"])
@pytest.mark.parametrize(
    ("operation", "name", "message"),
    [
        ("ListObjectsV2", "MaxKeys", "Provided max-keys not an integer or within integer range"),
        ("UploadPart", "PartNumber", "Part number must be an integer between 1 and 10000, inclusive"),
    ],
)
def test_parser__not_an_integer(operation, name, message, text):
    with pytest.raises(S3Error) as caught:
        parse(operation, name, text)
    assert (caught.value.code, caught.value.message) == ("InvalidArgument", message)
    assert caught.value.detail == {"ArgumentName": member(operation, name).wire_name, "ArgumentValue": text}


@pytest.mark.parametrize(
    ("operation", "name", "text"),
    [
        ("ListObjectsV2", "FetchOwner", "yes"),
        ("PutObject", "ContentLength", str(2**63)),
        ("PutObject", "ObjectLockRetainUntilDate", "tomorrow"),
        ("DeleteObject", "IfMatchLastModifiedTime", "tomorrow"),
    ],
)
def test_parser__wrong_type(operation, name, text):
    with pytest.raises(S3Error) as caught:
        parse(operation, name, text)
    assert caught.value.code == "InvalidArgument"
    assert caught.value.detail["ArgumentName"].lower() == member(operation, name).wire_name.lower()


@pytest.mark.parametrize(
    ("operation", "name", "value", "text"),
    [
        ("GetObject", "LastModified", WHEN, "Fri, 02 Jan 2026 03:04:05 GMT"),
        ("GetObject", "ObjectLockRetainUntilDate", WHEN, "2026-01-02T03:04:05.000Z"),
        ("GetObject", "DeleteMarker", True, "true"),
        ("GetObject", "ContentLength", 5, "5"),
        ("GetObject", "ContentDisposition", "caf\xe9", "caf\xe9"),
    ],
)
def test_formatter__text(operation, name, value, text):
    assert formatter(member(operation, name, "output").shape)(value) == text


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\nb", "a\rb", "a\x00", "\N{LOCK}"])
def test_formatter__d3_text_that_cannot_stand_in_a_header_is_refused(value):
    with pytest.raises(ValueError, match=r"line break|latin-1"):
        formatter(member("GetObject", "ContentDisposition", "output").shape)(value)


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("plain, even with spaces", "plain, even with spaces"),
        ("=?UTF-8?B?eA==?=", "=?UTF-8?B?eA==?="),
        ("\N{LOCK} locked".encode().decode("latin-1"), "\N{LOCK} locked"),
        ("caf\xe9", "caf\xe9"),
    ],
)
def test_metadata_headers__what_is_not_ascii_becomes_an_rfc_2047_word(value, decoded):
    [(name, text)] = metadata_headers({"name": value})
    assert (name, text.isascii()) == ("x-amz-meta-name", True)
    if text == value:
        assert value == decoded
    else:
        assert decode_header(text) == [(decoded.encode(), "utf-8")]


@pytest.mark.parametrize(("name", "value"), [("a", "b\nc"), ("a\r\nb", "c"), ("a", "\x00")])
def test_metadata_headers__d3_a_line_break_is_refused(name, value):
    with pytest.raises(ValueError, match="line break"):
        metadata_headers({name: value})
