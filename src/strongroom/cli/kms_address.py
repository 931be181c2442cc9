"""Where a running KMS answers its clients, in `DIR/run/kms-address`: a flag of `serve`, or port 0, stands in no setting that
`strongroom key` could read.
"""

from contextlib import suppress
from pathlib import Path

from strongroom.cli.banner import reachable
from strongroom.config import Address
from strongroom.database.private_file import write_private
from strongroom.server.paths import Paths

_FILE = "kms-address"


def publish(data_dir: Path, plain: Address | None, tls: Address | None) -> None:
    """Once the sockets are bound. A full disk is no reason not to serve: the settings say where most are."""
    withdraw(data_dir)
    if (url := url_of(plain, tls)) is not None:
        with suppress(OSError):
            write_private(_path(data_dir), url.encode())


def withdraw(data_dir: Path) -> None:
    _path(data_dir).unlink(missing_ok=True)


def published(data_dir: Path) -> str | None:
    """None where no KMS runs, or where it has no client but S3. What a killed one has left may be out of date."""
    try:
        return _path(data_dir).read_text("ascii")
    except FileNotFoundError:
        return None


def url_of(plain: Address | None, tls: Address | None) -> str | None:
    if plain is not None:
        return f"http://{plain}"
    return f"https://{reachable(tls)}" if tls is not None else None


def _path(data_dir: Path) -> Path:
    return Paths(data_dir).run / _FILE
