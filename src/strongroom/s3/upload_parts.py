"""UploadPart and UploadPartCopy: each attempt is a message of its own, under the upload's object key and the part's
number.
"""

from functools import partial

import msgspec

from strongroom.aws.checksums import Expected, expected
from strongroom.aws.errors import S3Error
from strongroom.database.database import Connection
from strongroom.identity.call import Answer, AuthorizedCall, Body
from strongroom.metadata.records import OpenBucket, Part, SseC, Upload
from strongroom.metadata.uploads import find_upload, get_upload, put_part
from strongroom.s3.checksum_values import DEFAULT, checksum_members, seal_values
from strongroom.s3.copy_object import TOO_LARGE, find_source, open_source, read_source
from strongroom.s3.encryption import response_members
from strongroom.s3.encryption_headers import part_customer_key
from strongroom.s3.multipart import check_part_number
from strongroom.s3.object_keys import OTHER_KEY, ObjectKey, unseal_by_kms, unseal_here
from strongroom.s3.ranges import parse_copy_source_range
from strongroom.s3.requests import MAX_PUT, moment, object_key_name, payload
from strongroom.s3.storage import Storage, commit_blob, open_bucket
from strongroom.s3.write_body import Written, write_body

KEY_EXPECTED = "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
_TYPE_MISMATCH = "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}"


async def upload_part(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket, upload, key = await _find_upload(call, storage)
    promise, body = expected(call.headers), payload(call)
    keep = _kept(upload, promise)
    object_key = key or await unseal_by_kms(storage, call.requester, bucket, upload)
    written = await _write(storage, call, object_key, body, promise, keep)
    await _commit(storage, bucket, upload, object_key, written)
    echoed = promise.algorithm.name if promise.algorithm else upload.checksum_algorithm
    return Answer(
        output={
            "ETag": f'"{written.part.etag.hex()}"',
            **checksum_members(written.values, echoed),
            **response_members(upload.encryption, call.input.get("SSECustomerKeyMD5")),
        }
    )


async def upload_part_copy(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket, upload, key = await _find_upload(call, storage)
    source = await find_source(call, storage, partial(_copied, call.input.get("CopySourceRange")))
    keep = _kept(upload, Expected(), is_copy=True)
    source_key = await open_source(call, storage, source)
    object_key = key or await unseal_by_kms(storage, call.requester, bucket, upload)
    async with read_source(storage, source, source_key) as body:
        written = await _write(storage, call, object_key, body, Expected(), keep)
    await _commit(storage, bucket, upload, object_key, written)
    return Answer(
        output={
            "CopyPartResult": {
                "ETag": f'"{written.part.etag.hex()}"',
                "LastModified": moment(written.part.modified_us),
                **checksum_members(written.values, upload.checksum_algorithm),
            },
            **source.version_member,
            **response_members(upload.encryption, call.input.get("SSECustomerKeyMD5")),
        }
    )


def _copied(header: str | None, size: int) -> tuple[int, int]:
    """What x-amz-copy-source-range wants of a source of `size` bytes. Raises S3Error."""
    first, last = parse_copy_source_range(header, size) if header is not None else (0, size - 1)
    if last - first + 1 > MAX_PUT:
        raise S3Error("InvalidRequest", TOO_LARGE.format(MAX_PUT))
    return first, last


def no_such_upload(upload_id: str) -> S3Error:
    return S3Error("NoSuchUpload", UploadId=upload_id)


async def _find_upload(call: AuthorizedCall, storage: Storage) -> tuple[OpenBucket, Upload, ObjectKey | None]:
    """The open upload that a part is for, and its object key, None where a key service has to open it. Raises S3Error,
    IntegrityError.
    """
    bucket = await open_bucket(storage, call)
    key, upload_id = object_key_name(call), call.input["UploadId"]
    check_part_number(call.input["PartNumber"])
    customer_key = part_customer_key(call, bucket)
    upload = await get_upload(storage.database, bucket, key, upload_id)
    if upload is None or upload.completion:
        raise no_such_upload(upload_id)
    if isinstance(upload.encryption, SseC) is (customer_key is None):
        if customer_key:
            customer_key.zero()
        raise S3Error("InvalidRequest", KEY_EXPECTED)
    local_key = unseal_here(bucket, upload, customer_key, wrong_key=S3Error("InvalidRequest", OTHER_KEY))
    return bucket, upload, local_key


def _kept(upload: Upload, promise: Expected, *, is_copy: bool = False) -> frozenset[str]:
    """The checksums that the part keeps or echoes. Raises InvalidRequest where the upload declared another algorithm.

    Without a declaration SSE-S3 keeps CRC64NVME, which the whole object's follows from; with SSE-C nobody could open it
    at Complete, so nothing is kept (and what the client sent is echoed all the same).
    """
    sent = promise.algorithm.name if promise.algorithm else ""
    declared = upload.checksum_algorithm
    if declared:
        if sent != declared and (sent or (upload.checksum_type == "COMPOSITE" and not is_copy)):
            raise S3Error("InvalidRequest", _TYPE_MISMATCH.format(declared.lower(), sent.lower() or "null"))
        return frozenset({declared})
    kept = set() if isinstance(upload.encryption, SseC) else {DEFAULT}
    return frozenset(kept | {sent} if sent else kept)


async def _write(
    storage: Storage, call: AuthorizedCall, object_key: ObjectKey, body: Body, promise: Expected, keep: frozenset[str]
) -> Written:
    return await write_body(
        storage,
        body,
        object_key,
        part_number=call.input["PartNumber"],
        promise=promise,
        keep=keep,
    )


async def _commit(
    storage: Storage, bucket: OpenBucket, upload: Upload, object_key: ObjectKey, written: Written
) -> None:
    """The part exists, in place of an earlier attempt, if the upload is still open then."""
    wanted = upload.checksum_algorithm or ("" if isinstance(upload.encryption, SseC) else DEFAULT)
    kept = {name: value for name, value in written.values.items() if name == wanted}
    part = msgspec.structs.replace(written.part, checksums=seal_values(object_key, kept, written.part.part_number))
    delete_after_us = storage.delete_after_us()

    def put(tx: Connection, bucket: OpenBucket) -> Part:
        current = find_upload(tx, bucket, upload.key, upload.upload_id)
        if current is None or current.completion:
            raise no_such_upload(upload.upload_id)
        put_part(tx, bucket, current, part, delete_after_us=delete_after_us)
        return part

    await commit_blob(storage, bucket, part.blob_id, put)
