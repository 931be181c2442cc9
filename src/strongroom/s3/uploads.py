"""Multipart uploads from Create to Complete or Abort. Complete is one transaction and copies no byte."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec

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
from strongroom.aws.http import Headers
from strongroom.database.database import Connection
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.objects import put_version
from strongroom.metadata.records import (
    NULL_VERSION,
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

_CONDITIONS = (("IfMatch", "If-Match"), ("IfNoneMatch", "If-None-Match"))
_WITH_PART_COUNT = re.compile(r"([A-Za-z0-9+/]+={0,2})-([0-9]{1,5})")
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
    promised_parts: int | None
    object_size: int | None

    @property
    def named(self) -> list[tuple[int, str]]:
        return [(part.get("PartNumber", 0), part.get("ETag", "")) for part in self.listed]


async def complete_multipart_upload(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    key, upload_id = object_key_name(call), call.input["UploadId"]
    customer_key = read_customer_key(call)
    promise, promised_parts = _promise(call.headers)
    wanted = _Wanted(
        listed=call.input.get("MultipartUpload", {}).get("Parts", []),
        promise=promise,
        promised_parts=promised_parts,
        object_size=call.input.get("MpuObjectSize"),
    )
    upload = await get_upload(storage.database, bucket, key, upload_id)
    if upload is None:
        raise no_such_upload(upload_id)
    if upload.completion:
        return _completed(call, upload, _repeated(upload.completion, upload_id, wanted))
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
    if call.input.get("ChecksumType") not in (None, upload.checksum_type or None):
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {upload.checksum_type or 'null'} checksum mode. The complete request must use"
            " the same checksum mode.",
        )
    now_us, delete_after_us = storage.now_us(), storage.delete_after_us()

    def check(newest: ObjectVersion | None) -> None:
        check_write_conditions(call.input, key, newest)
        _check_undisturbed(call, upload, newest)

    def complete(tx: Connection, bucket: OpenBucket) -> Completion:
        current = find_upload(tx, bucket, key, upload_id)
        if current is None:
            raise no_such_upload(upload_id)
        if current.completion:  # sent once more while the first one was at work
            return _repeated(current.completion, upload_id, wanted)
        uploaded = pending_parts(tx, bucket, current)
        parts = select_parts(wanted.named, uploaded, upload_id=upload_id)
        check_object_size(wanted.object_size, parts)
        whole = _whole_checksum(current, object_key, parts, wanted)
        parts = _with_listed_checksums(parts, current.checksum_algorithm, wanted)
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
            check=check,
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
        return completion

    return _completed(call, upload, await commit(storage, bucket, complete))


def _promise(headers: Headers) -> tuple[Expected, int | None]:
    """What x-amz-checksum-* says of the whole object; a COMPOSITE value may come with the number of parts, `-N`, as S3
    writes it. Raises S3Error.
    """
    pairs, count = [], None
    for name, value in headers:
        match = _WITH_PART_COUNT.fullmatch(value) if name.startswith("x-amz-checksum-") else None
        if match:
            count = int(match[2])
        pairs.append((name, match[1] if match else value))
    return expected(Headers(tuple(pairs))), count


def _check_undisturbed(call: AuthorizedCall, upload: Upload, newest: ObjectVersion | None) -> None:
    """A condition speaks of the object as the upload's creator saw it: whatever was written since is a conflict, even
    if the condition holds again. Raises ConditionalRequestConflict.
    """
    condition = next((name for member, name in _CONDITIONS if call.input.get(member) is not None), None)
    if condition and newest and newest.last_modified_us > upload.initiated_us:
        raise S3Error("ConditionalRequestConflict", Condition=condition, Key=upload.key)


def _repeated(completion: Completion, upload_id: str, wanted: _Wanted) -> Completion:
    """The same Complete once more gets the same answer; another one finds no upload. Raises NoSuchUpload."""
    asked = [(number, etag.strip('"')) for number, etag in wanted.named]
    if asked != [(number, etag.hex()) for number, etag in completion.parts]:
        raise no_such_upload(upload_id)
    return completion


def _completed(call: AuthorizedCall, upload: Upload, completion: Completion) -> Answer:
    output: dict[str, Any] = {
        "Bucket": call.input["Bucket"],
        "Key": upload.key,
        "Location": f"{call.bucket_url}/{quote(upload.key, safe='')}",
        "ETag": completion.etag,
    }
    if completion.version_id != NULL_VERSION:
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
    if not declared:
        _check_none_listed(upload, wanted)
    if key is None or (not declared and isinstance(upload.encryption, SseC)):
        return _Whole()
    algorithm = declared or DEFAULT
    checksum_type: ChecksumType = upload.checksum_type or "FULL_OBJECT"
    values = [open_values(key, part.checksums, part.part_number)[algorithm] for part in parts]
    if declared:
        _check_listed(upload, algorithm, checksum_type, values, wanted)
    if checksum_type == "COMPOSITE":
        whole = composite(algorithm, values)
    else:
        whole = combine(algorithm, zip(values, (part.size for part in parts), strict=True))
    promised = wanted.promise
    # Of an upload that declared nothing S3 ignores a checksum that it cannot work out from the parts.
    checkable = declared or (promised.algorithm and promised.algorithm.name == algorithm)
    if promised.algorithm and promised.value is not None and checkable:
        if promised.algorithm.name != algorithm:
            raise S3Error(
                "BadDigest",
                f"The {promised.algorithm.name.lower()} you specified did not match the calculated checksum.",
            )
        shown = len(parts) if checksum_type == "COMPOSITE" else None
        if promised.value != whole or wanted.promised_parts not in (None, shown):
            raise S3Error("BadDigest", f"The {algorithm.lower()} you specified did not match the calculated checksum.")
    return _Whole(algorithm=algorithm, checksum_type=checksum_type, value=whole)


def _check_listed(upload: Upload, algorithm: str, checksum_type: str, values: list[bytes], wanted: _Wanted) -> None:
    """The checksums in the list of parts: each one given must be right, and COMPOSITE needs them all. Raises S3Error."""
    members = {f"Checksum{name}": name for name in ALGORITHMS}
    for number, (listed, value) in enumerate(zip(wanted.listed, values, strict=True), start=1):
        given = {members[member]: listed[member] for member in members if listed.get(member) is not None}
        if other := next((name for name in given if name != algorithm), None):
            raise S3Error(
                "BadDigest", f"The {other.lower()} you specified for part {number} did not match what we received."
            )
        if checksum_type == "COMPOSITE":
            if listed.get("PartNumber") != number:
                raise S3Error("InvalidPartOrder", UploadId=upload.upload_id)
            if algorithm not in given:
                raise S3Error(
                    "InvalidRequest",
                    f"The upload was created using a {algorithm.lower()} checksum. The complete request must include the checksum"
                    f" for each part. It was missing for part {number} in the request.",
                )
        if given.get(algorithm) not in (None, encode_value(value)):
            raise _wrong_part(upload, listed)


def _check_none_listed(upload: Upload, wanted: _Wanted) -> None:
    """Where the upload declared no algorithm, S3 takes no checksum in the list of parts. Raises InvalidPart."""
    for listed in wanted.listed:
        if any(listed.get(f"Checksum{name}") is not None for name in ALGORITHMS):
            raise _wrong_part(upload, listed)


def _with_listed_checksums(parts: tuple[Part, ...], algorithm: str, wanted: _Wanted) -> tuple[Part, ...]:
    """A part keeps its own checksum for later reads only if the list named it."""
    return tuple(
        part if listed.get(f"Checksum{algorithm}") is not None else msgspec.structs.replace(part, checksums=b"")
        for part, listed in zip(parts, wanted.listed, strict=True)
    )


def _wrong_part(upload: Upload, listed: dict[str, Any]) -> S3Error:
    return S3Error(
        "InvalidPart",
        UploadId=upload.upload_id,
        PartNumber=str(listed.get("PartNumber")),
        ETag=str(listed.get("ETag", "")).strip('"'),
    )
