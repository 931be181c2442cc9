"""An object copied over itself under another key, while somebody else changes it or its bucket."""

import pytest

from tests.calls import BUCKET
from tests.kms_calls import refused, with_world

CONTENT = b"plaintext" * 3000
SOURCE = {"Key": "k", "CopySource": f"{BUCKET}/k"}


async def enable_versions(world):
    await world.worker("PutBucketVersioning", VersioningConfiguration={"Status": "Enabled"})


def meanwhile(world, step):
    """`step` comes between the answer of the key service and the copy's commit."""
    kms = world.worker.storage.kms
    re_encrypt = kms.re_encrypt

    async def late(*given, **named):
        sealed = await re_encrypt(*given, **named)
        kms.re_encrypt = re_encrypt
        await step()
        return sealed

    kms.re_encrypt = late


@pytest.mark.parametrize("mode", ["KMS", "DSSE"])
def test_the_null_version_of_a_bucket_that_has_versions_now_stays_as_it_is(tmp_path, key_server, mode):
    async def work(world):
        await world.worker.put("k", CONTENT, **world.members(mode))
        await enable_versions(world)
        answer = await world.worker("CopyObject", **SOURCE, **world.members(mode) | {"SSEKMSKeyId": world.other_key})
        assert len(world.worker.blobs()) == 2
        world.operator.disable_key(KeyId=world.other_key)
        assert await world.worker.get("k", VersionId="null") == CONTENT
        world.operator.enable_key(KeyId=world.other_key)
        world.operator.disable_key(KeyId=world.key)
        assert await world.worker.get("k", VersionId=answer["VersionId"]) == CONTENT

    with_world(key_server, tmp_path, work)


def test_an_object_that_was_replaced_meanwhile_is_left_alone(tmp_path, key_server):
    async def work(world):
        await world.worker.put("k", CONTENT, **world.members("KMS"))
        meanwhile(world, lambda: world.worker.put("k", b"another", **world.members("KMS")))
        error = await refused(world.worker("CopyObject", **SOURCE, **world.members("other KMS")))
        assert (error.status, error.code) == (409, "OperationAborted")
        assert await world.worker.get("k") == b"another"

    with_world(key_server, tmp_path, work)


def test_tags_that_came_meanwhile_are_not_lost(tmp_path, key_server):
    async def work(world):
        await world.worker.put("k", CONTENT, **world.members("KMS"))
        tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
        meanwhile(world, lambda: world.worker("PutObjectTagging", Key="k", Tagging=tags))
        error = await refused(world.worker("CopyObject", **SOURCE, **world.members("other KMS")))
        assert (error.status, error.code) == (409, "OperationAborted")
        assert await world.worker("GetObjectTagging", Key="k") == tags

    with_world(key_server, tmp_path, work)


def test_two_copies_at_once_never_mix_their_keys(tmp_path, key_server):
    async def work(world):
        await world.worker.put("k", CONTENT, **world.members("KMS"))
        meanwhile(world, lambda: world.worker("CopyObject", **SOURCE, **world.members("other KMS")))
        error = await refused(world.worker("CopyObject", **SOURCE, **world.members("KMS")))
        assert (error.status, error.code) == (409, "OperationAborted")
        assert (await world.worker("HeadObject", Key="k"))["SSEKMSKeyId"] == world.other_key
        assert await world.worker.get("k") == CONTENT

    with_world(key_server, tmp_path, work)


def test_versions_that_were_enabled_meanwhile_keep_what_they_have(tmp_path, key_server):
    async def work(world):
        await world.worker.put("k", CONTENT, **world.members("KMS"))
        meanwhile(world, lambda: enable_versions(world))
        error = await refused(world.worker("CopyObject", **SOURCE, **world.members("other KMS")))
        assert (error.status, error.code) == (409, "OperationAborted")
        assert (await world.worker("HeadObject", Key="k"))["SSEKMSKeyId"] == world.key
        assert await world.worker.get("k") == CONTENT

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("target", ["KMS", "other KMS", "bucket key", "DSSE"])
def test_an_object_of_parts_becomes_one_piece_as_by_any_copy(tmp_path, key_server, target):
    async def work(world):
        upload, listed = await world.worker.upload("k", CONTENT, **world.members("KMS"))
        done = await world.worker.complete(upload, listed)
        assert done["ETag"].endswith('-1"')
        answer = await world.worker("CopyObject", **SOURCE, **world.members(target))
        assert "-" not in answer["CopyObjectResult"]["ETag"]
        assert "PartsCount" not in await world.worker("HeadObject", Key="k", PartNumber=1)
        assert await world.worker.get("k") == CONTENT

    with_world(key_server, tmp_path, work)
