"""The key census: what hangs on which material of which key, as of one moment."""

import asyncio

from strongroom.metadata.census import _CENSUS, KeyUsage, census
from tests.calls import BUCKET
from tests.kms_calls import with_world


def usage(arn, material, objects, size, *, by_bucket_key=0, uploads=0):
    return KeyUsage(
        key_arn=arn, material_id=material, objects=objects, size=size, by_bucket_key=by_bucket_key, uploads=uploads
    )


def test_everything_under_a_key_is_counted_once_by_its_material(tmp_path, key_server):
    async def work(world):
        worker, database = world.worker, world.worker.store.database
        assert await census(database) == []
        old = world.material(world.key)
        await worker.put("plain", b"1" * 1000)
        await worker.put("customer", b"1" * 1000, **world.members("SSE-C"))
        await worker.put("kms", b"1" * 10, **world.members("KMS"))
        await worker.put("dsse", b"1" * 20, **world.members("DSSE"))
        await worker.put("by-bucket-key", b"1" * 40, **world.members("bucket key"))
        new = world.rotate(world.key)
        await worker.put("kms-new", b"1" * 80, **world.members("KMS"))
        await worker.put("by-old-bucket-key", b"1" * 160, **world.members("bucket key"))
        await worker.put("other", b"1" * 320, **world.members("other KMS"))
        await worker.upload("open", b"1" * 640, **world.members("KMS"))
        await worker.upload("open", b"1" * 640, **world.members("bucket key"))
        await worker.complete(*await worker.upload("done", b"1" * 1280, **world.members("other KMS")))
        other = world.material(world.other_key)

        expected = [
            usage(world.key, old, 4, 10 + 20 + 40 + 160, by_bucket_key=2, uploads=1),
            usage(world.key, new, 1, 80, uploads=1),
            usage(world.other_key, other, 2, 320 + 1280),
        ]
        order = sorted(expected, key=lambda each: (each.key_arn, each.material_id))
        assert await census(database) == order
        assert await census(database, key_arn=world.other_key) == expected[2:]

        await worker("DeleteObject", Key="by-bucket-key")
        await worker("CopyObject", Key="kms", CopySource=f"{BUCKET}/kms", **world.members("other KMS"))
        assert await census(database, key_arn=world.other_key) == [usage(world.other_key, other, 3, 320 + 1280 + 10)]
        (first,) = [each for each in await census(database, key_arn=world.key) if each.material_id == old]
        assert first == usage(world.key, old, 2, 20 + 160, by_bucket_key=1, uploads=1)

    with_world(key_server, tmp_path, work)


def test_versions_count_and_delete_markers_do_not(tmp_path, key_server):
    async def work(world):
        for _ in range(3):
            await world.worker.put("k", b"1" * 10, **world.members("KMS"))
        await world.worker("DeleteObject", Key="k")
        (found,) = await census(world.worker.store.database)
        assert (found.objects, found.size) == (3, 30)

    with_world(key_server, tmp_path, work, versioning="Enabled")


def test_objects_are_counted_whose_bucket_key_is_gone(tmp_path, key_server):
    async def work(world):
        await world.worker.put("k", b"1" * 10, **world.members("bucket key"))
        await world.worker.store.database.transact(lambda tx: tx.execute("DELETE FROM bucket_keys"))
        assert await census(world.worker.store.database) == [usage(world.key, None, 1, 10)]

    with_world(key_server, tmp_path, work)


def test_rows_of_objects_are_not_read(tmp_path, key_server):
    """Indexes alone answer for the objects, or a census of many would read all their rows."""

    async def work(world):
        plan = await world.worker.rows(f"EXPLAIN QUERY PLAN {_CENSUS}", *range(4))
        steps = [str(row[3]) for row in plan if "object_versions" in str(row[3])]
        assert len(steps) == 2
        assert all("USING COVERING INDEX" in step for step in steps)

    with_world(key_server, tmp_path, work)


def test_a_census_beside_writes_never_miscounts(tmp_path, key_server):
    async def work(world):
        async def write():
            for _ in range(20):
                await world.worker.put("k", b"1" * 10, **world.members("KMS"))

        writing = asyncio.create_task(write())
        seen = set()
        while not writing.done():
            seen |= {(each.objects, each.size) for each in await census(world.worker.store.database)}
            await asyncio.sleep(0)
        await writing
        assert seen <= {(1, 10)}

    with_world(key_server, tmp_path, work)
