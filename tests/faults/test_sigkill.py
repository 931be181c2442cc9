"""SIGKILL to the whole server at random moments under concurrent writes, many times over on one data directory.

Each writer has keys of its own and keeps a ledger of what it was told. A write without an answer may have happened or
not, whole; everything else must be there, to the byte, after every kill.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import STRONGROOM, Reply, Server, new_server, wait_until

ROUNDS = 25
WRITERS = 6
KEYS = 4  # of each writer, in each bucket
PLAIN, VERSIONED = "plain-bucket", "versioned-bucket"
SETTINGS = {"STRONGROOM_DELETION_GRACE": "0", "STRONGROOM_LOG_LEVEL": "warning"}


@dataclass(frozen=True)
class Content:
    """Bytes that say which write they come from."""

    seed: int
    size: int

    def body(self) -> bytes:
        line = hashlib.sha256(str(self.seed).encode()).hexdigest().encode()
        return (line * (self.size // len(line) + 1))[: self.size]


ABSENT = None  # among what a GET may find
MARKER = "delete marker"  # among the versions that a listing may show
Version = tuple[str, Content | str]


@dataclass
class Plain:
    """A key in a bucket without versions: what a GET may find."""

    name: str
    possible: set[Content | None] = field(default_factory=lambda: {ABSENT})


@dataclass
class Versioned:
    """A key in a bucket with versions: those that must be there, oldest first; what writes without an answer may have
    added, and which versions they may have removed.
    """

    name: str
    versions: list[Version] = field(default_factory=list)
    perhaps_added: list[Content | str] = field(default_factory=list)
    perhaps_removed: list[Version] = field(default_factory=list)


@dataclass
class Writer:
    random: random.Random
    plain: list[Plain]
    versioned: list[Versioned]
    acknowledged: int = 0

    def run(self, server: Server) -> None:
        """Write until the server is gone."""
        with suppress(OSError):
            while True:
                self.write(server)

    def run_until(self, stop: threading.Event, server: Server) -> int:
        """Write whatever happens, and return how many requests had no answer."""
        interrupted = 0
        while not stop.is_set():
            try:
                self.write(server)
            except OSError:
                interrupted += 1
        return interrupted

    def write(self, server: Server) -> None:
        choices: list[Callable[[Server], None]] = [
            *[self.put] * 3,
            *[self.delete, self.copy, self.multipart],
            *[self.put_version] * 2,
            *[self.put_marker, self.delete_version],
        ]
        self.random.choice(choices)(server)
        self.acknowledged += 1

    def new_content(self) -> Content:
        size = self.random.choice([0, 1, 200, 16384, 70_000, 700_000, 2_000_000])
        return Content(self.random.getrandbits(64), size)

    def put(self, server: Server) -> None:
        key, new = self.random.choice(self.plain), self.new_content()
        key.possible.add(new)
        expect(200, server.send("PUT", f"/{PLAIN}/{key.name}", body=new.body()))
        key.possible = {new}

    def delete(self, server: Server) -> None:
        key = self.random.choice(self.plain)
        key.possible.add(ABSENT)
        expect(204, server.send("DELETE", f"/{PLAIN}/{key.name}"))
        key.possible = {ABSENT}

    def copy(self, server: Server) -> None:
        source, target = self.random.sample(self.plain, 2)
        if len(source.possible) > 1 or ABSENT in source.possible:
            return
        (content,) = source.possible
        target.possible.add(content)
        headers = {"x-amz-copy-source": f"/{PLAIN}/{source.name}"}
        expect(200, server.send("PUT", f"/{PLAIN}/{target.name}", headers=headers))
        target.possible = {content}

    def multipart(self, server: Server) -> None:
        key = self.random.choice(self.plain)
        sizes = [5 << 20, 1000] if self.random.random() < 0.2 else [self.random.choice([1, 100_000])]
        new = Content(self.random.getrandbits(64), sum(sizes))
        target, body = f"/{PLAIN}/{key.name}", new.body()
        upload_id = expect(200, server.send("POST", f"{target}?uploads=")).element("UploadId")
        parts, sent = "", 0
        for number, size in enumerate(sizes, 1):
            part = body[sent : sent + size]
            reply = expect(200, server.send("PUT", f"{target}?partNumber={number}&uploadId={upload_id}", body=part))
            parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{reply.headers['etag']}</ETag></Part>"
            sent += size
        document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        key.possible.add(new)
        expect(200, server.send("POST", f"{target}?uploadId={upload_id}", body=document))
        key.possible = {new}

    def put_version(self, server: Server) -> None:
        key, new = self.random.choice(self.versioned), self.new_content()
        key.perhaps_added.append(new)
        reply = expect(200, server.send("PUT", f"/{VERSIONED}/{key.name}", body=new.body()))
        key.versions.append((reply.headers["x-amz-version-id"], new))
        key.perhaps_added.remove(new)

    def put_marker(self, server: Server) -> None:
        key = self.random.choice(self.versioned)
        key.perhaps_added.append(MARKER)
        reply = expect(204, server.send("DELETE", f"/{VERSIONED}/{key.name}"))
        key.versions.append((reply.headers["x-amz-version-id"], MARKER))
        key.perhaps_added.remove(MARKER)

    def delete_version(self, server: Server) -> None:
        key = self.random.choice(self.versioned)
        if not key.versions:
            return
        chosen = self.random.choice(key.versions)
        key.versions.remove(chosen)
        key.perhaps_removed.append(chosen)
        expect(204, server.send("DELETE", f"/{VERSIONED}/{key.name}?versionId={quote(chosen[0])}"))
        key.perhaps_removed.remove(chosen)


def expect(status: int, reply: Reply) -> Reply:
    if not reply.complete:
        raise ConnectionError
    assert reply.status == status, (reply.status, reply.body)
    return reply


# --- after the kill


def check_plain(server: Server, s3: Any, writers: list[Writer]) -> None:
    """What GET finds is what the ledger allows; the listing shows the same keys, sizes and ETags."""
    listed = {each["Key"]: each for each in s3.list_objects_v2(Bucket=PLAIN).get("Contents", [])}
    found = 0
    for key in (key for writer in writers for key in writer.plain):
        reply = server.send("GET", f"/{PLAIN}/{key.name}")
        if reply.status == 404:
            assert ABSENT in key.possible, f"{key} is lost"
            assert key.name not in listed
            key.possible = {ABSENT}
            continue
        assert (reply.status, reply.complete) == (200, True), (key, reply.status, reply.body[:500])
        key.possible = {next(each for each in key.possible if each and each.body() == reply.body)}
        found += 1
        assert (listed[key.name]["Size"], listed[key.name]["ETag"]) == (len(reply.body), reply.headers["etag"])
    assert found == len(listed)


def check_versions(server: Server, s3: Any, writers: list[Writer]) -> None:
    """The listing shows the versions that the ledger has, and no more than it allows; GET agrees."""
    listed = dict[str, dict[str, bool]]()  # whether it is the latest, by version id, by key
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=VERSIONED):
        for each in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            listed.setdefault(each["Key"], {})[each["VersionId"]] = each["IsLatest"]
    for key in (key for writer in writers for key in writer.versioned):
        shown = listed.get(key.name, {})
        assert {version_id for version_id, _ in key.versions} <= shown.keys(), f"{key.name} lost versions"
        key.versions = [each for each in key.perhaps_removed if each[0] in shown] + key.versions
        known = dict(key.versions)
        for version_id in shown.keys() - known.keys():
            found = read_version(server, key, version_id, key.perhaps_added)
            key.perhaps_added.remove(found)
            key.versions.append((version_id, found))
        for version_id, content in known.items():
            read_version(server, key, version_id, [content])
        key.perhaps_added, key.perhaps_removed = [], []
        latest = [version_id for version_id, is_latest in shown.items() if is_latest]
        assert len(latest) == bool(shown)
        reply = server.send("GET", f"/{VERSIONED}/{key.name}")
        content = dict(key.versions)[latest[0]] if latest else MARKER
        assert reply.body == content.body() if isinstance(content, Content) else reply.status == 404


def read_version(
    server: Server, key: Versioned, version_id: str, allowed: list[Content] | list[Content | str]
) -> Content | str:
    """Which of `allowed` the version is."""
    reply = server.send("GET", f"/{VERSIONED}/{key.name}?versionId={quote(version_id)}")
    if MARKER in allowed and reply.status == 405:
        return MARKER
    assert (reply.status, reply.complete) == (200, True), (key, reply.status, reply.body[:500])
    return next(each for each in allowed if isinstance(each, Content) and each.body() == reply.body)


def check_no_leftovers(server: Server, s3: Any, writers: list[Writer]) -> None:
    """After a round of `gc` every blob belongs to an object, and every object is sound."""
    for upload in s3.list_multipart_uploads(Bucket=PLAIN).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=PLAIN, Key=upload["Key"], UploadId=upload["UploadId"])
    command(server, "gc", "--older-than", "0", "--json")
    blobs = server.data_dir / "s3" / "blobs"
    assert list((blobs / "tmp").iterdir()) == []
    told = json.loads(command(server, "verify", "--json"))
    named = sum(count_parts(server, key) for w in writers for key in w.plain if ABSENT not in key.possible)
    named += sum(isinstance(content, Content) for w in writers for key in w.versioned for _, content in key.versions)
    assert len(list(blobs.glob("??/*"))) == named, told


def count_parts(server: Server, key: Plain) -> int:
    reply = server.send("HEAD", f"/{PLAIN}/{key.name}?partNumber=1")
    return int(reply.headers.get("x-amz-mp-parts-count", "1"))


def command(server: Server, name: str, *arguments: str) -> str:
    result = subprocess.run(
        [STRONGROOM, name, "--data-dir", str(server.data_dir), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**server.environment, "PATH": ""},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, which may end dead."""
    started = new_server(tmp_path, "--workers", "2", environment=SETTINGS).start()
    s3 = started.s3()
    s3.create_bucket(Bucket=PLAIN)
    s3.create_bucket(Bucket=VERSIONED)
    s3.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"})
    yield started
    with suppress(ProcessLookupError):
        started.kill()


