"""Keys that nobody creates by hand: `aws/s3`, made when it is first needed, and the key that holds the store key.

There is one of each in a key service, however many ask for it first at the same time: they are made under the lock of
changes, by whoever finds that they are missing.
"""

import uuid
from collections.abc import Mapping

from strongroom.kms.call import Kms
from strongroom.kms.keys import with_first_material
from strongroom.kms.policies import managed_policy, service_policy
from strongroom.kms.records import Alias, Key, Rotation
from strongroom.kms.rotation import DAY_US, DEFAULT_PERIOD
from strongroom.kms.state import Change, Put

S3_ALIAS = "alias/aws/s3"
STORE_ALIAS = "alias/aws/strongroom"
DESCRIPTIONS: Mapping[str, str] = {
    S3_ALIAS: "Default key that protects my S3 objects when no other key is defined",
    STORE_ALIAS: "Holds the store key, under which buckets keep their secrets",
}


def managed_key(kms: Kms, alias: str) -> tuple[Key, tuple[Change, ...]]:
    """What makes the managed key of that alias, with its first material and its alias. It is rotated every year."""
    now_us = kms.clock().us
    key = Key(
        key_id=str(uuid.uuid4()),
        created_us=now_us,
        spec="SYMMETRIC_DEFAULT",
        usage="ENCRYPT_DECRYPT",
        origin="AWS_KMS",
        manager="AWS",
        service=alias == STORE_ALIAS,
        description=DESCRIPTIONS[alias],
        policy=service_policy(kms) if alias == STORE_ALIAS else managed_policy(kms, "s3"),
        rotation=Rotation(period_days=DEFAULT_PERIOD, next_us=now_us + DEFAULT_PERIOD * DAY_US),
    )
    key, changes = with_first_material(kms, key)
    alias_record = Alias(name=alias, target_key_id=key.key_id, created_us=now_us, updated_us=now_us)
    return key, (*changes, Put(alias_record))
