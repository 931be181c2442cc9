"""`GET /metrics`, on a listener of its own: figures about a store are nobody's business who may merely use it.

Every worker answers here, since each can read the figures of all.
"""

from collections.abc import MutableMapping
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from strongroom.edge.http1 import Receive, Send
from strongroom.observe import metrics


async def answer(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """An ASGI application."""
    del receive
    if scope["raw_path"] != b"/metrics":
        await _send(send, 404, b"The metrics are at /metrics.\n")
    elif scope["method"] not in ("GET", "HEAD"):
        await _send(send, 405, b"Use GET.\n", (b"allow", b"GET, HEAD"))
    else:
        await _send(send, 200, metrics.exposition(), content_type=CONTENT_TYPE_PLAIN_0_0_4.encode())


async def _send(
    send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes], content_type: bytes = b"text/plain"
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", content_type), length, *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})
