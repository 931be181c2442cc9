"""Pages of a list: items in the order of their sort keys, each page saying behind which key the next one begins.

The marker is that key, with the list that it belongs to, encoded so that nobody takes it for an id; a marker of another
list is none. A page never depends on what was on the one before, so items that come and go meanwhile neither hide nor
repeat others.
"""

import base64
import binascii
import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from strongroom.aws.kms_errors import KmsError

T = TypeVar("T")


def page(
    input: Mapping[str, Any],
    items: Iterable[T],
    key: Callable[[T], str],
    *,
    member: str,
    show: Callable[[T], Any],
    default: int,
    most: int | None = None,
) -> dict[str, Any]:
    """The output of a List operation: `member` with what `show` makes of each item, Truncated, NextMarker.

    `default`, `most`: items a page where the request does not say, and at most. Raises InvalidMarkerException.
    """
    limit = min(input.get("Limit") or default, most or 1000)
    after = _after(input.get("Marker"), member)
    rest = heapq.nsmallest(limit + 1, (item for item in items if after is None or key(item) > after), key=key)
    shown = rest[:limit]
    output: dict[str, Any] = {member: [show(item) for item in shown], "Truncated": len(rest) > limit}
    if len(rest) > limit:
        output["NextMarker"] = base64.urlsafe_b64encode(f"{member}/{key(shown[-1])}".encode()).decode()
    return output


def _after(marker: str | None, member: str) -> str | None:
    if marker is None:
        return None
    try:
        of, slash, after = base64.b64decode(marker, altchars=b"-_", validate=True).decode().partition("/")
    except (binascii.Error, ValueError):
        of, slash, after = "", "", ""
    if not slash or of != member:
        raise KmsError("InvalidMarkerException", "The marker is not valid.")
    return after
