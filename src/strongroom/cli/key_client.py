"""The running KMS as `strongroom key` speaks to it: by its API, with the profile in DIR/credentials, like any other client.

Policy and audit apply to these commands as to everybody, and none of them opens kms.db. botocore signs, retries and
parses, as it does for the AWS tools.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from strongroom.cli.store_command import CommandError, run
from strongroom.config import Settings, load
from strongroom.edge import certificates
from strongroom.identity.root import load_root

_SECONDS = 10


def with_kms(
    data_dir: Path, config_file: Path | None, endpoint_url: str | None, work: Callable[[Any, Settings], int]
) -> int:
    """What `work(client, settings)` returns; what the KMS refuses is one sentence on standard error, and 1."""

    def command() -> int:
        if not data_dir.is_dir():
            raise CommandError(f"{data_dir} is no directory: there is no store in it")
        settings = load(data_dir, config_file)
        url = endpoint_url or _endpoint(settings)
        credentials = load_root(data_dir, os.environ, settings.account_id).credentials
        client = botocore.session.Session().create_client(
            "kms",
            endpoint_url=url,
            region_name=settings.region,
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            verify=str(data_dir / certificates.CA_FILE) if url.startswith("https:") else None,
            config=Config(connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": 1}),
        )
        try:
            return work(client, settings)
        except ClientError as error:
            told = error.response["Error"]
            text = told.get("Message") or "the KMS says no more"
            if told.get("Code") == "NotFoundException" and text.startswith("Invalid keyId"):
                text += "; a key goes by its id, its ARN or alias/NAME"
            raise CommandError(f"{told.get('Code')}: {text}") from None
        except BotoCoreError as error:
            raise CommandError(
                f"the KMS at {url} does not answer ({error}): is `strongroom serve` running on {data_dir}?"
            ) from None

    return run(command)


def key_id_of(client: Any, given: str) -> str:
    """The id of the key that an id, an ARN or an alias names: commands take every form everywhere."""
    if given.startswith("alias/") or ":alias/" in given:
        return str(client.describe_key(KeyId=given)["KeyMetadata"]["KeyId"])
    return given


def _endpoint(settings: Settings) -> str:
    if settings.kms_listen is not None:
        return f"http://{settings.kms_listen}"
    if settings.kms_listen_tls is not None:
        return f"https://{settings.kms_listen_tls}"
    raise CommandError("kms_listen is off: say where the KMS answers with --endpoint-url")
