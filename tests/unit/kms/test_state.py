"""strongroom.kms.state: what belongs together is found together, and no longer once it is gone."""

from strongroom.kms.records import Alias
from strongroom.kms.state import Put, Remove, State
from tests.unit.kms.authorization import ALICE, BOB, KEY_ID, grant, key


def test_grants__are_found_by_key_and_grantee_until_they_are_removed() -> None:
    one, two, bobs = (grant(who, grant_id=digit * 64) for who, digit in ((ALICE, "1"), (ALICE, "2"), (BOB, "3")))
    elsewhere = grant(ALICE, grant_id="4" * 64, key_id="00000000-0000-4000-8000-000000000000")
    state = State([key(), one, two, bobs, elsewhere])
    assert list(state.grants_of(KEY_ID)) == [one, two, bobs]
    assert list(state.grants_to(KEY_ID, ALICE)) == [one, two]
    assert state.count_grants(KEY_ID) == 3
    state.apply([Remove("grant", one.grant_id), Remove("grant", bobs.grant_id)])
    assert list(state.grants_of(KEY_ID)) == list(state.grants_to(KEY_ID, ALICE)) == [two]
    assert list(state.grants_to(KEY_ID, BOB)) == []
    assert state.count_grants(KEY_ID) == 1
    state.apply([Remove("grant", two.grant_id), Remove("key", KEY_ID)])
    assert list(state.grants_of(KEY_ID)) == list(state.grants_to(KEY_ID, ALICE)) == []
    assert list(state.grants.values()) == [elsewhere]


def test_aliases__go_with_the_key_that_they_point_at() -> None:
    first, second = key(), key(key_id="00000000-0000-4000-8000-000000000000")
    alias = Alias(name="alias/a", target_key_id=first.key_id, created_us=1, updated_us=1)
    moved = Alias(name="alias/a", target_key_id=second.key_id, created_us=1, updated_us=2)
    state = State([first, second, alias])
    assert list(state.aliases_of(first.key_id)) == [alias]
    state.apply([Put(moved)])
    assert list(state.aliases_of(first.key_id)) == []
    assert list(state.aliases_of(second.key_id)) == [moved]
    state.apply([Remove("alias", "alias/a")])
    assert list(state.aliases_of(second.key_id)) == []
