"""One worker process: an event loop that answers on every listener until it is told to stop."""

import asyncio
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import uvloop

from strongroom.blobs.store import StorageUnavailable
from strongroom.cli import supervisor
from strongroom.config import Settings
from strongroom.database.database import Unavailable
from strongroom.edge import listener, metrics_listener
from strongroom.edge.certificates import ServerContext
from strongroom.edge.http1 import Application
from strongroom.observe import log, metrics
from strongroom.server import StartError, build

_MAINTENANCE_PAUSE = 10.0  # seconds after a failure of the maintenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """The sockets that the supervisor opened; None where a setting says `off`."""

    plain: socket | None
    tls: socket | None
    metrics: socket | None

    def close(self) -> None:
        for opened in (self.plain, self.tls, self.metrics):
            if opened is not None:
                opened.close()


def work(number: int, *, settings: Settings, data_dir: Path, listeners: Listeners, tls: ServerContext | None) -> None:
    """Serve as worker `number` until SIGTERM or SIGINT. Exits with CANNOT_START where another start would fail
    alike.
    """
    metrics.become(f"worker-{number}")
    log.configure(style=settings.log_format, level=settings.log_level, background=True)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(number, settings, data_dir, listeners, tls))
    except StartError as error:
        log.failure("The server can't start", reason=str(error), worker=number)
        sys.exit(supervisor.CANNOT_START)


async def _serve(
    number: int, settings: Settings, data_dir: Path, listeners: Listeners, tls: ServerContext | None
) -> None:
    stop, reload, started = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    supervisor.accept_signals()
    application = await build(settings, data_dir)
    tasks = [asyncio.create_task(_say_ready(started))]
    if tls is not None:
        tasks.append(asyncio.create_task(tls.follow(reload)))
    if number == 0:
        # One worker does it, and its successor takes over: the supervisor never runs two of one number.
        tasks.append(asyncio.create_task(_maintain(application.maintain)))
    try:
        await listener.serve(
            _endpoints(application.asgi, listeners, None if tls is None else tls.context),
            stop=stop,
            started=started,
            stall_timeout=settings.stall_timeout,
            shutdown_grace=settings.shutdown_grace,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await application.close()


def _endpoints(
    application: Application, listeners: Listeners, context: ssl.SSLContext | None
) -> Sequence[listener.Endpoint]:
    wanted = (
        (listeners.plain, application, None),
        (listeners.tls, application, context),
        (listeners.metrics, metrics_listener.answer, None),
    )
    return [
        listener.Endpoint(listener=opened, application=answers, tls=tls)
        for opened, answers, tls in wanted
        if opened is not None
    ]


async def _say_ready(started: asyncio.Event) -> None:
    await started.wait()
    supervisor.say_ready()


async def _maintain(maintain: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await maintain()
        except (Unavailable, StorageUnavailable) as error:
            log.warning("Maintenance is put off", reason=str(error), seconds=_MAINTENANCE_PAUSE)
        except Exception as error:  # noqa: BLE001 - whatever it is, requests go on and so must this
            log.failure("Maintenance failed and is tried again", error, seconds=_MAINTENANCE_PAUSE)
        await asyncio.sleep(_MAINTENANCE_PAUSE)
