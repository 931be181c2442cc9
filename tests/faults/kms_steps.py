"""For test_kms_store_faults.py: a process that makes a key service's store, commits to it or rotates its root key, and
kills itself at its n-th step.

A step is a file that is opened, renamed, linked or removed (Python's audit events), or a transaction, before and after.
"""

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from strongroom.database.sqlite import SqliteDatabase
from strongroom.kms.audit_head import AuditHead
from strongroom.kms.creation import KmsStoreError
from strongroom.kms.slots import Given, KeyFile
from strongroom.kms.state import Put, State
from tests.faults.rotation_steps import Steps
from tests.unit.kms.kms_stores import add_keys, commit, new_key, open_store, opened

T = TypeVar("T")
NEVER = 10**9
KEYS = 300  # more than one batch of a rotation
_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.link", "os.mkdir"})


def count_steps(steps: Steps) -> None:
    transact = SqliteDatabase.transact

    async def stepping(self: SqliteDatabase, function: Callable[..., T], **more: Any) -> T:
        steps.take()
        result = await transact(self, function, **more)
        steps.take()
        return result

    SqliteDatabase.transact = stepping  # type: ignore[method-assign]
    sys.addaudithook(lambda event, _args: steps.take() if event in _EVENTS else None)


async def create(directory: Path, steps: Steps) -> None:
    count_steps(steps)
    store = await open_store(directory)
    await store.close()


async def rotate(directory: Path, steps: Steps) -> None:
    store = await open_store(directory)
    state = State(await store.load())
    count_steps(steps)
    await store.rotate_root(
        Given(directory=directory, environ={}), apply=state.apply, events=[{"eventName": "RotateRoot"}]
    )
    os._exit(0)


async def write(directory: Path, steps: Steps) -> None:
    """One commit with an event, its audit head, and the event forgotten."""
    store = await open_store(directory)
    count_steps(steps)
    key, material = new_key(store)
    await commit(store, Put(key), Put(material), events=[{"eventName": "CreateKey", "keyId": key.key_id}])
    store.forget_events(store.last_event)
    await store.keep_audit_head(
        AuditHead(sequence=1, hash=bytes.fromhex("00") * 32, state_revision=store.state_revision)
    )
    await store.close()


WORK = {"create": create, "rotate": rotate, "write": write}


def killed_at(directory: Path, step: int, kind: str) -> bool:
    """False: the work came to its end before that step."""
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(WORK[kind](directory, Steps(step)))
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    return status != 0


async def look(directory: Path, keys: int) -> None:
    """Everything opens, each material too, and another key can be made."""
    async with opened(directory) as store:
        state = State(await store.load())
        assert len(state.keys) >= keys
        for key in state.keys.values():
            for material in state.materials_of(key):
                assert store.root.open_material(key, material)[::-1] == material.material_id
        for _, event in await store.pending_events():
            assert event["eventName"] != "CreateKey" or event["keyId"] in state.keys
        assert store.root.previous is None
        await add_keys(store, 1)
    async with opened(directory) as store:
        assert len(State(await store.load()).keys) == len(state.keys) + 1


async def make(directory: Path) -> None:
    async with opened(directory) as store:
        await add_keys(store, KEYS)


def after_creation(directory: Path) -> None:
    asyncio.run(look(directory, 0))
    left = sorted(path.name for path in directory.iterdir())
    assert left == ["kms.db", "kms.db.lock", "kms.db.reserve", "open.lock", "root.key"], left


def after_rotation(directory: Path) -> None:
    """The next start has finished it, unless it was not begun; then nothing of before opens what there is."""

    async def version() -> int:
        async with opened(directory) as store:
            (slot,) = store.slots
            assert isinstance(slot.source, KeyFile)
            return store.root.current.version

    found = asyncio.run(version())
    asyncio.run(look(directory, KEYS))
    if found == 1:
        return
    with sqlite3.connect(directory / "kms.db") as database:
        for table in ("slots", "records", "revisions", "heads", "events"):
            assert {row[0] for row in database.execute(f"SELECT root_version FROM {table}")} <= {2}
        assert database.execute("SELECT version, sealed FROM roots").fetchall() == [(2, None)]
    database.close()


def main(sound: Path, directory: Path, kind: str) -> int:
    """How many steps there were."""
    if kind != "create":
        asyncio.run(make(sound))
    for step in count(1):
        shutil.rmtree(directory, ignore_errors=True)
        if kind != "create":
            shutil.copytree(sound, directory)
        killed = killed_at(directory, step, kind)
        match kind:
            case "create":
                after_creation(directory)
            case "rotate":
                after_rotation(directory)
            case _:
                asyncio.run(look(directory, KEYS))
        if not killed:
            return step
    raise KmsStoreError("the steps came to no end")


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])}\n")
