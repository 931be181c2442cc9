"""strongroom.kms.aliases: names of few characters, and one key at a time."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.aliases import check_new_alias, create_alias, list_aliases, update_alias
from tests.kms_values import NOW_US, add_key, call, new_kms


def code_of(function: Any, *arguments: Any) -> str:
    with pytest.raises(KmsError) as raised:
        function(*arguments)
    return raised.value.code


@given(st.text(st.characters(), max_size=20))
def test_an_alias_name_is_of_few_characters(name: str) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-")
    full = f"alias/{name}"
    if name and set(name) <= allowed and not name.startswith("aws/"):
        check_new_alias(full)
    else:
        assert code_of(check_new_alias, full) in {
            *("ValidationException", "NotAuthorizedException", "InvalidAliasNameException"),
        }


def test_an_alias_follows_its_last_key() -> None:
    kms = new_kms()
    first, second = (add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT") for _ in range(2))
    kms.state.apply(create_alias(call("CreateAlias", AliasName="alias/a"), kms, first).changes)
    later = call("UpdateAlias", AliasName="alias/a", now_us=NOW_US + 5)
    kms.state.apply(update_alias(later, kms, second, first).changes)
    assert list_aliases(call("ListAliases"), kms, first).output["Aliases"] == []
    [shown] = list_aliases(call("ListAliases"), kms).output["Aliases"]
    assert (shown["TargetKeyId"], shown["CreationDate"], shown["LastUpdatedDate"]) == (
        second.key_id,
        NOW_US / 1e6,
        (NOW_US + 5) / 1e6,
    )
