"""S3 as the edge serves it: which function answers which operation. What is not here is 501."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from strongroom.aws.errors import S3Error
from strongroom.blobs.store import StorageUnavailable
from strongroom.identity.call import Answer, AuthorizedCall, Handler
from strongroom.keys.store_keys import StoreKeyError
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
from strongroom.s3.copy_object import copy_object
from strongroom.s3.delete_object import delete_object, delete_objects
from strongroom.s3.encryption_headers import refuse_encryption_headers
from strongroom.s3.get_object import get_object, head_object
from strongroom.s3.kms_errors import KEY_SERVICE_ERRORS, s3_error
from strongroom.s3.list_objects import list_object_versions, list_objects, list_objects_v2
from strongroom.s3.list_uploads import list_multipart_uploads, list_upload_parts
from strongroom.s3.object_attributes import get_object_attributes
from strongroom.s3.object_encryption import update_object_encryption
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


async def check_target(storage: Storage, call: AuthorizedCall) -> None:
    """AWS says that there is no such bucket before it says what is wrong with an XML body. Raises S3Error."""
    if call.operation != "CreateBucket":
        await open_bucket(storage, call)


async def _answer(operation: Operation, storage: Storage, call: AuthorizedCall) -> Answer:
    """What stores and key service cannot do just now is 503, and nothing was changed; the cause is for the log."""
    if call.operation not in _CHOOSES_ENCRYPTION:
        refuse_encryption_headers(call)
    try:
        return await operation(call, storage)
    except StorageUnavailable as error:
        raise S3Error("ServiceUnavailable") from error
    except StoreKeyError as error:
        raise S3Error("InternalError") from error
    except KEY_SERVICE_ERRORS as error:
        raise s3_error(error) from error
