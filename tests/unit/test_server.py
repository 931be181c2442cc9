"""What a start refuses, because to go on would lose data or pretend that all is well; and that a stop leaves nothing."""

import asyncio
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from strongroom import config
from strongroom.config import Settings
from strongroom.identity.requester import Requester
from strongroom.identity.root import Principal, load_root
from strongroom.keys.aws_kms import AwsKms
from strongroom.keys.judged import JudgedKeyService
from strongroom.keys.provider import KeyServiceUnavailable
from strongroom.metadata.records import BucketConfig
from strongroom.server.identities import open_identities
from strongroom.server.kms import open_key_service
from strongroom.server.paths import Paths, StartError
from strongroom.server.s3 import build
from strongroom.server.store import initialise, open_store

ACCOUNT = "000000000000"
ARN = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/00000000-0000-0000-0000-000000000001"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return config.load(tmp_path, environ={})


@pytest.fixture
def paths(tmp_path: Path, settings: Settings) -> Paths:
    """A store with a blob."""
    found = Paths(tmp_path / "data")
    initialise(found.data_dir, settings)
    blob = found.blobs / "ab" / ("ab" * 16)
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(b"ciphertext")
    return found


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, 0)


def forget(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM store")
    connection.close()


@pytest.mark.parametrize("lose", [remove, cut, forget])
def test_no_new_index_is_made_over_blobs(paths: Paths, settings: Settings, lose: Callable[[Path], None]) -> None:
    """The collector of orphans would delete every one of them."""
    lose(paths.index)
    before = paths.index.read_bytes() if paths.index.exists() else None
    with pytest.raises(StartError, match=r"index\.db .*blobs holds objects\. Restore the index from a backup"):
        initialise(paths.data_dir, settings)
    assert (paths.index.read_bytes() if paths.index.exists() else None) == before


@pytest.mark.parametrize(("start", "told"), [(0, "file is not a database"), (8192, "malformed")])
def test_a_damaged_index_is_one_sentence(paths: Paths, settings: Settings, start: int, told: str) -> None:
    with paths.index.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * 65536)
    with pytest.raises(StartError, match=f"{paths.index} is damaged .*{told}.* from a backup") as caught:
        initialise(paths.data_dir, settings)
    assert "\n" not in str(caught.value)


def test_a_store_key_that_would_not_be_used_is_refused(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gives one believes that no key lies on the disk."""
    monkeypatch.setenv("STRONGROOM_STORE_KEY", "c2VjcmV0")
    with pytest.raises(StartError, match="STRONGROOM_STORE_KEY_SOURCE=environment") as caught:
        initialise(tmp_path / "data", settings)
    assert "c2VjcmV0" not in str(caught.value)
    assert not list(Paths(tmp_path / "data").keys.iterdir())


def test_without_its_key_a_store_is_refused_and_gets_no_other(paths: Paths, settings: Settings) -> None:
    (key,) = paths.keys.iterdir()
    key.unlink()
    with pytest.raises(StartError, match=f"its store key is {key.stem}.* Put the key file back into {paths.keys}"):
        initialise(paths.data_dir, settings)
    assert not list(paths.keys.iterdir())


def test_an_index_that_cannot_be_used_now_is_a_matter_for_the_doctor(paths: Paths, settings: Settings) -> None:
    paths.index.with_name("index.db-wal").mkdir()  # SQLITE_CANTOPEN, for root too
    with pytest.raises(
        StartError, match=r"CANTOPEN \(a read-only disk, or missing permissions\)\. `strongroom doctor` looks"
    ):
        initialise(paths.data_dir, settings)


def test_what_the_system_says_of_a_file_is_told_as_a_sentence(paths: Paths, settings: Settings) -> None:
    (paths.kms / "open.lock").unlink(missing_ok=True)
    (paths.kms / "open.lock").mkdir(parents=True)
    with pytest.raises(StartError, match=rf"can't be opened: {paths.kms}/open.lock: Is a directory$"):
        asyncio.run(open_key_service(settings, paths.data_dir))


# --- what a worker opens, it closes


def open_files() -> set[str]:
    """What this process's descriptors are of."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return found


def of_this_store(data_dir: Path) -> set[str]:
    return {each for each in open_files() if each.startswith(str(data_dir))}


@contextmanager
def silent_key_service(data_dir: Path) -> Iterator[socket.socket]:
    """Takes connections and never answers."""
    (data_dir / "run").mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data_dir / "run" / "kms.sock"))
        listener.listen()
        yield listener


