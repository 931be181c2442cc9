"""strongroom.kms.paging: pages that join to the whole, in the order of their keys, whatever comes and goes between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.paging import page

NAMES = st.lists(st.text(max_size=12), unique=True, max_size=40)


def shown(items: list[str], **given: object) -> dict[str, object]:
    return page(given, items, str, member="Items", show=lambda item: item, default=5, most=10)


@given(NAMES, st.integers(1, 12))
def test_pages_join_to_the_whole(names: list[str], limit: int) -> None:
    seen: list[str] = []
    marker: dict[str, object] = {}
    while True:
        answer = shown(names, Limit=limit, **marker)
        items = answer["Items"]
        assert isinstance(items, list)
        assert len(items) <= min(limit, 10)
        seen += items
        assert answer["Truncated"] == ("NextMarker" in answer)
        if "NextMarker" not in answer:
            break
        marker = {"Marker": answer["NextMarker"]}
    assert seen == sorted(names)


@given(NAMES, NAMES)
def test_what_comes_and_goes_between_two_pages_hides_and_repeats_no_other(before: list[str], after: list[str]) -> None:
    first = shown(before, Limit=3)
    rest = shown(after, Limit=10, Marker=first["NextMarker"]) if "NextMarker" in first else None
    if rest is not None:
        items = first["Items"]
        assert isinstance(items, list)
        assert rest["Items"] == sorted(name for name in after if name > items[-1])[:10]


def test_the_default_size() -> None:
    items = [f"{number:03}" for number in range(7)]
    assert shown(items)["Items"] == items[:5]


@pytest.mark.parametrize("marker", ["", "x", "é", "AAAA", "YWJj", "T3RoZXIveA==", "SXRlbXM=", "\ud800"])
def test_a_marker_of_no_page_is_invalid(marker: str) -> None:
    """`T3RoZXIveA==`: of another list; `SXRlbXM=`: of none."""
    with pytest.raises(KmsError) as raised:
        shown(["a"], Marker=marker)
    assert raised.value.code == "InvalidMarkerException"
