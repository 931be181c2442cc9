"""strongroom.kms.keys: what a key begins with, and how many there can be."""

import pytest

from strongroom.aws.kms_errors import KmsError
from strongroom.kms import keys
from strongroom.kms.keys import cancel_key_deletion, create_key, schedule_key_deletion
from strongroom.kms.records import DeletionClock
from tests.kms_values import NOW_US, add_key, applied, call, moment, new_kms, secret_of

_DAY_US = 86_400_000_000


def test_create_key__nothing_is_true_before_it_is_durable() -> None:
    kms = new_kms()
    outcome = create_key(call("CreateKey"), kms)
    assert not kms.state.keys
    kms.state.apply(outcome.changes)
    key = kms.state.keys[outcome.output["KeyMetadata"]["KeyId"]]
    assert len(secret_of(kms, key)) == 32
    recorded = repr(outcome.elements) + repr(outcome.facts)
    assert repr(secret_of(kms, key)) not in recorded
    assert outcome.elements is not None
    assert outcome.elements["keyMetadata"]["keyId"] == key.key_id


def test_create_key__external_has_no_material() -> None:
    kms = new_kms()
    kms.state.apply(create_key(call("CreateKey", Origin="EXTERNAL"), kms).changes)
    [key] = kms.state.keys.values()
    assert (key.state, key.material_ids, kms.state.materials) == ("PendingImport", (), {})


def test_create_key__so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keys.MOST_KEYS == 100_000
    monkeypatch.setattr(keys, "MOST_KEYS", 1)
    kms = new_kms()
    kms.state.apply(create_key(call("CreateKey"), kms).changes)
    with pytest.raises(KmsError) as raised:
        create_key(call("CreateKey"), kms)
    assert raised.value.code == "LimitExceededException"


def test_schedule_key_deletion__keeps_both_clocks_and_cancel_forgets_them() -> None:
    kms = new_kms()
    key = add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    pending = applied(kms, schedule_key_deletion(call("ScheduleKeyDeletion", PendingWindowInDays=7), kms, key), key)
    assert pending.deletion_us == NOW_US + 7 * _DAY_US
    now = moment(NOW_US)
    assert pending.deletion_clock == DeletionClock(
        boot_id=now.boot_id, boottime_us=now.boottime_us, window_us=7 * _DAY_US
    )
    kept = applied(kms, cancel_key_deletion(call("CancelKeyDeletion"), kms, pending), key)
    assert (kept.state, kept.deletion_us, kept.deletion_clock) == ("Disabled", None, None)
