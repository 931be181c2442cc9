"""A store key that a key service has to open, while that does not answer: not now, and not a fault."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.edge.authorize import authorize
from strongroom.identity.call import Sought
from strongroom.keys.keyring import Keyring
from strongroom.keys.store_keys import StoreKeyError, StoreKeys, StoreKeyUnavailable
from strongroom.s3.service import check_target, rules
from tests.calls import ACCOUNT, BUCKET, IDENTITY, ROOT, Worker, with_workers


def without_key(worker: Worker, error: StoreKeyError) -> Worker:
    """The same worker as it would be had a rotation brought a key into force that it can't open."""
    keys: list[StoreKeys] = [{}]

    def load() -> StoreKeys:
        if keys:
            return keys.pop()
        raise error

    keyring = Keyring(worker.database, store_id=bytes(16), load=load, now_us=worker.storage.now_us)
    return replace(worker, storage=replace(worker.storage, keyring=keyring))


@pytest.mark.parametrize(
    ("error", "status", "code", "headers"),
    [
        (StoreKeyUnavailable("it is away"), 503, "ServiceUnavailable", {"Retry-After": "1"}),
        (StoreKeyError("it is none"), 500, "InternalError", {}),
    ],
)
@pytest.mark.parametrize("operation", ["GetObject", "PutObject", "ListObjectsV2"])
def test_an_operation(tmp_path, operation, error, status, code, headers):
    async def work(worker: Worker) -> None:
        await worker.put("k")
        given: dict[str, Any] = {} if operation == "ListObjectsV2" else {"Key": "k"}
        body = b"new" if operation == "PutObject" else None
        with pytest.raises(S3Error) as refused:
            await without_key(worker, error)(operation, body=body, **given)
        assert (refused.value.status, refused.value.code) == (status, code)
        assert dict(refused.value.headers) == headers
        assert await worker.get("k") == b"content"

    with_workers(tmp_path, work)


@pytest.mark.parametrize("operation", ["CompleteMultipartUpload", "DeleteObjects", "UpdateObjectEncryption"])
def test_what_is_looked_at_before_a_document_is_read(tmp_path, operation):
    async def work(worker: Worker) -> None:
        away = without_key(worker, StoreKeyUnavailable("it is away"))
        call = await authorize(
            sought=Sought(
                operation=operation,
                input={"Bucket": BUCKET, "Key": "k"},
                headers=Headers.of(()),
                account_id=ACCOUNT,
                auth_type="REST-HEADER",
                document_unread=True,
            ),
            rules=rules(away.storage),
            identity=IDENTITY,
            requester=ROOT,
            now=datetime.now(UTC),
            region="us-east-1",
            secret_headers={},
            body=None,
            bucket_url="http://localhost/bucket",
        )
        await check_target(worker.storage, call)
        with pytest.raises(S3Error) as refused:
            await check_target(away.storage, call)
        assert (refused.value.status, refused.value.code) == (503, "ServiceUnavailable")
        assert dict(refused.value.headers) == {"Retry-After": "1"}

    with_workers(tmp_path, work)


@pytest.mark.parametrize(
    ("error", "conditions"),
    [(StoreKeyUnavailable("it is away"), None), (StoreKeyError("it is none"), {})],
)
def test_a_part_whose_upload_cannot_be_looked_at_now_is_not_denied_for_it(tmp_path, error, conditions):
    """A policy may deny what is not encrypted as it demands, and of a part only its upload tells that."""

    async def work(worker: Worker) -> None:
        upload, _ = await worker.upload("k", b"content")
        part = Sought(
            operation="UploadPart",
            input={"Bucket": BUCKET, "PartNumber": 2, **upload},
            headers=Headers.of(()),
            account_id=ACCOUNT,
            auth_type="REST-HEADER",
        )
        away = rules(without_key(worker, error).storage)
        if conditions is not None:
            (permission,) = await away.permissions(part)
            assert permission.conditions == conditions
            return
        with pytest.raises(S3Error) as refused:
            await away.permissions(part)
        assert (refused.value.status, refused.value.code) == (503, "ServiceUnavailable")

    with_workers(tmp_path, work)
