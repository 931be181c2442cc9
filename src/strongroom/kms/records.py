"""The records of the key service as values: what a key, its materials, an alias and a grant are.

They are sealed as they stand, as MessagePack arrays in the order of their fields: a field may be appended with a
default and never moved. What a record *is* follows from its fields; nothing that can be derived is stored. Words are
AWS KMS's. These types know no SQL and no root key.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

Tags = tuple[tuple[str, str], ...]
KeyState = Literal["Enabled", "Disabled", "PendingDeletion", "PendingImport"]


class Rotation(Struct, frozen=True, kw_only=True, array_like=True):
    """Automatic rotation, which is on. `next_us`: when the next one is due."""

    period_days: int
    next_us: int


class DeletionClock(Struct, frozen=True, kw_only=True, array_like=True):
    """When a deletion was scheduled, by the clock that nobody sets: CLOCK_BOOTTIME of the boot `boot_id`. Whoever turns
    the wall clock forward shortens no waiting window.
    """

    boot_id: str
    boottime_us: int
    window_us: int


class Key(Struct, frozen=True, kw_only=True, array_like=True):
    """One KMS key (CMK): everything about it but its material. `key_id`: a UUID as text.

    `material_ids`: the materials that belong to it for good, oldest first, the last one being current; empty before a
    first import. `pending_material_id`: imported and waiting for RotateKeyOnDemand. `available`: every one of
    `material_ids` is here (imported material can be deleted or expire). `service`: made for this store itself
    (the store key), so that it can't be disabled or deleted.
    """

    key_id: str
    created_us: int
    spec: str
    usage: str
    origin: Literal["AWS_KMS", "EXTERNAL"]
    manager: Literal["CUSTOMER", "AWS"] = "CUSTOMER"
    service: bool = False
    description: str = ""
    policy: str
    enabled: bool = True
    available: bool = True
    deletion_us: int | None = None
    deletion_clock: DeletionClock | None = None
    material_ids: tuple[bytes, ...] = ()
    pending_material_id: bytes | None = None
    rotation: Rotation | None = None
    on_demand_rotations: int = 0
    tags: Tags = ()

    @property
    def state(self) -> KeyState:
        if self.deletion_us is not None:
            return "PendingDeletion"
        if not self.available:
            return "PendingImport"
        return "Enabled" if self.enabled else "Disabled"

    @property
    def current_material_id(self) -> bytes | None:
        return self.material_ids[-1] if self.material_ids else None


class Material(Struct, frozen=True, kw_only=True, array_like=True):
    """One material of a key. `sealed`: a Cobblestone message under the root (docs/object-format.md); b"" where imported
    material was deleted or has expired. `public_key`: DER SubjectPublicKeyInfo of an asymmetric key, else b"".

    `rotated_us`, `rotation_type`: how it became current; None and "" for a key's first.
    """

    material_id: bytes
    key_id: str
    created_us: int
    sealed: bytes
    public_key: bytes = b""
    rotated_us: int | None = None
    rotation_type: Literal["", "AUTOMATIC", "ON_DEMAND"] = ""
    description: str = ""
    expires: bool = False
    valid_to_us: int | None = None


class Alias(Struct, frozen=True, kw_only=True, array_like=True):
    """`name`: with its "alias/"."""

    name: str
    target_key_id: str
    created_us: int
    updated_us: int


class GrantConstraints(Struct, frozen=True, kw_only=True, array_like=True):
    equals: Mapping[str, str] | None = None
    subset: Mapping[str, str] | None = None
    source_arn: str | None = None


class Grant(Struct, frozen=True, kw_only=True, array_like=True):
    """`grant_id`: 64 hex digits. Principals are ARNs, "" for none."""

    grant_id: str
    key_id: str
    created_us: int
    name: str
    grantee: str
    retiring: str
    issuing_account: str
    operations: tuple[str, ...]
    constraints: GrantConstraints = GrantConstraints()


class LastUsage(Struct, frozen=True, kw_only=True, array_like=True):
    """The last successful cryptographic use of a key (GetKeyLastUsage), written down now and then."""

    key_id: str
    operation: str
    used_us: int
    event_id: str
    request_id: str


Record = Key | Material | Alias | Grant | LastUsage
Kind = Literal["key", "material", "alias", "grant", "usage"]


def identity_of(record: Record) -> tuple[Kind, str, str]:
    """(kind, record id, key id): where a record has its place, and the key that it goes with."""
    match record:
        case Key():
            return "key", record.key_id, record.key_id
        case Material():
            return "material", record.material_id.hex(), record.key_id
        case Alias():
            return "alias", record.name, record.target_key_id
        case Grant():
            return "grant", record.grant_id, record.key_id
        case LastUsage():
            return "usage", record.key_id, record.key_id
