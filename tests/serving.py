"""A listener of ours in this process, and a client that sends exactly the bytes it is told to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop

from strongroom.edge import listener


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run one test on the loop that the server uses; nothing in these tests waits for half a minute."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(coroutine, 30))


@dataclass
class Served:
    port: int
    stop: asyncio.Event
    task: "asyncio.Task[None]"


@asynccontextmanager
async def serving(application, *, stall_timeout=30.0, shutdown_grace=10.0, tls: ssl.SSLContext | None = None):
    opened = listener.open_socket("127.0.0.1", 0, flag="--listen")
    stop, started = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(
        listener.serve(
            [listener.Endpoint(listener=opened, application=application, tls=tls)],
            stop=stop,
            started=started,
            stall_timeout=stall_timeout,
            shutdown_grace=shutdown_grace,
        )
    )
    port = opened.getsockname()[1]
    await started.wait()
    try:
        yield Served(port, stop, task)
    finally:
        stop.set()
        await task


@dataclass
class Recorder:
    """An application that answers with the request's body and keeps what it saw."""

    scopes: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope, receive, send) -> None:
        self.scopes.append(scope)
        body = await read(receive)
        self.bodies.append(body)
        await answer(send, 200, body)


async def read(receive: Any) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def answer(send, status: int, body: bytes = b"") -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connection(
    port: int, tls: ssl.SSLContext | None = None, name: str = "localhost"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name if tls else None)
    try:
        yield reader, writer
    finally:
        writer.close()


async def exchange(port: int, data: bytes) -> bytes:
    """Send `data`, read until the server closes."""
    async with connection(port) as (reader, writer):
        writer.write(data)
        return await reader.read()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """One answer with a content-length: status, head, body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head[9:12]), head, await reader.readexactly(length)
