"""A store inside the test's process, spoken to through the same ASGI application as the server's: for what has to be
done to a store's files between two requests.
"""

import asyncio
import configparser
import hashlib
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from strongroom.config import Settings
from strongroom.observe import metrics
from strongroom.server.s3 import build
from strongroom.server.store import initialise
from tests.harness import Reply, sign_headers

HOST = "localhost"


class Store:
    """One opened store. A reply is `complete` if its body was ended and had the length that was announced."""

    def __init__(self, data_dir: Path, runner: asyncio.Runner) -> None:
        self.data_dir = data_dir
        self._runner = runner
        self.application = runner.run(build(Settings(), data_dir))
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(data_dir / "credentials")
        self.access_key_id = parser["strongroom"]["aws_access_key_id"]
        self.secret = parser["strongroom"]["aws_secret_access_key"]

    @property
    def index(self) -> Path:
        return self.data_dir / "s3" / "index.db"

    def blobs(self) -> dict[str, Path]:
        return {path.name: path for path in (self.data_dir / "s3" / "blobs").glob("??/*")}

    def send(self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Reply:
        return self._runner.run(self._send(method, target, headers or {}, body))

    async def _send(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        given = {"host": HOST, "content-length": str(len(body)), **headers}
        given |= sign_headers(
            method,
            target.encode(),
            given,
            payload=hashlib.sha256(body).hexdigest(),
            access_key_id=self.access_key_id,
            secret=self.secret,
            now=datetime.now(UTC),
        )
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
        }
        start: MutableMapping[str, Any] = {}
        received, ended = bytearray(), False

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal ended
            if message["type"] == "http.response.start":
                start.update(message)
                return
            received.extend(message.get("body", b""))
            ended = not message.get("more_body", False)

        await self.application.asgi(scope, receive, send)
        answered = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        length = int(answered.get("content-length", len(received)))
        complete = ended and (method == "HEAD" or len(received) == length)
        return Reply(start["status"], answered, bytes(received), complete)

    def close(self) -> None:
        self._runner.run(self._close())

    async def _close(self) -> None:
        await self.application.close()


@contextmanager
def opened(data_dir: Path) -> Iterator[Store]:
    """The store in `data_dir`, made there if there is none."""
    if not (data_dir / "s3" / "index.db").exists():
        initialise(data_dir, Settings())
    with asyncio.Runner() as runner:
        store = Store(data_dir, runner)
        try:
            yield store
        finally:
            store.close()


def integrity_errors() -> float:
    """What this process has counted so far; not out of the whole exposition, which takes longer than most requests."""
    (counter,) = metrics._integrity_errors.collect()
    return next(sample.value for sample in counter.samples if sample.name.endswith("_total"))
