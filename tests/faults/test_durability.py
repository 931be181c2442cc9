"""What a server does with its disk before it answers, seen by its system calls; and what it does when they fail.

SIGKILL keeps the page cache, so only the order of the calls shows that an answered write outlives a power cut.
"""

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.children import tracing
from tests.harness import Reply, Server, running, unique_bucket

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may trace a process that holds keys")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("durability"), "--workers", "1") as started:
        yield started


@pytest.fixture
def bucket(server: Server) -> str:
    """A bucket with the object `old`."""
    name = unique_bucket()
    assert server.send("PUT", f"/{name}").status == 200
    assert server.send("PUT", f"/{name}/old", body=b"old content").status == 200
    return name


# --- the verbs


def put(server: Server, bucket: str, body: bytes = b"new content") -> Callable[[], Reply]:
    return lambda: server.send("PUT", f"/{bucket}/old", body=body)


def put_large(server: Server, bucket: str) -> Callable[[], Reply]:
    return put(server, bucket, bytes(3 << 20))


def copy(server: Server, bucket: str) -> Callable[[], Reply]:
    return lambda: server.send("PUT", f"/{bucket}/copy", headers={"x-amz-copy-source": f"/{bucket}/old"})


def begin_upload(server: Server, bucket: str) -> str:
    return server.send("POST", f"/{bucket}/new?uploads=").element("UploadId")


def upload_part(server: Server, bucket: str) -> Callable[[], Reply]:
    target = f"/{bucket}/new?partNumber=1&uploadId={begin_upload(server, bucket)}"
    return lambda: server.send("PUT", target, body=b"a part")


def copy_part(server: Server, bucket: str) -> Callable[[], Reply]:
    target = f"/{bucket}/new?partNumber=1&uploadId={begin_upload(server, bucket)}"
    return lambda: server.send("PUT", target, headers={"x-amz-copy-source": f"/{bucket}/old"})


def complete(server: Server, bucket: str) -> Callable[[], Reply]:
    upload_id = begin_upload(server, bucket)
    part = server.send("PUT", f"/{bucket}/new?partNumber=1&uploadId={upload_id}", body=b"a part")
    document = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    )
    return lambda: server.send("POST", f"/{bucket}/new?uploadId={upload_id}", body=document.encode())


def delete(server: Server, bucket: str) -> Callable[[], Reply]:
    return lambda: server.send("DELETE", f"/{bucket}/old")


def delete_objects(server: Server, bucket: str) -> Callable[[], Reply]:
    document = b"<Delete><Object><Key>old</Key></Object></Delete>"
    headers = {"content-md5": base64.b64encode(hashlib.md5(document).digest()).decode()}
    return lambda: server.send("POST", f"/{bucket}?delete=", headers=headers, body=document)


def put_versioning(server: Server, bucket: str) -> Callable[[], Reply]:
    document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    return lambda: server.send("PUT", f"/{bucket}?versioning=", body=document)


def create_bucket(server: Server, bucket: str) -> Callable[[], Reply]:
    return lambda: server.send("PUT", f"/{bucket}-2")


Verb = Callable[[Server, str], Callable[[], Reply]]


# --- the order


@dataclass(frozen=True)
class Call:
    """One system call: the lines of the trace at which it began and ended."""

    name: str
    text: str
    begin: int
    end: int


def calls(trace: Path) -> list[Call]:
    found, unfinished = [], dict[str, tuple[str, int]]()
    for number, line in enumerate(trace.read_text().splitlines()):
        thread, _, text = line.partition(" ")
        text = text.strip()
        begin = number
        if text.endswith("<unfinished ...>"):
            unfinished[thread] = (text.removesuffix("<unfinished ...>"), number)
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>", text):
            head, begin = unfinished.pop(thread)
            text = head + text[resumed.end() :]
        if called := re.match(r"\w+(?=\()", text):
            found.append(Call(called[0], text, begin, number))
    return found


def writes_to(pattern: str) -> Callable[[Call], bool]:
    return lambda call: "write" in call.name and re.search(rf"^\w+\(\d+<{pattern}>", call.text) is not None


