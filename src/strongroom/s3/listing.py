"""The machinery of every listing: keys in order go in, a page of keys and common prefixes comes out.

`Fold` never fetches. It says where to look (`seek`), is fed what was found there, and says where to look next, until it
has a page and knows whether there is more; a common prefix is passed by one seek and not by reading what is under it.
Keys are ordered by their UTF-8 bytes, which is the order of Python's strings (and not that of UTF-16).

One rule serves ListObjects, ListObjectsV2, ListObjectVersions and ListMultipartUploads: every entry of a page, be it a
key or a common prefix, sorts after the marker. So a marker inside a common prefix hides the whole of it, as on AWS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

_LAST_BEFORE_SURROGATES, _FIRST_AFTER_SURROGATES, _LAST_CHARACTER = "\ud7ff", "\ue000", "\U0010ffff"


class Keyed(Protocol):
    """A row of a listing: a version or an upload."""

    @property
    def key(self) -> str: ...


T = TypeVar("T", bound=Keyed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seek(Generic[T]):
    """Where the next rows are: at or after `lower`, or only after it.

    `row`: the row fed last, where the next one follows right behind it (it may be another version of the same key).
    """

    lower: str
    inclusive: bool
    row: T | None = None


def successor(prefix: str) -> str | None:
    """The smallest string above every string that begins with `prefix`; None where there is none."""
    stem = prefix.rstrip(_LAST_CHARACTER)
    if not stem:
        return None
    last = stem[-1]
    return stem[:-1] + (_FIRST_AFTER_SURROGATES if last == _LAST_BEFORE_SURROGATES else chr(ord(last) + 1))


class Fold(Generic[T]):
    """One page of a listing.

    `after`: the marker, "" for none. `resume`: the rows fed begin inside the versions (or uploads) of the key `after`,
    so that key still counts. `hidden`: rows that exist and are not shown (delete markers, where objects are listed).
    """

    def __init__(
        self,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        resume: bool = False,
        max_keys: int,
        hidden: Callable[[T], bool] = lambda _: False,
    ) -> None:
        self.contents: list[T] = []
        self.common_prefixes: list[str] = []
        self.is_truncated = False
        self.next_marker = ""  # the last entry of the page: a key, or a common prefix
        self.last_row: T | None = None  # the row of that entry; None for a common prefix
        self.below = successor(prefix)  # no row at or above it can belong here; None: no bound
        self._prefix = prefix
        self._delimiter = delimiter
        self._after = after
        self._resume = resume
        self._max_keys = max_keys
        self._hidden = hidden
        self.seek: Seek[T] | None = self._first_seek() if max_keys > 0 else None

    def feed(self, rows: Sequence[T], *, exhausted: bool) -> None:
        """The rows from `seek` on, in order and without a gap; `exhausted`: there are no more. Sets the next `seek`."""
        passing: str | None = None  # the common prefix that the last row was under
        for row in rows:
            if passing is not None and row.key.startswith(passing):
                continue
            if not row.key.startswith(self._prefix):
                self.seek = None  # keys with the prefix are neighbours: there is none behind this one
                return
            passing = self._common_prefix(row.key)
            if self._hidden(row):
                passing = None
            elif not self._add(row, passing):
                self.is_truncated = True
                self.seek = None
                return
        if exhausted or not rows:
            self.seek = None
        elif passing is not None:
            self.seek = self._seek_past(passing)
        else:
            self.seek = Seek(lower=rows[-1].key, inclusive=False, row=rows[-1])

    def _add(self, row: T, common_prefix: str | None) -> bool:
        """Take an entry up; False where the page has no room for it."""
        entry = row.key if common_prefix is None else common_prefix
        if entry <= self._after and not (self._resume and entry == self._after and common_prefix is None):
            return True
        if len(self.contents) + len(self.common_prefixes) == self._max_keys:
            return False
        if common_prefix is None:
            self.contents.append(row)
        else:
            self.common_prefixes.append(common_prefix)
        self.next_marker = entry
        self.last_row = row if common_prefix is None else None
        return True

    def _common_prefix(self, key: str) -> str | None:
        if not self._delimiter:
            return None
        found = key.find(self._delimiter, len(self._prefix))
        return None if found < 0 else key[: found + len(self._delimiter)]

    def _first_seek(self) -> Seek[T] | None:
        if self._after < self._prefix or not self._after:
            return Seek(lower=self._prefix, inclusive=True)
        if not self._after.startswith(self._prefix):
            return None  # the marker is past everything with the prefix
        hidden = self._common_prefix(self._after)
        return Seek(lower=self._after, inclusive=False) if hidden is None else self._seek_past(hidden)

    def _seek_past(self, common_prefix: str) -> Seek[T] | None:
        lower = successor(common_prefix)
        if lower is None or (self.below is not None and lower >= self.below):
            return None
        return Seek(lower=lower, inclusive=True)
