"""Opening a log that something happened to: a crash is mended and recorded, everything else refused, until accepted."""

import asyncio
import json
import shutil
from contextlib import suppress

import pytest

from strongroom.audit.chain import BadRecord, Head, Record, chained, parse
from strongroom.audit.event import Event
from strongroom.audit.files import LogFile
from strongroom.audit.opening import AuditLogCut, StateRolledBack
from tests.audited import KEY_ARN, SIGNER, Kept, event, log_files, make_log, opened, records, verified


def reopened(directory, kept, **settings) -> list[Event]:
    """Open, append one record, close; the events that the opening itself has appended."""
    before = len(sound(directory))

    async def main() -> None:
        async with opened(directory, kept, **settings) as log:
            await log.append(event(999))

    asyncio.run(main())
    *own, last = [json.loads(record.event) for record in sound(directory)[before:]]
    assert last["requestID"] == "request-999"
    return own


def sound(directory) -> list[Record]:
    """The records that are records."""
    found = []
    for path in log_files(directory):
        for line in path.read_bytes().splitlines(keepends=True):
            with suppress(BadRecord):
                found.append(parse(line))
    return found


def contents(directory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def refused(directory, kept, error) -> str:
    """Opening raises `error` and changes nothing."""
    before, head = contents(directory), kept.head

    async def main() -> None:
        async with opened(directory, kept):
            pass

    with pytest.raises(error) as raised:
        asyncio.run(main())
    assert contents(directory) == before
    assert kept.head == head
    return str(raised.value)


def last_file(directory):
    return log_files(directory)[-1]


def replace_line(path, number: int, line: bytes | None) -> None:
    """The `number`th line from 0, from the end where negative; None removes it."""
    all_lines = path.read_bytes().splitlines(keepends=True)
    all_lines[number : number + 1 or None] = [] if line is None else [line]
    path.write_bytes(b"".join(all_lines))


def no_checkpoints(directory) -> None:
    (directory / "checkpoints").unlink()


# --- what a crash leaves


@pytest.mark.parametrize("torn", [b"{", b'{"sequence":6,"previous', b"\0" * 5000, b"\n", b"whole but wrong\n{"])
def test_a_torn_line_is_cut_and_that_is_recorded(tmp_path, torn):
    kept = make_log(tmp_path, 5)
    with last_file(tmp_path).open("ab") as file:
        file.write(torn)
    (said,) = reopened(tmp_path, kept)
    assert (said["eventName"], said["eventType"]) == ("AuditLogRepaired", "AwsServiceEvent")
    assert said["serviceEventDetails"] == {"bytesCut": len(torn), "file": last_file(tmp_path).name}
    report = verified(tmp_path)
    assert (report.problems, report.last) == ([], 7)
    assert reopened(tmp_path, kept) == []


def test_a_torn_first_line_of_a_new_file_is_cut_with_its_file(tmp_path):
    kept = make_log(tmp_path, 5)
    (tmp_path / LogFile("29990101", 6).name).write_bytes(b'{"sequence":6')
    (said,) = reopened(tmp_path, kept)
    assert said["serviceEventDetails"] == {"bytesCut": 13, "file": "kms-29990101-000000000006.jsonl"}
    assert verified(tmp_path).problems == []


def test_a_file_that_was_made_and_never_written_to_is_removed(tmp_path):
    kept = make_log(tmp_path, 5)
    (tmp_path / LogFile("29990101", 6).name).touch()
    assert reopened(tmp_path, kept) == []
    assert not (tmp_path / LogFile("29990101", 6).name).exists()
    assert (verified(tmp_path).problems, len(records(tmp_path))) == ([], 6)


def test_records_that_were_not_yet_acknowledged_are_kept_and_named(tmp_path):
    """Killed after the fsync and before `keep_head`: the caller's outbox must not append them again."""
    kept = make_log(tmp_path, 5)
    ids = {json.loads(record.event)["eventID"] for record in records(tmp_path)[3:]}
    no_checkpoints(tmp_path)
    behind = Kept(head=records(tmp_path)[2].head)

    async def main() -> None:
        async with opened(tmp_path, behind) as log:
            assert log.recovered >= ids
            assert log.head == behind.head == kept.head

    asyncio.run(main())


def test_records_of_a_first_start_that_was_killed_are_kept(tmp_path):
    make_log(tmp_path, 2)
    no_checkpoints(tmp_path)
    kept = Kept()
    assert reopened(tmp_path, kept) == []
    assert kept.head
    assert kept.head.sequence == 3


def test_half_a_checkpoint_is_cut(tmp_path):
    kept = make_log(tmp_path, 5)
    path = tmp_path / "checkpoints"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    reopened(tmp_path, kept)
    assert path.read_bytes().startswith(whole)
    report = verified(tmp_path)
    assert (report.problems, report.checkpoints) == ([], 2)


@pytest.mark.parametrize("whole", [False, True])
def test_only_the_tail_is_read(tmp_path, whole):
    """Old files may be gone or garbage: that is for `verify` to find, and must not make a start slow."""
    kept = make_log(tmp_path, 20, max_file_bytes=4000)
    for path in log_files(tmp_path)[:-1]:
        path.unlink() if whole else path.write_bytes(b"garbage")
    assert reopened(tmp_path, kept) == []


def test_a_long_last_file_is_read_from_near_its_end(tmp_path):
    kept = make_log(tmp_path, 30)
    head = kept.head
    assert head
    path = last_file(tmp_path)
    with path.open("ab") as file:
        for _ in range(5000):
            line, head = chained(head, b'{"filler":"%b"}' % (b"x" * 1000), 0)
            file.write(line)
    kept.head = head
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"damage")
    assert reopened(tmp_path, kept) == []
    assert verified(tmp_path).problems[0].sequence == 1


