"""kms/admin.py over HTTP, for a Unix socket that only the key service's own user can reach (DIR/run, 0700; the socket,
0600): who may connect may also read kms.db, so nobody is asked for more.

    GET /slots    POST /slots    DELETE /slots/NAME    POST /rotate-root    POST /backup

Bodies are JSON, but for a backup's, which is a copy of kms.db; its headers name the record of the audit log that the
copy knows as the last one. A rotation answers with a line of JSON for each report of its progress, the last one being its outcome;
it goes on when its client is gone. One change at a time, so that passphrases can't be tried in parallel.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Unavailable
from strongroom.kms.admin import Admin, Copy, NewSlot, add_slot, back_up, list_slots, remove_slot, rotate_root
from strongroom.kms.slots import SlotError
from strongroom.observe import log

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
T = TypeVar("T")

_LONGEST_BODY = 64 << 10
_BLOCK = 1 << 18
AUDIT_SEQUENCE, AUDIT_HASH = "x-audit-sequence", "x-audit-hash"


class RotateRoot(Struct, frozen=True, forbid_unknown_fields=True):
    """`passphrases`: by slot's name."""

    passphrases: dict[str, str] = {}

    def __repr__(self) -> str:
        return "RotateRoot"


class _Refused(Exception):
    """The client's mistake. The text is for it and holds nothing of a body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def application(admin: Admin) -> Application:
    """An ASGI application."""
    one_at_a_time = asyncio.Lock()
    running: set[asyncio.Task[None]] = set()

    async def answer(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        try:
            path = scope["raw_path"].decode("ascii", "replace").split("/")[1:]
            match scope["method"], [unquote(word) for word in path]:
                case "GET", ["slots"]:
                    await _send_json(send, 200, await list_slots(admin))
                case "POST", ["slots"]:
                    new = _decoded(await _body(receive), NewSlot)
                    async with one_at_a_time:
                        await _send_json(send, 200, await add_slot(admin, new))
                case "DELETE", ["slots", name]:
                    async with one_at_a_time:
                        await _send_json(send, 200, await remove_slot(admin, name))
                case "POST", ["rotate-root"]:
                    wanted = _decoded(await _body(receive), RotateRoot)
                    await _rotate(admin, wanted, send, one_at_a_time, running)
                case "POST", ["backup"]:
                    async with one_at_a_time:
                        copy = await back_up(admin)
                    await _send_copy(send, copy)
                case _:
                    await _send_json(send, 404, {"error": "there is no such operation"})
        except _Refused as error:
            await _send_json(send, error.status, {"error": str(error)})
        except SlotError as error:
            await _send_json(send, 400, {"error": str(error)})
        except Unavailable as error:
            await _send_json(send, 503, {"error": str(error)})
        except IntegrityError as error:
            log.failure("kms.db is not as the key service left it", reason=str(error))
            await _send_json(send, 500, {"error": str(error)})

    return answer


async def _rotate(
    admin: Admin, wanted: RotateRoot, send: Send, one_at_a_time: asyncio.Lock, running: set[asyncio.Task[None]]
) -> None:
    """Streams what a task of its own reports: the rotation is not the client's to cut short."""
    reports: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def work() -> None:
        try:
            async with one_at_a_time:
                done = await rotate_root(
                    admin, wanted.passphrases, lambda done, total: reports.put_nowait({"done": done, "of": total})
                )
                reports.put_nowait(done)
        except (SlotError, Unavailable, IntegrityError) as error:
            reports.put_nowait({"error": str(error)})
        except Exception as error:  # noqa: BLE001  nobody else awaits this task
            log.failure("The root key could not be rotated", error)
            reports.put_nowait({"error": "internal error: see the log"})
        finally:
            reports.put_nowait(None)

    task = asyncio.get_running_loop().create_task(work())
    running.add(task)  # or it may be collected while it runs
    task.add_done_callback(running.discard)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]})
    while (report := await reports.get()) is not None:
        await send({"type": "http.response.body", "body": json.dumps(report).encode() + b"\n", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_copy(send: Send, copy: Copy) -> None:
    try:
        size = os.fstat(copy.descriptor).st_size
        headers = [(b"content-type", b"application/vnd.sqlite3"), (b"content-length", str(size).encode())]
        if copy.head is not None:
            headers.append((AUDIT_SEQUENCE.encode(), str(copy.head.sequence).encode()))
            headers.append((AUDIT_HASH.encode(), copy.head.hash.hex().encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for offset in range(0, size, _BLOCK):
            block = await asyncio.to_thread(os.pread, copy.descriptor, _BLOCK, offset)
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        os.close(copy.descriptor)


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refused(400, "the body ended early")
        body += message.get("body", b"")
        if len(body) > _LONGEST_BODY:
            raise _Refused(413, "the body is too long")
        if not message.get("more_body", False):
            return bytes(body)


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.DecodeError as error:  # its text names members and types, not values
        raise _Refused(400, f"the request is not understood: {error}") from None


async def _send_json(send: Send, status: int, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
