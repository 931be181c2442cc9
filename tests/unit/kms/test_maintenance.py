"""strongroom.kms.maintenance: what is due, when, in which order, whatever the clocks did."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from strongroom.kms.aliases import create_alias
from strongroom.kms.call import Kms
from strongroom.kms.clock import Moment
from strongroom.kms.grants import create_grant
from strongroom.kms.keys import schedule_key_deletion
from strongroom.kms.maintenance import first_due
from strongroom.kms.records import Key, LastUsage, Rotation
from strongroom.kms.rotation import DAY_US
from strongroom.kms.state import Put
from tests.kms_values import ACCOUNT, NOW_US, add_key, call, moment, new_kms


def symmetric(kms: Kms, **fields: object) -> Key:
    key = replace(add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), **fields)
    kms.state.apply([Put(key)])
    return key


def done(kms: Kms, now: Moment) -> list[tuple[str, str]]:
    """All that was due, done: event and key."""
    found = []
    while (due := first_due(kms, now)) is not None:
        kms.state.apply(due.changes)
        found.append((due.event, due.key_id))
    return found


def test_nothing_is_due_of_keys_that_nobody_scheduled() -> None:
    kms = new_kms()
    symmetric(kms)
    assert done(kms, moment(NOW_US + 10_000 * DAY_US)) == []


def test_a_deletion_takes_everything_of_the_key_and_nothing_else() -> None:
    kms = new_kms()
    kms.state.apply([Put(LastUsage(key_id="other", operation="Sign", used_us=1, event_id="e", request_id="r"))])
    key, other = symmetric(kms), symmetric(kms)
    for each in (key, other):
        name = f"alias/{each.key_id}"
        kms.state.apply(create_alias(call("CreateAlias", AliasName=name), kms, each).changes)
        given: dict[str, Any] = {"GranteePrincipal": ACCOUNT, "Operations": ["Decrypt"]}
        kms.state.apply(create_grant(call("CreateGrant", **given), kms, each).changes)
    usage = LastUsage(key_id=key.key_id, operation="Sign", used_us=1, event_id="e", request_id="r")
    kms.state.apply(
        [Put(usage), *schedule_key_deletion(call("ScheduleKeyDeletion", PendingWindowInDays=7), kms, key).changes]
    )
    assert done(kms, moment(NOW_US + 7 * DAY_US - 1)) == []
    assert done(kms, moment(NOW_US + 7 * DAY_US)) == [("DeleteKey", key.key_id)]
    state = kms.state
    assert list(state.keys) == [other.key_id]
    assert list(state.aliases) == [f"alias/{other.key_id}"]
    assert [grant.key_id for grant in state.grants.values()] == [other.key_id]
    assert set(state.materials) == set(other.material_ids)
    assert list(state.usages) == ["other"]


@dataclass
class Clocks:
    """The wall's and the kernel's, in microseconds after the moment of scheduling."""

    wall: int = 0
    boot: int = 0

    def now(self) -> Moment:
        return Moment(us=NOW_US + self.wall, boot_id="boot", boottime_us=self.boot)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 4)),
        st.tuples(st.just("turn"), st.floats(-400, 400)),
    ),
    max_size=20,
)


@given(STEPS, st.integers(7, 30))
def test_a_window_must_have_passed_by_both_clocks(steps: list[tuple[str, float]], days: int) -> None:
    """As long as the machine was not started anew, no turning of the wall clock deletes a key early."""
    kms, clocks = new_kms(), Clocks()
    key = symmetric(kms)
    request = call("ScheduleKeyDeletion", PendingWindowInDays=days)
    request = dataclasses.replace(request, moment=clocks.now())
    kms.state.apply(schedule_key_deletion(request, kms, key).changes)
    for kind, amount in steps:
        clocks.wall += int(amount * DAY_US)
        if kind == "wait":
            clocks.boot += int(amount * DAY_US)
        is_due = clocks.wall >= days * DAY_US and clocks.boot >= days * DAY_US
        assert done(kms, clocks.now()) == ([("DeleteKey", key.key_id)] if is_due else [])
        if is_due:
            return


def test_after_a_reboot_the_wall_clock_alone_is_left() -> None:
    kms = new_kms()
    key = symmetric(kms)
    kms.state.apply(schedule_key_deletion(call("ScheduleKeyDeletion", PendingWindowInDays=7), kms, key).changes)
    later = NOW_US + 7 * DAY_US
    same_boot = Moment(us=later, boot_id=moment(NOW_US).boot_id, boottime_us=moment(NOW_US).boottime_us)
    assert done(kms, same_boot) == []
    assert done(kms, Moment(us=later - 1, boot_id="another", boottime_us=0)) == []
    assert done(kms, Moment(us=later, boot_id="another", boottime_us=0)) == [("DeleteKey", key.key_id)]


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=12), st.integers(90, 2560))
def test_a_rotation_is_done_once_a_period_and_never_before_it_is_due(waits: list[int], period: int) -> None:
    kms, now = new_kms(), NOW_US
    key = symmetric(kms, rotation=Rotation(period_days=period, next_us=NOW_US + period * DAY_US))
    for days in waits:
        now += days * DAY_US
        before = kms.state.keys[key.key_id]
        assert before.rotation is not None
        is_due = before.rotation.next_us <= now
        assert done(kms, moment(now)) == ([("RotateKey", key.key_id)] if is_due else [])
        after = kms.state.keys[key.key_id]
        assert after.rotation is not None
        assert now < after.rotation.next_us <= now + period * DAY_US
        assert len(after.material_ids) == len(before.material_ids) + is_due
        assert after.on_demand_rotations == 0
    assert len(after.material_ids) - 1 <= (now - NOW_US) // (period * DAY_US)


def test_what_was_due_first_is_done_first() -> None:
    kms = new_kms()
    late = symmetric(kms, rotation=Rotation(period_days=90, next_us=NOW_US + 20))
    early = symmetric(kms, rotation=Rotation(period_days=90, next_us=NOW_US + 10))
    disabled = symmetric(kms, enabled=False, rotation=Rotation(period_days=90, next_us=NOW_US))
    assert done(kms, moment(NOW_US + DAY_US)) == [("RotateKey", early.key_id), ("RotateKey", late.key_id)]
    kms.state.apply([Put(replace(disabled, enabled=True))])
    assert done(kms, moment(NOW_US + DAY_US)) == [("RotateKey", disabled.key_id)]
