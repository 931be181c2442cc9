"""The root user: the one principal that exists without being created; where its credentials come from, and how any are made.

`DIR/credentials` is an AWS shared-credentials file that the AWS tools read as it stands. It is generated once; there
are no default credentials. This module verifies no signature and decides nothing.
"""

import configparser
import io
import os
import re
import secrets
import stat
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from strongroom.database.private_file import write_private

FILE_NAME = "credentials"
PROFILE = "strongroom"
ID_VARIABLE = "STRONGROOM_ROOT_ACCESS_KEY_ID"
SECRET_VARIABLE = "STRONGROOM_ROOT_SECRET_ACCESS_KEY"  # noqa: S105 - the name of the variable

# Without "/" and "=": an access key id stands between slashes in SigV4's credential scope.
_ACCESS_KEY_ID = re.compile(r"[A-Za-z0-9_.+@-]{3,128}")
_SHORTEST_SECRET = 16
# Secrets that every attacker tries first: other servers' defaults, and the examples of AWS's documentation (compared in
# lower case).
_WELL_KNOWN = frozenset(
    {
        "wjalrxutnfemi/k7mdeng/bpxrficyexamplekey",
        "je7mtgbclwbf/2zp9utk/h3yco8nvbexamplekey",
        "0123456789abcdef",
        "abcdefghijklmnop",
        "changemechangeme",
        "minioadminminioadmin",
        "passwordpassword",
        "rustfsadminrustfsadmin",
        "secret_access_key",
        "your-secret-access-key",
        "your_secret_access_key",
    }
)


class RootCredentialsError(Exception):
    """The root credentials are missing in part, malformed or too weak. The text is meant for people and holds no
    secret.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks. `arn` as IAM writes it."""

    account_id: str
    arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootUser:
    credentials: Credentials
    principal: Principal


def load_root(data_dir: Path, environ: Mapping[str, str], account_id: str) -> RootUser:
    """The root user: the environment wins and is never written down, else DIR/credentials, which is made when it is
    absent.

    Raises RootCredentialsError. Any other failure to read is passed on: it never counts as "absent" (a new secret would
    lock everybody out).
    """
    credentials = _from_environment(environ) or _from_file(data_dir / FILE_NAME)
    return RootUser(
        credentials=credentials,
        principal=Principal(account_id=account_id, arn=f"arn:aws:iam::{account_id}:root"),
    )


def _from_environment(environ: Mapping[str, str]) -> Credentials | None:
    access_key_id, secret = environ.get(ID_VARIABLE, ""), environ.get(SECRET_VARIABLE, "")
    if not access_key_id and not secret:
        return None
    if not access_key_id or not secret:
        missing = SECRET_VARIABLE if access_key_id else ID_VARIABLE
        raise RootCredentialsError(f"{ID_VARIABLE} and {SECRET_VARIABLE} go together, but {missing} is not set.")
    return _checked(access_key_id, secret, where="The environment")


def _from_file(path: Path) -> Credentials:
    try:
        with path.open(encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise RootCredentialsError(f"{path} can be used by others: run `chmod 600 {path}`. {_READ_BY_OTHERS}")
            text = file.read()
    except FileNotFoundError:
        return _generate(path)
    except UnicodeDecodeError:
        raise RootCredentialsError(f"{path} is not a text file. {_WAY_OUT}") from None
    # Interpolation would give "%" in a secret a meaning; the file's lines never appear in the message.
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        profile = parser[PROFILE]
        access_key_id, secret = profile["aws_access_key_id"], profile["aws_secret_access_key"]
    except (configparser.Error, KeyError):
        raise RootCredentialsError(
            f"{path} has no profile [{PROFILE}] with aws_access_key_id and aws_secret_access_key. {_WAY_OUT}"
        ) from None
    return _checked(access_key_id, secret, where=str(path))


_READ_BY_OTHERS = "If somebody may have read it, delete it to have new root credentials made."
_WAY_OUT = "Put it right, or delete it to have new root credentials made."


def _checked(access_key_id: str, secret: str, *, where: str) -> Credentials:
    if _ACCESS_KEY_ID.fullmatch(access_key_id) is None:
        raise RootCredentialsError(
            f"{where} gives a root access key id that no client can sign with: use 3 to 128 letters, digits, _ . + @ -"
        )
    if not secret.isascii() or not secret.isprintable() or secret != secret.strip():
        raise RootCredentialsError(f"{where} gives a root secret with spaces around it or characters beyond ASCII.")
    if len(secret) < _SHORTEST_SECRET:
        raise RootCredentialsError(
            f"{where} gives a root secret of {len(secret)} characters: at least {_SHORTEST_SECRET} are needed."
        )
    if secret.lower() in _WELL_KNOWN or secret == access_key_id or len(set(secret)) < 6:
        raise RootCredentialsError(f"{where} gives a root secret that is easily guessed: choose a random one.")
    return Credentials(access_key_id=access_key_id, secret_access_key=secret)


def _generate(path: Path) -> Credentials:
    made = new_credentials("SR")
    text = io.StringIO()
    text.write(f"[{PROFILE}]\n")
    text.write(f"aws_access_key_id = {made.access_key_id}\n")
    text.write(f"aws_secret_access_key = {made.secret_access_key}\n")
    write_private(path, text.getvalue().encode(), replace=False)
    return made


def new_credentials(prefix: str) -> Credentials:
    """Random ones; `prefix`, two letters, begins the access key id."""
    return Credentials(
        access_key_id=prefix + random_id(18),
        # 40 characters as AWS's, but letters and digits only: nothing that a shell, a URL or an INI file would read
        # otherwise.
        secret_access_key=_random(40, string.ascii_letters + string.digits),
    )


def random_id(length: int) -> str:
    """Of the letters that AWS's ids have."""
    return _random(length, string.ascii_uppercase + "234567")


def _random(length: int, alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
