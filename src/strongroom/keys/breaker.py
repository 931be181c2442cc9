"""A circuit breaker: whoever does not answer is asked by one request at a time, and the others are told at once.

Closed, everybody may ask. After `open_after` failures in a row it opens, and then it lets one probe through every
`probe_every` seconds; the first success closes it. A failure is no answer at all; an answer that says no is a success
here. It knows no network and no clock of its own, and belongs to one event loop: it has no lock.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The right to ask once, which must be given back: by `succeeded`, `failed` or `abandoned`."""

    is_probe: bool
    period: int  # of the breaker when it admitted


class CircuitBreaker:
    def __init__(self, *, open_after: int, probe_every: float, now: Callable[[], float]) -> None:
        self._open_after = open_after
        self._probe_every = probe_every
        self._now = now
        self._failures = 0
        self._period = 0  # counts the openings and closings
        self._next_probe: float | None = None  # None: closed
        self._probing = False

    @property
    def is_open(self) -> bool:
        return self._next_probe is not None

    def admit(self) -> Admission | None:
        """None: do not ask now."""
        if self._next_probe is None:
            return Admission(is_probe=False, period=self._period)
        if self._probing or self._now() < self._next_probe:
            return None
        self._probing = True
        return Admission(is_probe=True, period=self._period)

    def succeeded(self, _admission: Admission) -> bool:
        """There was an answer, whoever got it: closed. True where it was open."""
        was_open = self.is_open
        self._failures, self._next_probe, self._probing = 0, None, False
        self._period += was_open
        return was_open

    def failed(self, admission: Admission) -> bool:
        """There was none. True where that opened it.

        What was admitted before the last opening or closing tells of a time that is over: were it counted, requests
        that hang and fail one after another would put off the next probe, or open it again after the service is back.
        """
        if admission.period != self._period:
            return False
        self._failures += 1
        opens = not self.is_open and self._failures >= self._open_after
        if opens or admission.is_probe:
            self._next_probe, self._probing = self._now() + self._probe_every, False
        self._period += opens
        return opens

    def abandoned(self, admission: Admission) -> None:
        """Nobody knows: who asked went away. Another may probe at once."""
        if admission.is_probe and admission.period == self._period:
            self._probing = False