def test_a_stop_ends_what_is_under_way_and_leaves_no_task_thread_or_file(paths: Paths, settings: Settings) -> None:
    requester = Requester(
        principal=Principal(account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root"),
        access_key_id="AKIA",
        source_ip="127.0.0.1",
        secure_transport=True,
        user_agent="a test",
        request_id="R",
    )

    async def work(listener: socket.socket) -> None:
        await asyncio.to_thread(threading.Event().wait, 0)  # asyncio's own thread stays
        sockets = {each for each in open_files() if each.startswith("socket:")}
        store = await open_store(paths.data_dir, settings)
        storage = store.storage
        assert await storage.keyring.create_bucket("bucket", BucketConfig(owner_account=ACCOUNT))
        bucket = await storage.keyring.open_bucket("bucket")
        assert bucket
        await asyncio.get_running_loop().run_in_executor(storage.hashing, bytes)
        context = {"aws:s3:arn": "arn:aws:s3:::bucket/key"}
        asking = [
            asyncio.ensure_future(storage.kms.decrypt(f"{ARN}", b"blob", context, requester)),
            asyncio.ensure_future(storage.bucket_keys.for_write(bucket, "arn:aws:s3:::bucket", ARN, {}, requester)),
        ]
        accepted = [await asyncio.to_thread(listener.accept) for _ in asking]
        started = time.monotonic()
        await store.close()
        assert time.monotonic() - started < 5
        for question in asking:
            with pytest.raises((asyncio.CancelledError, KeyServiceUnavailable)):
                await question
        for connection, _ in accepted:
            connection.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert {each for each in open_files() if each.startswith("socket:")} <= sockets

    before, threads = of_this_store(paths.data_dir), set(threading.enumerate())
    with silent_key_service(paths.data_dir) as listener:
        asyncio.run(work(listener))
    assert of_this_store(paths.data_dir) == before == set()
    assert set(threading.enumerate()) <= threads


def test_a_worker_that_cannot_be_built_leaves_no_file_open(paths: Paths, settings: Settings) -> None:
    (key,) = paths.keys.iterdir()
    key.unlink()
    with pytest.raises(StartError, match="its store key is"):
        asyncio.run(build(settings, paths.data_dir))
    assert of_this_store(paths.data_dir) == set()


# --- which key service


@pytest.mark.parametrize(("endpoint", "judged"), [("own", False), ("https://kms.eu-central-1.amazonaws.com", True)])
def test_where_another_key_service_is_asked_people_are_judged_here(tmp_path: Path, endpoint: str, judged: bool) -> None:
    """Nothing is asked of it at a start: no network, no credentials."""
    data_dir = tmp_path / "data"
    settings = config.load(data_dir, environ={"STRONGROOM_KMS_ENDPOINT": endpoint})
    initialise(data_dir, settings)

    async def work() -> None:
        identities, database = await open_identities(data_dir, load_root(data_dir, {}, settings.account_id))
        store = await open_store(data_dir, settings, people=identities)
        assert isinstance(store.storage.kms, JudgedKeyService if judged else AwsKms)
        await store.close()
        await database.close()

    asyncio.run(work())


@pytest.mark.parametrize("window", ["0", "42"])
def test_a_bucket_key_is_used_again_for_as_long_as_the_settings_say(tmp_path: Path, window: str) -> None:
    data_dir = tmp_path / "data"
    settings = config.load(data_dir, environ={"STRONGROOM_BUCKET_KEY_WINDOW": window})
    initialise(data_dir, settings)

    async def work() -> None:
        store = await open_store(data_dir, settings)
        assert store.storage.bucket_keys is store.bucket_keys
        assert store.bucket_keys._window == float(window)
        await store.close()

    asyncio.run(work())


def test_a_store_key_of_a_key_service_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    settings = config.load(tmp_path, environ={"STRONGROOM_STORE_KEY_SOURCE": "kms"})
    with pytest.raises(
        StartError,
        match="the store key can't be made, because the key service does not answer: it is not running; `strongroom serve`",
    ) as told:
        initialise(tmp_path / "data", settings)
    assert "\n" not in str(told.value)
    assert not list(Paths(tmp_path / "data").keys.iterdir())
