"""A copy of the log up to one record, whole lines only."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from strongroom.audit.chain import Head
from strongroom.audit.copy import RecordMissing, copy_checkpoints, copy_records
from tests.audited import Kept, log_files, make_log, opened, records, verified


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Nine records in several files, a checkpoint after the fourth and after the last."""
    make_log(tmp_path / "source", 9, checkpoint_at=[4], max_file_bytes=1500)
    assert len(log_files(tmp_path / "source")) > 2
    return tmp_path / "source"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    return tmp_path / "copy"


@pytest.mark.parametrize("through", [1, 4, 5, 9])
def test_it_ends_with_the_record_that_was_asked_for(source: Path, copy: Path, through: int) -> None:
    wanted = records(source)[:through]
    copy_records(source, copy, through=wanted[-1].head)
    assert records(copy) == wanted
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in copy.iterdir())


def test_without_a_limit_it_is_all_that_is_whole(source: Path, copy: Path) -> None:
    with log_files(source)[-1].open("ab") as file:
        file.write(b'{"sequence":10,"previousHash":"')
    copy_records(source, copy, through=None)
    assert records(copy) == records_but_torn(source)


def records_but_torn(source: Path) -> list[object]:
    last = log_files(source)[-1]
    os.truncate(last, last.read_bytes().rindex(b"\n") + 1)
    return list(records(source))


def test_a_log_is_opened_and_verified_from_its_copy(source: Path, copy: Path) -> None:
    copy_checkpoints(source, copy)
    last = records(source)[-1].head
    copy_records(source, copy, through=last)
    assert (copy / "public-key").read_bytes() == (source / "public-key").read_bytes()
    assert (verified(copy).last, verified(copy).problems) == (9, [])

    async def go_on() -> None:
        async with opened(copy, Kept(head=last)) as log:
            assert log.head == last

    asyncio.run(go_on())


def test_half_a_checkpoint_is_left_out(source: Path, copy: Path) -> None:
    whole = (source / "checkpoints").read_bytes()
    with (source / "checkpoints").open("ab") as file:
        file.write(whole[: len(whole) // 3])
    copy_checkpoints(source, copy)
    assert (copy / "checkpoints").read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda head: Head(10, head.hash, 0), "ends before record 10"),
        (lambda head: Head(head.sequence, bytes(32), 0), "is not the one that was acknowledged"),
    ],
)
def test_a_record_that_is_not_there_is_told(source: Path, copy: Path, change, told: str) -> None:
    with pytest.raises(RecordMissing, match=told):
        copy_records(source, copy, through=change(records(source)[-1].head))


def test_an_empty_log_has_nothing_to_copy(tmp_path: Path, copy: Path) -> None:
    (tmp_path / "empty").mkdir()
    copy_checkpoints(tmp_path / "empty", copy)
    copy_records(tmp_path / "empty", copy, through=None)
    assert list(copy.iterdir()) == []
    with pytest.raises(RecordMissing, match="has no record 3"):
        copy_records(tmp_path / "empty", copy, through=Head(3, bytes(32), 0))


def test_nothing_is_written_over(source: Path, copy: Path) -> None:
    (copy / "public-key").symlink_to(copy / "elsewhere")
    with pytest.raises(FileExistsError):
        copy_checkpoints(source, copy)
    assert not (copy / "elsewhere").exists()
