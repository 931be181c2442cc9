"""Tags of objects and of buckets. An object's tags are a compare-and-swap of its row, so that they never bring back an
older key.
"""

from dataclasses import replace

import msgspec

from strongroom.aws.errors import S3Error
from strongroom.database.database import Connection
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.buckets import update_bucket
from strongroom.metadata.objects import find, update_version
from strongroom.metadata.records import ObjectVersion, OpenBucket, Tags
from strongroom.s3.find_object import find_object
from strongroom.s3.requests import object_key_name, version_member
from strongroom.s3.storage import Storage, commit, open_bucket
from strongroom.s3.tags import BUCKET_TAGS, OBJECT_TAGS, check_tag_set


async def get_object_tagging(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    version = await find_object(storage, bucket, object_key_name(call), call.input.get("VersionId"))
    return Answer(output={"TagSet": _tag_set(version.attributes.tags), **version_member(bucket, version)})


async def put_object_tagging(call: AuthorizedCall, storage: Storage) -> Answer:
    return await _write_object_tags(call, storage, check_tag_set(call.input["Tagging"]["TagSet"], OBJECT_TAGS))


async def delete_object_tagging(call: AuthorizedCall, storage: Storage) -> Answer:
    return await _write_object_tags(call, storage, ())


async def _write_object_tags(call: AuthorizedCall, storage: Storage, tags: Tags) -> Answer:
    bucket = await open_bucket(storage, call)
    key, version_id = object_key_name(call), call.input.get("VersionId")
    # Once outside for S3's many words on what is missing; the row that counts is the transaction's.
    await find_object(storage, bucket, key, version_id)

    def write(tx: Connection, bucket: OpenBucket) -> ObjectVersion:
        found = find(tx, bucket, key, version_id)
        if found is None or found.is_delete_marker:
            raise S3Error("NoSuchKey", Key=key)
        attributes = msgspec.structs.replace(found.attributes, tags=tags)
        return update_version(tx, bucket, found, replace(found, attributes=attributes))

    return Answer(output=version_member(bucket, await commit(storage, bucket, write)))


async def get_bucket_tagging(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    if not bucket.config.tags:
        raise S3Error("NoSuchTagSet", BucketName=bucket.bucket.name)
    return Answer(output={"TagSet": _tag_set(bucket.config.tags)})


async def put_bucket_tagging(call: AuthorizedCall, storage: Storage) -> Answer:
    return await _write_bucket_tags(call, storage, check_tag_set(call.input["Tagging"]["TagSet"], BUCKET_TAGS))


async def delete_bucket_tagging(call: AuthorizedCall, storage: Storage) -> Answer:
    return await _write_bucket_tags(call, storage, ())


async def _write_bucket_tags(call: AuthorizedCall, storage: Storage, tags: Tags) -> Answer:
    bucket = await open_bucket(storage, call)

    def write(tx: Connection, bucket: OpenBucket) -> None:
        config = msgspec.structs.replace(bucket.config, tags=tags)
        update_bucket(tx, bucket, config=config)

    await commit(storage, bucket, write)
    return Answer()


def _tag_set(tags: Tags) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags]
