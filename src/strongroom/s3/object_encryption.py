"""UpdateObjectEncryption: an object gets another key, and keeps its bytes, ETag, checksums, dates and version.

Only the sealed object key in its row changes, in one transaction that holds while the row is the one that was read.
Sources are SSE-S3 and SSE-KMS, the target is always SSE-KMS: nobody takes an object out of a key service's custody, or
out of a customer's, by this way. The texts are those of the API Reference.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.database.database import Connection
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.objects import find, update_version
from strongroom.metadata.records import ObjectVersion, OpenBucket, SseKms, SseKmsBucketKey, SseS3, Tags
from strongroom.s3 import kms_keys
from strongroom.s3.encryption import ChosenKms
from strongroom.s3.find_object import find_object
from strongroom.s3.object_keys import kms_use, unseal
from strongroom.s3.requests import object_key_name
from strongroom.s3.storage import Storage, commit, open_bucket

_KEY_ARN = re.compile(r"arn:aws[a-zA-Z0-9-]*:kms:[a-z0-9-]+:([0-9]{12}):key/[a-zA-Z0-9-]+")
_ARN_LENGTHS = range(20, 2049)
_ATTEMPTS = 5

_SOURCE = (
    "The UpdateObjectEncryption operation doesn't support source objects with the encryption type DSSE-KMS or SSE-C."
    " Only source objects encrypted with SSE-S3 or SSE-KMS are supported."
)
_TARGET = (
    "The UpdateObjectEncryption operation doesn't support updating the encryption type to DSSE-KMS or SSE-C. Modify the"
    " request to specify SSE-KMS for the updated encryption type, and then try again."
)
_NO_TYPE = (
    "Requests that modify an object encryption configuration require a valid new encryption type. Valid values are"
    " SSEKMS. Modify the request to specify SSE-KMS for the updated encryption type, and then try again."
)
_NO_KEY = (
    "Requests that modify an object's encryption type to SSE-KMS require an Amazon Web Services KMS key Amazon Resource"
    " Name (ARN). Modify the request to specify a KMS key ARN, and then try again."
)
_BAD_KEY = (
    "Requests that modify an object's encryption type to SSE-KMS require a valid Amazon Web Services KMS key Amazon"
    " Resource Name (ARN). Confirm that you have a correctly formatted KMS key ARN in your request, and then try again."
)
_BAD_BUCKET_KEY = (
    "The BucketKeyEnabled value isn't valid. Valid values are true or false. Modify the request to specify a valid"
    " value, and then try again."
)
_OTHER_ACCOUNT = (
    "The Amazon Web Services KMS key in the request must be owned by the same account as the bucket. Modify the request"
    " to specify a KMS key from the same account, and then try again."
)
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    key_arn: str
    bucket_key: bool

    def chosen(self, pairs: Tags) -> ChosenKms:
        return ChosenKms(key_id=self.key_arn, context=pairs, bucket_key=self.bucket_key)


async def update_object_encryption(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    key = object_key_name(call)
    if not any(name == "content-md5" or name.startswith("x-amz-checksum-") for name, _ in call.headers):
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5")
    target = _target(call.input.get("ObjectEncryption") or {}, bucket.config.owner_account)
    for _ in range(_ATTEMPTS):
        version = await find_object(storage, bucket, key, call.input.get("VersionId"))
        if not isinstance(version.encryption, SseS3 | SseKms | SseKmsBucketKey):
            raise S3Error("InvalidRequest", _SOURCE)
        encryption = await _under(call, storage, bucket, version, target)
        if await _replace(storage, bucket, version, encryption):
            return Answer()
        bucket = await open_bucket(storage, call)  # the key service took its time: there may be new secrets
    raise S3Error("OperationAborted")


def _target(given: dict[str, Any], owner: str) -> _Target:
    """The document judged. Raises InvalidRequest, AccessDenied."""
    if given.keys() & {"DSSEKMS", "SSEC"}:
        raise S3Error("InvalidRequest", _TARGET)
    if given.keys() != {"SSEKMS"}:
        raise S3Error("InvalidRequest", _NO_TYPE)
    arn, bucket_key = given["SSEKMS"].get("KMSKeyArn"), given["SSEKMS"].get("BucketKeyEnabled") or "false"
    if not arn:
        raise S3Error("InvalidRequest", _NO_KEY)
    match = _KEY_ARN.fullmatch(arn)
    if match is None or len(arn) not in _ARN_LENGTHS:
        raise S3Error("InvalidRequest", _BAD_KEY)
    if bucket_key not in _BOOLEANS:
        raise S3Error("InvalidRequest", _BAD_BUCKET_KEY)
    if match[1] != owner:
        raise S3Error("AccessDenied", _OTHER_ACCOUNT)
    return _Target(key_arn=arn, bucket_key=_BOOLEANS[bucket_key])


async def _under(
    call: AuthorizedCall, storage: Storage, bucket: OpenBucket, version: ObjectVersion, target: _Target
) -> SseKms | SseKmsBucketKey:
    """The version's object key under the target. The client's context pairs stay, but for those of a bucket key, which
    are that key's. Raises as KeyProvider does.
    """
    use, before = kms_use(storage, call.requester, bucket, version), version.encryption
    if isinstance(before, SseKms):
        chosen = target.chosen(before.context)
        if not target.bucket_key:
            return await kms_keys.reseal(use, before, chosen)
    else:
        chosen = target.chosen(())
    object_key = await unseal(storage, call.requester, bucket, version, None)
    return await kms_keys.seal(use, object_key.material, chosen)


async def _replace(
    storage: Storage, bucket: OpenBucket, read: ObjectVersion, encryption: SseKms | SseKmsBucketKey
) -> bool:
    """Whether the row was still the one that was read, and now has the new key."""

    def write(tx: Connection, bucket: OpenBucket) -> bool:
        current = find(tx, bucket, read.key, read.version_id)
        if current is None or _place(current) != _place(read):
            return False
        update_version(tx, bucket, current, replace(current, encryption=encryption))
        return True

    return await commit(storage, bucket, write)


def _place(version: ObjectVersion) -> tuple[bytes, int, int]:
    return version.object_id, version.sequence, version.revision
