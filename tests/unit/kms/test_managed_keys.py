"""strongroom.kms.managed_keys: what such a key is."""

import pytest

from strongroom.kms.managed_keys import DESCRIPTIONS, S3_ALIAS, STORE_ALIAS, managed_key
from strongroom.kms.records import Key, Rotation
from strongroom.kms.rotation import DAY_US
from tests.kms_values import NOW_US, new_kms, secret_of


@pytest.mark.parametrize("alias", [S3_ALIAS, STORE_ALIAS])
def test_a_managed_key_is_amazons_has_its_alias_and_is_rotated_every_year(alias: str) -> None:
    kms = new_kms()
    key, changes = managed_key(kms, alias)
    assert not kms.state.keys  # nothing is true before it is durable
    kms.state.apply(changes)
    stored: Key = kms.state.keys[key.key_id]
    assert stored == key
    assert (stored.manager, stored.description, stored.service) == ("AWS", DESCRIPTIONS[alias], alias == STORE_ALIAS)
    assert stored.rotation == Rotation(period_days=365, next_us=NOW_US + 365 * DAY_US)
    assert kms.state.aliases[alias].target_key_id == key.key_id
    assert len(secret_of(kms, stored)) == 32
