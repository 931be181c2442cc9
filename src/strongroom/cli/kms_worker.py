"""The process that answers the KMS's requests: of AWS clients, of the S3 service, and of the commands that tend it.

There is one, and it alone ever holds the root key. The three kinds of clients come in by different doors, since who may
ask in another's name or turn to the root key is decided by the door.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import socket

from strongroom.cli import kms_address, worker
from strongroom.cli.passphrases import asker
from strongroom.cli.start import bound
from strongroom.config import Address, Settings
from strongroom.edge import listener, metrics_listener, unix_socket
from strongroom.edge.certificates import ServerContext
from strongroom.edge.listener import Endpoint
from strongroom.server.kms import build_kms
from strongroom.server.paths import Paths

TITLE = "strongroom kms"
FIGURES = "kms"  # the name under which it counts


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsListeners:
    """The sockets that the supervisor opened; None where a setting says `off`. They outlive the process that answers on
    them: while it is restarted, clients wait instead of being refused. `metrics`: where no S3 worker serves them.
    """

    plain: socket | None
    tls: socket | None
    internal: socket
    admin: socket
    metrics: socket | None = None

    def close(self) -> None:
        for opened in (self.plain, self.tls, self.internal, self.admin, self.metrics):
            if opened is not None:
                opened.close()


def _named(opened: Address | None, wanted: Address | None) -> Address | None:
    """By the name in the settings, which the certificate has, and the port that the kernel chose."""
    return opened if opened is None or wanted is None else Address(wanted.host, opened.port)


@contextlib.contextmanager
def listeners_of(
    data_dir: Path, settings: Settings, *, flag: str, metrics: socket | None = None
) -> Iterator[KmsListeners]:
    """Open them and say where they are, and take that and the Unix sockets out of the directory at the end: what is left
    there can be copied as files.

    `flag`: the command-line flag of the plain listener. Raises ListenError, UnixSocketError.
    """
    listeners = _open_listeners(data_dir, settings, flag, metrics)
    try:
        kms_address.publish(data_dir, bound(listeners.plain), _named(bound(listeners.tls), settings.kms_listen_tls))
        yield listeners
    finally:
        listeners.close()
        kms_address.withdraw(data_dir)
        for path in (Paths(data_dir).kms_socket, Paths(data_dir).kms_admin_socket):
            path.unlink(missing_ok=True)


def _open_listeners(data_dir: Path, settings: Settings, flag: str, metrics: socket | None) -> KmsListeners:
    plain, tls = settings.kms_listen, settings.kms_listen_tls
    return KmsListeners(
        plain=None if plain is None else listener.open_socket(plain.host, plain.port, flag=flag, loopback_only=True),
        tls=None if tls is None else listener.open_socket(tls.host, tls.port, flag=f"{flag}-tls"),
        internal=unix_socket.open_unix_socket(Paths(data_dir).kms_socket),
        admin=unix_socket.open_unix_socket(Paths(data_dir).kms_admin_socket),
        metrics=metrics,
    )


def work(*, settings: Settings, data_dir: Path, listeners: KmsListeners, tls: ServerContext | None) -> None:
    """Serve until told to stop."""
    worker.serve(FIGURES, partial(_build, settings, data_dir, listeners, tls), settings=settings, tls=tls)


async def _build(
    settings: Settings, data_dir: Path, listeners: KmsListeners, tls: ServerContext | None
) -> worker.Served:
    kms = await build_kms(settings, data_dir, ask_passphrase=asker())
    ourselves = frozenset({os.geteuid()})
    endpoints = [
        Endpoint(listener=listeners.internal, application=kms.internal_asgi, peers=ourselves),
        Endpoint(listener=listeners.admin, application=kms.admin_asgi, peers=ourselves),
    ]
    if listeners.plain is not None:
        endpoints.append(Endpoint(listener=listeners.plain, application=kms.asgi))
    if listeners.tls is not None and tls is not None:
        endpoints.append(Endpoint(listener=listeners.tls, application=kms.asgi, tls=tls.context))
    if listeners.metrics is not None:
        endpoints.append(Endpoint(listener=listeners.metrics, application=metrics_listener.answer))
    return worker.Served(endpoints=endpoints, maintain=kms.maintain, close=kms.close)