def new_writers(chance: random.Random) -> list[Writer]:
    return [
        Writer(
            random=random.Random(chance.getrandbits(32)),
            plain=[Plain(f"writer-{number}/key-{each}") for each in range(KEYS)],
            versioned=[Versioned(f"writer-{number}/key-{each}") for each in range(KEYS // 2)],
        )
        for number in range(WRITERS)
    ]


def check(server: Server, writers: list[Writer]) -> None:
    s3 = server.s3()
    check_plain(server, s3, writers)
    check_versions(server, s3, writers)


def test_sigkill_loses_nothing_acknowledged_and_shows_nothing_half(server):
    chance = random.Random()
    writers = new_writers(chance)
    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in range(ROUNDS):
            running = [pool.submit(writer.run, server) for writer in writers]
            time.sleep(chance.uniform(0.02, 0.5))  # a random moment among the writes
            server.kill()
            for each in running:
                each.result()
            server.start()
            check(server, writers)
    check_no_leftovers(server, server.s3(), writers)
    assert sum(writer.acknowledged for writer in writers) > 10 * ROUNDS
    assert " ERROR " not in server.log.read_text()


def test_a_worker_that_is_killed_costs_no_more_than_its_own_requests(server):
    """The other goes on meanwhile, and a new one takes its place."""
    writers = new_writers(random.Random())
    stop = threading.Event()
    with ThreadPoolExecutor(WRITERS) as pool:
        running = [pool.submit(writer.run_until, stop, server) for writer in writers]
        try:
            for _ in range(4):
                before = server.workers()
                time.sleep(random.uniform(0.05, 0.3))  # a random moment among the writes
                os.kill(random.choice(before), signal.SIGKILL)
                wait_until(partial(has_new_worker, server, before))
        finally:
            stop.set()
        interrupted = sum(each.result() for each in running)
    assert interrupted < sum(writer.acknowledged for writer in writers)
    check(server, writers)
    check_no_leftovers(server, server.s3(), writers)


def test_workers_end_with_a_killed_supervisor_and_a_new_server_starts_at_once(server):
    writers = new_writers(random.Random())
    with ThreadPoolExecutor(WRITERS) as pool:
        running = [pool.submit(writer.run, server) for writer in writers]
        time.sleep(random.uniform(0.1, 0.3))  # a random moment among the writes
        workers = server.workers()
        server.process.kill()
        server.process.wait()
        server.start()
        assert not any(is_running(pid) for pid in workers)
        for each in running:
            each.result()
    check(server, writers)


def has_new_worker(server: Server, before: list[int]) -> bool:
    return len(now := server.workers()) == len(before) and now != before


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
