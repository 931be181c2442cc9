"""Buckets: create, head, list, delete, location, versioning."""

import re

import msgspec

from strongroom.aws.errors import S3Error
from strongroom.database.database import Connection
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.buckets import BucketNotEmpty, delete_bucket, update_bucket
from strongroom.metadata.records import BucketConfig, OpenBucket
from strongroom.s3.acl import check_acl
from strongroom.s3.listing import successor
from strongroom.s3.naming import check_bucket_name
from strongroom.s3.requests import moment
from strongroom.s3.storage import Storage, commit, open_bucket
from strongroom.s3.tags import BUCKET_TAGS, check_tag_set

DEFAULT_REGION = "us-east-1"  # the region whose LocationConstraint is empty (S3 API Reference, GetBucketLocation)
_REGION = re.compile(r"EU|[a-z]{2}(-[a-z]+)+-[0-9]")
MAX_BUCKETS = 10_000  # of one page of ListBuckets


async def create_bucket(call: AuthorizedCall, storage: Storage) -> Answer:
    name = call.input["Bucket"]
    check_bucket_name(name)
    check_acl(call.input.get("ACL"))
    configuration = call.input.get("CreateBucketConfiguration") or {}
    for member in ("Location", "Bucket"):  # directory buckets
        if configuration.get(member):
            raise S3Error("NotImplemented", Header=f"CreateBucketConfiguration.{member}")
    config = BucketConfig(
        owner_account=call.principal.account_id,
        location=_location(configuration.get("LocationConstraint"), storage.region),
        blocks_sse_c=storage.blocks_sse_c,
        tags=check_tag_set(configuration.get("Tags") or [], BUCKET_TAGS),
    )
    # One account, so the owner is always the caller. Only us-east-1 takes a bucket made again for made, and programs
    # written for it count on that (S3 API Reference, CreateBucket, BucketAlreadyOwnedByYou).
    if not await storage.keyring.create_bucket(name, config) and storage.region != DEFAULT_REGION:
        raise S3Error("BucketAlreadyOwnedByYou", BucketName=name)
    return Answer(output={"Location": f"/{name}", "BucketArn": _arn(name)})


def _location(constraint: str | None, region: str) -> str:
    """Where the bucket is to be: here. Raises S3Error as AWS's regional endpoints do."""
    if constraint is None:
        return "" if region == DEFAULT_REGION else region
    if constraint != region and _REGION.fullmatch(constraint) is None:
        raise S3Error("InvalidLocationConstraint", LocationConstraint=constraint)
    if constraint != region:
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {constraint} location constraint is incompatible for the region specific endpoint this request was sent to.",
        )
    return "" if region == DEFAULT_REGION else region


async def head_bucket(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    name = bucket.bucket.name
    return Answer(output={"BucketRegion": storage.region, "BucketArn": _arn(name), "AccessPointAlias": False})


async def get_bucket_location(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    return Answer(output={"LocationConstraint": bucket.config.location or None})


async def list_buckets(call: AuthorizedCall, storage: Storage) -> Answer:
    prefix, wanted = call.input.get("Prefix") or "", call.input.get("MaxBuckets")
    if wanted is not None and not 1 <= wanted <= MAX_BUCKETS:
        raise S3Error(
            "InvalidArgument",
            f"Argument max-buckets must be an integer between 1 and {MAX_BUCKETS}",
            ArgumentName="max-buckets",
            ArgumentValue=str(wanted),
        )
    if call.input.get("BucketRegion") not in (None, storage.region):
        return Answer(output={"Buckets": [], **_owner(call)})
    limit = wanted or MAX_BUCKETS
    found = await storage.keyring.list_buckets(
        prefix=prefix,
        prefix_below=successor(prefix),
        after=call.input.get("ContinuationToken") or "",
        limit=limit + 1,
    )
    output = {
        "Buckets": [
            {
                "Name": bucket.bucket.name,
                "CreationDate": moment(bucket.bucket.created_us),
                "BucketRegion": storage.region,
                "BucketArn": _arn(bucket.bucket.name),
            }
            for bucket in found[:limit]
        ],
        **_owner(call),
    }
    if prefix:
        output["Prefix"] = prefix
    if len(found) > limit:
        output["ContinuationToken"] = found[limit - 1].bucket.name
    return Answer(output=output)


def _arn(bucket: str) -> str:
    return f"arn:aws:s3:::{bucket}"


def _owner(call: AuthorizedCall) -> dict[str, dict[str, str]]:
    return {"Owner": {"ID": owner_id(call.principal.account_id)}}


def owner_id(account_id: str) -> str:
    """The canonical user id of an account: 64 hexadecimal digits, as clients expect them."""
    return account_id.rjust(64, "0")


async def remove_bucket(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    delete_after_us = storage.delete_after_us()

    def remove(tx: Connection, bucket: OpenBucket) -> None:
        delete_bucket(tx, bucket, delete_after_us=delete_after_us)

    try:
        await commit(storage, bucket, remove, frees_space=True)
    except BucketNotEmpty:
        raise S3Error("BucketNotEmpty", BucketName=bucket.bucket.name) from None
    return Answer()


async def get_bucket_versioning(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    return Answer(output={"Status": bucket.config.versioning or None})


async def put_bucket_versioning(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    given = call.input["VersioningConfiguration"]
    status = given.get("Status")
    if given.get("MFADelete") == "Enabled" or call.input.get("MFA") is not None:
        raise S3Error("NotImplemented", Header="MfaDelete")
    if status is None:
        raise S3Error("IllegalVersioningConfigurationException")

    def write(tx: Connection, bucket: OpenBucket) -> None:
        update_bucket(tx, bucket, config=msgspec.structs.replace(bucket.config, versioning=status))

    await commit(storage, bucket, write)
    return Answer()
