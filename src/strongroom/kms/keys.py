"""The life of a key: created, described, listed, switched off and on, scheduled for deletion and called back."""

import secrets
import uuid
from typing import Any

from msgspec.structs import replace as changed

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.key_specs import NewMaterial, check_create, describe_algorithms, generate_material
from strongroom.kms.paging import page
from strongroom.kms.policies import default_policy, with_policy
from strongroom.kms.records import DeletionClock, Key, Material
from strongroom.kms.state import Put
from strongroom.kms.tags import new_tags

MOST_KEYS = 100_000
_DAY_US = 24 * 3600 * 1_000_000
_LONGEST_WINDOW = 30  # days; also where the request does not say


def make_material(call: KmsCall) -> NewMaterial:
    """For `create_key`, where making it takes long. Raises as that does for a kind of key that there is not."""
    return generate_material(check_create(call.input).spec)


def create_key(call: KmsCall, kms: Kms, made: NewMaterial | None = None) -> Outcome:
    """A key with its first material, or without any where that is to be imported. Durable before its id is known.

    `made`: its material, where `make_material` has made it.
    """
    given = call.input
    kind = check_create(given)
    if len(kms.state.keys) >= MOST_KEYS:
        raise KmsError("LimitExceededException", f"The account has reached its limit of {MOST_KEYS} keys.")
    key = Key(
        key_id=str(uuid.uuid4()),
        created_us=call.now_us,
        spec=kind.spec,
        usage=kind.usage,
        origin=kind.origin,
        description=given.get("Description", ""),
        policy=default_policy(kms),
        tags=new_tags((), given.get("Tags") or []),
    )
    if given.get("Policy") is not None:
        key = with_policy(call, kms, key, given["Policy"])
    key, changes = with_first_material(kms, key, made)
    described = metadata(kms, key)
    recorded = {
        name[:1].lower() + name[1:]: value for name, value in described.items()
    }  # `aWSAccountId`, as CloudTrail
    return Outcome(output={"KeyMetadata": described}, changes=changes, elements={"keyMetadata": recorded})


def with_first_material(kms: Kms, key: Key, made: NewMaterial | None = None) -> tuple[Key, tuple[Put, ...]]:
    """The key as it begins its life, and what has to be written for it."""
    if key.origin == "EXTERNAL":
        key = changed(key, available=False)
        return key, (Put(key),)
    key, material = with_new_material(kms, key, made)
    return key, (Put(material), Put(key))


def with_new_material(kms: Kms, key: Key, made: NewMaterial | None = None) -> tuple[Key, Material]:
    """The key with a fresh material as its current one."""
    material_id = secrets.token_bytes(32)
    private, public = made or generate_material(key.spec)
    now_us = kms.clock().us
    sealed = kms.root.seal_material(key, material_id, private)
    material = Material(material_id=material_id, key_id=key.key_id, created_us=now_us, sealed=sealed, public_key=public)
    return changed(key, material_ids=(*key.material_ids, material_id)), material


def describe_key(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del call
    return Outcome(output={"KeyMetadata": metadata(kms, key)})


def metadata(kms: Kms, key: Key) -> dict[str, Any]:
    """KeyMetadata; members that say nothing are left out, as AWS does."""
    current = key.current_material_id
    described: dict[str, Any] = {
        "AWSAccountId": kms.account_id,
        "KeyId": key.key_id,
        "Arn": kms.key_arn(key.key_id),
        "CreationDate": key.created_us / 1e6,
        "Enabled": key.state == "Enabled",
        "Description": key.description,
        "KeyUsage": key.usage,
        "KeyState": key.state,
        "Origin": key.origin,
        "KeyManager": key.manager,
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        "MultiRegion": False,
        **describe_algorithms(key),
    }
    if key.deletion_us is not None:
        described["DeletionDate"] = key.deletion_us / 1e6
    if key.spec == "SYMMETRIC_DEFAULT" and current is not None:
        described["CurrentKeyMaterialId"] = current.hex()
    if key.origin == "EXTERNAL" and key.available and current is not None:
        material = kms.state.materials.get(current)
        if material is not None:
            described["ExpirationModel"] = (
                "KEY_MATERIAL_EXPIRES" if material.expires else "KEY_MATERIAL_DOES_NOT_EXPIRE"
            )
            if material.valid_to_us is not None:
                described["ValidTo"] = material.valid_to_us / 1e6
    return described


def list_keys(call: KmsCall, kms: Kms) -> Outcome:
    def show(key: Key) -> dict[str, str]:
        return {"KeyId": key.key_id, "KeyArn": kms.key_arn(key.key_id)}

    owners = call.input.get("ResourceOwners") or ["SELF"]
    keys = list(kms.state.keys.values()) if "SELF" in owners else []
    return Outcome(output=page(call.input, keys, lambda key: key.key_id, member="Keys", show=show, default=100))


def enable_key(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del call, kms
    return Outcome(changes=(Put(changed(key, enabled=True)),))


def disable_key(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del call, kms
    return Outcome(changes=(Put(changed(key, enabled=False)),))


def update_key_description(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del kms
    return Outcome(changes=(Put(changed(key, description=call.input["Description"])),))


def schedule_key_deletion(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """Unusable from now on, gone when the window has passed by both clocks (clock.py)."""
    days = call.input.get("PendingWindowInDays", _LONGEST_WINDOW)
    window_us = days * _DAY_US
    scheduled = changed(
        key,
        deletion_us=call.now_us + window_us,
        deletion_clock=DeletionClock(
            boot_id=call.moment.boot_id, boottime_us=call.moment.boottime_us, window_us=window_us
        ),
    )
    output = {
        "KeyId": kms.key_arn(key.key_id),
        "DeletionDate": (call.now_us + window_us) / 1e6,
        "KeyState": scheduled.state,
        "PendingWindowInDays": days,
    }
    elements = {
        "keyId": output["KeyId"],
        "deletionDate": output["DeletionDate"],
        "keyState": output["KeyState"],
        "pendingWindowInDays": days,
    }
    return Outcome(output=output, changes=(Put(scheduled),), elements=elements)


def cancel_key_deletion(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """Back, and disabled: whoever wants it used again says so."""
    del call
    arn = kms.key_arn(key.key_id)
    kept = changed(key, deletion_us=None, deletion_clock=None, enabled=False)
    return Outcome(output={"KeyId": arn}, changes=(Put(kept),), elements={"keyId": arn})


def get_key_last_usage(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """Empty for a key that was never used."""
    del call
    used = kms.state.usages.get(key.key_id)
    shown: dict[str, Any] = {}
    if used is not None:
        shown = {
            "Operation": used.operation,
            "Timestamp": used.used_us / 1e6,
            "CloudTrailEventId": used.event_id,
            "KmsRequestId": used.request_id,
        }
    created = key.created_us / 1e6
    return Outcome(
        output={
            "KeyId": kms.key_arn(key.key_id),
            "KeyLastUsage": shown,
            "TrackingStartDate": created,
            "KeyCreationDate": created,
        }
    )
