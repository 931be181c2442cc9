"""Users for tests of a running server: made beside it as the command line makes them, spoken for by a `Server` of theirs."""

import asyncio
import copy
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from strongroom.identity.files import open_identity_store
from strongroom.identity.users import Users
from strongroom.server.paths import Paths
from tests.harness import Server

T = TypeVar("T")
ACCOUNT = "000000000000"


def with_users(data_dir: Path, work: Callable[[Users], Awaitable[T]]) -> T:
    async def opened() -> T:
        store = await open_identity_store(Paths(data_dir).identity)
        try:
            return await work(
                Users(store.database, store.sealing, account_id=ACCOUNT, now_us=lambda: time.time_ns() // 1000)
            )
        finally:
            await store.database.close()

    return asyncio.run(opened())


def statement(effect: str, action: str | list[str], resource: str | list[str], **condition: Any) -> dict[str, Any]:
    found = {"Effect": effect, "Action": action, "Resource": resource}
    return found | ({"Condition": condition} if condition else {})


def allow(action: str | list[str], resource: str | list[str] = "*", **condition: Any) -> dict[str, Any]:
    return statement("Allow", action, resource, **condition)


def deny(action: str | list[str], resource: str | list[str] = "*", **condition: Any) -> dict[str, Any]:
    return statement("Deny", action, resource, **condition)


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def new_user(server: Server, *statements: dict[str, Any], name: str | None = None) -> Server:
    """The server as a new user with these statements sees it."""
    chosen = name or f"user-{secrets.token_hex(4)}"

    async def make(users: Users) -> Any:
        await users.create(chosen)
        if statements:
            await users.put_policy(chosen, "policy", policy(*statements))
        return await users.create_access_key(chosen)

    made = with_users(server.data_dir, make)
    person = copy.copy(server)
    person.access_key_id, person.secret = made.access_key_id, made.secret_access_key
    return person


def arn(bucket: str, key: str = "") -> str:
    return f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"