# --- what somebody did


def test_a_cut_tail_is_refused_and_names_the_first_missing_record(tmp_path):
    kept = make_log(tmp_path, 10)
    for _ in range(3):
        replace_line(last_file(tmp_path), -1, None)
    text = refused(tmp_path, kept, AuditLogCut)
    assert text == "records 8 to 10 are missing: the log ends before the last record that was acknowledged"


def test_a_tail_cut_in_the_middle_of_a_line_is_refused_too(tmp_path):
    kept = make_log(tmp_path, 10)
    path = last_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert refused(tmp_path, kept, AuditLogCut).endswith("where record 10 belongs: the line is not a record")


@pytest.mark.parametrize("how", ["all files", "the last file", "everything"])
def test_a_removed_file_is_refused(tmp_path, how):
    kept = make_log(tmp_path, 10, max_file_bytes=4000)
    first = int(last_file(tmp_path).name.split("-")[2].split(".")[0])
    for path in log_files(tmp_path) if how != "the last file" else [last_file(tmp_path)]:
        path.unlink()
    if how == "everything":
        no_checkpoints(tmp_path)
    missing = first if how == "the last file" else 1
    which = f"record {missing} is" if missing == 10 else f"records {missing} to 10 are"
    assert refused(tmp_path, kept, AuditLogCut).startswith(f"{which} missing")


def test_a_changed_record_before_the_head_is_refused(tmp_path):
    kept = make_log(tmp_path, 10)
    path = last_file(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"request-9", b"request-8"))
    # The head stands in the last line, which is unchanged itself: that much is sound, and `verify` finds the rest.
    # A tail in the window is checked as a whole.
    assert "record 9 was changed" in refused(tmp_path, kept, AuditLogCut)


def test_a_rewritten_tail_is_not_the_one_that_was_acknowledged(tmp_path):
    """Whoever rewrites records can make a chain of them, but not the hash that the key service keeps."""
    kept = make_log(tmp_path, 10)
    written = records(tmp_path)
    head, made = written[6].head, []
    for record in written[7:]:
        line, head = chained(head, record.event.replace(b"alice", b"malice"), 0)
        made.append(line)
    path = last_file(tmp_path)
    path.write_bytes(b"".join([*path.read_bytes().splitlines(keepends=True)[:7], *made]))
    assert "record 10 is not the one that was acknowledged" in refused(tmp_path, kept, AuditLogCut)


def test_a_log_and_a_database_rolled_back_together_show_against_the_checkpoints(tmp_path):
    make_log(tmp_path, 10)
    kept = Kept(head=records(tmp_path)[5].head)
    for _ in range(4):
        replace_line(last_file(tmp_path), -1, None)
    assert refused(tmp_path, kept, AuditLogCut).startswith("records 7 to 10 are missing")


def test_damage_in_front_of_records_that_were_not_acknowledged_is_refused(tmp_path):
    """A crash tears the end, and not megabytes before it."""
    kept = make_log(tmp_path, 3)
    head = kept.head
    assert head
    with last_file(tmp_path).open("ab") as file:
        file.write(b"garbage\n")
        for _ in range(3000):
            line, head = chained(head, b'{"filler":"%b"}' % (b"x" * 1000), 0)
            file.write(line)
    assert "the line is not a record" in refused(tmp_path, kept, AuditLogCut)


def test_a_database_older_than_the_log_is_refused_with_what_it_lacks(tmp_path):
    async def main() -> Head:
        kept = Kept(revision=7)
        async with opened(tmp_path, kept) as log:
            before = await log.append(event(1))
            for revision, name, error in (
                (7, "Decrypt", None),
                (8, "DisableKey", None),
                (8, "Decrypt", None),
                (9, "PutKeyPolicy", None),
                (9, "DeleteAlias", "NotFoundException"),
            ):
                kept.revision = revision
                await log.append(event(2, name=name, error_code=error))
        return before

    before = asyncio.run(main())
    old = Kept(head=before, revision=7)
    assert refused(tmp_path, old, StateRolledBack) == (
        "the database of the key service is older than its audit log: it is at revision 7, and record 3 was written at"
        " revision 8. Changes since: 3 DisableKey, 5 PutKeyPolicy"
    )
    with pytest.raises(StateRolledBack) as raised:
        asyncio.run(opened(tmp_path, old).__aenter__())
    assert [(each.sequence, each.event_name, each.key_arns) for each in raised.value.changes] == [
        (3, "DisableKey", (KEY_ARN,)),
        (5, "PutKeyPolicy", (KEY_ARN,)),
    ]
    (said,) = reopened(tmp_path, old, accepted=True)
    assert said["eventName"] == "AuditLogAccepted"
    assert "it is at revision 7" in said["serviceEventDetails"]["problems"][0]
    report = verified(tmp_path)
    assert (report.problems, report.last) == ([], 8)  # the log itself is whole
    assert reopened(tmp_path, old) == []


