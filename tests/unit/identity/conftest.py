"""An identity store of one's own, and what asks it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from strongroom.identity.files import IdentityFiles, OpenIdentityStore, initialise_identities, open_identity_store
from strongroom.identity.root import Credentials, Principal, RootUser
from strongroom.identity.store import IdentityStore
from strongroom.identity.users import Users

ACCOUNT = "123456789012"
ROOT = RootUser(
    credentials=Credentials(access_key_id="ROOTKEY", secret_access_key="a root secret of some length"),
    principal=Principal(account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root"),
)


@dataclass
class Opened:
    """One process's view: what changes users, what looks them up, and the rows."""

    opened: OpenIdentityStore
    users: Users
    store: IdentityStore

    def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return self.opened.database.read_sync(sql, params)

    async def write(self, sql: str, *params: Any) -> None:
        """What somebody does who can write the file."""
        await self.opened.database.transact(lambda tx: tx.execute(sql, params))


async def open_one(files: IdentityFiles) -> Opened:
    opened = await open_identity_store(files)
    users = Users(opened.database, opened.sealing, account_id=ACCOUNT, now_us=lambda: 1_700_000_000_000_000)
    return Opened(opened, users, IdentityStore(opened.database, opened.sealing, ROOT))


@pytest.fixture
def files(tmp_path: Path) -> IdentityFiles:
    files = IdentityFiles(tmp_path / "identity")
    asyncio.run(initialise_identities(files))
    return files


@pytest.fixture
def with_stores(files: IdentityFiles) -> Callable[..., Any]:
    """Runs a coroutine function with so many processes' views of one store."""

    def run(work: Callable[..., Awaitable[Any]], count: int = 1) -> Any:
        async def opened() -> Any:
            views = [await open_one(files) for _ in range(count)]
            try:
                return await work(*views)
            finally:
                for view in views:
                    await view.opened.database.close()

        return asyncio.run(opened())

    return run


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    before = {each: each.read_bytes() for each in path.iterdir() if each.is_file()}
    yield
    assert {each: each.read_bytes() for each in path.iterdir() if each.is_file()} == before
