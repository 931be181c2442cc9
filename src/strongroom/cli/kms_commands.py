"""The commands below `strongroom kms` as they are spelt: unseal slots and the root key; what they do is in
`kms_admin.py` and `kms_restore.py`.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from strongroom.cli.options import ConfigFile, DataDir, Json

slot_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Unseal slots of the running KMS: each of them opens its root key at a start.",
)
SlotName = Annotated[str, typer.Argument(metavar="NAME", help="The slot.")]


@slot_app.command("list")
def list_(data_dir: DataDir, as_json: Json = False) -> None:
    """Show the slots."""
    from strongroom.cli.kms_admin import slot_list as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, as_json=as_json))


@slot_app.command()
def add(
    data_dir: DataDir,
    kind: Annotated[
        Literal["keyfile", "passphrase", "environment", "credential"],
        typer.Option(help="Where its key comes from."),
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="What the slot is called.")],
    path: Annotated[Path | None, typer.Option(metavar="FILE", help="Of a key file: where to make it.")] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Of environment and credential: the key (base64), where the service has it not yet."
        ),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The passphrase; default: asked for on the terminal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a slot."""
    from strongroom.cli.kms_admin import slot_add as run  # noqa: PLC0415

    raise typer.Exit(
        run(data_dir, kind, name, path=path, key_file=key_file, passphrase_file=passphrase_file, as_json=as_json)
    )


@slot_app.command()
def remove(data_dir: DataDir, name: SlotName, as_json: Json = False) -> None:
    """Remove a slot. Copies of kms.db made before still open with it, until the root key is rotated."""
    from strongroom.cli.kms_admin import slot_remove as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, name, as_json=as_json))


def rotate_root(
    data_dir: DataDir,
    passphrase_file: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="The passphrase of a slot; default: asked for on the terminal."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Give the running KMS a new root key and seal everything anew under it. Keys and ciphertexts stay what they are."""
    from strongroom.cli.kms_admin import rotate_root as run  # noqa: PLC0415

    files = {}
    for pair in passphrase_file or ():
        name, found, file = pair.partition("=")
        if not found:
            raise typer.BadParameter(f"{pair!r} is not NAME=FILE", param_hint="--passphrase-file")
        files[name] = Path(file)
    raise typer.Exit(run(data_dir, passphrase_files=files, as_json=as_json))


def accept_restore(data_dir: DataDir, config: ConfigFile = None, as_json: Json = False) -> None:
    """Let a KMS start again on an older copy of kms.db, or after its audit log was cut.

    Keys that were changed since the copy come back disabled, and the log says that this was accepted. The KMS must not
    be running.
    """
    from strongroom.cli.kms_restore import accept_restore as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, as_json=as_json))
