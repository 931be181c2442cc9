"""The audit log of a running key service: `append` returns when a record can't be lost any more.

Strategy: everything that queued up while the last group was being written becomes the next group: one write and one
fsync of the file, then `keep_head`, which puts the head into the caller's own database, and only then is every caller of
the group answered. One thread does what blocks; order is the order of the calls of `append`.

When a group can't be written, all its callers get AuditUnavailable and none of it stays in the file. Later appends try
again. Records that a crash left between the two steps are found, and kept, at the next opening.
"""

import asyncio
import fcntl
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from strongroom.audit import event as events
from strongroom.audit.chain import Head
from strongroom.audit.checkpoint import Signer
from strongroom.audit.files import CHECKPOINTS, PUBLIC_KEY, read_public_key
from strongroom.audit.opening import Found, examine, last_checkpoint
from strongroom.audit.writer import MAX_FILE_BYTES, RESERVE_BYTES, LogTouched, LogWriter, append_note, cut
from strongroom.database.database import DatabaseFull
from strongroom.database.private_file import make_private_directory, write_private
from strongroom.database.sqlite_files import Reserve
from strongroom.observe import log

T = TypeVar("T")
_MAX_GROUP, _MAX_GROUP_BYTES = 1024, 1 << 20  # records; bytes of events, above which no further one joins


class AuditUnavailable(Exception):
    """The record could not be written. Nothing of it is in the log; the caller must refuse what it was to record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When checkpoints are written. `soon_seconds`: after the first record that follows a rest; `seconds`: after the last
    checkpoint, while records go on coming, so that no load makes more of them; `records`: after so many, whatever the
    time; `idle_seconds`: without any.
    """

    records: int = 10_000
    soon_seconds: float = 2.0
    seconds: float = 300.0
    idle_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    event: bytes
    state_revision: int
    future: asyncio.Future[Head]


