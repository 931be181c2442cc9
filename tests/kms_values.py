"""A key service in memory for the tests of its operations: real keys, really sealed, under a root of their own."""

import os
import uuid
from datetime import UTC, datetime
from functools import cache
from typing import Any

from strongroom.crypto.secret_key import SecretKey
from strongroom.identity.requester import Caller, Requester
from strongroom.identity.root import Principal
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.clock import Moment
from strongroom.kms.key_specs import SPECS, generate_material
from strongroom.kms.records import Key, Material
from strongroom.kms.root import OpenRoot, RootVersion
from strongroom.kms.state import Put, State

ACCOUNT, REGION = "111122223333", "us-east-1"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
HOUR_US = 3_600_000_000


def new_kms() -> Kms:
    root = OpenRoot(
        store_id=os.urandom(16),
        account_id=ACCOUNT,
        region=REGION,
        current=RootVersion(1, SecretKey(os.urandom(32))),
        previous=None,
        now_us=lambda: NOW_US,
    )
    root.keep_lasting_secret(SecretKey(os.urandom(32)))
    return Kms(
        region=REGION,
        account_id=ACCOUNT,
        state=State(),
        root=root,
        principal_exists=set().__contains__,
        unique_id=str,
        clock=lambda: moment(NOW_US),
    )


def moment(us: int) -> Moment:
    return Moment(us=us, boot_id="tests", boottime_us=us - NOW_US + HOUR_US)


def add_key(kms: Kms, spec: str, usage: str, *, origin: Any = "AWS_KMS") -> Key:
    """A key with its material; without one where its origin is EXTERNAL."""
    key = Key(
        key_id=str(uuid.uuid4()), created_us=NOW_US, spec=spec, usage=usage, origin=origin, policy="{}", available=False
    )
    if origin == "AWS_KMS":
        secret, public_key = _shared_material(spec) if SPECS[spec].slow else generate_material(spec)
        material_id = os.urandom(32)
        key = Key(
            key_id=key.key_id,
            created_us=NOW_US,
            spec=spec,
            usage=usage,
            origin=origin,
            policy="{}",
            material_ids=(material_id,),
        )
        sealed = kms.root.seal_material(key, material_id, secret)
        kms.state.apply(
            [
                Put(
                    Material(
                        material_id=material_id,
                        key_id=key.key_id,
                        created_us=NOW_US,
                        sealed=sealed,
                        public_key=public_key,
                    )
                )
            ]
        )
    kms.state.apply([Put(key)])
    return key


@cache
def _shared_material(spec: str) -> tuple[bytes, bytes]:
    """RSA keys take long to make: the tests of a process share one of each kind."""
    return generate_material(spec)


def call(operation: str, *, now_us: int = NOW_US, **members: Any) -> KmsCall:
    requester = Requester(
        principal=Principal(account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root"),
        access_key_id="AKIDEXAMPLE",
        source_ip="127.0.0.1",
        secure_transport=True,
        user_agent="tests",
        request_id="",
    )
    return KmsCall(
        operation=operation, input=members, caller=Caller(requester=requester, request_id="r"), moment=moment(now_us)
    )


def applied(kms: Kms, outcome: Outcome, key: Key) -> Key:
    """The key as it is once an outcome's changes are made."""
    kms.state.apply(outcome.changes)
    return kms.state.keys[key.key_id]


def secret_of(kms: Kms, key: Key) -> bytes:
    assert key.current_material_id is not None
    return kms.root.open_material(key, kms.state.materials[key.current_material_id])
