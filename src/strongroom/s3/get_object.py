"""GetObject and HeadObject: one path, of which HEAD leaves out the body. With SSE-C, HEAD proves the key by unsealing
too.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.records import ObjectVersion, OpenBucket, Part
from strongroom.s3.attributes import content_members, response_overrides
from strongroom.s3.checksum_values import checksum_members, open_values
from strongroom.s3.conditions import check_read
from strongroom.s3.encryption import response_members
from strongroom.s3.encryption_headers import read_customer_key
from strongroom.s3.find_object import find_object, of_one_moment
from strongroom.s3.multipart import requested_part
from strongroom.s3.object_keys import ObjectKey, unseal_by_kms, unseal_here
from strongroom.s3.permissions import tagging_read
from strongroom.s3.ranges import parse_range
from strongroom.s3.read_body import Slice, all_parts, plaintext, primed, slices
from strongroom.s3.requests import moment, now, object_key_name, preconditions, version_member
from strongroom.s3.storage import Storage, open_bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Which plaintext bytes are asked for: `first`..`last` inclusive; `partial`: the answer is 206. `part`: asked for
    by its number.
    """

    first: int
    last: int
    partial: bool
    part: Part | None = None

    @property
    def length(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """`key`: None where only a key service opens it; `pieces`: of GetObject alone."""

    version: ObjectVersion
    key: ObjectKey | None
    extent: Extent
    pieces: list[Slice]


async def get_object(call: AuthorizedCall, storage: Storage) -> Answer:
    found, key, output = await _head(call, storage)
    assert key is not None
    output["Body"] = await primed(plaintext(storage, key, found.pieces), found.extent.length)
    return Answer(output=output, status=206 if found.extent.partial else 200)


async def head_object(call: AuthorizedCall, storage: Storage) -> Answer:
    found, _, output = await _head(call, storage)
    return Answer(output=output, status=206 if found.extent.partial else 200)


async def _head(call: AuthorizedCall, storage: Storage) -> tuple[_Found, ObjectKey | None, dict[str, Any]]:
    """What both answer, and the object's key: None where a key service would have to be asked for it and nothing is
    shown that is sealed under it (plain HEAD).
    """
    bucket = await open_bucket(storage, call)
    found = await of_one_moment(partial(_find, call, storage, bucket))
    version, key, extent = found.version, found.key, found.extent
    with_checksums = str(call.input.get("ChecksumMode")).upper() == "ENABLED"
    if key is None and (with_checksums or call.operation == "GetObject"):
        key = await unseal_by_kms(storage, call.requester, bucket, version)
    assert version.encryption is not None
    output = {
        **described(bucket, version),
        **response_overrides(call.input),
        **response_members(version.encryption, call.input.get("SSECustomerKeyMD5")),
        "AcceptRanges": "bytes",
        "ContentLength": extent.length,
    }
    tags = version.attributes.tags
    if tags and call.denial(tagging_read(call.input)) is None:
        output["TagCount"] = len(tags)
    if extent.partial:
        output["ContentRange"] = f"bytes {extent.first}-{extent.last}/{version.size}"
    if extent.part is not None and version.part_count:
        output["PartsCount"] = version.part_count
    if with_checksums and key is not None:
        output |= _checksums(version, key, extent)
    return found, key, output


async def _find(call: AuthorizedCall, storage: Storage, bucket: OpenBucket) -> _Found:
    name = object_key_name(call)
    customer_key = read_customer_key(call)
    version = await find_object(storage, bucket, name, call.input.get("VersionId"))
    key = unseal_here(bucket, version, customer_key)
    check_conditions(call, storage, bucket, version)
    extent = await _extent(call, storage, bucket, version)
    with_body = call.operation == "GetObject"
    pieces = await slices(storage, bucket, version, extent.first, extent.last) if with_body else []
    return _Found(version=version, key=key, extent=extent, pieces=pieces)


def described(bucket: OpenBucket, version: ObjectVersion) -> dict[str, Any]:
    """What every read of an object says of it."""
    attributes = version.attributes
    output: dict[str, Any] = {
        "ETag": version.quoted_etag,
        "LastModified": moment(version.last_modified_us),
        **content_members(attributes),
        **version_member(bucket, version),
    }
    if attributes.user_metadata:
        output["Metadata"] = attributes.user_metadata
    if attributes.storage_class != "STANDARD":
        output["StorageClass"] = attributes.storage_class
    return output


def check_conditions(call: AuthorizedCall, storage: Storage, bucket: OpenBucket, version: ObjectVersion) -> None:
    """Raises PreconditionFailed, or NotModified with the headers that RFC 9110 15.4.5 asks of a 304."""
    modified = moment(version.last_modified_us)
    try:
        check_read(preconditions(call.input), etag=version.quoted_etag, last_modified=modified, now=now(storage))
    except S3Error as error:
        if error.code != "NotModified":
            raise
        headers = {"ETag": version.quoted_etag, "Last-Modified": modified.strftime("%a, %d %b %Y %H:%M:%S GMT")}
        for member, header in (("CacheControl", "Cache-Control"), ("Expires", "Expires")):
            if value := version.attributes.content_headers.get(member):
                headers[header] = value
        if version_id := version_member(bucket, version).get("VersionId"):
            headers["x-amz-version-id"] = version_id
        raise S3Error("NotModified", headers=headers) from None


async def _extent(call: AuthorizedCall, storage: Storage, bucket: OpenBucket, version: ObjectVersion) -> Extent:
    part_number, header = call.input.get("PartNumber"), call.input.get("Range")
    if part_number is None:
        wanted = parse_range(header, version.size)
        if wanted is None:
            return Extent(first=0, last=version.size - 1, partial=False)
        return Extent(first=wanted[0], last=wanted[1], partial=True)
    if header is not None:
        raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
    part, offset = requested_part(part_number, await all_parts(storage, bucket, version))
    return Extent(first=offset, last=offset + part.size - 1, partial=part.size > 0, part=part)


def _checksums(version: ObjectVersion, key: ObjectKey, extent: Extent) -> dict[str, str]:
    """Of the whole object, or of one part of a multipart upload that declared an algorithm; a byte range has none."""
    algorithm = version.checksum_algorithm
    if extent.part is not None and version.part_count:
        values = open_values(key, extent.part.checksums, extent.part.part_number)
        return checksum_members(values, algorithm, version.checksum_type)
    if extent.partial and extent.length != version.size:
        return {}
    return checksum_members(open_values(key, version.checksums), algorithm, version.checksum_type, version.part_count)
