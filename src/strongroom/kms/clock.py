"""What time it is, by two clocks: the wall's, which people and NTP set, and the kernel's since its boot, which nobody sets.

Dates that clients see are the wall clock's. A waiting window must have passed by both, as far as the boot lasts: who
turns the wall clock forward deletes no key early (peer-bugs F4). Across a reboot only the wall clock is left.
"""

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """`us`: microseconds since the epoch. `boottime_us`: since the boot named `boot_id`, suspended time included."""

    us: int
    boot_id: str
    boottime_us: int


def now() -> Moment:
    return Moment(
        us=time.time_ns() // 1000, boot_id=_boot_id(), boottime_us=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    )


@cache  # no process outlives its boot
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
