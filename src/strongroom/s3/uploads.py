"""Multipart uploads from Create to Complete or Abort. Complete is one transaction and copies no byte."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from strongroom.aws.checksums import encode_value
from strongroom.aws.errors import S3Error
from strongroom.crypto.secret_key import SecretKey
from strongroom.database.database import Connection
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.objects import get_version, put_version
from strongroom.metadata.records import (
    NULL_VERSION,
    Completion,
    KmsEncryption,
    ObjectVersion,
    OpenBucket,
    Part,
    SseC,
    SseS3,
    Upload,
)
from strongroom.metadata.uploads import (
    abort_upload,
    create_upload,
    find_upload,
    finish_upload,
    get_upload,
    new_upload_id,
    pending_parts,
)
from strongroom.s3.acl import check_acl
from strongroom.s3.attributes import attributes_of
from strongroom.s3.checksum_values import open_values, seal_values
from strongroom.s3.encryption import response_members
from strongroom.s3.encryption_headers import choose_encryption, read_customer_key
from strongroom.s3.multipart import check_object_size, multipart_etag, select_parts
from strongroom.s3.object_keys import OTHER_KEY, ObjectKey, new_object_key, unseal, unseal_by_kms, unseal_here
from strongroom.s3.read_body import pages_of
from strongroom.s3.requests import check_write_conditions, object_key_name
from strongroom.s3.storage import Storage, commit, open_bucket
from strongroom.s3.upload_checksums import (
    Wanted,
    WholeChecksum,
    check_type,
    declared_checksum,
    wanted_of,
    whole_checksum,
    with_listed_checksums,
)
from strongroom.s3.upload_parts import KEY_EXPECTED, no_such_upload

_CONDITIONS = (("IfMatch", "If-Match"), ("IfNoneMatch", "If-None-Match"))


async def create_multipart_upload(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    key = object_key_name(call)
    check_acl(call.input.get("ACL"))
    attributes = attributes_of(call.input)
    algorithm, checksum_type = declared_checksum(call)
    choice = choose_encryption(call, bucket)
    object_key = await new_object_key(storage, call.requester, bucket, key, choice.chosen)
    now_us = storage.now_us()
    upload_id = new_upload_id(now_us)

    def create(tx: Connection, bucket: OpenBucket) -> Upload:
        upload = Upload(
            key=key,
            upload_id=upload_id,
            object_id=object_key.object_id,
            initiated_us=now_us,
            revision=1,
            secret_version=bucket.version,
            encryption=object_key.sealed(bucket),
            attributes=attributes,
            checksum_algorithm=algorithm,
            checksum_type=checksum_type,
        )
        create_upload(tx, bucket, upload)
        return upload

    upload = await commit(storage, bucket, create)
    declared = {"ChecksumAlgorithm": algorithm, "ChecksumType": checksum_type} if algorithm else {}
    return Answer(
        output={
            "Bucket": bucket.bucket.name,
            "Key": key,
            "UploadId": upload_id,
            **declared,
            **response_members(upload.encryption, choice.customer_key_md5),
        }
    )


async def abort_multipart_upload(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    key, upload_id = object_key_name(call), call.input["UploadId"]
    if call.input.get("IfMatchInitiatedTime") is not None:
        raise S3Error("NotImplemented", Header="x-amz-if-match-initiated-time")
    delete_after_us = storage.delete_after_us()

    def abort(tx: Connection, bucket: OpenBucket) -> None:
        upload = find_upload(tx, bucket, key, upload_id)
        if upload is None or upload.completion:
            raise no_such_upload(upload_id)
        abort_upload(tx, bucket, upload, delete_after_us=delete_after_us)

    await commit(storage, bucket, abort, frees_space=True)
    return Answer()


async def complete_multipart_upload(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    key, upload_id = object_key_name(call), call.input["UploadId"]
    customer_key = read_customer_key(call)
    wanted = wanted_of(call)
    upload = await get_upload(storage.database, bucket, key, upload_id)
    if upload is None:
        raise no_such_upload(upload_id)
    if upload.completion:
        completion = _repeated(upload.completion, upload_id, wanted)
        checksum = await _kept_checksum(call, storage, bucket, upload, completion, customer_key)
        return _completed(call, upload, completion, checksum)

    def check(newest: ObjectVersion | None) -> None:
        check_write_conditions(call.input, key, newest)
        _check_undisturbed(call, upload, newest)

    object_key = _key_here(bucket, upload, customer_key)
    check_type(upload, call.input.get("ChecksumType"))
    if isinstance(upload.encryption, KmsEncryption):
        check(await get_version(storage.database, bucket, key))  # the transaction decides; this spares a call
        object_key = await unseal_by_kms(storage, call.requester, bucket, upload)
    now_us, delete_after_us = storage.now_us(), storage.delete_after_us()

    def complete(tx: Connection, bucket: OpenBucket) -> tuple[Completion, str]:
        current = find_upload(tx, bucket, key, upload_id)
        if current is None:
            raise no_such_upload(upload_id)
        if current.completion:  # sent once more while the first one was at work
            return _repeated(current.completion, upload_id, wanted), current.completion.checksum
        uploaded = pending_parts(tx, bucket, current)
        parts = select_parts(wanted.named, uploaded, upload_id=upload_id)
        check_object_size(wanted.object_size, parts)
        whole = whole_checksum(current, object_key, parts, wanted)
        parts = with_listed_checksums(parts, current.checksum_algorithm, wanted)
        pages = pages_of(list(parts))
        version = put_version(
            tx,
            bucket,
            _assembled(bucket, current, object_key, parts, pages, whole),
            pages=pages,
            now_us=now_us,
            delete_after_us=delete_after_us,
            check=check,
        )
        checksum = _shown_checksum(current, whole)
        completion = _completion(version, parts, whole, checksum if isinstance(current.encryption, SseS3) else "")
        chosen = {part.part_number for part in parts}
        finish_upload(
            tx,
            bucket,
            current,
            completion,
            unused=[part for number, part in uploaded.items() if number not in chosen],
            now_us=now_us,
            delete_after_us=delete_after_us,
        )
        return completion, checksum

    return _completed(call, upload, *await commit(storage, bucket, complete))


def _key_here(bucket: OpenBucket, upload: Upload, customer_key: SecretKey | None) -> ObjectKey | None:
    """The upload's object key, as far as this server or the customer's key opens it. Raises S3Error."""
    if isinstance(upload.encryption, SseC):
        if customer_key is None:
            if upload.checksum_algorithm:  # the parts' checksums are sealed under a key that only the client has
                raise S3Error("InvalidRequest", KEY_EXPECTED)
            return None
    elif customer_key is not None:
        customer_key.zero()
        raise S3Error("InvalidRequest", KEY_EXPECTED)
    return unseal_here(bucket, upload, customer_key, wrong_key=S3Error("InvalidRequest", OTHER_KEY))


def _shown_checksum(upload: Upload, whole: WholeChecksum) -> str:
    """What the answer tells; S3 is silent of one that it chose itself, unless the object is under SSE-S3."""
    shown = whole.value and (upload.checksum_algorithm or isinstance(upload.encryption, SseS3))
    return encode_value(whole.value) if shown else ""


async def _kept_checksum(
    call: AuthorizedCall,
    storage: Storage,
    bucket: OpenBucket,
    upload: Upload,
    completion: Completion,
    customer_key: SecretKey | None,
) -> str:
    """What a repeated Complete tells: under somebody else's key, were it given one since (UpdateObjectEncryption), only who
    may open the object hears it. Raises S3Error.
    """
    if not completion.checksum and not upload.checksum_algorithm:
        return ""
    version = await get_version(storage.database, bucket, upload.key, completion.version_id)
    if version is None or version.object_id != upload.object_id:
        return completion.checksum
    if isinstance(version.encryption, SseS3):
        return completion.checksum
    if isinstance(version.encryption, SseC) and customer_key is None:
        return ""
    values = open_values(await unseal(storage, call.requester, bucket, version, customer_key), version.checksums)
    return encode_value(values[completion.checksum_algorithm])


def _assembled(
    bucket: OpenBucket,
    upload: Upload,
    object_key: ObjectKey | None,
    parts: Sequence[Part],
    pages: Sequence[Sequence[Part]],
    whole: WholeChecksum,
) -> ObjectVersion:
    """The version that an upload becomes; its place is decided where it is put."""
    return ObjectVersion(
        key=upload.key,
        sequence=0,
        version_id="",
        object_id=upload.object_id,
        is_delete_marker=False,
        size=sum(part.size for part in parts),
        last_modified_us=0,
        revision=1,
        secret_version=bucket.version,
        etag=multipart_etag(parts),
        part_count=len(parts),
        checksum_algorithm=whole.algorithm,
        checksum_type=whole.checksum_type,
        encryption=object_key.sealed(bucket) if object_key else upload.encryption,
        attributes=upload.attributes,
        checksums=seal_values(object_key, {whole.algorithm: whole.value}) if object_key and whole.value else b"",
        pages=tuple(sum(part.size for part in page) for page in pages),
    )


def _completion(version: ObjectVersion, parts: Sequence[Part], whole: WholeChecksum, checksum: str) -> Completion:
    return Completion(
        version_id=version.version_id,
        etag=version.quoted_etag,
        parts=tuple((part.part_number, part.etag) for part in parts),
        checksum_algorithm=whole.algorithm,
        checksum_type=whole.checksum_type,
        checksum=checksum,
    )


def _check_undisturbed(call: AuthorizedCall, upload: Upload, newest: ObjectVersion | None) -> None:
    """A condition speaks of the object as the upload's creator saw it: whatever was written since is a conflict, even
    if the condition holds again. Raises ConditionalRequestConflict.
    """
    condition = next((name for member, name in _CONDITIONS if call.input.get(member) is not None), None)
    if condition and newest and newest.last_modified_us > upload.initiated_us:
        raise S3Error("ConditionalRequestConflict", Condition=condition, Key=upload.key)


def _repeated(completion: Completion, upload_id: str, wanted: Wanted) -> Completion:
    """The same Complete once more gets the same answer; another one finds no upload. Raises NoSuchUpload."""
    asked = [(number, etag.strip('"')) for number, etag in wanted.named]
    if asked != [(number, etag.hex()) for number, etag in completion.parts]:
        raise no_such_upload(upload_id)
    return completion


def _completed(call: AuthorizedCall, upload: Upload, completion: Completion, checksum: str) -> Answer:
    output: dict[str, Any] = {
        "Bucket": call.input["Bucket"],
        "Key": upload.key,
        "Location": f"{call.bucket_url}/{quote(upload.key, safe='')}",
        "ETag": completion.etag,
    }
    if completion.version_id != NULL_VERSION:
        output["VersionId"] = completion.version_id
    if checksum:
        suffix = f"-{len(completion.parts)}" if completion.checksum_type == "COMPOSITE" else ""
        output[f"Checksum{completion.checksum_algorithm}"] = checksum + suffix
        output["ChecksumType"] = completion.checksum_type
    if not isinstance(upload.encryption, SseC):  # the model has no customer-key members here
        output |= response_members(upload.encryption)
    return Answer(output=output)
