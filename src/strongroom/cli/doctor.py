"""`strongroom doctor`: is this machine a good place for this store, and what is there to do if not.

Each check looks at one thing and gives findings; none changes anything, and all of them work beside a running server.
"""

import ctypes
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from strongroom import config
from strongroom.cli.command import CommandError
from strongroom.cli.doctor_kms import look_at_key_service
from strongroom.cli.finding import Finding
from strongroom.cli.store_command import run
from strongroom.config import Settings
from strongroom.edge import certificates
from strongroom.identity import root
from strongroom.identity.files import look_at_identities
from strongroom.identity.records import IdentityError
from strongroom.server.paths import Paths, StartError
from strongroom.server.store import look_at_store

SOUND, PROBLEMS, COULD_NOT_RUN = 0, 1, 2

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_SKEW_OF_FILES = 300.0
_LOW_SHARE, _LOW_BYTES, _FULL_BYTES = 0.05, 2 * 2**30, 256 * 2**20


def doctor(data_dir: Path, config_file: Path | None, *, as_json: bool) -> int:
    """Print the findings; 0 without problems, 1 with, 2 where there is no store to look at. Warnings don't count."""

    def command() -> int:
        if not data_dir.is_dir():
            raise CommandError(
                f"{data_dir} is no directory; `strongroom serve --data-dir {data_dir}` makes a store there."
            )
        findings = list(examine(data_dir, config_file))
        if as_json:
            print(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            _tell(findings)
        return PROBLEMS if any(finding.verdict == "problem" for finding in findings) else SOUND

    return run(command, failed=COULD_NOT_RUN)


def _tell(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(f"{finding.verdict:<8} {finding.check:<12} {finding.text}")
        if finding.advice:
            print(f"{'':<21} -> {finding.advice}")


def examine(data_dir: Path, config_file: Path | None = None) -> Iterator[Finding]:
    try:
        settings = config.load(data_dir, config_file)
    except config.ConfigError as error:
        yield Finding(check="config", verdict="problem", text=str(error), advice="Correct the setting and look again.")
        settings = None
    else:
        yield Finding(check="config", verdict="ok", text="every setting is known and valid")
    yield from _permissions(data_dir)
    yield _credentials(data_dir)
    if settings is not None:
        yield _store(data_dir, settings)
        yield _users(data_dir)
    yield from look_at_key_service(data_dir)
    yield from _clock(data_dir)
    yield from _disk(data_dir)
    if settings is not None and settings.listen_tls is not None:
        yield _certificate(data_dir, settings)


def _permissions(data_dir: Path) -> Iterator[Finding]:
    """The directory, what lies in it, and the small directories with keys; blobs are behind their directory's mode."""
    looked_at = [data_dir, *sorted(data_dir.iterdir())]
    for name in ("tls", "run", "audit", "identity", "kms", "s3", "s3/keys"):
        if (data_dir / name).is_dir():
            looked_at += sorted((data_dir / name).iterdir())
    good = True
    for path in looked_at:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            good = False
            yield Finding(
                check="permissions",
                verdict="problem",
                text=f"{path} is a symbolic link",
                advice="Move what it points to here: links inside the data directory are not followed.",
            )
        elif status.st_uid != data_dir.stat().st_uid:
            good = False
            owner = data_dir.stat().st_uid
            yield Finding(
                check="permissions",
                verdict="problem",
                text=f"{path} belongs to another user (uid {status.st_uid})",
                advice=f"chown {owner} {path}",
            )
        elif stat.S_IMODE(status.st_mode) & 0o077 and path.name != certificates.CA_FILE:
            good = False
            mode = "700" if stat.S_ISDIR(status.st_mode) else "600"
            yield Finding(
                check="permissions",
                verdict="problem",
                text=f"{path} can be used by other users (mode {stat.S_IMODE(status.st_mode):o})",
                advice=f"chmod {mode} {path}; if it holds a secret, replace that too",
            )
        elif stat.S_ISDIR(status.st_mode) and status.st_mode & 0o700 != 0o700:
            good = False
            yield Finding(
                check="permissions",
                verdict="problem",
                text=f"{path} can't be used by its owner (mode {stat.S_IMODE(status.st_mode):o})",
                advice=f"chmod 700 {path}",
            )
    if good:
        yield Finding(check="permissions", verdict="ok", text=f"{data_dir} is its owner's alone")


def _credentials(data_dir: Path) -> Finding:
    path = data_dir / root.FILE_NAME
    from_environment = bool(os.environ.get(root.ID_VARIABLE))
    if not from_environment and not path.exists():
        return Finding(
            check="credentials",
            verdict="warning",
            text=f"there are no root credentials in {path}",
            advice="The next start makes some. If clients have credentials already, restore the file first.",
        )
    try:
        root.load_root(data_dir, os.environ, "000000000000")
    except (root.RootCredentialsError, OSError) as error:
        return Finding(check="credentials", verdict="problem", text=str(error), advice="Correct it and look again.")
    where = "the environment" if from_environment else str(path)
    return Finding(check="credentials", verdict="ok", text=f"the root credentials come from {where}")


def _store(data_dir: Path, settings: Settings) -> Finding:
    try:
        text = look_at_store(data_dir, settings)
    except (StartError, OSError) as error:
        advice = "Put it right before the next start; docs/operations/backup.md tells how to restore."
        return Finding(check="store", verdict="problem", text=str(error), advice=advice)
    return Finding(check="store", verdict="ok", text=text)


def _users(data_dir: Path) -> Finding:
    """Whether every row of a user opens, and is the one that it should be."""
    files = Paths(data_dir).identity
    if not files.is_there() and not files.key.exists():
        return Finding(check="users", verdict="ok", text="there are none yet: the first start makes room for them")
    try:
        survey = look_at_identities(files)
    except (IdentityError, OSError) as error:
        advice = "Put it right before the next start; docs/operations/users.md tells how."
        return Finding(check="users", verdict="problem", text=str(error), advice=advice)
    if survey.damaged:
        text = f"the rows of these users are damaged, and their requests are refused: {', '.join(survey.damaged)}"
        advice = "Restore identity.db from a backup, or delete each with `strongroom user delete NAME --force`."
        return Finding(check="users", verdict="problem", text=text, advice=advice)
    keys = [key for user in survey.users for key in user.access_keys]
    return Finding(check="users", verdict="ok", text=f"{len(survey.users):,} users with {len(keys):,} access keys")


def _clock(data_dir: Path) -> Iterator[Finding]:
    """Requests are refused at 15 minutes of skew, so a wrong clock locks every client out."""
    newest = max((path.lstat().st_mtime for path in data_dir.iterdir()), default=0.0)
    if newest > time.time() + _SKEW_OF_FILES:
        yield Finding(
            check="clock",
            verdict="problem",
            text=f"files in {data_dir} are from the future: the clock went back {newest - time.time():.0f} s or more",
            advice="Set the clock by NTP (timedatectl set-ntp true) and look again.",
        )
    elif ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024)) == _TIME_ERROR:
        yield Finding(
            check="clock",
            verdict="warning",
            text="the kernel says that nothing keeps this clock right",
            advice="Run an NTP client (chrony, systemd-timesyncd); in a container the host may do it unseen.",
        )
    else:
        yield Finding(check="clock", verdict="ok", text="the clock is synchronised")


