"""ListMultipartUploads and ListParts."""

from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.records import OpenBucket, SseC, Upload
from strongroom.metadata.uploads import get_upload, list_parts, list_uploads
from strongroom.s3.buckets import owner_id
from strongroom.s3.checksum_values import checksum_members, open_values
from strongroom.s3.encryption_headers import read_customer_key
from strongroom.s3.list_objects import encoder, fill, page_size
from strongroom.s3.listing import Fold, Seek
from strongroom.s3.object_keys import OTHER_KEY, ObjectKey, unseal_by_kms, unseal_here
from strongroom.s3.requests import moment, object_key_name, page_number
from strongroom.s3.storage import Storage, open_bucket
from strongroom.s3.upload_parts import KEY_EXPECTED, no_such_upload

MAX_PARTS = 1000  # of one page
_STEP = 100  # rows of one read: that of a completed upload may name 10,000 parts


async def list_multipart_uploads(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    given, encoded = call.input, encoder(call)
    key_marker = given.get("KeyMarker") or ""
    id_marker = (given.get("UploadIdMarker") or None) if key_marker else None  # S3 ignores it without a key
    fold: Fold[Upload] = Fold(
        prefix=given.get("Prefix") or "",
        delimiter=given.get("Delimiter") or "",
        after=key_marker,
        resume=id_marker is not None,
        max_keys=page_size(call, "MaxUploads"),
        hidden=lambda upload: upload.completion is not None,
    )

    async def fetch(bucket: OpenBucket, seek: Seek[Upload], limit: int) -> list[Upload]:
        after = seek.row.upload_id if seek.row else id_marker if seek.lower == key_marker else None
        return await list_uploads(
            storage.database,
            bucket,
            lower=seek.lower,
            inclusive=seek.inclusive,
            after_upload_id=after,
            below=fold.below,
            limit=limit,
        )

    await fill(storage, bucket, fold, fetch, step=_STEP)
    output: dict[str, Any] = {
        "Bucket": given["Bucket"],
        "KeyMarker": encoded(key_marker),
        "UploadIdMarker": id_marker or "",
        "MaxUploads": page_size(call, "MaxUploads"),
        "IsTruncated": fold.is_truncated,
        "Uploads": [_upload(call, upload) for upload in fold.contents],
        "CommonPrefixes": [{"Prefix": encoded(prefix)} for prefix in fold.common_prefixes],
    }
    if given.get("Prefix"):
        output["Prefix"] = encoded(given["Prefix"])
    if given.get("Delimiter"):
        output["Delimiter"] = encoded(given["Delimiter"])
    if given.get("EncodingType"):
        output["EncodingType"] = given["EncodingType"]
    # Also on the last page, where the other listings have none.
    output["NextKeyMarker"] = encoded(fold.next_marker)
    output["NextUploadIdMarker"] = fold.last_row.upload_id if fold.last_row else ""
    return Answer(output=output)


async def list_upload_parts(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    key, upload_id = object_key_name(call), call.input["UploadId"]
    customer_key = read_customer_key(call)
    marker = page_number(call, "PartNumberMarker", "part-number-marker", 0)
    limit = min(page_number(call, "MaxParts", "max-parts", MAX_PARTS), MAX_PARTS)
    upload = await get_upload(storage.database, bucket, key, upload_id)
    if upload is None or upload.completion:
        raise no_such_upload(upload_id)
    object_key: ObjectKey | None = None
    if isinstance(upload.encryption, SseC) and customer_key is None:
        if upload.checksum_algorithm:
            raise S3Error("InvalidRequest", KEY_EXPECTED)
    else:
        object_key = unseal_here(bucket, upload, customer_key, wrong_key=S3Error("InvalidRequest", OTHER_KEY))
        if object_key is None and upload.checksum_algorithm:  # else there is nothing to open
            object_key = await unseal_by_kms(storage, call.requester, bucket, upload)
    parts = await list_parts(storage.database, bucket, upload, after=marker, limit=limit + 1)
    shown = parts[:limit]
    truncated = len(parts) > limit > 0
    algorithm = upload.checksum_algorithm
    owner = {"ID": owner_id(call.principal.account_id)}
    output: dict[str, Any] = {
        "Bucket": bucket.bucket.name,
        "Key": key,
        "UploadId": upload_id,
        "PartNumberMarker": marker,
        "NextPartNumberMarker": shown[-1].part_number if shown else 0,
        "MaxParts": limit,
        "IsTruncated": truncated,
        "Parts": [
            {
                "PartNumber": part.part_number,
                "LastModified": moment(part.modified_us),
                "ETag": f'"{part.etag.hex()}"',
                "Size": part.size,
                **(
                    checksum_members(open_values(object_key, part.checksums, part.part_number), algorithm)
                    if object_key and algorithm
                    else {}
                ),
            }
            for part in shown
        ],
        "Initiator": owner,
        "Owner": owner,
        "StorageClass": upload.attributes.storage_class,
    }
    if algorithm:
        output |= {"ChecksumAlgorithm": algorithm, "ChecksumType": upload.checksum_type}
    return Answer(output=output)


def _upload(call: AuthorizedCall, upload: Upload) -> dict[str, Any]:
    owner = {"ID": owner_id(call.principal.account_id)}
    entry: dict[str, Any] = {
        "UploadId": upload.upload_id,
        "Key": encoder(call)(upload.key),
        "Initiated": moment(upload.initiated_us),
        "StorageClass": upload.attributes.storage_class,
        "Owner": owner,
        "Initiator": owner,
    }
    if upload.checksum_algorithm:
        entry |= {"ChecksumAlgorithm": upload.checksum_algorithm, "ChecksumType": upload.checksum_type}
    return entry
