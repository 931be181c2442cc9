"""What the commands on an existing store share: how one is opened, how progress is shown, how its failures are told."""

import asyncio
import os
import pwd
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from strongroom import config
from strongroom.blobs.local_files import BlobsHeld
from strongroom.blobs.store import StorageUnavailable
from strongroom.cli import command, supervisor
from strongroom.cli.command import CommandError
from strongroom.config import Settings
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Unavailable
from strongroom.database.migrations import SchemaTooNew, SchemaTooOld
from strongroom.identity.records import IdentityError
from strongroom.identity.root import RootCredentialsError
from strongroom.keys.rotation import RotationRunning
from strongroom.keys.store_keys import StoreKeyError
from strongroom.server.paths import Paths, StartError

if TYPE_CHECKING:
    from strongroom.server.store import OpenStore


_REFUSALS = (
    StartError,
    config.ConfigError,
    BlobsHeld,
    IdentityError,
    IntegrityError,
    RootCredentialsError,
    SchemaTooNew,
    SchemaTooOld,
    StorageUnavailable,
    StoreKeyError,
    Unavailable,
)


def run(work: Callable[[], int], *, failed: int = 1) -> int:
    """What `work` returns, or `failed` after one sentence on standard error."""
    supervisor.harden_process()  # keys pass through this process, and what it makes is nobody else's

    def refusing() -> int:
        try:
            return work()
        except RotationRunning:
            raise CommandError("keys are being rotated or copied by another command: try again later") from None
        except _REFUSALS as error:
            raise CommandError(str(error)) from error
        except sqlite3.DatabaseError as error:  # what no waiting mends; the rest is Unavailable
            raise CommandError(f"the index is damaged ({error}): restore it from a backup") from error

    return command.told(refusing, failed=failed)


def on_store(data_dir: Path, config_file: Path | None, work: "Callable[[OpenStore], Awaitable[int]]") -> int:
    """What `work` returns, with the store in `data_dir`. Raises what `run` tells."""
    from strongroom.server.store import open_store  # noqa: PLC0415 - half a second, which not every command needs

    settings = settings_of(data_dir, config_file)

    async def opened() -> int:
        store = await open_store(data_dir, settings)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def settings_of(data_dir: Path, config_file: Path | None) -> Settings:
    """The settings of an existing store, for the user whom it belongs to. Raises CommandError, ConfigError."""
    index = Paths(data_dir).index
    if not index.exists() or index.stat().st_size == 0:
        raise CommandError(f"{index} is missing or empty: there is no store in {data_dir}")
    require_owner(data_dir, index)
    return config.load(data_dir, config_file)


def require_owner(data_dir: Path, database: Path) -> None:
    """Raises CommandError for another user than the store's: what root makes here (a key file above all), the server
    could not read.
    """
    owner = database.stat().st_uid
    if owner != os.geteuid():
        raise CommandError(f"the store in {data_dir} belongs to {_name(owner)}: run this as that user")


@contextmanager
def progress(title: str, *, of_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error where that is a terminal; call it with what is done and with all there is."""
    amount = DownloadColumn(binary_units=True) if of_bytes else MofNCompleteColumn()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        amount,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
