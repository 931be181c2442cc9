"""strongroom.kms.policies: the documents that we write ourselves."""

import json
from typing import Any

import pytest

from strongroom.kms.key_policy import check_key_policy
from strongroom.kms.policies import default_policy, managed_policy, service_policy
from tests.kms_values import new_kms


@pytest.mark.parametrize("make", [default_policy, lambda kms: managed_policy(kms, "s3"), service_policy])
def test_our_own_policies_would_be_accepted(make: Any) -> None:
    kms = new_kms()
    text = make(kms)
    check_key_policy(text, principal_exists={kms.account_root}.__contains__)
    assert json.loads(text)["Version"] == "2012-10-17"
    assert '"Version" : "2012-10-17"' in text


def test_only_the_default_policy_lets_anybody_change_the_key() -> None:
    kms = new_kms()
    for text in (managed_policy(kms, "s3"), service_policy(kms)):
        for statement in json.loads(text)["Statement"]:
            for action in statement["Action"]:
                assert action.startswith(("kms:Describe", "kms:Get", "kms:List")) or "Condition" in statement
                assert not action.startswith(("kms:Put", "kms:Schedule", "kms:Disable", "kms:Create", "kms:*"))
