"""The commands beside a running server with two workers that is written to and read from all the time."""

import asyncio
import base64
import json
import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from strongroom.s3.cleanup import collect
from strongroom.server.paths import Paths
from strongroom.server.store import OpenStore
from tests.faults.load import body, is_whole, under_load
from tests.harness import STRONGROOM, Server, customer_key, new_server, running
from tests.stored import with_store


def command(*arguments: object, code: int = 0, environment: dict[str, str] | None = None) -> Any:
    """The last JSON value that the command printed."""
    done = subprocess.run(
        [STRONGROOM, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def collecting_all_the_time(data_dir: Path) -> Iterator[list[int]]:
    """`gc` in a loop without any patience: no age, no grace. Yields the numbers of blobs that each round deleted."""
    stop, deleted = threading.Event(), list[int]()

    async def collect_often(store: OpenStore) -> None:
        storage = replace(store.storage, deletion_grace=0)
        while not stop.is_set():
            deleted.append((await collect(storage, store.blobs.remove_abandoned, age=-60)).deleted)
            await asyncio.sleep(0.01)  # each round syncs the disk, which the others need as well

    thread = threading.Thread(target=with_store, args=(data_dir, collect_often))
    thread.start()
    try:
        yield deleted
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


# --- gc


def test_gc_in_a_loop_under_writes_and_kills_loses_nothing(tmp_path) -> None:
    """What the collector takes for an orphan is refused at its commit (503), never lost after its 200."""
    server = new_server(tmp_path, "--workers", "2", environment={"STRONGROOM_DELETION_GRACE": "0"}).start()
    try:
        server.s3().create_bucket(Bucket="busy")
        with collecting_all_the_time(server.data_dir) as deleted, under_load(server, "busy") as load:
            for _ in range(4):
                acknowledged = len(load.kept)
                wait_until(lambda wanted=acknowledged + 6: len(load.kept) >= wanted)
                server.kill()
                server.start()
        assert load.kept
        assert load.lost() == []
        assert sum(deleted) > 0
        assert command("verify", "--data-dir", server.data_dir)["damages"] == 0
        command("gc", "--data-dir", server.data_dir, "--older-than", 0, environment=server.environment)
        command("gc", "--data-dir", server.data_dir, "--older-than", 0, environment=server.environment)
        with_store(server.data_dir, _nothing_is_left_over)
    finally:
        server.stop()


async def _nothing_is_left_over(store: OpenStore) -> None:
    """Every file is named by a row: two rounds of gc have found all that the kills left."""
    named = {row[0] for row in await store.database.read("SELECT blob_id FROM blobs WHERE delete_after_us IS NULL")}
    assert {blob.blob_id async for blob in store.blobs.list()} == named
    assert await store.blobs.remove_abandoned() == 0


def wait_until(condition: Any, *, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- rotation


def test_no_request_notices_a_rotation(tmp_path) -> None:
    with running(tmp_path) as server:
        s3 = server.s3()
        s3.create_bucket(Bucket="busy")
        s3.put_bucket_versioning(Bucket="busy", VersioningConfiguration={"Status": "Enabled"})
        for number in range(8):
            s3.create_bucket(Bucket=f"idle-{number}")
            s3.put_object(Bucket=f"idle-{number}", Key="key", Body=body(100))
        before = [path.name for path in Paths(server.data_dir).keys.iterdir()]
        with under_load(server, "busy") as load:
            wait_until(lambda: load.requests > 10)
            told = command("rotate-store-key", "--data-dir", server.data_dir)
            assert before == [f"{told['old_store_key_id']}.key"]
            assert command("rotate-bucket-secrets", "--data-dir", server.data_dir) == {"buckets": 9}
            told = command("rotate-store-key", "--data-dir", server.data_dir)
            seen = load.requests
            wait_until(lambda: load.requests > seen + 10)
        assert load.failures == []
        assert load.lost() == []
        for number in range(8):
            assert is_whole(s3.get_object(Bucket=f"idle-{number}", Key="key")["Body"].read())
        assert [path.name for path in Paths(server.data_dir).keys.iterdir()] == [f"{told['new_store_key_id']}.key"]
        assert command("verify", "--data-dir", server.data_dir)["damages"] == 0
        process = server.process.pid
        assert os.path.exists(f"/proc/{process}")
        assert "Traceback" not in server.log.read_text()


def test_a_key_from_the_environment_is_rotated_without_a_failing_request(tmp_path) -> None:
    old, new = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    source = {"STRONGROOM_STORE_KEY_SOURCE": "environment"}
    server = new_server(tmp_path, "--workers", "2", environment={**source, "STRONGROOM_STORE_KEY": old}).start()
    try:
        server.s3().create_bucket(Bucket="busy")
        server.s3().put_object(Bucket="busy", Key="before", Body=b"before")
        both = {**source, "STRONGROOM_STORE_KEY": new, "STRONGROOM_STORE_KEY_PREVIOUS": old}
        failed = subprocess.run(
            [STRONGROOM, "rotate-store-key", "--yes", "--data-dir", server.data_dir],
            capture_output=True,
            text=True,
            env={**os.environ, **both},
            timeout=60,
            check=False,
        )
        assert failed.returncode == 1
        assert "restart it with the new key" in failed.stderr
        server.stop()
        server.environment.update(both)
        server.start()
        with under_load(server, "busy") as load:
            wait_until(lambda: load.requests > 10)
            command("rotate-store-key", "--data-dir", server.data_dir, environment=both)
            seen = load.requests
            wait_until(lambda: load.requests > seen + 10)
        assert load.failures == []
        server.stop()
        del server.environment["STRONGROOM_STORE_KEY_PREVIOUS"]
        server.start()
        assert load.lost() == []
        assert server.s3().get_object(Bucket="busy", Key="before")["Body"].read() == b"before"
    finally:
        server.stop()


# --- backup


def test_every_object_of_a_backup_opens_though_the_server_went_on_writing_and_deleting(tmp_path) -> None:
    """Deletion without a grace, and a collector that never rests: only the hold keeps the backup's blobs alive."""
    source, restored = tmp_path / "source", tmp_path / "restored"
    source.mkdir()
    restored.mkdir()
    with running(source, environment={"STRONGROOM_DELETION_GRACE": "0"}) as server:
        s3, tls = server.s3(), server.s3(tls=True)
        s3.create_bucket(Bucket="busy")
        s3.create_bucket(Bucket="doomed")
        tls.put_object(Bucket="busy", Key="ssec", Body=b"secret" * 1000, **customer_key(b"k" * 32))
        upload = {"Bucket": "busy", "Key": "pending"}
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        etag = s3.upload_part(**upload, PartNumber=1, Body=b"pending")["ETag"]
        doomed = [f"{number:04}" for number in range(150)]
        for key in doomed:
            s3.put_object(Bucket="doomed", Key=key, Body=body(1000))
        with collecting_all_the_time(server.data_dir) as deleted, under_load(server, "busy", clients=2) as load:
            wait_until(lambda: load.requests > 10 and deleted)
            remover = threading.Thread(target=_delete_all, args=(server, doomed))
            remover.start()
            told = command("backup", "--data-dir", server.data_dir, restored / "data", "--with-keys")
            remover.join()
            acknowledged = dict(load.kept)
        assert told["failed"] == []
        assert told["blobs"] > 0
        assert len(load.kept) >= len(acknowledged)
        assert_private(restored / "data")
        shutil.rmtree(Paths(server.data_dir).keys)  # the restored store needs nothing of this one
    assert command("verify", "--data-dir", restored / "data")["damages"] == 0
    with running(restored) as again:
        s3, tls = again.s3(), again.s3(tls=True)
        assert again.access_key_id == server.access_key_id
        seen = 0
        for bucket in ("busy", "doomed"):
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for entry in page.get("Contents", []):
                    if entry["Key"] != "ssec":
                        assert is_whole(s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
                        seen += 1
        assert seen > 5
        got = tls.get_object(Bucket="busy", Key="ssec", **customer_key(b"k" * 32))
        assert got["Body"].read() == b"secret" * 1000
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        assert s3.get_object(Bucket="busy", Key="pending")["Body"].read() == b"pending"


def _delete_all(server: Server, keys: list[str]) -> None:
    s3 = server.s3()
    for key in keys:
        s3.delete_object(Bucket="doomed", Key=key)


def assert_private(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path} {mode:o}"
