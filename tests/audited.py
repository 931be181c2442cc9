"""Audit logs for tests: events as the key service makes them, and a keeper of the head."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strongroom.audit.chain import Head, Record, parse
from strongroom.audit.checkpoint import Signer, Verifier
from strongroom.audit.event import Event, api_call, request_parameters, user_identity
from strongroom.audit.log import AuditLog
from strongroom.audit.verify import Report, verify

ACCOUNT, REGION = "123456789012", "us-east-1"
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{KEY_ID}"
SIGNER = Signer(bytes(range(32)), "strongroom.test/audit")


@dataclass
class Kept:
    """What a key service has in its database: the head, and the revision of its state."""

    head: Head | None = None
    revision: int = 0
    error: Exception | None = None
    heads: list[Head] = field(default_factory=list)

    async def keep(self, head: Head) -> None:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.head = head
        self.heads.append(head)


@asynccontextmanager
async def opened(directory: Path, kept: Kept, **settings: Any) -> AsyncIterator[AuditLog]:
    log = await AuditLog.open(
        directory,
        **{
            "head": kept.head,
            "keep_head": kept.keep,
            "signer": SIGNER,
            "state_revision": lambda: kept.revision,
            "region": REGION,
            "account_id": ACCOUNT,
            "reserve_bytes": 0,
            **settings,
        },
    )
    try:
        yield log
    finally:
        await log.close()


def event(number: int = 0, *, name: str = "Decrypt", user: str = "alice", **changes: Any) -> Event:
    """A use of the key by `user`, its number being in the request id."""
    context = {"aws:s3:arn": f"arn:aws:s3:::bucket/key-{number}"}
    given: dict[str, Any] = {
        "name": name,
        "region": REGION,
        "account_id": ACCOUNT,
        "time_us": time.time_ns() // 1000,
        "user_identity": user_identity(
            arn=f"arn:aws:iam::{ACCOUNT}:user/{user}", account_id=ACCOUNT, access_key_id=f"AKIA{user.upper()}"
        ),
        "source_ip": "192.0.2.1",
        "user_agent": "a test",
        "request_id": f"request-{number}",
        "request_parameters": request_parameters({"KeyId": KEY_ARN, "EncryptionContext": context}),
        "key_arns": [KEY_ARN],
        **changes,
    }
    return api_call(**given)


def make_log(
    directory: Path, count: int, *, checkpoint_at: Iterable[int] = (), kept: Kept | None = None, **settings: Any
) -> Kept:
    """A closed log of `count` records more; its last record has a checkpoint too."""
    kept = kept or Kept()

    async def main() -> None:
        async with opened(directory, kept, **settings) as log:
            for number in range(1, count + 1):
                await log.append(event(number))
                if number in checkpoint_at:
                    await log.checkpoint()

    asyncio.run(main())
    return kept


def log_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("kms-*.jsonl"), key=lambda path: path.name.split("-")[2])


def records(directory: Path) -> list[Record]:
    """All of them, each with its own hash checked."""
    return [parse(line) for path in log_files(directory) for line in path.read_bytes().splitlines(keepends=True)]


def verified(directory: Path, **settings: Any) -> Report:
    return verify(directory, Verifier(SIGNER.verifier.text), **settings)
