"""`strongroom key ...`: what people do with keys, in the words of the KMS. Tables for people, `--json` for programs."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Column, Table

from strongroom.cli.command import CommandError
from strongroom.cli.key_client import key_id_of, with_kms
from strongroom.cli.policy_file import read_policy
from strongroom.cli.store_command import on_store
from strongroom.cli.tables import print_table
from strongroom.config import Settings
from strongroom.metadata.census import KeyUsage, census

if TYPE_CHECKING:
    from strongroom.server.store import OpenStore

_ALIAS = re.compile(r"alias/[a-zA-Z0-9/_-]{1,250}")  # as CreateAlias has it


def create(
    client: Any, _: Settings, *, alias: str | None, description: str, spec: str, usage: str | None, as_json: bool
) -> int:
    given: dict[str, Any] = {"Description": description, "KeySpec": spec}
    name = f"alias/{alias.removeprefix('alias/')}" if alias is not None else None
    if name is not None:
        _require_free(client, name)  # before a key is made for nothing
    made = client.create_key(**given | ({"KeyUsage": usage} if usage else {}))["KeyMetadata"]
    if name is not None:
        try:
            client.create_alias(AliasName=name, TargetKeyId=made["KeyId"])
        except (ClientError, BotoCoreError) as error:
            raise CommandError(f"{made['Arn']} was made, but not its alias {name}: {_why(error)}") from None
    return _tell(made, as_json, made["Arn"])


def _why(error: ClientError | BotoCoreError) -> str:
    if isinstance(error, BotoCoreError):
        return str(error)
    return f"{error.response['Error']['Code']}: {error.response['Error'].get('Message', '')}"


def _require_free(client: Any, name: str) -> None:
    """Raises CommandError."""
    if _ALIAS.fullmatch(name) is None:
        raise CommandError(f"{name!r} can't be an alias: use 1 to 250 letters, digits, / _ -. No key was made")
    if name.startswith("alias/aws/"):
        raise CommandError(f"{name}: names that begin with alias/aws/ are the KMS's own. No key was made")
    if (key_id := _key_of_alias(client, name)) is not None:
        raise CommandError(f"{name} stands for {key_id} already: no key was made")


def _key_of_alias(client: Any, name: str) -> str | None:
    pages = client.get_paginator("list_aliases").paginate()
    return next(
        (alias.get("TargetKeyId") for page in pages for alias in page["Aliases"] if alias["AliasName"] == name), None
    )


def list_keys(client: Any, _: Settings, *, as_json: bool) -> int:
    names: dict[str, list[str]] = {}
    for page in client.get_paginator("list_aliases").paginate():
        for alias in page["Aliases"]:
            names.setdefault(alias.get("TargetKeyId", ""), []).append(alias["AliasName"])
    pages = client.get_paginator("list_keys").paginate()
    described = [
        _described(client, key) | {"Aliases": names.get(key["KeyId"], [])} for page in pages for key in page["Keys"]
    ]
    if as_json:
        for key in described:
            print(_json(key))
        return 0
    table = Table(Column("key", no_wrap=True), "aliases", "state", "spec", "made", "description")
    for key in sorted((key for key in described if "KeyState" in key), key=lambda key: key["CreationDate"]):
        created = key["CreationDate"].strftime("%Y-%m-%d")
        description = _shown(key["Description"])
        table.add_row(key["KeyId"], "\n".join(key["Aliases"]), key["KeyState"], key["KeySpec"], created, description)
    for key in (key for key in described if "KeyState" not in key):
        table.add_row(key["KeyId"], "\n".join(key["Aliases"]), "not told")
    print_table(table)
    return 0


def _described(client: Any, key: Mapping[str, str]) -> dict[str, Any]:
    """KeyMetadata; of a key whose policy keeps us out, its id and its ARN. One such key must not hide all others."""
    try:
        return dict(client.describe_key(KeyId=key["KeyId"])["KeyMetadata"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDeniedException":
            raise
        return {"KeyId": key["KeyId"], "Arn": key["KeyArn"]}


def describe(client: Any, _: Settings, *, key: str, as_json: bool) -> int:
    told = client.describe_key(KeyId=key)["KeyMetadata"]
    if told["KeySpec"] == "SYMMETRIC_DEFAULT" and told["Origin"] == "AWS_KMS":
        rotation = client.get_key_rotation_status(KeyId=told["KeyId"])
        told |= {name: rotation[name] for name in ("KeyRotationEnabled", "NextRotationDate") if name in rotation}
    return _tell(told, as_json)


def rotate(client: Any, _: Settings, *, key: str, as_json: bool) -> int:
    key_id = key_id_of(client, key)
    client.rotate_key_on_demand(KeyId=key_id)
    told = client.describe_key(KeyId=key_id)["KeyMetadata"]
    rotated = {name: told[name] for name in ("KeyId", "CurrentKeyMaterialId")}
    material = rotated["CurrentKeyMaterialId"]
    text = f"{rotated['KeyId']} has a new material, {material}. Everything sealed before still opens."
    return _tell(rotated, as_json, text)


def enable(client: Any, _: Settings, *, key: str) -> int:
    client.enable_key(KeyId=key_id_of(client, key))
    return 0


def disable(client: Any, _: Settings, *, key: str) -> int:
    client.disable_key(KeyId=key_id_of(client, key))
    return 0


def schedule_deletion(client: Any, _: Settings, *, key: str, days: int, as_json: bool) -> int:
    told = client.schedule_key_deletion(KeyId=key_id_of(client, key), PendingWindowInDays=days)
    told.pop("ResponseMetadata")
    text = (
        f"{told['KeyId']} opens nothing from now on, and is deleted on {_text(told['DeletionDate'])}."
        f" Until then: strongroom key cancel-deletion {key}"
    )
    return _tell(told, as_json, text)


def cancel_deletion(client: Any, _: Settings, *, key: str) -> int:
    client.cancel_key_deletion(KeyId=key_id_of(client, key))
    print(f"The key stays, disabled. To have it used again: strongroom key enable {key}")
    return 0


def get_policy(client: Any, _: Settings, *, key: str) -> int:
    text = client.get_key_policy(KeyId=key_id_of(client, key))["Policy"]
    print("\n".join(_shown(line) for line in text.splitlines()) if sys.stdout.isatty() else text)
    return 0


def put_policy(client: Any, _: Settings, *, key: str, file: str) -> int:
    text = read_policy(file)
    client.put_key_policy(KeyId=key_id_of(client, key), Policy=text)
    return 0


def usage(data_dir: Path, config_file: Path | None, endpoint_url: str | None, *, key: str, as_json: bool) -> int:
    """The census of one key. Which key an alias names is the KMS's to say; what hangs on it stands in the index."""

    def work(client: Any, _: Settings) -> int:
        arn = client.describe_key(KeyId=key)["KeyMetadata"]["Arn"]

        async def count(store: "OpenStore") -> int:
            return _tell_usage(arn, await census(store.database, key_arn=arn), as_json)

        return on_store(data_dir, config_file, count)

    return with_kms(data_dir, config_file, endpoint_url, work)


def _tell_usage(arn: str, found: Sequence[KeyUsage], as_json: bool) -> int:
    if as_json:
        for row in found:
            print(_json(asdict(row) | {"material_id": row.material_id.hex() if row.material_id else None}))
        return 0
    if not found:
        print(f"Nothing hangs on {arn}.")
        return 0
    table = Table("material", "objects", "bytes", "by bucket keys", "open uploads", title=arn)
    for row in found:
        numbers = (row.objects, row.size, row.by_bucket_key, row.uploads)
        table.add_row(row.material_id.hex() if row.material_id else "not told", *(f"{number:,}" for number in numbers))
    print_table(table)
    return 0


def _tell(told: Mapping[str, Any], as_json: bool, text: str | None = None) -> int:
    if as_json:
        print(_json(told))
    elif text is not None:
        print(text)
    else:
        for name, value in told.items():
            if value != []:
                print(f"{name:<24} {_text(value)}")
    return 0


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    return _shown(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _shown(text: str) -> str:
    """Text that somebody else has chosen (a key's description): nothing in it steers the terminal."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, default=_json_value, sort_keys=True)


def _json_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
