"""`strongroom kms`: the key service alone, under a supervisor of its own."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from strongroom.cli import supervisor
from strongroom.cli.start import (
    METRICS_DIRECTORY,
    bound,
    locked_kms,
    open_listener,
    prepare_metrics,
    renew,
    say,
    start,
    tls_context,
)
from strongroom.config import Settings
from strongroom.identity import root
from strongroom.server.paths import Paths


def serve_kms(data_dir: Path, config_file: Path | None, flags: Mapping[str, object]) -> int:
    """Run the key service in `data_dir` until it is told to stop; the exit code. Why it can't start is one sentence on
    standard error.
    """
    return start("strongroom kms", data_dir, config_file, flags, _serve)


def _serve(data_dir: Path, settings: Settings) -> int:
    with locked_kms(data_dir):
        prepare_metrics(data_dir / METRICS_DIRECTORY, ("kms",))
        from strongroom.cli import kms_worker  # noqa: PLC0415 - prometheus_client looks for its directory when imported
        from strongroom.observe import metrics  # noqa: PLC0415

        opened = kms_worker.listeners_of(
            data_dir, settings, flag="--listen", metrics=open_listener(settings.listen_metrics, "--listen-metrics")
        )
        with opened as listeners:
            root.load_root(data_dir, os.environ, settings.account_id)
            tls = tls_context(data_dir, settings, settings.kms_listen_tls)
            where = [
                f"{scheme}://{address}"
                for scheme, address in (("http", bound(listeners.plain)), ("https", bound(listeners.tls)))
                if address is not None
            ]
            told = f"Strongroom KMS is ready: {', '.join(where) or Paths(data_dir).kms_socket}\n"
            process = supervisor.Process(
                title=kms_worker.TITLE,
                work=partial(kms_worker.work, settings=settings, data_dir=data_dir, listeners=listeners, tls=tls),
            )
            return supervisor.Supervisor(
                stages=[[process]],
                on_stage=lambda _: None,
                on_ready=partial(say, told),
                on_stop=listeners.close,
                on_tick=partial(renew, data_dir, settings, tls),
                on_restart=metrics.count_worker_restart,
                shutdown_grace=settings.shutdown_grace,
            ).run()
