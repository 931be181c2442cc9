"""Whoever stops in the middle of reading or writing leaves no blob open and no half of one behind."""

import asyncio
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from strongroom.aws.errors import S3Error
from strongroom.blobs.store import BlobId, BlobStore, ListedBlob, StorageFull, StoredBlob
from tests.calls import Worker, with_workers
from tests.harness import running

MIB = 1 << 20


@dataclass(frozen=True)
class Full:
    """A store whose disk is full after the first bytes of a blob."""

    blobs: BlobStore

    async def write(self, chunks: AsyncIterator[bytes]) -> StoredBlob:
        await anext(chunks)
        raise StorageFull

    def read(self, blob_id: BlobId, start: int, stop: int, *, size: int | None = None) -> AsyncGenerator[bytes, None]:
        return self.blobs.read(blob_id, start, stop, size=size)

    async def size(self, blob_id: BlobId) -> int:
        return await self.blobs.size(blob_id)

    async def delete(self, blob_id: BlobId) -> bool:
        return await self.blobs.delete(blob_id)

    def list(self) -> AsyncIterator[ListedBlob]:
        return self.blobs.list()


def full(worker: Worker) -> Worker:
    return replace(worker, storage=replace(worker.storage, blobs=Full(worker.storage.blobs)))


def open_blobs() -> list[str]:
    """What this process has open below a directory of blobs, but for the directories themselves."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if "/s3/blobs/" in target and not target.endswith("/tmp"):
            found.append(target)
    return found


def test_a_copy_that_ends_early_closes_its_source(tmp_path) -> None:
    async def work(worker: Worker) -> None:
        await worker.put("key", bytes(4 * MIB))
        upload, _ = await worker.upload("copy")
        for call in (("CopyObject", {"Key": "copy"}), ("UploadPartCopy", {**upload, "PartNumber": 1})):
            with pytest.raises(S3Error, match="ServiceUnavailable"):
                await full(worker)(call[0], CopySource="bucket/key", **call[1])
            assert open_blobs() == []

    with_workers(tmp_path, work)


def test_an_answer_that_nobody_reads_closes_its_blob(tmp_path) -> None:
    """A client that went away before the first byte of its answer was sent."""

    async def work(worker: Worker) -> None:
        await worker.put("key", bytes(4 * MIB))
        body = (await worker("GetObject", Key="key"))["Body"]
        assert open_blobs()
        await body.aclose()
        assert open_blobs() == []

    with_workers(tmp_path, work)


def test_a_read_that_is_cancelled_closes_its_blob(tmp_path) -> None:
    async def work(worker: Worker) -> None:
        await worker.put("key", bytes(8 * MIB))

        async def read() -> None:
            async for _ in (await worker("GetObject", Key="key"))["Body"]:
                await asyncio.sleep(0)

        for turns in range(30):
            task = asyncio.ensure_future(read())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert open_blobs() == []

    with_workers(tmp_path, work)


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart", "CopyObject"])
def test_a_write_that_is_cancelled_anywhere_is_whole_or_leaves_nothing(tmp_path, operation) -> None:
    async def work(worker: Worker) -> None:
        await worker.put("source", bytes(3 * MIB))
        upload, _ = await worker.upload("key")
        before, claims = worker.blobs(), "SELECT blob_id FROM blobs"

        def call() -> "asyncio.Task[Any]":
            given: dict[str, Any] = {
                "PutObject": {"Key": "key", "body": bytes(3 * MIB)},
                "UploadPart": {**upload, "PartNumber": 1, "body": bytes(3 * MIB)},
                "CopyObject": {"Key": "key", "CopySource": "bucket/source"},
            }[operation]
            return asyncio.ensure_future(worker(operation, **given))

        for turns in range(40):
            task = call()
            for _ in range(turns):
                await asyncio.sleep(0.0002 * turns / 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await worker.store.database.transact(lambda tx: tx.execute("SELECT 1"))  # behind all the others
        claimed = {row[0] for row in await worker.rows(claims)}
        assert claimed <= worker.blobs() | before
        assert open_blobs() == []
        await worker.store.blobs.remove_abandoned()
        abandoned = os.listdir(f"/proc/self/fd/{worker.store.blobs._tree.temporary}")
        assert abandoned == []

    with_workers(tmp_path, work)


def test_an_object_is_not_read_to_its_end_for_a_client_that_went_away(tmp_path) -> None:
    with running(tmp_path, "--workers", "1") as server:
        server.send("PUT", "/bucket")
        server.send("PUT", "/bucket/key", body=bytes(64 * MIB))
        with server.connect() as connection:
            connection.sendall(server.head("GET", "/bucket/key"))
            assert connection.recv(1000)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        deadline = time.monotonic() + 20
        while not (line := next((each for each in server.log.read_text().splitlines() if "=GetObject" in each), "")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        told = dict(field.split("=") for field in line.split() if field.count("=") == 1)
        assert told["code"] == "ClientGone"
        assert int(told["bytes_out"]) < 32 * MIB


def test_a_reader_that_is_cancelled_while_it_closes_closes_all_the_same(tmp_path) -> None:
    """A client that goes, and then the server's last patience: the read ahead is still waiting for its thread."""

    async def work(worker: Worker) -> None:
        await worker.put("key", bytes(4 * MIB))
        body = (await worker("GetObject", Key="key"))["Body"]
        busy = threading.Event()
        jobs = [worker.store.blobs._start(busy.wait, 20.0) for _ in range(16)]  # every thread of the pool
        for _ in range(2):
            await anext(body)
        closing = asyncio.ensure_future(body.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        busy.set()
        await asyncio.gather(*jobs, closing, return_exceptions=True)
        assert open_blobs() == []

    with_workers(tmp_path, work)


def test_a_writer_that_is_cancelled_while_it_gives_up_leaves_nothing(tmp_path) -> None:
    """A body that breaks off, and then the server's last patience, before a first byte was written."""

    async def work(worker: Worker) -> None:
        store = worker.store.blobs
        busy, broken = threading.Event(), asyncio.Event()
        jobs = [store._start(busy.wait, 20.0) for _ in range(16)]

        async def chunks() -> AsyncIterator[bytes]:
            yield bytes(2 * MIB)
            broken.set()
            raise S3Error("IncompleteBody")

        writing = asyncio.ensure_future(store.write(chunks()))
        await broken.wait()
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.sleep(0)
        busy.set()
        await asyncio.gather(*jobs, writing, return_exceptions=True)
        await store._start(bool)  # behind what was started before
        await asyncio.gather(*(store._start(bool) for _ in range(16)))
        assert open_blobs() == []
        assert os.listdir(f"/proc/self/fd/{store._tree.temporary}") == []

    with_workers(tmp_path, work)
