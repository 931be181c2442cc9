"""For test_rotation_faults.py: a process that rotates the store key, or moves it into the key service or out of it, and
kills itself at its n-th step.

A step is a file that is opened, renamed or removed (Python's audit events), or a transaction, before and after. The
children are forked from a process without threads, so that a hundred rounds take seconds.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from strongroom import config
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Connection, Database
from strongroom.keys.rotation import rotate_bucket_secrets, rotate_store_key, rotation_lock
from strongroom.metadata.objects import get_version
from strongroom.metadata.records import BucketConfig
from strongroom.s3.verification import Damage, verify
from strongroom.server.paths import Paths, StartError
from strongroom.server.store import initialise, open_store

T = TypeVar("T")
NEVER = 10**9
_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.link"})


@dataclass(slots=True)
class Steps:
    """Counts steps and kills the process at the step `last`."""

    last: int
    taken: int = 0

    def take(self) -> None:
        self.taken += 1
        if self.taken == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Stepping:
    """A database whose transactions are steps."""

    database: Database
    steps: Steps

    async def read(self, sql: str, params: Any = ()) -> Any:
        return await self.database.read(sql, params)

    async def version(self) -> int:
        return await self.database.version()

    async def transact(self, function: Callable[[Connection], T], *, frees_space: bool = False) -> T:
        self.steps.take()
        result = await self.database.transact(function, frees_space=frees_space)
        self.steps.take()
        return result

    async def close(self) -> None:
        await self.database.close()


async def rotate(data_dir: Path, steps: Steps, kind: str) -> None:
    settings = config.load(data_dir, environ={})
    store = await open_store(data_dir, settings)
    sys.addaudithook(lambda event, _args: steps.take() if event in _EVENTS else None)
    rotation = replace(store.rotation, database=Stepping(store.database, steps), pause=0)
    with rotation_lock(Paths(data_dir).s3):
        match kind:
            case "bucket secrets":
                await rotate_bucket_secrets(rotation, lambda _done, _all: None)
            case "to the kms":
                await rotate_store_key(
                    replace(rotation, generate_sealed=store.generate_in_kms), lambda _done, _all: None
                )
            case _:
                await rotate_store_key(rotation, lambda _done, _all: None)
    os._exit(0)  # what comes now is no rotation


def killed_at(data_dir: Path, step: int, kind: str) -> bool:
    """False: the rotation came to its end before that step."""
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(rotate(data_dir, Steps(step), kind))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    return status != 0


async def look(data_dir: Path) -> None:
    """Everything opens, as a worker would open it, and a bucket can be made."""
    store = await open_store(data_dir, config.load(data_dir, environ={}))
    try:
        found = [finding async for finding in verify(store.storage)]
        assert not [finding for finding in found if isinstance(finding, Damage)], found
        bucket = await store.storage.keyring.open_bucket("plain")
        assert bucket
        assert await get_version(store.database, bucket, "one")
        name = f"made-{len(found)}"
        assert await store.storage.keyring.create_bucket(name, BucketConfig(owner_account="000000000000"))
    finally:
        await store.close()


async def is_finished(data_dir: Path, *, suffix: set[str]) -> None:
    store = await open_store(data_dir, config.load(data_dir, environ={}))
    try:
        primary = await store.database.read("SELECT value FROM store WHERE name = 'primary_store_key_id'")
        assert await store.database.read("SELECT DISTINCT store_key_id FROM bucket_secrets") == primary
        unused = "SELECT 1 FROM bucket_secrets s JOIN buckets b USING (bucket_id) WHERE s.version > b.secret_version"
        assert await store.database.read(unused) == []
        (file,) = Paths(data_dir).keys.iterdir()
        assert file.stem == bytes(primary[0][0]).hex()  # type: ignore[arg-type]
        assert file.suffix in suffix, file
    finally:
        await store.close()


async def old_key_opens_nothing(data_dir: Path, old: dict[Path, bytes]) -> None:
    """With the old key in the place of the new one nothing opens any more."""
    keys = Paths(data_dir).keys
    aside = keys.rename(keys.with_name("aside"))
    keys.mkdir(0o700)
    for path, key in old.items():
        (keys / path.name).write_bytes(key)
        (keys / path.name).chmod(0o600)
    try:
        store = await open_store(data_dir, config.load(data_dir, environ={}))
    except StartError:
        return
    finally:
        shutil.rmtree(keys)
        aside.rename(keys)
    await store.close()
    raise IntegrityError("the store opened under its old key")


def reset(sound: Path, data_dir: Path) -> None:
    """Index and keys as they were; rotation touches nothing else."""
    keys = Paths(data_dir).keys
    shutil.rmtree(keys, ignore_errors=True)
    for path in Paths(data_dir).s3.glob("index.db*"):
        path.unlink()
    shutil.copytree(Paths(sound).keys, keys)
    shutil.copy2(Paths(sound).index, Paths(data_dir).index)


def main(sound: Path, data_dir: Path, kind: str, finish: str) -> int:
    """How many steps there were. `data_dir`: a copy of `sound`. `finish`: who does the rest, "the next start" or "the
    next run".
    """
    old = {path: path.read_bytes() for path in Paths(sound).keys.iterdir()}
    for step in count(1):
        reset(sound, data_dir)
        killed = killed_at(data_dir, step, kind)
        asyncio.run(look(data_dir))
        if killed and finish == "the next run":
            assert not killed_at(data_dir, NEVER, kind)
        else:
            initialise(data_dir, config.load(data_dir, environ={}))
        asyncio.run(look(data_dir))
        # Killed early, the move has not begun, and the next start finishes nothing.
        new = ".kms" if kind == "to the kms" else ".key"
        asyncio.run(is_finished(data_dir, suffix={new} if not killed or finish == "the next run" else {".key", ".kms"}))
        if not killed:
            break
    if kind != "bucket secrets":
        asyncio.run(old_key_opens_nothing(data_dir, old))
    return step


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])}\n")
