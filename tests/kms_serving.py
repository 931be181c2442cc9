"""S3 with a key service, on a socket, in a thread of this process: the same listener, edge and handlers as the server's.

The key service is whatever the test hands in, so that a test holds its handles.
"""

import asyncio
import configparser
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import uvloop

from strongroom.config import Settings
from strongroom.edge import listener
from strongroom.edge.asgi import application
from strongroom.identity.root import load_root
from strongroom.keys.bucket_keys import KmsBucketKeys
from strongroom.keys.provider import KeyProvider
from strongroom.server.identities import open_identities
from strongroom.server.s3 import edge
from strongroom.server.store import OpenStore, initialise, open_store
from tests.harness import Server


def with_kms(store: OpenStore, kms: KeyProvider, *, window: float = 300.0) -> OpenStore:
    """The same store, its objects under that key service. `window`: seconds that bucket keys are used again."""
    storage = store.storage
    bucket_keys = KmsBucketKeys(store.database, storage.keyring, kms, now_us=storage.now_us, window=window)
    return replace(store, storage=replace(storage, kms=kms, bucket_keys=bucket_keys), bucket_keys=bucket_keys)


@contextmanager
def serving_kms(directory: Path, kms: KeyProvider) -> Iterator[Server]:
    """A server of one worker, over plain HTTP on loopback; `process` and what goes with it are absent."""
    data_dir, settings = directory / "data", Settings()
    initialise(data_dir, settings)
    opened = listener.open_socket("127.0.0.1", 0, flag="--listen")
    port = opened.getsockname()[1]
    running, failures = _Running(), list[BaseException]()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(running.serve(data_dir, settings, kms, opened))
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            failures.append(error)
            running.ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert running.ready.wait(20)
        assert not failures, failures
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(data_dir / "credentials")
        yield Server(
            data_dir=data_dir,
            port=port,
            tls_port=0,
            metrics_port=0,
            kms_port=0,
            arguments=(),
            environment={},
            log=directory / "server.log",
            access_key_id=parser["strongroom"]["aws_access_key_id"],
            secret=parser["strongroom"]["aws_secret_access_key"],
        )
    finally:
        running.stop()
        thread.join(30)
        assert not thread.is_alive()


class _Running:
    def __init__(self) -> None:
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    async def serve(self, data_dir: Path, settings: Settings, kms: KeyProvider, opened: socket.socket) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        store = with_kms(await open_store(data_dir, settings), kms)
        identities, database = await open_identities(data_dir, load_root(data_dir, {}, settings.account_id))
        answers, started = application(edge(settings, store, identities.find)), asyncio.Event()
        told = asyncio.create_task(self._tell(started))
        try:
            await listener.serve(
                [listener.Endpoint(listener=opened, application=answers, tls=None)],
                stop=self._stop,
                started=started,
                stall_timeout=settings.stall_timeout,
                shutdown_grace=5.0,
            )
        finally:
            told.cancel()
            await store.close()
            await database.close()

    async def _tell(self, started: asyncio.Event) -> None:
        await started.wait()
        self.ready.set()

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
