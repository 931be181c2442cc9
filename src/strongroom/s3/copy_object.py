"""CopyObject: the way out of GET feeds the way in of PUT, under a new object key.

A copy never moves ciphertext, with one exception: an object copied over itself under another key, where the result
cannot be told from a copy's. That is how keys are changed (a customer's, or for another one of a KMS), and it only seals
the object's key anew. A key service is asked when everything else has been judged.
"""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from strongroom.aws.checksums import Expected, parse_algorithm
from strongroom.aws.errors import S3Error
from strongroom.crypto.secret_key import SecretKey
from strongroom.database.database import Connection
from strongroom.identity.call import Answer, AuthorizedCall, Body, Permission
from strongroom.keys.provider import KeyServiceRefusal
from strongroom.metadata.objects import get_version, put_version
from strongroom.metadata.records import NULL_VERSION, Attributes, Dsse, ObjectVersion, OpenBucket, SseKms, SseS3
from strongroom.s3 import kms_keys
from strongroom.s3.acl import check_acl
from strongroom.s3.attributes import attributes_of
from strongroom.s3.checksum_values import DEFAULT, checksum_members, open_values
from strongroom.s3.conditions import check_copy_source
from strongroom.s3.copy_source import CopySource, parse_copy_source
from strongroom.s3.encryption import Chosen, ChosenKms, ChosenSseC, ChosenSseS3, response_members
from strongroom.s3.encryption_headers import Choice, choose_encryption, names_encryption, source_customer_key
from strongroom.s3.find_object import find_object, of_one_moment
from strongroom.s3.object_keys import (
    OTHER_KEY,
    ObjectKey,
    kms_use,
    new_object_key,
    sealed_by_customer,
    unseal_by_kms,
    unseal_here,
)
from strongroom.s3.permissions import copy_source_read, object_arn
from strongroom.s3.put_object import commit_object
from strongroom.s3.read_body import Slice, plaintext, slices
from strongroom.s3.requests import (
    MAX_PUT,
    check_write_conditions,
    moment,
    now,
    object_key_name,
    preconditions,
    version_member,
)
from strongroom.s3.storage import Storage, commit, open_bucket, open_named_bucket
from strongroom.s3.tags import parse_tagging
from strongroom.s3.write_body import write_body

_NOTHING_CHANGED = (
    "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata,"
    " storage class, website redirect location or encryption attributes."
)
TOO_LARGE = "The specified copy source is larger than the maximum allowable size for a copy source: {}"


class _SourceChanged(Exception):
    """The row that a copy without bytes was to replace is no longer the one that was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is copied: the conditions on it hold. `local_key`: None where a key service has to open it; `pieces`: what of
    it is wanted.
    """

    wanted: CopySource
    bucket: OpenBucket
    version: ObjectVersion
    local_key: ObjectKey | None
    pieces: list[Slice]

    @property
    def version_member(self) -> dict[str, str]:
        member = version_member(self.bucket, self.version)
        return {"CopySourceVersionId": member["VersionId"]} if member else {}


Offsets = Callable[[int], tuple[int, int]]
"""Which plaintext offsets (first, last; inclusive) are copied of a source of so many bytes. Raises S3Error."""


async def find_source(
    call: AuthorizedCall, storage: Storage, offsets: Offsets, *, target_key: SecretKey | None = None
) -> Source:
    """The source of CopyObject (`target_key`: its target's) or UploadPartCopy. Raises S3Error, IntegrityError."""
    return await of_one_moment(partial(_find_source, call, storage, offsets, target_key))


async def _find_source(
    call: AuthorizedCall, storage: Storage, offsets: Offsets, target_key: SecretKey | None
) -> Source:
    wanted = parse_copy_source(call.input["CopySource"])
    customer_key = source_customer_key(call)
    bucket = await open_named_bucket(storage, wanted.bucket, call.input.get("ExpectedSourceBucketOwner"))
    try:
        version = await find_object(storage, bucket, wanted.key, wanted.version_id)
    except S3Error as error:
        if error.code == "MethodNotAllowed":
            raise S3Error(
                "InvalidRequest",
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            ) from error
        raise
    # Who changes a key and names the new one on both sides has changed it before, and is told so (minio#5625).
    is_new_key = customer_key is not None and target_key is not None and customer_key.same_as(target_key)
    onto_itself = (wanted.bucket, wanted.key) == (call.input["Bucket"], call.input["Key"])
    wrong_key = S3Error("InvalidRequest", OTHER_KEY) if is_new_key and onto_itself else None
    key = unseal_here(bucket, version, customer_key, wrong_key=wrong_key)
    check_copy_source(
        preconditions(call.input, "CopySource"),
        etag=version.quoted_etag,
        last_modified=moment(version.last_modified_us),
        now=now(storage),
    )
    pieces = await slices(storage, bucket, version, *offsets(version.size))
    return Source(wanted=wanted, bucket=bucket, version=version, local_key=key, pieces=pieces)