def _disk(data_dir: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(data_dir)
    free = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} GiB are free"
    status = os.statvfs(data_dir)
    if usage.free < _FULL_BYTES:
        yield Finding(
            check="disk",
            verdict="problem",
            text=f"{free}: uploads are refused",
            advice="Delete objects (a reserve is kept for that), or give the disk more room.",
        )
    elif usage.free < min(_LOW_BYTES, _LOW_SHARE * usage.total):
        yield Finding(check="disk", verdict="warning", text=free, advice="Give the disk more room soon.")
    else:
        yield Finding(check="disk", verdict="ok", text=free)
    if status.f_files and status.f_favail < status.f_files * _LOW_SHARE:
        yield Finding(
            check="disk",
            verdict="warning",
            text=f"only {status.f_favail:,} more files fit (inodes)",
            advice="Each object part is a file: use a file system with more inodes.",
        )


def _certificate(data_dir: Path, settings: Settings) -> Finding:
    path = settings.tls_certificate or data_dir / certificates.SERVER_FILE
    if settings.tls_certificate is None and not path.exists():
        return Finding(check="certificate", verdict="ok", text="the first start makes one")
    try:
        certificates.ServerContext(path, settings.tls_key)
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (certificates.CertificateError, OSError, ValueError) as error:
        return Finding(
            check="certificate", verdict="problem", text=str(error), advice="Put a PEM certificate and its key there."
        )
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    until = f"{path} is valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
    if left < timedelta(0):
        advice = "Restart the server: it renews its own." if settings.tls_certificate is None else "Renew it now."
        return Finding(check="certificate", verdict="problem", text=f"{path} has expired", advice=advice)
    if settings.tls_certificate is not None and left < timedelta(days=14):
        return Finding(check="certificate", verdict="warning", text=until, advice="Renew it; no restart is needed.")
    return Finding(check="certificate", verdict="ok", text=until)
