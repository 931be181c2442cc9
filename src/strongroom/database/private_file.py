"""Small files that only the server's user may read, and that are there as a whole or not at all.

Keys, certificates and credentials are written this way. What is inside is none of this module's business.
"""

import os
import secrets
import stat
from pathlib import Path


class NotPrivate(Exception):
    """Others than the server's user can read the file. The text says what to do."""


def write_private(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Put `content` at `path`, mode 0600 whatever the umask, durable on return.

    A reader sees the old file or the new one. Without `replace` an existing file raises FileExistsError and is left
    alone: a key must never be overwritten because somebody believed that it was absent.
    """
    # A name of its own, opened with O_EXCL: neither a planted symbolic link nor a left-over of a crash is ever written
    # through.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.rename(temporary, path)
        else:
            os.link(temporary, path)
            os.unlink(temporary)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def read_private(path: Path) -> bytes:
    """The content of a file that is only the server's user's. A symbolic link is none.

    Raises NotPrivate, and OSError: only FileNotFoundError means that there is no such file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise NotPrivate(f"{path} can be read by others: run `chmod 600 {path}`")
        return file.read()


def make_private_directory(path: Path) -> None:
    """A directory of mode 0700 whatever the umask, its parents as needed; one that exists keeps its mode."""
    if path.is_dir():
        return
    make_private_directory(path.parent) if not path.parent.exists() else None
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
