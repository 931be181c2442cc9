"""Multipart uploads from Create to Complete or Abort. Complete is one transaction and copies no byte."""

from dataclasses import dataclass, field
from typing import Any

from strongroom.aws.checksums import (
    ALGORITHMS,
    Expected,
    combine,
    composite,
    encode_value,
    expected,
    parse_algorithm,
    parse_type,
)
from strongroom.aws.errors import S3Error
from strongroom.database.database import Connection
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.objects import get_version, put_version
from strongroom.metadata.records import (
    ChecksumType,
    Completion,
    ObjectVersion,
    OpenBucket,
    Part,
    SseC,
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
from strongroom.s3.checksum_values import DEFAULT, open_values, seal_values
from strongroom.s3.encryption import response_members
from strongroom.s3.encryption_headers import choose_encryption, read_customer_key
from strongroom.s3.multipart import check_object_size, multipart_etag, select_parts
from strongroom.s3.object_keys import OTHER_KEY, ObjectKey, new_object_key, unseal
from strongroom.s3.read_body import pages_of
from strongroom.s3.requests import check_write_conditions, object_key_name
from strongroom.s3.storage import Storage, commit, open_bucket
from strongroom.s3.upload_parts import KEY_EXPECTED, no_such_upload

_ALGORITHM_ALONE = "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."


async def create_multipart_upload(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    key = object_key_name(call)
    check_acl(call.input.get("ACL"))
    attributes = attributes_of(call.input)
    algorithm, checksum_type = _declared(call)
    chosen = choose_encryption(call, bucket)
    object_key = new_object_key(bucket, chosen.customer_key)
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
            **response_members(upload.encryption, chosen.customer_key_md5),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What a Complete asks for, as far as it can be read without the parts."""

    listed: list[dict[str, Any]]
    promise: Expected
    object_size: int | None

    @property
    def named(self) -> list[tuple[int, str]]:
        return [(part.get("PartNumber", 0), part.get("ETag", "")) for part in self.listed]


async def complete_multipart_upload(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    key, upload_id = object_key_name(call), call.input["UploadId"]
    customer_key = read_customer_key(call)
    wanted = _Wanted(
        listed=call.input.get("MultipartUpload", {}).get("Parts", []),
        promise=expected(call.headers),
        object_size=call.input.get("MpuObjectSize"),
    )
    upload = await get_upload(storage.database, bucket, key, upload_id)
    if upload is None:
        raise no_such_upload(upload_id)
    if upload.completion:
        return _repeated(bucket, upload, wanted)
    if customer_key is not None and not isinstance(upload.encryption, SseC):
        customer_key.zero()
        raise S3Error("InvalidRequest", KEY_EXPECTED)
    object_key: ObjectKey | None = None
    if customer_key is not None or not isinstance(upload.encryption, SseC):
        object_key = unseal(
            bucket,
            upload.encryption,
            object_id=upload.object_id,
            secret_version=upload.secret_version,
            customer_key=customer_key,
            wrong_key=S3Error("InvalidRequest", OTHER_KEY),
        )
    elif upload.checksum_algorithm:
        # The parts' checksums are sealed under a key that only the client has.
        raise S3Error("InvalidRequest", KEY_EXPECTED)
    if call.input.get("ChecksumType") not in (None, upload.checksum_type or "FULL_OBJECT"):
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {upload.checksum_type or 'FULL_OBJECT'} checksum mode. The complete request must"
            " use the same checksum mode.",
        )
    check_write_conditions(call.input, key, await get_version(storage.database, bucket, key))
    now_us, delete_after_us = storage.now_us(), storage.delete_after_us()

    def complete(tx: Connection, bucket: OpenBucket) -> tuple[ObjectVersion, Completion]:
        current = find_upload(tx, bucket, key, upload_id)
        if current is None or current.completion:
            raise no_such_upload(upload_id)
        uploaded = pending_parts(tx, bucket, current)
        parts = select_parts(wanted.named, uploaded, upload_id=upload_id)
        check_object_size(wanted.object_size, parts)
        whole = _whole_checksum(current, object_key, parts, wanted)
        encryption = object_key.sealed(bucket) if object_key else current.encryption
        pages = pages_of(list(parts))
        version = put_version(
            tx,
            bucket,
            ObjectVersion(
                key=key,
                sequence=0,
                version_id="",
                object_id=current.object_id,
                is_delete_marker=False,
                size=sum(part.size for part in parts),
                last_modified_us=0,
                revision=1,
                secret_version=bucket.version,
                etag=multipart_etag(parts),
                part_count=len(parts),
                checksum_algorithm=whole.algorithm,
                checksum_type=whole.checksum_type,
                encryption=encryption,
                attributes=current.attributes,
                checksums=seal_values(object_key, {whole.algorithm: whole.value})
                if object_key and whole.value
                else b"",
                pages=tuple(sum(part.size for part in page) for page in pages),
            ),
            pages=pages,
            now_us=now_us,
            delete_after_us=delete_after_us,
            check=lambda newest: check_write_conditions(call.input, key, newest),
        )
        chosen = {part.part_number for part in parts}
        completion = Completion(
            version_id=version.version_id,
            etag=version.quoted_etag,
            parts=tuple((part.part_number, part.etag) for part in parts),
            checksum_algorithm=whole.algorithm,
            checksum_type=whole.checksum_type,
            checksum=encode_value(whole.value) if whole.value else "",
        )
        finish_upload(
            tx,
            bucket,
            current,
            completion,
            unused=[part for number, part in uploaded.items() if number not in chosen],
            now_us=now_us,
            delete_after_us=delete_after_us,
        )
        return version, completion

    _, completion = await commit(storage, bucket, complete)
    return _completed(bucket, upload, completion)


def _repeated(bucket: OpenBucket, upload: Upload, wanted: _Wanted) -> Answer:
    """The same Complete once more gets the same answer; another one finds no upload."""
    assert upload.completion is not None
    asked = [(number, etag.strip('"')) for number, etag in wanted.named]
    if asked != [(number, etag.hex()) for number, etag in upload.completion.parts]:
        raise no_such_upload(upload.upload_id)
    return _completed(bucket, upload, upload.completion)


def _completed(bucket: OpenBucket, upload: Upload, completion: Completion) -> Answer:
    output: dict[str, Any] = {
        "Bucket": bucket.bucket.name,
        "Key": upload.key,
        "Location": f"/{bucket.bucket.name}/{upload.key}",
        "ETag": completion.etag,
    }
    if bucket.config.versioning:
        output["VersionId"] = completion.version_id
    if completion.checksum:
        suffix = f"-{len(completion.parts)}" if completion.checksum_type == "COMPOSITE" else ""
        output[f"Checksum{completion.checksum_algorithm}"] = completion.checksum + suffix
        output["ChecksumType"] = completion.checksum_type
    if not isinstance(upload.encryption, SseC):  # the model has no customer-key members here
        output |= response_members(upload.encryption)
    return Answer(output=output)


def _declared(call: AuthorizedCall) -> tuple[str, ChecksumType]:
    """The checksum algorithm and type that an upload declares, both "" for none. Raises S3Error."""
    named, checksum_type = call.input.get("ChecksumAlgorithm"), call.input.get("ChecksumType")
    if named is None:
        if checksum_type is not None:
            raise S3Error("InvalidRequest", _ALGORITHM_ALONE)
        return "", ""
    algorithm = parse_algorithm(named)
    return algorithm.name, parse_type(algorithm, checksum_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """The checksum of a completed object; `value` b"" where it has none."""

    algorithm: str = ""
    checksum_type: ChecksumType = ""
    value: bytes = field(default=b"", repr=False)


def _whole_checksum(upload: Upload, key: ObjectKey | None, parts: tuple[Part, ...], wanted: _Wanted) -> _Whole:
    """From the parts' sealed values, held against what the client lists and promises. Raises S3Error, IntegrityError."""
    declared = upload.checksum_algorithm
    if key is None or (not declared and isinstance(upload.encryption, SseC)):
        return _Whole()
    algorithm = declared or DEFAULT
    checksum_type: ChecksumType = upload.checksum_type or "FULL_OBJECT"
    values = [open_values(key, part.checksums, part.part_number)[algorithm] for part in parts]
    _check_listed(upload, algorithm, checksum_type, values, wanted)
    if checksum_type == "COMPOSITE":
        whole = composite(algorithm, values)
    else:
        whole = combine(algorithm, zip(values, (part.size for part in parts), strict=True))
    promised = wanted.promise
    if promised.algorithm and promised.value is not None:
        if promised.algorithm.name != algorithm:
            raise S3Error(
                "BadDigest",
                f"The {promised.algorithm.name.lower()} you specified did not match the calculated checksum.",
            )
        if promised.value != whole:
            raise S3Error("BadDigest", f"The {algorithm.lower()} you specified did not match the calculated checksum.")
    return _Whole(algorithm=algorithm, checksum_type=checksum_type, value=whole)


def _check_listed(upload: Upload, algorithm: str, checksum_type: str, values: list[bytes], wanted: _Wanted) -> None:
    """The checksums in the list of parts: each one given must be right, and COMPOSITE needs them all. Raises S3Error."""
    members = {f"Checksum{name}": name for name in ALGORITHMS}
    for number, (listed, value) in enumerate(zip(wanted.listed, values, strict=True), start=1):
        given = {members[member]: listed[member] for member in members if listed.get(member) is not None}
        if not upload.checksum_algorithm:
            continue  # the client need not know that we keep one
        if checksum_type == "COMPOSITE":
            if listed.get("PartNumber") != number:
                raise S3Error("InvalidPartOrder", UploadId=upload.upload_id)
            if algorithm not in given:
                raise S3Error(
                    "InvalidRequest",
                    f"The upload was created using a {algorithm.lower()} checksum. The complete request must include the checksum"
                    f" for each part. It was missing for part {number} in the request.",
                )
        if any(name != algorithm or text != encode_value(value) for name, text in given.items()):
            raise S3Error(
                "InvalidPart",
                UploadId=upload.upload_id,
                PartNumber=str(listed.get("PartNumber")),
                ETag=str(listed.get("ETag", "")).strip('"'),
            )
