"""The command line. Each command is a module of its own, imported only when it is asked for, so that `--help` is quick.

What goes wrong is one sentence on standard error, without a traceback. Exit codes: 0 done, 1 it could not be done, 2
wrong usage; commands that judge a store say more in their help.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.command import open_closed_streams, told
from strongroom.cli.key_commands import key_app
from strongroom.cli.kms_commands import accept_restore, rotate_root, slot_app
from strongroom.cli.options import ConfigFile, DataDir, Json
from strongroom.cli.user_commands import access_key_app, user_app

app = typer.Typer(
    name="strongroom",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: one line an error, paragraphs that reflow
    help="An S3-compatible object store that encrypts everything it stores.",
)

app.add_typer(user_app, name="user")
app.add_typer(access_key_app, name="access-key")
kms = typer.Typer(rich_markup_mode=None, no_args_is_help=False)
app.add_typer(kms, name="kms")
kms.add_typer(slot_app, name="slot")
kms.command()(rotate_root)
kms.command()(accept_restore)
app.add_typer(key_app, name="key")


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
    kms_listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="KMS over HTTP, loopback only; default 127.0.0.1:9001.")
    ] = None,
    kms_listen_tls: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="KMS over TLS; default off.")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Processes; default one a processor.")] = None,
) -> None:
    """Start the server: S3, and the KMS that holds its keys.

    An empty or missing DIR becomes a store, with keys, certificates and root credentials of its own. One server works
    on a DIR at a time.
    """
    from strongroom.cli.serve import serve as run  # noqa: PLC0415

    flags = {
        "listen": listen,
        "listen_tls": listen_tls,
        "listen_metrics": listen_metrics,
        "kms_listen": kms_listen,
        "kms_listen_tls": kms_listen_tls,
        "workers": workers,
    }
    raise typer.Exit(run(data_dir, config, flags))


@kms.callback(invoke_without_command=True)
def serve_kms(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", metavar="DIR", envvar="STRONGROOM_DATA_DIR", help="The directory that holds its keys."
        ),
    ] = None,
    config: ConfigFile = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen", "--kms-listen", metavar="HOST:PORT", help="HTTP, loopback only; default 127.0.0.1:9001."
        ),
    ] = None,
    listen_tls: Annotated[
        str | None, typer.Option("--listen-tls", "--kms-listen-tls", metavar="HOST:PORT", help="TLS; default off.")
    ] = None,
    listen_metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Prometheus metrics; default 127.0.0.1:9002.")
    ] = None,
) -> None:
    """Start the KMS alone, without S3 (`strongroom serve` starts both).

    An empty or missing DIR gets a root key and root credentials of its own. One KMS works on a DIR at a time.
    """
    if context.invoked_subcommand is not None:
        return
    if data_dir is None:
        raise typer.BadParameter("the directory has to be named", param_hint="--data-dir")
    from strongroom.cli.kms import serve_kms as run  # noqa: PLC0415

    flags = {"kms_listen": listen, "kms_listen_tls": listen_tls, "listen_metrics": listen_metrics}
    raise typer.Exit(run(data_dir, config, flags))


@app.command(short_help="Check this machine and this store.")
def doctor(
    data_dir: DataDir,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Check permissions, keys, clock, disk, certificate and settings, and say what to do. Works beside a running server.

    Exit code 0: no problem; 1: problems; 2: there is nothing to check.
    """
    from strongroom.cli.doctor import doctor as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, as_json=as_json))


@app.command()
def verify(
    data_dir: DataDir,
    config: ConfigFile = None,
    bucket: Annotated[str | None, typer.Option(metavar="NAME", help="Only this bucket.")] = None,
    as_json: Json = False,
) -> None:
    """Read and authenticate every object and every row. Works beside a running server.

    Each damage is one line that names bucket, key, version and part. Objects under SSE-C are checked without their key
    and counted apart. With --json each line is a JSON value, and the last one sums up.

    Exit code 0: sound; 1: damage; 2: it could not be found out.
    """
    from strongroom.cli.verify import verify as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, bucket=bucket, as_json=as_json))


@app.command(short_help="Remove what belongs to no object.")
def gc(
    data_dir: DataDir,
    config: ConfigFile = None,
    older_than: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Let younger blobs alone; an upload may be under way.")
    ] = 3600.0,
    as_json: Json = False,
) -> None:
    """Remove what belongs to no object, as the server does once a day. Works beside a running server.

    Blobs without an object are deleted after the setting deletion_grace, by the server or by the next gc.
    """
    from strongroom.cli.gc import gc as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, older_than=older_than, as_json=as_json))


