"""Unix sockets below the data directory: opened for our own user alone, with the kernel's word on who connects.

A path of the address family holds 107 bytes and a data directory may lie deeper; so both ends name a socket relative to a
descriptor of its directory (`/proc/self/fd/N/name`), which is short wherever that is. Linux only: /proc, SO_PEERCRED.
"""

import errno
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Any

from strongroom.database.private_file import make_private_directory

BACKLOG = 2048
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))


class UnixSocketError(Exception):
    """A socket can't be had. The text is meant for people."""


def open_unix_socket(path: Path) -> socket.socket:
    """A listening socket of mode 0600 in a directory of mode 0700, which is made if need be. Raises UnixSocketError.

    What a server that ended left at `path` goes away; whoever calls holds the lock that says it has ended. Anything but a
    socket is left alone.
    """
    make_private_directory(path.parent)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_ours(directory)
        _remove_stale(directory, path)
        opened.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.chmod(path.name, 0o600, dir_fd=directory)  # nobody connects before it listens
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise UnixSocketError(f"{path} can't be listened on ({error.strerror}).") from None
    finally:
        os.close(directory)
    return opened


def peer_uid(transport_socket: Any) -> int:
    """The effective uid of whoever connected, as the kernel noted it then."""
    credentials = transport_socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    return int(uid)


def _make_ours(directory: int) -> None:
    """Nobody else may put a socket of theirs in the place of ours."""
    if os.fstat(directory).st_uid != os.geteuid():
        raise OSError(errno.EPERM, "its directory belongs to another user")
    os.fchmod(directory, 0o700)


def _remove_stale(directory: int, path: Path) -> None:
    try:
        found = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "something that is no socket is there")
    os.unlink(path.name, dir_fd=directory)
