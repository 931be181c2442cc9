"""A client inside this process: signs one request and hands it to the ASGI application, as the server would.

For the proof at the start, which must go the whole way that a client's request goes, and before any socket is open.
"""

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from strongroom.aws.canonical import canonical_request
from strongroom.aws.http import Headers
from strongroom.aws.sigv4 import ALGORITHM, CredentialScope, derive_key, sign
from strongroom.identity.root import Credentials

HOST = "localhost"


@dataclass(frozen=True, slots=True)
class LocalAnswer:
    status: int
    body: bytes


async def request(
    app: Callable[..., Awaitable[None]],
    method: str,
    path: str,
    *,
    credentials: Credentials,
    region: str,
    now: datetime,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> LocalAnswer:
    """`path`: as on the wire, without a query. `headers`: in lower case."""
    digest = hashlib.sha256(body).hexdigest()
    timestamp = now.strftime("%Y%m%dT%H%M%SZ")
    given = {
        **(headers or {}),
        "content-length": str(len(body)),
        "host": HOST,
        "x-amz-content-sha256": digest,
        "x-amz-date": timestamp,
    }
    scope = CredentialScope(timestamp[:8], region, "s3")
    names = sorted(given)
    canonical = canonical_request(
        method, path.encode(), b"", Headers.of(given.items()), signed_headers=names, payload=digest
    )
    to_sign = f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
    signature = sign(derive_key(credentials.secret_access_key, scope), to_sign)
    given["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return await _exchange(app, method, path, given, body)


async def _exchange(
    app: Callable[..., Awaitable[None]], method: str, path: str, headers: dict[str, str], body: bytes
) -> LocalAnswer:
    status, received = 0, bytearray()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        received.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 0),
    }
    await app(scope, receive, send)
    return LocalAnswer(status, bytes(received))
