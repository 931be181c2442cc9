"""LocalBlobs: what is written is what is read, what fails leaves nothing, nothing outside the directory is touched."""

import asyncio
import fcntl
import os
import stat
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.blobs.local import LocalBlobs
from strongroom.blobs.store import BlobId, BlobMissing, ListedBlob, StorageFull, StorageUnavailable

MIB = 1 << 20
CACHED = 256 << 10


class ClientGoneError(Exception):
    pass


@asynccontextmanager
async def opened(directory: Path, *, keep_free: int = 0) -> AsyncIterator[LocalBlobs]:
    blobs = LocalBlobs(directory, keep_free=keep_free)
    try:
        yield blobs
    finally:
        await blobs.close()


async def chunks_of(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def store(blobs: LocalBlobs, *chunks: bytes) -> BlobId:
    stored = await blobs.write(chunks_of(chunks))
    assert stored.size == sum(map(len, chunks))
    return stored.blob_id


async def read(blobs: LocalBlobs, blob_id: BlobId, start: int, stop: int) -> bytes:
    return b"".join([block async for block in blobs.read(blob_id, start, stop)])


def path_of(directory: Path, blob_id: BlobId) -> Path:
    return directory / blob_id.hex()[:2] / blob_id.hex()


def files_of(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if not path.is_dir()}


def descriptors() -> set[str]:
    """What this process holds open, the pool's and the loop's own descriptors included."""
    links = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            links.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return links


@pytest.mark.parametrize("size", [0, 1, 4096, CACHED - 1, CACHED, CACHED + 1, MIB, MIB + 1, 5 * MIB + 13])
def test_a_blob_is_read_back_as_written(tmp_path, size):
    content = os.urandom(size)

    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            blob_id = await store(blobs, *(content[at : at + 70_001] for at in range(0, size, 70_001)))
            assert await blobs.size(blob_id) == size
            assert await read(blobs, blob_id, 0, size) == content
            assert path_of(tmp_path / "blobs", blob_id).read_bytes() == content
            assert files_of(tmp_path / "blobs") == {path_of(tmp_path / "blobs", blob_id)}

    asyncio.run(main())


def test_any_range_is_that_slice_of_the_blob(tmp_path):
    content = os.urandom(3 * MIB + 17)
    edges = sorted({0, 1, CACHED, MIB, CACHED + MIB, 2 * MIB, len(content) - 1, len(content)})

    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            blob_id = await store(blobs, content)
            for start in edges:
                for stop in (stop for stop in edges if stop >= start):
                    assert await read(blobs, blob_id, start, stop) == content[start:stop]

    asyncio.run(main())


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 3000), max_size=600) | st.lists(st.integers(0, MIB + 5), max_size=5))
def test_any_split_of_the_input_gives_the_same_blob(tmp_path_factory, sizes):
    chunks = [bytes([number % 251]) * size for number, size in enumerate(sizes)]

    async def main() -> None:
        async with opened(tmp_path_factory.getbasetemp() / "splits") as blobs:
            blob_id = await store(blobs, *chunks)
            assert await read(blobs, blob_id, 0, sum(sizes)) == b"".join(chunks)

    asyncio.run(main())


def test_a_cold_blob_is_read_too(tmp_path):
    content = os.urandom(2 * MIB)

    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            blob_id = await store(blobs, content)
            with path_of(tmp_path / "blobs", blob_id).open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert await read(blobs, blob_id, 5, len(content)) == content[5:]

    asyncio.run(main())


def test_many_writers_and_readers_at_once(tmp_path):
    contents = [os.urandom(1000 + number * 40_000) for number in range(40)]

    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            ids = await asyncio.gather(*(store(blobs, content) for content in contents))
            assert len(set(ids)) == len(ids)
            pairs = zip(ids, contents, strict=True)
            found = await asyncio.gather(*(read(blobs, blob_id, 0, len(content)) for blob_id, content in pairs))
            assert list(found) == contents

    asyncio.run(main())


