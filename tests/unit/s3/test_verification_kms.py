"""`verify` without a key service: what it can authenticate it does, and it counts apart what it cannot."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from strongroom.aws.checksums import hasher
from strongroom.metadata import objects
from strongroom.s3.verification import Checked, Damage, verify
from tests.kms_calls import with_world

CONTENT = b"plaintext" * 10_000


async def found(world):
    world.record.forget()
    findings = [finding async for finding in verify(world.worker.storage)]
    assert world.record.questions == []
    counts = Counter(finding.kind for finding in findings if isinstance(finding, Checked))
    return counts, [finding for finding in findings if isinstance(finding, Damage)]


def file_of(world, blob_id: bytes) -> Path:
    directory = Path(os.readlink(f"/proc/self/fd/{world.worker.store.blobs._tree.root}"))
    return directory / blob_id.hex()[:2] / blob_id.hex()


@pytest.mark.parametrize(
    ("mode", "kind", "bucket_keys"),
    [("KMS", "blob without key", 0), ("bucket key", "blob without key", 1), ("DSSE", "outer blob", 0)],
)
def test_every_kind_is_counted_apart(tmp_path, key_server, mode, kind, bucket_keys):
    async def work(world):
        members = world.members(mode)
        for key, size in (("empty", 0), ("small", 1), ("large", len(CONTENT))):
            await world.worker.put(key, CONTENT[:size], **members)
        await world.worker.complete(*await world.worker.upload("parts", CONTENT, **members))
        await world.worker.upload("open", CONTENT, **members)
        counts, damages = await found(world)
        assert damages == []
        assert counts == Counter(
            {"bucket": 1, "version": 4, "upload": 2, kind: 5} | ({"bucket key": 1} if bucket_keys else {})
        )

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("mode", ["KMS", "bucket key", "DSSE"])
@pytest.mark.parametrize("damage", ["a bit of the header", "a bit in the middle", "the last bit", "cut", "another's"])
def test_damage_is_found_without_the_key(tmp_path, key_server, mode, damage):
    async def work(world):
        before = world.worker.blobs()
        await world.worker.put("other", CONTENT, **world.members(mode))
        (other,) = world.worker.blobs() - before
        await world.worker.put("k", CONTENT, **world.members(mode))
        (blob,) = world.worker.blobs() - before - {other}
        path = file_of(world, blob)
        data = bytearray(path.read_bytes())
        place = {"a bit of the header": 3, "a bit in the middle": len(data) // 2, "the last bit": len(data) - 1}
        if damage in place:
            data[place[damage]] ^= 1
        if damage == "cut":
            del data[-1]
        path.write_bytes(file_of(world, other).read_bytes() if damage == "another's" else bytes(data))
        _, damages = await found(world)
        assert [(each.key, each.part) for each in damages] == [("k", 0)]

    with_world(key_server, tmp_path, work)


def test_an_outer_layer_is_authenticated_and_not_only_summed(tmp_path, key_server):
    """The checksum of the ciphertext is no secret of this store's: whoever changes both is still found out."""

    async def work(world):
        await world.worker.put("k", CONTENT, **world.members("DSSE"))
        (blob,) = world.worker.blobs()
        path = file_of(world, blob)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        checksum = hasher("CRC64NVME")
        checksum.update(bytes(data))
        bucket = await world.worker.storage.keyring.open_bucket("bucket")
        assert bucket
        version = await objects.get_version(world.worker.store.database, bucket, "k")
        assert version
        part = msgspec.structs.replace(version.parts[0], stored_crc64nvme=checksum.digest())
        changed = replace(version, parts=(part,))
        await world.worker.store.database.transact(lambda tx: objects.update_version(tx, bucket, version, changed))
        _, damages = await found(world)
        assert [each.problem.partition(": ")[2] for each in damages] == ["segment 5 does not authenticate"]

    with_world(key_server, tmp_path, work)
