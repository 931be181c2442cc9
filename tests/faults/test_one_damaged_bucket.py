"""One bucket whose row was spoilt: everything else goes on."""

import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from strongroom import config
from strongroom.crypto.errors import IntegrityError
from strongroom.keys.rotation import finish_rotation, rotate_store_key
from strongroom.keys.store_keys import create_key_file, load_key_files
from strongroom.server.paths import Paths
from strongroom.server.store import initialise
from tests.calls import Worker, with_workers


def damage(data_dir: Path) -> None:
    """Of the buckets `bucket` and `other`, the second opens no more."""

    async def work(worker: Worker) -> None:
        await worker.put("key")
        await worker("CreateBucket", Bucket="other")
        await worker("PutObject", Bucket="other", Key="key", body=b"content")
        spoilt = secrets.token_bytes(100)
        await worker.store.database.transact(
            lambda tx: tx.execute("UPDATE buckets SET sealed = ? WHERE name = 'other'", (spoilt,))
        )

    with_workers(data_dir, work)


async def others_work(worker: Worker) -> None:
    await worker.put("another")
    assert await worker.get("key") == b"content"
    with pytest.raises(IntegrityError):
        await worker("GetObject", Bucket="other", Key="key")


def test_a_server_starts_though_a_rotation_cannot_be_finished(tmp_path) -> None:
    """Killed after its key came into force; and since then a bucket was damaged."""
    damage(tmp_path)

    async def rotate(worker: Worker) -> None:
        new = create_key_file(Paths(tmp_path).keys)
        await worker.store.database.transact(
            lambda tx: tx.execute("UPDATE store SET value = ? WHERE name = 'primary_store_key_id'", (new,))
        )

    with_workers(tmp_path, rotate)
    initialise(tmp_path, config.load(tmp_path, environ={}))
    assert len(load_key_files(Paths(tmp_path).keys)) == 2  # the old one is still needed
    with_workers(tmp_path, others_work)


def test_a_rotation_gets_as_far_as_it_can_and_says_what_it_could_not_do(tmp_path) -> None:
    """All but the damaged bucket are out of reach of the old key, whichever names come first."""
    damage(tmp_path)

    async def work(worker: Worker) -> None:
        await worker("CreateBucket", Bucket="zebra")
        rotation = replace(worker.store.rotation, pause=0)
        for attempt in (rotate_store_key, finish_rotation):
            with pytest.raises(IntegrityError, match="other"):
                await attempt(rotation, lambda _done, _all: None)
            rows = await worker.rows(
                "SELECT name, store_key_id = (SELECT value FROM store WHERE name = 'primary_store_key_id'), s.version"
                " FROM bucket_secrets s JOIN buckets USING (bucket_id) WHERE name <> 'other' ORDER BY 1"
            )
            assert rows == [("bucket", 1, 1), ("bucket", 1, 2), ("zebra", 1, 2)]
        await others_work(worker)

    with_workers(tmp_path, work)
    assert len(load_key_files(Paths(tmp_path).keys)) == 2
