"""AuditLog while it runs: durability before the answer, groups, refusals, rotation, checkpoints."""

import asyncio
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.audit.chain import GENESIS, Head, check_follows
from strongroom.audit.checkpoint import Verifier, open_checkpoint
from strongroom.audit.files import LogFile
from strongroom.audit.log import AuditUnavailable, Pace
from strongroom.database.database import DatabaseFull
from tests.audited import SIGNER, Kept, event, log_files, make_log, opened, records, verified

DAY_US = 86_400_000_000


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  it is the file system's state, which sets no Event
            await asyncio.sleep(0.01)


def checkpoints(directory: Path) -> list[int]:
    if not (directory / "checkpoints").is_file():
        return []
    *notes, rest = (directory / "checkpoints").read_text().split("\n\n")
    assert rest == ""
    pairs = zip(notes[::2], notes[1::2], strict=True)
    return [open_checkpoint(f"{text}\n\n{signature}\n", SIGNER.verifier).sequence for text, signature in pairs]


async def until_signed(directory: Path, expected: list[int]) -> None:
    await until(lambda: checkpoints(directory) == expected)


def test_append__returns_the_records_head_after_it_is_in_the_file_and_kept(tmp_path):
    async def main() -> None:
        kept = Kept(revision=5)
        async with opened(tmp_path / "audit", kept) as log:
            assert log.head == GENESIS
            made = event(1)
            head = await log.append(made)
            (record,) = records(tmp_path / "audit")
            assert head == log.head == kept.head == record.head == Head(1, record.hash, 5)
            assert json.loads(record.event) == made

    asyncio.run(main())


def test_append__is_answered_only_when_the_head_is_kept(tmp_path):
    async def main() -> None:
        kept, may_keep = Kept(), asyncio.Event()

        async def keep(head: Head) -> None:
            assert records(tmp_path)[-1].head == head  # durable before
            await may_keep.wait()
            await kept.keep(head)

        async with opened(tmp_path, kept, keep_head=keep) as log:
            append = asyncio.create_task(log.append(event()))
            await until(lambda: bool(log_files(tmp_path)))
            await asyncio.sleep(0.05)
            assert not append.done()
            assert log.head == GENESIS
            may_keep.set()
            assert (await append).sequence == 1

    asyncio.run(main())


def test_concurrent_appends_are_grouped_and_stand_in_the_order_of_their_calls(tmp_path):
    async def main() -> None:
        kept = Kept()
        async with opened(tmp_path, kept) as log:
            heads = await asyncio.gather(*(log.append(event(number)) for number in range(500)))
            assert [head.sequence for head in heads] == list(range(1, 501))
            assert len(kept.heads) < 20
            assert kept.head == heads[-1]
        written = records(tmp_path)
        assert [json.loads(record.event)["requestID"] for record in written] == [f"request-{n}" for n in range(500)]
        assert [record.head for record in written] == heads
        head = GENESIS
        for record in written:
            check_follows(record, head)
            head = record.head

    asyncio.run(main())


def test_a_groups_bytes_are_bounded(tmp_path):
    """What a crash can tear is what one write holds, and the opening counts on that."""

    async def main() -> None:
        kept = Kept()
        async with opened(tmp_path, kept) as log:
            large = {"policy": "x" * 200_000}
            await asyncio.gather(*(log.append(event(n, request_parameters=large)) for n in range(30)))
        sizes = [len(record.event) for record in records(tmp_path)]
        ends = [head.sequence for head in kept.heads]
        assert all(sum(sizes[start:stop]) < 2 << 20 for start, stop in zip([0, *ends], ends, strict=False))

    asyncio.run(main())


def test_each_record_carries_the_state_revision_of_its_call(tmp_path):
    async def main() -> None:
        kept = Kept(revision=1)
        async with opened(tmp_path, kept) as log:
            first = asyncio.create_task(log.append(event()))
            await asyncio.sleep(0)
            kept.revision = 2
            assert (await asyncio.gather(first, log.append(event())))[1].state_revision == 2
        assert [record.state_revision for record in records(tmp_path)] == [1, 2]

    asyncio.run(main())


