"""show: who used which key, for which data, when."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.audit.chain import GENESIS, chained
from strongroom.audit.event import Event, encode, request_parameters, service_event, service_identity
from strongroom.audit.files import LogFile
from strongroom.audit.show import Shown, Unreadable, Wanted, data_of, events, keys_of, parse_since, principal_of
from tests.audited import ACCOUNT, KEY_ARN, KEY_ID, REGION, Kept, event, log_files, opened

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
OTHER_ARN = KEY_ARN.replace("1234abcd", "9999ffff")


def at(**ago: float) -> int:
    return int((NOW - timedelta(**ago)).timestamp() * 1_000_000)


def used(number: int, context: dict[str, str] | None = None, **changes) -> Event:
    parameters = request_parameters({"KeyId": changes.pop("key", KEY_ID), "EncryptionContext": context or {}})
    return event(number, request_parameters=parameters, **changes)


EVENTS = [
    used(0, {"aws:s3:arn": "arn:aws:s3:::bucket/a/key"}, time_us=at(days=9)),
    used(1, {"aws:s3:arn": "arn:aws:s3:::bucket"}, time_us=at(days=3), user="bob", name="GenerateDataKey"),
    used(2, {"aws:s3:arn": "arn:aws:s3:::bucket/a/key2"}, time_us=at(hours=5), key=OTHER_ARN, key_arns=[OTHER_ARN]),
    used(3, key="alias/mine", time_us=at(hours=1), error_code="AccessDenied", error_message="no", user="mallory"),
    event(
        4,
        name="ReEncrypt",
        time_us=at(minutes=5),
        key_arns=[KEY_ARN, OTHER_ARN],
        request_parameters=request_parameters(
            {
                "SourceEncryptionContext": {"aws:s3:arn": "arn:aws:s3:::bucket/a/key"},
                "DestinationEncryptionContext": {"aws:s3:arn": "arn:aws:s3:::bucket/b"},
            }
        ),
    ),
    service_event(name="RotateKey", region=REGION, account_id=ACCOUNT, time_us=at(), details={}, key_arns=[KEY_ARN]),
    used(6, key="alias/unknown", time_us=at(), key_arns=[], error_code="NotFoundException", error_message="no"),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    directory: Path = tmp_path_factory.mktemp("shown")
    now = [at(days=9)]

    async def main() -> None:
        async with opened(directory, Kept(), now_us=lambda: now[0]) as log:
            for each in EVENTS:
                now[0] = each["eventTimeMicroseconds"]
                await log.append(each)

    asyncio.run(main())
    assert len(log_files(directory)) == 3
    return directory


def shown(directory: Path, **wanted) -> list[int]:
    """Which of EVENTS are shown."""
    found = list(events(directory, Wanted(**wanted)))
    assert all(isinstance(each, Shown) for each in found)
    return [EVENTS.index(each.event) for each in found if isinstance(each, Shown)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6]),
        ({"key": KEY_ID}, [0, 1, 3, 4, 5]),
        ({"key": KEY_ARN}, [0, 1, 3, 4, 5]),
        ({"key": OTHER_ARN}, [2, 4]),
        ({"key": KEY_ID[:-1]}, []),
        ({"key": ""}, []),
        ({"key": "alias/mine"}, [3]),
        ({"key": "alias/unknown"}, [6]),
        ({"object": ("bucket", "a/key")}, [0, 1, 4]),
        ({"object": ("bucket", "a/key2")}, [1, 2]),
        ({"object": ("bucket", "b")}, [1, 4]),
        ({"object": ("bucke", "t/a/key")}, []),
        ({"since": NOW - timedelta(hours=5)}, [2, 3, 4, 5, 6]),
        ({"since": NOW - timedelta(days=4)}, [1, 2, 3, 4, 5, 6]),
        ({"since": NOW + timedelta(days=40)}, []),
        ({"principal": "bob"}, [1]),
        ({"principal": "AKIAMALLORY"}, [3]),
        ({"principal": f"arn:aws:iam::{ACCOUNT}:user/alice"}, [0, 2, 4, 6]),
        ({"principal": "kms.amazonaws.com"}, [5]),
        ({"errors_only": True}, [3, 6]),
        ({"errors_only": True, "key": KEY_ID, "since": NOW - timedelta(hours=2), "principal": "mallory"}, [3]),
    ],
)
def test_filters(directory, wanted, expected):
    assert shown(directory, **wanted) == expected


def test_an_alias_is_followed_to_the_key_that_it_stood_for(tmp_path) -> None:
    """Uses that named the key by its ARN count, as long as the alias stood for it; also what was set before `since`."""

    def pointed(number: int, name: str, arn: str, **changes) -> Event:
        parameters = request_parameters({"AliasName": "alias/mine", "TargetKeyId": arn})
        return event(number, name=name, key_arns=[arn], request_parameters=parameters, **changes)

    written = [
        used(0, key=KEY_ARN, time_us=at(days=9)),
        pointed(1, "CreateAlias", KEY_ARN, time_us=at(days=9)),
        used(2, key=KEY_ARN, time_us=at(hours=5)),
        used(3, key=OTHER_ARN, key_arns=[OTHER_ARN], time_us=at(hours=4)),
        pointed(
            4, "CreateAlias", OTHER_ARN, error_code="AlreadyExistsException", error_message="", time_us=at(hours=4)
        ),
        used(5, key=KEY_ARN, error_code="DisabledException", error_message="", time_us=at(hours=3)),
        pointed(6, "UpdateAlias", OTHER_ARN, time_us=at(hours=3)),
        used(7, key=KEY_ARN, time_us=at(hours=2)),
        used(8, key=OTHER_ARN, key_arns=[OTHER_ARN], time_us=at(hours=2)),
        pointed(9, "DeleteAlias", OTHER_ARN, time_us=at(hours=1)),
        used(10, key=OTHER_ARN, key_arns=[OTHER_ARN], time_us=at()),
    ]
    now = [at(days=9)]

    async def main() -> None:
        async with opened(tmp_path, Kept(), now_us=lambda: now[0]) as log:
            for each in written:
                now[0] = each["eventTimeMicroseconds"]
                await log.append(each)

    asyncio.run(main())
    assert len(log_files(tmp_path)) == 2

    def numbers(**wanted) -> list[int]:
        found = events(tmp_path, Wanted(key="alias/mine", **wanted))
        return [written.index(each.event) for each in found if isinstance(each, Shown)]

    assert numbers() == [1, 2, 4, 5, 6, 8, 9]
    assert numbers(since=NOW - timedelta(hours=6)) == [2, 4, 5, 6, 8, 9]
    assert numbers(errors_only=True) == [4, 5]


def test_the_use_of_a_bucket_key_is_marked(directory):
    found = events(directory, Wanted(object=("bucket", "a/key")))
    assert [each.match for each in found if isinstance(each, Shown)] == ["object", "bucket", "object"]
    assert {each.match for each in events(directory, Wanted()) if isinstance(each, Shown)} == {None}


def test_files_that_ended_before_are_not_read(directory, tmp_path):
    """A directory in place of a file would fail to be read."""
    for path in log_files(directory)[1:]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / LogFile("20260101", 1).name).mkdir()
    assert shown(tmp_path, since=NOW - timedelta(hours=6)) == [2, 3, 4, 5, 6]
    with pytest.raises(OSError):
        shown(tmp_path)


def test_a_clock_that_was_set_back_hides_nothing(tmp_path):
    """The first file's last event is the newest of all; the second one began an hour before the time asked for."""
    times = [NOW - timedelta(days=9), NOW - timedelta(hours=1), NOW - timedelta(hours=3), NOW - timedelta(hours=3)]
    head = GENESIS
    for name in (LogFile("20260101", 1).name, LogFile("20260101", 3).name):
        for _ in range(2):
            event = used(head.sequence, time_us=int(times[head.sequence].timestamp() * 1_000_000))
            line, head = chained(head, encode(event), 0)
            with (tmp_path / name).open("ab") as file:
                file.write(line)
    found = [
        each.record.sequence
        for each in events(tmp_path, Wanted(since=NOW - timedelta(hours=2)))
        if isinstance(each, Shown)
    ]
    assert found == [2]


