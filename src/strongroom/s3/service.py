"""S3 as the edge serves it: which function answers which operation. What is not here is 501."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from strongroom.aws.errors import S3Error
from strongroom.blobs.store import StorageUnavailable
from strongroom.crypto.errors import IntegrityError
from strongroom.identity.call import Answer, AuthorizedCall, Handler, Permission, Rules, Sought
from strongroom.identity.policy import Context
from strongroom.keys.store_keys import StoreKeyError, StoreKeyUnavailable
from strongroom.metadata.uploads import get_upload
from strongroom.s3.bucket_encryption import delete_bucket_encryption, get_bucket_encryption, put_bucket_encryption
from strongroom.s3.buckets import (
    create_bucket,
    get_bucket_location,
    get_bucket_versioning,
    head_bucket,
    list_buckets,
    put_bucket_versioning,
    remove_bucket,
)
from strongroom.s3.condition_keys import request_conditions, upload_conditions
from strongroom.s3.copy_object import copy_object
from strongroom.s3.copy_source import parse_copy_source
from strongroom.s3.delete_object import delete_object, delete_objects
from strongroom.s3.encryption_headers import refuse_encryption_headers
from strongroom.s3.get_object import get_object, head_object
from strongroom.s3.kms_errors import KEY_SERVICE_ERRORS, s3_error
from strongroom.s3.list_objects import list_object_versions, list_objects, list_objects_v2
from strongroom.s3.list_uploads import list_multipart_uploads, list_upload_parts
from strongroom.s3.object_attributes import get_object_attributes
from strongroom.s3.object_encryption import update_object_encryption
from strongroom.s3.permissions import COPIES, DECIDED_BY_DOCUMENT, OF_AN_UPLOAD, PER_KEY, bucket_arn, permissions
from strongroom.s3.put_object import put_object
from strongroom.s3.storage import Storage, open_bucket
from strongroom.s3.tagging import (
    delete_bucket_tagging,
    delete_object_tagging,
    get_bucket_tagging,
    get_object_tagging,
    put_bucket_tagging,
    put_object_tagging,
)
from strongroom.s3.upload_parts import upload_part, upload_part_copy
from strongroom.s3.uploads import abort_multipart_upload, complete_multipart_upload, create_multipart_upload

Operation = Callable[[AuthorizedCall, Storage], Awaitable[Answer]]

# Every other operation refuses x-amz-server-side-encryption: a client that sends it believes that it has an effect.
_CHOOSES_ENCRYPTION = frozenset({"CopyObject", "CreateMultipartUpload", "PutObject"})

_TELL_OF_ABSENCE = frozenset({"NoSuchKey", "NoSuchVersion"})

OPERATIONS: Mapping[str, Operation] = {
    "AbortMultipartUpload": abort_multipart_upload,
    "CompleteMultipartUpload": complete_multipart_upload,
    "CopyObject": copy_object,
    "CreateBucket": create_bucket,
    "CreateMultipartUpload": create_multipart_upload,
    "DeleteBucket": remove_bucket,
    "DeleteBucketEncryption": delete_bucket_encryption,
    "DeleteBucketTagging": delete_bucket_tagging,
    "DeleteObject": delete_object,
    "DeleteObjectTagging": delete_object_tagging,
    "DeleteObjects": delete_objects,
    "GetBucketEncryption": get_bucket_encryption,
    "GetBucketLocation": get_bucket_location,
    "GetBucketTagging": get_bucket_tagging,
    "GetBucketVersioning": get_bucket_versioning,
    "GetObject": get_object,
    "GetObjectAttributes": get_object_attributes,
    "GetObjectTagging": get_object_tagging,
    "HeadBucket": head_bucket,
    "HeadObject": head_object,
    "ListBuckets": list_buckets,
    "ListMultipartUploads": list_multipart_uploads,
    "ListObjectVersions": list_object_versions,
    "ListObjects": list_objects,
    "ListObjectsV2": list_objects_v2,
    "ListParts": list_upload_parts,
    "PutBucketEncryption": put_bucket_encryption,
    "PutBucketTagging": put_bucket_tagging,
    "PutBucketVersioning": put_bucket_versioning,
    "PutObject": put_object,
    "PutObjectTagging": put_object_tagging,
    "UpdateObjectEncryption": update_object_encryption,
    "UploadPart": upload_part,
    "UploadPartCopy": upload_part_copy,
}


def handlers(storage: Storage) -> Mapping[str, Handler]:
    """The operations, each working on `storage`."""
    return {name: partial(_answer, operation, storage) for name, operation in OPERATIONS.items()}


def rules(storage: Storage) -> Rules:
    """What the operations have to be allowed."""
    return Rules(conditions=request_conditions, permissions=partial(_permissions, storage))


async def _permissions(storage: Storage, sought: Sought) -> Iterator[Permission]:
    return permissions(sought, await _upload(storage, sought) if sought.operation in OF_AN_UPLOAD else None)


async def _upload(storage: Storage, sought: Sought) -> Context:
    """How the upload is encrypted: a policy that demands an encryption would refuse every part, which can't say it."""
    given = sought.input
    with _causes_told():
        try:
            bucket = await storage.keyring.open_bucket(given["Bucket"])
            upload = await get_upload(storage.database, bucket, given["Key"], given["UploadId"]) if bucket else None
        except StoreKeyUnavailable:
            raise  # a Deny of what is not known would say 403 of what is only not known now
        except (IntegrityError, StoreKeyError):
            return {}  # the handler finds it too, and says so to whoever is allowed that far
    return upload_conditions(upload.encryption) if upload else {}


