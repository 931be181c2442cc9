"""verify: what it proves of a sound log, and that it names the first record that is bad or missing."""

import asyncio
import shutil
from pathlib import Path

import pytest

from strongroom.audit.chain import GENESIS, chained
from strongroom.audit.checkpoint import Signer, Verifier, new_signing_key
from strongroom.audit.verify import Report, verify
from tests.audited import SIGNER, Kept, event, log_files, make_log, opened, records, verified

COUNT = 20


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """20 records in several files, checkpoints at 5, 12 and 20."""
    directory: Path = tmp_path_factory.mktemp("sound") / "audit"
    make_log(directory, COUNT, checkpoint_at=[5, 12], max_file_bytes=3500)
    assert len(log_files(directory)) > 4
    return directory


@pytest.fixture
def directory(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "audit"))


def first_of(path: Path) -> int:
    return int(path.stem.split("-")[2])


def all_lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def found(directory: Path) -> tuple[int | None, str, int | None, str]:
    problem = verified(directory).problems[0]
    return problem.sequence, problem.file, problem.line, problem.reason


def cut_after(directory: Path, sequence: int) -> None:
    """Remove every record after `sequence`."""
    for path in log_files(directory):
        kept = [line for number, line in enumerate(all_lines(path), first_of(path)) if number <= sequence]
        path.write_bytes(b"".join(kept)) if kept else path.unlink()


def test_a_sound_log_is_proved_to_its_last_checkpoint(sound):
    report = verified(sound)
    assert (report.problems, report.first, report.last, report.checkpoints) == ([], 1, COUNT, 3)
    assert report.proved
    assert (report.proved.sequence, report.unproved, report.unfinished_bytes) == (COUNT, 0, 0)


def test_records_after_the_last_checkpoint_are_complete_and_not_proved(directory):
    notes = (directory / "checkpoints").read_text().split("\n\n")
    (directory / "checkpoints").write_text("\n\n".join([*notes[:4], ""]))
    report = verified(directory)
    assert report.proved
    assert (report.problems, report.last, report.proved.sequence, report.unproved) == ([], COUNT, 12, 8)


def test_nothing_is_proved_without_checkpoints(directory):
    (directory / "checkpoints").unlink()
    report = verified(directory)
    assert (report.problems, report.last, report.proved, report.unproved) == ([], COUNT, None, COUNT)


def test_a_record_being_written_is_no_damage(directory):
    with log_files(directory)[-1].open("ab") as file:
        file.write(b'{"sequence":21,"prev')
    with (directory / "checkpoints").open("ab") as file:
        file.write(b"strongroom.test/audit\n21\n")
    report = verified(directory)
    assert (report.problems, report.last, report.unfinished_bytes) == ([], COUNT, 20)


def test_a_live_log_is_sound_at_every_moment(tmp_path):
    async def main() -> list[Report]:
        kept = Kept()
        reports: list[Report] = []
        async with opened(tmp_path, kept, max_file_bytes=100_000) as log:
            done = False

            async def writer(number: int) -> None:
                while not done:
                    await log.append(event(number))

            await log.append(event())
            writing = [asyncio.create_task(writer(number)) for number in range(16)]
            while len(reports) < 10 or reports[-1].last < 200:
                await log.checkpoint()
                reports.append(await asyncio.to_thread(verified, tmp_path))
            done = True
            await asyncio.gather(*writing)
        return reports

    reports = asyncio.run(main())
    assert all(report.problems == [] for report in reports)
    assert all(report.proved and 0 <= report.unproved < report.last for report in reports)


def test_progress_ends_with_all_bytes(sound):
    told: list[tuple[int, int]] = []
    verified(sound, progress=lambda done, total: told.append((done, total)))
    size = sum(path.stat().st_size for path in log_files(sound))
    assert told[-1] == (size, size)


# --- damage


@pytest.mark.parametrize("sequence", [1, 7, COUNT])
def test_an_edited_record(directory, sequence):
    for path in log_files(directory):
        path.write_bytes(path.read_bytes().replace(b"key-%d" % sequence + b'"', b"key-0" + b'"'))
    number, file, line, reason = found(directory)
    assert (number, reason) == (sequence, f"record {sequence} was changed: its hash is not that of its content")
    assert line
    assert all_lines(directory / file)[line - 1].startswith(b'{"sequence":%d,' % sequence)


@pytest.mark.parametrize("sequence", [1, 6, 12])
def test_a_deleted_line(directory, sequence):
    for path in log_files(directory):
        kept = [line for number, line in enumerate(all_lines(path), first_of(path)) if number != sequence]
        path.write_bytes(b"".join(kept))
    number, _, _, reason = found(directory)
    assert (number, reason) == (sequence, f"record {sequence} is missing: record {sequence + 1} comes instead")


def test_a_deleted_last_line(directory):
    cut_after(directory, COUNT - 1)
    number, file, line, reason = found(directory)
    assert (number, file, line) == (COUNT, "", None)
    assert reason.startswith("record 20 is missing: the checkpoint of ")


def test_a_tail_cut_behind_a_checkpoint(directory):
    cut_after(directory, 9)
    number, _, _, reason = found(directory)
    assert number == 10
    assert reason.startswith("records 10 to 20 are missing: the checkpoint of ")
    report = verified(directory)
    assert report.proved
    assert (report.last, report.proved.sequence) == (9, 5)


