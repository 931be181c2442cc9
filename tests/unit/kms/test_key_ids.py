"""strongroom.kms.key_ids: any text names a key of ours, or is refused with one of AWS's errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.key_ids import alias_of, resolve
from strongroom.kms.records import Alias
from strongroom.kms.state import Put
from tests.kms_values import ACCOUNT, REGION, add_key, call, new_kms

KMS = new_kms()
CALL = call("DescribeKey")
KEY = add_key(KMS, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
KMS.state.apply([Put(Alias(name="alias/a/b", target_key_id=KEY.key_id, created_us=0, updated_us=0))])
ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:"
PIECES = st.sampled_from(
    [
        *("arn", "aws", "kms", REGION, ACCOUNT, ":", "/", "key", "alias", "mrk-", "-", "\n", "x", "0" * 8),
        KEY.key_id,
        ARN,
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES).map("".join), st.lists(PIECES).map(":".join)), st.booleans())
def test_any_text_is_a_key_or_refused(name: str, aliases: bool) -> None:
    names = {KEY.key_id, f"{ARN}key/{KEY.key_id}"} | ({"alias/a/b", f"{ARN}alias/a/b"} if aliases else set())
    if name in names:
        assert resolve(CALL, KMS, name, aliases=aliases).key == KEY
        return
    with pytest.raises(KmsError) as raised:
        resolve(CALL, KMS, name, aliases=aliases)
    assert raised.value.code in {"NotFoundException", "InvalidArnException", "AccessDeniedException"}
    assert raised.value.message


def test_the_alias_that_was_used_is_told() -> None:
    for name in ("alias/a/b", f"{ARN}alias/a/b"):
        assert resolve(CALL, KMS, name, aliases=True).alias == "alias/a/b"
        assert alias_of(KMS, name) == "alias/a/b"
    for name in (KEY.key_id, f"{ARN}key/{KEY.key_id}"):
        assert resolve(CALL, KMS, name, aliases=True).alias is None
        assert alias_of(KMS, name) is None
    assert alias_of(KMS, f"arn:aws:kms:eu-west-1:{ACCOUNT}:alias/a/b") is None


@pytest.mark.parametrize("region", ["eu-west-1", "", "us-east-1 "])
def test_another_region_is_told_by_its_name(region: str) -> None:
    with pytest.raises(KmsError) as raised:
        resolve(CALL, KMS, f"arn:aws:kms:{region}:{ACCOUNT}:key/{KEY.key_id}", aliases=True)
    assert (raised.value.code, raised.value.message) == ("NotFoundException", f"Invalid arn {region}")


@pytest.mark.parametrize("aliases", [True, False])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        (f"{ARN}key/alias/a/b", "InvalidArnException"),  # an alias in the place of a key id is none
        (f"{ARN}alias/alias/a/b", "NotFoundException"),
        (f"{ARN}key/key/ID", "NotFoundException"),
        (f"{ARN}ID", "InvalidArnException"),
        (f"arn:aws-cn:kms:{REGION}:{ACCOUNT}:key/ID", "InvalidArnException"),
        (f"arn:awsome:kms:{REGION}:{ACCOUNT}:alias/a/b", "InvalidArnException"),
        (f"arn:aws:s3:{REGION}:{ACCOUNT}:key/ID", "InvalidArnException"),
    ],
)
def test_what_only_looks_like_an_arn_of_ours_is_refused(name: str, code: str, aliases: bool) -> None:
    with pytest.raises(KmsError) as raised:
        resolve(CALL, KMS, name.replace("ID", KEY.key_id), aliases=aliases)
    assert raised.value.code == code
