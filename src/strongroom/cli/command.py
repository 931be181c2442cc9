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
        if sys.stdout is not None:  # closed by who started us
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


def drop_output() -> None:
    """Whoever read it has seen enough (`| head`): nothing may be flushed into that pipe at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def cause(error: OSError) -> str:
    if error.filename:
        return f"{error.filename} can't be used: {error.strerror}"
    return error.strerror or str(error)