def test_the_reserve_is_given_up_for_a_head_that_has_no_room_too(tmp_path):
    """On a full disk a record may fit into the last block of its file, and its head not into the database."""
    reserve = tmp_path / "kms.reserve"

    class KeptOnFullDisk(Kept):
        async def keep(self, head: Head) -> None:
            if reserve.stat().st_size:
                raise DatabaseFull("no space is left for the database")
            await super().keep(head)

    async def main() -> None:
        kept = KeptOnFullDisk()
        async with opened(tmp_path, kept, reserve_bytes=4096) as log:
            assert [await log.append(event()) for _ in range(3)] == kept.heads
            assert reserve.stat().st_size == 0
            kept.error = DatabaseFull("no space is left for the database")
            with pytest.raises(AuditUnavailable, match="no space is left for the database"):
                await log.append(event())
            kept.error = None
            await log.append(event())
        assert [record.head for record in records(tmp_path)] == list(dict.fromkeys(kept.heads))

    asyncio.run(main())


def test_everything_is_for_the_owner_alone(tmp_path):
    async def main() -> None:
        async with opened(tmp_path / "audit", Kept(), reserve_bytes=4096) as log:
            await log.append(event())
            await log.checkpoint()

    asyncio.run(main())
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "audit").iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"checkpoints", "public-key", "kms.reserve"} < set(modes)
    assert Verifier((tmp_path / "audit" / "public-key").read_text().strip()).key_id == SIGNER.verifier.key_id


def test_bytes_in_an_event_are_refused_and_nothing_is_written(tmp_path):
    async def main() -> None:
        kept = Kept()
        async with opened(tmp_path, kept) as log:
            with pytest.raises(TypeError):
                await log.append({"eventName": "Encrypt", "requestParameters": {"plaintext": b"canary"}})
            assert (log.head, log_files(tmp_path)) == (GENESIS, [])

    asyncio.run(main())


def test_append__of_a_cancelled_caller_harms_nobody(tmp_path):
    async def main() -> None:
        async with opened(tmp_path, Kept()) as log:
            tasks = [asyncio.create_task(log.append(event(number))) for number in range(10)]
            await asyncio.sleep(0)
            tasks[3].cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(done.pop(3), asyncio.CancelledError)
            assert all(isinstance(each, Head) for each in done)
            assert (await log.append(event())).sequence == len(records(tmp_path))

    asyncio.run(main())


# --- refusals


def test_a_head_that_is_not_kept_refuses_the_whole_group_and_leaves_nothing_of_it(tmp_path):
    async def main() -> None:
        kept = Kept()
        async with opened(tmp_path, kept) as log:
            first = await log.append(event(1))
            kept.error = RuntimeError("disk full")
            for _ in range(3):
                refused = await asyncio.gather(*(log.append(event(9)) for _ in range(20)), return_exceptions=True)
                assert {type(each) for each in refused} == {AuditUnavailable}
                assert [record.head for record in records(tmp_path)] == [first]
                assert log.head == kept.head == first
            kept.error = None
            again = await log.append(event(2))
            assert again.sequence == 2
            assert kept.heads == [first, first, again]  # what may have been kept of the refused ones is overwritten
        assert [json.loads(record.event)["requestID"] for record in records(tmp_path)] == ["request-1", "request-2"]
        assert verified(tmp_path).problems == []

    asyncio.run(main())


