"""The rules of multipart uploads: part numbers, the list that completes an upload, the ETag that comes of it.

Parts are the records of the index; nothing here reads or writes one, or knows how a part is encrypted. Checksums of
parts are sealed and judged elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import md5
from itertools import pairwise

from strongroom.aws.errors import S3Error
from strongroom.metadata.records import Part

MAX_PARTS = 10_000
MIN_PART_BYTES = 5 * 1024 * 1024


def check_part_number(number: int) -> None:
    """UploadPart, UploadPartCopy, and `partNumber` of a read. Raises InvalidArgument."""
    if not 1 <= number <= MAX_PARTS:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=str(number),
        )


def requested_part(number: int, parts: Iterable[Part]) -> tuple[Part, int]:
    """The part that `partNumber` of GetObject and HeadObject names, and its plaintext offset in the object.

    Parts keep the numbers of their upload, which may have gaps; a single PUT is kept as part 0 and asked for as 1.
    Raises InvalidArgument, InvalidPartNumber (416).
    """
    check_part_number(number)
    offset = count = 0
    for part in parts:
        if max(part.part_number, 1) == number:
            return part, offset
        offset, count = offset + part.size, count + 1
    raise S3Error("InvalidPartNumber", ActualPartCount=str(count), PartNumberRequested=str(number))


def select_parts(
    listed: Sequence[tuple[int, str]], uploaded: Mapping[int, Part], *, upload_id: str
) -> tuple[Part, ...]:
    """The parts that CompleteMultipartUpload's list of (part number, ETag, quoted or not) names, in order.

    Raises InvalidRequest (an empty list), InvalidArgument, InvalidPartOrder, InvalidPart, EntityTooSmall.
    """
    if not listed:
        raise S3Error("InvalidRequest", "You must specify at least one part")
    _check_order([number for number, _ in listed], upload_id)
    parts = tuple(_named_part(uploaded, number, etag.strip('"'), upload_id) for number, etag in listed)
    for part in parts[:-1]:
        if part.size < MIN_PART_BYTES:
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=str(part.size),
                MinSizeAllowed=str(MIN_PART_BYTES),
                PartNumber=str(part.part_number),
                ETag=part.etag.hex(),
            )
    return parts


def check_object_size(declared: int | None, parts: Iterable[Part]) -> None:
    """x-amz-mp-object-size against the plaintext bytes of all parts. Raises InvalidRequest."""
    size = sum(part.size for part in parts)
    if declared is not None and declared != size:
        raise S3Error(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {declared} does not match what was computed: {size}",
        )


def multipart_etag(parts: Iterable[Part]) -> bytes:
    """MD5 over the raw ETags of the parts, in every mode of encryption; the count is shown behind it, `-N`."""
    return md5(b"".join(part.etag for part in parts), usedforsecurity=False).digest()


def _check_order(numbers: Sequence[int], upload_id: str) -> None:
    if numbers[0] < 1:
        raise S3Error(
            "InvalidArgument", "PartNumber must be >= 1", ArgumentName="PartNumber", ArgumentValue=str(numbers[0])
        )
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise S3Error("InvalidPartOrder", UploadId=upload_id)


def _named_part(uploaded: Mapping[int, Part], number: int, etag: str, upload_id: str) -> Part:
    part = uploaded.get(number)
    if part is None or part.etag.hex() != etag:
        raise S3Error("InvalidPart", UploadId=upload_id, PartNumber=str(number), ETag=etag)
    return part
