"""ListObjects, ListObjectsV2 and ListObjectVersions: the index read in pages, folded by `listing`."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

from strongroom.aws.errors import S3Error
from strongroom.identity.call import Answer, AuthorizedCall
from strongroom.metadata.objects import list_latest, list_versions, newest_sequence, sequence_of
from strongroom.metadata.records import NULL_VERSION, ListedVersion, OpenBucket
from strongroom.s3.buckets import owner_id
from strongroom.s3.find_object import check_version_id
from strongroom.s3.listing import Fold, Keyed, Seek
from strongroom.s3.requests import moment
from strongroom.s3.storage import Storage, open_again, open_bucket

T = TypeVar("T", bound=Keyed)

MAX_KEYS = 1000
_STEP = 1000  # rows of one read, at most


async def list_objects(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    given, encoded = call.input, encoder(call)
    marker = given.get("Marker") or ""
    fold = await _latest(call, storage, bucket, after=marker)
    output = _common(call, fold) | {"Marker": encoded(marker), "BucketRegion": storage.region}
    output["Contents"] = [_content(call, version) for version in fold.contents]
    if fold.is_truncated and given.get("Delimiter"):
        output["NextMarker"] = encoded(fold.next_marker)  # only then does S3 name it; else it is the last key
    return Answer(output=output)


async def list_objects_v2(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    given, encoded = call.input, encoder(call)
    token, start_after = given.get("ContinuationToken"), given.get("StartAfter") or ""
    fold = await _latest(call, storage, bucket, after=start_after if token is None else _marker(token))
    output = _common(call, fold) | {"BucketRegion": storage.region}
    output["Contents"] = [
        _content(call, version, with_owner=bool(given.get("FetchOwner"))) for version in fold.contents
    ]
    output["KeyCount"] = len(fold.contents) + len(fold.common_prefixes)
    if start_after:
        output["StartAfter"] = encoded(start_after)
    if token is not None:
        output["ContinuationToken"] = token
    if fold.is_truncated:
        output["NextContinuationToken"] = _token(fold.next_marker)
    return Answer(output=output)


async def list_object_versions(call: AuthorizedCall, storage: Storage) -> Answer:
    bucket = await open_bucket(storage, call)
    given, encoded = call.input, encoder(call)
    key_marker, version_marker = given.get("KeyMarker") or "", given.get("VersionIdMarker")
    if version_marker is not None and not key_marker:
        raise S3Error(
            "InvalidArgument",
            "A version-id marker cannot be specified without a key marker.",
            ArgumentName="version-id-marker",
            ArgumentValue=version_marker,
        )
    if version_marker:
        check_version_id(version_marker)
    resume = await _before(storage, bucket, key_marker, version_marker) if version_marker else None
    fold: Fold[ListedVersion] = Fold(
        prefix=given.get("Prefix") or "",
        delimiter=given.get("Delimiter") or "",
        after=key_marker,
        resume=resume is not None,
        max_keys=page_size(call),
    )

    async def fetch(bucket: OpenBucket, seek: Seek[ListedVersion], limit: int) -> list[ListedVersion]:
        before = seek.row.sequence if seek.row else resume if seek.lower == key_marker else None
        return await list_versions(
            storage.database,
            bucket,
            lower=seek.lower,
            inclusive=seek.inclusive,
            before_sequence=before,
            below=fold.below,
            limit=limit,
        )

    await fill(storage, bucket, fold, fetch)
    output = _common(call, fold) | {"KeyMarker": encoded(key_marker), "VersionIdMarker": version_marker or ""}
    newest: dict[str, int | None] = {}
    if resume is not None:
        newest[key_marker] = await newest_sequence(storage.database, bucket, key_marker)
    output["Versions"], output["DeleteMarkers"] = [], []
    for version in fold.contents:
        is_latest = newest.setdefault(version.key, version.sequence) == version.sequence
        entry = {
            "Key": encoded(version.key),
            "VersionId": version.version_id,
            "IsLatest": is_latest,
            "LastModified": moment(version.last_modified_us),
            "Owner": {"ID": owner_id(call.principal.account_id)},
        }
        if version.is_delete_marker:
            output["DeleteMarkers"].append(entry)
        else:
            output["Versions"].append(entry | _described(version))
    if fold.is_truncated:
        output["NextKeyMarker"] = encoded(fold.next_marker)
        if fold.last_row is not None:
            output["NextVersionIdMarker"] = fold.last_row.version_id
    return Answer(output=output)


async def fill(
    storage: Storage,
    bucket: OpenBucket,
    fold: Fold[T],
    fetch: Callable[[OpenBucket, Seek[T], int], Awaitable[list[T]]],
    *,
    step: int = _STEP,
) -> None:
    """Feed a fold until it has its page. `fetch`: up to so many rows from a seek on; fewer mean that there are no more.

    A million hidden rows may lie before the end of a page. So others have their turn between two reads, and each read
    has the bucket as it is then: a secret may have come into use since the last one. Raises NoSuchBucket.
    """
    while fold.seek is not None:
        rows = await fetch(bucket, fold.seek, step)
        fold.feed(rows, exhausted=len(rows) < step)
        if fold.seek is not None:
            await asyncio.sleep(0)
            bucket = await open_again(storage, bucket)


def page_size(call: AuthorizedCall, member: str = "MaxKeys") -> int:
    """How many entries the page may have. Raises InvalidArgument."""
    wanted = call.input.get(member)
    if wanted is None:
        return MAX_KEYS
    if wanted < 0:
        name = "max-keys" if member == "MaxKeys" else "max-uploads"
        raise S3Error(
            "InvalidArgument",
            f"Argument {name} must be an integer between 0 and 2147483647",
            ArgumentName=name,
            ArgumentValue=str(wanted),
        )
    return min(int(wanted), MAX_KEYS)


def encoder(call: AuthorizedCall) -> Callable[[str], str]:
    """How keys are written in the answer: as they are, or with `encoding-type=url`. Raises InvalidArgument."""
    match call.input.get("EncodingType"):
        case None:
            return lambda text: text
        case "url":
            return lambda text: quote(text, safe="/-_.*")
        case other:
            raise S3Error(
                "InvalidArgument",
                "Invalid Encoding Method specified in Request",
                ArgumentName="encoding-type",
                ArgumentValue=other,
            )


async def _latest(call: AuthorizedCall, storage: Storage, bucket: OpenBucket, *, after: str) -> Fold[ListedVersion]:
    fold: Fold[ListedVersion] = Fold(
        prefix=call.input.get("Prefix") or "",
        delimiter=call.input.get("Delimiter") or "",
        after=after,
        max_keys=page_size(call),
        hidden=lambda version: version.is_delete_marker,
    )

    async def fetch(bucket: OpenBucket, seek: Seek[ListedVersion], limit: int) -> list[ListedVersion]:
        return await list_latest(
            storage.database, bucket, lower=seek.lower, inclusive=seek.inclusive, below=fold.below, limit=limit
        )

    await fill(storage, bucket, fold, fetch)
    return fold


async def _before(storage: Storage, bucket: OpenBucket, key: str, version_id: str) -> int | None:
    """The sequence behind which a listing of versions goes on; where the null version named is gone, one above all, so
    that its key is listed once more.
    """
    if version_id != NULL_VERSION:
        return sequence_of(version_id)
    rows = await storage.database.read(
        "SELECT sequence FROM object_versions WHERE bucket_id = ? AND key = ? AND version_id = ?",
        (bucket.bucket_id, key, version_id),
    )
    return int(rows[0][0]) if rows else 2**63 - 1  # type: ignore[arg-type]


def _common(call: AuthorizedCall, fold: Fold[ListedVersion]) -> dict[str, Any]:
    given, encoded = call.input, encoder(call)
    output: dict[str, Any] = {
        "Name": given["Bucket"],
        "Prefix": encoded(given.get("Prefix") or ""),
        "MaxKeys": page_size(call),
        "IsTruncated": fold.is_truncated,
        "CommonPrefixes": [{"Prefix": encoded(prefix)} for prefix in fold.common_prefixes],
    }
    if given.get("Delimiter"):
        output["Delimiter"] = encoded(given["Delimiter"])
    if given.get("EncodingType"):
        output["EncodingType"] = given["EncodingType"]
    return output


def _content(call: AuthorizedCall, version: ListedVersion, *, with_owner: bool = True) -> dict[str, Any]:
    entry = {
        "Key": encoder(call)(version.key),
        "LastModified": moment(version.last_modified_us),
        **_described(version),
    }
    return entry | {"Owner": {"ID": owner_id(call.principal.account_id)}} if with_owner else entry


def _described(version: ListedVersion) -> dict[str, Any]:
    entry: dict[str, Any] = {"ETag": version.etag, "Size": version.size, "StorageClass": version.storage_class}
    if version.checksum_algorithm:
        entry |= {"ChecksumAlgorithm": [version.checksum_algorithm], "ChecksumType": version.checksum_type}
    return entry


def _token(marker: str) -> str:
    """Continuation tokens are opaque to clients; this one is the marker in URL-safe base64, behind a letter so that it
    is never empty.
    """
    return "1" + base64.urlsafe_b64encode(marker.encode()).decode()


def _marker(token: str) -> str:
    try:
        marker = base64.urlsafe_b64decode(token[1:].encode()).decode()
    except ValueError:
        marker = None
    if marker is None or token != _token(marker):
        raise S3Error(
            "InvalidArgument",
            "The continuation token provided is incorrect",
            ArgumentName="continuation-token",
        )
    return marker
