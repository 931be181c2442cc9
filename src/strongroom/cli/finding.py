"""What a check of `strongroom doctor` has seen."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check saw, and the advice that goes with anything but "ok"."""

    check: str
    verdict: Verdict
    text: str
    advice: str = ""
