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
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from strongroom.cli import kms_address
from strongroom.cli.command import CommandError
from strongroom.cli.store_command import run
from strongroom.config import Settings, load
from strongroom.edge import certificates
from strongroom.identity.root import FILE_NAME, ID_VARIABLE, Credentials, load_root

_SECONDS = 10


def with_kms(
    data_dir: Path, config_file: Path | None, endpoint_url: str | None, work: Callable[[Any, Settings], int]
) -> int:
    """What `work(client, settings)` returns; what the KMS refuses is one sentence on standard error, and 1."""

    def command() -> int:
        if not data_dir.is_dir():
            raise CommandError(f"{data_dir} is no directory: there is no store in it")
        settings = load(data_dir, config_file)
        credentials = _credentials(data_dir, settings)
        url = endpoint_url or kms_address.published(data_dir) or _endpoint(settings)
        if not url.startswith(("http://", "https://")):
            raise CommandError(f"{url} is no address of a KMS: it begins with http:// or https://")
        try:
            return work(_client(data_dir, settings, url, credentials), settings)
        except ClientError as error:
            raise CommandError(_refusal(error, url, data_dir)) from None
        except (ParamValidationError, ValueError) as error:
            raise CommandError(" ".join(str(error).split())) from None
        except BotoCoreError as error:
            raise CommandError(
                f"the KMS at {url} does not answer ({error}): is `strongroom serve` running on {data_dir}?"
            ) from None

    return run(command)


def _credentials(data_dir: Path, settings: Settings) -> Credentials:
    """Nothing is made here: a server that was given its credentials keeps none in DIR, and a DIR may be another's."""
    if not os.environ.get(ID_VARIABLE) and not (data_dir / FILE_NAME).exists():
        raise CommandError(
            f"there are no root credentials in {data_dir / FILE_NAME}, nor in the environment: is a store in {data_dir}?"
        )
    return load_root(data_dir, os.environ, settings.account_id).credentials


def _client(data_dir: Path, settings: Settings, url: str, credentials: Credentials) -> Any:
    # What AWS_PROFILE, AWS_CONFIG_FILE and a proxy for the world outside say is meant for other programs.
    nowhere: Any = dict.fromkeys(("profile", "config_file", "credentials_file"), (None, None, None, None))
    own_ca = url.startswith("https:") and settings.tls_certificate is None
    return botocore.session.Session(session_vars=nowhere).create_client(
        "kms",
        endpoint_url=url,
        region_name=settings.region,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        verify=str(data_dir / certificates.CA_FILE) if own_ca else None,
        config=Config(
            connect_timeout=_SECONDS,
            read_timeout=_SECONDS,
            retries={"total_max_attempts": 1, "mode": "standard"},
            proxies={},
        ),
    )


def _refusal(error: ClientError, url: str, data_dir: Path) -> str:
    told = error.response["Error"]
    code, text = str(told.get("Code")), told.get("Message") or "the KMS says no more"
    if code.isdigit():  # botocore found no error of the KMS in the answer, only a status
        return f"what answers at {url} is no KMS (status {code})"
    if code == "UnrecognizedClientException":
        text += f" The KMS at {url} does not know the credentials in {data_dir}: is it another store's?"
    if code == "NotFoundException" and text.startswith("Invalid keyId"):
        text += "; a key goes by its id, its ARN or alias/NAME"
    return f"{code}: {text}"


def key_id_of(client: Any, given: str) -> str:
    """The id of the key that an id, an ARN or an alias names: commands take every form everywhere."""
    if given.startswith("alias/") or ":alias/" in given:
        return str(client.describe_key(KeyId=given)["KeyMetadata"]["KeyId"])
    return given


def _endpoint(settings: Settings) -> str:
    url = kms_address.url_of(settings.kms_listen, settings.kms_listen_tls)
    if url is None:
        raise CommandError("kms_listen is off: say where the KMS answers with --endpoint-url")
    return url
