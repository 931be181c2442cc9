"""The socket on which a running key service is tended, as the commands speak to it. Nobody but its own user reaches it.

It answers in JSON, and with a copy of its database; whatever is wrong becomes one sentence.
"""

import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from strongroom.audit.chain import Head
from strongroom.cli.command import CommandError
from strongroom.database.private_file import write_private
from strongroom.server.paths import Paths

_SECONDS = 60.0
_HOST = "localhost"


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__(_HOST, timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        # By way of its directory: a socket's address has room for 107 bytes.
        directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)
        _, uid, _ = struct.unpack("3i", self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (os.geteuid(), 0):
            raise CommandError(f"{self._path} is served by another user (uid {uid}): nothing was sent to it")


@contextmanager
def ask(data_dir: Path, method: str, path: str, body: object = None) -> Iterator[HTTPResponse]:
    """Raises CommandError."""
    where = Paths(data_dir).kms_admin_socket
    connection = _UnixConnection(where)
    try:
        headers = {"content-type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        yield connection.getresponse()
    except (FileNotFoundError, ConnectionRefusedError):
        raise CommandError(f"no key service answers at {where}: start it first") from None
    except (OSError, HTTPException) as error:
        raise CommandError(f"the key service at {where} did not answer: {error or type(error).__name__}") from None
    finally:
        connection.close()


def request(data_dir: Path, method: str, path: str, body: object = None) -> dict[str, Any]:
    with ask(data_dir, method, path, body) as response:
        return checked(response.read())


def checked(body: bytes) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(body)
    except ValueError:
        raise CommandError("the key service's answer is not understood") from None
    if "error" in answer:
        raise CommandError(answer["error"])
    return answer


def fetch_database(data_dir: Path, destination: Path) -> Head | None:
    """A copy of kms.db by its service, to a new file; the record of the audit log that it knows as the last one, None where
    it knows of none. Raises CommandError, OSError.
    """
    from strongroom.kms.admin_asgi import AUDIT_HASH, AUDIT_SEQUENCE  # noqa: PLC0415 - the KMS is much to load for a client

    with ask(data_dir, "POST", "/backup") as response:
        content = response.read()  # all that was announced, or HTTPException
        if response.status != 200:
            checked(content)
            raise CommandError("the key service's answer is not understood")
        sequence, digest = response.getheader(AUDIT_SEQUENCE), response.getheader(AUDIT_HASH)
    write_private(destination, content, replace=False)
    return None if sequence is None or digest is None else Head(int(sequence), bytes.fromhex(digest), 0)
