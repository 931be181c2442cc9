"""The commands `strongroom user ...` and `strongroom access-key ...` as they are spelt; what they do is in `user.py`."""

from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.options import ConfigFile, DataDir, Json

user_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Users, and what they may do. All of it works beside a running server, which follows at once.",
)
policy_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="A user's policies: IAM policy documents that allow or deny."
)
access_key_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Access keys, which users sign their requests with. A running server follows at once.",
)
user_app.add_typer(policy_app, name="policy")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The user.")]
PolicyName = Annotated[str, typer.Argument(metavar="POLICYNAME", help="The policy's name, the user's own.")]
AccessKeyId = Annotated[str, typer.Argument(metavar="ID", help="The access key's id.")]


@user_app.command()
def create(data_dir: DataDir, name: Name, config: ConfigFile = None, as_json: Json = False) -> None:
    """Create a user, who may do nothing until a policy allows it."""
    from strongroom.cli.user import create_user as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, name, as_json=as_json))


@user_app.command("list")
def list_(data_dir: DataDir, config: ConfigFile = None, as_json: Json = False) -> None:
    """Show the users, their policies and their access keys.

    Exit code 1: rows of users are damaged, and those users are refused.
    """
    from strongroom.cli.user import list_users as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, as_json=as_json))


@user_app.command()
def delete(
    data_dir: DataDir,
    name: Name,
    config: ConfigFile = None,
    force: Annotated[
        bool, typer.Option("--force", help="With all access keys; and a user whose row is damaged.")
    ] = False,
) -> None:
    """Delete a user and its policies."""
    from strongroom.cli.user import delete_user as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, name, force=force))


@policy_app.command("put")
def put_policy(
    data_dir: DataDir,
    name: Name,
    policy_name: PolicyName,
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="The policy (JSON); - or nothing: from standard input.")
    ] = "-",
    config: ConfigFile = None,
) -> None:
    """Attach a policy to a user, in place of the one of that name."""
    from strongroom.cli.user import put_policy as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, name, policy_name, file))


@policy_app.command("get")
def get_policy(data_dir: DataDir, name: Name, policy_name: PolicyName, config: ConfigFile = None) -> None:
    """Print a policy as it was put."""
    from strongroom.cli.user import get_policy as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, name, policy_name))


@policy_app.command("list")
def list_policies(data_dir: DataDir, name: Name, config: ConfigFile = None, as_json: Json = False) -> None:
    """Show which policies a user has."""
    from strongroom.cli.user import list_policies as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, name, as_json=as_json))


@policy_app.command("delete")
def delete_policy(data_dir: DataDir, name: Name, policy_name: PolicyName, config: ConfigFile = None) -> None:
    """Take a policy from a user."""
    from strongroom.cli.user import delete_policy as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, name, policy_name))


@access_key_app.command("create")
def create_access_key(
    data_dir: DataDir,
    name: Name,
    config: ConfigFile = None,
    profile_file: Annotated[
        Path | None,
        typer.Option(
            "--profile-file",
            metavar="FILE",
            help="Append the key as a profile to this AWS shared-credentials file, and print no secret.",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="PROFILE", help="The profile's name; default NAME.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create an access key for a user. Its secret is shown now and never again."""
    from strongroom.cli.user import create_access_key as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, name, profile_file=profile_file, profile=profile or name, as_json=as_json))


@access_key_app.command("list")
def list_access_keys(
    data_dir: DataDir,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this user's.")] = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show access keys, without their secrets."""
    from strongroom.cli.user import list_access_keys as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, name, as_json=as_json))


@access_key_app.command("deactivate")
def deactivate(data_dir: DataDir, access_key_id: AccessKeyId, config: ConfigFile = None) -> None:
    """Refuse an access key from the very next request on, until it is activated again."""
    from strongroom.cli.user import set_access_key_active as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, access_key_id, active=False))


@access_key_app.command("activate")
def activate(data_dir: DataDir, access_key_id: AccessKeyId, config: ConfigFile = None) -> None:
    """Accept an access key again."""
    from strongroom.cli.user import set_access_key_active as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, access_key_id, active=True))


@access_key_app.command("delete")
def delete_access_key(data_dir: DataDir, access_key_id: AccessKeyId, config: ConfigFile = None) -> None:
    """Delete an access key for good."""
    from strongroom.cli.user import delete_access_key as run  # noqa: PLC0415

    raise typer.Exit(run(data_dir, config, access_key_id))
