"""AuditLog on bad days: the order of syncs, failing fsyncs, a full disk, SIGKILL at any moment."""

import json
import random
import re
import time
from pathlib import Path

import pytest

from strongroom.audit.chain import Head
from tests.audited import Kept, log_files, make_log, records, verified
from tests.faults.children import on_small_disk, run, start, traced

PRELUDE = """
import asyncio, json, os, sys
from pathlib import Path
from strongroom.audit.chain import Head
from strongroom.audit.log import AuditUnavailable
from tests.audited import Kept, event, log_files, opened, records, verified

def head_file(directory):
    return directory.with_name("head")

def kept_head(directory):
    # As a key service keeps it, but in a file.
    path = head_file(directory)
    if not path.exists():
        return None
    sequence, digest, revision = path.read_text().split()
    return Head(int(sequence), bytes.fromhex(digest), int(revision))

class KeptOnDisk(Kept):
    def __init__(self, directory):
        super().__init__(head=kept_head(directory))
        self.path = head_file(directory)

    async def keep(self, head):
        await super().keep(head)
        temporary = self.path.with_suffix(".new")
        with temporary.open("w") as file:
            file.write(f"{head.sequence} {head.hash.hex()} {head.state_revision}")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.path)
"""


def kept_head(directory: Path) -> Head:
    sequence, digest, revision = directory.with_name("head").read_text().split()
    return Head(int(sequence), bytes.fromhex(digest), int(revision))


def test_a_record_is_on_disk_then_its_head_is_kept_and_then_it_is_answered(tmp_path):
    script = (
        PRELUDE
        + """
async def main(directory):
    async with opened(directory, KeptOnDisk(directory)) as log:
        for number in range(2):
            await log.append(event(number))
            os.write(1, b"answered")

asyncio.run(main(Path(sys.argv[1])))
"""
    )
    trace = tmp_path / "trace"
    run(script, tmp_path / "audit", under=traced(trace, "-e", "trace=openat,write,fsync,fdatasync"))
    names = {"head.new": "head", "checkpoints": "checkpoint", "audit": "directory"}
    steps = []
    for line in trace.read_text().splitlines():
        if re.search(r"write\(1<.*\"answered", line):
            steps.append("answered")
        elif re.search(r"openat\(.*\"kms-[^\"]*jsonl\",.*O_CREAT", line):
            steps = ["made"]
        elif synced := re.search(r"(fsync|fdatasync)\(\d+<[^>]*/([^>/]*)>", line):
            steps.append("record" if synced[2].startswith("kms-") else names.get(synced[2], synced[2]))
    step = ["record", "head", "answered"]
    assert steps == ["made", "directory", *step, *step, "checkpoint", "directory"]


EIO = (
    PRELUDE
    + """
async def main(directory):
    kept = Kept()
    async with opened(directory, kept) as log:
        results = []
        for number in range(6):
            group = [log.append(event(number)) for _ in range(3)]
            results.append(await asyncio.gather(*group, return_exceptions=True))
        kinds = [{type(each).__name__ for each in group} for group in results]
        assert all(len(each) == 1 for each in kinds), kinds
        good = [number for number, group in enumerate(results) if isinstance(group[0], Head)]
        there = [json.loads(record.event)["requestID"] for record in records(directory)]
        assert there == [f"request-{number}" for number in good for _ in range(3)], there
        print(json.dumps(good))

asyncio.run(main(Path(sys.argv[1])))
"""
)


@pytest.mark.parametrize(
    ("injection", "good"),
    [
        ("fdatasync:error=EIO:when=2", [0, 2, 3, 4, 5]),
        ("fdatasync:error=EIO:when=2..3", [0, 3, 4, 5]),
        ("fdatasync:error=EIO:when=1", [1, 2, 3, 4, 5]),  # the first group of a file: it goes altogether
        ("ftruncate:error=EIO:when=1", None),  # the cut fails as well: only the next write mends it
    ],
)
def test_a_group_that_fails_leaves_nothing_and_the_log_goes_on(tmp_path, injection, good):
    directory = tmp_path / "audit"
    inject = ["-e", f"inject={injection}"]
    if good is None:
        inject += ["-e", "inject=fdatasync:error=EIO:when=2"]
        good = [0, 2, 3, 4, 5]
    trace = tmp_path / "trace"
    options = ["-e", "trace=fdatasync,fsync,ftruncate", *inject]
    printed = run(EIO, directory, under=traced(trace, *options))
    assert "EIO" in trace.read_text()
    calls = re.findall(r"(\w+)\(\d+<([^>]*)>.* = 0$", trace.read_text(), re.MULTILINE)
    for number, (call, path) in enumerate(calls):
        assert call != "ftruncate" or calls[number + 1] == ("fsync", path)  # what was cut stays cut
    assert json.loads(printed) == good
    report = verified(directory)
    assert (report.problems, report.last) == ([], 3 * len(good))
    assert len(log_files(directory)) == (1 if 0 not in good else 2)  # nothing is synced again after a failed fsync