@pytest.mark.parametrize(
    "forged",
    [
        b'{"readOnly":false,"resources":[1]}',
        b'{"readOnly":false,"resources":[null]}',
        b'{"readOnly":false,"resources":{"ARN":"x"}}',
        b'{"a":' * 99_999 + b"1" + b"}" * 99_999,
    ],
)
def test_a_forged_event_behind_an_older_database_is_refused_like_a_true_one(tmp_path, forged):
    kept = make_log(tmp_path, 3)
    assert kept.head
    with last_file(tmp_path).open("ab") as file:
        file.write(chained(kept.head, forged, 9)[0])
    assert "Changes since: none that succeeded" in refused(tmp_path, kept, StateRolledBack)


def test_an_older_head_alone_is_no_rollback(tmp_path):
    make_log(tmp_path, 10)
    assert reopened(tmp_path, Kept(head=records(tmp_path)[2].head)) == []


def test_an_accepted_cut_goes_on_after_the_missing_records_and_verify_still_tells(tmp_path):
    kept = make_log(tmp_path, 10, checkpoint_at=[5])
    for _ in range(3):
        replace_line(last_file(tmp_path), -1, None)
    (said,) = reopened(tmp_path, kept, accepted=True)
    assert said["serviceEventDetails"]["problems"] == [
        "records 8 to 10 are missing: the log ends before the last record that was acknowledged"
    ]
    assert [record.sequence for record in records(tmp_path)] == [1, 2, 3, 4, 5, 6, 7, 11, 12]
    (problem,) = verified(tmp_path).problems
    assert (problem.sequence, problem.reason) == (8, "records 8 to 10 are missing: record 11 comes instead")
    assert reopened(tmp_path, kept) == []
    later = verified(tmp_path, first=11)
    assert (later.problems, later.first, later.last, later.unproved) == ([], 11, 13, 0)


def test_an_accepted_change_goes_on_after_what_is_there(tmp_path):
    kept = make_log(tmp_path, 10)
    path = last_file(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"request-9", b"request-8"))
    (said,) = reopened(tmp_path, kept, accepted=True)
    assert "record 9 was changed" in said["serviceEventDetails"]["problems"][0]
    assert [path.name.split("-")[2] for path in log_files(tmp_path)] == ["000000000001.jsonl", "000000000011.jsonl"]
    assert reopened(tmp_path, kept) == []
    assert [problem.sequence for problem in verified(tmp_path).problems] == [9]  # for good, as the page says
    later = verified(tmp_path, first=11)
    assert (later.problems, later.first, later.unproved) == ([], 11, 0)


def test_an_accepted_log_that_ends_in_a_file_of_garbage_goes_on_under_another_number(tmp_path):
    kept = make_log(tmp_path, 10)
    day = last_file(tmp_path).name.split("-")[1]
    garbage = tmp_path / LogFile(day, 11).name
    garbage.write_bytes(b"garbage\n" * 500_000)
    assert "where record 11 belongs" in refused(tmp_path, kept, AuditLogCut)
    reopened(tmp_path, kept, accepted=True)
    assert last_file(tmp_path).name == LogFile(day, 12).name
    assert reopened(tmp_path, kept) == []


def test_a_head_that_cannot_be_kept_at_the_opening_is_not_signed(tmp_path):
    make_log(tmp_path, 5)
    no_checkpoints(tmp_path)

    async def main() -> None:
        async with opened(tmp_path, Kept(error=RuntimeError("full"))):
            pass

    with pytest.raises(RuntimeError, match="full"):
        asyncio.run(main())
    assert not (tmp_path / "checkpoints").exists()


def test_acceptance_where_nothing_is_wrong_records_nothing(tmp_path):
    kept = make_log(tmp_path, 3)
    assert reopened(tmp_path, kept, accepted=True) == []


def test_a_copy_in_another_place_opens(tmp_path):
    kept = make_log(tmp_path / "audit", 5)
    shutil.copytree(tmp_path / "audit", tmp_path / "copy")
    assert reopened(tmp_path / "copy", kept) == []


def test_the_public_key_is_the_signers_even_if_somebody_changed_it(tmp_path):
    kept = make_log(tmp_path, 1)
    (tmp_path / "public-key").write_text("another")
    reopened(tmp_path, kept)
    assert (tmp_path / "public-key").read_text() == SIGNER.verifier.text + "\n"
