import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from strongroom.blobs.local import LocalBlobs
from strongroom.blobs.local_copy import Copier
from strongroom.blobs.local_files import BlobsHeld, Tree, held, open_tree
from strongroom.blobs.store import BlobId, StorageFull

CONTENT = [b"", b"x", os.urandom(3_000_000)]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Tree]:
    with closing(open_tree(str(tmp_path / "source"))) as tree:
        yield tree


@pytest.fixture
def destination(tmp_path: Path) -> Iterator[Tree]:
    with closing(open_tree(str(tmp_path / "destination"))) as tree:
        yield tree


@pytest.fixture
def stored(tmp_path: Path, source: Tree) -> dict[bytes, bytes]:
    async def one(content: bytes) -> AsyncIterator[bytes]:
        yield content

    async def write() -> dict[bytes, bytes]:
        blobs = LocalBlobs(tmp_path / "source")
        found = {bytes((await blobs.write(one(content))).blob_id): content for content in CONTENT}
        await blobs.close()
        return found

    return asyncio.run(write())


def files(directory: Path) -> dict[bytes, bytes]:
    return {bytes.fromhex(path.name): path.read_bytes() for path in directory.glob("??/*")}


@pytest.mark.parametrize("refusal", [None, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS])
def test_blobs_are_copied_whole_private_and_apart(tmp_path, source, destination, stored, monkeypatch, refusal) -> None:
    if refusal:

        def refuse(*_args: int) -> int:
            raise OSError(refusal, "not here")

        monkeypatch.setattr(os, "copy_file_range", refuse)
    with closing(Copier(source, destination)) as copier:
        assert copier.copy(stored) == []
        copier.sync()
        assert copier.copied_bytes == sum(map(len, CONTENT))
    assert files(tmp_path / "destination") == stored
    for path in (tmp_path / "destination").glob("??/*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_nlink == 1


def test_a_missing_blob_is_told_and_the_others_are_copied(tmp_path, source, destination, stored) -> None:
    missing = BlobId(bytes(16))
    with closing(Copier(source, destination)) as copier:
        assert copier.copy([missing, *stored]) == [missing]
    assert files(tmp_path / "destination") == stored


def test_a_blob_that_cannot_be_read_is_told_and_leaves_nothing(
    tmp_path, source, destination, stored, monkeypatch
) -> None:
    def fail(*_args: int) -> int:
        raise OSError(errno.EIO, "bad sector")

    monkeypatch.setattr(os, "copy_file_range", fail)
    with closing(Copier(source, destination)) as copier:
        assert sorted(copier.copy(stored)) == sorted(blob_id for blob_id, content in stored.items() if content)
    assert files(tmp_path / "destination") == {blob_id: b"" for blob_id, content in stored.items() if not content}


def test_a_full_disk_ends_the_copy(source, destination, stored, monkeypatch) -> None:
    def fail(*_args: int) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "copy_file_range", fail)
    with closing(Copier(source, destination)) as copier, pytest.raises(StorageFull):
        copier.copy(stored)


# --- holding


def test_while_the_blobs_are_held_nobody_removes_one(tmp_path, source, stored) -> None:
    async def work() -> None:
        blobs, wanted = LocalBlobs(tmp_path / "source"), [BlobId(blob_id) for blob_id in stored]
        with held(source):
            assert await asyncio.gather(*map(blobs.delete, wanted)) == [False] * len(wanted)
            assert files(tmp_path / "source") == stored
        assert await asyncio.gather(*map(blobs.delete, wanted)) == [True] * len(wanted)
        await blobs.close()

    asyncio.run(work())
    assert files(tmp_path / "source") == {}


def test_one_holder_at_a_time_and_none_after_it_ended(source, monkeypatch) -> None:
    monkeypatch.setattr("strongroom.blobs.local_files._HOLD_PATIENCE", 0.05)
    with held(source), pytest.raises(BlobsHeld, match="another backup"), held(source):
        pass
    with held(source):
        pass


def test_a_writer_may_go_on_and_give_up_while_the_blobs_are_held(tmp_path, source) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise ValueError

    async def work() -> None:
        blobs = LocalBlobs(tmp_path / "source")
        with held(source), pytest.raises(ValueError):
            await blobs.write(broken())
        await blobs.close()

    asyncio.run(work())
    assert files(tmp_path / "source") == {}
