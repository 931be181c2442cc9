"""A connection to a service on this machine, whose user is known before a byte is sent.

The socket lies in a private directory, but a path alone proves nothing: the kernel says who listens (SO_PEERCRED,
unix(7)), and another user is refused. It knows no protocol.
"""

import contextlib
import os
import socket
import struct
from pathlib import Path

from strongroom.keys.provider import KeyServiceMisbehaved

_LONGEST_PATH = 107  # bytes: sun_path has 108, with the NUL behind it
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid


def connect(path: Path, *, peer_uid: int, timeout: float | None = 0.0) -> socket.socket:
    """A connection to the service of the user `peer_uid` at `path`, which may be longer than a socket's address.

    `timeout`: as of `socket.settimeout`. A Unix socket never makes a connection wait for the network: without waiting
    (0.0) it is there at once or refused. Raises OSError, and KeyServiceMisbehaved for another user's service.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        _connect(connection, path)
        _check_peer(connection, peer_uid)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(connection: socket.socket, path: Path) -> None:
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        connection.connect(str(path))
        return
    # Through the directory's descriptor, opened each time: the directory may be made anew while this process lives.
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, directory)
        connection.connect(f"/proc/self/fd/{directory}/{path.name}")


def _check_peer(connection: socket.socket, peer_uid: int) -> None:
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if uid != peer_uid:
        raise KeyServiceMisbehaved(f"the socket of the key service belongs to user {uid}, not to user {peer_uid}")
