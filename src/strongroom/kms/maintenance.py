"""What the key service does by itself: rotations that are due, deletions whose window has passed, material that expires.

Pure: what is due at a moment, in the order in which it was due, each with the event that records it. The service makes
each durable once, so that a crash between two of them repeats none.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from msgspec.structs import replace as changed

from strongroom.kms.call import Kms
from strongroom.kms.clock import Moment
from strongroom.kms.imports import drop_material, expired_materials
from strongroom.kms.records import Key, Material, Rotation
from strongroom.kms.rotation import DAY_US, rotated
from strongroom.kms.state import Change, Put, Remove


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One thing to do now. `event`: its name in the record; `facts`: its serviceEventDetails beside the key's ARN."""

    event: str
    key_id: str
    changes: tuple[Change, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


def first_due(kms: Kms, moment: Moment) -> Due | None:
    """What was due first, or None. To be asked again once that is done."""
    first = min(_all_due(kms, moment), key=lambda due: due[:2], default=None)
    return None if first is None else first[2]()


def _all_due(kms: Kms, moment: Moment) -> Iterator[tuple[int, str, Callable[[], Due]]]:
    """When each was due, of which key, and what makes it."""
    for key in kms.state.keys.values():
        if key.deletion_us is not None:
            if _window_has_passed(key, moment):
                yield key.deletion_us, key.key_id, partial(_deletion, kms, key)
            continue
        if key.rotation is not None and key.state == "Enabled" and key.rotation.next_us <= moment.us:
            yield key.rotation.next_us, key.key_id, partial(_rotation, kms, key, key.rotation, moment)

    for material in expired_materials(kms.state, moment.us):
        assert material.valid_to_us is not None
        yield material.valid_to_us, material.key_id, partial(_expiry, kms, material)


def _window_has_passed(key: Key, moment: Moment) -> bool:
    """By the wall clock, and by the one that nobody sets as long as it is the same boot's."""
    clock = key.deletion_clock
    assert key.deletion_us is not None
    if key.deletion_us > moment.us:
        return False
    return clock is None or clock.boot_id != moment.boot_id or moment.boottime_us - clock.boottime_us >= clock.window_us


def _deletion(kms: Kms, key: Key) -> Due:
    """The key, its materials, aliases and grants: all of it, at once."""
    changes = (
        *(Remove("alias", alias.name) for alias in kms.state.aliases_of(key.key_id)),
        *(Remove("grant", grant.grant_id) for grant in kms.state.grants_of(key.key_id)),
        *(Remove("material", material.material_id.hex()) for material in kms.state.materials_of(key)),
        *((Remove("usage", key.key_id),) if key.key_id in kms.state.usages else ()),
        Remove("key", key.key_id),
    )
    return Due(event="DeleteKey", key_id=key.key_id, changes=changes)


def _expiry(kms: Kms, material: Material) -> Due:
    key = kms.state.keys[material.key_id]
    return Due(
        event="DeleteExpiredKeyMaterial",
        key_id=key.key_id,
        changes=drop_material(kms.state, key, material.material_id),
        facts={"keyMaterialId": material.material_id.hex()},
    )


def _rotation(kms: Kms, key: Key, rotation: Rotation, moment: Moment) -> Due:
    """One rotation, however many were missed; the next one counts from when this one was due, unless that has passed too."""
    period_us = rotation.period_days * DAY_US
    next_us = rotation.next_us + period_us
    if next_us <= moment.us:
        next_us = moment.us + period_us
    turned, material, _ = rotated(kms, key, "AUTOMATIC", moment.us)
    turned = changed(turned, rotation=Rotation(period_days=rotation.period_days, next_us=next_us))
    return Due(
        event="RotateKey",
        key_id=key.key_id,
        changes=(Put(material), Put(turned)),
        facts={"keyMaterialId": material.material_id.hex(), "rotationType": "AUTOMATIC"},
    )
