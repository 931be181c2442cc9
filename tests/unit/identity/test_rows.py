"""Each thing that a row is bound to, changed alone, and it does not open."""

from dataclasses import replace
from typing import cast

import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Row
from strongroom.identity.records import AccessKey, PolicyDocument, User
from strongroom.identity.rows import (
    Sealing,
    open_head,
    open_secret,
    open_user,
    seal_head,
    seal_secret,
    seal_user,
)

KEY = bytes(range(32))
SEALING = Sealing.of(KEY, b"S" * 16)
USER = User(
    user_id="AIDA1",
    name="alice",
    account_id="000000000000",
    created_us=17,
    revision=3,
    policies=(PolicyDocument("p", "{}", 5),),
    access_keys=(AccessKey("SU1", True, 7), AccessKey("SU2", False, 8)),
)
OTHERS = [
    pytest.param(Sealing.of(bytes(range(1, 33)), b"S" * 16), id="identity key"),
    pytest.param(Sealing.of(KEY, b"T" * 16), id="store id"),
]


def sealed_of(row: Row) -> bytes:
    assert isinstance(row[-1], bytes)
    return row[-1]


def test_a_user_opens_as_it_was_sealed() -> None:
    assert open_user(SEALING, seal_user(SEALING, USER)) == USER
    assert open_secret(SEALING, seal_secret(SEALING, "SU1", "AIDA1", "secret")) == "secret"
    assert open_head(SEALING, seal_head(SEALING, {"AIDA1": 3})) == {"AIDA1": 3}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (0, "AIDA2"),
        (1, "bob"),
        (1, "Alice"),
        (2, "000000000001"),
        (3, 18),
        (4, 4),
        (4, 2),
        (0, None),
        (1, b"alice"),
        (3, -1),
        (4, "3"),
        (5, None),
        (5, "text"),
        (5, b""),
        (5, b"\x01"),
    ],
)
def test_a_user_with_one_column_changed_does_not_open(column, value) -> None:
    row = list(seal_user(SEALING, USER))
    row[column] = value
    with pytest.raises(IntegrityError):
        open_user(SEALING, tuple(row))


@pytest.mark.parametrize(("column", "value"), [(0, "SU2"), (1, "AIDA2"), (2, 2), (0, None), (2, -1), (3, None)])
def test_a_secret_with_one_column_changed_does_not_open(column, value) -> None:
    row = list(seal_secret(SEALING, "SU1", "AIDA1", "secret"))
    row[column] = value
    with pytest.raises(IntegrityError):
        open_secret(SEALING, tuple(row))


@pytest.mark.parametrize("other", OTHERS)
def test_no_row_opens_under_another_key_or_in_another_store(other) -> None:
    with pytest.raises(IntegrityError):
        open_user(other, seal_user(SEALING, USER))
    with pytest.raises(IntegrityError):
        open_secret(other, seal_secret(SEALING, "SU1", "AIDA1", "secret"))
    with pytest.raises(IntegrityError):
        open_head(other, seal_head(SEALING, {"AIDA1": 3}))


def test_a_value_of_one_table_opens_in_no_other() -> None:
    user = seal_user(SEALING, USER)[-1]
    secret = seal_secret(SEALING, "SU1", "AIDA1", "secret")
    with pytest.raises(IntegrityError):
        open_head(SEALING, user)
    with pytest.raises(IntegrityError):
        open_secret(SEALING, (*secret[:-1], user))
    with pytest.raises(IntegrityError):
        open_user(SEALING, (*seal_user(SEALING, USER)[:-1], secret[-1]))


@pytest.mark.parametrize("position", [0, 1, 13, 25, 40, -1])
def test_a_flipped_bit_is_found(position) -> None:
    row = seal_user(SEALING, USER)
    sealed = bytearray(cast("bytes", row[-1]))
    sealed[position] ^= 1
    with pytest.raises(IntegrityError):
        open_user(SEALING, (*row[:-1], bytes(sealed)))


def test_nothing_of_a_user_or_a_secret_stands_in_clear() -> None:
    policy = PolicyDocument("a-policy-name", '{"Sid": "MarkerOfAPolicy"}', 1)
    sealed = cast("bytes", seal_user(SEALING, replace(USER, policies=(policy,)))[-1])
    for told in (b"Marker", b"a-policy-name", b"SU1"):
        assert told not in sealed
    assert b"the-very-secret" not in cast("bytes", seal_secret(SEALING, "SU1", "AIDA1", "the-very-secret")[-1])
    assert KEY.hex() not in repr(SEALING)
    assert "Marker" not in repr(replace(USER, policies=(policy,)))