def syncs_of(pattern: str) -> Callable[[Call], bool]:
    return lambda call: "sync" in call.name and re.search(rf"^\w+\(\d+<{pattern}>\s*\)\s+= 0", call.text) is not None


def answers(call: Call) -> bool:
    return re.search(r"^(write|writev|sendto|sendmsg)\(\d+<(socket|TCP)", call.text) is not None


def renames(call: Call) -> bool:
    return call.name.startswith("rename")


def stages(server: Server) -> dict[str, Callable[[Call], bool]]:
    blobs, index = f"{server.data_dir}/s3/blobs", f"{server.data_dir}/s3/index.db-wal"
    return {
        "write of the blob": writes_to(f"{blobs}/tmp/[0-9a-f]+"),
        "fsync of the blob": syncs_of(f"{blobs}/tmp/[0-9a-f]+"),
        "rename": renames,
        "fsync of the directory": syncs_of(f"{blobs}/[0-9a-f]{{2}}"),
        "write of the index": writes_to(index),
        "fsync of the index": syncs_of(index),
        "answer": answers,
    }


INDEX_ONLY = ["write of the index", "fsync of the index", "answer"]
WITH_BLOB = ["write of the blob", "fsync of the blob", "rename", "fsync of the directory", *INDEX_ONLY]
TRACED = "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,rename,renameat,renameat2"


@pytest.mark.parametrize(
    ("verb", "order"),
    [
        (put, WITH_BLOB),
        (put_large, WITH_BLOB),
        (copy, WITH_BLOB),
        (upload_part, WITH_BLOB),
        (copy_part, WITH_BLOB),
        (complete, INDEX_ONLY),  # its blobs are those of the parts
        (delete, INDEX_ONLY),
        (delete_objects, INDEX_ONLY),
        (put_versioning, INDEX_ONLY),
        (create_bucket, INDEX_ONLY),
    ],
)
def test_everything_is_on_disk_before_the_first_byte_of_the_answer(server, bucket, tmp_path, verb, order):
    """Each stage begins when all of the one before has ended."""
    send = verb(server, bucket)
    trace = tmp_path / "trace"
    with tracing(server.workers()[0], trace, "-e", TRACED):
        assert send().status in (200, 204)
    seen, kinds, before = calls(trace), stages(server), -1
    for stage in order:
        of_stage = [call for call in seen if kinds[stage](call)]
        if "fsync" in stage:  # a checkpoint of what came earlier may have synced too
            of_stage = [call for call in of_stage if call.begin > before][:1]
        assert of_stage, f"no {stage} after the one before it:\n{trace.read_text()}"
        assert min(call.begin for call in of_stage) > before, f"{stage} came too early:\n{trace.read_text()}"
        before = max(call.end for call in of_stage)


# --- failing calls

BLOB_FSYNC, DIRECTORY_FSYNC = "inject=fsync:error=EIO:when=1", "inject=fsync:error=EIO:when=2"


@pytest.mark.parametrize(
    "failure",
    [
        BLOB_FSYNC,
        DIRECTORY_FSYNC,
        "inject=renameat:error=EIO:when=1",
        "inject=writev:error=EIO:when=1",
        "inject=writev:error=ENOSPC:when=1",
        "inject=openat:error=EMFILE:when=1",
    ],
)
@pytest.mark.parametrize("verb", [put, put_large, copy, upload_part, copy_part])
def test_a_blob_that_is_not_on_disk_is_503_and_never_was(server, bucket, tmp_path, failure, verb):
    send = verb(server, bucket)
    before = blob_files(server)
    only = ["--trace-path", f"{server.data_dir}/s3/blobs/tmp"] if "openat" in failure else []
    with tracing(server.workers()[0], tmp_path / "trace", *only, "-e", failure):
        reply = send()
    assert (reply.status, reply.code) == (503, "ServiceUnavailable")
    assert blob_files(server) == before
    assert state(server, bucket) == {"old": b"old content"}
    assert send().status == 200  # nothing stands in the way of another attempt


