"""PutObject, and POST of a browser form, which the edge turns into one."""

from collections.abc import Mapping
from typing import Any

from strongroom.aws.checksums import expected
from strongroom.database.database import Connection
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata import deletions
from strongroom.metadata.objects import get_version, put_version
from strongroom.metadata.records import Attributes, ObjectVersion, OpenBucket
from strongroom.s3.acl import check_acl
from strongroom.s3.attributes import attributes_of
from strongroom.s3.checksum_values import DEFAULT, checksum_members, seal_values
from strongroom.s3.encryption import response_members
from strongroom.s3.encryption_headers import choose_encryption
from strongroom.s3.object_keys import ObjectKey, new_object_key
from strongroom.s3.requests import check_write_conditions, new_version_member, object_key_name, payload
from strongroom.s3.storage import Storage, commit_blob, open_bucket
from strongroom.s3.write_body import Written, write_body


async def put_object(call: AuthorizedCall, storage: Storage) -> Answer:
    """Store one object. What the request says is judged before its body is read."""
    bucket = await open_bucket(storage, call)
    key = object_key_name(call)
    check_acl(call.input.get("ACL"))
    attributes = attributes_of(call.input)
    promise = expected(call.headers)
    body = payload(call)
    # An early refusal spares the client the upload; the transaction decides.
    check_write_conditions(call.input, key, await get_version(storage.database, bucket, key))
    choice = choose_encryption(call, bucket)

    # A key that is refused costs nobody an upload.
    object_key = await new_object_key(storage, call.requester, bucket, key, choice.chosen)
    algorithm = promise.algorithm.name if promise.algorithm else DEFAULT
    written = await write_body(
        storage,
        body,
        object_key,
        part_number=0,
        promise=promise,
        keep=frozenset({algorithm}),
    )
    version = await commit_object(
        storage, bucket, key, object_key, written, attributes=attributes, algorithm=algorithm, conditions=call.input
    )
    assert version.encryption is not None
    return Answer(
        output={
            "ETag": version.quoted_etag,
            **new_version_member(version),
            **checksum_members(written.values, algorithm, "FULL_OBJECT"),
            **response_members(version.encryption, choice.customer_key_md5),
        }
    )


async def commit_object(
    storage: Storage,
    bucket: OpenBucket,
    key: str,
    object_key: ObjectKey,
    written: Written,
    *,
    attributes: Attributes,
    algorithm: str,
    conditions: Mapping[str, Any],
) -> ObjectVersion:
    """The moment a single-part object exists (PutObject and CopyObject). Raises S3Error, IntegrityError, Unavailable."""
    checksums = seal_values(object_key, written.values)
    now_us, delete_after_us = storage.now_us(), storage.delete_after_us()

    def put(tx: Connection, bucket: OpenBucket) -> ObjectVersion:
        new = ObjectVersion(
            key=key,
            sequence=0,
            version_id="",
            object_id=object_key.object_id,
            is_delete_marker=False,
            size=written.part.size,
            last_modified_us=now_us,
            revision=1,
            secret_version=bucket.version,
            etag=written.part.etag,
            checksum_algorithm=algorithm,
            checksum_type="FULL_OBJECT",
            encryption=object_key.sealed(bucket),
            attributes=attributes,
            checksums=checksums,
            parts=(written.part,),
        )
        deletions.claim(tx, written.part.blob_id, object_key.object_id)
        return put_version(
            tx,
            bucket,
            new,
            now_us=now_us,
            delete_after_us=delete_after_us,
            check=lambda newest: check_write_conditions(conditions, key, newest),
        )

    return await commit_blob(storage, bucket, written.part.blob_id, put)
