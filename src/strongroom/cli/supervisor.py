"""The supervisor: it holds the data directory's lock, starts the processes, and sees to it that none outlives it.

Processes come in stages: one starts when all of the stage before answer, and ends before they do. After that each lives
for itself: one that dies is started again, whatever the others do.

It stays single-threaded and without an event loop, because it forks for as long as it lives; everything that needs more
runs in a child. It waits for signals and for nothing else, all of them blocked and taken one by one (`sigtimedwait`),
so that there is no handler and no race between looking and waiting. It knows nothing of what runs. Linux only: prctl(2).
"""

import ctypes
import fcntl
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from setproctitle import setproctitle

from strongroom.observe import log

LOCK_FILE: Final = "lock"
LOCK_PATIENCE: Final = 3.0  # seconds that the workers of a server that was killed get to end

# A process says with this signal that it answers. Real-time signals queue and tell the sender's pid; ordinary ones
# merge.
READY: Final = signal.SIGRTMIN
SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, READY})

CANNOT_START: Final = 78  # sysexits.h EX_CONFIG: a process's word that nobody but a person can help
_QUICK_DEATH: Final = 10.0  # seconds; a process that lived longer is restarted at once
_LONGEST_PAUSE: Final = 5.0
_TICK: Final = 3600.0
_KILL_MARGIN: Final = 2.0  # what a process may need beyond the grace of its requests

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15

_M_ARENA_MAX: Final = -8  # mallopt(3)


class DirectoryInUseError(Exception):
    """Another server works on this data directory. The text is meant for people."""


@contextmanager
def locked_directory(data_dir: Path, *, patience: float = LOCK_PATIENCE) -> Iterator[None]:
    """Hold DIR/lock (flock) for this process and every process that it forks. Raises DirectoryInUseError.

    The kernel lets go when the last of them ends, so nothing needs cleaning after a crash, and a new server never works
    beside a process of the old.
    """
    descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        _acquire(descriptor, data_dir, time.monotonic() + patience)
        # Written, then cut: on a full disk a file that was emptied first might not get its block back.
        os.ftruncate(descriptor, os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0))
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, data_dir: Path, end: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise DirectoryInUseError(
                    f"Another server (pid {pid}) uses {data_dir}; stop it, or choose another --data-dir."
                ) from None
            time.sleep(0.05)
        else:
            return


