"""The listing machine against the obvious model: fold everything in memory, then cut a page out of it."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.s3.listing import Fold, successor

# Few characters, so that prefixes, delimiters and markers meet; among them those whose order in UTF-16 is another.
ALPHABET = "ab/\0\x7f\ud7ff\ue000\uffff😀\U0010ffff"
TEXTS = st.text(ALPHABET, max_size=5)


@dataclass(frozen=True)
class Row:
    key: str
    version: int
    hidden: bool


@st.composite
def tables(draw):
    """Rows in the order of the index: keys by their UTF-8 bytes, versions newest first."""
    keys = draw(st.lists(TEXTS.filter(bool), unique=True, max_size=30))
    return [
        Row(key, version, draw(st.integers(0, 4)) == 0)
        for key in sorted(keys, key=str.encode)
        for version in range(draw(st.integers(1, 3)), 0, -1)
    ]


def entries(rows, prefix, delimiter, is_after):
    """Every entry that a listing without limit shows: rows, and common prefixes as text."""
    found = []
    for row in rows:
        if row.hidden or not row.key.startswith(prefix):
            continue
        rest = row.key[len(prefix) :]
        entry = row
        if delimiter and delimiter in rest:
            entry = prefix + rest[: rest.index(delimiter)] + delimiter
        if is_after(entry) and entry not in found:
            found.append(entry)
    return found


def as_bytes(entry):
    return (entry if isinstance(entry, str) else entry.key).encode()


def run(rows, fetch, first_version=None, **parameters):
    fold = Fold[Row](hidden=lambda row: row.hidden, **parameters)
    while (seek := fold.seek) is not None:
        if seek.row is not None:
            ahead = rows[rows.index(seek.row) + 1 :]
        else:
            lower = seek.lower.encode()
            older = [row for row in rows if first_version is not None and row.key == seek.lower]
            ahead = [row for row in older if row.version < first_version] + [
                row for row in rows if row.key.encode() > lower or (seek.inclusive and row.key.encode() == lower)
            ]
        first_version = None
        if fold.below is not None:
            ahead = [row for row in ahead if row.key.encode() < fold.below.encode()]
        fold.feed(ahead[:fetch], exhausted=len(ahead) <= fetch)
    return fold


def check(fold, wanted, max_keys):
    assert fold.contents == [entry for entry in wanted[:max_keys] if isinstance(entry, Row)]
    assert fold.common_prefixes == [entry for entry in wanted[:max_keys] if isinstance(entry, str)]
    assert fold.is_truncated is (0 < max_keys < len(wanted))
    last = wanted[:max_keys][-1] if wanted[:max_keys] else ""
    assert fold.next_marker == (last if isinstance(last, str) else last.key)


PARAMETERS = {
    "rows": tables(),
    "prefix": TEXTS,
    "delimiter": st.sampled_from(["", "", "/", "/", "a", "ab", "😀", "\U0010ffff"]),
    "max_keys": st.integers(0, 8),
    "fetch": st.integers(1, 9),
}


@settings(max_examples=400)
@given(after=TEXTS, **PARAMETERS)
def test_a_page_is_cut_out_of_the_whole(rows, prefix, delimiter, after, max_keys, fetch):
    rows = [row for row in rows if row.version == 1]
    wanted = entries(rows, prefix, delimiter, lambda entry: as_bytes(entry) > after.encode())
    check(run(rows, fetch, prefix=prefix, delimiter=delimiter, after=after, max_keys=max_keys), wanted, max_keys)


@settings(max_examples=200)
@given(**PARAMETERS | {"max_keys": st.integers(1, 8)})
def test_pages_put_together_are_the_whole(rows, prefix, delimiter, max_keys, fetch):
    rows = [row for row in rows if row.version == 1]
    pages, after, truncated = [], "", True
    while truncated:
        fold = run(rows, fetch, prefix=prefix, delimiter=delimiter, after=after, max_keys=max_keys)
        pages += sorted([*fold.contents, *fold.common_prefixes], key=as_bytes)
        after, truncated = fold.next_marker, fold.is_truncated
    assert pages == entries(rows, prefix, delimiter, lambda _: True)


@settings(max_examples=200)
@given(**PARAMETERS | {"max_keys": st.integers(1, 8)})
def test_pages_of_versions_put_together_are_the_whole(rows, prefix, delimiter, max_keys, fetch):
    """NextKeyMarker with NextVersionIdMarker resumes inside a key; behind a common prefix there is only the former."""
    pages, truncated = [], True
    marker = {"after": "", "resume": False, "first_version": None}
    while truncated:
        fold = run(rows, fetch, prefix=prefix, delimiter=delimiter, max_keys=max_keys, **marker)
        pages += sorted(
            [*fold.contents, *fold.common_prefixes],
            key=lambda entry: (as_bytes(entry), -getattr(entry, "version", 0)),
        )
        last, truncated = fold.last_row, fold.is_truncated
        marker = {"after": fold.next_marker, "resume": last is not None, "first_version": last and last.version}
    assert pages == entries(rows, prefix, delimiter, lambda _: True)


@given(prefix=TEXTS, text=TEXTS)
def test_successor_is_the_least_upper_bound(prefix, text):
    above = successor(prefix)
    if text.startswith(prefix):
        assert above is None or text.encode() < above.encode()
    elif text.encode() > prefix.encode():
        assert above is not None
        assert above.encode() <= text.encode()
