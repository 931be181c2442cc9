"""A KMS for tests of what asks one: it holds keys, checks signatures with our own verifier, and misbehaves to order."""

import asyncio
import base64
import hashlib
import json
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from ssl import SSLContext
from typing import Any

from aiohttp import web

from strongroom.aws.http import Headers
from strongroom.aws.sigv4 import parse_authorization, verify
from strongroom.identity.requester import REQUESTER_HEADER, Requester, parse_requester
from strongroom.identity.root import Principal
from strongroom.keys.kms_endpoint import ServiceCredentials

REGION = "eu-central-1"
ACCOUNT = "111122223333"
CREDENTIALS = ServiceCredentials(access_key_id="strongroom-s3", secret_access_key="0123456789abcdef" * 4)
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_KEY_ID = "ffffffff-12ab-34cd-56ef-1234567890ab"
KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{KEY_ID}"
OTHER_KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{OTHER_KEY_ID}"
MATERIAL_ID = "ab" * 32

Mood = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
"""What happens instead of an answer, or to the answer that would have been given."""


def person(name: str = "anna", *, source_ip: str = "192.0.2.1", request_id: str = "REQUEST") -> Requester:
    return Requester(
        principal=Principal(account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:user/{name}"),
        access_key_id=f"SR{name.upper()}",
        source_ip=source_ip,
        secure_transport=True,
        user_agent="a client",
        request_id=request_id,
    )


@dataclass(frozen=True)
class Call:
    operation: str
    input: dict[str, Any]
    requester: Requester | None


class Refused(Exception):
    def __init__(self, code: str, message: str = "no") -> None:
        super().__init__(code)
        self.code, self.message = code, message


def _allow(_call: Call) -> None:
    pass


@dataclass
class StubKms:
    """`judge` raises Refused. `script`: one mood for each of the next requests. `calls`: all that were signed well."""

    credentials: ServiceCredentials = CREDENTIALS
    judge: Callable[[Call], None] = _allow
    script: deque[Mood] = field(default_factory=deque)
    calls: list[Call] = field(default_factory=list)
    requests: int = 0
    aliases: dict[str, str] = field(default_factory=lambda: {"alias/mine": KEY_ARN})
    keys: dict[bytes, tuple[str, dict[str, str], bytes]] = field(default_factory=dict)

    def seen(self, operation: str) -> int:
        return sum(call.operation == operation for call in self.calls)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        body = await request.read()
        self._verify(request, body)
        operation = request.headers["x-amz-target"].removeprefix("TrentService.")
        header = request.headers.get(REQUESTER_HEADER)
        call = Call(operation, json.loads(body), parse_requester(header) if header else None)
        self.calls.append(call)
        try:
            self.judge(call)
            answer = self._answer(call)
        except Refused as refused:
            return web.json_response({"__type": refused.code, "message": refused.message}, status=400)
        mood = self.script.popleft() if self.script else good
        return await mood(request, answer)

    def _verify(self, request: web.Request, body: bytes) -> None:
        headers = Headers.of(request.headers.items())
        authorization = parse_authorization("POST", b"/", b"", headers)
        assert authorization is not None
        assert authorization.access_key_id == self.credentials.access_key_id
        verify(
            authorization,
            self.credentials.secret_access_key,
            request.method,
            request.raw_path.encode(),
            b"",
            headers,
            now=datetime.now(UTC),
            region=REGION,
            service="kms",
        )
        assert authorization.payload == hashlib.sha256(body).hexdigest()

    def resolve(self, key_id: str) -> str:
        name = key_id.split(":", 5)[5] if key_id.startswith("arn:") else key_id
        if name.startswith("alias/"):
            if name not in self.aliases:
                raise Refused("NotFoundException", f"Alias {key_id} is not found.")
            return self.aliases[name]
        arn = KEY_ARN.replace(KEY_ID, name.removeprefix("key/"))
        if arn not in {KEY_ARN, OTHER_KEY_ARN}:
            raise Refused("NotFoundException", f"Key '{key_id}' does not exist")
        return arn

    def _seal(self, arn: str, context: dict[str, str], plaintext: bytes) -> str:
        blob = secrets.token_bytes(100)
        self.keys[blob] = arn, context, plaintext
        return base64.b64encode(blob).decode()

    def _open(self, blob: str, key_id: str, context: dict[str, str]) -> bytes:
        arn, sealed_context, plaintext = self.keys[base64.b64decode(blob)]
        if self.resolve(key_id) != arn:
            raise Refused(
                "IncorrectKeyException",
                "The key ID in the request does not identify a CMK that can perform this operation.",
            )
        if context != sealed_context:
            raise Refused("InvalidCiphertextException", "")
        return plaintext

    def _answer(self, call: Call) -> dict[str, Any]:
        given = call.input
        context = given.get("EncryptionContext", {})
        match call.operation:
            case "GenerateDataKey":
                assert given["KeySpec"] == "AES_256"
                arn, plaintext = self.resolve(given["KeyId"]), secrets.token_bytes(32)
                return {
                    "KeyId": arn,
                    "Plaintext": base64.b64encode(plaintext).decode(),
                    "CiphertextBlob": self._seal(arn, context, plaintext),
                    "KeyMaterialId": MATERIAL_ID,
                }
            case "Decrypt":
                plaintext = self._open(given["CiphertextBlob"], given["KeyId"], context)
                return {
                    "KeyId": self.resolve(given["KeyId"]),
                    "Plaintext": base64.b64encode(plaintext).decode(),
                    "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                    "KeyMaterialId": MATERIAL_ID,
                }
            case "Encrypt":
                arn = self.resolve(given["KeyId"])
                return {
                    "KeyId": arn,
                    "CiphertextBlob": self._seal(arn, context, base64.b64decode(given["Plaintext"])),
                    "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                }
            case "ReEncrypt":
                plaintext = self._open(
                    given["CiphertextBlob"], given["SourceKeyId"], given.get("SourceEncryptionContext", {})
                )
                arn = self.resolve(given["DestinationKeyId"])
                return {
                    "KeyId": arn,
                    "SourceKeyId": self.resolve(given["SourceKeyId"]),
                    "CiphertextBlob": self._seal(arn, given.get("DestinationEncryptionContext", {}), plaintext),
                    "SourceKeyMaterialId": MATERIAL_ID,
                    "DestinationKeyMaterialId": MATERIAL_ID,
                }
            case "DescribeKey":
                arn = self.resolve(given["KeyId"])
                return {
                    "KeyMetadata": {
                        "Arn": arn,
                        "KeyId": arn.rpartition("/")[2],
                        "KeySpec": "SYMMETRIC_DEFAULT",
                        "KeyUsage": "ENCRYPT_DECRYPT",
                        "KeyState": "Enabled",
                        "CurrentKeyMaterialId": MATERIAL_ID,
                    }
                }
        raise Refused("UnknownOperationException")


# --- moods


async def good(_request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
    return web.json_response(answer, content_type="application/x-amz-json-1.1")


def changed(**members: Any) -> Mood:
    """The answer with other members; None takes one out."""

    async def mood(request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
        return await good(request, {name: value for name, value in {**answer, **members}.items() if value is not None})

    return mood


def error(status: int, code: str | None = None, message: str = "no", **more: str) -> Mood:
    async def mood(_request: web.Request, _answer: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({**({"__type": code} if code else {}), "message": message, **more}, status=status)

    return mood


def raw(body: bytes, status: int = 200) -> Mood:
    async def mood(_request: web.Request, _answer: dict[str, Any]) -> web.StreamResponse:
        return web.Response(body=body, status=status)

    return mood


async def reset(request: web.Request, _answer: dict[str, Any]) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut(request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
    """Half of an answer, and the end of the connection."""
    body = json.dumps(answer).encode()
    response = web.StreamResponse(headers={"content-length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.abort()
    return response


def endless(block: bytes = b" " * 65536) -> Mood:
    async def mood(request: web.Request, _answer: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(block)

    return mood


def waiting(gate: asyncio.Event) -> Mood:
    """The answer, when the gate opens."""

    async def mood(request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
        await gate.wait()
        return await good(request, answer)

    return mood


# --- listening


@asynccontextmanager
async def listening(stub: StubKms, path: Path | None = None, tls: SSLContext | None = None):
    """The stub behind a Unix socket, or behind TLS on a port, which is what this gives."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", stub.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        if path is not None:
            await web.UnixSite(runner, path).start()
            yield 0
        else:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            yield site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    finally:
        for _ in range(5):  # a connection that was taken just now gets its protocol, or nobody would close it
            await asyncio.sleep(0)
        await runner.cleanup()
