"""GetObjectAttributes: what is known of an object, checksums included, without its bytes."""

from functools import partial
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.records import ObjectVersion, OpenBucket, Part
from strongroom.s3.checksum_values import checksum_members, open_values
from strongroom.s3.encryption_headers import read_customer_key
from strongroom.s3.find_object import find_object, of_one_moment
from strongroom.s3.get_object import check_conditions
from strongroom.s3.object_keys import ObjectKey, unseal_by_kms, unseal_here
from strongroom.s3.read_body import all_parts
from strongroom.s3.requests import moment, object_key_name, page_number, version_member
from strongroom.s3.storage import Storage, open_bucket

_KNOWN = frozenset({"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"})
_MAX_PARTS = 1000


async def get_object_attributes(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    wanted = _wanted(call)
    version, key, parts = await of_one_moment(partial(_find, call, storage, bucket, wanted))
    if key is None and _shows_checksums(wanted, version):
        key = await unseal_by_kms(storage, call.requester, bucket, version)
    output: dict[str, Any] = {
        "LastModified": moment(version.last_modified_us),
        **version_member(bucket, version),
    }
    if "ETag" in wanted:
        output["ETag"] = version.quoted_etag.strip('"')
    if "Checksum" in wanted and key is not None:
        values = open_values(key, version.checksums)
        if checksum := checksum_members(values, version.checksum_algorithm, version.checksum_type):
            output["Checksum"] = checksum
    if "ObjectParts" in wanted and version.part_count:
        output["ObjectParts"] = _object_parts(call, version, key, parts)
    if "StorageClass" in wanted:
        output["StorageClass"] = version.attributes.storage_class
    if "ObjectSize" in wanted:
        output["ObjectSize"] = version.size
    return Answer(output=output)


async def _find(
    call: AuthorizedCall, storage: Storage, bucket: OpenBucket, wanted: set[str]
) -> tuple[ObjectVersion, ObjectKey | None, list[Part]]:
    name = object_key_name(call)
    customer_key = read_customer_key(call)
    version = await find_object(storage, bucket, name, call.input.get("VersionId"))
    key = unseal_here(bucket, version, customer_key)
    check_conditions(call, storage, bucket, version)
    parts = await all_parts(storage, bucket, version) if "ObjectParts" in wanted and version.part_count else []
    return version, key, parts


def _shows_checksums(wanted: set[str], version: ObjectVersion) -> bool:
    """Whether the answer tells what is sealed under the object's key."""
    return "Checksum" in wanted or ("ObjectParts" in wanted and version.checksum_type == "COMPOSITE")


def _wanted(call: AuthorizedCall) -> set[str]:
    """The attributes named; S3 wants at least one, all known. Raises InvalidArgument."""
    names = {name.strip() for each in call.input["ObjectAttributes"] for name in each.split(",") if name.strip()}
    if not names <= _KNOWN or not names:
        raise S3Error(
            "InvalidArgument",
            "Invalid attribute name specified.",
            ArgumentName="x-amz-object-attributes",
            ArgumentValue=",".join(sorted(names - _KNOWN)),
        )
    return names


def _object_parts(
    call: AuthorizedCall, version: ObjectVersion, key: ObjectKey | None, parts: list[Part]
) -> dict[str, Any]:
    """Only a COMPOSITE checksum brings the list of parts; else S3 tells no more than their number."""
    output: dict[str, Any] = {"TotalPartsCount": version.part_count}
    if version.checksum_type != "COMPOSITE" or key is None:
        return output
    marker = page_number(call, "PartNumberMarker", "x-amz-part-number-marker", 0)
    limit = min(page_number(call, "MaxParts", "x-amz-max-parts", _MAX_PARTS), _MAX_PARTS)
    behind = [part for part in parts if part.part_number > marker]
    shown = behind[:limit]
    return output | {
        "PartNumberMarker": marker,
        "NextPartNumberMarker": shown[-1].part_number if shown else 0,
        "MaxParts": limit,
        "IsTruncated": len(behind) > limit > 0,
        "Parts": [
            {
                "PartNumber": part.part_number,
                "Size": part.size,
                **checksum_members(open_values(key, part.checksums, part.part_number), version.checksum_algorithm),
            }
            for part in shown
        ],
    }
