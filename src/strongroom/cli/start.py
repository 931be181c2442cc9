"""What every start of a server does before and around its own part: settings, directory, lock, sockets, certificates.

So everything a person can have got wrong is one sentence before anything is forked. The supervisor holds no key.
"""

import contextlib
import os
import sys
import termios
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from socket import socket

from strongroom import config
from strongroom.cli import supervisor
from strongroom.config import Address, Settings
from strongroom.database.private_file import make_private_directory
from strongroom.edge import certificates, listener, unix_socket
from strongroom.edge.certificates import ServerContext
from strongroom.identity import root
from strongroom.observe import log
from strongroom.server.paths import StartError

METRICS_DIRECTORY = "run/metrics"
KMS_DIRECTORY = "kms"  # with a lock of its own: two key services never work on one root
_METRICS_BYTES = {"counter": 256 * 1024, "histogram": 512 * 1024}  # of one file: every operation's figures need less


_REFUSALS = (
    StartError,
    config.ConfigError,
    supervisor.DirectoryInUseError,
    listener.ListenError,
    unix_socket.UnixSocketError,
    certificates.CertificateError,
    root.RootCredentialsError,
    OSError,
)


def start(
    title: str,
    data_dir: Path,
    config_file: Path | None,
    flags: Mapping[str, object],
    run: Callable[[Path, Settings], int],
) -> int:
    """`run` a server in `data_dir`, which exists and is absolute then, and its exit code. Why it can't start is one sentence
    on standard error.
    """
    try:
        settings = config.load(data_dir, config_file, os.environ, flags)
        supervisor.show_as(title)
        supervisor.harden_process()
        supervisor.share_memory_between_threads()
        supervisor.block_signals()
        log.configure(style=settings.log_format, level=settings.log_level)
        data_dir = data_dir.resolve()
        _make_data_directory(data_dir)
        with terminal_kept():
            return run(data_dir, settings)
    except _REFUSALS as error:
        print(f"strongroom: {sentence(error)}", file=sys.stderr)
        return 1


def sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} can't be used: {error.strerror}."
    return str(error)


@contextlib.contextmanager
def terminal_kept() -> Iterator[None]:
    """Leave the terminal as it was: a process that is killed while it asks for a passphrase leaves it without an echo."""
    if not _has_terminal():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, termios.error):
            if _has_terminal():
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _has_terminal() -> bool:
    """In the background it is somebody else's: its mode is theirs, and touching it would stop us (SIGTTOU)."""
    try:
        return sys.stdin is not None and sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:  # of another session
        return False


def _make_data_directory(data_dir: Path) -> None:
    make_private_directory(data_dir)
    # An empty directory becomes ours. One that holds something may be shared on purpose (`doctor` tells), and a mounted
    # volume may belong to root.
    if not any(data_dir.iterdir()):
        with contextlib.suppress(PermissionError):
            data_dir.chmod(0o700)


@contextlib.contextmanager
def locked_kms(data_dir: Path) -> Iterator[None]:
    """Hold the lock of the key service in `data_dir`. Raises DirectoryInUseError."""
    make_private_directory(data_dir / KMS_DIRECTORY)
    with supervisor.locked_directory(data_dir / KMS_DIRECTORY):
        yield


def prepare_metrics(directory: Path, processes: Iterable[str]) -> None:
    """Empty files for the figures of this run's processes, by the names that prometheus_client gives them.

    They are there before they are needed, and are emptied rather than removed, because they are mapped: a page for which
    a full disk has no room would kill the process that counts (SIGBUS).
    """
    make_private_directory(directory)
    sizes = {
        f"{kind}_{process}.db": size for kind, size in _METRICS_BYTES.items() for process in ("supervisor", *processes)
    }
    for found in directory.iterdir():
        if found.name not in sizes:
            found.unlink()
    for name, size in sizes.items():
        fill_with_zeros(directory / name, size)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)


def fill_with_zeros(path: Path, size: int) -> None:
    try:
        with path.open("r+b" if path.exists() else "xb") as file:
            file.truncate(size)
            file.write(bytes(size))
    except OSError as error:
        raise StartError(f"{path} can't be written: {error.strerror}.") from error


def say(text: str) -> None:
    # A reader that went away, or a full disk, is no reason to stop serving. Unbuffered: what could not be written would
    # be tried again at each fork and at the end.
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), text.encode())


def open_listener(address: Address | None, flag: str) -> socket | None:
    return None if address is None else listener.open_socket(address.host, address.port, flag=flag)


def bound(opened: socket | None) -> Address | None:
    return None if opened is None else Address(*opened.getsockname()[:2])


def tls_context(data_dir: Path, settings: Settings, *addresses: Address | None) -> ServerContext | None:
    """None where none of `addresses` is to be served over TLS. Raises CertificateError."""
    if not any(addresses):
        return None
    if settings.tls_certificate is not None:
        return ServerContext(settings.tls_certificate, settings.tls_key)
    certificates.ensure_certificates(data_dir, _names(settings))
    return ServerContext(data_dir / certificates.SERVER_FILE)


def renew(data_dir: Path, settings: Settings, tls: ServerContext | None) -> None:
    """Renew what is ours to renew; workers see the new file, and one that is restarted inherits the context from
    here.
    """
    if tls is None:
        return
    if settings.tls_certificate is None:
        try:
            certificates.ensure_certificates(data_dir, _names(settings))
        except (OSError, certificates.CertificateError) as error:
            log.failure("The server certificate was not renewed", reason=str(error))
    tls.reload()


def _names(settings: Settings) -> tuple[str, ...]:
    hosts = [address.host for address in (settings.listen_tls, settings.kms_listen_tls) if address is not None]
    return certificates.names_to_certify(settings.domain, *hosts)
