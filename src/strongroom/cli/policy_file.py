"""A policy document as a command is given it: in a file, or `-` for standard input."""

import json
import sys
from pathlib import Path

from strongroom.cli.command import CommandError

_MOST = 1 << 20  # bytes: no policy may have so many


def read_policy(file: str) -> str:
    """As it stands. That it is JSON is seen here, where a typo can be pointed at; whoever keeps it judges the rest.

    Raises CommandError, OSError.
    """
    shown = "standard input" if file == "-" else file
    if file == "-":
        content = sys.stdin.buffer.read(_MOST + 1)
    else:
        with Path(file).open("rb") as opened:
            content = opened.read(_MOST + 1)
    if len(content) > _MOST:
        raise CommandError(f"{shown} is too long for a policy")
    try:
        text = content.decode()
        json.loads(text)
    except UnicodeDecodeError:
        raise CommandError(f"{shown} is not a text file (UTF-8)") from None
    except json.JSONDecodeError as error:
        raise CommandError(f"{shown} is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise CommandError(f"{shown} is no policy: it is nested too deeply") from None
    return text
