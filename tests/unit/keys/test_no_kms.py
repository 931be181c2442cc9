import asyncio
from dataclasses import replace

import pytest

from strongroom.keys.no_kms import NoBucketKeys, NoKeyService
from strongroom.keys.provider import KeyServiceUnavailable
from tests.calls import BUCKET, ROOT, with_workers
from tests.kms_calls import refused

KMS, BUCKET_KEYS = NoKeyService(), NoBucketKeys()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: KMS.generate_data_key("k", {}, ROOT),
        lambda: KMS.decrypt("k", b"blob", {}, ROOT),
        lambda: KMS.encrypt("k", bytes(32), {}, ROOT),
        lambda: KMS.re_encrypt("k", b"blob", {}, to_key_id="l", to_context={}, requester=ROOT),
        lambda: KMS.describe_key("k", ROOT),
        lambda: BUCKET_KEYS.for_write(None, "arn", "k", {}, ROOT),
        lambda: BUCKET_KEYS.for_read(None, b"id", ROOT),
    ],
)
def test_every_question_is_answered_alike(ask):
    with pytest.raises(KeyServiceUnavailable, match="no key service is configured"):
        asyncio.run(ask())


@pytest.mark.parametrize("more", [{}, {"BucketKeyEnabled": True}])
def test_a_server_without_a_key_service_falls_back_to_nothing(tmp_path, more):
    async def work(worker):
        unserved = replace(worker, storage=replace(worker.storage, kms=KMS, bucket_keys=BUCKET_KEYS))
        error = await refused(unserved.put("k", b"content", ServerSideEncryption="aws:kms", **more))
        assert (error.status, error.code) == (503, "ServiceUnavailable")
        assert "Retry-After" in error.headers
        assert await worker.rows("SELECT count(*) FROM object_versions") == [(0,)]
        assert (await unserved.put("k", b"content"))["ServerSideEncryption"] == "AES256"
        assert (await unserved("ListObjectsV2", Bucket=BUCKET))["KeyCount"] == 1

    with_workers(tmp_path, work)
