import pytest

from strongroom.aws.errors import S3Error
from strongroom.s3.ranges import parse_copy_source_range, parse_range

FORM = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy"


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-8", 10, (0, 8)),
        ("bytes=1-1", 10, (1, 1)),
        ("bytes=0-0", 10, (0, 0)),
        ("bytes=9-9", 10, (9, 9)),
        ("bytes=1-", 10, (1, 9)),
        ("bytes=0-", 10, (0, 9)),
        ("bytes=-2", 10, (8, 9)),
        ("bytes=-9", 10, (1, 9)),
        ("bytes=-10", 10, (0, 9)),
        ("bytes=-15", 10, (0, 9)),
        ("bytes=0-100", 10, (0, 9)),
        ("bytes=0-9", 10, (0, 9)),
        ("Bytes=0-1", 10, (0, 1)),
        ("bytes=00000000000000000000000001-2", 10, (1, 2)),
        (f"bytes=0-{10**30}", 10, (0, 9)),
        (f"bytes=-{10**30}", 10, (0, 9)),
        ("bytes=0-" + "9" * 5000, 10, (0, 9)),
        # what S3 ignores
        ("bytes=1-0", 10, None),
        ("bytes=-1-", 10, None),
        ("bytes=0--1", 10, None),
        ("bytes=0-1,3-4,7-9", 10, None),
        ("0-1", 10, None),
        ("bytes=-", 10, None),
        ("bytes=", 10, None),
        ("bytes", 10, None),
        ("", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes= 0-1", 10, None),
        ("bytes=0x0-0x1", 10, None),
        ("bytes=٠-١", 10, None),
        ("bytes=1.0-2", 10, None),
        ("items=0-1", 10, None),
        ("bytes=20-15", 10, None),
        ("bytes=-5", 0, None),
    ],
)
def test_range(header, size, expected):
    assert parse_range(header, size) == expected


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=-0", 10),
        ("bytes=100-200", 10),
        ("bytes=10-10", 10),
        ("bytes=10-", 10),
        ("bytes=0-", 0),
        ("bytes=0-0", 0),
        ("bytes=40-50", 0),
        ("bytes=-0", 0),
        (f"bytes={10**30}-", 10),
        ("bytes=" + "9" * 5000 + "-", 10),
    ],
)
def test_range_that_cannot_be_satisfied_is_416(header, size):
    with pytest.raises(S3Error) as caught:
        parse_range(header, size)
    assert (caught.value.code, caught.value.status) == ("InvalidRange", 416)
    assert caught.value.message == "The requested range is not satisfiable"
    assert caught.value.detail == {"RangeRequested": header, "ActualObjectSize": str(size)}


@pytest.mark.parametrize(("header", "expected"), [("bytes=0-8", (0, 8)), ("bytes=1-1", (1, 1)), ("bytes=0-9", (0, 9))])
def test_copy_source_range(header, expected):
    assert parse_copy_source_range(header, 10) == expected


@pytest.mark.parametrize(
    "header",
    [
        "0-8",
        "bytes=1-0",
        "bytes=-1-",
        "bytes=0--1",
        "bytes=0-1,3-4,7-9",
        "bytes=-",
        "bytes=-0",
        "bytes=1-",
        "bytes=-2",
        "bytes=-15",
        "bytes=0",
        "bytes=hello-world",
        "bytes=0-bar",
        "bytes=hello-",
        "",
        "bytes=200-100",
    ],
)
def test_copy_source_range_of_another_form_is_invalid_argument(header):
    with pytest.raises(S3Error) as caught:
        parse_copy_source_range(header, 10)
    assert (caught.value.code, caught.value.status, caught.value.message) == ("InvalidArgument", 400, FORM)
    assert caught.value.detail == {"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": header}


@pytest.mark.parametrize("header", ["bytes=0-100", "bytes=0-10", "bytes=9-10", "bytes=0-" + "9" * 5000])
def test_copy_source_range_that_ends_beyond_the_source(header):
    with pytest.raises(S3Error) as caught:
        parse_copy_source_range(header, 10)
    assert (caught.value.code, caught.value.status) == ("InvalidArgument", 400)
    assert caught.value.message == "Range specified is not valid for source object of size: 10"
    assert caught.value.detail == {"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": header}


@pytest.mark.parametrize(("header", "size"), [("bytes=100-200", 10), ("bytes=10-10", 10), ("bytes=0-0", 0)])
def test_copy_source_range_that_begins_beyond_the_source(header, size):
    with pytest.raises(S3Error) as caught:
        parse_copy_source_range(header, size)
    assert (caught.value.code, caught.value.status) == ("InvalidRequest", 400)
    assert caught.value.message == "The specified copy range is invalid for the source object size"
