"""How commands end, as a shell sees it: exit codes, one sentence, no traceback."""

import os
import pty
import subprocess
import sys

import pytest

from strongroom.cli.command import CommandError, told

PROGRAM = """
import sys
from strongroom.cli.command import CommandError, told
def command():
    print("x" * {size})
    return 0
sys.exit(told(command, failed=2))
"""


def run(size: int, redirection: str) -> "subprocess.CompletedProcess[str]":
    command = f'"$0" -c "$1" {redirection}; echo "${{PIPESTATUS[0]}}" >&2'
    program = PROGRAM.format(size=size)
    return subprocess.run(
        ["bash", "-c", command, sys.executable, program], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("size", [1, 100_000], ids=["at the end", "at once"])
def test_output_that_can_not_be_written_is_told(size: int) -> None:
    assert run(size, "> /dev/full").stderr == "strongroom: No space left on device\n2\n"


@pytest.mark.parametrize("size", [1, 1_000_000], ids=["at the end", "at once"])
def test_a_reader_that_goes_away_is_told_nothing(size: int) -> None:
    assert run(size, "| (exec <&-; sleep 0.5)").stderr == "2\n"


def test_a_closed_input_is_no_terminal() -> None:
    program = (
        "from strongroom.cli.passphrases import asker; from strongroom.cli.start import terminal_kept\n"
        "with terminal_kept(): print(asker())"
    )
    command = ["bash", "-c", '"$0" -c "$1" <&-', sys.executable, program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_a_terminal_of_another_session_is_no_reason_not_to_start() -> None:
    """`setsid strongroom serve`: standard input is a terminal, and whose it is nobody may ask (ENOTTY)."""
    program = "from strongroom.cli.start import terminal_kept\nwith terminal_kept(): print('started')"
    terminal, standard_input = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdin=standard_input,
            start_new_session=True,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(standard_input)
    assert (done.stdout, done.stderr) == ("started\n", "")


def test_what_opens_a_store_is_hardened_first() -> None:
    """No debugger of the same user (PR_GET_DUMPABLE), no core dump, no file for others."""
    program = (
        "import ctypes, os, resource; from strongroom.cli.store_command import run\n"
        "run(lambda: print(ctypes.CDLL(None).prctl(3), resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "0 (0, 0) 0o77\n"


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (CommandError("it can't"), "it can't"),
        (PermissionError(13, "Permission denied", "/there"), "/there can't be used: Permission denied"),
        (OSError("nobody knows"), "nobody knows"),
        (KeyboardInterrupt(), "interrupted"),
        (EOFError(), "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_failure_is_one_sentence(raised: BaseException, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise raised

    assert told(command, failed=2) == 2
    assert capsys.readouterr() == ("", f"strongroom: {sentence}\n")