@pytest.mark.parametrize("how", ["removed", "replaced", "cut", "longer"])
def test_a_file_that_somebody_else_touches_stops_the_log(tmp_path, how):
    async def main() -> None:
        kept = Kept()
        async with opened(tmp_path, kept) as log:
            for number in range(3):
                await log.append(event(number))
            (path,) = log_files(tmp_path)
            content = path.read_bytes()
            match how:
                case "removed":
                    path.unlink()
                case "replaced":
                    path.rename(tmp_path / "moved")
                    path.write_bytes(content)
                case "cut":
                    path.write_bytes(content[:-1])
                case "longer":
                    path.write_bytes(content + b"x")
            for _ in range(2):
                with pytest.raises(AuditUnavailable, match=path.name):
                    await log.append(event())
            assert kept.head == log.head
            assert log.head.sequence == 3

    asyncio.run(main())


def test_another_process_cannot_open_the_log_meanwhile(tmp_path):
    async def main() -> None:
        async with opened(tmp_path, Kept()):
            with pytest.raises(AuditUnavailable, match="another process"):
                async with opened(tmp_path, Kept()):
                    pass
        async with opened(tmp_path, Kept()):
            pass

    asyncio.run(main())


def test_a_closed_log_refuses_and_has_written_what_waited(tmp_path):
    async def main() -> None:
        async with opened(tmp_path, Kept()) as log:
            waiting = [asyncio.create_task(log.append(event(number))) for number in range(50)]
            await asyncio.sleep(0)
        assert [(await each).sequence for each in waiting] == list(range(1, 51))
        with pytest.raises(AuditUnavailable):
            await log.append(event())
        await log.close()
        assert checkpoints(tmp_path) == [50]

    asyncio.run(main())


@pytest.mark.parametrize("name", [LogFile("20260102", 1).name, "checkpoints"])
def test_no_symlink_is_followed(tmp_path, name):
    async def main() -> None:
        target = tmp_path / "target"
        target.touch()
        directory = tmp_path / "audit"
        directory.mkdir()
        async with opened(directory, Kept(), now_us=lambda: 1_767_323_045_000_000) as log:
            (directory / name).symlink_to(target)
            if name == "checkpoints":
                await log.append(event())
                with pytest.raises(AuditUnavailable):
                    await log.checkpoint()
            else:
                with pytest.raises(AuditUnavailable):
                    await log.append(event())
        assert target.read_bytes() == b""

    asyncio.run(main())


@pytest.mark.timeout(20)
def test_a_pipe_makes_nobody_wait(tmp_path):
    """Whoever puts one into the directory shall not hang the service, or the proof of what he did."""

    async def main() -> None:
        async with opened(tmp_path, Kept()) as log:
            os.mkfifo(tmp_path / "checkpoints")
            await log.append(event())
            with pytest.raises(AuditUnavailable):
                await log.checkpoint()
            await log.append(event())
        os.mkfifo(tmp_path / LogFile("20200101", 1).name)
        async with opened(tmp_path, Kept(head=log.head)):
            pass

    asyncio.run(main())
    report = verified(tmp_path)
    assert (report.problems, report.last, report.proved) == ([], 2, None)


# --- rotation


def test_a_full_file_is_followed_by_another_and_the_chain_goes_on(tmp_path):
    async def main() -> None:
        kept = Kept()
        for _ in range(2):
            async with opened(tmp_path, kept, max_file_bytes=3000) as log:
                for number in range(10):
                    await log.append(event(number))

    asyncio.run(main())
    files = log_files(tmp_path)
    assert len(files) > 5
    assert all(path.stat().st_size < 4500 for path in files)
    assert [record.sequence for record in records(tmp_path)] == list(range(1, 21))
    report = verified(tmp_path)
    assert (report.problems, report.last, report.proved and report.proved.sequence) == ([], 20, 20)


def test_each_day_has_a_file_and_a_clock_set_back_makes_none(tmp_path):
    async def main() -> None:
        now = [1_767_323_045_000_000]  # 2026-01-02
        async with opened(tmp_path, Kept(), now_us=lambda: now[0]) as log:
            for step in (0, 0, DAY_US, -DAY_US, 2 * DAY_US):
                now[0] += step
                await log.append(event())

    asyncio.run(main())
    assert [path.name for path in log_files(tmp_path)] == [
        "kms-20260102-000000000001.jsonl",
        "kms-20260103-000000000003.jsonl",
        "kms-20260104-000000000005.jsonl",
    ]
    assert verified(tmp_path).problems == []