def test_a_failed_fsync_is_never_repeated_on_its_file(server, bucket, tmp_path):
    for number, failure in enumerate([BLOB_FSYNC, DIRECTORY_FSYNC], 1):
        trace = tmp_path / f"trace {number}"
        with tracing(server.workers()[0], trace, "-e", failure, "-e", "trace=fsync,fdatasync"):
            assert put(server, bucket)().status == 503
        synced = [call.text for call in calls(trace) if "/blobs/" in call.text]
        assert len(synced) == number  # the failed one was the last
        assert "EIO" in synced[-1]


@pytest.mark.parametrize("verb", [put, copy, complete, delete, put_versioning, create_bucket])
def test_a_commit_that_is_not_on_disk_is_503_and_never_was(server, bucket, tmp_path, verb):
    send = verb(server, bucket)
    only_wal = ["--trace-path", f"{server.data_dir}/s3/index.db-wal"]
    with tracing(server.workers()[0], tmp_path / "trace", *only_wal, "-e", "inject=fdatasync:error=EIO:when=1"):
        reply = send()
    assert (reply.status, reply.code) == (503, "ServiceUnavailable")
    assert "EIO" in (tmp_path / "trace").read_text()
    assert state(server, bucket) == {"old": b"old content"}
    assert server.send("HEAD", f"/{bucket}-2").status == 404
    assert b"Enabled" not in server.send("GET", f"/{bucket}?versioning=").body
    assert send().status in (200, 204)


def test_a_blob_that_cannot_be_read_is_503_and_the_next_read_is_served(server, bucket, tmp_path):
    (new,) = put_and_find(server, bucket, b"content" * 100_000)
    failing = ["--trace-path", str(new), "-e", "inject=preadv2,pread64:error=EIO"]
    with tracing(server.workers()[0], tmp_path / "trace", *failing):
        reply = server.send("GET", f"/{bucket}/old")
    assert (reply.status, reply.code) == (503, "ServiceUnavailable")
    assert server.send("GET", f"/{bucket}/old").body == b"content" * 100_000


def test_a_blob_that_cannot_be_read_to_its_end_never_ends_cleanly(server, bucket, tmp_path):
    (new,) = put_and_find(server, bucket, bytes(8 << 20))
    failing = ["--trace-path", str(new), "-e", "inject=pread64:error=EIO:when=3+"]
    with tracing(server.workers()[0], tmp_path / "trace", *failing):
        reply = server.send("GET", f"/{bucket}/old")
    assert reply.status == 200
    assert not reply.complete
    assert 0 < len(reply.body) < 8 << 20
    assert not reply.body.strip(b"\0")


def test_an_index_that_cannot_be_read_is_an_error_and_no_other_answer(server, bucket, tmp_path):
    """SQLite takes a failing read for damage (sqlite.org/rescode.html, SQLITE_IOERR_CORRUPTFS), and so it is 500."""
    index = f"{server.data_dir}/s3/index.db"
    failing = ["--trace-path", index, "--trace-path", f"{index}-wal", "-e", "inject=pread64:error=EIO"]
    with tracing(server.workers()[0], tmp_path / "trace", *failing):
        for reply in (
            server.send("GET", f"/{bucket}/old"),
            server.send("GET", f"/{bucket}?list-type=2"),
            server.send("PUT", f"/{bucket}/new", body=b"new content"),
            server.send("DELETE", f"/{bucket}/old"),
        ):
            assert (reply.status, reply.code) == (500, "InternalError")
    assert state(server, bucket) == {"old": b"old content"}


def blob_files(server: Server) -> set[Path]:
    return {path for path in (server.data_dir / "s3" / "blobs").glob("*/*") if path.is_file()}


def put_and_find(server: Server, bucket: str, body: bytes) -> set[Path]:
    """The blob of `old` after a PUT of `body`."""
    before = blob_files(server)
    assert put(server, bucket, body)().status == 200
    return blob_files(server) - before


def state(server: Server, bucket: str) -> dict[str, bytes]:
    """What a listing shows and a GET finds."""
    contents = server.s3().list_objects_v2(Bucket=bucket).get("Contents", [])
    found = {each["Key"]: server.send("GET", f"/{bucket}/{each['Key']}") for each in contents}
    assert all(reply.status == 200 for reply in found.values())
    return {key: reply.body for key, reply in found.items()}
