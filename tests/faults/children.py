"""Python scripts in processes of their own: traced, with failing system calls, on a small disk, or to be killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def run(script: str, *args: object, under: Sequence[str] = ()) -> str:
    """What `script` printed; `args` are its `sys.argv[1:]`. `under`: the command that runs it."""
    result = subprocess.run(
        [*under, sys.executable, "-W", "error", "-c", script, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def start(script: str, *args: object) -> subprocess.Popen[bytes]:
    """The running script, its standard output a pipe."""
    return subprocess.Popen([sys.executable, "-c", script, *map(str, args)], stdout=subprocess.PIPE)


def on_small_disk(mount_point: Path, size: str) -> Sequence[str]:
    """For `under`: `mount_point` is a disk of `size` that is gone when the script ends, in namespaces of its own."""
    mount_point.mkdir(exist_ok=True)
    namespaces = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    mount = 'mount -t tmpfs -o "size=$1" none "$2" && shift 2 && exec "$@"'
    return ["unshare", *namespaces, "sh", "-c", mount, "sh", size, str(mount_point)]


@contextmanager
def small_disk(mount_point: Path, size: str) -> Iterator[tuple[Sequence[str], Path]]:
    """The same for several commands, one after the other: what to run them under, and where the disk is for others."""
    keep = [*on_small_disk(mount_point, size), "sh", "-c", "echo mounted; exec sleep infinity"]
    with subprocess.Popen(keep, stdout=subprocess.PIPE) as keeper:
        try:
            assert keeper.stdout is not None
            assert keeper.stdout.readline() == b"mounted\n"
            user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
            enter = ["nsenter", "--target", str(keeper.pid), *user, "--mount", "--"]
            yield enter, Path(f"/proc/{keeper.pid}/root{mount_point}")
        finally:
            keeper.kill()


def traced(trace: Path, *options: str) -> Sequence[str]:
    """For `under`: every thread's system calls go to `trace`, descriptors with their paths."""
    return ["strace", "--follow-forks", "--decode-fds=path", "--output", str(trace), *options]


@contextmanager
def tracing(pid: int, trace: Path, *options: str) -> Iterator[None]:
    """Meanwhile the system calls of every thread of `pid` go to `trace`, and `options` may make some of them fail.

    A server's memory is closed to whoever is not root, and so are its system calls.
    """
    command = ["strace", "--follow-forks", "--decode-fds=path", "--output", str(trace), *options, "--attach", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:
        assert strace.stderr is not None
        told = strace.stderr.readline()
        try:
            assert b"attached" in told, told
            yield
        finally:
            strace.send_signal(signal.SIGINT)
            strace.communicate(timeout=10)
