"""Rotation: a new material becomes current, and every older one goes on opening what it sealed, for the life of the key.

Nothing is encrypted anew. On demand at most 25 times a key; automatically for symmetric keys whose material was made
here, by maintenance.py when it is due.
"""

from typing import Any

from msgspec.structs import replace as changed

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.imports import waiting_material
from strongroom.kms.keys import with_new_material
from strongroom.kms.paging import page
from strongroom.kms.records import Key, Material, Rotation
from strongroom.kms.state import Change, Put

MOST_ON_DEMAND = 25
DEFAULT_PERIOD = 365  # days
DAY_US = 24 * 3600 * 1_000_000
_SOON_US = 20 * 60 * 1_000_000


def enable_key_rotation(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    _require_own_symmetric(kms, key)
    days = call.input.get("RotationPeriodInDays", DEFAULT_PERIOD)
    return Outcome(
        changes=(Put(changed(key, rotation=Rotation(period_days=days, next_us=call.now_us + days * DAY_US))),)
    )


def disable_key_rotation(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """A key that can't be rotated has no rotation to disable, and is told so by nobody: Terraform relies on it."""
    del call
    if key.origin == "EXTERNAL":
        raise _external(kms, key)
    return Outcome(changes=(Put(changed(key, rotation=None)),) if key.rotation else ())


def get_key_rotation_status(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del call
    if key.origin == "EXTERNAL":
        raise _external(kms, key)
    output: dict[str, Any] = {"KeyId": kms.key_arn(key.key_id), "KeyRotationEnabled": False}
    if key.rotation is not None and key.state != "PendingDeletion":
        output |= {
            "KeyRotationEnabled": True,
            "RotationPeriodInDays": key.rotation.period_days,
            "NextRotationDate": key.rotation.next_us / 1e6,
        }
    return Outcome(output=output)


def rotate_key_on_demand(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """Done when it is answered, though AWS takes some seconds; the date of the next automatic one stays."""
    arn = kms.key_arn(key.key_id)
    if key.spec != "SYMMETRIC_DEFAULT":
        raise KmsError("UnsupportedOperationException")
    if key.on_demand_rotations >= MOST_ON_DEMAND:
        raise KmsError(
            "LimitExceededException",
            "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be"
            f" performed for this key: {arn}",
        )
    if key.rotation is not None and key.rotation.next_us - call.now_us <= _SOON_US:
        raise KmsError("ConflictException", f"An automatic rotation of {arn} is due within 20 minutes.")
    if key.origin == "EXTERNAL":
        waiting_material(kms, key)
    key, material, changes = rotated(kms, key, "ON_DEMAND", call.now_us)
    del key
    return Outcome(
        output={"KeyId": arn},
        changes=changes,
        facts={"keyMaterialId": material.material_id.hex(), "rotationType": "ON_DEMAND"},
        elements={"keyId": arn},
    )


def rotated(kms: Kms, key: Key, kind: str, now_us: int) -> tuple[Key, Material, tuple[Change, ...]]:
    """The key with its next material as the current one; `kind`: ON_DEMAND or AUTOMATIC."""
    if key.pending_material_id is not None:
        material = kms.state.materials[key.pending_material_id]
        key = changed(key, material_ids=(*key.material_ids, material.material_id), pending_material_id=None)
    else:
        key, material = with_new_material(kms, key)
    material = changed(material, rotated_us=now_us, rotation_type=kind)
    if kind == "ON_DEMAND":
        key = changed(key, on_demand_rotations=key.on_demand_rotations + 1)
    return key, material, (Put(material), Put(key))


def list_key_rotations(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """Rotations that took place; with ALL_KEY_MATERIAL the first material and one that waits too."""
    if key.spec != "SYMMETRIC_DEFAULT":
        raise KmsError("UnsupportedOperationException")
    materials = kms.state.materials_of(key)
    if call.input.get("IncludeKeyMaterial", "ROTATIONS_ONLY") == "ROTATIONS_ONLY":
        materials = [material for material in materials if material.rotated_us is not None]
    numbered = list(enumerate(materials))

    def show(item: tuple[int, Material]) -> dict[str, Any]:
        return _entry(key, item[1])

    return Outcome(
        output=page(call.input, numbered, lambda item: f"{item[0]:05}", member="Rotations", show=show, default=100)
    )


def _entry(key: Key, material: Material) -> dict[str, Any]:
    if material.material_id == key.pending_material_id:
        state = "PENDING_ROTATION"
    elif material.material_id == key.current_material_id:
        state = "CURRENT"
    else:
        state = "NON_CURRENT"
    entry: dict[str, Any] = {
        "KeyId": key.key_id,
        "KeyMaterialId": material.material_id.hex(),
        "KeyMaterialState": state,
    }
    if key.origin == "EXTERNAL":
        entry["ImportState"] = "IMPORTED" if material.sealed else "PENDING_IMPORT"
        if material.sealed:
            entry["ExpirationModel"] = "KEY_MATERIAL_EXPIRES" if material.expires else "KEY_MATERIAL_DOES_NOT_EXPIRE"
        if material.valid_to_us is not None:
            entry["ValidTo"] = material.valid_to_us / 1e6
        if material.description:
            entry["KeyMaterialDescription"] = material.description
    if material.rotated_us is not None:
        entry |= {"RotationDate": material.rotated_us / 1e6, "RotationType": material.rotation_type}
    return entry


def _require_own_symmetric(kms: Kms, key: Key) -> None:
    if key.origin == "EXTERNAL":
        raise _external(kms, key)
    if key.spec != "SYMMETRIC_DEFAULT":
        raise KmsError("UnsupportedOperationException")


def _external(kms: Kms, key: Key) -> KmsError:
    return KmsError(
        "UnsupportedOperationException",
        f"{kms.key_arn(key.key_id)} origin is EXTERNAL which is not valid for this operation.",
    )
