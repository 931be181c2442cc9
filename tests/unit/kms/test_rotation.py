"""strongroom.kms.rotation: new secrets, old ones kept, 25 on demand."""

from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.records import Rotation
from strongroom.kms.rotation import rotate_key_on_demand, rotated
from tests.kms_values import NOW_US, add_key, applied, call, new_kms, secret_of


def code_of(function: Any, *arguments: Any) -> str:
    with pytest.raises(KmsError) as raised:
        function(*arguments)
    return raised.value.code


def test_rotate_key_on_demand__a_new_secret_and_the_old_one_kept() -> None:
    kms = new_kms()
    key = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    secrets = [secret_of(kms, key)]
    for number in range(1, 26):
        key = applied(kms, rotate_key_on_demand(call("RotateKeyOnDemand", now_us=NOW_US + number), kms, key), key)
        assert key.on_demand_rotations == number
        secrets.append(secret_of(kms, key))
    assert len(set(secrets)) == 26 == len(key.material_ids)
    opened = [kms.root.open_material(key, kms.state.materials[material_id]) for material_id in key.material_ids]
    assert opened == secrets
    assert code_of(rotate_key_on_demand, call("RotateKeyOnDemand"), kms, key) == "LimitExceededException"
    _, material, _ = rotated(kms, key, "AUTOMATIC", NOW_US)  # these are not counted
    assert material.rotation_type == "AUTOMATIC"


@pytest.mark.parametrize(
    ("minutes", "code"), [(-1, "ConflictException"), (0, "ConflictException"), (20, "ConflictException"), (21, None)]
)
def test_rotate_key_on_demand__not_around_an_automatic_one(minutes: int, code: str | None) -> None:
    kms = new_kms()
    key = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    due = replace(key, rotation=Rotation(period_days=90, next_us=NOW_US + minutes * 60_000_000))
    if code is None:
        assert rotate_key_on_demand(call("RotateKeyOnDemand"), kms, due).changes
    else:
        assert code_of(rotate_key_on_demand, call("RotateKeyOnDemand"), kms, due) == code
