from hashlib import md5

import pytest

from strongroom.aws.errors import S3Error
from strongroom.metadata.records import Part, quoted_etag
from strongroom.s3.multipart import (
    MIN_PART_BYTES,
    check_object_size,
    check_part_number,
    multipart_etag,
    requested_part,
    select_parts,
)


def part(number, size=MIN_PART_BYTES):
    return Part(
        part_number=number,
        size=size,
        etag=md5(str(number).encode()).digest(),
        modified_us=0,
        blob_id=b"b",
        header=b"h",
        stored_crc64nvme=b"c",
    )


UPLOADED = {number: part(number) for number in (1, 2, 3, 5)} | {7: part(7, 4), 10_000: part(10_000, 0)}


def etag(number):
    return UPLOADED[number].etag.hex()


def refusal(listed):
    with pytest.raises(S3Error) as caught:
        select_parts(listed, UPLOADED, upload_id="U")
    return caught.value


@pytest.mark.parametrize("numbers", [(1,), (7,), (10_000,), (1, 2), (2, 5), (1, 2, 3, 5, 7), (3, 10_000)])
@pytest.mark.parametrize("form", ["{}", '"{}"'])
def test_listed_parts_are_selected_in_order(numbers, form):
    selected = select_parts([(number, form.format(etag(number))) for number in numbers], UPLOADED, upload_id="U")
    assert selected == tuple(UPLOADED[number] for number in numbers)


def test_empty_list():
    error = refusal([])
    assert (error.code, error.status, error.message) == ("InvalidRequest", 400, "You must specify at least one part")


@pytest.mark.parametrize("numbers", [(2, 1), (1, 1), (1, 3, 2)])
def test_list_out_of_order(numbers):
    error = refusal([(number, etag(number)) for number in numbers])
    assert (error.code, error.status) == ("InvalidPartOrder", 400)
    assert error.message == "The list of parts was not in ascending order. Parts must be ordered by part number."
    assert error.detail == {"UploadId": "U"}


@pytest.mark.parametrize("number", [0, -1])
def test_part_number_below_one(number):
    error = refusal([(number, "e")])
    assert (error.code, error.message) == ("InvalidArgument", "PartNumber must be >= 1")
    assert error.detail == {"ArgumentName": "PartNumber", "ArgumentValue": str(number)}


@pytest.mark.parametrize(
    ("number", "given"),
    [
        (4, "d41d8cd98f00b204e9800998ecf8427e"),
        (1, "d41d8cd98f00b204e9800998ecf8427e"),
        (1, ""),
        (1, "zz"),
        (2**70, "a"),
    ],
)
@pytest.mark.parametrize("form", ["{}", '"{}"'])
def test_part_that_does_not_exist_or_has_another_etag(number, given, form):
    error = refusal([(number, form.format(given))])
    assert (error.code, error.status) == ("InvalidPart", 400)
    assert error.message == (
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified "
        "entity tag may not match the part's entity tag."
    )
    assert error.detail == {"UploadId": "U", "PartNumber": str(number), "ETag": given}


def test_small_part_before_the_last():
    error = refusal([(1, etag(1)), (7, etag(7)), (10_000, etag(10_000))])
    assert (error.code, error.status) == ("EntityTooSmall", 400)
    assert error.message == "Your proposed upload is smaller than the minimum allowed size"
    assert error.detail == {
        "ProposedSize": "4",
        "MinSizeAllowed": "5242880",
        "PartNumber": "7",
        "ETag": etag(7),
    }


def test_part_one_byte_short_of_the_minimum():
    uploaded = {1: part(1, MIN_PART_BYTES - 1), 2: part(2)}
    with pytest.raises(S3Error) as caught:
        select_parts([(n, p.etag.hex()) for n, p in uploaded.items()], uploaded, upload_id="U")
    assert caught.value.code == "EntityTooSmall"


def test_etag_is_the_md5_of_the_raw_etags_and_the_count():
    one, two = part(1), part(2)
    joined = bytes.fromhex(md5(b"1").hexdigest() + md5(b"2").hexdigest())
    assert quoted_etag(multipart_etag([one, two]), 2) == f'"{md5(joined).hexdigest()}-2"'


def test_declared_object_size():
    check_object_size(None, [part(1, 4)])
    check_object_size(10, [part(1, 4), part(2, 6)])
    with pytest.raises(S3Error) as caught:
        check_object_size(5, [part(1, 4)])
    assert caught.value.code == "InvalidRequest"
    assert caught.value.message == (
        "The provided 'x-amz-mp-object-size' header value 5 does not match what was computed: 4"
    )


@pytest.mark.parametrize("number", [1, 2, 10_000])
def test_part_number(number):
    check_part_number(number)


@pytest.mark.parametrize("number", [0, -1, 10_001, 2**70])
def test_part_number_out_of_range(number):
    for check in (check_part_number, lambda number: requested_part(number, [part(1)])):
        with pytest.raises(S3Error) as caught:
            check(number)
        assert (caught.value.code, caught.value.status) == ("InvalidArgument", 400)
        assert caught.value.message == "Part number must be an integer between 1 and 10000, inclusive"
        assert caught.value.detail == {"ArgumentName": "partNumber", "ArgumentValue": str(number)}


def test_requested_part():
    parts = [part(number) for number in (1, 2, 5, 10_000)]  # a gap is no reason to renumber
    for position, each in enumerate(parts):
        assert requested_part(each.part_number, parts) == (each, position * MIN_PART_BYTES)
    single = part(0, 7)
    assert requested_part(1, [single]) == (single, 0)


@pytest.mark.parametrize(("number", "parts"), [(2, [0]), (2, [1]), (3, [1, 2, 5]), (10, [1, 2])])
def test_requested_part_that_is_not_there(number, parts):
    with pytest.raises(S3Error) as caught:
        requested_part(number, [part(each) for each in parts])
    assert (caught.value.code, caught.value.status) == ("InvalidPartNumber", 416)
    assert caught.value.message == "The requested partnumber is not satisfiable"
    assert caught.value.detail == {"ActualPartCount": str(len(parts)), "PartNumberRequested": str(number)}