class AuditLog:
    """Made by `open`, for one event loop. `head`: the newest record that was acknowledged. `failing`: the last append was
    refused.

    `recovered`: the eventIDs of the newest records that the opening found, of all that a crash left after the kept head
    above all; they are in the log, so whoever keeps an outbox of events must not append those again.
    """

    def __init__(
        self,
        *,
        directory: int,
        writer: LogWriter,
        thread: ThreadPoolExecutor,
        keep_head: Callable[[Head], Awaitable[None]],
        signer: Signer,
        state_revision: Callable[[], int],
        now_us: Callable[[], int],
        pace: Pace,
        recovered: frozenset[str],
    ) -> None:
        self.head = writer.head
        self.recovered = recovered
        self._directory = directory
        self._writer = writer
        self._thread = thread
        self._keep_head = keep_head
        self._signer = signer
        self._state_revision = state_revision
        self._now_us = now_us
        self._pace = pace
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._has_unsigned, self._has_many_unsigned = asyncio.Event(), asyncio.Event()
        if writer.head.sequence > 0:
            self._has_unsigned.set()
        self._checkpoint_at = writer.head.sequence + pace.records
        self.failing = False
        self._unkept = False  # whether the kept head may be that of a group which was taken back
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="audit-log")

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        head: Head | None,
        keep_head: Callable[[Head], Awaitable[None]],
        signer: Signer,
        state_revision: Callable[[], int],
        region: str,
        account_id: str,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        accepted: bool = False,
        pace: Pace = Pace(),
        max_file_bytes: int = MAX_FILE_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> "AuditLog":
        """The log in `directory`, which is made where it is missing.

        `head`: as `keep_head` got it last, None before it ever did. `keep_head` raises only where the head was not kept.
        `state_revision`: of the caller's durable state now; it goes into each record. `region` and `account_id`: for
        the events of the log itself.

        Raises AuditLogCut and StateRolledBack, and has changed nothing then; with `accepted` it goes on all the same,
        after a record that says so. Raises AuditUnavailable where another process writes this log, and OSError.
        """
        make_private_directory(directory)
        thread = ThreadPoolExecutor(1, thread_name_prefix="audit-log")
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = await _in(
                thread, lambda: _prepare(descriptor, directory, head, signer, state_revision(), accepted=accepted)
            )
            reserve = Reserve(str(directory / "kms"), reserve_bytes)
            writer = LogWriter(
                descriptor,
                found.head,
                file=found.file if found.size else None,
                size=found.size,
                reserve=reserve,
                max_file_bytes=max_file_bytes,
            )
        except BaseException:
            os.close(descriptor)
            thread.shutdown()
            raise
        opened = cls(
            directory=descriptor,
            writer=writer,
            thread=thread,
            keep_head=keep_head,
            signer=signer,
            state_revision=state_revision,
            now_us=now_us,
            pace=pace,
            recovered=found.recovered,
        )
        try:
            await opened._begin(found, head, region, account_id)
        except BaseException:
            opened._has_unsigned.clear()  # what was not kept is not signed either
            await opened.close()
            raise
        return opened

    async def append(self, event: Mapping[str, Any]) -> Head:
        """Write one record; its head, once it is durable and kept. Raises AuditUnavailable.

        Raises TypeError or ValueError for what is no event (bytes in it, above all). A caller that is cancelled
        meanwhile does not know whether the record was written.
        """
        if self._closing:
            raise AuditUnavailable("the audit log is closed")
        encoded = events.encode(event)
        waiting = _Waiting(encoded, self._state_revision(), asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._wake.set()
        return await waiting.future

    async def checkpoint(self) -> None:
        """Sign the head. Raises AuditUnavailable."""
        head = self.head
        self._checkpoint_at = head.sequence + self._pace.records
        self._has_many_unsigned.clear()
        note = self._signer.checkpoint(head.sequence, head.hash, events.utc_text(self._now_us()))
        try:
            await _in(self._thread, lambda: append_note(self._directory, note))
        except OSError as error:
            raise AuditUnavailable(f"a checkpoint could not be written: {error.strerror}") from error
        if self.head == head:
            self._has_unsigned.clear()

    async def run_checkpoints(self) -> None:
        """Write checkpoints at the log's pace, for as long as the service runs; the first one at once."""
        pace = self._pace
        await self._try_checkpoint()
        while True:
            if not await _set_within(self._has_unsigned, pace.idle_seconds):
                await self._try_checkpoint()
                continue
            await _set_within(self._has_many_unsigned, pace.soon_seconds)
            while self._has_unsigned.is_set():
                await self._try_checkpoint()
                await _set_within(self._has_many_unsigned, pace.seconds)

    async def _try_checkpoint(self) -> None:
        if self.head.sequence == 0:
            return
        try:
            await self.checkpoint()
        except AuditUnavailable as error:
            self._has_unsigned.set()  # so that it is tried again before another idle hour has passed
            log.warning("no checkpoint of the audit log", reason=str(error))

    async def close(self) -> None:
        """Write what waits, and a last checkpoint; then `append` refuses."""
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        await self._task
        if self._has_unsigned.is_set():
            with suppress(AuditUnavailable):
                await self.checkpoint()
        self._thread.shutdown()
        self._writer.close()
        os.close(self._directory)

    async def _begin(self, found: Found, kept: Head | None, region: str, account_id: str) -> None:
        """Have the head kept and what was found recorded."""
        if found.head.sequence > 0 and found.head != kept:
            await self._keep_head(found.head)
        said: list[tuple[str, dict[str, Any]]] = []
        if found.torn:
            assert found.file is not None
            said.append(("AuditLogRepaired", {"file": found.file.name, "bytesCut": found.torn}))
        if found.problems:
            said.append(("AuditLogAccepted", {"problems": [str(problem) for problem in found.problems]}))
        for name, details in said:
            record = events.service_event(
                name=name, region=region, account_id=account_id, time_us=self._now_us(), details=details
            )
            await self.append(record)

    async def _run(self) -> None:
        while not (self._closing and not self._queue):
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._commit(self._next_group())

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while self._queue and len(group) < _MAX_GROUP and size < _MAX_GROUP_BYTES:
            group.append(self._queue.popleft())
            size += len(group[-1].event)
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        try:
            heads = await self._written(group)
        except BaseException as error:  # whatever it is, nobody may be left waiting
            if not self.failing:
                log.failure("the audit log can't be written: what it was to record is refused", error)
            self.failing = True
            for waiting in group:
                if not waiting.future.done():
                    refused = AuditUnavailable(f"the audit record could not be written: {_why(error)}")
                    refused.__cause__ = error
                    waiting.future.set_exception(refused)
            if not isinstance(error, Exception):
                raise
            return
        if self.failing:
            log.info("the audit log is written again")
        self.failing = False
        self.head = heads[-1]
        for waiting, head in zip(group, heads, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(head)
        self._has_unsigned.set()
        if self.head.sequence >= self._checkpoint_at:
            self._has_many_unsigned.set()

    async def _written(self, group: list[_Waiting]) -> list[Head]:
        if self._unkept:
            await self._kept(self.head)
            self._unkept = False
        records = [(waiting.event, waiting.state_revision) for waiting in group]
        heads = await _in(self._thread, lambda: self._writer.write(records, self._now_us()))
        try:
            await self._kept(heads[-1])
        except BaseException:
            self._unkept = True
            await _in(self._thread, self._writer.retract)
            raise
        return heads

    async def _kept(self, head: Head) -> None:
        try:
            await self._keep_head(head)
        except DatabaseFull:  # a record may fit into what its file has left of a block, and its head nowhere
            if not await _in(self._thread, self._writer.give_up_reserve):
                raise
            await self._keep_head(head)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def _in(thread: ThreadPoolExecutor, function: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(thread, function)


def _prepare(
    descriptor: int, directory: Path, kept: Head | None, signer: Signer, state_revision: int, *, accepted: bool
) -> Found:
    """Look at what is there, refuse it, or make it fit to be gone on with."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AuditUnavailable(f"another process writes the audit log in {directory}") from None
    checkpoint, good_notes = last_checkpoint(descriptor, signer.verifier)
    found = examine(descriptor, kept=kept, checkpoint=checkpoint, state_revision=state_revision)
    if found.problems and not accepted:
        raise found.problems[0]
    if found.file is not None and found.torn:
        cut(descriptor, found.file.name, found.size)
    for name in found.empty:
        cut(descriptor, name, 0)
    with suppress(FileNotFoundError):
        if os.stat(CHECKPOINTS, dir_fd=descriptor, follow_symlinks=False).st_size > good_notes:
            cut(descriptor, CHECKPOINTS, good_notes)
    if read_public_key(directory) != signer.verifier.text:
        write_private(directory / PUBLIC_KEY, f"{signer.verifier.text}\n".encode())
    return found


def _why(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, LogTouched | DatabaseFull) else type(error).__name__
