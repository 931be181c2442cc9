"""A bucket's default encryption and what it blocks. That no rule was ever put is remembered: S3 tells it from a put
AES256.
"""

from typing import Any

import msgspec

from strongroom.aws.errors import S3Error
from strongroom.database.database import Connection
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.buckets import update_bucket
from strongroom.metadata.records import DefaultEncryption, OpenBucket
from strongroom.s3.storage import Storage, commit, open_bucket

_KEY_WITHOUT_KMS = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"


async def get_bucket_encryption(call: AuthorizedCall, storage: Storage) -> Answer:
    """Every bucket has a rule: AES256 where none was put (AWS since January 2023)."""
    config = (await open_bucket(storage, call)).config
    put = config.encryption or DefaultEncryption(algorithm="AES256")
    default = {"SSEAlgorithm": put.algorithm} | ({"KMSMasterKeyID": put.kms_key_id} if put.kms_key_id else {})
    rule: dict[str, Any] = {
        "ApplyServerSideEncryptionByDefault": default,
        "BucketKeyEnabled": put.bucket_key_enabled,
    }
    if config.blocks_sse_c or config.block_was_put:
        rule["BlockedEncryptionTypes"] = {"EncryptionType": ["SSE-C" if config.blocks_sse_c else "NONE"]}
    return Answer(output={"ServerSideEncryptionConfiguration": {"Rules": [rule]}})


async def put_bucket_encryption(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    rules = call.input["ServerSideEncryptionConfiguration"]["Rules"]
    if len(rules) != 1:
        raise S3Error("MalformedXML")
    default, blocked = _default(rules[0]), _blocked(rules[0])

    def write(tx: Connection, bucket: OpenBucket) -> None:
        config = bucket.config
        if default is not None:
            config = msgspec.structs.replace(config, encryption=default)
        if blocked is not None:  # without the element a block stays as it is
            config = msgspec.structs.replace(config, blocks_sse_c=blocked, block_was_put=True)
        update_bucket(tx, bucket, config=config)

    await commit(storage, bucket, write)
    return Answer()


async def delete_bucket_encryption(call: AuthorizedCall, storage: Storage) -> Answer:
    """Back to what a new bucket has, the block included."""
    bucket = await open_bucket(storage, call)

    def write(tx: Connection, bucket: OpenBucket) -> None:
        config = msgspec.structs.replace(
            bucket.config, encryption=None, blocks_sse_c=storage.blocks_sse_c, block_was_put=False
        )
        update_bucket(tx, bucket, config=config)

    await commit(storage, bucket, write)
    return Answer()


def _default(rule: dict[str, Any]) -> DefaultEncryption | None:
    """The rule's default; None where it only blocks. Whether its key exists shows at the first object that wants it.
    Raises S3Error.
    """
    given = rule.get("ApplyServerSideEncryptionByDefault")
    if given is None and "BlockedEncryptionTypes" not in rule:
        raise S3Error("MalformedXML")  # it rules nothing; AES256 is not what somebody wants who misspelt aws:kms
    if given is None and "BucketKeyEnabled" not in rule:
        return None
    given = given or {"SSEAlgorithm": "AES256"}
    algorithm, kms_key_id = given["SSEAlgorithm"], given.get("KMSMasterKeyID")
    if algorithm == "AES256" and kms_key_id is not None:
        raise S3Error("InvalidArgument", _KEY_WITHOUT_KMS, ArgumentName="ApplyServerSideEncryptionByDefault")
    if algorithm not in ("AES256", "aws:kms", "aws:kms:dsse"):
        raise S3Error("MalformedXML")
    return DefaultEncryption(
        algorithm=algorithm,
        kms_key_id=kms_key_id or "",
        bucket_key_enabled=rule.get("BucketKeyEnabled", False),  # of no effect with AES256 and DSSE, and told as put
    )


def _blocked(rule: dict[str, Any]) -> bool | None:
    """Whether the rule blocks SSE-C; None where it does not say. Raises S3Error."""
    given = rule.get("BlockedEncryptionTypes")
    if given is None:
        return None
    types = set(given.get("EncryptionType") or [])
    if not types or not types <= {"NONE", "SSE-C"} or len(types) == 2:
        raise S3Error("MalformedXML")
    return types == {"SSE-C"}