def test_an_absent_or_short_blob_is_missing(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            blob_id = await store(blobs, b"12345")
            for absent, stop in ((BlobId(bytes(16)), 1), (blob_id, 6)):
                with pytest.raises(BlobMissing):
                    await read(blobs, absent, 0, stop)
            with pytest.raises(BlobMissing):
                await blobs.size(BlobId(bytes(16)))

    asyncio.run(main())


def test_a_blob_that_is_cut_while_it_is_read_is_missing(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            blob_id = await store(blobs, bytes(8 * MIB))
            blocks = blobs.read(blob_id, 0, 8 * MIB)
            await anext(blocks)
            os.truncate(path_of(tmp_path / "blobs", blob_id), 3 * MIB)
            with pytest.raises(BlobMissing):
                [block async for block in blocks]

    asyncio.run(main())


def test_a_deleted_blob_is_gone_and_deleting_twice_is_no_error(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            blob_id = await store(blobs, b"content")
            await blobs.delete(blob_id)
            await blobs.delete(blob_id)
            with pytest.raises(BlobMissing):
                await read(blobs, blob_id, 0, 7)
            assert files_of(tmp_path / "blobs") == set()

    asyncio.run(main())


def test_a_running_read_survives_the_deletion(tmp_path):
    content = os.urandom(4 * MIB)

    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            blob_id = await store(blobs, content)
            blocks = blobs.read(blob_id, 0, len(content))
            first = await anext(blocks)
            await blobs.delete(blob_id)
            assert first + b"".join([block async for block in blocks]) == content

    asyncio.run(main())


def test_a_read_that_ends_early_closes_its_file(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            blob_id = await store(blobs, bytes(4 * MIB))
            path = str(path_of(tmp_path / "blobs", blob_id))
            async with aclosing(blobs.read(blob_id, 0, 4 * MIB)) as blocks:
                await anext(blocks)
                assert path in descriptors()
            assert path not in descriptors()
            task = asyncio.create_task(read(blobs, blob_id, 0, 4 * MIB))
            while path not in descriptors():  # noqa: ASYNC110  the kernel's state, which sets no Event
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert path not in descriptors()

    asyncio.run(main())


@pytest.mark.parametrize("before", [0, 1, 3 * MIB])
def test_what_the_chunks_raise_reaches_the_caller_and_leaves_nothing(tmp_path, before):
    async def broken() -> AsyncIterator[bytes]:
        for _ in range(before // 4096):
            yield bytes(4096)
        raise ClientGoneError

    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            open_before = descriptors()
            with pytest.raises(ClientGoneError):
                await blobs.write(broken())
            assert files_of(tmp_path / "blobs") == set()
            assert descriptors() == open_before

    asyncio.run(main())


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20, 60])
def test_a_cancelled_write_leaves_nothing(tmp_path, turns):
    """Cancelled at different points: before the first job, during one, between two, during the last."""

    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            open_before = descriptors()
            task = asyncio.create_task(blobs.write(chunks_of([bytes(MIB)] * 20)))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert files_of(tmp_path / "blobs") == set()
            assert descriptors() == open_before

    asyncio.run(main())


def test_the_list_shows_every_blob_and_nothing_else(tmp_path):
    directory = tmp_path / "blobs"

    async def main() -> None:
        async with opened(directory) as blobs:
            assert [blob async for blob in blobs.list()] == []
            ids = [await store(blobs, bytes(size)) for size in range(300)]
            (directory / "tmp" / ("0" * 32)).touch()
            (directory / "00" / "notes.txt").touch()
            (directory / "00" / ("11" * 16)).touch()  # a blob's name in another's directory
            (directory / "22" / ("22" * 16)).symlink_to(path_of(directory, ids[0]))
            (directory / "33" / ("AB" * 16)).touch()
            found = [blob async for blob in blobs.list()]
            assert sorted((blob.blob_id, blob.size) for blob in found) == sorted(zip(ids, range(300), strict=True))
            one = path_of(directory, ids[7]).stat()
            assert ListedBlob(ids[7], 7, one.st_mtime) in found

    asyncio.run(main())


def test_only_the_temporary_files_of_the_dead_are_abandoned(tmp_path):
    directory = tmp_path / "blobs"

    async def main() -> None:
        async with opened(directory) as blobs, opened(directory) as another:
            started, go_on = asyncio.Event(), asyncio.Event()

            async def slow() -> AsyncIterator[bytes]:
                yield bytes(2 * MIB)
                yield bytes(2 * MIB)
                started.set()
                await go_on.wait()
                yield b"end"

            writing = asyncio.create_task(blobs.write(slow()))
            await started.wait()
            (directory / "tmp" / "left-over").write_bytes(b"of a process that was killed")
            assert await another.remove_abandoned() == 1
            assert len(files_of(directory)) == 1
            go_on.set()
            stored = await writing
            assert files_of(directory) == {path_of(directory, stored.blob_id)}
            assert await another.remove_abandoned() == 0
            assert await blobs.size(stored.blob_id) == 4 * MIB + 3

    asyncio.run(main())


def test_writers_are_not_disturbed_by_a_collector_that_never_rests(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs, opened(tmp_path / "blobs") as collector:
            writing = asyncio.gather(*(store(blobs, bytes(100)) for _ in range(200)))
            while not writing.done():
                await collector.remove_abandoned()
            assert len(files_of(tmp_path / "blobs")) == len(set(await writing)) == 200

    asyncio.run(main())


def test_a_temporary_file_is_locked_before_anything_is_in_it(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            started, go_on = asyncio.Event(), asyncio.Event()

            async def slow() -> AsyncIterator[bytes]:
                yield bytes(MIB)
                yield bytes(MIB)
                started.set()
                await go_on.wait()

            writing = asyncio.create_task(blobs.write(slow()))
            await started.wait()
            (temporary,) = files_of(tmp_path / "blobs")
            with temporary.open("rb") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            go_on.set()
            await writing

    asyncio.run(main())


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_everything_is_private_whatever_the_umask(tmp_path, umask):
    async def main() -> None:
        async with opened(tmp_path / "blobs") as blobs:
            await store(blobs, b"content")

    previous = os.umask(umask)
    try:
        asyncio.run(main())
    finally:
        os.umask(previous)
    everything = [tmp_path / "blobs", *(tmp_path / "blobs").rglob("*")]
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in everything}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_a_symlink_inside_the_tree_is_never_followed(tmp_path):
    directory, outside = tmp_path / "blobs", tmp_path / "outside"

    async def main() -> None:
        async with opened(directory) as blobs:
            blob_id = await store(blobs, b"content")
            path = path_of(directory, blob_id)
            outside.mkdir()
            (outside / path.name).write_bytes(b"something else")
            path.unlink()
            path.symlink_to(outside / path.name)
            with pytest.raises(StorageUnavailable):
                await read(blobs, blob_id, 0, 7)
            path.unlink()
            path.parent.rmdir()
            path.parent.symlink_to(outside)
            with pytest.raises(StorageUnavailable):
                await blobs.size(blob_id)
            with pytest.raises(StorageUnavailable):
                await blobs.delete(blob_id)
            with pytest.raises(StorageUnavailable):
                [blob async for blob in blobs.list()]
            assert (outside / path.name).read_bytes() == b"something else"

    asyncio.run(main())


@pytest.mark.parametrize("name", ["", "tmp", "7f"])
def test_a_tree_with_a_symlink_in_it_is_not_opened(tmp_path, name):
    directory, outside = tmp_path / "blobs", tmp_path / "outside"
    outside.mkdir(mode=0o755)
    if name:
        directory.mkdir()
    (directory / name).symlink_to(outside)
    with pytest.raises(FileExistsError):
        LocalBlobs(directory)
    assert list(outside.iterdir()) == []


def test_uploads_leave_alone_what_is_kept_for_the_database(tmp_path):
    async def main() -> None:
        disk = os.statvfs(tmp_path)
        async with opened(tmp_path / "blobs", keep_free=disk.f_blocks * disk.f_frsize) as blobs:
            with pytest.raises(StorageFull):
                await store(blobs, b"content")
            assert files_of(tmp_path / "blobs") == set()

    asyncio.run(main())


def test_read__a_blob_of_another_length_is_damage_wherever_the_range_lies(tmp_path: Path) -> None:
    async def check() -> None:
        async with opened(tmp_path) as blobs:
            blob_id = await store(blobs, b"0123456789")
            assert [block async for block in blobs.read(blob_id, 2, 5, size=10)] == [b"234"]
            for size in (9, 11):
                with pytest.raises(BlobMissing):
                    await anext(blobs.read(blob_id, 2, 5, size=size))

    asyncio.run(check())
