import pytest

from strongroom.audit.copying import copy_log
from tests.audited import Kept, log_files, make_log, records, verified


def grown(directory, *groups: tuple[int, int], max_file_bytes: int = 64 << 20) -> Kept:
    """A log of groups of (records, state revision), with a checkpoint after each."""
    kept = Kept()
    for count, revision in groups:
        kept.revision = revision
        make_log(directory, count, kept=kept, max_file_bytes=max_file_bytes)
    return kept


@pytest.mark.parametrize("max_file_bytes", [1, 64 << 20])  # a file for each record, and one for all
def test_a_copy_ends_where_the_database_does(tmp_path, max_file_bytes) -> None:
    log = tmp_path / "audit"
    grown(log, (3, 1), (2, 2), (4, 3), max_file_bytes=max_file_bytes)
    for revision, last in ((0, 0), (1, 3), (2, 5), (3, 9), (9, 9)):
        copy = tmp_path / f"copy-{revision}"
        assert copy_log(log, copy, state_revision=revision) == last
        assert [record.sequence for record in records(copy)] == list(range(1, last + 1))
        report = verified(copy)
        assert not report.problems
        assert (report.last, report.proved.sequence if report.proved else 0) == (last, last)
        assert (copy / "public-key").read_bytes() == (log / "public-key").read_bytes()
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in copy.iterdir())


def test_a_line_that_is_being_written_is_left_out(tmp_path) -> None:
    log = tmp_path / "audit"
    grown(log, (3, 1))
    with log_files(log)[-1].open("ab") as file:
        file.write(b'{"sequence":4,"prev')
    assert copy_log(log, tmp_path / "copy", state_revision=9) == 3
    assert not verified(tmp_path / "copy").problems


def test_damage_is_copied_and_not_covered_up(tmp_path) -> None:
    log = tmp_path / "audit"
    grown(log, (5, 1))
    path = log_files(log)[0]
    path.write_bytes(path.read_bytes().replace(b"request-2", b"request-X"))
    copy_log(log, tmp_path / "copy", state_revision=9)
    assert verified(tmp_path / "copy").problems[0].sequence == verified(log).problems[0].sequence
