"""UpdateObjectEncryption: the terms of every request that uses a key of a key service, and the proof of what it sealed."""

from dataclasses import replace
from typing import Any

import pytest

from strongroom.keys.rotation import rotate_bucket_secrets
from tests.kms_calls import refused, with_world

CONTENT = b"plaintext"


@pytest.mark.parametrize("target", ["KMS", "bucket key"])
@pytest.mark.parametrize("source", ["SSE-S3", "KMS", "bucket key"])
@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ({"secure_transport": False}, "must be made over a secure connection."),
        ({"access_key_id": ""}, "require AWS Signature Version 4."),
    ],
)
def test_without_them_nothing_is_asked_and_nothing_changes(
    tmp_path, key_server, source: str, target: str, lacking: dict[str, Any], message: str
) -> None:
    async def work(world) -> None:
        await world.worker.put("k", CONTENT, **world.members(source))
        before = await world.worker.rows("SELECT sealed FROM object_versions")
        world.record.forget()
        who = replace(world.worker, requester=replace(world.worker.requester, **lacking))
        chosen = {"KMSKeyArn": world.other_key, "BucketKeyEnabled": "true" if target == "bucket key" else "false"}
        update = who.sending(content_md5="checked at the edge")
        error = await refused(update("UpdateObjectEncryption", Key="k", ObjectEncryption={"SSEKMS": chosen}))
        assert (error.status, error.code) == (400, "InvalidArgument")
        assert error.message == f"Requests specifying Server Side Encryption with AWS KMS managed keys {message}"
        assert world.record.counts() == {}
        assert await world.worker.rows("SELECT sealed FROM object_versions") == before

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("source", ["SSE-S3", "bucket key"])
def test_an_object_hangs_on_nothing_that_was_not_seen_to_open(tmp_path, key_server, source: str) -> None:
    async def work(world) -> None:
        await world.worker.put("k", CONTENT, **world.members(source))
        before = await world.worker.rows("SELECT sealed FROM object_versions")
        kms = world.worker.storage.kms
        encrypt = kms.encrypt

        async def seals_another(key_id, plaintext, context, requester):
            return await encrypt(key_id, bytes(len(plaintext)), context, requester)

        kms.encrypt = seals_another
        update = world.worker.sending(content_md5="checked at the edge")
        error = await refused(
            update("UpdateObjectEncryption", Key="k", ObjectEncryption={"SSEKMS": {"KMSKeyArn": world.key}})
        )
        assert (error.status, error.code) == (500, "InternalError")
        assert await world.worker.rows("SELECT sealed FROM object_versions") == before
        assert await world.worker.get("k") == CONTENT

    with_world(key_server, tmp_path, work)


def test_secrets_that_are_rotated_while_the_key_service_is_asked_are_followed(tmp_path, key_server) -> None:
    """The row that is read again may be under a secret that did not exist when the bucket was opened."""

    async def work(world) -> None:
        await world.worker.put("k", CONTENT)
        kms = world.worker.storage.kms
        encrypt = kms.encrypt

        async def slow(*given):
            kms.encrypt = encrypt
            rotation = replace(world.worker.store.rotation, pause=0.0)
            await rotate_bucket_secrets(rotation, lambda _done, _all: None)
            await world.worker("PutObjectTagging", Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
            return await encrypt(*given)

        kms.encrypt = slow
        update = world.worker.sending(content_md5="checked at the edge")
        await update("UpdateObjectEncryption", Key="k", ObjectEncryption={"SSEKMS": {"KMSKeyArn": world.key}})
        assert (await world.worker("HeadObject", Key="k"))["SSEKMSKeyId"] == world.key
        assert (await world.worker("GetObjectTagging", Key="k"))["TagSet"] == [{"Key": "a", "Value": "b"}]
        assert await world.worker.get("k") == CONTENT

    with_world(key_server, tmp_path, work)
