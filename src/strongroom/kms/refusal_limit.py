"""How many refusals of unproved requests the record keeps: an access key id is no secret, and whoever knows one must not
be able to fill the disk with wrong signatures.

A token bucket: a burst is recorded whole, a flood at a bounded rate, and the next record says how many were left out.
"""

from collections.abc import Callable

_BURST = 100  # records
_PER_SECOND = 5.0


class RefusalLimit:
    """`now`: monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._tokens = float(_BURST)
        self._filled_at = now()
        self._left_out = 0

    def admit(self) -> int | None:
        """None where this one is to be left out; else how many were left out since the last one that was not."""
        now = self._now()
        self._tokens = min(_BURST, self._tokens + (now - self._filled_at) * _PER_SECOND)
        self._filled_at = now
        if self._tokens < 1:
            self._left_out += 1
            return None
        self._tokens -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out
