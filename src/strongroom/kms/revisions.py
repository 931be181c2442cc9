"""Which records there are and of which revision: what tells an older copy, a missing and an added record.

The table has 256 pages, so that a commit seals anew the few pages that it touches and not the whole; the head of the
state holds the revision of every page and is sealed at every commit. So all pages are of one moment, and whoever wants
to put back an older record would have to put back the head with all that it names: the whole state, which the audit log
tells. This module seals nothing and reads no database.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

import msgspec
from msgspec import Struct

from strongroom.crypto.errors import IntegrityError

PAGES = 256

Name = tuple[str, str]
"""Kind and record id."""
Page = Mapping[Name, int]
"""The revisions of its records."""


class Head(Struct, frozen=True, kw_only=True, array_like=True):
    """`pages`: the revision of each page, 0 for one that has never been written. `last_event`: the number of the newest
    event that was committed. `previous_root`: the version of the root of before while its rotation is unfinished, else 0.
    """

    account_id: str
    region: str
    pages: tuple[int, ...]
    last_event: int
    previous_root: int = 0


def page_of(name: Name) -> int:
    kind, record_id = name
    return sha256(f"{kind}/{record_id}".encode()).digest()[0]


def encode_page(page: Page) -> bytes:
    return msgspec.msgpack.encode([(kind, record_id, revision) for (kind, record_id), revision in page.items()])


def decode_page(plaintext: bytes) -> dict[Name, int]:
    """Raises IntegrityError."""
    try:
        entries = msgspec.msgpack.decode(plaintext, type=list[tuple[str, str, int]])
    except msgspec.DecodeError:
        raise IntegrityError("a page of revisions holds what cannot have been written") from None
    return {(kind, record_id): revision for kind, record_id, revision in entries}


class Revisions:
    """The pages as of the last commit."""

    def __init__(self, pages: Sequence[Page] = ()) -> None:
        self.pages: list[Page] = list(pages) or [{} for _ in range(PAGES)]

    def get(self, name: Name) -> int | None:
        return self.pages[page_of(name)].get(name)

    def changed(self, revisions: Mapping[Name, int | None]) -> dict[int, Page]:
        """The pages as they will be with `revisions` (None: removed); to be kept by `keep` after the commit."""
        pages: dict[int, dict[Name, int]] = {}
        for name, revision in revisions.items():
            number = page_of(name)
            page = pages.setdefault(number, dict(self.pages[number]))
            if revision is None:
                page.pop(name, None)
            else:
                page[name] = revision
        return dict(pages)

    def keep(self, pages: Mapping[int, Page]) -> None:
        for number, page in pages.items():
            self.pages[number] = page

    def count(self) -> int:
        return sum(map(len, self.pages))

    def compare(self, found: Iterable[tuple[Name, int]]) -> None:
        """Every record that there is must be among `found`, once, and nothing else. Raises IntegrityError, which names
        the first that is wrong and counts the others.
        """
        missing = {name for page in self.pages for name in page}
        wrong: list[str] = []
        for name, revision in found:
            missing.discard(name)
            expected = self.get(name)
            if expected is None:
                wrong.append(f"{shown(name)} was added: the key service has none")
            elif revision < expected:
                wrong.append(f"{shown(name)} is an older copy (revision {revision}, and {expected} is current)")
            elif revision > expected:
                wrong.append(f"{shown(name)} is of another time (revision {revision}, and {expected} is current)")
        wrong += [f"{shown(name)} is missing" for name in sorted(missing)]
        if wrong:
            more = f"; {len(wrong) - 1} more records are wrong" if len(wrong) > 1 else ""
            raise IntegrityError(f"{wrong[0]}{more}")


def shown(name: Name) -> str:
    """For people. Record ids are ids, aliases and names of slots: nothing secret."""
    return f"the record {name[0]} {name[1]}"
