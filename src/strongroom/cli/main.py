"""The command line. Each command is a module of its own, imported only when it is asked for, so that `--help` is quick.

What goes wrong is one sentence on standard error, without a traceback. Exit codes: 0 done, 1 it could not be done, 2
wrong usage; commands that judge a store say more in their help.
"""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="strongroom",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An S3-compatible object store that encrypts everything it stores.",
)

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", metavar="DIR", envvar="STRONGROOM_DATA_DIR", help="The directory that holds the store."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings (TOML); default DIR/strongroom.toml.")
]


@app.command()
def serve(
    data_dir: DataDir,
    config: ConfigFile = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="S3 over HTTP; default 127.0.0.1:9000.")
    ] = None,
    listen_tls: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="S3 over TLS; default 127.0.0.1:9443.")
    ] = None,
    listen_metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Prometheus metrics; default 127.0.0.1:9002.")
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Processes; default one a processor.")] = None,
) -> None:
    """Start the server.

    An empty or missing DIR becomes a store, with keys, certificates and root credentials of its own. One server works
    on a DIR at a time.
    """
    from strongroom.cli.serve import serve as run  # noqa: PLC0415

    flags = {"listen": listen, "listen_tls": listen_tls, "listen_metrics": listen_metrics, "workers": workers}
    raise typer.Exit(run(data_dir, config, flags))


@app.command()
def doctor(
    data_dir: DataDir,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Check permissions, clock, disk, certificate and settings, and say what to do. Works beside a running server.

    Exit code 0: no problem; 1: problems; 2: there is nothing to check.
    """
    from strongroom.cli.doctor import doctor as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, as_json=as_json))


@app.command()
def version() -> None:
    """Say which version this is."""
    from importlib.metadata import version as installed  # noqa: PLC0415

    print(installed("strongroom"))


def main() -> None:
    """The `strongroom` program."""
    app()
