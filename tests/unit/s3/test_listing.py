"""What AWS answered for the same keys and parameters, operation by operation, and the edges of `successor`."""

from dataclasses import dataclass

import pytest

from strongroom.s3.listing import Fold, Seek, successor


@dataclass(frozen=True)
class Row:
    key: str
    version: int = 0
    marker: bool = False


def page(rows, *, fetch=1000, first_version=None, **parameters):
    """Drive a Fold over `rows` (in order), `fetch` rows at a time; returns it and how many rows it was fed."""
    fold = Fold(**parameters)
    fed = 0
    while (seek := fold.seek) is not None:
        ahead = [row for row in rows if is_ahead(row, seek, rows, first_version)]
        fold.feed(ahead[:fetch], exhausted=len(ahead) <= fetch)
        fed += len(ahead[:fetch])
        first_version = None
    return fold, fed


def is_ahead(row, seek, rows, first_version):
    if seek.row is not None:
        return rows.index(row) > rows.index(seek.row)
    if first_version is not None and row.key == seek.lower:
        return row.version < first_version
    return row.key >= seek.lower if seek.inclusive else row.key > seek.lower


def shown(fold):
    return [row.key for row in fold.contents], fold.common_prefixes, fold.is_truncated, fold.next_marker


FOLDER = [
    Row("folder/aSubfolder/subFile1"),
    Row("folder/aSubfolder/subFile2"),
    Row("folder/file1"),
    Row("folder/file2"),
]
NUMBERED = [Row(f"test_{number}") for number in (0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9)]
BOO = [Row(key) for key in ("asdf", "boo/bar", "boo/baz/xyzzy", "cquux/bla", "cquux/thud")]


@pytest.mark.parametrize("fetch", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("rows", "parameters", "expected"),
    [
        # ListObjects, marker and NextMarker
        (FOLDER, {"max_keys": 1}, (["folder/aSubfolder/subFile1"], [], True, "folder/aSubfolder/subFile1")),
        (
            FOLDER,
            {"prefix": "folder/", "delimiter": "/", "max_keys": 1},
            ([], ["folder/aSubfolder/"], True, "folder/aSubfolder/"),
        ),
        (
            FOLDER,
            {"prefix": "folder/", "delimiter": "/", "after": "folder/aSubfolder/", "max_keys": 1},
            (["folder/file1"], [], True, "folder/file1"),
        ),
        (
            FOLDER,
            {"prefix": "folder/", "delimiter": "/", "after": "folder/file1", "max_keys": 1},
            (["folder/file2"], [], False, "folder/file2"),
        ),
        (  # a marker inside a common prefix hides all of it
            FOLDER,
            {"prefix": "folder/", "delimiter": "/", "after": "folder/aSubfolder/subFile1", "max_keys": 1},
            (["folder/file1"], [], True, "folder/file1"),
        ),
        (FOLDER, {"delimiter": "/", "max_keys": 1000}, ([], ["folder/"], False, "folder/")),
        # ListObjectsV2, start-after
        (NUMBERED, {"after": "test_7", "max_keys": 2}, (["test_8", "test_9"], [], False, "test_9")),
        (NUMBERED, {"max_keys": 5}, (["test_0", "test_1", "test_10", "test_11", "test_2"], [], True, "test_2")),
        (BOO, {"delimiter": "/", "after": "boo/", "max_keys": 1}, ([], ["cquux/"], False, "cquux/")),
        (
            [Row("prefix1/object"), Row("prefix2/object")],
            {"prefix": "prefix", "delimiter": "/", "after": "prefix1", "max_keys": 1000},
            ([], ["prefix1/", "prefix2/"], False, "prefix2/"),
        ),
        (BOO, {"after": "zzz", "max_keys": 10}, ([], [], False, "")),
        (BOO, {"prefix": "boo", "after": "zzz", "max_keys": 10}, ([], [], False, "")),
        (BOO, {"prefix": "boo/", "after": "asdf", "max_keys": 1}, (["boo/bar"], [], True, "boo/bar")),
        (BOO, {"prefix": "none", "max_keys": 10}, ([], [], False, "")),
        (BOO, {"prefix": "boo/bar", "delimiter": "/", "max_keys": 10}, (["boo/bar"], [], False, "boo/bar")),
        (BOO, {"prefix": "boo", "delimiter": "/", "max_keys": 10}, ([], ["boo/"], False, "boo/")),
        # a delimiter of several characters, one that does not occur, one inside the prefix only
        (
            BOO,
            {"delimiter": "o/", "max_keys": 10},
            (["asdf", "cquux/bla", "cquux/thud"], ["boo/"], False, "cquux/thud"),
        ),
        (BOO, {"delimiter": "|", "max_keys": 2}, (["asdf", "boo/bar"], [], True, "boo/bar")),
        (
            BOO,
            {"prefix": "boo/b", "delimiter": "o/b", "max_keys": 9},
            (["boo/bar", "boo/baz/xyzzy"], [], False, "boo/baz/xyzzy"),
        ),
        # keys that are their own common prefix
        ([Row("a/"), Row("a/b")], {"delimiter": "/", "max_keys": 9}, ([], ["a/"], False, "a/")),
        ([Row("a/"), Row("a/b")], {"prefix": "a/", "delimiter": "/", "max_keys": 9}, (["a/", "a/b"], [], False, "a/b")),
        ([Row("//a"), Row("/b")], {"delimiter": "/", "max_keys": 9}, ([], ["/"], False, "/")),
        # nothing asked for
        (BOO, {"max_keys": 0}, ([], [], False, "")),
        ([], {"max_keys": 10}, ([], [], False, "")),
        # U+FFFF is before the emoji in UTF-8 and in code points, after it in UTF-16
        ([Row("\uffff"), Row("😀")], {"max_keys": 1}, (["\uffff"], [], True, "\uffff")),
        ([Row("\uffff"), Row("😀")], {"after": "\uffff", "max_keys": 1}, (["😀"], [], False, "😀")),
        # nothing is above a common prefix of the last character
        (
            [Row("\U0010ffffa"), Row("\U0010ffffb")],
            {"delimiter": "\U0010ffff", "max_keys": 1},
            ([], ["\U0010ffff"], False, "\U0010ffff"),
        ),
    ],
)
def test_page(rows, parameters, expected, fetch):
    assert shown(page(rows, fetch=fetch, **parameters)[0]) == expected


