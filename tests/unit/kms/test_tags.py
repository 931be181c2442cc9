"""strongroom.kms.tags: merged as a dict is, in their order, 50 at most."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.tags import new_tags, tag_resource, untag_resource
from tests.kms_values import add_key, applied, call, new_kms

TAG_NAMES = st.text(min_size=1, max_size=8).filter(lambda name: not name.lower().startswith("aws:"))


def code_of(function: Any, *arguments: Any) -> str:
    with pytest.raises(KmsError) as raised:
        function(*arguments)
    return raised.value.code


@given(
    st.dictionaries(TAG_NAMES, st.text(max_size=4), max_size=30),
    st.dictionaries(TAG_NAMES, st.text(max_size=4), max_size=30),
)
def test_tags_are_merged_as_a_dict_is_and_50_at_most(before: dict[str, str], given: dict[str, str]) -> None:
    pairs = [{"TagKey": name, "TagValue": value} for name, value in given.items()]
    merged = {**before, **given}
    if len(merged) > 50:
        assert code_of(new_tags, tuple(before.items()), pairs) == "TagException"
    else:
        assert dict(new_tags(tuple(before.items()), pairs)) == merged


def test_untag_resource__leaves_the_others_in_their_order() -> None:
    kms = new_kms()
    key = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    pairs = [{"TagKey": name, "TagValue": "v"} for name in "cab"]
    key = applied(kms, tag_resource(call("TagResource", Tags=pairs), kms, key), key)
    key = applied(kms, untag_resource(call("UntagResource", TagKeys=["a", "x"]), kms, key), key)
    assert key.tags == (("c", "v"), ("b", "v"))
