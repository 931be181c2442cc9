"""Python scripts in processes of their own: traced, with failing system calls, on a small disk, or to be killed."""

import os
import subprocess
import sys
from collections.abc import Sequence
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


def traced(trace: Path, *options: str) -> Sequence[str]:
    """For `under`: every thread's system calls go to `trace`, descriptors with their paths."""
    return ["strace", "--follow-forks", "--decode-fds=path", "--output", str(trace), *options]