@pytest.mark.parametrize("day", ["20000101", "99991231"])
def test_a_renamed_file_hides_nothing(directory, tmp_path, day):
    for path in log_files(directory):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    last = log_files(tmp_path)[-1]
    last.rename(tmp_path / LogFile(day, int(last.stem.rpartition("-")[2])).name)
    for hours in (1, 2, 6, 24 * 3, 24 * 8):
        since = NOW - timedelta(hours=hours)
        assert shown(tmp_path, since=since) == shown(directory, since=since)


def test_an_unreadable_line_is_told_and_passed_over(directory, tmp_path):
    path = log_files(directory)[-1]
    first, second, *rest = path.read_bytes().splitlines(keepends=True)
    (tmp_path / path.name).write_bytes(b"".join([first, second.replace(b"AccessDenied", b"x"), *rest, b'{"torn']))
    found = list(events(tmp_path, Wanted()))
    assert [EVENTS.index(each.event) for each in found if isinstance(each, Shown)] == [2, 4, 5, 6]
    (told,) = (each for each in found if isinstance(each, Unreadable))
    assert (told.file, told.line, "was changed" in told.reason) == (path.name, 2, True)


@pytest.mark.parametrize(
    "forged",
    [
        b'{"resources":[1]}',
        b'{"resources":[null]}',
        b'{"resources":{"ARN":"x"}}',
        b'{"userIdentity":[1]}',
        b'{"a":' * 99_999 + b"1" + b"}" * 99_999,
    ],
)
def test_an_event_that_somebody_forged_is_told_and_passed_over(tmp_path, forged):
    (line, head), true = chained(GENESIS, forged, 0), encode(EVENTS[0])
    path = tmp_path / LogFile("20260102", 1).name
    path.write_bytes(line + chained(head, true, 0)[0])
    for wanted in (Wanted(), Wanted(key=KEY_ID, principal="alice", since=NOW - timedelta(days=90))):
        told, found = events(tmp_path, wanted)
        assert isinstance(told, Unreadable)
        assert isinstance(found, Shown)
        assert (told.line, found.event) == (1, EVENTS[0])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("30m", NOW - timedelta(minutes=30)),
        ("90s", NOW - timedelta(seconds=90)),
        ("4w", NOW - timedelta(weeks=4)),
        ("999999999w", datetime.min.replace(tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01T10:00:00+02:00", datetime(2026, 3, 1, 8, tzinfo=UTC)),
    ],
)
def test_since(text, moment):
    assert parse_since(text, NOW) == moment