VERSIONS = [
    Row(key, version, marker)
    for key, version, marker in [
        ("test_0", 8, False),
        ("test_0", 5, True),
        ("test_0", 1, False),
        ("test_1", 9, False),
        ("test_1", 6, True),
        ("test_1", 2, False),
        ("test_2", 7, True),
        ("test_2", 4, False),
        ("test_2", 3, False),
    ]
]


@pytest.mark.parametrize("fetch", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("parameters", "first_version", "versions", "truncated"),
    [
        ({"max_keys": 1000}, None, [8, 5, 1, 9, 6, 2, 7, 4, 3], False),
        ({"max_keys": 5}, None, [8, 5, 1, 9, 6], True),
        ({"max_keys": 1, "after": "test_1"}, None, [7], True),
        ({"max_keys": 1, "after": "test_2"}, None, [], False),
        ({"max_keys": 1, "after": "test_1", "resume": True}, 6, [2], True),
        ({"max_keys": 1, "after": "test_2", "resume": True}, 4, [3], False),
        ({"max_keys": 1}, None, [8], True),
        ({"max_keys": 9, "after": "test_0", "resume": True, "prefix": "test_0"}, 8, [5, 1], False),
    ],
)
def test_page_of_versions(parameters, first_version, versions, truncated, fetch):
    fold, _ = page(VERSIONS, fetch=fetch, first_version=first_version, **parameters)
    assert [row.version for row in fold.contents] == versions
    assert fold.is_truncated is truncated
    assert fold.last_row == (fold.contents[-1] if fold.contents else None)


@pytest.mark.parametrize("fetch", [1, 2, 1000])
def test_hidden_rows_neither_show_nor_make_a_common_prefix(fetch):
    rows = [Row("a/1", marker=True), Row("b"), Row("c/1", marker=True), Row("c/2"), Row("d", marker=True)]
    fold, _ = page(rows, fetch=fetch, delimiter="/", max_keys=2, hidden=lambda row: row.marker)
    assert shown(fold) == (["b"], ["c/"], False, "c/")


