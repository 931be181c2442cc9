"""How every command but the servers ends: with an exit code, and where it could not do it, with one sentence on standard
error. It loads nothing, for commands that shall be quick.
"""

import os
import sys
from collections.abc import Callable


class CommandError(Exception):
    """The command can't do it. The text is meant for people."""


def told(command: Callable[[], int], *, failed: int) -> int:
    """What `command` returns, or `failed` after one sentence."""
    try:
        code = command()
        sys.stdout.flush()  # here, where a full disk is told as everything else is
    except BrokenPipeError:
        drop_output()
    except (KeyboardInterrupt, EOFError):  # at a question, or midway
        print("strongroom: interrupted", file=sys.stderr)
    except CommandError as error:
        print(f"strongroom: {error}", file=sys.stderr)
    except OSError as error:
        print(f"strongroom: {cause(error)}", file=sys.stderr)
    else:
        return code
    return failed


def open_closed_streams() -> None:
    """What is said on a stream that whoever started us has closed goes nowhere. Python has None for such a stream, and the
    next file to be opened, a database perhaps, would get its number.
    """
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_WRONLY)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            setattr(sys, name, os.fdopen(descriptor, "w"))


def drop_output() -> None:
    """Whoever read it has seen enough (`| head`): nothing may be flushed into that pipe at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def cause(error: OSError) -> str:
    if error.filename:
        return f"{error.filename} can't be used: {error.strerror}"
    return error.strerror or str(error)
