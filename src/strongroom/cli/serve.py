"""`strongroom serve`: the key service and the S3 workers, in this order, under one supervisor.

Keys and index are opened in children only: the supervisor never holds a key. S3 is ready only once the key service
answers; after that each of them lives for itself.
"""

import importlib.metadata
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.cli import supervisor
from strongroom.cli.banner import Facts, banner
from strongroom.cli.start import (
    METRICS_DIRECTORY,
    bound,
    fill_with_zeros,
    locked_kms,
    open_listener,
    prepare_metrics,
    renew,
    say,
    sentence,
    start,
    tls_context,
)
from strongroom.config import Settings
from strongroom.identity import root
from strongroom.observe import log
from strongroom.server.paths import Paths, StartError

if TYPE_CHECKING:
    from strongroom.cli import kms_worker, s3_worker
    from strongroom.server.proof import Proof


_SECRETS_OF_THE_KMS = ("STRONGROOM_KMS_ROOT_KEY", "STRONGROOM_KMS_PASSPHRASE")


def serve(data_dir: Path, config_file: Path | None, flags: Mapping[str, object]) -> int:
    """Run the server in `data_dir` until it is told to stop; the exit code. Why it can't start is one sentence on
    standard error.
    """
    return start("strongroom serve", data_dir, config_file, flags, _serve)


def _serve(data_dir: Path, settings: Settings) -> int:
    with supervisor.locked_directory(data_dir), locked_kms(data_dir):
        workers = (f"worker-{number}" for number in range(settings.workers))
        prepare_metrics(data_dir / METRICS_DIRECTORY, ("prepare", "kms", *workers))
        return _serve_locked(data_dir, settings)


def _serve_locked(data_dir: Path, settings: Settings) -> int:
    # Only now: prometheus_client looks for its directory when it is imported. Before any fork: processes share what is
    # loaded.
    from strongroom.cli import kms_worker, s3_worker  # noqa: PLC0415

    listeners = s3_worker.Listeners(
        plain=open_listener(settings.listen, "--listen"),
        tls=open_listener(settings.listen_tls, "--listen-tls"),
        metrics=open_listener(settings.listen_metrics, "--listen-metrics"),
    )
    with kms_worker.listeners_of(data_dir, settings, flag="--kms-listen") as kms_listeners:
        return _supervise(data_dir, settings, listeners, kms_listeners)


def _supervise(
    data_dir: Path, settings: Settings, listeners: "s3_worker.Listeners", kms_listeners: "kms_worker.KmsListeners"
) -> int:
    from strongroom.cli import kms_worker, s3_worker  # noqa: PLC0415
    from strongroom.observe import metrics  # noqa: PLC0415

    root.load_root(data_dir, os.environ, settings.account_id)
    tls = tls_context(data_dir, settings, settings.listen_tls, settings.kms_listen_tls)
    proofs: list[Proof | None] = []

    def prepare(stage: int) -> None:
        """The store is made and opened when the key service answers: it may have to open the store key."""
        if stage == 1:
            proofs.append(_prepare(data_dir, settings))

    def announce() -> None:
        facts = Facts(
            version=importlib.metadata.version("strongroom"),
            region=settings.region,
            workers=settings.workers,
            data_dir=data_dir,
            keys=_where_keys_are(data_dir, settings),
            credentials=None if os.environ.get(root.ID_VARIABLE) else data_dir / root.FILE_NAME,
            plain=bound(listeners.plain),
            tls=bound(listeners.tls),
            tls_is_private=settings.tls_certificate is None,
            metrics=bound(listeners.metrics),
            kms=bound(kms_listeners.plain),
            kms_tls=bound(kms_listeners.tls),
            proof=proofs[0],
        )
        say(banner(facts) + "\n")

    # A process keeps no socket of the other service: S3 must not be able to pose as the KMS, and a socket that is closed
    # shall be closed.
    def serve_kms() -> None:
        listeners.close()
        kms_worker.work(settings=settings, data_dir=data_dir, listeners=kms_listeners, tls=tls)

    def serve_s3(number: int) -> None:
        kms_listeners.close()
        for name in _SECRETS_OF_THE_KMS:
            os.environ.pop(name, None)
        s3_worker.work(number, settings=settings, data_dir=data_dir, listeners=listeners, tls=tls)

    def close_listeners() -> None:
        listeners.close()
        kms_listeners.close()

    return supervisor.Supervisor(
        stages=[
            [supervisor.Process(title=kms_worker.TITLE, work=serve_kms)],
            [
                supervisor.Process(title=s3_worker.TITLE, number=number, work=partial(serve_s3, number))
                for number in range(settings.workers)
            ],
        ],
        on_stage=prepare,
        on_ready=announce,
        on_stop=close_listeners,
        on_tick=partial(renew, data_dir, settings, tls),
        on_restart=metrics.count_worker_restart,
        shutdown_grace=settings.shutdown_grace,
    ).run()


def _prepare(data_dir: Path, settings: Settings) -> "Proof | None":
    """Make or open the store, and prove that it encrypts, or None where the disk is too full for a proof. Raises
    StartError.
    """
    from strongroom.observe import metrics  # noqa: PLC0415
    from strongroom.server.proof import Proof, prove  # noqa: PLC0415
    from strongroom.server.store import initialise  # noqa: PLC0415

    def work() -> bytes:
        metrics.become("prepare")
        log.configure(style=settings.log_format, level="warning")  # the proof's requests are nobody's
        try:
            initialise(data_dir, settings)
            proof = prove(settings, data_dir)
        except (StartError, OSError) as error:
            return json.dumps({"failure": sentence(error)}).encode()
        return json.dumps({"proof": proof and asdict(proof)}).encode()

    answer = supervisor.run_in_child(work)
    for figures in (data_dir / METRICS_DIRECTORY).glob("*_prepare.db"):
        fill_with_zeros(figures, figures.stat().st_size)
    if answer is None:
        raise StartError("The store could not be opened; the lines above say why.")
    told = json.loads(answer)
    if "failure" in told:
        raise StartError(told["failure"])
    return Proof(**told["proof"]) if told["proof"] else None


def _where_keys_are(data_dir: Path, settings: Settings) -> str:
    """Of the store, of the key service where a file opens it, and of the users."""
    from strongroom.kms.slots import KEY_FILE  # noqa: PLC0415

    paths = Paths(data_dir)
    match settings.store_key_source:
        case "keyfile" | "kms":
            store = str(paths.keys)
        case "environment":
            store = "the environment variable STRONGROOM_STORE_KEY"
        case "credential":
            store = "the systemd credential strongroom-store-key"
    files = [path for path in (paths.kms / KEY_FILE, paths.identity.key) if path.exists()]
    return ", ".join([store, *map(str, files)])