def test_since_of_the_beginning_of_time_shows_everything(directory):
    assert shown(directory, since=parse_since("999999999w", NOW)) == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "text", ["", "2", "h", "2y", "-2h", "yesterday", "2h3m", "2026-13-01", "0001-01-01T00:00:00+01:00"]
)
def test_a_since_that_is_none(text):
    with pytest.raises(ValueError, match="is neither a time"):
        parse_since(text, NOW)


def test_who_which_key_and_for_which_data():
    assert principal_of(EVENTS[1]) == f"arn:aws:iam::{ACCOUNT}:user/bob"
    assert (
        principal_of(used(0, user_identity=service_identity("s3.amazonaws.com", account_id=ACCOUNT)))
        == "s3.amazonaws.com"
    )
    assert principal_of(EVENTS[5]) == "kms.amazonaws.com"
    assert principal_of({}) == "-"
    assert (keys_of(EVENTS[4]), keys_of(EVENTS[6]), keys_of({})) == ([KEY_ARN, OTHER_ARN], ["alias/unknown"], [])
    assert data_of(EVENTS[4]) == ["arn:aws:s3:::bucket/a/key", "arn:aws:s3:::bucket/b"]
    assert data_of(json.loads('{"requestParameters": {"encryptionContext": {"omitted": true}}}')) == []
