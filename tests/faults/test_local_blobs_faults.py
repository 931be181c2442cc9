"""LocalBlobs on bad days: the order of durability, a failing fsync, a full disk, SIGKILL."""

import asyncio
import re
import time

import pytest

from strongroom.blobs.local import LocalBlobs
from tests.faults.children import on_small_disk, run, start, traced

PRELUDE = """
import asyncio, os, sys
from pathlib import Path
from strongroom.blobs.local import LocalBlobs
from strongroom.blobs.store import StorageFull, StorageUnavailable

async def repeat(chunk, times):
    for _ in range(times):
        yield chunk

def files(directory):
    return sorted(path for path in Path(directory).rglob("*") if path.is_file())
"""

WRITE_ONE = (
    PRELUDE
    + """
async def main(directory, size):
    blobs = LocalBlobs(directory, keep_free=0)
    stored = await blobs.write(repeat(bytes(65536), size // 65536))
    os.write(1, b"stored " + stored.blob_id.hex().encode())
    await blobs.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
)


@pytest.mark.parametrize("size", [65536, 5 << 20])
def test_the_bytes_then_the_name_are_durable_before_the_answer(tmp_path, size):
    directory, trace = tmp_path / "blobs", tmp_path / "trace"
    calls = "trace=writev,write,fsync,fdatasync,rename,renameat,renameat2"
    blob_id = run(WRITE_ONE, directory, size, under=traced(trace, "-e", calls)).removeprefix("stored ")
    temporary, shard = f"{directory}/tmp/[0-9a-f]{{32}}", f"{directory}/{blob_id[:2]}"
    moment = {}
    for number, line in enumerate(trace.read_text().splitlines()):
        for name, pattern in {
            "write": rf"writev\(\d+<{temporary}>",
            "fsync of the file": rf"fsync\(\d+<{temporary}>",
            "rename": rf"rename\w*\(\d+<{directory}/tmp>, \"[0-9a-f]{{32}}\", \d+<{shard}>, \"{blob_id}\"",
            "fsync of the directory": rf"fsync\(\d+<{shard}>",
            "answer": r"write\(1<.*\"stored ",
        }.items():
            if re.search(pattern, line):
                moment[name] = number
    assert [name for name, _ in sorted(moment.items(), key=lambda item: item[1])] == [
        "write",
        "fsync of the file",
        "rename",
        "fsync of the directory",
        "answer",
    ]


FAILING_SYNC = (
    PRELUDE
    + """
async def main(directory, size):
    blobs = LocalBlobs(directory, keep_free=0)
    try:
        await blobs.write(repeat(bytes(65536), size // 65536))
    except StorageUnavailable as error:
        assert not isinstance(error, StorageFull)
        assert files(directory) == [], files(directory)
    else:
        raise AssertionError("it claims to be durable")
    await blobs.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
)


@pytest.mark.parametrize(("failing", "whose"), [(1, "the file's"), (2, "the directory's")])
def test_a_failed_fsync_is_unavailable_and_is_not_tried_again(tmp_path, failing, whose):
    directory, trace = tmp_path / "blobs", tmp_path / "trace"
    run(WRITE_ONE, directory, 65536)  # the tree is there, so that the next process's fsyncs are its blob's
    (blob,) = (path for path in directory.rglob("*") if path.is_file())
    blob.unlink()
    inject = f"inject=fsync:error=EIO:when={failing}"
    run(FAILING_SYNC, directory, 65536, under=traced(trace, "-e", "trace=fsync", "-e", inject))
    synced = re.findall(r"fsync\(\d+<(.*?)>\) += (.*)", trace.read_text())
    assert len(synced) == len({path for path, _ in synced}) == failing
    assert "EIO" in synced[-1][1]


def test_a_failed_fdatasync_in_a_long_blob_is_unavailable(tmp_path):
    directory, trace = tmp_path / "blobs", tmp_path / "trace"
    inject = "inject=fdatasync:error=EIO:when=1"
    run(FAILING_SYNC, directory, 140 << 20, under=traced(trace, "-e", "trace=fdatasync", "-e", inject))
    assert trace.read_text().count("fdatasync(") == 1


FAILING_CALL = (
    PRELUDE
    + """
from strongroom.blobs import local

local._THREADS = 1  # strace counts a thread's calls

async def main(directory, expected):
    blobs = LocalBlobs(directory, keep_free=0)
    await blobs.write(repeat(b"first", 1))
    before = files(directory)
    try:
        await blobs.write(repeat(b"second", 1))
    except StorageUnavailable as error:
        assert type(error).__name__ == expected, error
    else:
        raise AssertionError("it claims to be stored")
    assert files(directory) == before
    await blobs.write(repeat(b"third", 1))
    await blobs.close()

asyncio.run(main(*sys.argv[1:]))
"""
)


@pytest.mark.parametrize("call", ["writev", "/^rename", "flock", "fstatfs"])
@pytest.mark.parametrize(("errno", "expected"), [("EIO", "StorageUnavailable"), ("EDQUOT", "StorageFull")])
def test_a_call_that_fails_leaves_nothing_behind(tmp_path, call, errno, expected):
    inject = f"inject={call}:error={errno}:when=2"
    trace = traced(tmp_path / "trace", "-e", f"trace={call}", "-e", inject)
    run(FAILING_CALL, tmp_path / "blobs", expected, under=trace)


FULL_DISK = (
    PRELUDE
    + """
async def main(directory):
    blobs = LocalBlobs(directory + "/blobs", keep_free=0)
    stored = []
    try:
        while True:
            stored.append((await blobs.write(repeat(bytes(65536), 17))).blob_id)
    except StorageFull:
        pass
    assert len(stored) >= 3
    assert [path.name for path in files(directory)] == sorted(blob_id.hex() for blob_id in stored)
    for blob_id in stored:
        assert sum([len(block) async for block in blobs.read(blob_id, 0, 17 * 65536)]) == 17 * 65536
    await blobs.delete(stored.pop())
    await blobs.write(repeat(bytes(65536), 16))
    await blobs.close()

asyncio.run(main(sys.argv[1]))
"""
)


def test_a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest(tmp_path):
    run(FULL_DISK, tmp_path / "disk", under=on_small_disk(tmp_path / "disk", "6m"))


WRITE_FOR_EVER = (
    PRELUDE
    + """
async def writer(blobs, size):
    while True:
        content = os.urandom(32) * (size // 32)
        stored = await blobs.write(repeat(content, 3))
        os.write(1, stored.blob_id + content[:32])

async def main(directory):
    blobs = LocalBlobs(directory, keep_free=0)
    await asyncio.gather(*(writer(blobs, size) for size in (32, 4096, 65536, 1 << 20)))

asyncio.run(main(sys.argv[1]))
"""
)


def test_after_sigkill_every_acknowledged_blob_is_whole_and_the_rest_is_recognised(tmp_path):
    directory = tmp_path / "blobs"
    for turn in range(6):
        process = start(WRITE_FOR_EVER, directory)
        try:
            assert process.stdout is not None
            acknowledged = process.stdout.read(48)
            time.sleep(0.02 * turn)  # a random moment among the writes
        finally:
            process.kill()
        acknowledged += process.stdout.read()
        process.stdout.close()
        process.wait()
        assert len(acknowledged) % 48 == 0
        for at in range(0, len(acknowledged), 48):
            blob_id, beginning = acknowledged[at : at + 16].hex(), acknowledged[at + 16 : at + 48]
            content = (directory / blob_id[:2] / blob_id).read_bytes()
            assert len(content) in {3 * 32, 3 * 4096, 3 * 65536, 3 << 20}
            assert content == beginning * (len(content) // 32)

    async def collect() -> None:
        blobs = LocalBlobs(directory, keep_free=0)
        await blobs.remove_abandoned()
        assert list((directory / "tmp").iterdir()) == []
        sizes = {blob.size async for blob in blobs.list()}
        assert sizes <= {3 * 32, 3 * 4096, 3 * 65536, 3 << 20}  # no name without all of its bytes
        await blobs.close()

    asyncio.run(collect())
