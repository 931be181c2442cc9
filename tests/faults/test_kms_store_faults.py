"""The key service's store on bad days: killed at any step, started by many at once, on a disk that fails."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strongroom.database.database import Unavailable
from strongroom.kms.records import Key
from strongroom.kms.slots import SlotError
from strongroom.kms.state import Put
from tests.faults.children import on_small_disk, run
from tests.unit.kms.kms_stores import add_keys, commit, in_loop, new_key, open_store, opened

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("kind", "steps"), [("create", 20), ("write", 4), ("rotate", 12)])
def test_killed_at_any_step_nothing_is_lost_and_the_next_start_goes_on(tmp_path: Path, kind: str, steps: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.faults.kms_steps", tmp_path / "sound", tmp_path / "data", kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > steps


OPEN_ONCE = """
import asyncio, sys
from pathlib import Path
from strongroom.kms.opening import KmsInUse
from tests.unit.kms.kms_stores import open_store

async def main():
    while True:
        try:
            store = await open_store(Path(sys.argv[1]))
        except KmsInUse:
            await asyncio.sleep(0.002)
            continue
        print((await store.audit_signing_key()).hex(), store.root.current.fingerprint.hex(), store.state_revision)
        await store.close()
        return

asyncio.run(main())
"""


def test_of_many_first_starts_at_once_one_makes_the_store(tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", OPEN_ONCE, tmp_path / "kms"], stdout=subprocess.PIPE, cwd=ROOT)
        for _ in range(6)
    ]
    told = {process.communicate(timeout=60)[0] for process in started}
    assert all(process.returncode == 0 for process in started)
    assert len(told) == 1
    assert told.pop().endswith(b" 1\n")


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    script = f"""
import asyncio, os, signal
from pathlib import Path
from tests.unit.kms.kms_stores import open_store
async def main():
    await open_store(Path({str(tmp_path)!r}))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert killed.returncode < 0
    asyncio.run(_open_and_close(tmp_path))


async def _open_and_close(directory: Path) -> None:
    async with opened(directory) as store:
        await store.load()


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("name", ["kms.db", "root.key"])
@pytest.mark.parametrize("code", [5, 13, 24, 116])
@in_loop
async def test_what_cannot_be_read_now_is_never_made_anew(
    tmp_path: Path, name: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO, EACCES, EMFILE, ESTALE on one file, from every call that might look for it."""
    async with opened(tmp_path) as store:
        (key,) = await add_keys(store, 1)
    before = _files(tmp_path)

    def failing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            if str(path).endswith(f"/{name}"):
                raise OSError(code, os.strerror(code), str(path))
            return function(path, *arguments, **named)

        return call

    with monkeypatch.context() as patched:
        for function in ("open", "stat", "lstat"):
            patched.setattr(os, function, failing(getattr(os, function)))
        with pytest.raises((OSError, SlotError, Unavailable)):
            await open_store(tmp_path)
    assert _files(tmp_path) == before
    async with opened(tmp_path) as store:
        assert key in await store.load()


@pytest.mark.parametrize("code", [5, 13])
@in_loop
async def test_a_key_file_that_cannot_be_looked_for_makes_no_new_store(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is positively absent; whether its key file is, nobody can say."""
    async with opened(tmp_path):
        pass
    (tmp_path / "kms.db").unlink()
    lstat = os.lstat

    def failing(path: Any, *arguments: Any, **named: Any) -> Any:
        if str(path).endswith("/root.key"):
            raise OSError(code, os.strerror(code), str(path))
        return lstat(path, *arguments, **named)

    monkeypatch.setattr(os, "lstat", failing)
    monkeypatch.setattr(Path, "lstat", lambda path: failing(path))  # noqa: PLW0108 - a method
    with pytest.raises(OSError, match=os.strerror(code)):
        await open_store(tmp_path)
    assert "kms.db" not in _files(tmp_path)


def test_on_a_full_disk_nothing_is_answered_that_is_not_kept(tmp_path: Path) -> None:
    """Commits are refused and change nothing; what was there opens, also after a start on the full disk."""
    script = """
import asyncio, sys
from pathlib import Path
from strongroom.database.database import Unavailable
from strongroom.kms.state import State
from tests.unit.kms.kms_stores import add_keys, opened

async def main():
    directory, kept = Path(sys.argv[1]) / "kms", 0
    async with opened(directory, reserve_bytes=1 << 20) as store:
        try:
            while True:
                await add_keys(store, 200)
                kept += 200
        except Unavailable:
            pass
        assert kept
        assert len(State(await store.load()).keys) == kept
        try:
            await add_keys(store, 200)
            raise SystemExit("there was space")
        except Unavailable:
            pass
    async with opened(directory, reserve_bytes=1 << 20) as store:
        assert len(State(await store.load()).keys) == kept
    print("sound")

asyncio.run(main())
"""
    disk = tmp_path / "disk"
    environment = ["env", f"PYTHONPATH={ROOT}"]
    told = run(script, disk, under=[*on_small_disk(disk, "14m"), *environment])
    assert told == "sound\n"


@in_loop
async def test_a_commit_is_durable_when_it_returns(tmp_path: Path) -> None:
    """What another process finds after the machine lost its memory: here, after a copy of the files as they are."""
    import shutil

    async with opened(tmp_path / "kms") as store:
        key, material = new_key(store)
        await commit(store, Put(key), Put(material))
        shutil.copytree(tmp_path / "kms", tmp_path / "copy")
    async with opened(tmp_path / "copy") as store:
        assert [record for record in await store.load() if isinstance(record, Key)] == [key]
