"""One of the processes that answer S3's requests, all on the same sockets."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import socket

from strongroom.cli import worker
from strongroom.config import Settings
from strongroom.edge import metrics_listener
from strongroom.edge.certificates import ServerContext
from strongroom.edge.listener import Endpoint
from strongroom.server.s3 import build

TITLE = "strongroom s3"


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


def figures(number: int) -> str:
    """The name under which worker `number` counts."""
    return f"worker-{number}"


def work(number: int, *, settings: Settings, data_dir: Path, listeners: Listeners, tls: ServerContext | None) -> None:
    """Serve as worker `number` until told to stop."""
    worker.serve(
        figures(number), partial(_build, number, settings, data_dir, listeners, tls), settings=settings, tls=tls
    )


async def _build(
    number: int, settings: Settings, data_dir: Path, listeners: Listeners, tls: ServerContext | None
) -> worker.Served:
    application = await build(settings, data_dir)
    endpoints = []
    if listeners.plain is not None:
        endpoints.append(Endpoint(listener=listeners.plain, application=application.asgi))
    if listeners.tls is not None and tls is not None:
        endpoints.append(Endpoint(listener=listeners.tls, application=application.asgi, tls=tls.context))
    if listeners.metrics is not None:
        endpoints.append(Endpoint(listener=listeners.metrics, application=metrics_listener.answer))
    return worker.Served(
        endpoints=endpoints,
        # One worker does it, and its successor takes over: the supervisor never runs two of one number.
        maintain=application.maintain if number == 0 else None,
        close=application.close,
    )
