"""The commands `strongroom key ...` as they are spelt; what they do is in `key.py`.

They ask the running KMS by its API. KEY is a key's id, its ARN, or an alias (`alias/NAME`).
"""

from functools import partial
from typing import Annotated

import typer

from strongroom.cli.options import ConfigFile, DataDir, Json

key_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="KMS keys. These commands ask the running KMS, with the credentials in DIR: its policies and its audit log apply.",
)
policy_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The policy of a key.")
key_app.add_typer(policy_app, name="policy")

Key = Annotated[str, typer.Argument(metavar="KEY", help="Id, ARN, alias/NAME or alias ARN.")]
Endpoint = Annotated[
    str | None,
    typer.Option("--endpoint-url", metavar="URL", help="Where the KMS answers; default: where the one of DIR does."),
]


@key_app.command()
def create(
    data_dir: DataDir,
    alias: Annotated[str | None, typer.Option(metavar="NAME", help="Also give it this alias.")] = None,
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    spec: Annotated[str, typer.Option(metavar="SPEC", help="As in AWS: RSA_2048, HMAC_256, ...")] = "SYMMETRIC_DEFAULT",
    usage: Annotated[str | None, typer.Option(metavar="USAGE", help="As in AWS; needed for other specs.")] = None,
    config: ConfigFile = None,
    endpoint_url: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Create a key."""
    from strongroom.cli import key, key_client  # noqa: PLC0415

    work = partial(key.create, alias=alias, description=description, spec=spec, usage=usage, as_json=as_json)
    raise typer.Exit(key_client.with_kms(data_dir, config, endpoint_url, work))


@key_app.command("list")
def list_(data_dir: DataDir, config: ConfigFile = None, endpoint_url: Endpoint = None, as_json: Json = False) -> None:
    """Show all keys. With --json each line is one."""
    from strongroom.cli import key, key_client  # noqa: PLC0415

    raise typer.Exit(key_client.with_kms(data_dir, config, endpoint_url, partial(key.list_keys, as_json=as_json)))


@key_app.command()
def describe(
    data_dir: DataDir, key_id: Key, config: ConfigFile = None, endpoint_url: Endpoint = None, as_json: Json = False
) -> None:
    """Show one key."""
    from strongroom.cli import key, key_client  # noqa: PLC0415

    work = partial(key.describe, key=key_id, as_json=as_json)
    raise typer.Exit(key_client.with_kms(data_dir, config, endpoint_url, work))


@key_app.command()
def rotate(
    data_dir: DataDir, key_id: Key, config: ConfigFile = None, endpoint_url: Endpoint = None, as_json: Json = False
) -> None:
    """Give a key new material, which everything is sealed under from now on. What was sealed before opens as before."""
    from strongroom.cli import key, key_client  # noqa: PLC0415

    work = partial(key.rotate, key=key_id, as_json=as_json)
    raise typer.Exit(key_client.with_kms(data_dir, config, endpoint_url, work))


@key_app.command()
def enable(data_dir: DataDir, key_id: Key, config: ConfigFile = None, endpoint_url: Endpoint = None) -> None:
    """Let a key be used."""
    from strongroom.cli import key, key_client  # noqa: PLC0415

    raise typer.Exit(key_client.with_kms(data_dir, config, endpoint_url, partial(key.enable, key=key_id)))


@key_app.command()
def disable(data_dir: DataDir, key_id: Key, config: ConfigFile = None, endpoint_url: Endpoint = None) -> None:
    """Let a key not be used until it is enabled again. What it seals can't be read meanwhile."""
    from strongroom.cli import key, key_client  # noqa: PLC0415

    raise typer.Exit(key_client.with_kms(data_dir, config, endpoint_url, partial(key.disable, key=key_id)))


@key_app.command()
def schedule_deletion(
    data_dir: DataDir,
    key_id: Key,
    days: Annotated[int, typer.Option(min=7, max=30, help="How long it can still be called back.")] = 30,
    config: ConfigFile = None,
    endpoint_url: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Delete a key after a waiting window, and for good everything that it seals. `key usage` tells what that is."""
    from strongroom.cli import key, key_client  # noqa: PLC0415

    work = partial(key.schedule_deletion, key=key_id, days=days, as_json=as_json)
    raise typer.Exit(key_client.with_kms(data_dir, config, endpoint_url, work))


@key_app.command()
def cancel_deletion(data_dir: DataDir, key_id: Key, config: ConfigFile = None, endpoint_url: Endpoint = None) -> None:
    """Call a key back that waits for its deletion. It stays disabled."""
    from strongroom.cli import key, key_client  # noqa: PLC0415

    raise typer.Exit(key_client.with_kms(data_dir, config, endpoint_url, partial(key.cancel_deletion, key=key_id)))


@key_app.command()
def usage(
    data_dir: DataDir, key_id: Key, config: ConfigFile = None, endpoint_url: Endpoint = None, as_json: Json = False
) -> None:
    """Count the objects and the bytes that hang on each material of a key, those under bucket keys included."""
    from strongroom.cli.key import usage as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, endpoint_url, key=key_id, as_json=as_json))


@policy_app.command("get")
def get_policy(data_dir: DataDir, key_id: Key, config: ConfigFile = None, endpoint_url: Endpoint = None) -> None:
    """Print a key's policy (JSON)."""
    from strongroom.cli import key, key_client  # noqa: PLC0415

    raise typer.Exit(key_client.with_kms(data_dir, config, endpoint_url, partial(key.get_policy, key=key_id)))


@policy_app.command("put")
def put_policy(
    data_dir: DataDir,
    key_id: Key,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The policy (JSON); - : from standard input.")],
    config: ConfigFile = None,
    endpoint_url: Endpoint = None,
) -> None:
    """Replace a key's policy."""
    from strongroom.cli import key, key_client  # noqa: PLC0415

    work = partial(key.put_policy, key=key_id, file=file)
    raise typer.Exit(key_client.with_kms(data_dir, config, endpoint_url, work))
