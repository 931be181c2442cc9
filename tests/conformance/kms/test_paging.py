"""Every List operation in pages: nothing twice, nothing left out, NextMarker with Truncated only; markers of no list."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.key_service import ROOT, KeyServer, refused


def lists(kms: Any, server: KeyServer) -> dict[str, tuple[Callable[..., Any], dict[str, Any], str, int]]:
    """What to call, with what, the member that is the list, and the default size of a page."""
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    retiring = server.user().arn
    for number in range(5):
        kms.create_alias(AliasName=f"alias/{key}/{number}", TargetKeyId=key)
        kms.tag_resource(KeyId=key, Tags=[{"TagKey": f"t{number}", "TagValue": ""}])
        kms.create_grant(KeyId=key, GranteePrincipal=ROOT, RetiringPrincipal=retiring, Operations=["DescribeKey"])
        kms.rotate_key_on_demand(KeyId=key)
        kms.create_key()
    return {
        "ListKeys": (kms.list_keys, {}, "Keys", 1000),
        "ListAliases": (kms.list_aliases, {"KeyId": key}, "Aliases", 100),
        "ListResourceTags": (kms.list_resource_tags, {"KeyId": key}, "Tags", 50),
        "ListGrants": (kms.list_grants, {"KeyId": key}, "Grants", 100),
        "ListRetirableGrants": (kms.list_retirable_grants, {"RetiringPrincipal": retiring}, "Grants", 100),
        "ListKeyRotations": (kms.list_key_rotations, {"KeyId": key}, "Rotations", 1000),
        "ListKeyPolicies": (kms.list_key_policies, {"KeyId": key}, "PolicyNames", 1000),
    }


@pytest.fixture(scope="module")
def all_lists(kms: Any, key_server: KeyServer) -> Any:
    return lists(kms, key_server)


NAMES = [
    *("ListKeys", "ListAliases", "ListResourceTags", "ListGrants", "ListRetirableGrants", "ListKeyRotations"),
    "ListKeyPolicies",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages_join_to_the_whole(all_lists: Any, name: str, limit: int) -> None:
    call, given, member, most = all_lists[name]
    whole = call(**given, Limit=most)
    assert (whole["Truncated"], "NextMarker" in whole) == (False, False)
    joined: list[Any] = []
    marker: dict[str, str] = {}
    while True:
        page = call(**given, **marker, Limit=limit)
        assert len(page[member]) <= limit
        assert page["Truncated"] == ("NextMarker" in page)
        joined += page[member]
        if not page["Truncated"]:
            break
        assert 1 <= len(page["NextMarker"]) <= 1024
        marker = {"Marker": page["NextMarker"]}
    assert joined == whole[member]
    assert len(joined) >= (1 if name == "ListKeyPolicies" else 5)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ListKeyPolicies"])
def test_a_marker_that_nobody_gave_is_invalid(all_lists: Any, name: str) -> None:
    call, given, member, _ = all_lists[name]
    foreign = "ListAliases" if member != "Aliases" else "ListKeys"
    other, other_given, *_ = all_lists[foreign]
    for marker in ("x", "!", "AAAA", "é", "YWJj", other(**other_given, Limit=1)["NextMarker"]):
        code, _ = refused(call, **given, Marker=marker)
        assert code in {"InvalidMarkerException", "ValidationException"}, marker
        if marker.isascii() and marker != "!":
            assert code == "InvalidMarkerException", marker


@pytest.mark.parametrize("name", NAMES)
def test_limits_have_bounds(all_lists: Any, name: str) -> None:
    call, given, _, most = all_lists[name]
    for limit, bound in ((0, "greater than or equal to 1"), (most + 1, f"less than or equal to {most}")):
        assert refused(call, **given, Limit=limit) == (
            "ValidationException",
            (
                f"1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must have value"
                f" {bound}"
            ),
        )


def test_a_page_goes_on_behind_what_is_deleted_meanwhile(kms: Any, key: dict[str, Any]) -> None:
    names = [f"alias/{key['KeyId']}/{number}" for number in range(4)]
    for name in names:
        kms.create_alias(AliasName=name, TargetKeyId=key["KeyId"])
    first = kms.list_aliases(KeyId=key["KeyId"], Limit=2)
    kms.delete_alias(AliasName=first["Aliases"][-1]["AliasName"])
    rest = kms.list_aliases(KeyId=key["KeyId"], Marker=first["NextMarker"])
    assert sorted(each["AliasName"] for page in (first, rest) for each in page["Aliases"]) == names
