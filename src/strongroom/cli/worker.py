"""One serving process: an event loop that answers on its listeners until it is told to stop.

Which service it is comes from outside (`cli/s3_worker.py`, `cli/kms_worker.py`); how a process starts, follows
certificates, keeps its maintenance going and ends is the same for all.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import uvloop

from strongroom.blobs.store import StorageUnavailable
from strongroom.cli import supervisor
from strongroom.config import Settings
from strongroom.database.database import Unavailable
from strongroom.edge import listener
from strongroom.edge.certificates import ServerContext
from strongroom.observe import log, metrics
from strongroom.server.paths import StartError

_MAINTENANCE_PAUSE = 10.0  # seconds after a failure of the maintenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a process serves. `maintain` never returns; None: another process does it."""

    endpoints: Sequence[listener.Endpoint]
    maintain: Callable[[], Awaitable[None]] | None
    close: Callable[[], Awaitable[None]]


def serve(
    figures: str, build: Callable[[], Awaitable[Served]], *, settings: Settings, tls: ServerContext | None
) -> None:
    """Serve what `build` makes until SIGTERM or SIGINT. Exits with CANNOT_START where another start would fail alike.

    `figures`: the name under which this process counts.
    """
    metrics.become(figures)
    log.configure(style=settings.log_format, level=settings.log_level, background=True)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(build, settings, tls))
    except StartError as error:
        if settings.log_format == "text":  # as every other reason is told; it may have several lines
            log.flush()
            print(f"strongroom: {error}", file=sys.stderr)
        else:
            log.failure("The server can't start", reason=str(error))
        sys.exit(supervisor.CANNOT_START)


async def _serve(build: Callable[[], Awaitable[Served]], settings: Settings, tls: ServerContext | None) -> None:
    stop, reload, started = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    supervisor.accept_signals()
    served = await build()
    tasks = [asyncio.create_task(_say_ready(started))]
    if tls is not None:
        tasks.append(asyncio.create_task(tls.follow(reload)))
    if served.maintain is not None:
        tasks.append(asyncio.create_task(_maintain(served.maintain)))
    try:
        await listener.serve(
            served.endpoints,
            stop=stop,
            started=started,
            stall_timeout=settings.stall_timeout,
            shutdown_grace=settings.shutdown_grace,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await served.close()


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
