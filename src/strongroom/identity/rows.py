"""Rows of the identity store: the one place that turns users and secrets into sealed rows and back.

Sealed with XAES-256-GCM under a key of the identity key's; all clear columns are in the associated data, with the store's
id and the row's revision. The *head* says which users there are and at which revision each stands, so that an older copy
of a user's row, which would open, is not believed: it would bring back a revoked right. A row that does not open denies;
it never counts as absent. This module reads no database.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import msgspec
from msgspec import Struct

from strongroom.crypto.context import ctx, text, u64
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.rows import RowSealer
from strongroom.crypto.sealing import identity_row_key, open_identity_row, seal_identity_row
from strongroom.database.database import Row, Value
from strongroom.identity.records import AccessKey, PolicyDocument, User

USER_COLUMNS = "user_id, name, account_id, created_us, revision, sealed"
ACCESS_KEY_COLUMNS = "access_key_id, user_id, revision, sealed"
HEAD = "head"

Revisions = Mapping[str, int]


class _UserBody(Struct, frozen=True, array_like=True):
    policies: tuple[PolicyDocument, ...]
    access_keys: tuple[AccessKey, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode_user = msgspec.msgpack.Decoder(_UserBody).decode
_decode_head = msgspec.msgpack.Decoder(dict[str, int]).decode


@dataclass(frozen=True, slots=True)
class Sealing:
    """What the rows of one identity store are sealed with."""

    store_id: bytes
    sealer: RowSealer = field(repr=False)

    @classmethod
    def of(cls, identity_key: bytes, store_id: bytes) -> "Sealing":
        return cls(store_id, RowSealer(identity_row_key(identity_key)))


def seal_user(sealing: Sealing, user: User) -> tuple[Value, ...]:
    """The row (USER_COLUMNS) of `user`."""
    clear = (user.user_id, user.name, user.account_id, user.created_us, user.revision)
    body = _encode(_UserBody(user.policies, user.access_keys))
    return (*clear, seal_identity_row(sealing.sealer, _user_ad(sealing, *clear), body))


def open_user(sealing: Sealing, row: Row) -> User:
    """The user of a row (USER_COLUMNS). Raises IntegrityError."""
    user_id, name, account_id, created_us, revision, sealed = cast("tuple[str, str, str, int, int, bytes]", row)
    try:
        ad = _user_ad(sealing, user_id, name, account_id, created_us, revision)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise _damaged() from error
    body = _decode_user(_open(sealing, ad, sealed))
    return User(
        user_id=user_id,
        name=name,
        account_id=account_id,
        created_us=created_us,
        revision=revision,
        policies=body.policies,
        access_keys=body.access_keys,
    )


def _user_ad(sealing: Sealing, user_id: str, name: str, account_id: str, created_us: int, revision: int) -> bytes:
    fields = (text(user_id), text(name), text(account_id), u64(created_us), u64(revision))
    return ctx("identity/users", sealing.store_id, *fields)


def seal_secret(sealing: Sealing, access_key_id: str, user_id: str, secret: str) -> tuple[Value, ...]:
    """The row (ACCESS_KEY_COLUMNS) of an access key. Secrets never change: their revision is 1."""
    clear = (access_key_id, user_id, 1)
    return (*clear, seal_identity_row(sealing.sealer, _access_key_ad(sealing, *clear), secret.encode()))


def open_secret(sealing: Sealing, row: Row) -> str:
    """The secret of a row (ACCESS_KEY_COLUMNS). Raises IntegrityError."""
    access_key_id, user_id, revision, sealed = cast("tuple[str, str, int, bytes]", row)
    try:
        ad = _access_key_ad(sealing, access_key_id, user_id, revision)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise _damaged() from error
    return _open(sealing, ad, sealed).decode()


def _access_key_ad(sealing: Sealing, access_key_id: str, user_id: str, revision: int) -> bytes:
    return ctx("identity/access_keys", sealing.store_id, text(access_key_id), text(user_id), u64(revision))


def seal_head(sealing: Sealing, revisions: Revisions) -> bytes:
    """The head that names these users (by id) and the revision of each."""
    return seal_identity_row(sealing.sealer, _head_ad(sealing), _encode(dict(revisions)))


def open_head(sealing: Sealing, sealed: object) -> Revisions:
    """Raises IntegrityError."""
    return _decode_head(_open(sealing, _head_ad(sealing), sealed))


def _head_ad(sealing: Sealing) -> bytes:
    return ctx("identity/store", sealing.store_id, text(HEAD))


def _open(sealing: Sealing, ad: bytes, sealed: object) -> bytes:
    if not isinstance(sealed, bytes):
        raise _damaged()
    return open_identity_row(sealing.sealer, ad, sealed)


def _damaged() -> IntegrityError:
    return IntegrityError("a column of the identity store holds what cannot have been written")
