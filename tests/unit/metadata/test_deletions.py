from secrets import token_bytes

import pytest

from strongroom.metadata import deletions
from strongroom.metadata.deletions import BlobCondemned

ONE, TWO, THREE = (token_bytes(16) for _ in range(3))
OBJECT, OTHER = token_bytes(16), token_bytes(16)
DAY = 24 * 3600 * 1_000_000


def test_a_claimed_blob_stays_and_a_doomed_one_waits_for_its_time(with_index) -> None:
    async def work(index) -> None:
        for blob_id in (ONE, TWO):
            await index.do(deletions.claim, blob_id, OBJECT)
        await index.do(deletions.claim, THREE, OTHER)
        await index.do(deletions.doom, [ONE], delete_after_us=100)
        assert await deletions.due(index.database, now_us=99, limit=9) == []
        assert await deletions.due(index.database, now_us=100, limit=9) == [ONE]
        await index.do(deletions.doom_object, OBJECT, delete_after_us=200)
        assert await deletions.due(index.database, now_us=1000, limit=9) == [ONE, TWO]
        assert await deletions.due(index.database, now_us=1000, limit=1) == [ONE]
        assert await deletions.waiting(index.database) == 2

    with_index(work)


def test_a_time_that_was_set_is_not_put_off(with_index) -> None:
    """A part that was replaced goes when it should, though its whole upload is given up later."""

    async def work(index) -> None:
        await index.do(deletions.claim, ONE, OBJECT)
        await index.do(deletions.doom, [ONE], delete_after_us=100)
        await index.do(deletions.doom_object, OBJECT, delete_after_us=200)
        await index.do(deletions.doom, [ONE], delete_after_us=300)
        assert await deletions.due(index.database, now_us=100, limit=9) == [ONE]

    with_index(work)


def test_a_blob_is_claimed_once(with_index) -> None:
    async def work(index) -> None:
        await index.do(deletions.claim, ONE, OBJECT)
        for again in (OBJECT, OTHER):
            with pytest.raises(BlobCondemned):
                await index.do(deletions.claim, ONE, again)
        assert await index.rows("SELECT * FROM blobs") == [(ONE, OBJECT, None, None)]

    with_index(work)


def test_who_comes_second_to_a_blob_loses(with_index) -> None:
    async def work(index) -> None:
        await index.do(deletions.claim, ONE, OBJECT)
        assert not await index.do(deletions.condemn, ONE, delete_after_us=1)
        assert await deletions.due(index.database, now_us=9, limit=9) == []
        assert await index.do(deletions.condemn, TWO, delete_after_us=1)
        assert not await index.do(deletions.condemn, TWO, delete_after_us=5)
        with pytest.raises(BlobCondemned):
            await index.do(deletions.claim, TWO, OBJECT)
        assert await deletions.known(index.database, [ONE, TWO, THREE]) == {ONE, TWO}
        assert await deletions.known(index.database, []) == set()

    with_index(work)


def test_an_orphan_leaves_a_tombstone_for_a_day_and_nothing_else_does(with_index) -> None:
    """Only a blob that nobody claimed can still have a commit on its way."""

    async def work(index) -> None:
        await index.do(deletions.claim, ONE, OBJECT)
        await index.do(deletions.doom_object, OBJECT, delete_after_us=1)
        await index.do(deletions.condemn, TWO, delete_after_us=1)
        await index.do(deletions.bury, [ONE, TWO], now_us=10)
        assert await deletions.due(index.database, now_us=10, limit=9) == []
        assert await deletions.waiting(index.database) == 0
        assert await index.rows("SELECT * FROM blobs") == [(TWO, None, 1, 10)]
        with pytest.raises(BlobCondemned):
            await index.do(deletions.claim, TWO, OBJECT)
        await index.do(deletions.bury, [], now_us=9 + DAY)
        assert await deletions.known(index.database, [TWO]) == {TWO}
        await index.do(deletions.bury, [], now_us=10 + DAY)
        assert await deletions.known(index.database, [TWO]) == set()

    with_index(work)


def test_the_queue_is_read_and_emptied_by_its_index(with_index) -> None:
    """However many blobs are in use: this runs every few seconds, on the event loop and in the writers' turn."""

    async def work(index) -> None:
        ran: list[str] = []

        class Plans:
            """Keeps how SQLite would do each statement."""

            changed = 0

            def execute(self, sql, params=()):
                ran.extend(row[3] for row in index.database.read_sync(f"EXPLAIN QUERY PLAN {sql}", params))
                return []

            async def read(self, sql, params=()):
                return self.execute(sql, params)

        await deletions.due(Plans(), now_us=1, limit=1)  # type: ignore[arg-type]
        deletions.bury(Plans(), [ONE], now_us=DAY)
        deletions.doom_object(Plans(), OBJECT, delete_after_us=1)
        assert len(ran) >= 3
        assert [plan for plan in ran if plan.startswith("SCAN")] == []

    with_index(work)
