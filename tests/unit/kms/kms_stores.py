"""Stores of the key service for tests: opened in a directory of their own, with keys that can be made by the dozen."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from strongroom.kms.records import Alias, Grant, Key, Material
from strongroom.kms.slots import Passphrase
from strongroom.kms.state import Change, Put
from strongroom.kms.store import KmsStore

ACCOUNT, REGION = "123456789012", "us-east-1"
NOW = 1_700_000_000_000_000
PHRASE = "correct horse battery staple"
QUICK = Passphrase(salt=bytes(range(16)), memory_kib=64 << 10, iterations=1, lanes=1)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test with an event loop of its own."""

    @wraps(test)
    def run(*args: Any, **named: Any) -> None:
        asyncio.run(test(*args, **named))

    return run


async def open_store(directory: Path, **more: Any) -> KmsStore:
    arguments: dict[str, Any] = {"environ": {}, "now_us": lambda: NOW, "reserve_bytes": 0, **more}
    account, region = arguments.pop("account_id", ACCOUNT), arguments.pop("region", REGION)
    return await KmsStore.open(directory, account, region, **arguments)


@asynccontextmanager
async def opened(directory: Path, **more: Any) -> AsyncIterator[KmsStore]:
    store = await open_store(directory, **more)
    try:
        yield store
    finally:
        await store.close()


def new_key(store: KmsStore, plaintext: bytes = b"", **more: Any) -> tuple[Key, Material]:
    """A key and its material, whose id is its plaintext turned round (32 bytes by itself)."""
    plaintext = plaintext or uuid.uuid4().bytes * 2
    key = Key(
        key_id=str(uuid.uuid4()),
        created_us=NOW,
        spec="SYMMETRIC_DEFAULT",
        usage="ENCRYPT_DECRYPT",
        origin="AWS_KMS",
        policy="{}",
        material_ids=(plaintext[:32][::-1],),
        **more,
    )
    material_id = key.material_ids[0]
    sealed = store.root.seal_material(key, material_id, plaintext)
    return key, Material(material_id=material_id, key_id=key.key_id, created_us=NOW, sealed=sealed)


def new_alias(key: Key, name: str) -> Alias:
    return Alias(name=name, target_key_id=key.key_id, created_us=NOW, updated_us=NOW)


def new_grant(key: Key) -> Grant:
    return Grant(
        grant_id=uuid.uuid4().hex * 2,
        key_id=key.key_id,
        created_us=NOW,
        name="",
        grantee="arn:aws:iam::123456789012:user/a",
        retiring="",
        issuing_account=ACCOUNT,
        operations=("Decrypt",),
    )


async def commit(store: KmsStore, *changes: Change, events: Sequence[Any] = ()) -> int:
    async with store.writing:
        return await store.commit(changes, events)


async def add_keys(store: KmsStore, count: int) -> list[Key]:
    """Each with a material, an alias and a grant."""
    made = [new_key(store) for _ in range(count)]
    records = [
        record
        for number, (key, material) in enumerate(made)
        for record in (key, material, new_alias(key, f"alias/{number}"), new_grant(key))
    ]
    await commit(store, *map(Put, records))
    return [key for key, _ in made]