def test_last_row_is_none_behind_a_common_prefix():
    fold, _ = page([Row("a"), Row("b/c")], delimiter="/", max_keys=9)
    assert (fold.next_marker, fold.last_row) == ("b/", None)


def test_a_common_prefix_is_passed_by_one_seek():
    rows = [Row(f"a/{number:05}") for number in range(10_000)] + [Row("b")]
    fold, fed = page(rows, fetch=10, delimiter="/", max_keys=1000)
    assert shown(fold) == (["b"], ["a/"], False, "b")
    assert fed == 11


def test_first_seek():
    assert Fold[Row](max_keys=1).seek == Seek(lower="", inclusive=True)
    assert Fold[Row](prefix="b", max_keys=1).seek == Seek(lower="b", inclusive=True)
    assert Fold[Row](prefix="b", after="a", max_keys=1).seek == Seek(lower="b", inclusive=True)
    assert Fold[Row](prefix="b", after="b", max_keys=1).seek == Seek(lower="b", inclusive=False)
    assert Fold[Row](prefix="b", after="c", max_keys=1).seek is None
    assert Fold[Row](delimiter="/", after="a/b", max_keys=1).seek == Seek(lower="a0", inclusive=True)
    assert Fold[Row](prefix="a", delimiter="/", after="a/b", max_keys=1).seek == Seek(lower="a0", inclusive=True)
    assert Fold[Row](prefix="a/", delimiter="/", after="a/b", max_keys=1).seek == Seek(lower="a/b", inclusive=False)
    assert Fold[Row](max_keys=0).seek is None


def test_next_seek():
    fold = Fold[Row](delimiter="/", max_keys=9)
    fold.feed([Row("a"), Row("b", 2), Row("b", 1)], exhausted=False)
    assert fold.seek == Seek(lower="b", inclusive=False, row=Row("b", 1))
    fold.feed([Row("c/1"), Row("c/2")], exhausted=False)
    assert fold.seek == Seek(lower="c0", inclusive=True)
    fold.feed([Row("d")], exhausted=True)
    assert fold.seek is None


def test_no_rows_end_the_page():
    fold = Fold[Row](max_keys=9)
    fold.feed([], exhausted=False)
    assert fold.seek is None


def test_a_common_prefix_that_reaches_the_bound_ends_the_page():
    delimiter = "\U0010ffff"
    assert Fold[Row](prefix="a", delimiter=delimiter, after=f"a{delimiter}x", max_keys=9).seek is None


def test_rows_at_or_before_the_marker_are_no_entries():
    rows = [Row("a"), Row("b", 2), Row("b", 1), Row("c")]
    fold = Fold[Row](after="b", max_keys=9)
    fold.feed(rows, exhausted=True)
    assert fold.contents == [Row("c")]
    resumed = Fold[Row](after="b", resume=True, max_keys=9)
    resumed.feed(rows, exhausted=True)
    assert resumed.contents == [Row("b", 2), Row("b", 1), Row("c")]
    folded = Fold[Row](delimiter="/", after="b/", resume=True, max_keys=9)
    folded.feed([Row("a"), Row("b/1"), Row("c")], exhausted=True)
    assert shown(folded) == (["c"], [], False, "c")


def test_bound_above():
    assert Fold[Row](max_keys=1).below is None
    assert Fold[Row](prefix="a/", max_keys=1).below == "a0"


def test_rows_beyond_the_prefix_end_the_page():
    fold = Fold[Row](prefix="a", max_keys=9)
    fold.feed([Row("a1"), Row("b1")], exhausted=False)
    assert shown(fold) == (["a1"], [], False, "a1")
    assert fold.seek is None


@pytest.mark.parametrize(
    ("prefix", "above"),
    [
        ("a", "b"),
        ("a/", "a0"),
        ("abc", "abd"),
        ("\0", "\x01"),
        ("a\x7f", "a\x80"),
        ("\ud7ff", "\ue000"),
        ("a\ud7ff", "a\ue000"),
        ("\uffff", "\U00010000"),
        ("😀", "😁"),
        ("a\U0010ffff", "b"),
        ("a\U0010ffff\U0010ffff", "b"),
        ("\ud7ff\U0010ffff", "\ue000"),
        ("\U0010ffff", None),
        ("\U0010ffff\U0010ffff", None),
        ("", None),
    ],
)
def test_successor(prefix, above):
    assert successor(prefix) == above
