"""TagResource, UntagResource, ListResourceTags."""

from typing import Any

import pytest

from tests.key_service import refused


def tags(kms: Any, key: dict[str, Any]) -> dict[str, str]:
    listed = kms.list_resource_tags(KeyId=key["KeyId"])
    assert listed["Truncated"] is False
    return {each["TagKey"]: each["TagValue"] for each in listed["Tags"]}


def pairs(given: dict[str, str]) -> list[dict[str, str]]:
    return [{"TagKey": name, "TagValue": value} for name, value in given.items()]


def test_tag_resource__adds_replaces_and_untag_removes(kms: Any, key: dict[str, Any]) -> None:
    assert tags(kms, key) == {}
    kms.tag_resource(KeyId=key["KeyId"], Tags=pairs({"a": "1", "b": "", "Ünï": "☃"}))
    kms.tag_resource(KeyId=key["Arn"], Tags=pairs({"a": "2", "A": "3"}))
    assert tags(kms, key) == {"a": "2", "b": "", "Ünï": "☃", "A": "3"}
    kms.untag_resource(KeyId=key["KeyId"], TagKeys=["a", "not there"])
    assert tags(kms, key) == {"b": "", "Ünï": "☃", "A": "3"}


def test_create_key__has_its_tags(kms: Any) -> None:
    made = kms.create_key(Tags=pairs({"a": "1"}))["KeyMetadata"]
    assert tags(kms, made) == {"a": "1"}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (pairs({"a": "1"}) * 2, ("TagException", "Duplicate tag keys")),
        (pairs({"aws:x": "1"}), ("TagException", "Tags beginning with aws: are reserved")),
        (pairs({"aWs:x": "1"}), ("TagException", "Tags beginning with aws: are reserved")),
        (pairs({f"t{number}": "" for number in range(51)}), ("TagException", "Too many tags")),
    ],
)
def test_tag_resource__refusals(
    kms: Any, key: dict[str, Any], given: list[dict[str, str]], error: tuple[str, str]
) -> None:
    assert refused(kms.tag_resource, KeyId=key["KeyId"], Tags=given) == error
    assert tags(kms, key) == {}


def test_tag_resource__50_in_all(kms: Any, key: dict[str, Any]) -> None:
    kms.tag_resource(KeyId=key["KeyId"], Tags=pairs({f"t{number}": "" for number in range(50)}))
    assert refused(kms.tag_resource, KeyId=key["KeyId"], Tags=pairs({"more": ""})) == ("TagException", "Too many tags")
    kms.tag_resource(KeyId=key["KeyId"], Tags=pairs({"t0": "changed"}))
    assert len(tags(kms, key)) == 50


def test_tag_resource__lengths(kms: Any, key: dict[str, Any]) -> None:
    kms.tag_resource(KeyId=key["KeyId"], Tags=pairs({"k" * 128: "v" * 256}))
    value = "v" * 257
    assert refused(kms.tag_resource, KeyId=key["KeyId"], Tags=pairs({"k": value})) == (
        "ValidationException",
        (
            f"1 validation error detected: Value '{value}' at 'tags.1.member.tagValue' failed to satisfy constraint: Member"
            " must have length less than or equal to 256"
        ),
    )
    code, message = refused(kms.tag_resource, KeyId=key["KeyId"], Tags=pairs({"": value}))
    assert (code, message[:29]) == ("ValidationException", "2 validation errors detected:")
