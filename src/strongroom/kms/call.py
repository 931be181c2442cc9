"""A call of the key service as its operations see it, and what an operation gives back.

An operation is a synchronous function of a call and of what the service knows; it writes nothing. What it wants changed
it returns, and the service makes that durable, writes the record of the call, and only then answers. So whatever an
operation raises has changed nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from strongroom.identity.requester import Caller
from strongroom.kms.clock import Moment
from strongroom.kms.records import Key, Material
from strongroom.kms.state import Change, State


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsCall:
    """`input`: by the model's member names, shapes checked; blobs are bytes. `moment`: when it came."""

    operation: str
    input: Mapping[str, Any] = field(repr=False)
    caller: Caller
    moment: Moment

    @property
    def now_us(self) -> int:
        return self.moment.us


class Root(Protocol):
    """What the root key does for operations; the root itself is nobody's to see."""

    def seal_material(self, key: Key, material_id: bytes, plaintext: bytes) -> bytes:
        """The stored form of a new material of `key`. `plaintext`: 32 bytes, or a private key (DER PKCS #8)."""
        ...

    def open_material(self, key: Key, material: Material) -> bytes:
        """Raises IntegrityError, and KmsError where the material was deleted or has expired."""
        ...

    def derive(self, label: str, *fields: bytes) -> bytes:
        """A 32-byte key for one purpose, of this key service alone: the same for its whole life, whatever root is in
        force, so that imported material has the same id when it is imported again.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kms:
    """What every operation works on. `unique_id`: of the principal with that ARN, who exists."""

    region: str
    account_id: str
    state: State
    root: Root
    principal_exists: Callable[[str], bool]
    unique_id: Callable[[str], str]
    clock: Callable[[], Moment]

    def key_arn(self, key_id: str) -> str:
        return f"arn:aws:kms:{self.region}:{self.account_id}:key/{key_id}"

    @property
    def account_root(self) -> str:
        return f"arn:aws:iam::{self.account_id}:root"

    def alias_arn(self, name: str) -> str:
        return f"arn:aws:kms:{self.region}:{self.account_id}:{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`output`: by the model's member names. `changes`: to be made durable before the answer. `facts`: for the record's
    additionalEventData (`keyMaterialId`, `grantId`, ...); `elements`: its responseElements, None for none. Neither ever
    holds a plaintext, a ciphertext or a token.
    """

    output: Mapping[str, Any] = field(default_factory=dict, repr=False)
    changes: tuple[Change, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    elements: Mapping[str, Any] | None = None
