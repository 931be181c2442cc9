"""DeleteObject and DeleteObjects: a marker or the removal of a row. The blob goes into the deletion queue in the same
transaction.
"""

import asyncio
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Connection
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.objects import find, latest, put_delete_marker, remove_version
from strongroom.metadata.records import NULL_VERSION, ObjectVersion, OpenBucket
from strongroom.observe.metrics import count_integrity_error
from strongroom.s3.conditions import check_delete
from strongroom.s3.find_object import check_version_id, is_version_id, missing
from strongroom.s3.naming import check_key
from strongroom.s3.permissions import deletions
from strongroom.s3.requests import object_key_name
from strongroom.s3.storage import Storage, commit, open_bucket

MAX_KEYS = 1000  # of one DeleteObjects


async def delete_object(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    key = object_key_name(call)
    output = await _delete(storage, bucket, key, call.input.get("VersionId"), call.input.get("IfMatch"))
    return Answer(output=output)


async def delete_objects(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    wanted: list[dict[str, Any]] = call.input["Delete"]["Objects"]
    if not 1 <= len(wanted) <= MAX_KEYS:
        raise S3Error("MalformedXML")
    for each in wanted:
        if "LastModifiedTime" in each or "Size" in each:
            raise S3Error("NotImplemented", Header="LastModifiedTime" if "LastModifiedTime" in each else "Size")
    # All at once, so that they share one commit.
    results = await asyncio.gather(*(_delete_one(call, storage, bucket, each) for each in wanted))
    quiet = call.input["Delete"].get("Quiet", False)
    return Answer(
        output={
            "Deleted": [] if quiet else [result for result in results if "Code" not in result],
            "Errors": [result for result in results if "Code" in result],
        }
    )


async def _delete_one(
    call: AuthorizedCall, storage: Storage, bucket: OpenBucket, wanted: dict[str, Any]
) -> dict[str, Any]:
    """One member of the answer: of `Errors` if it has a Code, else of `Deleted`. What may not be deleted is an error of
    this key alone.
    """
    key, version_id = wanted["Key"], wanted.get("VersionId")
    named = {"Key": key} | ({"VersionId": version_id} if version_id is not None else {})
    for permission in deletions(bucket.bucket.name, wanted):
        if (message := call.denial(permission)) is not None:
            return {**named, "Code": "AccessDenied", "Message": message}
    try:
        check_key(key)
        if version_id is not None and not is_version_id(version_id):
            raise missing(key, version_id)  # DeleteObject calls the same an InvalidArgument
        output = await _delete(storage, bucket, key, version_id, wanted.get("ETag"))
    except S3Error as error:
        if error.status >= 500:
            raise  # nothing of the kind is one key's fault
        return {**named, "Code": error.code, "Message": error.message}
    except IntegrityError:
        count_integrity_error()
        internal = S3Error("InternalError")
        return {**named, "Code": internal.code, "Message": internal.message}
    if output.get("DeleteMarker"):
        return {**named, "DeleteMarker": True, "DeleteMarkerVersionId": output["VersionId"]}
    return named


async def _delete(
    storage: Storage, bucket: OpenBucket, key: str, version_id: str | None, if_match: str | None
) -> dict[str, Any]:
    """`DeleteMarker` and `VersionId` as DeleteObject answers them. What is not there is a success (S3 API Reference,
    DeleteObject).
    """
    check_version_id(version_id)
    now_us, delete_after_us = storage.now_us(), storage.delete_after_us()

    def check(current: ObjectVersion | None) -> None:
        exists = current is not None and not current.is_delete_marker
        check_delete(if_match=if_match, current_etag=current.quoted_etag if current and exists else None)

    def delete(tx: Connection, bucket: OpenBucket) -> dict[str, Any]:
        if version_id is None and bucket.config.versioning:
            marker = put_delete_marker(tx, bucket, key, now_us=now_us, delete_after_us=delete_after_us, check=check)
            return {"DeleteMarker": True, "VersionId": marker.version_id}
        found = latest(tx, bucket, key) if version_id is None else find(tx, bucket, key, version_id)
        check(found)
        if found:
            remove_version(tx, bucket, found, delete_after_us=delete_after_us)
        if version_id is None:
            return {}
        shown = {"VersionId": version_id} if bucket.config.versioning or version_id != NULL_VERSION else {}
        return {**shown, "DeleteMarker": True} if found and found.is_delete_marker else shown

    return await commit(storage, bucket, delete, frees_space=True)