FULL_DISK = (
    PRELUDE
    + """
async def main(disk):
    directory, kept = disk / "audit", Kept()
    reserve = directory / "kms.reserve"
    async with opened(directory, kept, reserve_bytes=1 << 20, max_file_bytes=1 << 20) as log:
        answered = [await log.append(event(number)) for number in range(20)]
        with (disk / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass
        assert reserve.stat().st_size == 1 << 20
        lived_on_reserve = 0
        for size in (8, 1):  # where eight have no room, one may have
            while True:
                group = [log.append(event(1)) for _ in range(size)]
                results = await asyncio.gather(*group, return_exceptions=True)
                assert len({type(each) for each in results}) == 1, results
                if isinstance(results[0], AuditUnavailable):
                    break
                answered += results
                lived_on_reserve += len(results)
        assert lived_on_reserve > 500, lived_on_reserve
        assert reserve.stat().st_size == 0
        assert "space" in str(results[0]), results[0]
        for _ in range(3):
            for refused in await asyncio.gather(*(log.append(event(1)) for _ in range(5)), return_exceptions=True):
                assert isinstance(refused, AuditUnavailable)
        assert [record.head for record in records(directory)] == answered
        assert log.head == kept.head == answered[-1]
        (disk / "filler").unlink()
        answered.append(await log.append(event(3)))
        log._writer._held_at -= 3600  # as if time had passed
        answered.append(await log.append(event(4)))
        assert reserve.stat().st_size == 1 << 20
    assert [record.head for record in records(directory)] == answered
    report = verified(directory)
    assert (report.problems, report.unproved) == ([], 0), report

asyncio.run(main(Path(sys.argv[1])))
"""
)


def test_a_full_disk_is_lived_on_the_reserve_then_refused_and_left_behind(tmp_path):
    run(FULL_DISK, tmp_path / "disk", under=on_small_disk(tmp_path / "disk", "8m"))


APPEND_FOR_EVER = (
    PRELUDE
    + """
async def writer(log, number):
    while True:
        made = event(number)
        head = await log.append(made)
        os.write(1, f"{head.sequence:012} {made['eventID']}\\n".encode())

async def main(directory):
    async with opened(directory, KeptOnDisk(directory), max_file_bytes=50_000) as log:
        running = asyncio.create_task(log.run_checkpoints())
        await asyncio.gather(*(writer(log, number) for number in range(16)))

asyncio.run(main(Path(sys.argv[1])))
"""
)


def test_after_sigkill_every_record_that_was_answered_is_there_and_the_log_is_whole(tmp_path):
    directory = tmp_path / "audit"
    answered: dict[int, str] = {}
    for _ in range(10):
        process = start(APPEND_FOR_EVER, directory)
        assert process.stdout is not None
        beginning = process.stdout.readline()
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        output = beginning + process.communicate()[0]
        for line in output.decode().splitlines():
            sequence, event_id = line.split()
            assert int(sequence) not in answered
            answered[int(sequence)] = event_id
        tear(directory)
        report = verified(directory)
        assert report.problems == []
        assert report.last >= max(answered)
        assert report.last >= kept_head(directory).sequence
    make_log(directory, 1, kept=Kept(head=kept_head(directory)))
    written = {
        record.sequence: json.loads(record.event) for record in records(directory) if record.sequence <= max(answered)
    }
    assert all(written[sequence]["eventID"] == event_id for sequence, event_id in answered.items())
    assert len(answered) > 100
    assert sum(each["eventName"] == "AuditLogRepaired" for each in written.values()) > 5


def tear(directory: Path) -> None:
    """What a power failure can do and SIGKILL can't: half a record at the end."""
    path = log_files(directory)[-1]
    with path.open("ab") as file:
        file.write(b'{"sequence":' + str(random.randrange(10**6)).encode())