@app.command()
def backup(
    data_dir: DataDir,
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="A directory that is empty or missing.")],
    config: ConfigFile = None,
    with_keys: Annotated[
        bool,
        typer.Option(
            "--with-keys",
            help="Also the store key, key files of the KMS, the identity key, the root credentials and the CA.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy the store as it is at one moment to DEST. Works beside a running server.

    A server starts on DEST as it stands, once its keys are there. Meanwhile nothing is deleted from the disk.
    """
    from strongroom.cli.backup import backup as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, destination, with_keys=with_keys, as_json=as_json))


@app.command(short_help="Bring a new store key into force.")
def rotate_store_key(
    data_dir: DataDir,
    config: ConfigFile = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="kms|keyfile", help="Where the new key comes from; default: as the setting store_key_source says."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a new store key into force and retire the old one. Works beside a running server.

    With --to it moves the store: to a key that the KMS made and sealed, which has to be running at each start then, or
    back to a key file. Change the setting store_key_source as well.

    Every bucket gets a fresh secret as well, so that the old key opens nothing that is written from then on. Backups
    made before still need the old key: keep a copy of it for as long as you keep them.
    """
    from strongroom.cli.rotate import rotate_store as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, to=to, yes=yes, as_json=as_json))


@app.command(short_help="Give buckets fresh secrets.")
def rotate_bucket_secrets(
    data_dir: DataDir,
    config: ConfigFile = None,
    bucket: Annotated[str | None, typer.Option(metavar="NAME", help="Only this bucket.")] = None,
    as_json: Json = False,
) -> None:
    """Seal what is written from now on under fresh bucket secrets. Works beside a running server."""
    from strongroom.cli.rotate import rotate_secrets as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, bucket=bucket, as_json=as_json))


audit = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(audit, name="audit", help="Ask and verify the record of every use of a key.")


@audit.command(name="verify", short_help="Is the audit log complete?")
def audit_verify(
    data_dir: DataDir,
    public_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="What `audit key` printed once; default DIR/audit/public-key."),
    ] = None,
    first: Annotated[
        int, typer.Option("--from", metavar="N", min=1, help="The first record, if older files were moved away.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Check every record of the audit log, their order, and the signed checkpoints. Works beside a running server.

    Says up to which record the log is proved complete, and names the first record that is bad or missing. With --json
    each line is a JSON value, and the last one sums up.

    Exit code 0: sound; 1: damage; 2: it could not be found out, or no checkpoint proves it.
    """
    from strongroom.cli.audit import verify as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, public_key=public_key, first=first, as_json=as_json))


@audit.command(name="show", short_help="Who used which key, for which data, when?")
def audit_show(
    data_dir: DataDir,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Only uses of this key: an id, an ARN, or an alias as it was named."),
    ] = None,
    object: Annotated[
        str | None, typer.Option(metavar="BUCKET/KEY", help="Only for this object, or its bucket's bucket key.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="2026-01-02T03:04:05Z, or how long ago: 2h, 7d.")
    ] = None,
    principal: Annotated[
        str | None, typer.Option(metavar="WHO", help="A part of an ARN, a user name, an access key id.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only what failed or was denied.")] = False,
    as_json: Json = False,
) -> None:
    """Show the events of the audit log, oldest first. Works beside a running server.

    An object under a bucket key shows as "bucket key": such a use was for the bucket, and may have served any object in
    it. With --json each line is a JSON object.
    """
    from strongroom.cli.audit import show_events as run  # noqa: PLC0415

    shown = run(data_dir, key=key, object=object, since=since, principal=principal, errors_only=errors, as_json=as_json)
    raise typer.Exit(shown)


@audit.command(name="key")
def audit_key(data_dir: DataDir) -> None:
    """Print the public key that verifies the audit log. Keep it where the server can't change it."""
    from strongroom.cli.audit import public_key as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir))


@app.command()
def version() -> None:
    """Say which version this is."""
    from importlib.metadata import version as installed  # noqa: PLC0415

    print(installed("strongroom"))


def main() -> None:
    """The `strongroom` program."""
    open_closed_streams()
    sys.exit(told(app, failed=1))  # also where a help text can't be written