# --- checkpoints


def test_checkpoints_come_at_once_after_so_many_records_and_when_idle(tmp_path):
    async def main() -> None:
        pace = Pace(records=10, soon_seconds=3600, seconds=3600, idle_seconds=3600)
        async with opened(tmp_path, Kept(), pace=pace) as log:
            await log.append(event())
            running = asyncio.create_task(log.run_checkpoints())
            await until_signed(tmp_path, [1])
            for number in range(9):
                await log.append(event(number))
            assert checkpoints(tmp_path) == [1]
            await log.append(event())
            await until_signed(tmp_path, [1, 11])
            for number in range(10):
                await log.append(event(number))
            await until_signed(tmp_path, [1, 11, 21])
            running.cancel()
        idle = Pace(soon_seconds=3600, seconds=3600, idle_seconds=0.05)
        kept = Kept(head=log.head)
        async with opened(tmp_path, kept, pace=idle) as log:
            running = asyncio.create_task(log.run_checkpoints())
            await until(lambda: len(checkpoints(tmp_path)) > 5)
            running.cancel()
        assert set(checkpoints(tmp_path)[2:]) == {21}

    asyncio.run(main())


@pytest.mark.parametrize("before", [0, 1])
def test_the_first_record_after_a_rest_is_signed_soon_and_those_after_it_at_the_pace(tmp_path, before):
    """Whoever looks for the proof of a first use finds it; a log that is busy is not signed for every record."""

    kept = make_log(tmp_path, before) if before else Kept()

    async def main() -> None:
        async with opened(tmp_path, kept, pace=Pace(soon_seconds=0.05, seconds=3600)) as log:
            running = asyncio.create_task(log.run_checkpoints())
            await asyncio.sleep(0.1)
            at_rest = checkpoints(tmp_path)
            await asyncio.gather(log.append(event()), log.append(event()))
            await until_signed(tmp_path, [*at_rest, before + 2])  # one for all that came together
            for number in range(5):
                await log.append(event(number))
                await asyncio.sleep(0.03)
            assert checkpoints(tmp_path) == [*at_rest, before + 2]
            running.cancel()

    asyncio.run(main())


def test_a_busy_log_is_signed_once_in_so_many_seconds_and_rests_when_nothing_comes(tmp_path):
    async def main() -> None:
        async with opened(tmp_path, Kept(), pace=Pace(soon_seconds=0, seconds=0.1)) as log:
            running = asyncio.create_task(log.run_checkpoints())
            for expected in ([1], [1, 2], [1, 2, 3]):
                await log.append(event())
                await until_signed(tmp_path, expected)
            await asyncio.sleep(0.3)
            assert checkpoints(tmp_path) == [1, 2, 3]
            running.cancel()

    asyncio.run(main())


def test_a_checkpoint_that_could_not_be_written_is_tried_again(tmp_path):
    async def main() -> None:
        async with opened(tmp_path, Kept(), pace=Pace(soon_seconds=0, seconds=0.02)) as log:
            (tmp_path / "checkpoints").mkdir()
            running = asyncio.create_task(log.run_checkpoints())
            await log.append(event())
            await asyncio.sleep(0.1)
            (tmp_path / "checkpoints").rmdir()
            await until_signed(tmp_path, [1])
            running.cancel()

    asyncio.run(main())


def test_an_empty_log_has_nothing_to_sign(tmp_path):
    async def main() -> None:
        async with opened(tmp_path, Kept(), pace=Pace(soon_seconds=0.01, seconds=0.01, idle_seconds=0.01)) as log:
            running = asyncio.create_task(log.run_checkpoints())
            await asyncio.sleep(0.1)
            running.cancel()

    asyncio.run(main())
    assert not (tmp_path / "checkpoints").exists()