def test_everything_gone_but_the_checkpoints(directory):
    cut_after(directory, 0)
    assert found(directory)[0] == 1
    assert verified(directory).last == 0


@pytest.mark.parametrize("inserted", ["a copy", "a forgery", "an empty line", "garbage"])
def test_an_inserted_line(directory, inserted):
    path = log_files(directory)[2]
    lines = all_lines(path)
    sequence = first_of(path) + 1
    before = next(record for record in records(directory) if record.sequence == sequence - 1)
    new = {
        "a copy": lines[0],
        "a forgery": chained(before.head, b'{"eventName":"Forged"}', 0)[0],
        "an empty line": b"\n",
        "garbage": b"garbage\n",
    }[inserted]
    path.write_bytes(b"".join([*lines[:1], new, *lines[1:]]))
    number, file, line, _ = found(directory)
    at = (sequence, 2) if inserted != "a forgery" else (sequence + 1, 3)  # the forgery itself is well chained
    assert (number, file, line) == (at[0], path.name, at[1])


def test_swapped_lines(directory):
    path = log_files(directory)[1]
    first, second, *rest = all_lines(path)
    path.write_bytes(b"".join([second, first, *rest]))
    assert found(directory)[:3] == (first_of(path), path.name, 1)


def test_a_missing_file(directory):
    path, following = log_files(directory)[2:4]
    path.unlink()
    number, file, line, reason = found(directory)
    assert (number, file, line) == (first_of(path), following.name, 1)
    assert "missing" in reason


def test_the_first_file_missing(directory):
    log_files(directory)[0].unlink()
    assert found(directory)[0] == 1


@pytest.mark.parametrize("named", ["another day", "the next records", "the end"])
def test_a_duplicated_file(directory, named):
    path = log_files(directory)[1]
    first = {"another day": first_of(path), "the next records": first_of(path) + 1, "the end": COUNT + 1}[named]
    shutil.copy(path, directory / f"kms-29990101-{first:012}.jsonl")
    number, _, line, _ = found(directory)
    assert number is not None
    assert number <= COUNT + 1
    assert line == 1


def test_reordered_files(directory):
    one, two = log_files(directory)[1:3]
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    assert found(directory)[:3] == (first_of(one), one.name, 1)


def test_a_renamed_file(directory):
    path = log_files(directory)[1]
    path.rename(directory / f"kms-20000101-{first_of(path) + 1:012}.jsonl")
    number, _, line, reason = found(directory)
    assert (number, line) == (first_of(path), 1)
    assert reason.endswith(f"and its name says {first_of(path) + 1}")


def test_a_torn_line_that_is_not_the_last(directory):
    path = log_files(directory)[1]
    path.write_bytes(path.read_bytes()[:-10])
    assert found(directory)[1] == path.name


@pytest.mark.parametrize(("since", "first_bad"), [(3, 1), (9, 6), (15, 13)])
def test_a_chain_rewritten_from_a_record_on_breaks_at_the_next_checkpoint(directory, since, first_bad):
    """Whoever can write the files can make a chain of any length, and sign nothing."""
    written, head, made = records(directory), GENESIS, []
    for record in written:
        event = record.event if record.sequence < since else record.event.replace(b"alice", b"malice")
        line, head = chained(head, event, record.state_revision)
        made.append(line)
    for path in log_files(directory)[1:]:
        path.unlink()
    log_files(directory)[0].write_bytes(b"".join(made))
    number, _, _, reason = found(directory)
    assert number == first_bad
    assert number <= since
    assert "records were rewritten" in reason


# --- checkpoints


def test_a_checkpoint_of_another_key(directory):
    other = Signer(new_signing_key(), SIGNER.verifier.name)
    head = records(directory)[-1]
    with (directory / "checkpoints").open("a") as file:
        file.write(other.checkpoint(20, head.hash, "2026-01-02T03:04:05Z") + "\n")
    number, file_name, line, reason = found(directory)
    assert (number, file_name, line) == (None, "checkpoints", 22)
    assert reason == "this checkpoint is not to be believed: another key signed it"
    everything_else = verify(directory, Verifier(other.verifier.text))
    assert [problem.sequence for problem in everything_else.problems] == [None] * 3


@pytest.mark.parametrize("old", ["\n5\n", "time 2", "— strongroom"])
def test_an_edited_checkpoint(directory, old):
    path = directory / "checkpoints"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, old.replace("5", "6").replace("2", "1").replace("str", "mal"), 1))
    problems = verified(directory).problems
    assert {(problem.sequence, problem.file) for problem in problems} == {(None, "checkpoints")}


def test_reordered_checkpoints(directory):
    path = directory / "checkpoints"
    parts = path.read_text().split("\n\n")
    path.write_text("\n\n".join([*parts[2:4], *parts[0:2], *parts[4:]]))
    (problem,) = verified(directory).problems
    assert problem.reason.endswith("it names record 5, and the one before it record 12")


def test_a_log_whose_older_files_were_moved_away(directory):
    gone = log_files(directory)[:2]
    begin = first_of(log_files(directory)[2])
    for path in gone:
        path.unlink()
    assert found(directory)[0] == 1
    report = verified(directory, first=begin)
    assert report.proved
    assert (report.problems, report.first, report.last, report.proved.sequence) == ([], begin, COUNT, COUNT)
    assert verified(directory, first=begin + 1).first == begin + 1  # also within a file
    assert verified(directory, first=begin - 1).problems[0].sequence == begin - 1
