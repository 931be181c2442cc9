"""strongroom.crypto.sealing: each sealed value opens in its place only. One bound thing is changed per negative test."""

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from strongroom.crypto import sealing
from strongroom.crypto.context import ctx
from strongroom.crypto.errors import IntegrityError, KeyMismatch, UnknownFormat
from strongroom.crypto.rows import RowSealer
from strongroom.crypto.sealing import WHOLE_OBJECT
from strongroom.crypto.segments import open_sealed, seal

KEY, OTHER_KEY, SECRET = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
STORE, BUCKET, OBJECT, KEY_ID = (bytes([n]) * 16 for n in (1, 2, 3, 4))
OTHER_ID = b"\x09" * 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A stored value: how it is sealed and opened, where it belongs, and what each changed argument of the opening must say."""

    seal: Callable[..., bytes]
    open: Callable[..., bytes]
    place: dict[str, Any]
    size: int
    changes: dict[str, tuple[Any, type[IntegrityError]]]


def _seal_row(key: bytes, *, version: int, ad: bytes, plaintext: bytes) -> bytes:
    return sealing.seal_row(RowSealer(key), version, ad, plaintext)


def _open_row(key: bytes, sealed: bytes, *, version: int, ad: bytes) -> bytes:
    return sealing.open_row(RowSealer(key), version, ad, sealed)


def _seal_checksums(key: bytes, plaintext: bytes, *, object_id: bytes, part_number: int) -> bytes:
    return sealing.seal_checksums(key, object_id, part_number, plaintext)


def _open_checksums(key: bytes, sealed: bytes, *, object_id: bytes, part_number: int) -> bytes:
    return sealing.open_checksums(key, object_id, part_number, sealed)


VALUES = {
    "bucket secret": Value(
        seal=sealing.seal_bucket_secret,
        open=sealing.open_bucket_secret,
        place={"store_id": STORE, "bucket_id": BUCKET, "version": 1, "store_key_id": KEY_ID},
        size=1 + 4 + 16 + 104,
        changes={
            "store_id": (OTHER_ID, KeyMismatch),
            "bucket_id": (OTHER_ID, KeyMismatch),
            "version": (2, IntegrityError),
            "store_key_id": (OTHER_ID, IntegrityError),
        },
    ),
    "object key": Value(
        seal=sealing.seal_object_key,
        open=sealing.open_object_key,
        place={"bucket_id": BUCKET, "object_id": OBJECT, "version": 1, "layer": 0},
        size=1 + 4 + 104,
        changes={
            "bucket_id": (OTHER_ID, KeyMismatch),
            "object_id": (OTHER_ID, KeyMismatch),
            "version": (2, IntegrityError),
            "layer": (1, KeyMismatch),
        },
    ),
    "object key, bucket key": Value(
        seal=sealing.seal_object_key_bucket_key,
        open=sealing.open_object_key_bucket_key,
        place={"bucket_id": BUCKET, "object_id": OBJECT, "bucket_key_id": KEY_ID},
        size=1 + 16 + 104,
        changes={
            "bucket_id": (OTHER_ID, KeyMismatch),
            "object_id": (OTHER_ID, KeyMismatch),
            "bucket_key_id": (OTHER_ID, IntegrityError),
        },
    ),
    "object key, SSE-C": Value(
        seal=sealing.seal_object_key_sse_c,
        open=sealing.open_object_key_sse_c,
        place={"bucket_id": BUCKET, "object_id": OBJECT},
        size=1 + 32 + 104,
        changes={"bucket_id": (OTHER_ID, KeyMismatch), "object_id": (OTHER_ID, KeyMismatch)},
    ),
    "checksums": Value(
        seal=_seal_checksums,
        open=_open_checksums,
        place={"object_id": OBJECT, "part_number": 1},
        size=1 + 56 + 32 + 16,
        changes={"object_id": (OTHER_ID, KeyMismatch), "part_number": (WHOLE_OBJECT, KeyMismatch)},
    ),
    "row": Value(
        seal=lambda key, plaintext, **place: _seal_row(key, plaintext=plaintext, **place),
        open=_open_row,
        place={"version": 1, "ad": ctx("row/bucket", BUCKET)},
        size=1 + 4 + 24 + 32 + 16,
        changes={"version": (2, IntegrityError), "ad": (ctx("row/bucket", OTHER_ID), IntegrityError)},
    ),
}
each_value = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


@each_value
def test_value__opens_in_its_place(value: Value) -> None:
    stored = value.seal(KEY, SECRET, **value.place)
    assert stored[0] == 1
    assert len(stored) == value.size
    assert SECRET not in stored
    assert value.open(KEY, stored, **value.place) == SECRET


@each_value
def test_value__is_never_the_same_twice(value: Value) -> None:
    stored = {value.seal(KEY, SECRET, **value.place) for _ in range(3)}
    assert len({bytes(s)[-48:] for s in stored}) == 3


@pytest.mark.parametrize(
    ("value", "name"),
    [pytest.param(value, name, id=f"{kind}-{name}") for kind, value in VALUES.items() for name in value.changes],
)
def test_value__opens_in_no_place_that_differs_in_one_field(value: Value, name: str) -> None:
    stored = value.seal(KEY, SECRET, **value.place)
    other, error = value.changes[name]
    with pytest.raises(IntegrityError) as caught:
        value.open(KEY, stored, **value.place | {name: other})
    assert type(caught.value) is error


def test_every_field_of_every_place_has_its_negative_test() -> None:
    for value in VALUES.values():
        assert value.changes.keys() == value.place.keys()


@pytest.mark.parametrize(
    ("value", "name", "at"),
    [
        pytest.param(VALUES["bucket secret"], "version", slice(1, 5), id="bucket secret-version"),
        pytest.param(VALUES["bucket secret"], "store_key_id", slice(5, 21), id="bucket secret-store_key_id"),
        pytest.param(VALUES["object key"], "version", slice(1, 5), id="object key-version"),
        pytest.param(VALUES["object key, bucket key"], "bucket_key_id", slice(1, 17), id="object key-bucket_key_id"),
    ],
)
def test_name_in_front__is_also_bound_by_the_context(value: Value, name: str, at: slice) -> None:
    """Whoever rewrites the name in front, so that it is the one asked for, has not made another value of it."""
    other, _ = value.changes[name]
    stored = bytearray(value.seal(KEY, SECRET, **value.place))
    stored[at] = value.seal(KEY, SECRET, **value.place | {name: other})[at]
    with pytest.raises(KeyMismatch):
        value.open(KEY, bytes(stored), **value.place | {name: other})


@each_value
def test_value__does_not_open_under_another_key(value: Value) -> None:
    stored = value.seal(KEY, SECRET, **value.place)
    with pytest.raises(IntegrityError) as caught:
        value.open(OTHER_KEY, stored, **value.place)
    assert isinstance(caught.value, KeyMismatch) is (value is not VALUES["row"])


@each_value
def test_value__does_not_open_with_a_bit_changed_or_a_byte_missing(value: Value) -> None:
    stored = value.seal(KEY, SECRET, **value.place)
    for at in range(len(stored)):
        changed = bytearray(stored)
        changed[at] ^= 0x80
        for damaged in (bytes(changed), stored[:at], stored[at + 1 :], stored[:at] + b"\0" + stored[at:]):
            with pytest.raises(IntegrityError):
                value.open(KEY, damaged, **value.place)


@each_value
@pytest.mark.parametrize(("first", "named"), [(b"\x02", "02"), (b"\x00", "00"), (b"\xff", "ff"), (b"", "nothing")])
def test_unknown_format__is_refused_by_name(value: Value, first: bytes, named: str) -> None:
    stored = value.seal(KEY, SECRET, **value.place)
    with pytest.raises(UnknownFormat, match=named):
        value.open(KEY, first + stored[1:] if first else b"", **value.place)


def test_values__of_one_kind_never_open_as_another() -> None:
    """All are sealed under one key here, which the hierarchy never does: the labels alone keep them apart."""
    for kind, value in VALUES.items():
        stored = value.seal(KEY, SECRET, **value.place)
        for other_kind, other in VALUES.items():
            if other_kind != kind:
                with pytest.raises(IntegrityError):
                    other.open(KEY, stored, **other.place)


# --- SSE-C


def test_sse_c__damage_behind_the_commitment_is_not_a_wrong_key() -> None:
    """A client must not be told 403 for what is a broken disk: salt and commitment decide, the rest is integrity."""
    place = VALUES["object key, SSE-C"].place
    stored = bytearray(sealing.seal_object_key_sse_c(KEY, SECRET, **place))
    stored[-1] ^= 1
    with pytest.raises(IntegrityError) as caught:
        sealing.open_object_key_sse_c(KEY, bytes(stored), **place)
    assert type(caught.value) is IntegrityError
    with pytest.raises(KeyMismatch):
        sealing.open_object_key_sse_c(OTHER_KEY, bytes(stored), **place)


def test_sse_c__takes_the_bytearray_of_a_customer_key() -> None:
    place = VALUES["object key, SSE-C"].place
    stored = sealing.seal_object_key_sse_c(bytearray(KEY), SECRET, **place)
    assert sealing.open_object_key_sse_c(bytearray(KEY), stored, **place) == SECRET


def test_sse_c__nothing_of_the_customer_key_is_stored() -> None:
    stored = sealing.seal_object_key_sse_c(KEY, SECRET, **VALUES["object key, SSE-C"].place)
    assert not any(KEY[at : at + 4] in stored for at in range(29))


# --- keys


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_keys_of_another_length__are_refused_and_not_hashed_into_shape(size: int) -> None:
    short = bytes(size)
    for value in VALUES.values():
        with pytest.raises(ValueError, match="32 bytes"):
            value.seal(short, SECRET, **value.place)
    for kind in ("bucket secret", "object key", "object key, SSE-C"):
        with pytest.raises(ValueError, match="32 bytes"):
            VALUES[kind].seal(KEY, short, **VALUES[kind].place)
    for derive in (sealing.derive, sealing.fingerprint):
        with pytest.raises(ValueError, match="32 bytes"):
            derive(short, "purpose")


def test_store_key_id__has_16_bytes() -> None:
    value = VALUES["bucket secret"]
    with pytest.raises(ValueError, match="16 bytes"):
        value.seal(KEY, SECRET, **value.place | {"store_key_id": b"short"})


@pytest.mark.parametrize(
    "edited", [{"version": -1}, {"version": 2**32}, {"store_key_id": b""}, {"store_key_id": KEY_ID + b"?"}]
)
def test_bucket_secret__of_a_row_that_cannot_have_been_written_is_an_integrity_error(edited: dict[str, Any]) -> None:
    value = VALUES["bucket secret"]
    stored = value.seal(KEY, SECRET, **value.place)
    with pytest.raises(IntegrityError):
        value.open(KEY, stored, **value.place | edited)


def test_derived_keys__differ_by_purpose_bucket_version_and_secret() -> None:
    keys = {
        sealing.wrap_key(SECRET, BUCKET, 1),
        sealing.row_key(SECRET, BUCKET, 1),
        sealing.wrap_key(SECRET, BUCKET, 2),
        sealing.row_key(SECRET, BUCKET, 2),
        sealing.wrap_key(SECRET, OTHER_ID, 1),
        sealing.wrap_key(KEY, BUCKET, 1),
        sealing.derive(SECRET, "identity-row"),
    }
    assert len(keys) == 7
    assert {len(key) for key in keys} == {32}


def test_fingerprint__is_16_bytes_by_key_and_purpose() -> None:
    prints = {
        sealing.fingerprint(key, purpose) for key in (KEY, OTHER_KEY) for purpose in ("store-key", "identity-key")
    }
    assert len(prints) == 4
    assert {len(one) for one in prints} == {16}


def test_body_context__tells_object_part_and_layer_apart() -> None:
    message = seal(KEY, sealing.body_context(OBJECT, 1), b"body")
    assert open_sealed(KEY, sealing.body_context(OBJECT, 1, 0), message) == b"body"
    for context in (
        sealing.body_context(OTHER_ID, 1),
        sealing.body_context(OBJECT, 2),
        sealing.body_context(OBJECT, 0),
        sealing.body_context(OBJECT, 1, 1),
    ):
        with pytest.raises(KeyMismatch):
            open_sealed(KEY, context, message)


def test_master_key__of_random_bytes_passes() -> None:
    for _ in range(100):
        sealing.check_master_key(os.urandom(32))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (b"", "32 bytes"),
        (bytes(range(31)), "32 bytes"),
        (bytes(range(33)), "32 bytes"),
        (bytes(32), "equal"),
        (b"\xff" * 32, "equal"),
        (b"a" * 32, "equal"),
        (b"correct horse battery staple 123", "printable"),
        (b"0123456789abcdef0123456789abcde\n", "printable"),
    ],
)
def test_master_key__that_is_no_random_bytes_is_refused_with_the_reason(key: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        sealing.check_master_key(key)
    assert not key or repr(key)[2:-1] not in str(caught.value)


def test_identity_keys__are_those_of_the_format_page() -> None:
    """HKDF-Expand-SHA-512 (RFC 5869, 2.3) once more, by the standard library."""
    key = bytes(range(32))
    for made, context in (
        (sealing.identity_row_key(key), ctx("identity-row")),
        (sealing.service_secret(key), ctx("service-credential", b"s3")),
    ):
        assert made == hmac.digest(key, context + b"\x01", "sha512")[:32]


def test_identity_row__names_no_key_and_an_unknown_format_is_refused_by_name() -> None:
    sealer = RowSealer(sealing.identity_row_key(bytes(range(32))))
    stored = sealing.seal_identity_row(sealer, b"context", b"row")
    assert (stored[0], len(stored)) == (1, 1 + 24 + 3 + 16)
    assert sealing.open_identity_row(sealer, b"context", stored) == b"row"
    with pytest.raises(IntegrityError):
        sealing.open_identity_row(sealer, b"another", stored)
    with pytest.raises(UnknownFormat, match="02"):
        sealing.open_identity_row(sealer, b"context", b"\x02" + stored[1:])
