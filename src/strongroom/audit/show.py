"""Events out of the log, for questions: who used this key, for which data, when. Nothing is verified here.

Files are read one line at a time, oldest first; of those that ended before the time asked for at most the first record
is. A line that is no record is told and passed over. An alias counts as the key that it stood for when a record was written, as earlier
records tell. What is asked about an object is answered from encryption contexts: S3 names the object
in `aws:s3:arn`, or with a bucket key only the bucket, which such a use is then marked with.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from strongroom.audit.chain import BadRecord, Record, parse
from strongroom.audit.event import decode
from strongroom.audit.files import LogFile, lines, list_files, opened, opened_directory

Match = Literal["object", "bucket"]
_CONTEXTS = ("encryptionContext", "sourceEncryptionContext", "destinationEncryptionContext")
_KEY_PARAMETERS = ("keyId", "sourceKeyId", "destinationKeyId", "targetKeyId", "aliasName")
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
        files, alias = list_files(descriptor), _alias_of(wanted.key)
        for file in files if alias is not None else _since(descriptor, files, wanted.since):
            with opened(file.name, descriptor) as log_file:
                size = os.fstat(log_file).st_size
                for number, (_, line) in enumerate(lines(log_file, 0, size), start=1):
                    if not line.endswith(b"\n"):
                        continue  # is being written
                    try:
                        record = parse(line)
                        event = decode(record.event)
                    except (BadRecord, ValueError) as error:
                        yield Unreadable(file=file.name, line=number, reason=str(error))
                        continue
                    if alias is not None:
                        alias.learn(event)
                    if (shown := _matched(record, event, wanted, alias)) is not None:
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
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is neither a time (2026-01-02T03:04:05Z) nor a duration (2h, 7d)") from None


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


def _since(directory: int, files: Sequence[LogFile], since: datetime | None) -> Sequence[LogFile]:
    """Without the files that ended before; a day of grace, since clocks are set back now and then.

    By the first record of each: the day in a file's name is bound by nothing, and renaming a file must hide no record.
    """
    if since is None:
        return files
    before_us = (since.timestamp() - 86_400) * 1_000_000
    for number in reversed(range(len(files))):
        began_us = _began_us(directory, files[number])
        if began_us is not None and began_us < before_us:
            return files[number:]
    return files


def _began_us(directory: int, file: LogFile) -> int | None:
    """The time of its first event, in microseconds; None where there is none to be read."""
    with opened(file.name, directory) as log_file:
        _, line = next(lines(log_file, 0, os.fstat(log_file).st_size), (0, b""))
    try:
        time_us = decode(parse(line).event).get("eventTimeMicroseconds")
    except (BadRecord, ValueError):
        return None
    return time_us if isinstance(time_us, int) else None


@dataclass(slots=True)
class _Alias:
    """`arns`: of the key that it stands for, as far as the log has said up to now."""

    name: str
    arns: frozenset[str] = frozenset()

    def learn(self, event: dict[str, Any]) -> None:
        parameters = event.get("requestParameters") or {}
        if "errorCode" in event or not _asks_for(parameters, self.name):
            return
        arns = frozenset(str(resource.get("ARN")) for resource in event.get("resources") or ())
        if event.get("eventName") == "DeleteAlias":
            self.arns = frozenset()
        elif len(arns) == 1:  # more than one: which of them it named, nobody knows
            self.arns = arns


def _alias_of(key: str | None) -> _Alias | None:
    if key is None or not key.rpartition(":")[2].startswith("alias/"):
        return None
    return _Alias(key.rpartition(":")[2])


def _asks_for(parameters: dict[str, Any], name: str) -> bool:
    asked = (parameters.get(each) for each in _KEY_PARAMETERS)
    return any(str(each).rpartition(":")[2] == name for each in asked if each is not None)


def _matched(record: Record, event: dict[str, Any], wanted: Wanted, alias: _Alias | None) -> Shown | None:
    if wanted.errors_only and "errorCode" not in event:
        return None
    if wanted.since is not None and event.get("eventTimeMicroseconds", 0) < wanted.since.timestamp() * 1_000_000:
        return None
    if wanted.key is not None and not _names_key(event, wanted.key, alias):
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


def _names_key(event: dict[str, Any], key: str, alias: _Alias | None) -> bool:
    parameters = event.get("requestParameters") or {}
    arns = [str(resource.get("ARN")) for resource in event.get("resources") or ()]
    if alias is not None:
        return any(arn in alias.arns for arn in arns) or _asks_for(parameters, alias.name)
    return any(key in (arn, arn.rpartition("/")[2]) for arn in arns) or key in (
        parameters.get(each) for each in _KEY_PARAMETERS
    )


def _is_by(event: dict[str, Any], principal: str) -> bool:
    identity = event.get("userIdentity") or {}
    named = (
        identity.get("userName"),
        identity.get("accessKeyId"),
        identity.get("principalId"),
        identity.get("invokedBy"),
    )
    return principal in named or principal in str(identity.get("arn") or "")
