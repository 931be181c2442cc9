"""Whoever holds the store key, and so may write rows as he likes, still moves no object key under another name (E8): what
the key service sealed is bound to the object's ARN, and what a bucket key sealed is bound to the object.
"""

from dataclasses import replace
from typing import Any

import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.metadata.objects import get_version, update_version
from strongroom.metadata.records import ObjectVersion, SseKms
from tests.kms_calls import World, context, refused, with_world

CONTENT, MINE = b"plaintext" * 3000, b"some-text" * 3000  # of one size


async def stored(world: World, key: str) -> ObjectVersion:
    bucket = await world.worker.storage.keyring.open_bucket("bucket")
    assert bucket
    version = await get_version(world.worker.store.database, bucket, key)
    assert version
    return version


async def rewrite(world: World, key: str, **changes: Any) -> None:
    """The row of `key` with other sealed fields, sealed as the server seals rows."""
    bucket, version = await world.worker.storage.keyring.open_bucket("bucket"), await stored(world, key)
    assert bucket
    changed = replace(version, **changes)
    await world.worker.store.database.transact(lambda tx: update_version(tx, bucket, version, changed))


async def splice(world: World, mode: str) -> None:
    """The victim's key and bytes in the row of `mine`; both rows open."""
    await world.worker.put("victim", CONTENT, **world.members(mode))
    await world.worker.put("mine", MINE, **world.members(mode))
    victim = await stored(world, "victim")
    await rewrite(world, "mine", encryption=victim.encryption, parts=victim.parts)
    assert (await stored(world, "mine")).encryption == victim.encryption
    assert await world.worker.get("victim") == CONTENT


def test_e8_a_data_key_opens_under_its_own_objects_name_only(tmp_path, key_server):
    async def work(world):
        await splice(world, "KMS")
        error = await refused(world.worker.get("mine"))
        assert error.code == "KMS.InvalidCiphertextException"
        assert world.record.questions[-1].context == {"aws:s3:arn": "arn:aws:s3:::bucket/mine"}

    with_world(key_server, tmp_path, work)


def test_e8_the_outer_key_of_dsse_is_bound_to_its_object_and_tried_before_anybody_is_asked(tmp_path, key_server):
    async def work(world):
        await splice(world, "DSSE")
        world.record.forget()
        with pytest.raises(IntegrityError, match="an object key was not sealed by its bucket"):
            await world.worker.get("mine")
        assert world.record.counts() == {}

    with_world(key_server, tmp_path, work)


def test_e8_a_key_under_a_bucket_key_opens_for_its_own_object_only(tmp_path, key_server):
    async def work(world):
        await splice(world, "bucket key")
        with pytest.raises(IntegrityError, match="an object key was not sealed by its bucket key"):
            await world.worker.get("mine")

    with_world(key_server, tmp_path, work)


def test_e8_the_context_that_a_client_sent_must_come_back(tmp_path, key_server):
    async def work(world):
        given = {"SSEKMSEncryptionContext": context(team="storage")}
        await world.worker.put("victim", CONTENT, **world.members("KMS"), **given)
        encryption = (await stored(world, "victim")).encryption
        assert isinstance(encryption, SseKms)
        for pairs in ((), (("team", "other"),), (("a", "b"), ("team", "storage")), (("Team", "storage"),)):
            await rewrite(world, "victim", encryption=replace(encryption, context=pairs))
            assert (await refused(world.worker.get("victim"))).code == "KMS.InvalidCiphertextException"
        await rewrite(world, "victim", encryption=encryption)
        assert await world.worker.get("victim") == CONTENT

    with_world(key_server, tmp_path, work)
