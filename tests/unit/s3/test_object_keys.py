"""What an object's key looks like while it is worked on, and what nobody sees of it."""

import secrets
from dataclasses import replace

import pytest

from strongroom.metadata.objects import get_version
from strongroom.metadata.records import Dsse, SseC, SseKms, SseKmsBucketKey, SseS3
from strongroom.s3.encryption import ChosenKms, ChosenSseS3
from strongroom.s3.kms_keys import KmsKey
from strongroom.s3.object_keys import ObjectKey, new_object_key, outer_key, unseal, unseal_here
from tests.calls import ROOT
from tests.kms_calls import with_world

KEPT = SseKms(key_arn="arn", material_id=None, context=(("a", "private"),), ciphertext_blob=b"blob")


def test_g1_no_key_shows_in_a_repr():
    material = b"material of a key which is secret"
    shown = [
        repr(ObjectKey(object_id=b"id", material=material, outer=material, kept=KEPT)),
        repr(KmsKey(material, KEPT)),
        repr(SseC(sealed_key=material)),
        repr(SseKmsBucketKey(key_arn="arn", bucket_key_id=b"id", sealed_key=material)),
        repr(Dsse(inner=KEPT, sealed_key=material)),
        repr(ChosenKms(key_id="secret", context=(("a", "secret"),))),
    ]
    assert all("secret" not in each and "private" not in each for each in shown)
    assert all("blob" not in each.replace("ciphertext_blob", "") for each in shown)


@pytest.mark.parametrize(
    ("chosen", "kind", "opens_here", "shows_md5"),
    [
        (ChosenSseS3(), SseS3, True, True),
        (ChosenKms(key_id="an alias"), SseKms, False, False),
        (ChosenKms(key_id="an alias", bucket_key=True), SseKmsBucketKey, False, False),
        (ChosenKms(key_id="an alias", dsse=True), Dsse, False, False),
    ],
)
def test_a_key_is_sealed_and_opens_again(tmp_path, key_server, chosen, kind, opens_here, shows_md5):
    async def work(world):
        storage = world.worker.storage
        bucket = await storage.keyring.open_bucket("bucket")
        assert bucket
        named = replace(chosen, key_id=world.alias()) if isinstance(chosen, ChosenKms) else chosen
        keys = [await new_object_key(storage, ROOT, bucket, "k", named) for _ in range(2)]
        assert len({key.object_id for key in keys} | {key.material for key in keys}) == 4
        key = keys[0]
        assert key.shows_md5 is shows_md5
        record = await stored(world, key.sealed(bucket), key.object_id)
        assert isinstance(record.encryption, kind)
        assert (unseal_here(bucket, record, None) is not None) is opens_here
        opened = await unseal(storage, ROOT, bucket, record, None)
        assert (opened.material, opened.outer, opened.kept) == (key.material, key.outer, key.kept)
        assert outer_key(bucket, record) == key.outer
        assert (key.outer is not None) is (kind is Dsse)
        if kind is Dsse:
            assert key.outer != key.material

    with_world(key_server, tmp_path, work)


async def stored(world, encryption, object_id):
    """A record of that encryption, as a row would give it."""
    await world.worker.put("k", secrets.token_bytes(10))
    bucket = await world.worker.storage.keyring.open_bucket("bucket")
    version = await get_version(world.worker.store.database, bucket, "k")
    assert version
    return replace(version, encryption=encryption, object_id=object_id)
