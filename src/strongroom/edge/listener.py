"""Listening sockets, and one process's service on them.

The supervisor opens the sockets before it forks, so that a port that can't be had is one message at start, and a worker
that is restarted finds its socket still listening. Each worker then serves all of them in one event loop. This module
knows applications by ASGI only.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import uvicorn
from uvicorn.server import ServerState

from strongroom.edge.http1 import Application, Http1, answering_before_the_body

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 60
TLS_HANDSHAKE_SECONDS = 15.0


class ListenError(Exception):
    """An address can't be listened on. The text is meant for people."""


def open_socket(host: str, port: int, *, flag: str, loopback_only: bool = False) -> socket.socket:
    """A listening TCP socket. `host`: an IP address or a name; `flag`: the command-line flag that the message
    advises. `loopback_only`: where others could connect, nobody listens. Raises ListenError.
    """
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ListenError(
            f"{shown} is no address of this machine ({error.strerror}); choose another with {flag}."
        ) from None
    if loopback_only and not ip_address(str(address[0])).is_loopback:
        raise ListenError(
            f"{shown} can be reached from other machines, and only TLS may be there; use {flag}-tls for it."
        )
    listener = socket.socket(family, kind, protocol)
    try:
        # A server that ended leaves connections in TIME_WAIT; its successor may bind at once all the same.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host != "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ListenError(_why(shown, error, flag)) from None
    return listener


def _why(shown: str, error: OSError, flag: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"{shown} is in use by another program; stop it, or choose another address with {flag}."
        case errno.EACCES:
            return f"{shown} needs more rights than this user has; choose a port above 1023 with {flag}."
        case _:
            return f"{shown} can't be listened on ({error.strerror}); choose another address with {flag}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One listening socket and what answers on it; `tls` None speaks plain HTTP. `peers`: of a Unix socket, the uids whose
    processes may connect; connections of others end at once.
    """

    listener: socket.socket
    application: Application
    tls: ssl.SSLContext | None = None
    peers: frozenset[int] | None = None


async def serve(
    endpoints: Sequence[Endpoint],
    *,
    stop: asyncio.Event,
    started: asyncio.Event,
    stall_timeout: float,
    shutdown_grace: float,
) -> None:
    """Answer on all `endpoints` until `stop`; `started` is set once every one accepts.

    After `stop`: nothing is accepted, idle connections are closed at once, running requests get `shutdown_grace`
    seconds, and what still runs then is cut. Returns when no connection is left.
    """
    state = ServerState()
    loop = asyncio.get_running_loop()
    servers = []
    for endpoint in endpoints:
        create = loop.create_unix_server if endpoint.listener.family == socket.AF_UNIX else loop.create_server
        server = await create(
            _connections_of(endpoint, state, stall_timeout),
            sock=endpoint.listener,
            ssl=endpoint.tls,
            ssl_handshake_timeout=None if endpoint.tls is None else TLS_HANDSHAKE_SECONDS,
            backlog=BACKLOG,
        )
        servers.append(server)
    started.set()
    await stop.wait()
    for server in servers:
        server.close()
    await _drain(state, shutdown_grace)


def _connections_of(endpoint: Endpoint, state: ServerState, stall_timeout: float) -> Callable[[], Http1]:
    config = uvicorn.Config(
        answering_before_the_body(endpoint.application),
        http=Http1,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # who speaks for whom is decided where the setting is known
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    config.load()

    def connect() -> Http1:
        connection = Http1(config=config, server_state=state, app_state={})
        connection.stall_timeout = stall_timeout
        connection.peers = endpoint.peers
        return connection

    return connect


async def _drain(state: ServerState, grace: float) -> None:
    for connection in list(state.connections):
        connection.shutdown()
    loop = asyncio.get_running_loop()
    end = loop.time() + grace
    while (state.connections or state.tasks) and loop.time() < end:  # noqa: ASYNC110 - uvicorn's sets tell nobody
        await asyncio.sleep(0.02)
    for connection in list(state.connections):
        connection.transport.abort()
    for task in list(state.tasks):
        task.cancel()
    if state.tasks:
        await asyncio.wait(list(state.tasks), timeout=1)