async def check_target(storage: Storage, call: AuthorizedCall) -> None:
    """AWS says that there is no such bucket before it says what is wrong with an XML body. Raises S3Error.

    Where nothing is decided yet, only who may list the bucket hears that there is none.
    """
    if call.operation == "CreateBucket":
        return
    try:
        with _causes_told():
            await open_bucket(storage, call)
    except S3Error as error:
        if error.code == "NoSuchBucket" and (call.operation == PER_KEY or call.operation in DECIDED_BY_DOCUMENT):
            _refuse_strangers(call, call.input["Bucket"])
        raise


def _refuse_strangers(call: AuthorizedCall, bucket: str) -> None:
    """Raises AccessDenied for whoever may not know what is in the bucket, and so not what is missing (S3 API Reference,
    GetObject: "If you don't have the s3:ListBucket permission, Amazon S3 returns 403").
    """
    if (message := call.denial(Permission(action="s3:ListBucket", resource=bucket_arn(bucket)))) is not None:
        raise S3Error("AccessDenied", message)


def _looked_into(call: AuthorizedCall) -> Iterator[str]:
    """The buckets whose contents an answer tells of."""
    if call.operation in COPIES:
        yield parse_copy_source(call.input["CopySource"]).bucket
    if call.operation not in COPIES or call.input.get("IfMatch") is not None:
        yield call.input["Bucket"]


async def _answer(operation: Operation, storage: Storage, call: AuthorizedCall) -> Answer:
    if call.operation not in _CHOOSES_ENCRYPTION:
        refuse_encryption_headers(call)
    try:
        with _causes_told():
            return await operation(call, storage)
    except S3Error as error:
        if error.code in _TELL_OF_ABSENCE:
            for bucket in _looked_into(call):
                _refuse_strangers(call, bucket)
        raise


@contextmanager
def _causes_told() -> Iterator[None]:
    """What stores and key service cannot do just now is 503, and nothing was changed; the cause is for the log. Raises
    S3Error.
    """
    try:
        yield
    except StorageUnavailable as error:
        raise S3Error("ServiceUnavailable") from error
    except StoreKeyUnavailable as error:
        raise S3Error("ServiceUnavailable", headers={"Retry-After": "1"}) from error
    except StoreKeyError as error:
        raise S3Error("InternalError") from error
    except KEY_SERVICE_ERRORS as error:
        raise s3_error(error) from error
