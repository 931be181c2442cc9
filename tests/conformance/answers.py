"""What the conformance tests share: a refusal as one value, and uploads in parts in one line."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

MIB = 1024 * 1024
PART = 5 * MIB  # the smallest part that another may follow
EMPTY_MD5 = '"d41d8cd98f00b204e9800998ecf8427e"'


@dataclass(frozen=True)
class Refusal:
    """An error document: its further elements are in `detail`, the response's headers in `headers`."""

    status: int
    code: str
    message: str
    detail: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def what(self) -> tuple[int, str]:
        return self.status, self.code


def refused(function: Callable[..., Any], **arguments: Any) -> Refusal:
    """The answer to a request that must fail."""
    with pytest.raises(ClientError) as caught:
        function(**arguments)
    error: dict[str, str] = dict(caught.value.response["Error"])  # type: ignore[arg-type]
    told = caught.value.response["ResponseMetadata"]
    code, message = error.pop("Code", ""), error.pop("Message", "")
    return Refusal(told["HTTPStatusCode"], code, message, error, told["HTTPHeaders"])


def members(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The members of an answer, without what the client adds."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def status(answer: Mapping[str, Any]) -> int:
    found: int = answer["ResponseMetadata"]["HTTPStatusCode"]
    return found


def md5_tag(body: bytes) -> str:
    """The ETag of an SSE-S3 object that was written whole."""
    return f'"{hashlib.md5(body).hexdigest()}"'


def multipart_tag(parts: Sequence[bytes]) -> str:
    whole = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    return f'"{whole}-{len(parts)}"'


def upload(s3: Any, bucket: str, key: str, bodies: Mapping[int, bytes], **create: Any) -> tuple[str, list[Any]]:
    """An upload with these parts by number, not completed: its id, and the list that completes it."""
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key, **create)["UploadId"]
    return upload_id, [upload_part(s3, bucket, key, upload_id, number, body) for number, body in bodies.items()]


def upload_part(s3: Any, bucket: str, key: str, upload_id: str, number: int, body: bytes, **more: Any) -> Any:
    """Upload one part; its entry in the list that completes the upload, without checksums."""
    put = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body, **more)
    return {"PartNumber": number, "ETag": put["ETag"]}


def complete(s3: Any, bucket: str, key: str, upload_id: str, parts: Sequence[Any], **more: Any) -> Any:
    return s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, **more
    )


def read(s3: Any, bucket: str, key: str, **more: Any) -> bytes:
    body: bytes = s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()
    return body
