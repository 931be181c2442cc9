"""Operations called without HTTP: authorised calls straight to their handlers, in a store inside the test's process.

For what no client can time: two workers between the same two transactions, a body that stops in the middle, a clock that
goes back.
"""

import asyncio
import base64
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from strongroom import config
from strongroom.aws.http import Headers
from strongroom.database.database import Connection, Database
from strongroom.edge.authorize import authorize
from strongroom.identity.call import Answer, Body, Sought
from strongroom.identity.requester import Requester
from strongroom.identity.root import Credentials, Principal
from strongroom.identity.store import Identity
from strongroom.s3.service import handlers, rules
from strongroom.s3.storage import Storage
from strongroom.server.paths import Paths
from strongroom.server.store import OpenStore, initialise, open_store

T = TypeVar("T")

ACCOUNT = "000000000000"
BUCKET = "bucket"
ROOT = Requester(
    principal=Principal(account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root"),
    access_key_id="ROOT",
    source_ip="127.0.0.1",
    secure_transport=True,
    user_agent="",
    request_id="REQUEST",
)
IDENTITY = Identity(
    credentials=Credentials(access_key_id="ROOT", secret_access_key=""),
    principal=ROOT.principal,
    user_id=ACCOUNT,
    is_root=True,
)
_KEY_HEADERS = {
    "SSECustomerKey": "x-amz-server-side-encryption-customer-key",
    "CopySourceSSECustomerKey": "x-amz-copy-source-server-side-encryption-customer-key",
}


@dataclass
class Begun:
    """A database that counts the transactions that were asked for."""

    database: Database
    transactions: int = 0

    async def read(self, sql: str, params: Any = ()) -> Any:
        return await self.database.read(sql, params)

    async def version(self) -> int:
        return await self.database.version()

    async def transact(self, function: Callable[[Connection], T], *, frees_space: bool = False) -> T:
        self.transactions += 1
        return await self.database.transact(function, frees_space=frees_space)

    async def close(self) -> None:
        await self.database.close()


@dataclass(frozen=True)
class Worker:
    """One process's view of a store. `now_us` answers with the store's clock unless a test winds one of its own."""

    store: OpenStore
    storage: Storage
    database: Begun
    headers: Mapping[str, str] = field(default_factory=dict)
    requester: Requester = ROOT

    async def __call__(
        self,
        operation: str,
        /,
        *,
        body: bytes | AsyncIterator[bytes] | None = None,
        size: int | None = None,
        **given: Any,
    ) -> Mapping[str, Any]:
        """The output of one operation on BUCKET. `given`: members; a body that is an iterator has `size` bytes."""
        return (await self.answer(operation, body=body, size=size, **given)).output

    async def answer(
        self,
        operation: str,
        /,
        *,
        body: bytes | AsyncIterator[bytes] | None = None,
        size: int | None = None,
        **given: Any,
    ) -> Answer:
        members = {"Bucket": BUCKET, **given}
        secret = {header: members.pop(member) for member, header in _KEY_HEADERS.items() if member in members}
        call = await authorize(
            sought=Sought(
                operation=operation,
                input=members,
                headers=Headers.of(self.headers.items()),
                account_id=ACCOUNT,
                auth_type="REST-HEADER",
            ),
            rules=rules(self.storage),
            identity=IDENTITY,
            requester=ROOT,
            now=datetime.now(UTC),
            region="us-east-1",
            secret_headers=secret,
            body=_body(body, size),
            bucket_url="http://localhost/bucket",
        )
        # S3 has said yes to whoever asks; what a key service says of them is another matter.
        return await handlers(self.storage)[operation](replace(call, requester=self.requester))

    def sending(self, **headers: str) -> "Worker":
        """The same with headers that checksums are read from; `_` stands for `-`."""
        return replace(self, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def put(self, key: str, content: bytes = b"content", **given: Any) -> Mapping[str, Any]:
        return await self("PutObject", Key=key, body=content, **given)

    async def get(self, key: str, **given: Any) -> bytes:
        body = (await self("GetObject", Key=key, **given))["Body"]
        return body if isinstance(body, bytes) else b"".join([block async for block in body])

    async def upload(self, key: str, *parts: bytes, **given: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """An open upload (Key and UploadId) with these parts, and the list that completes it."""
        upload = {"Key": key, "UploadId": (await self("CreateMultipartUpload", Key=key, **given))["UploadId"]}
        customer = {name: value for name, value in given.items() if name.startswith("SSECustomer")}
        listed = [
            {
                "PartNumber": number,
                "ETag": (await self("UploadPart", **upload, PartNumber=number, body=part, **customer))["ETag"],
            }
            for number, part in enumerate(parts, start=1)
        ]
        return upload, listed

    async def complete(
        self, upload: Mapping[str, Any], listed: list[dict[str, Any]], **given: Any
    ) -> Mapping[str, Any]:
        return await self("CompleteMultipartUpload", **upload, MultipartUpload={"Parts": listed}, **given)

    async def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return await self.store.database.read(sql, params)

    def blobs(self) -> set[bytes]:
        """The ids of the blobs that have a file."""
        directory = Path(os.readlink(f"/proc/self/fd/{self.store.blobs._tree.root}"))
        return {bytes.fromhex(path.name) for path in directory.glob("??/*")}


def _body(content: bytes | AsyncIterator[bytes] | None, size: int | None) -> Body | None:
    if content is None:
        return None
    if not isinstance(content, bytes):
        return Body(chunks=content, size=size)

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    return Body(chunks=chunks(), size=len(content))


def with_workers(
    data_dir: Path, work: Callable[..., Awaitable[T]], *, count: int = 1, versioning: str = "", **settings: Any
) -> T:
    """What `work` returns of so many workers on a store in `data_dir`, made there with BUCKET if there is none.

    `settings`: fields of their Storage (`now_us`, `deletion_grace`).
    """
    loaded = config.load(data_dir, environ={})
    is_new = not Paths(data_dir).index.exists()
    if is_new:
        initialise(data_dir, loaded)

    async def run() -> T:
        stores = [await open_store(data_dir, loaded) for _ in range(count)]
        workers = []
        for store in stores:
            database = Begun(store.database)
            workers.append(Worker(store, replace(store.storage, database=database, **settings), database))
        try:
            if is_new:
                await workers[0]("CreateBucket")
            if versioning:
                await workers[0]("PutBucketVersioning", VersioningConfiguration={"Status": versioning})
            return await work(*workers)
        finally:
            for store in stores:
                await store.close()

    return asyncio.run(run())


def customer(key: bytes, prefix: str = "") -> dict[str, Any]:
    """The members of a customer-provided key."""
    return {
        f"{prefix}SSECustomerAlgorithm": "AES256",
        f"{prefix}SSECustomerKey": base64.b64encode(key).decode(),
        f"{prefix}SSECustomerKeyMD5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }


@contextmanager
def writers_wait(index: Path) -> Iterator[None]:
    """Meanwhile no transaction of any process begins, as if another process were in one."""
    with open(f"{index}.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def at_once(data_dir: Path, workers: Sequence[Worker], *work: Awaitable[Any]) -> list[Any]:
    """All of `work`, none of whose transactions begins before every one has asked for its first; results and errors in
    order.
    """
    before = sum(worker.database.transactions for worker in workers)
    with writers_wait(Paths(data_dir).index):
        tasks = [asyncio.ensure_future(each) for each in work]
        async with asyncio.timeout(20):
            while sum(worker.database.transactions for worker in workers) - before < len(work):
                await asyncio.sleep(0.001)
                if any(task.done() for task in tasks):
                    break  # refused before it wrote anything: its result tells
    return await asyncio.gather(*tasks, return_exceptions=True)
