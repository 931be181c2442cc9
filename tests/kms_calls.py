"""Operations called without HTTP, as in `calls`, with a key service whose handles the test holds."""

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from strongroom.aws.errors import S3Error
from strongroom.identity.root import Principal
from strongroom.keys.bucket_keys import KmsBucketKeys
from tests.calls import ACCOUNT, ROOT, Worker, customer, with_workers
from tests.memory_kms import MemoryKms

T = TypeVar("T")

CUSTOMER_KEY = bytes(range(32))


@dataclass(frozen=True)
class World:
    """One worker, its key service, and the keys in it. `upload`: an open one and its list, where a test makes one."""

    worker: Worker
    kms: MemoryKms
    data_dir: Path
    key: str
    other_key: str
    upload: dict[str, Any] = field(default_factory=dict)
    listed: list[dict[str, Any]] = field(default_factory=list)

    async def begin(self, key: str, content: bytes, **mode: Any) -> None:
        upload, listed = await self.worker.upload(key, content, **mode)
        self.upload.update(upload)
        self.listed[:] = listed

    def somebody(self, name: str, *rights: str) -> Worker:
        """The worker as a user who may do all in S3, and `rights` in the key service."""
        arn = f"arn:aws:iam::{ACCOUNT}:user/{name}"
        self.kms.rights[arn] = frozenset(rights)
        principal = Principal(account_id=ACCOUNT, arn=arn)
        return replace(self.worker, requester=replace(ROOT, principal=principal, access_key_id=f"KEY-OF-{name}"))

    def members(self, mode: str) -> dict[str, Any]:
        """What a write names for `mode`."""
        kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.key}
        match mode:
            case "none":
                return {}
            case "SSE-S3":
                return {"ServerSideEncryption": "AES256"}
            case "SSE-C":
                return customer(CUSTOMER_KEY)
            case "KMS":
                return kms
            case "other KMS":
                return kms | {"SSEKMSKeyId": self.other_key}
            case "bucket key":
                return kms | {"BucketKeyEnabled": True}
            case "DSSE":
                return kms | {"ServerSideEncryption": "aws:kms:dsse"}
        raise AssertionError(mode)


def reading(mode: str, prefix: str = "") -> dict[str, Any]:
    """What a read of an object of `mode` names."""
    return customer(CUSTOMER_KEY, prefix) if mode == "SSE-C" else {}


def with_world(directory: Path, work: Callable[[World], Awaitable[T]], *, versioning: str = "") -> T:
    """What `work` returns of a new store in `directory` with a key service and two keys."""

    async def worked(worker: Worker) -> T:
        kms = MemoryKms()
        key, other = kms.create("one"), kms.create("two")
        storage = worker.storage
        bucket_keys = KmsBucketKeys(worker.database, storage.keyring, kms, now_us=storage.now_us)
        served = replace(worker, storage=replace(storage, kms=kms, bucket_keys=bucket_keys))
        try:
            return await work(World(served, kms, directory, key, other))
        finally:
            await bucket_keys.close()

    return with_workers(directory, worked, versioning=versioning)


def context(**pairs: str) -> str:
    """As the header has it; `_` stands for `-`."""
    return base64.b64encode(json.dumps({name.replace("_", "-"): pairs[name] for name in pairs}).encode()).decode()


async def refused(answer: Awaitable[object]) -> S3Error:
    try:
        await answer
    except S3Error as error:
        return error
    raise AssertionError("it was not refused")
