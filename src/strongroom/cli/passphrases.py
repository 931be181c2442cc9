"""Asking for a passphrase where somebody sits at a terminal; a start that nobody watches must not wait for one."""

import getpass
import sys
from collections.abc import Callable, Sequence


def asker() -> Callable[[Sequence[str]], str | None] | None:
    """What asks for the passphrase of one of the slots named, None where there is no terminal."""
    return _ask if sys.stdin is not None and sys.stdin.isatty() else None


def _ask(slots: Sequence[str]) -> str | None:
    try:
        return getpass.getpass(f"Passphrase of the key service (slot {', '.join(slots)}): ") or None
    except EOFError:
        return None
