"""`strongroom user` and `strongroom access-key`: the people who may use the store, straight into the identity store.

They write beside running servers, which ask the database before each request whether anything changed. A secret is
printed once, when it is made, or goes into a credentials file instead; nothing else here ever has one.
"""

import asyncio
import configparser
import io
import json
import os
import re
import stat
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from strongroom import config
from strongroom.cli.command import CommandError
from strongroom.cli.policy_file import read_policy
from strongroom.cli.store_command import require_owner, run
from strongroom.cli.tables import print_table
from strongroom.database.private_file import write_private
from strongroom.identity.files import open_identity_store
from strongroom.identity.records import AccessKey, User
from strongroom.identity.root import Credentials
from strongroom.identity.users import Users, no_such_policy
from strongroom.server.paths import Paths

_PROFILE = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_NO_PROFILES = "{} is no AWS shared-credentials file"


def create_user(data_dir: Path, config_file: Path | None, name: str, *, as_json: bool) -> int:
    async def create(users: Users) -> int:
        user = await users.create(name)
        if as_json:
            _print_json(_user_fields(user))
        else:
            print(f"{user.arn} is created. It may do nothing yet: give it a policy and an access key.")
        return 0

    return _on_users(data_dir, config_file, create)


def list_users(data_dir: Path, config_file: Path | None, *, as_json: bool) -> int:
    """1 where users are damaged."""

    async def show(users: Users) -> int:
        survey = await users.survey()
        if as_json:
            _print_json(*(_user_fields(user) for user in survey.users))
        else:
            _print_table(
                ("user", "created", "policies", "access keys"),
                [
                    (
                        user.name,
                        _time(user.created_us),
                        ", ".join(each.name for each in user.policies) or "none",
                        ", ".join(
                            f"{key.access_key_id}{'' if key.active else ' (inactive)'}" for key in user.access_keys
                        )
                        or "none",
                    )
                    for user in survey.users
                ],
                empty="There are no users, only the root user.",
            )
        for name in survey.damaged:
            print(
                f"strongroom: the row of the user {name} is damaged, and its requests are refused:"
                f" restore it from a backup, or `strongroom user delete {name} --force`",
                file=sys.stderr,
            )
        return 1 if survey.damaged else 0

    return _on_users(data_dir, config_file, show)


def delete_user(data_dir: Path, config_file: Path | None, name: str, *, force: bool) -> int:
    async def delete(users: Users) -> int:
        await (users.remove(name) if force else users.delete(name))
        print(f"The user {name} is deleted.")
        return 0

    return _on_users(data_dir, config_file, delete)


# --- policies


def put_policy(data_dir: Path, config_file: Path | None, name: str, policy_name: str, file: str) -> int:
    async def put(users: Users) -> int:
        user = await users.put_policy(name, policy_name, read_policy(file))
        print(f"{user.name} has the policy {policy_name} now.")
        return 0

    return _on_users(data_dir, config_file, put)


def get_policy(data_dir: Path, config_file: Path | None, name: str, policy_name: str) -> int:
    async def show(users: Users) -> int:
        user = await users.get(name)
        policy = user.policy(policy_name)
        if policy is None:
            raise no_such_policy(user, policy_name)
        print(policy.document, end="" if policy.document.endswith("\n") else "\n")
        return 0

    return _on_users(data_dir, config_file, show)


def list_policies(data_dir: Path, config_file: Path | None, name: str, *, as_json: bool) -> int:
    async def show(users: Users) -> int:
        user = await users.get(name)
        if as_json:
            _print_json(*({"PolicyName": each.name, "UpdateDate": _time(each.updated_us)} for each in user.policies))
        else:
            _print_table(
                ("policy", "put", "characters"),
                [(each.name, _time(each.updated_us), f"{len(each.document):,}") for each in user.policies],
                empty=f"{user.name} has no policies, and may do nothing.",
            )
        return 0

    return _on_users(data_dir, config_file, show)


def delete_policy(data_dir: Path, config_file: Path | None, name: str, policy_name: str) -> int:
    async def delete(users: Users) -> int:
        user = await users.delete_policy(name, policy_name)
        print(f"{user.name} does not have the policy {policy_name} any more.")
        return 0

    return _on_users(data_dir, config_file, delete)


# --- access keys


