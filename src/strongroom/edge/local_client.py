"""A client inside this process: signs one request and hands it to the ASGI application, as the server would.

For the proof at the start, which must go the whole way that a client's request goes, and before any socket is open.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from strongroom.aws.signing import signed
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
    given = signed(
        method,
        path,
        {**(headers or {}), "content-length": str(len(body)), "host": HOST},
        body,
        access_key_id=credentials.access_key_id,
        secret=credentials.secret_access_key,
        region=region,
        service="s3",
        now=now,
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