def harden_process() -> None:
    """No core dump, no debugger of the same user, private files whatever the umask, as many connections as the
    system allows.
    """
    # Memory holds keys: neither a crash nor another process of this user shall get at it (prctl(2), PR_SET_DUMPABLE).
    _prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def share_memory_between_threads() -> None:
    """Let the threads of a process, and of those that it forks, allocate from two arenas.

    glibc gives each thread an arena of its own and keeps there what the event loop frees for it: tens of megabytes that
    nobody uses, while many objects go through one worker. Another C library has nothing of the kind.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, 2)


def block_signals() -> None:
    """From now on signals wait for `supervise`, or for a worker that has its handlers in place."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def accept_signals() -> None:
    """A worker's half of `block_signals`."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def say_ready() -> None:
    """Tell the supervisor that this process answers."""
    os.kill(os.getppid(), READY)


def show_as(title: str) -> None:
    """What `ps` calls this process, with its arguments or without."""
    setproctitle(title)
    _prctl(_PR_SET_NAME, ctypes.c_char_p(title.encode()))  # 15 characters of it


def run_in_child(function: Callable[[], bytes]) -> bytes | None:
    """What `function` returns in a forked child, or None where it failed: threads and keys of its making never exist
    here.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)

    def work() -> None:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(function())

    pid = _fork("strongroom prepare", work)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    return answer if status == 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process to keep running. `title`: what `ps` and the log call it; `number`: which one of that title. `work` runs in
    it and returns when it shall end with code 0.
    """

    title: str
    number: int = 0
    work: Callable[[], None]


@dataclass(slots=True)
class _Slot:
    """One process's place. `pid` 0: none is running, one is due at `due` (monotonic seconds)."""

    process: Process
    pid: int = 0
    started: float = 0.0
    due: float = 0.0
    quick_deaths: int = 0
    is_ready: bool = False


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """`stages`: in the order of their start. `on_stage` is called with the number of each stage before it starts, and may
    take its time; what it raises ends the server. `on_ready` is called once, when every process answers; `on_stop` before any is
    told; `on_tick` every hour and on SIGHUP; `on_restart` for each process that died. `shutdown_grace`: seconds that the
    running requests of each stage get.
    """

    stages: Sequence[Sequence[Process]]
    on_stage: Callable[[int], None]
    on_ready: Callable[[], None]
    on_stop: Callable[[], None]
    on_tick: Callable[[], None]
    on_restart: Callable[[], None]
    shutdown_grace: float
    _places: list[list[_Slot]] = field(init=False)  # by stage
    _begun: int = field(init=False, default=1)  # stages that have started

    @property
    def _slots(self) -> list[_Slot]:
        """Of the stages that have started."""
        return [slot for stage in self._places[: self._begun] for slot in stage]

    def run(self) -> int:
        """Start the processes and keep them running until SIGTERM or SIGINT; the exit code of the server."""
        self._places = [[_Slot(process) for process in stage] for stage in self.stages]
        gc.collect()
        gc.freeze()  # the collector's marks would copy every page that the processes share
        announced = False
        next_tick = time.monotonic() + _TICK
        self.on_stage(0)
        while True:
            self._start_due()
            received = signal.sigtimedwait(SIGNALS, self._seconds_to_wait(next_tick))
            match received and received.si_signo:
                case signal.SIGTERM | signal.SIGINT:
                    return self._stop()
                case signal.SIGCHLD:
                    if not self._reap(announced=announced):
                        self._stop()
                        return 1
                case signal.SIGHUP:
                    self.on_tick()  # first: the others look at what it leaves
                    _signal(self._slots, signal.SIGHUP)
                case _ if received is not None and received.si_signo == READY:
                    self._mark_ready(received.si_pid)
            if not announced and all(slot.is_ready for slot in self._slots):
                if self._begun < len(self._places):
                    self._begin_next()
                else:
                    announced = True
                    self.on_ready()
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + _TICK
                self.on_tick()

    def _begin_next(self) -> None:
        try:
            self.on_stage(self._begun)
        except BaseException:
            self._stop()
            raise
        self._begun += 1

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.pid == 0 and slot.due <= now:
                slot.pid = _fork(slot.process.title, slot.process.work)
                slot.started = now
                slot.is_ready = False

    def _seconds_to_wait(self, next_tick: float) -> float:
        due = [slot.due for slot in self._slots if slot.pid == 0]
        return max(0.0, min([next_tick, *due]) - time.monotonic())

    def _mark_ready(self, pid: int) -> None:
        for slot in self._slots:
            if slot.pid == pid:
                slot.is_ready = True

    def _reap(self, *, announced: bool) -> bool:
        """Note the dead and when to replace them; False when one said that no start will succeed, and the server has not
        been up yet. Once it was, the others are of use without it, and what keeps it from starting may pass.
        """
        for pid, status in _dead_children():
            for slot in self._slots:
                if slot.pid == pid:
                    slot.pid = 0
                    if os.waitstatus_to_exitcode(status) == CANNOT_START and not announced:
                        return False
                    self._plan_restart(slot, status)
        return True

    def _plan_restart(self, slot: _Slot, status: int) -> None:
        now = time.monotonic()
        slot.quick_deaths = slot.quick_deaths + 1 if now - slot.started < _QUICK_DEATH else 0
        pause = 0.0 if slot.quick_deaths <= 1 else min(_LONGEST_PAUSE, 0.1 * 2.0 ** min(slot.quick_deaths, 10))
        slot.due = now + pause
        self.on_restart()
        log.warning(
            "A process died and is restarted",
            process=slot.process.title,
            worker=slot.process.number,
            reason=_cause(status),
            seconds=pause,
        )

    def _stop(self) -> int:
        """End the stages, the last one first, so that what runs there still finds what it needs; always 0: what was asked
        for was done.
        """
        self.on_stop()
        for stage in reversed(self._places[: self._begun]):
            self._end(stage)
        return 0

    def _end(self, stage: list[_Slot]) -> None:
        """SIGTERM to every process of a stage, then SIGKILL to what is left. What was not ready yet has no request to
        finish, and may be waiting for a passphrase.
        """
        _signal(stage, signal.SIGTERM)
        grace = self.shutdown_grace if any(slot.is_ready for slot in stage) else 0.0
        end = time.monotonic() + grace + _KILL_MARGIN
        while any(slot.pid for slot in stage):
            received = signal.sigtimedwait({signal.SIGCHLD, signal.SIGINT}, max(0.0, end - time.monotonic()))
            if received is None:  # out of time
                _signal(stage, signal.SIGKILL)
                end = time.monotonic() + _KILL_MARGIN
            elif received.si_signo == signal.SIGINT:  # Ctrl-C again
                _signal(self._slots, signal.SIGKILL)
            dead = {pid for pid, _ in _dead_children()}
            for slot in self._slots:
                if slot.pid in dead:
                    slot.pid = 0


def _signal(slots: Sequence[_Slot], number: int) -> None:
    for slot in slots:
        if slot.pid:
            with suppress(ProcessLookupError):
                os.kill(slot.pid, number)


def _dead_children() -> Iterator[tuple[int, int]]:
    """(pid, wait status) of every child that ended. As pid 1 of a container, that includes orphans that are not
    ours.
    """
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def _cause(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _fork(title: str, work: Callable[[], None]) -> int:
    """The pid of a child that does `work` and ends, and that ends with this process, however that ends."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_child(title, work, parent)
    return pid


def _be_child(title: str, work: Callable[[], None], parent: int) -> NoReturn:
    code = 1
    try:
        # SIGKILL, not SIGTERM: durability does not depend on a clean end, and the lock must be free soon.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
        show_as(title)
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - the last frame of a process
        log.failure("A process failed", error, process=title)
    finally:
        log.flush()
        # Not sys.exit: the supervisor's cleaning is the supervisor's, and a thread at work must not hold the process.
        os._exit(code)


def _prctl(option: int, argument: object) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