async def open_source(call: AuthorizedCall, storage: Storage, source: Source) -> ObjectKey:
    """The source's object key. Raises as `unseal_by_kms`."""
    return source.local_key or await unseal_by_kms(storage, call.requester, source.bucket, source.version)


@asynccontextmanager
async def read_source(storage: Storage, source: Source, key: ObjectKey) -> AsyncIterator[Body]:
    """What is wanted of a source as a body to write, closed in the end."""
    async with aclosing(plaintext(storage, key, source.pieces)) as chunks:
        yield Body(chunks=chunks, size=sum(piece.length for piece in source.pieces))


async def copy_object(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    key = object_key_name(call)
    check_acl(call.input.get("ACL"))
    attributes_given = _directive(call, "MetadataDirective")
    tags_given = _directive(call, "TaggingDirective")
    # Judged before anything is read; the customer's key stays until the target's object key is sealed under it.
    choice = choose_encryption(call, bucket)
    source = await _find_source_for(call, storage, choice)
    onto_itself = (
        source.wanted.bucket == bucket.bucket.name and source.wanted.key == key and source.wanted.version_id is None
    )
    if onto_itself and not attributes_given and not _changes_encryption(call, bucket, source.version):
        raise S3Error("InvalidRequest", _NOTHING_CHANGED)
    check_write_conditions(call.input, key, await get_version(storage.database, bucket, key))

    if source.version.attributes.tags and not tags_given:
        _check_may_copy_tags(call)
    attributes = _attributes(call, source.version.attributes, attributes_given, tags_given)
    named = call.input.get("ChecksumAlgorithm")
    algorithm = parse_algorithm(named).name if named else source.version.checksum_algorithm or DEFAULT
    source_key = await open_source(call, storage, source)
    resealed = None
    if onto_itself and _same_bytes_serve(bucket, source.version, choice.chosen, algorithm):
        resealed = await _resealed(call, storage, bucket, source, source_key, choice.chosen)
    if resealed:
        try:
            version = await _reseal(call, storage, bucket, source, resealed, choice.chosen, attributes)
        except _SourceChanged:
            raise S3Error("OperationAborted") from None
        values = open_values(source_key, source.version.checksums)
    else:
        object_key = await new_object_key(storage, call.requester, bucket, key, choice.chosen)
        async with read_source(storage, source, source_key) as body:
            keep = frozenset({algorithm})
            written = await write_body(storage, body, object_key, part_number=0, promise=Expected(), keep=keep)
        version = await commit_object(
            storage, bucket, key, object_key, written, attributes=attributes, algorithm=algorithm, conditions=call.input
        )
        values = dict(written.values)
    assert version.encryption is not None
    return Answer(
        output={
            "CopyObjectResult": {
                "ETag": version.quoted_etag,
                "LastModified": moment(version.last_modified_us),
                **checksum_members(values, algorithm, "FULL_OBJECT"),
            },
            **source.version_member,
            **version_member(bucket, version),
            **response_members(version.encryption, choice.customer_key_md5),
        }
    )


async def _find_source_for(call: AuthorizedCall, storage: Storage, choice: Choice) -> Source:
    """The source; whatever goes wrong with it, the target's key is zeroed."""
    try:
        return await find_source(call, storage, _whole, target_key=choice.customer_key)
    except BaseException:
        if choice.customer_key:
            choice.customer_key.zero()
        raise


def _whole(size: int) -> tuple[int, int]:
    if size > MAX_PUT:
        raise S3Error("InvalidRequest", TOO_LARGE.format(MAX_PUT))
    return 0, size - 1


def _directive(call: AuthorizedCall, member: str) -> bool:
    """Whether the directive says REPLACE. Raises InvalidArgument."""
    match call.input.get(member):
        case None | "COPY":
            return False
        case "REPLACE":
            return True
        case value:
            header = "x-amz-metadata-directive" if member == "MetadataDirective" else "x-amz-tagging-directive"
            message = "Unknown metadata directive." if member == "MetadataDirective" else "Unknown tagging directive."
            raise S3Error("InvalidArgument", message, ArgumentName=header, ArgumentValue=str(value))


def _attributes(call: AuthorizedCall, source: Attributes, replaces: bool, replaces_tags: bool) -> Attributes:
    """The copy's attributes: its own storage class always; headers and metadata, and tags, as each directive says."""
    given = attributes_of({**call.input, "Tagging": None})
    kept = given if replaces else source
    tags = parse_tagging(call.input.get("Tagging")) if replaces_tags else source.tags
    return Attributes(
        content_headers=kept.content_headers,
        user_metadata=kept.user_metadata,
        storage_class=given.storage_class,
        tags=tags,
    )


def _check_may_copy_tags(call: AuthorizedCall) -> None:
    """Tags that go along are read there and written here. Raises AccessDenied."""
    target = object_arn(call.input["Bucket"], call.input["Key"])
    for permission in (
        copy_source_read(call.input["CopySource"], "GetObjectTagging", "GetObjectVersionTagging"),
        Permission(action="s3:PutObjectTagging", resource=target),
    ):
        if (message := call.denial(permission)) is not None:
            raise S3Error("AccessDenied", message)


def _changes_encryption(call: AuthorizedCall, bucket: OpenBucket, version: ObjectVersion) -> bool:
    """Facts of AWS: naming any encryption counts, and so does a bucket rule that was put, or a source that is not
    SSE-S3.
    """
    return (
        names_encryption(call)
        or bucket.config.encryption is not None
        or not isinstance(version.encryption, SseS3)
        or call.input.get("StorageClass") is not None
    )


def _same_bytes_serve(bucket: OpenBucket, version: ObjectVersion, chosen: Chosen, algorithm: str) -> bool:
    """Whether the row that this copy writes replaces the row it read, one message under an opaque ETag on both sides
    and in equal layers, in one transaction.
    """
    layered = isinstance(chosen, ChosenKms) and chosen.dsse
    return (
        not isinstance(version.encryption, SseS3)
        and not isinstance(chosen, ChosenSseS3)
        and isinstance(version.encryption, Dsse) is layered
        and bucket.config.versioning != "Enabled"
        and version.version_id == NULL_VERSION
        and version.part_count == 0
        and version.checksum_algorithm == algorithm
    )


async def _resealed(
    call: AuthorizedCall, storage: Storage, bucket: OpenBucket, source: Source, key: ObjectKey, chosen: Chosen
) -> ObjectKey | None:
    """The source's object key under what the copy chose.

    None where the key service does not let the requester put an existing key under another one: a copy asks for less
    than that (Decrypt and GenerateDataKey), so then it moves the bytes. Raises as KeyProvider does.
    """
    if isinstance(chosen, ChosenSseC):
        return sealed_by_customer(bucket, key.object_id, key.material, chosen.customer_key)
    assert isinstance(chosen, ChosenKms)
    use = kms_use(storage, call.requester, bucket, source.version)
    try:
        if isinstance(key.kept, SseKms) and not chosen.bucket_key:
            return replace(key, kept=await kms_keys.reseal(use, key.kept, chosen))
        return replace(key, kept=await kms_keys.seal(use, key.material, chosen))
    except KeyServiceRefusal as error:
        if error.code != "AccessDeniedException":
            raise
        return None


async def _reseal(
    call: AuthorizedCall,
    storage: Storage,
    bucket: OpenBucket,
    source: Source,
    object_key: ObjectKey,
    chosen: Chosen,
    attributes: Attributes,
) -> ObjectVersion:
    read, now_us = source.version, storage.now_us()
    etag = secrets.token_bytes(16)  # a copy has an ETag of its own

    def put(tx: Connection, bucket: OpenBucket) -> ObjectVersion:
        def check(newest: ObjectVersion | None) -> None:
            # The revision begins anew with each row: two copies over itself keep one object id.
            if newest is None or (newest.sequence, newest.revision) != (read.sequence, read.revision):
                raise _SourceChanged
            check_write_conditions(call.input, read.key, newest)

        if not _same_bytes_serve(bucket, read, chosen, read.checksum_algorithm):  # versioning was enabled meanwhile
            raise _SourceChanged
        new = replace(
            read,
            etag=etag,
            secret_version=bucket.version,
            encryption=object_key.sealed(bucket),
            attributes=attributes,
            parts=tuple(msgspec.structs.replace(part, etag=etag) for part in read.parts),
        )
        return put_version(tx, bucket, new, now_us=now_us, delete_after_us=storage.delete_after_us(), check=check)

    return await commit(storage, bucket, put)
