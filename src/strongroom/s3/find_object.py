"""Finding the version that a request means, and S3's answers where there is none to give."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from strongroom.aws.errors import S3Error
from strongroom.metadata.objects import StaleVersion, get_version, sequence_of
from strongroom.metadata.records import NULL_VERSION, ObjectVersion, OpenBucket
from strongroom.s3.requests import moment
from strongroom.s3.storage import Storage

T = TypeVar("T")


async def find_object(storage: Storage, bucket: OpenBucket, key: str, version_id: str | None) -> ObjectVersion:
    """The version named, or the newest: an object, never a delete marker.

    Raises NoSuchKey, NoSuchVersion, MethodNotAllowed (a delete marker named by its id: S3 User Guide, "Working with
    delete markers"), InvalidArgument (an id that was never one), IntegrityError.
    """
    check_version_id(version_id)
    version = await get_version(storage.database, bucket, key, version_id)
    if version is None:
        raise missing(key, version_id)
    if version.is_delete_marker:
        headers = {"x-amz-delete-marker": "true", "x-amz-version-id": version.version_id}
        if version_id is None:
            raise S3Error("NoSuchKey", headers=headers, Key=key)
        allowed: dict[str, Any] = {
            "Allow": "DELETE",
            "Last-Modified": moment(version.last_modified_us).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        }
        raise S3Error("MethodNotAllowed", headers=headers | allowed, Method="GET", ResourceType="DeleteMarker")
    return version


async def of_one_moment(find: Callable[[], Awaitable[T]]) -> T:
    """What `find` finds of a version in several steps, and begins anew where the version went between two of them."""
    while True:
        try:
            return await find()
        except StaleVersion:
            continue


def is_version_id(text: str) -> bool:
    """Whether `text` could be one of ours."""
    return text == NULL_VERSION or sequence_of(text) is not None


def check_version_id(version_id: str | None) -> None:
    """Raises InvalidArgument for what cannot be a version id."""
    if version_id is None or is_version_id(version_id):
        return
    message = "Invalid version id specified" if version_id else "Version id cannot be the empty string"
    raise S3Error("InvalidArgument", message, ArgumentName="versionId", ArgumentValue=version_id)


def missing(key: str, version_id: str | None) -> S3Error:
    if version_id is None:
        return S3Error("NoSuchKey", Key=key)
    return S3Error("NoSuchVersion", Key=key, VersionId=version_id)