def create_access_key(
    data_dir: Path, config_file: Path | None, name: str, *, profile_file: Path | None, profile: str, as_json: bool
) -> int:
    async def create(users: Users) -> int:
        text = _profiles(profile_file, profile) if profile_file else ""  # refused before a key is made
        made = await users.create_access_key(name)
        if profile_file:
            try:
                write_private(profile_file, (text + _section(profile, made)).encode())
            except OSError:
                await users.delete_access_key(made.access_key_id)  # nobody will ever know its secret
                raise
        if as_json:
            secret = {} if profile_file else {"SecretAccessKey": made.secret_access_key}
            _print_json({"UserName": name, "AccessKeyId": made.access_key_id, **secret})
        elif profile_file:
            print(f"The access key {made.access_key_id} of {name} is the profile [{profile}] in {profile_file}.")
        else:
            print(f"access key id      {made.access_key_id}")
            print(f"secret access key  {made.secret_access_key}")
            print("The secret is shown only now. Keep it as you keep a password.")
        return 0

    return _on_users(data_dir, config_file, create)


def list_access_keys(data_dir: Path, config_file: Path | None, name: str | None, *, as_json: bool) -> int:
    async def show(users: Users) -> int:
        found: Iterable[User] = (await users.survey()).users if name is None else [await users.get(name)]
        keys = [(user, key) for user in found for key in user.access_keys]
        if as_json:
            _print_json(*({"UserName": user.name, **_access_key_fields(key)} for user, key in keys))
        else:
            _print_table(
                ("access key id", "user", "status", "created"),
                [
                    (key.access_key_id, user.name, "active" if key.active else "inactive", _time(key.created_us))
                    for user, key in keys
                ],
                empty="There are no access keys of users.",
            )
        return 0

    return _on_users(data_dir, config_file, show)


def set_access_key_active(data_dir: Path, config_file: Path | None, access_key_id: str, *, active: bool) -> int:
    async def change(users: Users) -> int:
        user = await users.set_access_key_active(access_key_id, active=active)
        print(f"The access key {access_key_id} of {user.name} is {'active' if active else 'inactive'} now.")
        return 0

    return _on_users(data_dir, config_file, change)


def delete_access_key(data_dir: Path, config_file: Path | None, access_key_id: str) -> int:
    async def delete(users: Users) -> int:
        user = await users.delete_access_key(access_key_id)
        print(f"The access key {access_key_id} of {user.name} is deleted.")
        return 0

    return _on_users(data_dir, config_file, delete)


def _profiles(path: Path, profile: str) -> str:
    """What stands in a credentials file, to be appended to; "" where there is none yet. Raises CommandError where it is no
    such file, has the profile or can't be made.
    """
    if _PROFILE.fullmatch(profile) is None or profile == configparser.DEFAULTSECT:
        raise CommandError(f"{profile!r} can't be a profile's name: use letters, digits, _ + = , . @ -")
    try:
        if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
            raise CommandError(f"{path} can be used by others: run `chmod 600 {path}`")
        text = path.read_text("utf-8")
    except FileNotFoundError:
        if not path.absolute().parent.is_dir():
            raise CommandError(f"there is no directory {path.parent}") from None
        text = ""
    except UnicodeDecodeError:
        raise CommandError(_NO_PROFILES.format(path)) from None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error:
        raise CommandError(_NO_PROFILES.format(path)) from None
    if parser.has_section(profile):
        raise CommandError(f"{path} has a profile [{profile}] already: choose another one with --profile")
    return f"{text}\n" if text and not text.endswith("\n\n") else text


def _section(profile: str, made: Credentials) -> str:
    text = io.StringIO()
    text.write(f"[{profile}]\n")
    text.write(f"aws_access_key_id = {made.access_key_id}\n")
    text.write(f"aws_secret_access_key = {made.secret_access_key}\n")
    return text.getvalue()


# --- what they share


def _on_users(data_dir: Path, config_file: Path | None, work: Callable[[Users], Awaitable[int]]) -> int:
    async def opened() -> int:
        files = Paths(data_dir).identity
        if files.is_there():
            require_owner(data_dir, files.database)
        settings = config.load(data_dir, config_file)
        store = await open_identity_store(files)
        try:
            return await work(
                Users(
                    store.database,
                    store.sealing,
                    account_id=settings.account_id,
                    now_us=lambda: time.time_ns() // 1000,
                )
            )
        finally:
            await store.database.close()

    return run(lambda: asyncio.run(opened()))


def _user_fields(user: User) -> dict[str, Any]:
    """In IAM's names."""
    return {
        "UserName": user.name,
        "UserId": user.user_id,
        "Arn": user.arn,
        "CreateDate": _time(user.created_us),
        "PolicyNames": [each.name for each in user.policies],
        "AccessKeys": [_access_key_fields(key) for key in user.access_keys],
    }


def _access_key_fields(key: AccessKey) -> dict[str, str]:
    return {
        "AccessKeyId": key.access_key_id,
        "Status": "Active" if key.active else "Inactive",
        "CreateDate": _time(key.created_us),
    }


def _print_json(*values: object) -> None:
    """A line each."""
    for value in values:
        print(json.dumps(value))


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    if not rows:
        print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    print_table(table)


def _time(us: int) -> str:
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
