"""A small KMS in this process: the edge's JSON half on real sockets, with an `answer` that shows what it was asked.

The signer here is the tests' own, written from AWS's pages, so that a mistake in the server's cannot agree with itself.
"""

import asyncio
import hashlib
import json
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import uvloop

from strongroom.aws.kms_errors import KmsError
from strongroom.aws.kms_model import load_kms_model
from strongroom.edge import listener
from strongroom.edge.asgi import application
from strongroom.edge.json_flow import JsonService, Refusal
from strongroom.identity.requester import Caller
from strongroom.identity.root import Credentials, Principal
from strongroom.identity.store import Identity
from tests.harness import Reply, hmac_hex, read_reply, signing_key

REGION = "us-east-1"
ACCOUNT = "000000000000"
ALICE = Credentials(access_key_id="AKIAALICE", secret_access_key="alice-" * 6)
SERVICE = Credentials(access_key_id="strongroom-s3", secret_access_key="service-" * 5)
CONTENT_TYPE = "application/x-amz-json-1.1"


def identity(credentials: Credentials, name: str) -> Identity:
    return Identity(credentials, Principal(account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:{name}"))


IDENTITIES = {
    ALICE.access_key_id: identity(ALICE, "user/alice"),
    SERVICE.access_key_id: identity(SERVICE, "user/strongroom-s3"),
}


@dataclass
class SmallKms:
    """`raises`: by operation, what it does instead of answering."""

    internal: bool = False
    calls: list[tuple[str, Mapping[str, Any], Caller]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    raises: dict[str, Exception] = field(default_factory=dict)
    is_ready: bool = True
    now: datetime | None = None

    async def answer(self, operation: str, given: Mapping[str, Any], caller: Caller) -> Mapping[str, Any]:
        self.calls.append((operation, given, caller))
        if operation in self.raises:
            raise self.raises[operation]
        match operation:
            case "GenerateRandom":
                return {"Plaintext": secrets.token_bytes(given["NumberOfBytes"])}
            case "DescribeKey":
                metadata = {"KeyId": given["KeyId"], "CreationDate": 1700000000.123, "Description": None}
                return {"KeyMetadata": metadata}
            case "EnableKey":
                return {}
        raise KmsError("UnsupportedOperationException")

    async def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    async def ready(self) -> bool:
        return self.is_ready

    def service(self) -> JsonService:
        return JsonService(
            name="kms",
            model=load_kms_model(),
            answer=self.answer,
            refused=self.refused,
            find_identity=IDENTITIES.get,
            region=REGION,
            internal=self.internal,
            service_access_key_id=SERVICE.access_key_id,
            stall_timeout=0.5,
            ready=self.ready,
            now=lambda: self.now or datetime.now(UTC),
        )


def signed(
    body: bytes,
    *,
    target: str | None = "TrentService.GenerateRandom",
    credentials: Credentials = ALICE,
    method: str = "POST",
    path: str = "/",
    now: datetime | None = None,
    scope: str | None = None,
    headers: Mapping[str, str] | None = None,
    unsigned: Mapping[str, str] | None = None,
    payload: str | None = None,
) -> dict[str, str]:
    """The headers of a request as boto3 signs it: no x-amz-content-sha256 unless `headers` has one."""
    timestamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    scope = scope or f"{timestamp[:8]}/{REGION}/kms/aws4_request"
    given = {"content-type": CONTENT_TYPE, "host": "localhost", "x-amz-date": timestamp, **(headers or {})}
    if target is not None:
        given["x-amz-target"] = target
    names = sorted(given)
    digest = payload or hashlib.sha256(body).hexdigest()
    lines = [f"{name}:{given[name].strip()}" for name in names]
    canonical = "\n".join([method, path, "", *lines, "", ";".join(names), digest])
    hashed = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    signature = hmac_hex(
        signing_key(credentials.secret_access_key, scope), f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hashed}"
    )
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return {**given, **(unsigned or {}), "authorization": authorization, "content-length": str(len(body))}


def head(headers: Mapping[str, str], method: str = "POST", path: str = "/") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass
class Served:
    """A running listener. `kms`: what answers."""

    kms: SmallKms
    address: Any
    family: socket.AddressFamily = socket.AF_INET

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.address[1]}"

    def raw(self, data: bytes, method: str = "POST") -> Reply:
        with socket.socket(self.family) as connection:
            connection.settimeout(10)
            connection.connect(self.address)
            connection.sendall(data)
            return read_reply(connection, method)

    def send(self, body: bytes | Mapping[str, Any], *, method: str = "POST", path: str = "/", **how: Any) -> Reply:
        """A signed request; what is wrong with it is `how`."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.raw(head(signed(content, method=method, path=path, **how), method, path) + content, method)


def error_of(reply: Reply) -> tuple[str, str | None]:
    document = json.loads(reply.body)
    assert reply.headers["x-amzn-errortype"] == document["__type"]
    assert reply.headers["content-type"] == CONTENT_TYPE
    return document["__type"], document.get("message", document.get("Message"))


@contextmanager
def serving(kms: SmallKms, opened: socket.socket | None = None, **endpoint: Any) -> Iterator[Served]:
    """`kms` on a listener of ours, in a thread with the server's event loop."""
    listening = opened or listener.open_socket("127.0.0.1", 0, flag="--listen")
    address, family = listening.getsockname(), listening.family
    running, ended = threading.Event(), threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        told, started = asyncio.Event(), asyncio.Event()
        stop.append((asyncio.get_running_loop(), told))
        running.set()
        await listener.serve(
            [listener.Endpoint(listener=listening, application=application(kms.service()), **endpoint)],
            stop=told,
            started=started,
            stall_timeout=5,
            shutdown_grace=1,
        )

    def work() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
        ended.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert running.wait(10)
    try:
        yield Served(kms, address, family)
    finally:
        loop, told = stop[0]
        loop.call_soon_threadsafe(told.set)
        assert ended.wait(10)
        thread.join(10)
