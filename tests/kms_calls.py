"""Operations called without HTTP, as in `calls`, whose keys are those of a key service on its socket.

S3 asks it by the server's own connector; a test turns its keys and people as an operator does, and reads in its audit log
what it was asked.
"""

import asyncio
import base64
import json
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from strongroom.aws.errors import S3Error
from strongroom.config import Settings
from strongroom.identity.root import Principal
from strongroom.keys.aws_kms import LIMITS, AwsKms
from strongroom.keys.bucket_keys import KmsBucketKeys
from strongroom.keys.kms_endpoint import KmsEndpoint, UnixTransport
from strongroom.s3.storage import Storage
from strongroom.server.key_service import key_endpoint
from strongroom.server.paths import Paths
from tests.calls import ACCOUNT, ROOT, Worker, customer, with_workers
from tests.key_service import KeyServer, allow

T = TypeVar("T")

CUSTOMER_KEY = bytes(range(32))
_PAUSING_BRIEFLY = replace(LIMITS, longest_pause=0.01)
_NUMBERS = count(1)


@dataclass(frozen=True)
class Question:
    """One call of S3's, answered or refused, as it is on record. `key_arns`: as far as they were found, of ReEncrypt the
    source first; `context`: for ReEncrypt, that of the source.
    """

    action: str
    key_arns: tuple[str, ...]
    context: Mapping[str, str]
    principal: str


@dataclass(frozen=True)
class Record:
    """What S3 asked in the name of one request id, since it was told to forget what was before."""

    server: KeyServer
    request_id: str
    _since: dict[Path, int] = field(default_factory=dict)

    @property
    def questions(self) -> list[Question]:
        return [
            _question(event)
            for event in self.server.events(since=self._since)
            if event.get("additionalEventData", {}).get("s3RequestId") == self.request_id
        ]

    def counts(self) -> dict[str, int]:
        return dict(Counter(question.action for question in self.questions))

    def forget(self) -> None:
        self._since.update(self.server.mark())


def _question(event: Mapping[str, Any]) -> Question:
    given = event["requestParameters"]
    return Question(
        action=event["eventName"],
        key_arns=tuple(each["ARN"] for each in event["resources"]),
        context=given.get("encryptionContext") or given.get("sourceEncryptionContext") or {},
        principal=event["userIdentity"]["arn"],
    )


@dataclass(frozen=True)
class World:
    """One worker, its key service, and two keys in it. `operator`: the root user's client of the key service; `record`:
    what S3 asked. `upload`: an open one and its list, where a test makes one.
    """

    worker: Worker
    server: KeyServer
    operator: Any
    record: Record
    key: str
    other_key: str
    _deserted: Storage
    upload: dict[str, Any] = field(default_factory=dict)
    listed: list[dict[str, Any]] = field(default_factory=list)

    async def begin(self, key: str, content: bytes, **mode: Any) -> None:
        upload, listed = await self.worker.upload(key, content, **mode)
        self.upload.update(upload)
        self.listed[:] = listed

    async def somebody(self, name: str, *rights: str) -> Worker:
        """The worker as a new user who may do all in S3, and `rights` in the key service."""
        statements = [allow(*(f"kms:{right}" for right in rights))] if rights else []
        user = await asyncio.to_thread(self.server.user, *statements, name=f"{name}-{next(_NUMBERS)}")
        requester = replace(
            self.worker.requester,
            principal=Principal(account_id=ACCOUNT, arn=user.arn),
            access_key_id=user.credentials.access_key_id,
        )
        return replace(self.worker, requester=requester)

    def in_an_outage(self, worker: Worker) -> Worker:
        """The same worker, and nobody listens where it asks for keys."""
        return replace(worker, storage=self._deserted)

    def alias(self) -> str:
        """A new alias of the first key."""
        name = f"alias/one-{next(_NUMBERS)}"
        self.operator.create_alias(AliasName=name, TargetKeyId=self.key)
        return name

    def material(self, key: str) -> bytes:
        """The id of the material that seals now."""
        return bytes.fromhex(self.operator.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"])

    def rotate(self, key: str) -> bytes:
        """The id of the material that seals from now on."""
        self.operator.rotate_key_on_demand(KeyId=key)
        return self.material(key)

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


def with_world(server: KeyServer, directory: Path, work: Callable[[World], Awaitable[T]], *, versioning: str = "") -> T:
    """What `work` returns of a new store in `directory` whose key service is `server`, and of two new keys in there."""

    async def worked(worker: Worker) -> T:
        operator, request_id = server.client(), secrets.token_hex(8)
        key, other = (operator.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        endpoint = key_endpoint(Settings(), Paths(server.data_dir))
        nobodys = replace(endpoint, transport=UnixTransport(path=directory / "nobody.sock", peer_uid=os.geteuid()))
        async with asking(worker.storage, endpoint) as served, asking(worker.storage, nobodys) as deserted:
            asker = replace(worker, storage=served, requester=replace(ROOT, request_id=request_id))
            record = Record(server, request_id)
            record.forget()
            try:
                return await work(World(asker, server, operator, record, key, other, deserted))
            finally:
                operator.close()

    return with_workers(directory, worked, versioning=versioning)


@asynccontextmanager
async def asking(storage: Storage, endpoint: KmsEndpoint) -> AsyncIterator[Storage]:
    """The same storage, its objects under the key service at `endpoint`."""
    kms = AwsKms(endpoint, _PAUSING_BRIEFLY)
    bucket_keys = KmsBucketKeys(storage.database, storage.keyring, kms, now_us=storage.now_us)
    try:
        yield replace(storage, kms=kms, bucket_keys=bucket_keys)
    finally:
        await bucket_keys.close()
        await kms.close()


def context(**pairs: str) -> str:
    """As the header has it; `_` stands for `-`."""
    return base64.b64encode(json.dumps({name.replace("_", "-"): pairs[name] for name in pairs}).encode()).decode()


async def refused(answer: Awaitable[object]) -> S3Error:
    try:
        await answer
    except S3Error as error:
        return error
    raise AssertionError("it was not refused")
