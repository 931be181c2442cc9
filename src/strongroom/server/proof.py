"""The proof at the start: that what is stored with this store's keys and settings can't be read on the disk.

The store made for it goes away again, so that no bucket of ours ever shows among the user's.
"""

import asyncio
import secrets
import shutil
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from strongroom.blobs.local import KEEP_FREE_BYTES
from strongroom.config import Settings
from strongroom.database.private_file import make_private_directory
from strongroom.database.sqlite import RESERVE_BYTES
from strongroom.edge.asgi import application
from strongroom.edge.local_client import LocalAnswer, request
from strongroom.identity.policy import account_root
from strongroom.identity.root import Credentials, Principal
from strongroom.identity.store import Identity
from strongroom.server.paths import Paths, StartError
from strongroom.server.s3 import edge
from strongroom.server.store import FILE_SOURCES, initialise, open_store

_PROOF_SPACE = KEEP_FREE_BYTES + RESERVE_BYTES + (8 << 20)  # bytes: what a store holds back, and what the proof's takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a start has shown: an object of `object_bytes` was stored as `stored_bytes` in which nothing of it can be
    found.
    """

    object_bytes: int
    stored_bytes: int
    seconds: float


def prove(settings: Settings, data_dir: Path) -> Proof | None:
    """Store an object with this store's keys and settings in a store made for it, and look for it in the raw bytes.
    None where the disk is too full for that: a server has to start there, for deleting is the way out. Raises
    StartError.
    """
    directory = data_dir / "run" / "proof"
    shutil.rmtree(directory, ignore_errors=True)
    if shutil.disk_usage(data_dir).free < _PROOF_SPACE:
        return None
    started = time.perf_counter()
    try:
        make_private_directory(directory)
        make_private_directory(directory / "s3")
        if settings.store_key_source in FILE_SOURCES:
            shutil.copytree(Paths(data_dir).keys, Paths(directory).keys)
        initialise(directory, settings, home=data_dir)
        size, stored = asyncio.run(_prove(settings, directory, data_dir))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Proof(object_bytes=size, stored_bytes=stored, seconds=time.perf_counter() - started)


async def _prove(settings: Settings, directory: Path, home: Path) -> tuple[int, int]:
    """Bytes of the object, and of its blob."""
    marker = secrets.token_hex(32)
    content = (marker * 64).encode()
    root = Identity(
        credentials=Credentials(access_key_id="proof", secret_access_key=secrets.token_hex(20)),
        principal=Principal(account_id=settings.account_id, arn=account_root(settings.account_id)),
        user_id=settings.account_id,
        is_root=True,
    )
    store = await open_store(directory, settings, home=home)
    try:
        send = partial(
            request,
            application(edge(settings, store, lambda _: root)),
            credentials=root.credentials,
            region=settings.region,
        )
        key = "/proof/object"
        await _expect(200, send("PUT", "/proof", now=datetime.now(UTC)))
        await _expect(200, send("PUT", key, now=datetime.now(UTC), body=content, headers={"x-amz-meta-marker": marker}))
        # Before the store is closed: a closed index has no write-ahead log left to look into.
        stored = _search(directory, marker.encode())
        if await _expect(200, send("GET", key, now=datetime.now(UTC))) != content:
            raise StartError("An object was stored and came back different: refusing to start.")
        await _expect(204, send("DELETE", key, now=datetime.now(UTC)))
    finally:
        await store.close()
    return len(content), stored


async def _expect(status: int, answer: Awaitable[LocalAnswer]) -> bytes:
    got = await answer
    if got.status != status:
        raise StartError(
            f"The store does not work; a first object was answered {got.status}: {got.body.decode(errors='replace')}"
        )
    return got.body


def _search(directory: Path, marker: bytes) -> int:
    """Look for `marker` in every file below `directory`; the size of the only blob. Raises StartError."""
    for path in directory.rglob("*"):
        if path.is_file() and marker in path.read_bytes():
            raise StartError(f"A stored object is readable in {path.relative_to(directory)}: refusing to start.")
    return sum(path.stat().st_size for path in Paths(directory).blobs.glob("??/*"))
