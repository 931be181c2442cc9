"""Events out of the log, for questions: who used this key, for which data, when. Nothing is verified here.

Files are read one line at a time, oldest first; those that ended before the time asked for are not opened. A line that is
no record is told and passed over. What is asked about an object is answered from encryption contexts: S3 names the object
in `aws:s3:arn`, or with a bucket key only the bucket, which such a use is then marked with.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from strongroom.audit.chain import BadRecord, Record, parse
from strongroom.audit.files import LogFile, lines, list_files, opened, opened_directory

Match = Literal["object", "bucket"]
_CONTEXTS = ("encryptionContext", "sourceEncryptionContext", "destinationEncryptionContext")
_S3_ARN = "aws:s3:arn"
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to show: all of it must hold. `key`: a key id, an ARN or an alias name. `principal`: a part of an ARN, a user
    name or an access key id. `object`: (bucket, key). `since`: aware.
    """

    key: str | None = None
    object: tuple[str, str] | None = None
    since: datetime | None = None
    principal: str | None = None
    errors_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """`match`: whether the event names the object that was asked for, or its bucket only."""

    record: Record
    event: dict[str, Any]
    match: Match | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    file: str
    line: int
    reason: str


def events(directory: Path, wanted: Wanted) -> Iterator[Shown | Unreadable]:
    """What is in the log in `directory`, oldest first. Raises OSError."""
    with opened_directory(directory) as descriptor:
        for file in _since(list_files(descriptor), wanted.since):
            with opened(file.name, descriptor) as log_file:
                size = os.fstat(log_file).st_size
                for number, (_, line) in enumerate(lines(log_file, 0, size), start=1):
                    if not line.endswith(b"\n"):
                        continue  # is being written
                    try:
                        record = parse(line)
                        event = json.loads(record.event)
                    except (BadRecord, ValueError) as error:
                        yield Unreadable(file=file.name, line=number, reason=str(error))
                        continue
                    if (shown := _matched(record, event, wanted)) is not None:
                        yield shown


def parse_since(text: str, now: datetime) -> datetime:
    """`2h`, `7d`, `30m`, `90s`, `4w` before `now`, or an ISO 8601 time or date, UTC where it names no zone.

    Raises ValueError, whose text is meant for people.
    """
    if match := _DURATION.fullmatch(text):
        try:
            return now - timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a time (2026-01-02T03:04:05Z) nor a duration (2h, 7d)") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def principal_of(event: dict[str, Any]) -> str:
    """Who did it, in short: the ARN, or the service that acted for itself."""
    identity = event.get("userIdentity") or {}
    return str(identity.get("arn") or identity.get("invokedBy") or identity.get("type") or "-")


def keys_of(event: dict[str, Any]) -> list[str]:
    """The ARNs of the keys that were used; else the key as it was asked for."""
    if arns := [str(resource.get("ARN")) for resource in event.get("resources") or ()]:
        return arns
    asked = (event.get("requestParameters") or {}).get("keyId")
    return [str(asked)] if asked is not None else []


def data_of(event: dict[str, Any]) -> list[str]:
    """The ARNs of the S3 objects or buckets that the encryption contexts name."""
    parameters = event.get("requestParameters") or {}
    contexts = (parameters.get(name) for name in _CONTEXTS)
    found = [str(context[_S3_ARN]) for context in contexts if isinstance(context, dict) and _S3_ARN in context]
    return list(dict.fromkeys(found))


def _since(files: Sequence[LogFile], since: datetime | None) -> Sequence[LogFile]:
    """Without the files that ended before; a day of grace, since clocks are set back now and then."""
    if since is None or since.year == 1:
        return files
    day = (since - timedelta(days=1)).strftime("%Y%m%d")
    begin = max((number for number, file in enumerate(files) if file.day < day), default=0)
    return files[begin:]


def _matched(record: Record, event: dict[str, Any], wanted: Wanted) -> Shown | None:
    if wanted.errors_only and "errorCode" not in event:
        return None
    if wanted.since is not None and event.get("eventTimeMicroseconds", 0) < wanted.since.timestamp() * 1_000_000:
        return None
    if wanted.key is not None and not _names_key(event, wanted.key):
        return None
    if wanted.principal is not None and not _is_by(event, wanted.principal):
        return None
    match: Match | None = None
    if wanted.object is not None:
        bucket, key = wanted.object
        data = data_of(event)
        if f"arn:aws:s3:::{bucket}/{key}" in data:
            match = "object"
        elif f"arn:aws:s3:::{bucket}" in data:
            match = "bucket"
        else:
            return None
    return Shown(record=record, event=event, match=match)


def _names_key(event: dict[str, Any], key: str) -> bool:
    if any(key in str(resource.get("ARN")) for resource in event.get("resources") or ()):
        return True
    parameters = event.get("requestParameters") or {}
    asked = (parameters.get(name) for name in ("keyId", "sourceKeyId", "destinationKeyId", "targetKeyId", "aliasName"))
    return key in asked


def _is_by(event: dict[str, Any], principal: str) -> bool:
    identity = event.get("userIdentity") or {}
    named = (
        identity.get("userName"),
        identity.get("accessKeyId"),
        identity.get("principalId"),
        identity.get("invokedBy"),
    )
    return principal in named or principal in str(identity.get("arn") or "")
