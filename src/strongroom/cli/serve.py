"""`strongroom serve`: the order in which a server starts.

Settings, then the directory and its lock, then sockets and certificates, so that everything a person can have got wrong
is one sentence before anything is forked. Keys and index are opened in children only: the supervisor never holds a key.
"""

import contextlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from strongroom import config
from strongroom.cli import supervisor
from strongroom.cli.banner import Facts, banner
from strongroom.config import Address, Settings
from strongroom.database.private_file import make_private_directory
from strongroom.edge import certificates, listener
from strongroom.edge.certificates import ServerContext
from strongroom.identity import root
from strongroom.observe import log

if TYPE_CHECKING:
    from strongroom.server import Proof

METRICS_DIRECTORY = "run/metrics"
_METRICS_BYTES = {"counter": 256 * 1024, "histogram": 512 * 1024}  # of one file: every operation's figures need less


class StartError(Exception):
    """The server can't start. The text is meant for people."""


_REFUSALS = (
    StartError,
    config.ConfigError,
    supervisor.DirectoryInUseError,
    listener.ListenError,
    certificates.CertificateError,
    root.RootCredentialsError,
    OSError,
)


def serve(data_dir: Path, config_file: Path | None, flags: Mapping[str, object]) -> int:
    """Run the server in `data_dir` until it is told to stop; the exit code. Why it can't start is one sentence on
    standard error.
    """
    try:
        settings = config.load(data_dir, config_file, os.environ, flags)
        supervisor.harden_process()
        supervisor.share_memory_between_threads()
        supervisor.block_signals()
        log.configure(style=settings.log_format, level=settings.log_level)
        data_dir = data_dir.resolve()
        _make_data_directory(data_dir)
        with supervisor.locked_directory(data_dir):
            _prepare_metrics(data_dir / METRICS_DIRECTORY, settings.workers)
            return _serve_locked(data_dir, settings)
    except _REFUSALS as error:
        print(f"strongroom: {_sentence(error)}", file=sys.stderr)
        return 1


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} can't be used: {error.strerror}."
    return str(error)


def _make_data_directory(data_dir: Path) -> None:
    make_private_directory(data_dir)
    # An empty directory becomes ours. One that holds something may be shared on purpose (`doctor` tells), and a mounted
    # volume may belong to root.
    if not any(data_dir.iterdir()):
        with contextlib.suppress(PermissionError):
            data_dir.chmod(0o700)


def _serve_locked(data_dir: Path, settings: Settings) -> int:
    # Only now: prometheus_client looks for its directory when it is imported. Before any fork: workers share what is
    # loaded.
    from strongroom.cli import worker  # noqa: PLC0415
    from strongroom.observe import metrics  # noqa: PLC0415

    listeners = worker.Listeners(
        plain=_open(settings.listen, "--listen"),
        tls=_open(settings.listen_tls, "--listen-tls"),
        metrics=_open(settings.listen_metrics, "--listen-metrics"),
    )
    root.load_root(data_dir, os.environ, settings.account_id)
    tls = _tls_context(data_dir, settings)
    proof = _prepare(data_dir, settings)
    facts = Facts(
        version=importlib.metadata.version("strongroom"),
        region=settings.region,
        workers=settings.workers,
        data_dir=data_dir,
        keys=_where_the_key_is(data_dir, settings),
        credentials=None if os.environ.get(root.ID_VARIABLE) else data_dir / root.FILE_NAME,
        plain=_bound(listeners.plain),
        tls=_bound(listeners.tls),
        tls_is_private=settings.tls_certificate is None,
        metrics=_bound(listeners.metrics),
        proof=proof,
    )
    return supervisor.Supervisor(
        workers=settings.workers,
        work=partial(worker.work, settings=settings, data_dir=data_dir, listeners=listeners, tls=tls),
        on_ready=partial(_say, banner(facts) + "\n"),
        on_stop=listeners.close,
        on_tick=partial(_renew, data_dir, settings, tls),
        on_restart=metrics.count_worker_restart,
        shutdown_grace=settings.shutdown_grace,
    ).run()


def _prepare_metrics(directory: Path, workers: int) -> None:
    """Empty files for the figures of this run's processes, by the names that prometheus_client gives them.

    They are there before they are needed, and are emptied rather than removed, because they are mapped: a page for which
    a full disk has no room would kill the process that counts (SIGBUS).
    """
    make_private_directory(directory)
    processes = ("supervisor", "prepare", *(f"worker-{number}" for number in range(workers)))
    sizes = {f"{kind}_{process}.db": size for kind, size in _METRICS_BYTES.items() for process in processes}
    for found in directory.iterdir():
        if found.name not in sizes:
            found.unlink()
    for name, size in sizes.items():
        _fill_with_zeros(directory / name, size)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)


def _fill_with_zeros(path: Path, size: int) -> None:
    try:
        with path.open("r+b" if path.exists() else "xb") as file:
            file.truncate(size)
            file.write(bytes(size))
    except OSError as error:
        raise StartError(f"{path} can't be written: {error.strerror}.") from error


def _say(text: str) -> None:
    # A reader that went away, or a full disk, is no reason to stop serving. Unbuffered: what could not be written would
    # be tried again at each fork and at the end.
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), text.encode())


def _open(address: Address | None, flag: str) -> socket | None:
    return None if address is None else listener.open_socket(address.host, address.port, flag=flag)


def _bound(opened: socket | None) -> Address | None:
    return None if opened is None else Address(*opened.getsockname()[:2])


def _tls_context(data_dir: Path, settings: Settings) -> ServerContext | None:
    if settings.listen_tls is None:
        return None
    if settings.tls_certificate is not None:
        return ServerContext(settings.tls_certificate, settings.tls_key)
    certificates.ensure_certificates(data_dir, _names(settings))
    return ServerContext(data_dir / certificates.SERVER_FILE)


def _renew(data_dir: Path, settings: Settings, tls: ServerContext | None) -> None:
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
    return certificates.names_to_certify(settings.domain, settings.listen_tls.host if settings.listen_tls else "")


def _prepare(data_dir: Path, settings: Settings) -> "Proof | None":
    """Make or open the store, and prove that it encrypts, or None where the disk is too full for a proof. Raises
    StartError.
    """
    from strongroom import server  # noqa: PLC0415
    from strongroom.observe import metrics  # noqa: PLC0415

    def work() -> bytes:
        metrics.become("prepare")
        log.configure(style=settings.log_format, level="warning")  # the proof's requests are nobody's
        try:
            server.initialise(data_dir, settings)
            proof = server.prove(settings, data_dir)
        except (server.StartError, OSError) as error:
            return json.dumps({"failure": _sentence(error)}).encode()
        return json.dumps({"proof": proof and asdict(proof)}).encode()

    answer = supervisor.run_in_child(work)
    for figures in (data_dir / METRICS_DIRECTORY).glob("*_prepare.db"):
        _fill_with_zeros(figures, figures.stat().st_size)
    if answer is None:
        raise StartError("The store could not be opened; the lines above say why.")
    told = json.loads(answer)
    if "failure" in told:
        raise StartError(told["failure"])
    return server.Proof(**told["proof"]) if told["proof"] else None


def _where_the_key_is(data_dir: Path, settings: Settings) -> str:
    from strongroom import server  # noqa: PLC0415

    match settings.store_key_source:
        case "keyfile" | "kms":
            return str(server.Paths(data_dir).keys)
        case "environment":
            return "the environment variable STRONGROOM_STORE_KEY"
        case "credential":
            return "the systemd credential strongroom-store-key"
